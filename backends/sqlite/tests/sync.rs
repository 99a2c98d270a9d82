//! When commits are synced, under each policy, as far as the store tells. `crates/testkit-fault` counts the syncs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    Attention, Backend, BackendErrorKind, EmbeddedOptions, Filter, Invalid, JobId, Limits, ManualClock,
    NewJob, Reader, Snapshot, Store, SyncPolicy, Timestamp, Verdict,
};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions, SqliteStore};

const SECOND: Duration = Duration::from_secs(1);

fn add(store: &mut SqliteStore, number: u8) {
    let id = JobId::from_bytes([number; 16]);
    let added = store.transact(&mut |txn| {
        let insert = NewJob::new("kind", b"").id(id).into_insert(&Limits::default(), || id)?;
        let state = JobState::admit(&insert.admission, txn.next_sequence()?, Timestamp::from_micros(0));
        txn.insert(&state, &insert.body).map(|()| Verdict::Commit)
    });
    added.unwrap();
}

#[test]
fn an_interval_of_zero_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let options = SqliteOptions::default().sync(SyncPolicy::Interval(Duration::ZERO));
    let error = SqliteStore::open(&path, options).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Invalid);
    let cause = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Invalid>());
    assert_eq!(cause.map(|invalid| invalid.argument), Some("sync"));
    assert!(!path.exists(), "nothing was made");
}

#[test]
fn health_says_what_is_lost_and_a_commit_survives_the_process_under_each_policy() {
    assert_eq!(SqliteOptions::default().sync, SyncPolicy::EveryCommit);
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        (SyncPolicy::EveryCommit, "synchronous=FULL"),
        (SyncPolicy::Interval(SECOND), "log synced every 1s"),
        (SyncPolicy::Os, "since the last checkpoint"),
    ];
    for (policy, said) in cases {
        let options = SqliteOptions::default().sync(policy);
        let path = directory.path().join("jobs.db");
        let backend = SqliteBackend::open_with(path, options, EmbeddedOptions::default()).unwrap();
        assert!(backend.capabilities().durable);
        let health = backend.health();
        assert!(health.durability.contains(said), "{}", health.durability);
    }
}

/// Copies a store with its log, as a killed process leaves it.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let named = |path: &Path| format!("{}{suffix}", path.display());
        fs::copy(named(from), named(to)).unwrap();
    }
}

#[test]
fn what_was_not_synced_is_there_after_the_end_of_the_process() {
    for policy in [SyncPolicy::Os, SyncPolicy::Interval(SECOND)] {
        let directory = tempfile::tempdir().unwrap();
        let [path, left] = ["jobs.db", "left.db"].map(|name| directory.path().join(name));
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let mut store = SqliteStore::open(&path, SqliteOptions::default().sync(policy).clock(clock)).unwrap();
        (1..=3).for_each(|number| add(&mut store, number));
        copy(&path, &left);
        let found = SqliteStore::open(&left, SqliteOptions::default()).unwrap();
        let snapshot = found.reader().snapshot().unwrap();
        assert_eq!(snapshot.count(&Filter::everything()).unwrap().total(), 3);
        assert_eq!(snapshot.verify().unwrap().jobs, 3);
    }
}

#[test]
fn the_writer_naps_no_longer_than_until_the_sync() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let path = directory.path().join("jobs.db");
    let millisecond = Duration::from_millis(1);
    for (policy, expected) in [(SyncPolicy::Interval(millisecond), true), (SyncPolicy::Os, false)] {
        let mut store =
            SqliteStore::open(&path, SqliteOptions::default().sync(policy).clock(clock.clone())).unwrap();
        let usual = store.watch(Attention::default());
        assert!(usual.is_some_and(|nap| nap > millisecond));
        add(&mut store, u8::from(expected));
        assert_eq!(store.watch(Attention::default()) == Some(millisecond), expected);
        clock.advance(millisecond);
        assert_eq!(store.watch(Attention::default()) == Some(Duration::ZERO), expected);
        store.stirred(Attention::default());
        assert_eq!(store.watch(Attention::default()), usual);
    }
}

/// The log is beside the file that a link leads to.
#[cfg(unix)]
#[test]
fn a_store_behind_a_link_is_synced_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let [path, link] = ["jobs.db", "link.db"].map(|name| directory.path().join(name));
    drop(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let options = SqliteOptions::default().sync(SyncPolicy::Interval(SECOND)).clock(clock.clone());
    let mut store = SqliteStore::open(&link, options).unwrap();
    add(&mut store, 1);
    clock.advance(SECOND);
    add(&mut store, 2);
    store.close().unwrap();
}
