//! What is committed otherwise than by the writer: each step counts once, whatever fails in between.

use std::sync::Mutex;

use super::*;
use crate::lifecycle::decide;
use crate::{Committed, Elsewhere, Error, Observer, Txn, Verdict, Work};

/// What an observer heard, in order.
#[derive(Debug, Default)]
struct Heard {
    steps: Mutex<Vec<(JobId, Option<EventKind>)>>,
}

impl Heard {
    fn on(rig: &Rig) -> Arc<Self> {
        let heard = Arc::<Heard>::default();
        rig.backend.observe(heard.clone());
        heard
    }

    fn steps(&self) -> Vec<(JobId, Option<EventKind>)> {
        self.steps.lock().unwrap().clone()
    }
}

impl Observer for Heard {
    fn committed(&self, what: Committed<'_>) {
        let mut steps = self.steps.lock().unwrap();
        steps.extend(what.inserted.iter().map(|job| (job.id, None)));
        steps.extend(what.transitions.iter().map(|step| (step.after.id, Some(step.event))));
    }
}

impl Rig {
    /// Runs the work in a transaction that is not the writer's, and ends it so. The writer is told if it was committed.
    fn within(&self, verdict: Verdict, number: u64, work: Work<'_>) -> Result<(), Error> {
        let mut result = Ok(());
        self.stored.clone().transact(&mut |txn| {
            result = work(txn);
            Ok(if result.is_ok() { verdict } else { Verdict::Rollback })
        })?;
        if result.is_ok() && verdict == Verdict::Commit {
            let mut elsewhere = Elsewhere { changed: true, ..Elsewhere::default() };
            elsewhere.applied.push(number);
            self.faults.tell(elsewhere);
        }
        result
    }

    /// A step made by another handle.
    fn step_elsewhere(&self, n: u8, event: &Event) {
        let mut stored = self.stored.clone();
        let step = |txn: &mut dyn Txn| {
            let job = txn.load(id(n))?.unwrap();
            let transition = decide(&job, event, None, self.clock.now()).unwrap();
            txn.store(&transition, None, 100).map(|()| Verdict::Commit)
        };
        stored.transact(&mut { step }).unwrap();
        let mut elsewhere = Elsewhere { changed: true, ..Elsewhere::default() };
        elsewhere.touched.push(id(n));
        self.faults.tell(elsewhere);
    }

    /// Returns when the writer has taken note of what it was told.
    async fn heeded(&self) {
        while self.faults.has_to_tell() {
            self.settle().await;
        }
    }
}

#[tokio::test]
async fn a_batch_committed_elsewhere_is_told_and_claimed_once() {
    let rig = Rig::new();
    let heard = Heard::on(&rig);
    let slots = Slots::new(4);
    let claimed = rig.stand(any(&slots)).await;
    let staged = rig
        .backend
        .enqueue_in([new_job(1), new_job(2)], |number, work| rig.within(Verdict::Commit, number, work))
        .unwrap();
    assert_eq!(staged.ids(), [id(1), id(2)]);
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1), id(2)]);
    rig.settle().await;
    let claim = Some(EventKind::Claim);
    assert_eq!(heard.steps(), [(id(1), None), (id(2), None), (id(1), claim), (id(2), claim)]);
    assert_eq!(slots.held_count(), 2);
}

#[tokio::test]
async fn a_batch_rolled_back_elsewhere_never_was() {
    let rig = Rig::new();
    let heard = Heard::on(&rig);
    rig.faults.tell(Elsewhere::default());
    let staged =
        rig.backend.enqueue_in([new_job(1)], |number, work| rig.within(Verdict::Rollback, number, work));
    assert_eq!(staged.unwrap().ids(), [id(1)]);
    rig.settle().await;
    assert!(rig.backend.pending.is_empty(), "nobody waits for its end any more");
    assert_eq!(heard.steps(), []);
    rig.commit(add_plain([1])).await;
    assert_eq!(heard.steps(), [(id(1), None)]);
}

#[tokio::test]
async fn a_batch_refused_elsewhere_is_not_waited_for() {
    let rig = Rig::new();
    rig.commit(add_plain([1])).await;
    let refused = rig
        .backend
        .enqueue_in([new_job(2), new_job(1)], |number, work| rig.within(Verdict::Commit, number, work))
        .unwrap_err();
    assert_eq!(refused.rejected(), Some(&Rejected::Duplicate { id: id(1) }));
    let not_within = BackendError::new(BackendErrorKind::Busy, "told to");
    let busy = rig.backend.enqueue_in([new_job(3)], |_, _| Err(not_within.into())).unwrap_err();
    assert_eq!(busy.backend_kind(), Some(BackendErrorKind::Busy));
    assert!(rig.backend.pending.is_empty());
    assert_eq!(rig.backend.get(vec![id(2), id(3)]).await.unwrap(), [None, None]);
}

