//! Kills a process under load again and again, and compares what the store holds with what it had acknowledged.
#![cfg(feature = "redb")]

mod support;

use std::time::Duration;

use support::acknowledged::Acknowledged;
use support::child::Child;
use support::{Jobs, Place, dump, rounds};

const BACKEND: &str = "redb";

#[test]
fn no_acknowledged_job_is_lost_by_kill_9() {
    let rounds = rounds(20);
    let place = Place::new("stress.redb");
    let mut acknowledged = Acknowledged::default();
    let mut jobs = Jobs::new();
    for round in 0..rounds {
        let mut child = Child::start(BACKEND, place.store(), round, "--workers 3 --callers 5 --ops 1000000");
        child.listen(50 + (round * 397) % 1_500, Duration::ZERO);
        acknowledged.take(&child.kill());
        jobs = dump(BACKEND, place.store());
        let wrong = acknowledged.compare(&jobs);
        assert!(wrong.is_empty(), "round {round}: {wrong:#?}");
        acknowledged.settle(&jobs);
    }
    println!(
        "kill -9: tried {rounds}, failed 0; {} calls acknowledged, {} jobs",
        acknowledged.answers,
        jobs.len()
    );
    assert!(
        acknowledged.enqueued.len() > rounds && acknowledged.ended.len() > rounds,
        "the children did too little"
    );
    acknowledged.assert_that_faults_are_found(&jobs);
}
