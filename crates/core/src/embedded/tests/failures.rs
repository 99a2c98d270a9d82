//! Failing commits, and what they leave behind: nobody without an answer, no job without an owner.

use super::*;
use crate::lifecycle::Event as E;

/// The answer of a call after the handle was ended.
fn assert_ended<T: std::fmt::Debug>(answer: Result<T, BackendError>) {
    let error = answer.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Closed, Applied::No));
    let cause = std::error::Error::source(&error).expect("it names the cause");
    assert_eq!(cause.to_string(), "the sync failed");
}

#[tokio::test]
async fn failed_commit_ends_the_handle_until_it_is_reopened() {
    for (fault, found) in [(Fault::UnknownApplied, true), (Fault::UnknownLost, false)] {
        let rig = Rig::new();
        let claimed = rig.stand(of_kind(&Slots::new(1), "other")).await;
        rig.faults.on_commit(Some(fault));
        let error = soon(rig.backend.commit(add_plain([1]))).await.unwrap_err();
        assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Io, Applied::Unknown));
        assert_eq!(soon(claimed).await.unwrap_err().applied(), Applied::Unknown);
        let commits = rig.faults.commits();
        assert_ended(soon(rig.backend.commit(add_plain([2]))).await);
        assert_ended(soon(rig.backend.claim(vec![any(&Slots::new(1))])).await);
        assert_eq!(rig.faults.commits(), commits, "a sync is never retried");
        assert!(rig.backend.health().closed.unwrap().contains("the sync failed"));
        rig.faults.on_commit(None);
        soon(rig.backend.reopen()).await.unwrap();
        assert_eq!(rig.backend.health().closed, None);
        assert_eq!(rig.backend.get(vec![id(1)]).await.unwrap()[0].is_some(), found);
        let claimed = rig.stand(of_kind(&Slots::new(1), "other")).await;
        rig.commit(add([NewJob::new("other", b"").id(id(3))])).await;
        assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(3)]);
        rig.backend.verify().await.unwrap();
    }
}

#[tokio::test]
async fn reopening_a_handle_that_works_does_nothing() {
    let rig = Rig::new();
    let claimed = rig.stand(any(&Slots::new(1))).await;
    soon(rig.backend.reopen()).await.unwrap();
    rig.commit(add_plain([1])).await;
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)]);
}

/// redb reads no more of a file that it could not read once; as long as nothing had been written since, `reopen()` took the
/// handle for one that works.
#[tokio::test]
async fn a_store_that_refuses_before_anything_was_written_is_reopened() {
    let rig = Rig::new();
    rig.commit(add_plain([1])).await;
    rig.faults.refuse();
    soon(rig.backend.reopen()).await.unwrap();
    assert_eq!(rig.backend.health().closed, None);
    rig.commit(add_plain([2])).await;
    assert_eq!(rig.backend.verify().await.unwrap().jobs, 2);
}

#[tokio::test]
async fn commit_that_fails_while_reopening_leaves_the_handle_ended() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let claimed = rig.stand(any(&slots)).await;
    rig.faults.on_commit(Some(Fault::UnknownApplied));
    soon(rig.backend.commit(add_plain([1]))).await.unwrap_err();
    soon(claimed).await.unwrap_err();
    assert_eq!(soon(rig.backend.reopen()).await.unwrap_err().kind(), BackendErrorKind::Io);
    assert_ended(soon(rig.backend.commit(Batch::default())).await);
    rig.faults.on_commit(None);
    soon(rig.backend.reopen()).await.unwrap();
    assert_eq!(rig.status(1).await, Status::UnknownRetry);
}

