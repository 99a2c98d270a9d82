//! What happens between a commit of the application's and the moment the writer hears of it: here nobody is the writer
//! unless the test is.

mod power;

use std::time::Instant;

use poolqueue_core::lifecycle::{Event, JobState, Transition, decide};
use poolqueue_core::{
    AssigneeId, BackendErrorKind, Filter, JobId, Limits, NewJob, Reader, Snapshot, Status, Store, Timestamp,
    Txn, Verdict,
};

use super::*;
use crate::{RedbOptions, RedbStore};

struct Rig {
    directory: tempfile::TempDir,
    db: Arc<Database>,
    store: RedbStore,
}

fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn options() -> RedbOptions {
    RedbOptions::default().with_busy_timeout(Duration::from_millis(20))
}

fn insert(txn: &mut dyn Txn, number: u8) -> Result<JobState, BackendError> {
    let insert = NewJob::new("k", b"").id(id(number)).into_insert(&Limits::default(), || id(0))?;
    let state = JobState::admit(&insert.admission, txn.next_sequence()?, Timestamp::from_micros(0));
    txn.insert(&state, &insert.body)?;
    Ok(state)
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Arc::new(Database::create(directory.path().join("app.redb")).unwrap());
        let store = RedbStore::with_database(Arc::clone(&db), options()).unwrap();
        Rig { directory, db, store }
    }

    /// A job in a transaction of the application's, committed.
    fn stage(&self, number: u8) -> JobState {
        let txn = self.db.begin_write().unwrap();
        let mut job = None;
        within(self.store.shared(), &txn, number.into(), &mut |txn| {
            job = Some(insert(txn, number)?);
            Ok(())
        })
        .unwrap();
        txn.commit().unwrap();
        job.unwrap()
    }

    /// What the writer does first in each transaction, adopting `jobs`, and then an insert of its own.
    fn drain(&mut self, jobs: &[JobState], own: Option<u8>) -> Result<(Vec<u64>, Option<u64>), BackendError> {
        let mut found = (Vec::new(), None);
        self.store.transact(&mut |txn| {
            found.0 = txn.elsewhere()?.applied;
            jobs.iter().try_for_each(|job| txn.adopt(None, job))?;
            found.1 = own.map(|number| insert(txn, number)).transpose()?.map(|job| job.sequence);
            Ok(Verdict::Commit)
        })?;
        Ok(found)
    }

    fn total(&self) -> Result<u64, BackendError> {
        Ok(self.store.reader().snapshot()?.count(&Filter::everything())?.total())
    }

    fn verify(&self) {
        self.store.reader().snapshot().unwrap().verify().unwrap();
    }
}

#[test]
fn figures_wait_for_the_writer_and_not_for_ever() {
    let mut rig = Rig::new();
    let job = rig.stage(1);
    let snapshot = rig.store.reader().snapshot().unwrap();
    assert_eq!(snapshot.get(&[id(1)]).unwrap()[0].as_ref().map(|job| job.id), Some(id(1)));
    assert_eq!(rig.total().unwrap_err().kind(), BackendErrorKind::Busy);
    assert_eq!(snapshot.verify().unwrap_err().kind(), BackendErrorKind::Busy);
    assert_eq!(snapshot.held().unwrap_err().kind(), BackendErrorKind::Busy);
    assert_eq!(rig.drain(&[job], None).unwrap().0, [1]);
    assert_eq!(rig.total().unwrap(), 1);
    // The snapshot is older, the figures are those of now.
    assert_eq!(snapshot.count(&Filter::everything()).unwrap().total(), 1);
    rig.verify();
    assert_eq!(rig.drain(&[], None).unwrap().0, [0; 0], "told twice");
}

/// Makes a step of a job and stores it.
fn step(txn: &mut dyn Txn, number: u8, event: &Event) -> Result<Transition, BackendError> {
    let state = txn.load(id(number))?.unwrap();
    let step = decide(&state, event, None, Timestamp::from_micros(1)).unwrap();
    txn.store(&step, None, 9)?;
    Ok(step)
}

