//! Copies made while the queue runs.

mod support;

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use poolqueue_core::{
    Backend, BackendErrorKind, Batch, EmbeddedOptions, Filter, Lease, Reader, Snapshot, Status, Store,
};
use poolqueue_sqlite::{SqliteBackend, SqliteStore};
use rusqlite::Connection;
use support::{Rig, apply, claim, complete, files, id, insert, job, open};

fn filled() -> Rig {
    let mut rig = Rig::default();
    rig.insert((1..=200).map(|number| job(number).tag("tag").unique(format!("key {number}"))), 0);
    for number in 1..=20 {
        rig.apply(id(number), claim(), 1);
    }
    for number in 1..=10 {
        rig.apply(id(number), complete("done"), 2);
    }
    rig
}

#[test]
fn a_copy_is_one_whole_file_that_opens_and_verifies() {
    let rig = filled();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("copy.db");
    rig.store.backup_to(&path).unwrap();
    assert_eq!(files(place.path()), ["copy.db"]);
    // Both are open at once, and neither is the other.
    let mut copy = Rig { directory: place, store: open(&path) };
    copy.verify();
    assert_eq!(copy.counts(), rig.counts());
    assert_eq!(copy.get(id(3)), rig.get(id(3)));
    assert_eq!(copy.history(id(3)), rig.history(id(3)));
    let held: Vec<Lease> = copy.snapshot().held().unwrap();
    assert_eq!(held.len(), 10, "what was running is running in the copy");
    copy.apply(id(30), claim(), 5);
    assert_eq!(rig.get(id(30)).unwrap().status, Status::InitialPending);
    copy.verify();
    rig.verify();
}

#[test]
fn writers_go_on_and_the_copy_is_one_of_the_states_they_made() {
    let mut rig = Rig::default();
    // Larger than one step of the copy, so that commits fall between steps.
    rig.insert((1..=256).map(|number| job(number).id(id(number)).meta("fill", "x".repeat(15_000))), 0);
    let reader = rig.store.reader();
    let place = tempfile::tempdir().unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(256));
    let mut span = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let number = written.load(Ordering::Acquire) + 1;
                // Two changes of one transaction: a copy has both or none.
                rig.run(|txn| {
                    insert(txn, job(number), 1)?;
                    apply(txn, id(number), &claim(), 2)
                });
                written.store(number, Ordering::Release);
            }
        });
        for number in 0..5 {
            let before = written.load(Ordering::Acquire);
            reader.backup_to(place.path().join(format!("{number}.db"))).unwrap();
            span.push((before, written.load(Ordering::Acquire) + 1));
        }
        stop.store(true, Ordering::Release);
        writer.join().unwrap();
    });
    for (number, (from, to)) in span.into_iter().enumerate() {
        let copy = open(&place.path().join(format!("{number}.db")));
        let snapshot = copy.reader().snapshot().unwrap();
        let verified = snapshot.verify().unwrap();
        assert!((from..=to).contains(&verified.jobs), "{} is not in {from}..={to}", verified.jobs);
        assert_eq!(snapshot.held().unwrap().len() as u64, verified.jobs - 256);
    }
    rig.verify();
}

#[test]
fn a_copy_replaces_nothing() {
    let rig = filled();
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::write(path("taken.db"), "mine").unwrap();
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("orphan.db-wal"), "a log").unwrap();
    let mut refused = vec![
        (path("taken.db"), "taken.db"),
        (path("folder"), "folder"),
        (path("orphan.db"), "orphan.db-wal"),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(path("nowhere"), path("link.db")).unwrap();
        refused.push((path("link.db"), "link.db"));
    }
    refused.push((rig.path(), "jobs.db"));
    refused.push(("".into(), "is no file"));
    refused.push((":memory:".into(), "is no file"));
    let before = files(place.path());
    for (target, says) in refused {
        let error = rig.store.backup_to(&target).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(says), "{error} should say {says}");
    }
    let error = rig.store.backup_to(path("missing/copy.db")).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Io);
    assert_eq!(files(place.path()), before);
    assert_eq!(fs::read(path("taken.db")).unwrap(), b"mine");
    rig.verify();
}

#[test]
fn of_several_copies_to_one_path_one_is_made_and_the_others_are_told() {
    let rig = filled();
    let reader = rig.store.reader();
    for round in 0..5 {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("copy.db");
        let barrier = Barrier::new(4);
        let results: Vec<_> = std::thread::scope(|scope| {
            let copy = || {
                barrier.wait();
                reader.backup_to(&path)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(copy)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error.kind(), BackendErrorKind::Invalid, "{error}");
        }
        assert_eq!(files(place.path()), ["copy.db"]);
    }
}

#[test]
fn the_tables_of_an_application_in_the_same_file_are_copied_too() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("app.db");
    let application = Connection::open(&path).unwrap();
    application.execute_batch("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (7)").unwrap();
    let options = support::options().share_with_application(true).table_prefix("q_");
    let store = SqliteStore::open(&path, options).unwrap();
    let copy = place.path().join("copy.db");
    store.backup_to(&copy).unwrap();
    // Without the consent: the tables are there.
    let opened = SqliteStore::open(&copy, support::options().table_prefix("q_")).unwrap();
    opened.reader().snapshot().unwrap().verify().unwrap();
    let order: i64 =
        Connection::open(&copy).unwrap().query_row("SELECT id FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(order, 7);
}

#[test]
fn a_closed_store_is_not_copied() {
    let mut rig = filled();
    rig.store.close().unwrap();
    let copy = rig.directory.path().join("copy.db");
    assert_eq!(rig.store.backup_to(&copy).unwrap_err().kind(), BackendErrorKind::Closed);
    assert!(!copy.exists());
}

#[tokio::test]
async fn what_runs_while_a_queue_is_copied_is_due_again_in_the_copy_alone() {
    let rig = filled();
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.db");
    rig.store.backup_to(&copy).unwrap();
    let options = EmbeddedOptions::default();
    let copied = SqliteBackend::open_with(&copy, support::options(), options).unwrap();
    // The first group of the writer learns that the handle of these jobs is not alive here.
    copied.commit(Batch::default()).await.unwrap();
    assert_eq!(copied.held().await.unwrap(), []);
    let counts = copied.count(Filter::everything()).await.unwrap();
    assert_eq!((counts.of(Status::UnknownRetry), counts.total()), (10, 200));
    copied.verify().await.unwrap();
    // A copy of a copy, by the backend itself.
    let again = place.path().join("again.db");
    copied.backup_to(&again).unwrap();
    copied.close().await.unwrap();
    assert_eq!(open(&again).reader().snapshot().unwrap().verify().unwrap().counts, counts);
    assert_eq!(rig.snapshot().held().unwrap().len(), 10);
    rig.verify();
}
