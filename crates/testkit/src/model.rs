//! The model test: random batches on a store and on the store in memory, which must not differ.
//!
//! A run draws sequences of [`Action`]s: batches of everything a batch can hold, claims, reads, moves of the clock,
//! and closing and opening again. Both stores share one clock that stands still, so every answer has to be equal,
//! apart from the numbers that order enqueues. After each reopening and at the end everything stored is compared.
//! A failing sequence is shrunk to a small one that still fails.

mod action;
mod draw;
mod planted;
mod prove;
mod side;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;

use poolqueue::{EventKind, Status};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use crate::Fixture;

pub use action::{Action, Asked, By, What};
pub use planted::{FAULTS, Fault, FaultyFixture};
pub use prove::prove;
use world::World;

/// Sequences tried to shrink a failing one, at most.
const SHRINKS: u32 = 4_096;

/// What a run that found no difference has tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Sequences, each on a store of its own.
    pub cases: u32,
    /// Actions of all sequences together.
    pub steps: usize,
    /// Which events happened to jobs of which statuses.
    pub transitions: BTreeSet<(Status, EventKind)>,
    /// What the sequences were drawn with.
    pub seed: u64,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tried {} in {} cases, failed 0, seed {}", self.steps, self.cases, self.seed)
    }
}

/// A difference between the two stores.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What differed after the last action.
    pub what: String,
    /// The shortest sequence found that leads to it.
    pub actions: Vec<Action>,
    /// What the sequence was drawn with.
    pub seed: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "after {} actions (drawn with {}):", self.actions.len(), self.seed)?;
        self.actions.iter().try_for_each(|action| writeln!(f, "  {action:?}"))
    }
}

/// Compares the store of `F` with the one in memory over `cases` random sequences of about `steps` actions each.
///
/// The environment variable `POOLQUEUE_MODEL_CASES` replaces `cases`, `POOLQUEUE_MODEL_SEED` draws the same sequences
/// again.
///
/// # Errors
/// The first difference found, shrunk.
///
/// # Panics
/// When no sequence could be drawn.
pub fn compare<F: Fixture>(cases: u32, steps: usize) -> Result<Tried, Difference> {
    let cases = from_environment("POOLQUEUE_MODEL_CASES").unwrap_or(cases);
    let seed = from_environment("POOLQUEUE_MODEL_SEED").unwrap_or_else(|| fastrand::u64(..));
    run::<F>(cases, steps, seed, SHRINKS)
}

/// As [`compare`], whatever the environment says.
fn run<F: Fixture>(cases: u32, steps: usize, seed: u64, shrinks: u32) -> Result<Tried, Difference> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: shrinks,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let steps_tried = Cell::new(0);
    let transitions = RefCell::new(BTreeSet::new());
    // A range that begins at 1, so that shrinking may leave out all actions but one.
    let sequences = draw::Actions::sequential_strategy(1..=steps.saturating_mul(2).max(1));
    let outcome = TestRunner::new(config).run(&sequences, |((), actions, seen)| {
        let mut world = World::<F>::new();
        for action in &actions {
            if let Some(seen) = &seen {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            steps_tried.set(steps_tried.get() + 1);
            world.step(action).map_err(TestCaseError::fail)?;
        }
        world.end().map_err(TestCaseError::fail)?;
        transitions.borrow_mut().append(&mut world.transitions);
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(Tried { cases, steps: steps_tried.get(), transitions: transitions.into_inner(), seed }),
        Err(TestError::Fail(reason, (_, actions, _))) => {
            Err(Difference { what: reason.message().to_owned(), actions, seed })
        }
        Err(TestError::Abort(reason)) => panic!("no sequence was drawn: {reason}"),
    }
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Makes a `#[test]` that compares the store of a [`Fixture`] with the one in memory: so many random sequences of
/// about so many actions.
#[macro_export]
macro_rules! model_test {
    ($fixture:ty, $cases:expr, $steps:expr) => {
        #[test]
        fn random_batches_do_the_same_as_in_memory() {
            match $crate::model::compare::<$fixture>($cases, $steps) {
                Ok(tried) => println!("model of {}: {tried}", stringify!($fixture)),
                Err(difference) => panic!("{difference}"),
            }
        }
    };
}