#[test]
fn jobs_that_the_application_completes_are_counted_by_whoever_comes_next() {
    let mut rig = Rig::new();
    let claim = Event::Claim { assignee: AssigneeId::new("w").unwrap() };
    let complete = Event::Complete { output: ().into() };
    for number in 1..=4 {
        rig.drain(&[], Some(number)).unwrap();
    }
    let both = |txn: &mut dyn Txn, number| -> Result<Transition, BackendError> {
        step(txn, number, &claim)?;
        step(txn, number, &complete)
    };
    rig.store.transact(&mut |txn| both(txn, 1).map(|_| Verdict::Commit)).unwrap();
    rig.store.transact(&mut |txn| step(txn, 2, &claim).map(|_| Verdict::Commit)).unwrap();
    let txn = rig.db.begin_write().unwrap();
    let mut done = None;
    within(rig.store.shared(), &txn, 7, &mut |txn| {
        done = Some(step(txn, 2, &complete)?);
        Ok(())
    })
    .unwrap();
    txn.commit().unwrap();
    // Found by the next to open what was committed, also when the writer never heard of it.
    std::fs::copy(rig.directory.path().join("app.redb"), rig.directory.path().join("copy.redb")).unwrap();
    let copy = RedbStore::open(rig.directory.path().join("copy.redb"), RedbOptions::default()).unwrap();
    copy.reader().snapshot().unwrap().verify().unwrap();
    rig.store
        .transact(&mut |txn| {
            assert_eq!(txn.elsewhere()?.applied, [7]);
            let done = done.clone().unwrap();
            txn.adopt(Some(&done.before), &done.after)?;
            both(txn, 3).map(|_| Verdict::Commit)
        })
        .unwrap();
    let counts = rig.store.reader().snapshot().unwrap().count(&Filter::everything()).unwrap();
    assert_eq!(counts.of(Status::Completed), 3);
    rig.verify();
}

#[test]
fn a_transaction_that_was_rolled_back_holds_nothing_up() {
    let mut rig = Rig::new();
    let txn = rig.db.begin_write().unwrap();
    within(rig.store.shared(), &txn, 1, &mut |txn| Ok(insert(txn, 1).map(drop)?)).unwrap();
    // Under way: what is committed is exactly what is counted.
    assert_eq!(rig.total().unwrap(), 0);
    txn.abort().unwrap();
    assert_eq!(rig.total().unwrap(), 0);
    assert_eq!(rig.drain(&[], None).unwrap().0, [0; 0]);
    assert!(rig.store.shared().view().unwrap().current);
}

#[test]
fn a_group_that_fails_learns_of_the_same_changes_again() {
    let mut rig = Rig::new();
    let job = rig.stage(1);
    let failed = rig.store.transact(&mut |txn| {
        assert_eq!(txn.elsewhere()?.applied, [1]);
        txn.adopt(None, &job)?;
        Err(BackendError::new(BackendErrorKind::Full, "no room"))
    });
    assert_eq!(failed.unwrap_err().kind(), BackendErrorKind::Full);
    assert_eq!(rig.total().unwrap_err().kind(), BackendErrorKind::Busy);
    assert_eq!(rig.drain(&[job], None).unwrap().0, [1]);
    assert_eq!(rig.total().unwrap(), 1);
    rig.verify();
}

#[test]
fn no_number_in_the_order_of_enqueues_is_given_out_twice() {
    let mut rig = Rig::new();
    let mut sequences = vec![rig.drain(&[], Some(1)).unwrap().1.unwrap()];
    for round in 0..3 {
        let base = 10 * (round + 1);
        let staged = [rig.stage(base), rig.stage(base + 1)];
        sequences.extend(staged.iter().map(|job| job.sequence));
        sequences.extend(rig.drain(&staged, Some(base + 2)).unwrap().1);
        sequences.extend(rig.drain(&[], Some(base + 3)).unwrap().1);
        // Committed, and nobody hears of it before the end.
        sequences.push(rig.stage(base + 4).sequence);
        rig.store.close().unwrap();
        rig.store = RedbStore::with_database(Arc::clone(&rig.db), options()).unwrap();
        rig.verify();
        assert_eq!(rig.total().unwrap(), 1 + 5 * u64::from(round + 1));
    }
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
}

