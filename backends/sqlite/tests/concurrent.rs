//! Readers beside a writer.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use poolqueue_core::{
    BackendErrorKind, Detail, Filter, Phase, Query, Reader, Snapshot, Status, StatusSet, Store,
};
use support::{Rig, apply, claim, complete, id, insert, job};

/// Each transaction enqueues a job, finishes the one that is held and takes the next: at every moment
/// exactly one is held. Readers that caught the records of one commit with the lists of another would see none or
/// two, and `verify` would see counters that do not fit.
#[test]
fn readers_see_one_moment_while_the_writer_goes_on() {
    const ROUNDS: u64 = 400;
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    rig.apply(id(1), claim(), 0);
    let reader = rig.store.reader();
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let held = Query {
        filter: Filter::with_statuses(StatusSet::of_phase(Phase::Held)),
        after: None,
        limit: 9,
        detail: Detail::Full,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let snapshot = reader.snapshot().unwrap();
                let page = snapshot.select(&held).unwrap();
                assert_eq!(page.jobs.len(), 1, "{:?}", page.jobs);
                assert_eq!(snapshot.held().unwrap().len(), 1);
                let counts = snapshot.count(&Filter::everything()).unwrap();
                assert_eq!(counts.of(Status::Running), 1);
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                reader.snapshot().unwrap().verify().unwrap();
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        for round in 1..ROUNDS {
            rig.run(|txn| {
                insert(txn, job(round + 1), 0)?;
                apply(txn, id(round), &complete("done"), 1)?;
                apply(txn, id(round + 1), &claim(), 1)
            });
        }
        while reads.load(Ordering::SeqCst) < 4 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(rig.counts().of(Status::Completed), ROUNDS - 1);
}

/// Closing and reopening under readers: each read is answered, or is told that the store is closed.
#[test]
fn readers_live_through_closing_and_reopening() {
    let mut rig = Rig::default();
    rig.insert((1..=20).map(job), 0);
    let reader = rig.store.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let read = reader.snapshot().and_then(|snapshot| snapshot.get(&[id(1), id(20)]));
                match read {
                    Ok(jobs) => assert!(jobs.iter().all(Option::is_some)),
                    Err(error) => assert_eq!(error.kind(), BackendErrorKind::Closed, "{error}"),
                }
            }
        });
        for _ in 0..30 {
            rig.store.close().unwrap();
            rig.store.reopen().unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    rig.verify();
}
