//! Kills a process under load again and again, and compares what the store holds with what it had acknowledged.
#![cfg(feature = "redb")]

mod support;

use std::time::Duration;

use support::acknowledged::Acknowledged;
use support::child::Child;
use support::{Jobs, Place, dump, prove};

const BACKEND: &str = "redb";

/// Rounds in a debug build.
const FEW: u64 = 20;

/// So many rounds on one store.
fn kill(rounds: usize, random: &mut fastrand::Rng) -> (u64, u64) {
    let place = Place::new("stress.redb");
    let mut acknowledged = Acknowledged::default();
    let mut jobs = Jobs::new();
    for round in 0..rounds {
        let arguments = "--workers 3 --callers 5 --ops 1000000";
        let mut child = Child::start(BACKEND, place.store(), random.u32(..) as usize, arguments);
        child.listen(random.usize(1..1_500), Duration::ZERO);
        acknowledged.take(&child.kill());
        jobs = dump(BACKEND, place.store());
        let wrong = acknowledged.compare(&jobs);
        assert!(wrong.is_empty(), "round {round}: {wrong:#?}");
        acknowledged.settle(&jobs);
    }
    eprintln!("{rounds} rounds: {} calls acknowledged, {} jobs", acknowledged.answers, jobs.len());
    assert!(
        acknowledged.enqueued.len() > rounds && acknowledged.ended.len() > rounds,
        "the children did too little"
    );
    acknowledged.plant_faults(&jobs)
}

#[test]
fn no_acknowledged_job_is_lost_by_kill_9() {
    prove("R3_REDB", FEW, "rounds of kill -9, redb", kill);
}
