//! Paths, files and disks that are not what one hopes for.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use poolqueue_core::{BackendErrorKind, Reader, Snapshot, Store};
use poolqueue_sqlite::SqliteStore;
use rusqlite::Connection;
use support::{Rig, files, id, job, open, try_open};

/// The file and the log of a store whose process died after `jobs` commits of one job each.
fn crashed(jobs: u64) -> (Vec<u8>, Vec<u8>) {
    let mut rig = Rig::with(support::options().wal_autocheckpoint(1_000_000));
    for number in 1..=jobs {
        rig.insert([job(number).tag("tag").unique(format!("key {number}"))], 0);
    }
    (fs::read(rig.path()).unwrap(), fs::read(rig.directory.path().join("jobs.db-wal")).unwrap())
}

/// Opens what is left of a crashed store. The jobs that are there are the first ones, each whole; how many.
#[track_caller]
fn first_jobs(file: &[u8], log: &[u8], what: &str) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    fs::write(&path, file).unwrap();
    fs::write(directory.path().join("jobs.db-wal"), log).unwrap();
    let store = try_open(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
    let snapshot = store.reader().snapshot().unwrap();
    let verified = snapshot.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    let ids: Vec<_> = (1..=verified.jobs).map(id).collect();
    let found = snapshot.get(&ids).unwrap();
    for (number, job) in (1..).zip(found) {
        let job = job.unwrap_or_else(|| panic!("{what}: job {number} of {} is missing", verified.jobs));
        assert_eq!(job.payload, format!("payload {number}").into_bytes(), "{what}");
    }
    drop(snapshot);
    let mut rig = Rig { directory, store };
    rig.insert([job(1_000)], 1);
    rig.verify();
    verified.jobs
}

const COMMITS: u64 = 12;

#[test]
fn a_log_that_was_cut_gives_the_commits_before_the_cut() {
    let (file, log) = crashed(COMMITS);
    let mut last = 0;
    let cuts = (0..log.len()).step_by(1_999).chain([1, 31, 32, 33, 55, 56, 57, log.len() - 1]);
    let mut cuts: Vec<usize> = cuts.collect();
    cuts.sort_unstable();
    for cut in cuts {
        let jobs = first_jobs(&file, &log[..cut], &format!("a log cut to {cut} of {}", log.len()));
        assert!(jobs >= last, "more is left of a shorter log");
        last = jobs;
    }
    assert!(last < COMMITS, "the last commit is not there without its last byte");
    assert_eq!(first_jobs(&file, &log, "the whole log"), COMMITS);
}

#[test]
fn a_log_with_changed_bytes_gives_the_commits_before_them() {
    let (file, log) = crashed(COMMITS);
    let mut random = fastrand::Rng::with_seed(3);
    let mut fewer = 0;
    for round in 0..60 {
        let mut damaged = log.clone();
        let at = random.usize(..damaged.len());
        damaged[at] ^= random.u8(1..);
        let jobs =
            first_jobs(&file, &damaged, &format!("byte {at} of the log changed (round {round}, seed 3)"));
        assert!(jobs <= COMMITS);
        fewer += u64::from(jobs < COMMITS);
    }
    assert!(fewer > 30, "a changed byte was noticed only {fewer} times of 60");
}

/// Found by this test: a new store held the jobs of one that had been deleted without its log.
#[test]
fn the_log_of_another_file_is_not_applied_to_a_new_one() {
    let (_, log) = crashed(COMMITS);
    for suffix in ["-wal", "-journal"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        let left = format!("jobs.db{suffix}");
        fs::write(directory.path().join(&left), &log).unwrap();
        let error = try_open(&path).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(&left), "{error}");
        assert!(!path.exists());
        assert_eq!(fs::read(directory.path().join(&left)).unwrap(), log);
        fs::write(directory.path().join(&left), "").unwrap();
        let store = try_open(&path).unwrap();
        assert_eq!(store.reader().snapshot().unwrap().verify().unwrap().jobs, 0);
    }
}

