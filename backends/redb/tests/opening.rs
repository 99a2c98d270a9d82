//! Opening what is there, what is not there, and what is not ours.

#[path = "support/sealed.rs"]
mod sealed;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use poolqueue_core::{BackendError, BackendErrorKind, Filter, Reader, Snapshot, Store, Verification};
use poolqueue_redb::{RedbOptions, RedbStore};
use redb::{Database, TableDefinition};
use sealed::sealed;
use support::{Rig, id, job, open};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("poolqueue_meta");

/// A finished store with some jobs in it.
fn filled(path: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig { directory, store: open(path) };
    rig.insert((1..=50).map(job), 0);
    rig.store.close().unwrap();
}

fn try_open(path: &Path) -> Result<RedbStore, BackendError> {
    RedbStore::open(path, RedbOptions::default())
}

/// Opening fails like this, says the path, and leaves the file as it was.
#[track_caller]
fn check_refused(path: &Path, kind: BackendErrorKind, says: &str) {
    let before = fs::read(path).ok();
    for options in [RedbOptions::default(), RedbOptions::default().with_check_on_open_max_bytes(0)] {
        let error = RedbStore::open(path, options).expect_err("it was opened");
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(says), "{text:?} should say {says:?}");
        assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text:?} should say the path");
        assert_eq!(fs::read(path).ok(), before, "the file was changed");
    }
}

fn files(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_new_store_is_the_only_file_it_leaves() {
    let mut rig = Rig::default();
    assert_eq!(files(rig.directory.path()), ["jobs.redb"]);
    assert_eq!(rig.store.path(), rig.path());
    let health = rig.store.reader().health();
    assert_eq!(health.verification, Verification::Verified);
    assert!(health.file_bytes > 0);
    assert!(health.durability.contains("Immediate"));
    rig.store.close().unwrap();
    assert_eq!(files(rig.directory.path()), ["jobs.redb"]);
}

#[test]
fn paths_that_cannot_hold_a_store_are_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    check_refused(&path("folder"), BackendErrorKind::Invalid, "is a directory");
    check_refused(&path("missing/jobs.redb"), BackendErrorKind::Io, "missing does not exist");
    assert!(!path("missing").exists());
    fs::write(path("notes.txt"), "buy milk, bread and a very long list of other things\n".repeat(200))
        .unwrap();
    check_refused(&path("notes.txt"), BackendErrorKind::Invalid, "is not a redb file");
    fs::write(path("short"), "red").unwrap();
    check_refused(&path("short"), BackendErrorKind::Invalid, "is not a redb file");
    fs::write(path("empty"), "").unwrap();
    check_refused(&path("empty"), BackendErrorKind::Corrupted, "is empty");
    fs::write(path("file"), "x").unwrap();
    let under_a_file = path("file").join("jobs.redb");
    assert_eq!(try_open(&under_a_file).unwrap_err().kind(), BackendErrorKind::Io);
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_not_followed_to_make_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link.redb");
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &link).unwrap();
    assert_eq!(try_open(&link).unwrap_err().kind(), BackendErrorKind::Io);
    assert_eq!(files(directory.path()), ["link.redb"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    filled(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        return; // root may write everything
    }
    check_refused(&path, BackendErrorKind::Io, "open it for reading and writing");
}

#[test]
fn a_cut_file_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole.redb");
    filled(&whole);
    let bytes = fs::read(&whole).unwrap();
    let path = directory.path().join("cut.redb");
    for len in [9, 100, 319, 320, 4095, 4096, 8192, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        check_refused(&path, BackendErrorKind::Corrupted, "cannot");
    }
}

#[test]
fn another_programs_database_is_refused() {
    const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("other");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.redb");
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(OTHER).unwrap().insert(1, 2).unwrap();
    txn.commit().unwrap();
    // While it is open there it is open, whatever it is.
    assert_eq!(try_open(&path).unwrap_err().kind(), BackendErrorKind::AlreadyOpen);
    drop(db);
    check_refused(&path, BackendErrorKind::Invalid, "without poolqueue tables");
}

fn write_meta(path: &Path, key: &str, row: &[u8]) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(key, row).unwrap();
    txn.commit().unwrap();
    db.close().unwrap();
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    filled(&path);
    write_meta(&path, "format", &sealed(1, "format", &[2]));
    check_refused(&path, BackendErrorKind::NewerFormat, "has the format 2");
    check_refused(&path, BackendErrorKind::NewerFormat, "knows formats up to 1");
    write_meta(&path, "format", &sealed(2, "format", b"what a later version writes"));
    check_refused(&path, BackendErrorKind::NewerFormat, "has the format 2");
    write_meta(&path, "format", &sealed(1, "format", &[1]));
    assert_eq!(
        try_open(&path).unwrap().reader().snapshot().unwrap().count(&Filter::everything()).unwrap().total(),
        50
    );
}

