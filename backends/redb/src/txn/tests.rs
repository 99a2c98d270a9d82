//! Rows that are damaged while the store is open.

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    BackendError, ClaimFilter, JobId, Limits, NewJob, QueueName, Reader, Snapshot, Store, Timestamp, Txn,
    Verdict, Verification,
};

use crate::{RedbOptions, RedbStore};

fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn run<T>(
    store: &mut RedbStore,
    mut call: impl FnMut(&mut dyn Txn) -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    let mut result = None;
    store.transact(&mut |txn| {
        result = Some(call(txn)?);
        Ok(Verdict::Commit)
    })?;
    Ok(result.unwrap())
}

fn insert(txn: &mut dyn Txn, job: NewJob) -> Result<(), BackendError> {
    let insert = job.into_insert(&Limits::default(), || id(0))?;
    let state = JobState::admit(&insert.admission, txn.next_sequence()?, Timestamp::from_micros(0));
    txn.insert(&state, &insert.body)
}

/// Writes garbage over the state of a job, past the store.
fn damage(store: &mut RedbStore, number: u8) {
    let txn = store.shared().begin_write().unwrap();
    txn.open_table(store.shared().site().layout().live())
        .unwrap()
        .insert(id(number).as_bytes(), b"garbage".as_slice())
        .unwrap();
    txn.commit().unwrap();
    // What is remembered of the row goes with a transaction that is not committed.
    store.transact(&mut |_| Ok(Verdict::Rollback)).unwrap();
}

#[test]
fn damaged_jobs_are_left_out_and_do_not_hold_up_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(directory.path().join("jobs.redb"), RedbOptions::default()).unwrap();
    let span = std::time::Duration::from_micros;
    run(&mut store, |txn| {
        (1..=3).try_for_each(|n| insert(txn, NewJob::new("k", b"").id(id(n))))?;
        (4..=5).try_for_each(|n| insert(txn, NewJob::new("k", b"").id(id(n)).run_after(span(9))))?;
        (6..=7).try_for_each(|n| insert(txn, NewJob::new("k", b"").id(id(n)).expires_after(span(5))))
    })
    .unwrap();
    for number in [1, 4, 6] {
        damage(&mut store, number);
    }
    let ready = |store: &mut RedbStore, limit| {
        let queue = QueueName::default();
        let states = run(store, |txn| txn.ready(&queue, &ClaimFilter::default(), limit)).unwrap();
        states.iter().map(|state| state.id).collect::<Vec<_>>()
    };
    assert_eq!(ready(&mut store, 2), [id(2), id(3)]);
    assert_eq!(store.reader().health().verification, Verification::Damaged);
    assert!(store.reader().health().damage.unwrap().contains(&id(1).to_string()));
    let now = Timestamp::from_micros(9);
    assert_eq!(run(&mut store, |txn| txn.promote(now, 9)).unwrap(), 1);
    let expired = run(&mut store, |txn| txn.expired(now, 9)).unwrap();
    assert_eq!(expired.iter().map(|state| state.id).collect::<Vec<_>>(), [id(7)]);
    assert_eq!(ready(&mut store, 9), [id(2), id(3), id(7), id(5)]);
    // Asked for by name, a damaged job is an error; the transaction goes on without it.
    run(&mut store, |txn| {
        assert!(txn.load(id(1)).is_err());
        assert!(txn.load(id(2))?.is_some());
        Ok(())
    })
    .unwrap();
    assert!(store.reader().snapshot().unwrap().verify().is_err());
}

#[test]
fn wrong_uses_are_refused_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(directory.path().join("jobs.redb"), RedbOptions::default()).unwrap();
    let job = || NewJob::new("k", b"").id(id(1));
    run(&mut store, |txn| insert(txn, job())).unwrap();
    let twice = run(&mut store, |txn| insert(txn, job())).unwrap_err();
    assert!(twice.to_string().contains("exists already"), "{twice}");
    let claim =
        poolqueue_core::lifecycle::Event::Claim { assignee: poolqueue_core::AssigneeId::new("w").unwrap() };
    let stale = run(&mut store, |txn| {
        let state = txn.load(id(1))?.unwrap();
        let step =
            poolqueue_core::lifecycle::decide(&state, &claim, None, Timestamp::from_micros(1)).unwrap();
        txn.store(&step, None, 9)?;
        txn.store(&step, None, 9)
    });
    assert!(stale.unwrap_err().to_string().contains("a state it is not in"));
    let snapshot = store.reader().snapshot().unwrap();
    assert_eq!(snapshot.verify().unwrap().jobs, 1);
    assert_eq!(snapshot.held().unwrap(), []);
}
