//! Groups: what waits is one transaction, in order, answered after its commit.

use std::sync::Mutex;

use super::*;
use crate::{Committed, Delete, Observer};

/// Returns when the writer is at the gate with a group of its own, so that what is asked next waits for it.
async fn busy(rig: &Rig) -> BoxFuture<'_, Receipt> {
    rig.faults.shut_gate();
    let before = rig.faults.commits();
    let first = rig.ask(add_plain([255])).await;
    soon(rig.faults.reached(before + 1)).await;
    first
}

#[tokio::test]
async fn commands_that_wait_are_one_transaction() {
    let rig = Rig::new();
    let first = busy(&rig).await;
    let mut asked = Vec::new();
    for n in 0..100 {
        asked.push(rig.ask(add_plain([n])).await);
    }
    rig.faults.open_gate();
    soon(first).await.unwrap();
    for answer in asked {
        assert!(soon(answer).await.unwrap().applied);
    }
    assert_eq!(rig.faults.commits(), 2);
}

#[tokio::test]
async fn commands_that_come_while_a_group_is_applied_are_written_with_it() {
    let singly = WriterOptions { group_commands: 1, ..WriterOptions::default() };
    for (options, groups) in [(WriterOptions::default(), 1), (singly, 4)] {
        let rig = Rig::with(options);
        let slots = Slots::new(1);
        rig.faults.shut_inside();
        let first = rig.ask(add_plain([1])).await;
        soon(rig.faults.inside()).await;
        rig.clock.advance(Duration::from_secs(3_600));
        let called = rig.clock.now();
        let second = rig.ask(add([new_job(2).priority(crate::Priority(-1))])).await;
        let mut claimed = rig.backend.claim(vec![any(&slots)]);
        assert!(begin(&mut claimed).await.is_none());
        let third = rig.ask(change(id(1), Event::Cancel)).await;
        rig.faults.open_gate();
        assert!(soon(first).await.unwrap().applied);
        // Stamped when it was asked for, not when the group began.
        let receipt = soon(second).await.unwrap();
        assert!(receipt.inserts[0].as_ref().unwrap().created_at >= called);
        assert!(soon(third).await.unwrap().applied);
        assert_eq!(soon(claimed).await.unwrap()[0][0].id, id(2));
        assert_eq!(rig.faults.commits(), groups);
    }
}

#[tokio::test]
async fn groups_are_bounded_by_commands_and_by_bytes() {
    let by_commands = WriterOptions { group_commands: 4, ..WriterOptions::default() };
    let by_bytes = WriterOptions { group_bytes: 2_400, ..WriterOptions::default() };
    let singly = WriterOptions { group_commands: 1, group_bytes: 0, ..WriterOptions::default() };
    for (options, groups) in [(by_commands, 3), (by_bytes, 6), (singly, 12)] {
        let rig = Rig::with(options);
        let first = busy(&rig).await;
        let mut asked = Vec::new();
        for n in 0..12 {
            let job = NewJob::new("kind", vec![0; 1_000]).id(id(n));
            asked.push(rig.ask(add([job])).await);
        }
        rig.faults.open_gate();
        soon(first).await.unwrap();
        for answer in asked {
            soon(answer).await.unwrap();
        }
        assert_eq!(rig.faults.commits(), 1 + groups);
    }
}

#[tokio::test]
async fn group_keeps_the_order_of_calls_and_later_ones_see_earlier_ones() {
    let rig = Rig::new();
    let first = busy(&rig).await;
    let inserted = rig.ask(add([new_job(1).unique("key")])).await;
    let refused = rig.ask(add([new_job(2).unique("key")])).await;
    let cancelled = rig.ask(change(id(1), Event::Cancel)).await;
    let taken_over = rig.ask(add([new_job(3).unique("key")])).await;
    let delete = Delete { id: id(1), only_from: None };
    let deleted = rig.ask(Batch { deletes: vec![delete], ..Batch::default() }).await;
    let again = rig.ask(add_plain([1])).await;
    rig.faults.open_gate();
    let before = soon(first).await.unwrap().inserts[0].as_ref().unwrap().sequence;
    let sequence = |receipt: Receipt| receipt.inserts[0].as_ref().unwrap().sequence;
    let sequences = [inserted.await, taken_over.await, again.await].map(|receipt| sequence(receipt.unwrap()));
    assert!(before < sequences[0] && sequences.is_sorted(), "{before}, {sequences:?}");
    assert_eq!(refused.await.unwrap().inserts, [Err(Rejected::Duplicate { id: id(1) })]);
    assert_eq!(cancelled.await.unwrap().changes[0].as_ref().unwrap().after.status, Status::Unscheduled);
    assert_eq!(deleted.await.unwrap().deletes, [Ok(id(1))]);
    assert_eq!((rig.faults.commits(), rig.status(1).await), (2, Status::InitialPending));
    rig.backend.verify().await.unwrap();
}