#[test]
fn a_damaged_format_or_counter_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    for key in ["format", "finals", "sequence"] {
        filled(&path);
        write_meta(&path, key, b"garbage");
        assert_eq!(try_open(&path).unwrap_err().kind(), BackendErrorKind::Corrupted, "{key}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_second_opener_is_told_at_once_and_the_first_goes_on() {
    let mut rig = Rig::default();
    let error = try_open(&rig.path()).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen);
    assert!(error.to_string().contains("jobs.redb"), "{error}");
    #[cfg(unix)]
    {
        let link = rig.directory.path().join("other-name.redb");
        std::os::unix::fs::symlink(rig.path(), &link).unwrap();
        assert_eq!(try_open(&link).unwrap_err().kind(), BackendErrorKind::AlreadyOpen);
    }
    rig.insert([job(1)], 0);
    rig.store.close().unwrap();
    assert!(try_open(&rig.path()).is_ok());
}

/// Run by the test below in a process of its own.
#[test]
fn child_process_opens_the_file_it_is_told() {
    let Some(path) = std::env::var_os("POOLQUEUE_TEST_OPEN") else { return };
    match try_open(Path::new(&path)) {
        Ok(_) => println!("opened"),
        Err(error) => println!("kind {:?}", error.kind()),
    }
}

#[test]
fn another_process_is_told_at_once() {
    let mut rig = Rig::default();
    let ask = |path: &Path| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process_opens_the_file_it_is_told", "--nocapture"])
            .env("POOLQUEUE_TEST_OPEN", path)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(ask(&rig.path()).contains("kind AlreadyOpen"));
    rig.store.close().unwrap();
    assert!(ask(&rig.path()).contains("opened"));
}

#[test]
fn of_several_creators_one_wins_and_nothing_is_left_over() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.redb");
        let barrier = Barrier::new(4);
        let opened: Vec<Result<RedbStore, BackendError>> = std::thread::scope(|scope| {
            let create = || {
                barrier.wait();
                try_open(&path)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners = opened.iter().filter(|result| result.is_ok()).count();
        assert_eq!(winners, 1);
        for error in opened.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen, "{error}");
        }
        drop(opened);
        assert_eq!(files(directory.path()), ["jobs.redb"]);
        assert!(try_open(&path).is_ok());
    }
}

#[test]
fn what_an_interrupted_creation_left_is_passed_over_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let mut stale = Vec::new();
    for number in 0..200 {
        let name = format!(".jobs.redb.{}-{number}.new", std::process::id());
        fs::write(directory.path().join(&name), "half").unwrap();
        stale.push(name);
    }
    drop(try_open(&directory.path().join("jobs.redb")).unwrap());
    for name in stale {
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
    drop(snapshot);
}

#[test]
fn reopening_does_not_make_a_new_file_where_the_old_one_is_gone() {
    let mut rig = Rig::default();
    fs::remove_file(rig.path()).unwrap();
    assert_eq!(rig.store.reopen().unwrap_err().kind(), BackendErrorKind::Io);
    assert!(files(rig.directory.path()).is_empty());
    let refused = rig.try_run(|txn| txn.next_sequence()).unwrap_err();
    assert_eq!(refused.kind(), BackendErrorKind::Closed);
}

#[test]
fn a_large_file_is_unverified_until_it_was_read_and_closing_does_not_wait_for_that() {
    let options = RedbOptions::default().with_check_on_open_max_bytes(0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    filled(&path);
    let mut store = RedbStore::open(&path, options.clone()).unwrap();
    let reader = store.reader();
    // No sleep: the thread is asked until it is done.
    while reader.health().verification == Verification::Unverified {
        std::thread::yield_now();
    }
    assert_eq!(reader.health().verification, Verification::Verified);
    store.reopen().unwrap();
    store.close().unwrap();
    drop(store);
    // Counters that do not fit are found by that thread alone.
    write_meta(&path, "finals", &sealed(1, "finals", &[1, 7, 1, 0]));
    let store = RedbStore::open(&path, options).unwrap();
    let reader = store.reader();
    while reader.health().verification == Verification::Unverified {
        std::thread::yield_now();
    }
    let health = reader.health();
    assert_eq!(health.verification, Verification::Damaged);
    assert!(health.damage.unwrap().contains("counters"), "{:?}", reader.health());
}
