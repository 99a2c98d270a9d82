//! How a model is tried, and how it is tried on a planted fault.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use poolqueue_core::{Planted, plant};
use poolqueue_testkit::proof::{Proof, seed};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// One execution of a model; a panic or a deadlock is a failure.
pub type Model = fn();

/// How many interleavings may pass before a planted fault is found.
const FOUND_WITHIN: u64 = 20_000;
/// Interleavings between two looks at the time.
const PART: u64 = 1_000;
/// How often what goes on for long says where it is.
const TELL: Duration = Duration::from_secs(10);
/// Changes of who runs in a run of PCT.
const DEPTH: usize = 3;

/// Tries `models` in `times` interleavings together, then with each of the faults planted, and prints the proof.
pub fn prove(
    row: &'static str,
    what: &'static str,
    times: u64,
    models: &[(&str, Model)],
    faults: &[(Planted, Model)],
) {
    let seed = seed();
    for (name, model) in models {
        eprintln!("{name}: seed {seed}");
        run(name, seed, times.div_ceil(models.len() as u64), *model, FailurePersistence::Print);
    }
    let caught = faults.iter().filter(|(fault, model)| finds(*fault, seed, *model)).count();
    Proof {
        row,
        what,
        tried: times.div_ceil(models.len() as u64) * models.len() as u64,
        failed: 0,
        seed,
        planted: faults.len() as u64,
        caught: caught as u64,
    }
    .print();
}

fn run(name: &str, seed: u64, times: u64, model: Model, persistence: FailurePersistence) {
    let mut told = Instant::now();
    for (part, start) in (0..times).step_by(PART as usize).enumerate() {
        let (seed, count) = (seed.wrapping_add(part as u64), PART.min(times - start) as usize);
        let random = RandomScheduler::new_from_seed(seed, count.div_ceil(2));
        Runner::new(random, config(persistence.clone())).run(model);
        let few = PctScheduler::new_from_seed(seed, DEPTH, count / 2);
        Runner::new(few, config(persistence.clone())).run(model);
        if told.elapsed() >= TELL {
            told = Instant::now();
            eprintln!("{name}: {} of {times}", start + count as u64);
        }
    }
}

/// Whether the model finds the fault. What it says of it is of no interest.
fn finds(fault: Planted, seed: u64, model: Model) -> bool {
    eprintln!("planted {fault:?}: a failure follows");
    plant(Some(fault));
    let run = || run(&format!("{fault:?}"), seed, FOUND_WITHIN, model, FailurePersistence::None);
    let found = catch_unwind(run).is_err();
    plant(None);
    eprintln!("planted {fault:?}: {}", if found { "found" } else { "NOT FOUND" });
    found
}

fn config(persistence: FailurePersistence) -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 19;
    config.failure_persistence = persistence;
    config.max_steps = MaxSteps::FailAfter(200_000);
    config.silence_warnings = true;
    config
}
