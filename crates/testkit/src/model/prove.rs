use std::time::{Duration, Instant};

use super::{FaultyFixture, SHRINKS, run};
use crate::Fixture;
use crate::proof::Proof;

/// Actions of one sequence, about.
const LENGTH: usize = 200;
/// Sequences between two looks at how far it is.
const CASES: u32 = 50;
/// Sequences and their length in which a planted fault has to show.
const PLANTED: (u32, usize) = (200, 60);
/// How often a long run says how far it is.
const NEWS: Duration = Duration::from_secs(10);

/// Compares the store of `F` with the one in memory over at least this many actions, then the same store with each of the
/// planted faults.
///
/// # Panics
/// With the first difference found, shrunk, and the seed.
pub fn prove<F: Fixture>(what: &'static str, steps: u64, seed: u64) -> Proof {
    let mut proof = Proof { row: "R6", what, tried: 0, failed: 0, seed, planted: 0, caught: 0 };
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut round = seed;
    while proof.tried < steps {
        match run::<F>(CASES, LENGTH, round, SHRINKS) {
            Ok(tried) => proof.tried += tried.steps as u64,
            Err(difference) => panic!("{what}, again with POOLQUEUE_SEED={round}: {difference}"),
        }
        round = round.wrapping_add(1);
        if told.elapsed() > NEWS {
            told = Instant::now();
            eprintln!("{what}: {} of {steps} steps, {:?}", proof.tried, begun.elapsed());
        }
    }
    for (nth, is_caught) in controls::<F>().into_iter().enumerate() {
        proof.planted += 1;
        if is_caught(seed) {
            proof.caught += 1;
        } else {
            eprintln!("{what}: {:?} was not caught", super::FAULTS[nth]);
        }
    }
    proof
}

/// Whether a difference shows, by fault.
fn controls<F: Fixture>() -> [fn(u64) -> bool; 9] {
    [
        is_caught::<F, 0>,
        is_caught::<F, 1>,
        is_caught::<F, 2>,
        is_caught::<F, 3>,
        is_caught::<F, 4>,
        is_caught::<F, 5>,
        is_caught::<F, 6>,
        is_caught::<F, 7>,
        is_caught::<F, 8>,
    ]
}

fn is_caught<F: Fixture, const FAULT: usize>(seed: u64) -> bool {
    run::<FaultyFixture<F, FAULT>>(PLANTED.0, PLANTED.1, seed, 1).is_err()
}
