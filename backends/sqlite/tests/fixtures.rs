//! Files of every version of the tables open with all their jobs.
//!
//! `fixtures/` has a file of each version, and beside it what is in it. A released one is never made anew;
//! `POOLQUEUE_BLESS=1` does that with the others.

mod support;

use std::path::{Path, PathBuf};

use poolqueue_core::Store;
use poolqueue_testkit::fixtures;
use rusqlite::Connection;
use support::open;

/// The version this program writes, until it is released.
const UNRELEASED: &str = "schema-1";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn make_fixture() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("jobs.db");
    let mut store = open(&path);
    let kept = directory().join(UNRELEASED);
    fixtures::fill(&mut store, &kept);
    store.close().unwrap();
    Connection::open(&path).unwrap().execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::copy(&path, kept.with_extension("db")).unwrap();
}

#[test]
fn files_of_every_version_open_with_all_their_jobs() {
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        make_fixture();
    }
    let files = fixtures::files(&directory(), "db");
    assert_eq!(files.len(), poolqueue_migrations::SQLITE.len(), "each version has a file");
    fixtures::prove(&files, open, "jobs in files of every version, sqlite");
}
