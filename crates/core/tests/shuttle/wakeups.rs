//! Who waits is woken: by a job, a slot, a capacity, a clock, and by what somebody hands back who has gone.

use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::{Backend, Job, Planted, Slots, Start};
use poolqueue_testkit::proof::figure;
use shuttle::future::{block_on, spawn};
use shuttle::thread;

use crate::ends::{close_answers_everyone, reopening_answers_everyone};
use crate::rig::{Rig, add, add_at, any, any_of, claim, commit, complete, id};
use crate::tries::{Model, prove};

#[test]
fn whoever_waits_is_woken_in_every_interleaving() {
    let models: [(&str, Model); 7] = [
        ("a claim and an enqueue", claims_and_enqueues),
        ("a capacity that is raised", raised_capacity),
        ("a slot that becomes free", freed_slot),
        ("a clock that moves", moved_clock),
        ("a claimer that goes", claimer_that_goes),
        ("a close among callers", close_answers_everyone),
        ("a reopening among callers", reopening_answers_everyone),
    ];
    let faults: [(Planted, Model); 7] = [
        (Planted::LostWakeUp, claims_and_enqueues),
        (Planted::LostWakeUp, raised_capacity),
        (Planted::LostWakeUp, freed_slot),
        (Planted::LostWakeUp, moved_clock),
        (Planted::SilentCapacity, raised_capacity),
        (Planted::LostDelivery, claimer_that_goes),
        (Planted::SilentEnd, close_answers_everyone),
    ];
    let what = "wake-up protocol, interleavings";
    prove("R11", what, figure("R11_MODEL", 7_000), &models, &faults);
}

/// Two claims wait, two jobs come, in one batch or two: each claim gets one of them.
fn claims_and_enqueues() {
    let rig = Rig::new();
    let claims: Vec<_> =
        (0..2).map(|_| rig.start(|queue| claim(queue, any(&Slots::new(1))).unwrap())).collect();
    let batches: Vec<&[u8]> = if *any_of(&[true, false]) { vec![&[1, 2]] } else { vec![&[1], &[2]] };
    let enqueues: Vec<_> = batches
        .into_iter()
        .map(|jobs| rig.start(move |queue| assert!(commit(queue, add(jobs)).unwrap().is_complete())))
        .collect();
    let mut claimed: Vec<Job> = claims.into_iter().flat_map(|claim| claim.join().unwrap()).collect();
    claimed.sort_by_key(|job| job.id);
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1), id(2)]);
    enqueues.into_iter().for_each(|enqueue| enqueue.join().unwrap());
    rig.end();
}

/// A claim waits for room: it gets its job whenever the capacity is raised.
fn raised_capacity() {
    let rig = Rig::new();
    let slots = Slots::new(0);
    let claimer = Arc::clone(&slots);
    let claimed = rig.start(move |queue| claim(queue, any(&claimer)).unwrap());
    let raised = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.set_capacity(1)
    });
    commit(&*rig.backend, add(&[1])).unwrap();
    raised.join().unwrap();
    assert_eq!(claimed.join().unwrap().len(), 1);
    rig.end();
}

/// A claim waits while its only slot is taken: it gets the next job whenever the first is completed.
fn freed_slot() {
    let rig = Rig::new();
    commit(&*rig.backend, add(&[1, 2])).unwrap();
    let slots = Slots::new(1);
    let first = claim(&*rig.backend, any(&slots)).unwrap().remove(0);
    let claimer = Arc::clone(&slots);
    let second = rig.start(move |queue| claim(queue, any(&claimer)).unwrap());
    let completed = rig.start(move |queue| commit(queue, complete(first.lease())).unwrap());
    assert!(completed.join().unwrap().is_complete());
    assert_eq!(second.join().unwrap()[0].id, id(2));
    assert_eq!(slots.held_count(), 1);
    rig.end();
}

/// A claim waits for a job that is due later: it gets it whenever that time comes.
fn moved_clock() {
    let rig = Rig::new();
    let claimed = rig.start(|queue| claim(queue, any(&Slots::new(1))).unwrap());
    let clock = Arc::clone(&rig.clock);
    commit(&*rig.backend, add_at(&[1], Start::After(Duration::from_secs(60)))).unwrap();
    let moved = thread::spawn(move || clock.advance(Duration::from_secs(60)));
    moved.join().unwrap();
    assert_eq!(claimed.join().unwrap().len(), 1);
    rig.end();
}

/// A claimer goes at any moment. The job is delivered to it, or it is somebody else's: never lost, and in no slot of
/// one who has gone.
fn claimer_that_goes() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    let (queue, places) = (Arc::clone(&rig.backend), Arc::clone(&slots));
    let going = spawn(async move { queue.claim(vec![any(&places)]).await.unwrap().concat() });
    let handle = going.abort_handle();
    let gone = thread::spawn(move || handle.abort());
    commit(&*rig.backend, add(&[1])).unwrap();
    gone.join().unwrap();
    let left = match block_on(going) {
        Ok(jobs) => {
            assert!(commit(&*rig.backend, complete(jobs[0].lease())).unwrap().is_complete());
            commit(&*rig.backend, add(&[2])).unwrap();
            id(2)
        }
        Err(_) => id(1),
    };
    let claimed = claim(&*rig.backend, any(&Slots::new(1))).unwrap();
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), [left]);
    assert_eq!(slots.held_count(), 0, "a slot is taken by a job of one who has gone");
    rig.end();
}
