use poolqueue_core::BackendErrorKind;
use rusqlite::Connection;

use super::{Role, apply, check, read};
use crate::database::{connect, connect_reader};
use crate::options::SqliteOptions;
use crate::site::Site;

#[test]
fn every_connection_has_the_settings_that_are_promised() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    drop(crate::SqliteStore::open(&path, SqliteOptions::default()).unwrap());
    let site = Site::new(path);
    let options = SqliteOptions::default();
    let writer = connect(&site, Role::Writer, &options).unwrap();
    apply(&writer, Role::Writer, &site, &options).unwrap();
    let reader = connect_reader(&site, &options).unwrap();
    for conn in [&writer, &reader] {
        for (name, value) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
            assert_eq!(read(conn, name).unwrap(), value, "{name}");
        }
    }
    assert_eq!(read(&writer, "journal_size_limit").unwrap(), (64 << 20).to_string());
    assert_eq!(read(&reader, "query_only").unwrap(), "1");
    assert!(reader.execute_batch("DELETE FROM poolqueue_jobs").is_err());
}

#[test]
fn a_setting_that_does_not_take_is_named() {
    // A database in memory has no write-ahead log, and SQLite says nothing.
    let conn = Connection::open_in_memory().unwrap();
    let site = Site::new("jobs.db".into());
    let error = apply(&conn, Role::Writer, &site, &SqliteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.contains("journal_mode did not take: it is memory, not wal"), "{text}");
    conn.execute_batch("PRAGMA synchronous = NORMAL").unwrap();
    let error = check(&conn, &site, "synchronous", "2").unwrap_err();
    assert!(error.to_string().contains("synchronous did not take: it is 1, not 2"), "{error}");
}

#[test]
fn the_linked_sqlite_is_new_enough() {
    super::check_version(&Site::new("jobs.db".into())).unwrap();
    assert!(rusqlite::version_number() >= 3_051_003);
}
