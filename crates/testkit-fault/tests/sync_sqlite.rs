//! When an SQLite store syncs its commits, under each policy, and what a sync that fails comes to.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    Applied, Attention, BackendError, BackendErrorKind, Filter, JobId, Limits, ManualClock, NewJob, Reader,
    Snapshot, Store, SyncPolicy, Timestamp, Verdict,
};
use poolqueue_sqlite::{SqliteOptions, SqliteReader, SqliteStore};
use poolqueue_testkit_fault::{Failure, Faults, Operation, Plan};
use support::place;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: SyncPolicy = SyncPolicy::Interval(SECOND);

/// A store whose time stands still, and whose syncs are counted.
struct Still {
    faults: Faults,
    clock: Arc<ManualClock>,
    store: SqliteStore,
    _place: tempfile::TempDir,
}

impl Still {
    fn new(policy: SyncPolicy) -> Self {
        let (place, clock) = (place(), ManualClock::new(Timestamp::from_micros(0)));
        let faults = Faults::in_directory(place.path()).unwrap();
        let options = SqliteOptions::default().sync(policy).clock(clock.clone());
        let mut store = SqliteStore::open(place.path().join("jobs.db"), options).unwrap();
        // The first commit begins the log, which is synced under each policy.
        add(&mut store, 1).unwrap();
        clock.advance(SECOND);
        store.stirred(Attention::default());
        Still { faults, clock, store, _place: place }
    }

    /// How many syncs `work` makes.
    fn syncs<T>(&mut self, work: impl FnOnce(&mut SqliteStore) -> T) -> (T, u64) {
        let before = self.faults.seen(&[Operation::Sync]);
        let done = work(&mut self.store);
        (done, self.faults.seen(&[Operation::Sync]) - before)
    }

    fn nap(&mut self) -> u64 {
        self.clock.advance(SECOND);
        self.syncs(|store| store.stirred(Attention::default())).1
    }
}

fn add(store: &mut SqliteStore, number: u8) -> Result<(), BackendError> {
    let id = JobId::from_bytes([number; 16]);
    store.transact(&mut |txn| {
        let insert = NewJob::new("kind", b"").id(id).into_insert(&Limits::default(), || id)?;
        let state = JobState::admit(&insert.admission, txn.next_sequence()?, Timestamp::from_micros(0));
        txn.insert(&state, &insert.body).map(|()| Verdict::Commit)
    })
}

fn jobs(reader: &SqliteReader) -> u64 {
    let snapshot = reader.snapshot().unwrap();
    let jobs = snapshot.verify().unwrap().jobs;
    assert_eq!(snapshot.count(&Filter::everything()).unwrap().total(), jobs);
    jobs
}

#[test]
fn by_default_each_commit_is_synced_and_under_os_none_is() {
    for (policy, each) in [(SyncPolicy::default(), 1), (SyncPolicy::Os, 0)] {
        let mut still = Still::new(policy);
        for number in 2..5 {
            assert_eq!(still.syncs(|store| add(store, number).unwrap()).1, each, "{policy:?}");
        }
        assert_eq!(still.nap(), 0, "{policy:?}");
    }
}

#[test]
fn under_an_interval_one_sync_is_made_when_it_is_over_with_a_commit_or_in_a_nap() {
    let mut still = Still::new(INTERVAL);
    assert_eq!(still.syncs(|store| add(store, 2).unwrap()).1, 0);
    still.clock.advance(SECOND / 2);
    assert_eq!(still.syncs(|store| add(store, 3).unwrap()).1, 0);
    assert_eq!(still.syncs(|store| store.stirred(Attention::default())).1, 0);
    still.clock.advance(SECOND / 2);
    assert_eq!(still.syncs(|store| add(store, 4).unwrap()).1, 1);
    assert_eq!(still.nap(), 0, "nothing is left");
    assert_eq!(still.syncs(|store| add(store, 5).unwrap()).1, 0);
    assert_eq!(still.nap(), 1);
    assert_eq!(still.nap(), 0);
}

/// A checkpoint would not sync the log then, having nothing to move.
#[test]
fn a_reader_that_stays_keeps_no_sync_from_being_made() {
    let mut still = Still::new(INTERVAL);
    let old = still.store.reader().snapshot().unwrap();
    assert_eq!(old.count(&Filter::everything()).unwrap().total(), 1);
    add(&mut still.store, 2).unwrap();
    assert_eq!(still.nap(), 1);
    drop(old);
}

#[test]
fn closing_syncs_the_log_although_another_handle_keeps_it() {
    let mut still = Still::new(INTERVAL);
    let path = still.store.path().to_owned();
    let mut other = SqliteStore::open(path, SqliteOptions::default().sync(SyncPolicy::Os)).unwrap();
    add(&mut still.store, 2).unwrap();
    assert_eq!(still.syncs(|store| store.close().unwrap()).1, 1);
    assert_eq!(still.syncs(|_| add(&mut other, 3).unwrap()).1, 0);
}

#[test]
fn a_sync_that_fails_ends_the_store_whether_it_is_a_commit_s_or_a_nap_s() {
    for in_a_nap in [false, true] {
        let mut still = Still::new(INTERVAL);
        add(&mut still.store, 2).unwrap();
        still.clock.advance(SECOND);
        let failure = Failure::Error(libc::EIO);
        still.faults.arm(Plan { operations: vec![Operation::Sync], after: 0, failure, lasting: false });
        if in_a_nap {
            assert!(still.store.stirred(Attention::default()), "the next transaction has something to tell");
            assert!(still.store.stirred(Attention::default()));
        }
        let failed = add(&mut still.store, 3).unwrap_err();
        assert_eq!((failed.kind(), failed.applied()), (BackendErrorKind::Io, Applied::Unknown), "{failed}");
        let (refused, syncs) = still.syncs(|store| add(store, 4).unwrap_err());
        assert_eq!((refused.kind(), syncs), (BackendErrorKind::Closed, 0), "no sync is tried again");
        still.store.reopen().unwrap();
        // The process lives, and so does what it has committed.
        assert_eq!(jobs(&still.store.reader()), if in_a_nap { 2 } else { 3 });
        assert!(still.syncs(|store| add(store, 5).unwrap()).1 > 0, "what was not synced is due");
        assert_eq!(still.nap(), 0);
    }
}
