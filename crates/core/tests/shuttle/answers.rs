//! No answer is sent before the commit it speaks of has returned, whatever becomes of commits.

use std::sync::Arc;

use poolqueue_core::{Applied, Backend, BackendError, Embedded, Phase, Planted, Slots, Status};
use poolqueue_testkit::proof::figure;
use shuttle::future::block_on;

use crate::rig::{Fault, ModelStore, Rig, Synced, add, any_of, at_once, claim, commit, complete, id};
use crate::tries::prove;

#[test]
fn nobody_is_answered_before_the_commit_in_any_interleaving() {
    let faults = [(Planted::EarlyAnswer, answers as fn())];
    prove(
        "R1",
        "answer after commit, interleavings",
        figure("R1_MODEL", 3_000),
        &[("answers", answers)],
        &faults,
    );
}

/// Two callers enqueue, claim and complete while commits fail or do not. What they were told holds on stable storage at
/// that moment; what was refused is not there at the end.
fn answers() {
    let fault =
        || *any_of(&[None, None, Some(Fault::Full), Some(Fault::UnknownApplied), Some(Fault::UnknownLost)]);
    let rig = Rig::with_faults([fault(), fault(), fault()]);
    let callers: Vec<_> = [1, 2]
        .map(|n| {
            let synced = Arc::clone(&rig.synced);
            (n, rig.start(move |queue| enqueue_and_work(queue, &synced, n)))
        })
        .into();
    for (n, caller) in callers {
        match caller.join().unwrap() {
            None => assert!(rig.stored(n).is_some(), "job {n} was acknowledged and is gone"),
            Some(Applied::No) => assert!(rig.stored(n).is_none(), "job {n} was refused and is there"),
            // There or not.
            Some(_) => {}
        }
    }
    rig.end();
}

/// Says what became of the job of its own: whether its enqueue failed, and how.
fn enqueue_and_work(queue: &Embedded<ModelStore>, synced: &Synced, n: u8) -> Option<Applied> {
    let enqueued = commit(queue, add(&[n]));
    if let Ok(receipt) = &enqueued {
        assert!(receipt.is_complete(), "{receipt:?}");
        assert!(synced.job(id(n)).is_some(), "job {n} was acknowledged before the commit");
    }
    let failed = enqueued.err().map(|error| error.applied());
    if failed.is_some() {
        let _ = block_on(queue.reopen());
    }
    // What fails here has been looked at by then.
    let _ = work(queue, synced);
    failed
}

fn work(queue: &Embedded<ModelStore>, synced: &Synced) -> Result<(), BackendError> {
    for job in claim(queue, at_once(&Slots::new(1)))? {
        let (status, attempt) = synced.job(job.id).expect("a job was delivered before the commit");
        assert!(
            attempt == job.attempt && status.phase() == Phase::Held,
            "{} was delivered as {status}",
            job.id
        );
        if commit(queue, complete(job.lease()))?.is_complete() {
            let (status, _) = synced.job(job.id).expect("it is there");
            assert_eq!(status, Status::Completed, "told of the end before the commit");
        }
    }
    Ok(())
}