/// The group that takes note of it fails at first: nothing of it counts twice.
#[tokio::test]
async fn a_completion_elsewhere_frees_its_place_once_although_a_group_fails() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    rig.commit(add_plain([1, 2, 3])).await;
    assert_eq!(ids(&rig.claim(any(&slots)).await), [id(1)]);
    let claimed = rig.stand(any(&slots)).await;
    let heard = Heard::on(&rig);
    rig.faults.on_commit(Some(Fault::Full));
    let lease = slots.held()[0];
    rig.backend
        .complete_in(lease, Output::none(), |number, work| rig.within(Verdict::Commit, number, work))
        .unwrap();
    let full = soon(rig.backend.commit(add_plain([9]))).await.unwrap_err();
    assert_eq!(full.kind(), BackendErrorKind::Full);
    assert_eq!((slots.free(), slots.held()), (0, vec![lease]), "it is not known to be over yet");
    assert_eq!(heard.steps(), []);
    rig.faults.on_commit(None);
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(2)]);
    rig.settle().await;
    assert_eq!((slots.free(), slots.held_count()), (0, 1));
    assert_eq!(heard.steps(), [(id(1), Some(EventKind::Complete)), (id(2), Some(EventKind::Claim))]);
}

#[tokio::test]
async fn a_step_of_another_handle_frees_the_place_once_although_a_group_fails() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    rig.commit(add_plain([1, 2, 3])).await;
    rig.claim(any(&slots)).await;
    let token = slots.cancellation(slots.held()[0]).unwrap();
    let claimed = rig.stand(any(&slots)).await;
    rig.faults.on_commit(Some(Fault::Full));
    rig.step_elsewhere(1, &Event::Complete { output: Output::none() });
    soon(rig.backend.commit(add_plain([9]))).await.unwrap_err();
    assert_eq!((slots.free(), slots.held_count()), (0, 1));
    assert!(!token.is_cancelled());
    rig.faults.on_commit(None);
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(2)]);
    rig.settle().await;
    assert!(token.is_cancelled(), "there is no point in going on");
    assert_eq!((slots.free(), slots.held_count()), (0, 1));
}

#[tokio::test]
async fn a_cancel_of_another_handle_reaches_the_worker_and_leaves_it_its_place() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    rig.commit(add_plain([1])).await;
    rig.claim(any(&slots)).await;
    let lease = slots.held()[0];
    rig.step_elsewhere(1, &Event::Cancel);
    rig.heeded().await;
    assert!(slots.cancellation(lease).expect("it is still held").is_cancelled());
    assert_eq!(slots.free(), 0);
}

#[tokio::test]
async fn the_jobs_of_a_handle_that_is_gone_are_due_again() {
    let rig = Rig::new();
    rig.commit(add_plain([1, 2])).await;
    for n in [1, 2] {
        rig.step_elsewhere(n, &Event::Claim { assignee: AssigneeId::new("gone").unwrap() });
    }
    let mut elsewhere = Elsewhere { changed: true, ..Elsewhere::default() };
    elsewhere.orphaned.push(rig.job(1).await.lease());
    // Meanwhile it has another holder: of an attempt that is over nobody has to be freed.
    elsewhere.orphaned.push(Lease { attempt: crate::Attempt(7), ..rig.job(2).await.lease() });
    rig.faults.tell(elsewhere);
    rig.heeded().await;
    assert_eq!((rig.status(1).await, rig.status(2).await), (Status::UnknownRetry, Status::Running));
    assert_eq!(rig.job(1).await.crashes, 1);
}

#[tokio::test]
async fn a_handle_that_was_forgotten_looks_at_all_it_holds() {
    let rig = Rig::new();
    let slots = Slots::new(2);
    rig.commit(add_plain([1, 2])).await;
    rig.claim(any(&slots)).await;
    rig.step_elsewhere(1, &Event::LoseWorker);
    rig.faults.tell(Elsewhere { changed: true, forgotten: true, ..Elsewhere::default() });
    rig.heeded().await;
    assert_eq!(slots.held().iter().map(|lease| lease.id).collect::<Vec<_>>(), [id(2)]);
}

/// What is due by the clock may have been enqueued elsewhere.
#[tokio::test]
async fn a_timer_set_elsewhere_is_kept() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let claimed = rig.stand(any(&slots)).await;
    let later = new_job(1).run_after(Duration::from_secs(60));
    rig.backend.enqueue_in([later], |number, work| rig.within(Verdict::Commit, number, work)).unwrap();
    rig.heeded().await;
    rig.clock.advance(Duration::from_secs(61));
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)]);
}

#[tokio::test]
async fn a_place_given_back_by_a_group_that_fails_is_given_back_once() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    rig.commit(add_plain([1])).await;
    let held = rig.claim(any(&slots)).await;
    assert_eq!(held.len(), 1);
    rig.commit(add([NewJob::new("orphan", b"").id(id(9))])).await;
    let orphan = rig.claim(of_kind(&Slots::new(1), "orphan")).await;
    rig.commit(add_plain([2, 3, 4, 5, 6])).await;
    rig.faults.break_job(id(9), full());
    rig.step_elsewhere(1, &Event::Complete { output: Output::none() });
    let mut elsewhere = Elsewhere { changed: true, ..Elsewhere::default() };
    elsewhere.touched.push(id(1));
    elsewhere.orphaned.push(orphan[0].lease());
    rig.faults.tell(elsewhere);
    for _ in 0..3 {
        let error = soon(rig.backend.commit(Batch::default())).await.unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Full);
    }
    rig.faults.mend_job(id(9));
    assert_eq!(rig.claim(any(&slots)).await.len(), 1, "there is one place");
    assert_eq!(slots.held_count(), 1);
}
