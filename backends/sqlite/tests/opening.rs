//! Opening what is there, what is not there, and what is not ours.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use poolqueue_core::{BackendError, BackendErrorKind, Filter, Reader, Snapshot, Store, Verification};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};
use rusqlite::Connection;
use support::{Rig, files, id, job, open, try_open};

/// A finished store with some jobs in it.
fn filled(path: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig { directory, store: open(path) };
    rig.insert((1..=50).map(job), 0);
    rig.store.close().unwrap();
}

/// Opening fails like this, says the path, and leaves the directory as it was.
#[track_caller]
fn check_refused(path: &Path, kind: BackendErrorKind, says: &str) {
    let look = || {
        let directory = path.parent().unwrap();
        (fs::read(path).ok(), directory.exists().then(|| files(directory)))
    };
    let before = look();
    let error = try_open(path).expect_err("it was opened");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(says), "{text:?} should say {says:?}");
    assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text:?} should say the path");
    assert_eq!(look(), before, "something was changed");
}

#[test]
fn a_closed_store_leaves_one_file() {
    let mut rig = Rig::default();
    assert_eq!(rig.store.path(), rig.path());
    let health = rig.store.reader().health();
    assert_eq!(health.verification, Verification::Unverified);
    assert!(health.file_bytes > 0);
    assert!(health.durability.contains("WAL, synchronous=FULL"));
    rig.verify();
    assert_eq!(rig.store.reader().health().verification, Verification::Verified);
    rig.store.close().unwrap();
    assert_eq!(files(rig.directory.path()), ["jobs.db"]);
    assert_eq!(rig.store.reader().snapshot().unwrap_err().kind(), BackendErrorKind::Closed);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    check_refused(&path("folder"), BackendErrorKind::Invalid, "is a directory");
    check_refused(&path("missing/jobs.db"), BackendErrorKind::Io, "missing does not exist");
    assert!(!path("missing").exists());
    fs::write(path("notes.txt"), "buy milk, bread and a very long list of things\n".repeat(200)).unwrap();
    check_refused(&path("notes.txt"), BackendErrorKind::Invalid, "is not a SQLite file");
    fs::write(path("short"), "SQL").unwrap();
    check_refused(&path("short"), BackendErrorKind::Invalid, "is not a SQLite file");
    fs::write(path("empty"), "").unwrap();
    check_refused(&path("empty"), BackendErrorKind::Corrupted, "is empty");
    fs::write(path("file"), "x").unwrap();
    let under_a_file = path("file").join("jobs.db");
    assert_eq!(try_open(&under_a_file).unwrap_err().kind(), BackendErrorKind::Io);
    let error = try_open(Path::new(":memory:")).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Invalid);
    assert!(error.to_string().contains("\"memory:\""), "{error}");
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_not_followed_to_make_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &link).unwrap();
    assert_eq!(try_open(&link).unwrap_err().kind(), BackendErrorKind::Io);
    assert_eq!(files(directory.path()), ["link.db"]);
}

#[test]
fn a_prefix_that_is_no_part_of_a_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for bad in ["1a", "a b", "x;DROP TABLE y", "ü", "sqlite_", &"x".repeat(33)] {
        let options = support::options().table_prefix(bad);
        let error = SqliteStore::open(directory.path().join("jobs.db"), options).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid);
        assert!(error.to_string().contains("table_prefix"), "{error}");
    }
    assert!(files(directory.path()).is_empty());
}

/// A file of another application, with rows, a version of its own and triggers.
fn foreign(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (7);")
        .unwrap();
    conn.pragma_update(None, "user_version", 42).unwrap();
}

#[test]
fn another_programs_file_is_refused_and_with_its_consent_shared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    foreign(&path);
    check_refused(&path, BackendErrorKind::Invalid, "share_with_application");
    let options = support::options().share_with_application(true).table_prefix("q_");
    let mut store = SqliteStore::open(&path, options.clone()).unwrap();
    store.close().unwrap();
    // From now on it is known by its tables, under its prefix only.
    check_refused(&path, BackendErrorKind::Invalid, "poolqueue_…");
    let mut rig =
        Rig { directory, store: SqliteStore::open(&path, options.share_with_application(false)).unwrap() };
    rig.insert([job(1)], 0);
    rig.verify();
    rig.store.close().unwrap();
    let conn = Connection::open(&path).unwrap();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 42);
    let order: i64 = conn.query_row("SELECT id FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(order, 7);
    let ours: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'q\\_%' ESCAPE '\\'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(ours, 1, "only the application's own table is not ours");
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    filled(&path);
    let set = |value: i64| {
        let conn = Connection::open(&path).unwrap();
        conn.execute("UPDATE poolqueue_meta SET value = ?1 WHERE name = 'schema'", [value]).unwrap();
    };
    set(9);
    check_refused(&path, BackendErrorKind::NewerFormat, "has version 9, this program knows versions up to 1");
    set(-1);
    check_refused(&path, BackendErrorKind::Corrupted, "version of the tables");
    set(0);
    check_refused(&path, BackendErrorKind::Corrupted, "version of the tables");
    set(1);
    let store = try_open(&path).unwrap();
    assert_eq!(store.reader().snapshot().unwrap().count(&Filter::everything()).unwrap().total(), 50);
}

