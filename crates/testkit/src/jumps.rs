//! Clocks that jump: in the middle of leases, delays, deadlines and suspensions the time of day is set forward or back,
//! by a second or by ten years, also while the store is closed. Every job must be where the rules say it is by now:
//!
//! - A lease ends when its holder was silent for as long by the monotonic clock, and never for any other reason.
//! - A job becomes due, or misses its deadline, when the store's time comes to it. That is the time of day, but it never
//!   goes back: while the clock is behind, it goes on at half its pace. A store that is opened begins with the clock.
//! - What has become due stays so, is claimed when somebody claims, and by one.

mod planted;
mod round;
mod timed;

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::proof::Proof;
use crate::{Fixture, run};
use planted::Late;
use round::Round;

/// Jumps on one store.
const PER_STORE: u64 = 60;
/// Stores on which a planted fault has to show.
const WITH_PLANT: u64 = 20;
/// How often a long run says how far it is.
const NEWS: Duration = Duration::from_secs(10);

/// Which clock the store is given, and how it jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// By seconds to years, forward and back.
    Jumps,
    /// A monotonic clock that follows the time of day, which jumps forward by a little more than a lease.
    Planted,
}

/// Makes so many jumps on stores of `F`, then some with planted faults.
///
/// # Panics
/// When a job is not where it has to be, with the seed.
pub fn prove<F: Fixture>(what: &'static str, jumps: u64, seed: u64) -> Proof {
    let mut proof = Proof { row: "R9", what, tried: 0, failed: 0, seed, planted: 0, caught: 0 };
    let mut random = Rng::with_seed(seed);
    let (begun, mut told) = (Instant::now(), Instant::now());
    while proof.tried < jumps {
        match on_one_store::<F>(&mut random, Time::Jumps, PER_STORE.min(jumps - proof.tried)) {
            Ok(tried) => proof.tried += tried,
            Err(wrong) => panic!("{what}, again with POOLQUEUE_SEED={seed}: {wrong}"),
        }
        if told.elapsed() > NEWS {
            told = Instant::now();
            eprintln!("{what}: {} of {jumps} jumps, {:?}", proof.tried, begun.elapsed());
        }
    }
    let caught = [
        is_caught::<F>(&mut random, Time::Planted, "lease"),
        is_caught::<Late<F>>(&mut random, Time::Jumps, "claimed"),
    ];
    proof.planted = caught.len() as u64;
    proof.caught = caught.into_iter().filter(|caught| *caught).count() as u64;
    proof
}

/// Whether what is wrong on purpose shows, as what it is, on the first store where it does any harm: not every jump does.
fn is_caught<F: Fixture>(random: &mut Rng, time: Time, expected: &str) -> bool {
    let mut outcomes = (0..WITH_PLANT).map(|_| on_one_store::<F>(random, time, PER_STORE));
    let first = outcomes.find_map(Result::err);
    let caught = first.as_ref().is_some_and(|wrong| wrong.contains(expected));
    if !caught {
        eprintln!("a planted fault was not caught: {first:?}");
    }
    caught
}

fn on_one_store<F: Fixture>(random: &mut Rng, time: Time, jumps: u64) -> Result<u64, String> {
    let random = random.fork();
    let mut outcome = Ok(0);
    run(async {
        outcome = match Round::<F>::new(time, random).await.run(jumps).await {
            Ok(()) => Ok(jumps),
            Err(wrong) => Err(wrong),
        };
    });
    outcome
}