/// What is done in the group whose outcome is unknown, and what is to be true after reopening: the status of job 1,
/// whether its slot is taken, and whether its worker was told to stop.
#[tokio::test]
async fn held_jobs_and_slots_agree_after_reopening() {
    use Fault::{UnknownApplied, UnknownLost};
    let cases = [
        (UnknownApplied, complete(id(1)), Status::Completed, 0, true),
        (UnknownLost, complete(id(1)), Status::Running, 1, false),
        (UnknownApplied, change(id(1), E::Release), Status::UnknownRetry, 0, true),
        // Its worker was not told: it went on for ever.
        (UnknownApplied, change(id(1), E::Cancel), Status::Cancelling, 1, true),
        (UnknownLost, change(id(1), E::Cancel), Status::Running, 1, false),
    ];
    for (fault, batch, status, held, told) in cases {
        let rig = Rig::new();
        let slots = Slots::new(1);
        rig.commit(add_plain([1])).await;
        let job = rig.claim(any(&slots)).await.remove(0);
        let token = slots.cancellation(job.lease()).unwrap();
        rig.faults.on_commit(Some(fault));
        soon(rig.backend.commit(batch.clone())).await.unwrap_err();
        rig.faults.on_commit(None);
        soon(rig.backend.reopen()).await.unwrap();
        let found = (rig.status(1).await, slots.held_count(), token.is_cancelled());
        assert_eq!(found, (status, held, told), "{fault:?} {:?}", batch.changes[0].event);
        rig.backend.verify().await.unwrap();
    }
}

#[tokio::test]
async fn jobs_claimed_in_a_group_of_unknown_outcome_are_handed_back() {
    let rig = Rig::new();
    let (slots, other) = (Slots::new(2), Slots::new(1));
    let claimed = rig.stand(any(&slots)).await;
    rig.faults.on_commit(Some(Fault::UnknownApplied));
    soon(rig.backend.commit(add_plain([1]))).await.unwrap_err();
    soon(claimed).await.unwrap_err();
    assert_eq!((rig.status(1).await, slots.held_count(), slots.free()), (Status::Running, 0, 2));
    rig.faults.on_commit(None);
    soon(rig.backend.reopen()).await.unwrap();
    let again = rig.claim(any(&other)).await;
    assert_eq!((again[0].id, again[0].attempt.0), (id(1), 2));
}

#[tokio::test]
async fn jobs_returned_while_the_handle_is_ended_are_handed_back_by_reopening() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let claimed = rig.stand(any(&slots)).await;
    rig.commit(add_plain([1])).await;
    rig.faults.on_commit(Some(Fault::UnknownLost));
    soon(rig.backend.commit(add_plain([2]))).await.unwrap_err();
    drop(claimed);
    rig.faults.on_commit(None);
    soon(rig.backend.reopen()).await.unwrap();
    assert_eq!((rig.status(1).await, slots.held_count()), (Status::UnknownRetry, 0));
}

#[tokio::test]
async fn full_disk_changes_nothing_and_ends_nothing() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let claimed = rig.stand(any(&slots)).await;
    rig.faults.on_commit(Some(Fault::Full));
    for _ in 0..2 {
        let error = soon(rig.backend.commit(add_plain([1]))).await.unwrap_err();
        assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Full, Applied::No));
        assert_eq!((slots.held_count(), slots.free()), (0, 1));
    }
    assert_eq!(rig.backend.health().closed, None);
    rig.faults.on_commit(None);
    rig.commit(add_plain([1])).await;
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)]);
    assert_eq!(slots.held_count(), 1);
}

#[tokio::test]
async fn job_left_behind_by_a_full_disk_is_claimed_when_there_is_room() {
    let rig = Rig::new();
    rig.commit(add_plain([1])).await;
    rig.faults.on_commit(Some(Fault::Full));
    let mut claimed = rig.backend.claim(vec![any(&Slots::new(1))]);
    assert!(begin(&mut claimed).await.is_none());
    soon(rig.faults.reached(2)).await;
    rig.faults.on_commit(None);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)]);
}

/// It stood on, although it was not to wait, and got an answer only by a later group.
#[tokio::test]
async fn claim_that_does_not_wait_is_told_of_a_full_disk() {
    let rig = Rig::new();
    rig.commit(add_plain([1])).await;
    rig.faults.on_commit(Some(Fault::Full));
    let error = soon(rig.backend.claim(vec![at_once(&Slots::new(1))])).await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Full, Applied::No));
}

/// Those behind the one at which the disk was full were told that the queue is closed.
#[tokio::test]
async fn every_caller_of_a_failed_group_is_told_why() {
    let rig = Rig::new();
    rig.faults.break_job(id(2), full());
    rig.faults.shut_gate();
    let first = rig.ask(add_plain([9])).await;
    soon(rig.faults.reached(1)).await;
    let asked = [rig.ask(add_plain([1])).await, rig.ask(add_plain([2])).await, rig.ask(add_plain([3])).await];
    rig.faults.open_gate();
    soon(first).await.unwrap();
    for answer in asked {
        let error = soon(answer).await.unwrap_err();
        assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Full, Applied::No));
    }
    rig.commit(add_plain([1])).await;
}

