//! Ends: whatever ends, and whenever, everybody who asked is answered.

use poolqueue_core::{Backend, BackendErrorKind, Embedded, Job, Slots};
use shuttle::future::block_on;

use crate::rig::{Fault, ModelStore, Rig, add, any, any_of, claim, commit, id};

/// The queue is closed while jobs are enqueued and claimed. Who was told "ok" has its job stored, the others are told
/// that the queue is closed.
pub fn close_answers_everyone() {
    let rig = Rig::new();
    let claimed = rig.start(|queue| claim(queue, any(&Slots::new(2))));
    let enqueued: Vec<_> = [1, 2].map(|n| (n, rig.start(move |queue| commit(queue, add(&[n]))))).into();
    let closed = rig.start(|queue| block_on(queue.close()));
    for (n, enqueued) in enqueued {
        match enqueued.join().unwrap() {
            Ok(receipt) => assert!(receipt.is_complete() && rig.stored(n).is_some(), "job {n} is gone"),
            Err(error) => {
                assert_eq!(error.kind(), BackendErrorKind::Closed);
                assert!(rig.stored(n).is_none(), "job {n} was refused and is there");
            }
        }
    }
    match claimed.join().unwrap() {
        Ok(jobs) => assert!(jobs.iter().all(|job| job.attempt.0 == 1) && !jobs.is_empty()),
        Err(error) => assert_eq!(error.kind(), BackendErrorKind::Closed),
    }
    closed.join().unwrap().unwrap();
    rig.end();
}

/// A commit fails while jobs are enqueued and claimed; whoever hears of it reopens and asks again. Then all jobs are
/// there, once, and all claims have one.
pub fn reopening_answers_everyone() {
    let fault = Some(*any_of(&[Fault::UnknownApplied, Fault::UnknownLost]));
    let nth = *any_of(&[0, 1, 2]);
    let rig = Rig::with_faults((0..nth).map(|_| None).chain([fault]));
    let claims: Vec<_> = (0..2).map(|_| rig.start(claim_for_sure)).collect();
    let enqueues: Vec<_> = [1, 2].map(|n| rig.start(move |queue| enqueue_for_sure(queue, n))).into();
    enqueues.into_iter().for_each(|enqueue| enqueue.join().unwrap());
    let mut claimed: Vec<Job> = claims.into_iter().map(|claim| claim.join().unwrap()).collect();
    claimed.sort_by_key(|job| job.id);
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1), id(2)]);
    rig.end();
}

fn enqueue_for_sure(queue: &Embedded<ModelStore>, n: u8) {
    while commit(queue, add(&[n])).is_err() {
        // Fails when another commit has failed by then.
        let _ = block_on(queue.reopen());
    }
}

fn claim_for_sure(queue: &Embedded<ModelStore>) -> Job {
    let slots = Slots::new(1);
    loop {
        match claim(queue, any(&slots)) {
            Ok(mut jobs) => return jobs.remove(0),
            Err(_) => drop(block_on(queue.reopen())),
        }
    }
}