#[test]
fn notes_that_nobody_read_are_forgotten_by_whoever_opens_the_file() {
    let mut rig = Rig::new();
    rig.stage(1);
    rig.stage(2);
    rig.store.close().unwrap();
    let Rig { directory, db, store } = rig;
    drop((store, db));
    let store = RedbStore::open(directory.path().join("app.redb"), RedbOptions::default()).unwrap();
    let view = store.shared().view().unwrap();
    assert!(!format::has_notes(&view.txn, store.shared().site()).unwrap());
    assert_eq!(store.reader().snapshot().unwrap().verify().unwrap().jobs, 2);
}

#[test]
fn a_call_that_failed_in_the_middle_ends_the_queue_if_it_is_committed_all_the_same() {
    for panics in [false, true] {
        let mut rig = Rig::new();
        let txn = rig.db.begin_write().unwrap();
        let error = within(rig.store.shared(), &txn, 1, &mut |txn| {
            insert(txn, 1)?;
            assert!(!panics, "in the middle");
            Err(BackendError::new(BackendErrorKind::Io, "in the middle").into())
        });
        assert!(error.unwrap_err().to_string().contains("in the middle"));
        txn.commit().unwrap();
        let error = rig.drain(&[], Some(2)).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Corrupted, "{error}");
        rig.store.close().unwrap();
        rig.store = RedbStore::with_database(Arc::clone(&rig.db), options()).unwrap();
        rig.drain(&[], Some(2)).unwrap();
        assert_eq!(rig.total().unwrap(), 2);
        rig.verify();
    }
}

#[test]
fn a_queue_that_another_process_has_opened_anew_stops() {
    let mut rig = Rig::new();
    let job = rig.stage(1);
    rig.drain(&[job], None).unwrap();
    // What another process does in redb's mode for several writers.
    let other = Shared::new(rig.store.shared().site().clone(), Some(Application::new(Duration::ZERO)));
    prepare(&rig.db, &other).unwrap();
    let error = rig.drain(&[], Some(2)).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen, "{error}");
    let txn = rig.db.begin_write().unwrap();
    let refused = within(rig.store.shared(), &txn, 2, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
}

#[test]
fn reopening_is_left_to_the_application() {
    let mut rig = Rig::new();
    let error = rig.store.reopen().unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Closed);
    assert!(error.to_string().contains("with_database"), "{error}");
    assert_eq!(rig.total().unwrap(), 0, "and nothing was closed");
}

#[test]
fn whoever_gave_up_waiting_takes_nobodys_turn() {
    let rig = Rig::new();
    let (shared, site) = (rig.store.shared(), rig.store.shared().site());
    let turn = &shared.application().unwrap().turn;
    let hold = rig.db.begin_write().unwrap();
    for _ in 0..3 {
        let busy = turn.begin(&rig.db, Duration::from_millis(5), site).map(drop).unwrap_err();
        assert_eq!(busy.kind(), BackendErrorKind::Busy);
    }
    drop(hold);
    // The one that still waits drops what it gets: all of these come to their turn.
    for _ in 0..50 {
        drop(rig.db.begin_write().unwrap());
        drop(turn.begin(&rig.db, Duration::from_secs(60), site).unwrap());
    }
    // One that still wants it gets it as soon as it is free.
    let hold = rig.db.begin_write().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| turn.begin(&rig.db, Duration::from_secs(60), site).map(drop));
        drop(hold);
        waiting.join().unwrap().unwrap();
    });
    let began = Instant::now();
    assert!(turn.begin(&rig.db, Duration::MAX, site).is_ok(), "after {:?}", began.elapsed());
}