#[tokio::test]
async fn batch_that_fails_or_is_refused_leaves_the_others_of_its_group_alone() {
    let rig = Rig::new();
    rig.commit(add_plain([1, 2])).await;
    rig.faults.break_job(id(2), BackendError::corrupted("job 2 is damaged"));
    let first = busy(&rig).await;
    let before = rig.ask(add_plain([3])).await;
    let damaged = rig.ask(Batch { inserts: add_plain([4]).inserts, ..change(id(2), Event::Cancel) }).await;
    let refused = rig.ask(Batch { require_all: true, ..add_plain([5, 1]) }).await;
    let after = rig.ask(add_plain([6])).await;
    rig.faults.open_gate();
    soon(first).await.unwrap();
    assert!(before.await.unwrap().applied && after.await.unwrap().applied);
    let error = damaged.await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Corrupted, Applied::No));
    let receipt = refused.await.unwrap();
    assert!(!receipt.applied);
    assert_eq!(receipt.inserts, [Err(Rejected::NotApplied), Err(Rejected::Duplicate { id: id(1) })]);
    let found = rig.backend.get([3, 4, 5, 6].map(id).to_vec()).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(rig.faults.commits(), 3);
    rig.backend.verify().await.unwrap();
}

#[tokio::test]
async fn nobody_is_answered_or_told_before_the_commit() {
    let rig = Rig::new();
    let heard = Arc::new(Heard::default());
    rig.backend.observe(heard.clone());
    let slots = Slots::new(1);
    let mut claimed = rig.stand(any(&slots)).await;
    let mut answer = busy(&rig).await;
    assert!(begin(&mut answer).await.is_none() && begin(&mut claimed).await.is_none());
    assert_eq!((slots.held_count(), heard.steps()), (0, vec![]));
    rig.faults.open_gate();
    soon(answer).await.unwrap();
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(255)]);
    assert_eq!(heard.steps(), ["insert", "claim"]);
}

#[tokio::test]
async fn dropped_future_does_not_undo_what_was_asked() {
    let rig = Rig::new();
    let first = busy(&rig).await;
    drop(first);
    drop(rig.ask(add_plain([1])).await);
    rig.faults.open_gate();
    rig.settle().await;
    assert_eq!(rig.status(1).await, Status::InitialPending);
    assert_eq!(rig.status(255).await, Status::InitialPending);
}

#[tokio::test]
async fn caller_without_room_waits_and_may_give_up() {
    let rig = Rig::with(WriterOptions { queue_capacity: 2, ..WriterOptions::default() });
    let first = busy(&rig).await;
    let waiting = [rig.ask(add_plain([1])).await, rig.ask(add_plain([2])).await];
    let given_up = rig.ask(add_plain([3])).await;
    let patient = rig.ask(add_plain([4])).await;
    assert_eq!(rig.backend.health().queued_commands, 2);
    drop(given_up);
    rig.faults.open_gate();
    for answer in [first].into_iter().chain(waiting).chain([patient]) {
        assert!(soon(answer).await.unwrap().applied);
    }
    assert_eq!(rig.backend.get(vec![id(3)]).await.unwrap(), [None]);
    for _ in 0..10 {
        rig.settle().await;
    }
}

/// What transactions did, in words.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn steps(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Heard {
    fn committed(&self, what: Committed<'_>) {
        let mut heard = self.0.lock().unwrap();
        heard.extend(what.inserted.iter().map(|_| "insert".to_owned()));
        heard.extend(what.transitions.iter().map(|step: &Transition| step.event.to_string()));
        heard.extend(what.deleted.iter().map(|_| "delete".to_owned()));
    }
}

/// A reader of events that keeps a copy of the queue would have lost the job.
#[tokio::test]
async fn observer_hears_the_steps_of_a_group_in_their_order() {
    let rig = Rig::new();
    rig.commit(add_plain([1])).await;
    rig.commit(change(id(1), Event::Cancel)).await;
    let heard = Arc::new(Heard::default());
    rig.backend.observe(heard.clone());
    let first = busy(&rig).await;
    let delete = Delete { id: id(1), only_from: None };
    let deleted = rig.ask(Batch { deletes: vec![delete], ..Batch::default() }).await;
    let again = rig.ask(add_plain([1])).await;
    rig.faults.open_gate();
    for answer in [first, deleted, again] {
        soon(answer).await.unwrap();
    }
    assert_eq!(heard.steps(), ["insert", "delete", "insert"]);
}
