//! Files of every version of the tables open with all their jobs.
//!
//! `fixtures/` has a file of each version, and beside it what is in it. A released one is never made anew;
//! `POOLQUEUE_BLESS=1` does that with the others.

mod support;

use std::path::{Path, PathBuf};

use poolqueue_core::{Reader, Snapshot, Store, Verdict};
use poolqueue_sqlite::SqliteStore;
use poolqueue_testkit::described;
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::Proof;
use rusqlite::Connection;
use support::open;

/// The version this program writes, until it is released.
const UNRELEASED: &str = "schema-1";
/// What the life in a fixture is drawn with, and how many transactions it has.
const FIXTURE: (u64, u64) = (15, 130);
const RECORDS: [&str; 3] = ["one", "two", "three"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn description(store: &SqliteStore) -> String {
    let snapshot = store.reader().snapshot().unwrap();
    snapshot.verify().unwrap();
    described(&snapshot, &RECORDS).unwrap()
}

fn make_fixture() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut store = open(&path);
    Life::new(FIXTURE.0).go_on_until(&mut store, FIXTURE.1).unwrap();
    let kept = fixtures().join(UNRELEASED);
    std::fs::write(kept.with_extension("txt"), description(&store)).unwrap();
    store.close().unwrap();
    Connection::open(&path).unwrap().execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::copy(&path, kept.with_extension("db")).unwrap();
}

/// Opens a copy of a fixture, compares, changes what `change` does, and compares again after opening it anew. How many jobs
/// there are.
fn check_fixture(fixture: &Path, change: impl FnOnce(&mut SqliteStore)) -> Result<u64, String> {
    let expected = std::fs::read_to_string(fixture.with_extension("txt")).expect("it says what is in it");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    std::fs::copy(fixture, &path).unwrap();
    let mut store = open(&path);
    if description(&store) != expected {
        return Err(format!("{}: it holds something else", fixture.display()));
    }
    change(&mut store);
    store.close().unwrap();
    if description(&open(&path)) != expected {
        return Err(format!("{}: opened a second time it holds something else", fixture.display()));
    }
    Ok(expected.lines().filter(|line| line.starts_with("  payload: ")).count() as u64)
}

#[test]
fn files_of_every_version_open_with_all_their_jobs() {
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        make_fixture();
    }
    let files = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension() == Some("db".as_ref())).collect();
    assert_eq!(files.len(), poolqueue_migrations::SQLITE.len(), "each version has a file");
    let jobs = files.iter().map(|file| check_fixture(file, |_| {}).unwrap_or_else(|error| panic!("{error}")));
    let tried = jobs.sum();
    let lost = check_fixture(&files[0], |store| {
        store.transact(&mut |txn| txn.put_record(RECORDS[0], None).map(|()| Verdict::Commit)).unwrap();
    });
    let (what, caught) = ("jobs in files of every version, sqlite", u64::from(lost.is_err()));
    Proof { row: "R15", what, tried, failed: 0, seed: 0, planted: 1, caught }.print();
}