/// Nobody held the job any more, and nobody handed it back: it was running until the next start.
#[tokio::test]
async fn jobs_that_a_full_disk_kept_from_being_handed_back_are_handed_back_later() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let claimed = rig.stand(any(&slots)).await;
    rig.commit(add_plain([1])).await;
    rig.faults.on_commit(Some(Fault::Full));
    drop(claimed);
    soon(rig.backend.commit(add_plain([2]))).await.unwrap_err();
    rig.faults.on_commit(None);
    rig.settle().await;
    assert_eq!((rig.status(1).await, slots.held_count()), (Status::UnknownRetry, 0));
    rig.backend.verify().await.unwrap();
}

/// The jobs were handed back behind the close, and so never.
#[tokio::test]
async fn jobs_on_their_way_to_a_claimer_who_has_gone_are_handed_back_by_the_close() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let claimed = rig.stand(any(&slots)).await;
    rig.faults.shut_gate();
    let added = rig.ask(add_plain([1])).await;
    soon(rig.faults.reached(1)).await;
    drop(claimed);
    let mut closed = rig.backend.close();
    assert!(begin(&mut closed).await.is_none());
    rig.faults.open_gate();
    soon(added).await.unwrap();
    soon(closed).await.unwrap();
    assert_eq!(rig.stored.membership(&[id(1)]), [(true, false)]);
}

/// A dead writer thread left everyone waiting for ever, before and after.
#[tokio::test]
async fn nobody_waits_for_a_writer_that_broke() {
    let rig = Rig::new();
    let claimed = rig.stand(any(&Slots::new(1))).await;
    rig.faults.panic_next();
    let error = soon(rig.backend.commit(add_plain([1]))).await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Closed, Applied::Unknown));
    assert_eq!(soon(claimed).await.unwrap_err().kind(), BackendErrorKind::Closed);
    assert_eq!(soon(rig.backend.commit(add_plain([2]))).await.unwrap_err().kind(), BackendErrorKind::Closed);
    assert_eq!(soon(rig.backend.reopen()).await.unwrap_err().kind(), BackendErrorKind::Closed);
    assert_eq!(soon(rig.backend.close()).await.unwrap_err().kind(), BackendErrorKind::Closed);
    assert!(rig.backend.health().closed.is_some());
}

#[tokio::test]
async fn panic_in_a_transaction_ends_the_handle_and_answers_everyone() {
    let rig = Rig::new();
    let claimed = rig.stand(any(&Slots::new(1))).await;
    rig.faults.panic_inside_next();
    let error = soon(rig.backend.commit(add_plain([1]))).await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Corrupted, Applied::No));
    assert_eq!(soon(claimed).await.unwrap_err().kind(), BackendErrorKind::Corrupted);
    soon(rig.backend.reopen()).await.unwrap();
    rig.commit(add_plain([1])).await;
}

#[tokio::test]
async fn what_comes_after_the_close_is_not_applied() {
    let rig = Rig::new();
    rig.faults.shut_gate();
    let first = rig.ask(add_plain([1])).await;
    soon(rig.faults.reached(1)).await;
    let mut closed = rig.backend.close();
    assert!(begin(&mut closed).await.is_none());
    let late = rig.ask(add_plain([2])).await;
    let mut second_close = rig.backend.close();
    assert!(begin(&mut second_close).await.is_none());
    rig.faults.open_gate();
    assert!(soon(first).await.unwrap().applied);
    let error = soon(late).await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Closed, Applied::No));
    soon(closed).await.unwrap();
    soon(second_close).await.unwrap();
    assert_eq!(rig.stored.membership(&[id(1), id(2)]), [(true, false), (false, false)]);
}

#[tokio::test]
async fn dropping_the_backend_finishes_what_was_asked() {
    let rig = Rig::new();
    rig.faults.shut_gate();
    let first = rig.ask(add_plain([1])).await;
    soon(rig.faults.reached(1)).await;
    let second = rig.ask(add_plain([2])).await;
    drop((first, second));
    rig.faults.open_gate();
    let Rig { backend, stored, .. } = rig;
    drop(backend);
    assert_eq!(stored.membership(&[id(1), id(2)]), [(true, false); 2]);
}