#[cfg(unix)]
#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let before = files(directory.path());
    for path in [pipe, socket, PathBuf::from("/dev/null")] {
        let error = try_open(&path).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("is not a regular file"), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(files(directory.path()), before);
}

#[test]
fn a_path_that_names_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (path, kind) in [
        (PathBuf::new(), BackendErrorKind::Invalid),
        (PathBuf::from(":memory:"), BackendErrorKind::Invalid),
        (PathBuf::from("/"), BackendErrorKind::Invalid),
        (directory.path().join("a\0b"), BackendErrorKind::Io),
        (directory.path().join("x".repeat(300)), BackendErrorKind::Io),
    ] {
        let error = try_open(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert!(files(directory.path()).is_empty());
}

/// SQLite reads options and other names out of some file names when it is allowed to; a name is a name here.
#[cfg(unix)]
#[test]
fn a_name_of_any_bytes_is_only_a_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let names: [&[u8]; 5] =
        [b"jobs-\xff\xfe.db", b"file:jobs.db?mode=memory", b"a b'c\"d%20", b"-wal", b"x\ny"];
    for name in names {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(OsStr::from_bytes(name));
        let mut rig = Rig { directory, store: open(&path) };
        rig.insert([job(1)], 0);
        let copy = rig.directory.path().join(OsStr::from_bytes(&[b"copy ", name].concat()));
        rig.store.backup_to(&copy).unwrap();
        rig.store.close().unwrap();
        for path in [path, copy] {
            let store = open(&path);
            assert_eq!(store.reader().snapshot().unwrap().verify().unwrap().jobs, 1, "{name:?}");
        }
    }
}

/// A file of another application that looks a little like ours, in a mode and with a version of its own.
fn foreign(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA page_size = 1024; PRAGMA user_version = 42; PRAGMA application_id = 7;
         CREATE TABLE meta (name TEXT, value INTEGER); INSERT INTO meta VALUES ('schema', 99);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT UNIQUE); INSERT INTO orders VALUES (7, 'tea');
         CREATE TRIGGER no_more BEFORE INSERT ON orders BEGIN SELECT RAISE(ABORT, 'no more'); END;
         CREATE VIEW poolqueue AS SELECT 1;",
    )
    .unwrap();
}

/// What the application finds: its schema and rows, its version and id.
fn of_the_application(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    let mut rows = Vec::new();
    for query in [
        "SELECT coalesce(sql, name) FROM sqlite_schema WHERE tbl_name NOT LIKE 'poolqueue\\_%' ESCAPE '\\'",
        "SELECT id || what FROM orders",
        "SELECT name || value FROM meta",
        "SELECT CAST(user_version AS TEXT) FROM pragma_user_version",
        "SELECT CAST(application_id AS TEXT) FROM pragma_application_id",
        "SELECT CAST(page_size AS TEXT) FROM pragma_page_size",
    ] {
        let mut statement = conn.prepare(query).unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        rows.extend(found.collect::<Result<Vec<String>, _>>().unwrap());
    }
    rows
}

#[test]
fn an_applications_file_keeps_everything_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    foreign(&path);
    let (before, bytes) = (of_the_application(&path), fs::read(&path).unwrap());
    assert_eq!(try_open(&path).unwrap_err().kind(), BackendErrorKind::Invalid);
    assert_eq!((fs::read(&path).unwrap(), files(directory.path())), (bytes, vec!["app.db".to_owned()]));
    let options = support::options().share_with_application(true);
    let mut rig = Rig { directory, store: SqliteStore::open(&path, options).unwrap() };
    rig.insert((1..=20).map(job), 0);
    rig.verify();
    assert_eq!(of_the_application(&path), before, "while it is open");
    rig.store.close().unwrap();
    assert_eq!(of_the_application(&path), before, "afterwards");
}