#[test]
fn a_second_opener_shares_the_file_under_any_of_its_names() {
    let mut rig = Rig::default();
    let mut other = Rig { directory: tempfile::tempdir().unwrap(), store: open(&rig.path()) };
    rig.insert([job(1)], 0);
    other.insert([job(2)], 0);
    #[cfg(unix)]
    {
        let link = rig.directory.path().join("other-name.db");
        std::os::unix::fs::symlink(rig.path(), &link).unwrap();
        let mut linked = Rig { directory: tempfile::tempdir().unwrap(), store: open(&link) };
        linked.insert([job(3)], 0);
        linked.store.close().unwrap();
        rig.insert([job(4)], 0);
        assert_eq!(other.counts().total(), 4);
        fs::remove_file(link).unwrap();
    }
    rig.verify();
    rig.store.close().unwrap();
    other.verify();
    other.store.close().unwrap();
    assert_eq!(files(rig.directory.path()), ["jobs.db"]);
}

/// Run by the test below in a process of its own.
#[test]
fn child_process_opens_the_file_it_is_told() {
    let Some(path) = std::env::var_os("POOLQUEUE_TEST_OPEN") else { return };
    match try_open(Path::new(&path)) {
        Ok(store) => {
            let counts = store.reader().snapshot().unwrap().count(&Filter::everything()).unwrap();
            println!("opened with {} jobs", counts.total());
        }
        Err(error) => println!("kind {:?}", error.kind()),
    }
}

#[test]
fn another_process_shares_the_file() {
    let mut rig = Rig::default();
    rig.insert([job(1), job(2)], 0);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process_opens_the_file_it_is_told", "--nocapture"])
        .env("POOLQUEUE_TEST_OPEN", rig.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("opened with 2 jobs"), "{said}");
    rig.insert([job(3)], 0);
    rig.verify();
}

#[test]
fn several_creators_get_one_file_and_nothing_is_left_over() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        let barrier = Barrier::new(4);
        let opened: Vec<Result<SqliteStore, BackendError>> = std::thread::scope(|scope| {
            let create = || {
                barrier.wait();
                try_open(&path)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (number, store) in opened.into_iter().enumerate() {
            let mut rig = Rig { directory: tempfile::tempdir().unwrap(), store: store.unwrap() };
            rig.insert([job(number as u64)], 0);
            assert_eq!(rig.counts().total(), number as u64 + 1);
        }
        assert_eq!(files(directory.path()), ["jobs.db"]);
        assert!(try_open(&path).is_ok());
    }
}

#[test]
fn what_an_interrupted_creation_left_is_passed_over_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> =
        (0..200).map(|number| format!(".jobs.db.{}-{number}.new", std::process::id())).collect();
    for name in &names {
        fs::write(directory.path().join(name), "half").unwrap();
    }
    drop(try_open(&directory.path().join("jobs.db")).unwrap());
    for name in names {
        assert_eq!(fs::read(directory.path().join(name)).unwrap(), b"half");
    }
}

#[test]
fn a_store_dropped_without_closing_is_free_at_once_although_readers_live() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    let (reader, snapshot) = (rig.store.reader(), rig.snapshot());
    let path = rig.path();
    drop(rig.store);
    assert_eq!(reader.snapshot().unwrap_err().kind(), BackendErrorKind::Closed);
    let store = open(&path);
    assert!(store.reader().snapshot().unwrap().get(&[id(1)]).unwrap()[0].is_some());
    assert!(snapshot.get(&[id(1)]).unwrap()[0].is_some(), "an old snapshot still reads");
}

#[test]
fn reopening_in_place_keeps_readers_and_makes_no_new_file() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    let reader = rig.store.reader();
    rig.store.reopen().unwrap();
    assert!(reader.snapshot().unwrap().get(&[id(1)]).unwrap()[0].is_some());
    rig.store.close().unwrap();
    fs::remove_file(rig.path()).unwrap();
    assert_eq!(rig.store.reopen().unwrap_err().kind(), BackendErrorKind::Io);
    assert!(!rig.path().exists());
    let refused = rig.try_run(|txn| txn.next_sequence()).unwrap_err();
    assert_eq!(refused.kind(), BackendErrorKind::Closed);
}

/// What another connection may do to a file at the same time.
#[test]
fn a_writer_that_waits_in_vain_is_told_busy_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let options = support::options().busy_timeout(std::time::Duration::from_millis(20));
    let mut rig = Rig { directory, store: SqliteStore::open(&path, options).unwrap() };
    let application = Connection::open(&path).unwrap();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = rig.try_run(|txn| txn.next_sequence()).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Busy);
    application.execute_batch("ROLLBACK").unwrap();
    rig.insert([job(1)], 0);
    rig.verify();
}

#[test]
fn the_default_options_open_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let grown = fs::metadata(directory.path().join("jobs.db-wal")).unwrap().len();
    assert!(grown >= 16 << 20, "the write-ahead log has {grown} bytes");
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20, "the database has not grown with it");
    drop(store);
    assert!(try_open(&path).is_ok());
}
