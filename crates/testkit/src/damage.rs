//! Damaged files: what a store may answer when it is given one, tried many times over.
//!
//! A [`Sample`] is what the files of a store were at one moment and what was stored in them. Each case changes a copy, opens
//! it, reads everything and works with it. The rule, for every store:
//!
//! - A copy that is refused is refused with a reason of a kind that says so, and is byte for byte what it was.
//! - From one that is opened, everything that is returned was stored: whatever cannot be returned is `Corrupted`. Only while
//!   the full check (`verify`) calls the store damaged may something be missing from an answer.
//! - When the full check finds nothing, everything is there, as after one of the commits that `Sample::whole` lists, and
//!   the store works on.
//! - What `salvage` makes of a copy that was refused or found damaged is a sound store with nothing in it that was not
//!   stored, everything that is not in it is told as lost, and the copy is byte for byte what it was.
//! - Nothing panics, takes long, or eats memory.

mod case;
mod contents;
mod controls;
mod judge;
mod mutation;
mod sample;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use poolqueue_core::salvage::Salvaged;
use poolqueue_core::{BackendError, Store};

use crate::proof::{self, Proof};

pub use case::Fate;
pub use contents::Contents;
pub use mutation::Mutation;
pub use sample::{Commits, Files, Sample};

/// A kind of store that keeps files.
pub trait Subject {
    /// The store.
    type Store: Store;

    /// What follows the store's path in the names of its files, its own first: `""`, `"-wal"`.
    const FILES: &'static [&'static str];

    /// Opens the store at a path, and makes one where there is none.
    ///
    /// # Errors
    /// What the store reports.
    fn open(&self, path: &Path) -> Result<Self::Store, BackendError>;

    /// Makes a new store of what is left of a damaged one.
    ///
    /// # Errors
    /// What the store reports.
    fn salvage(&self, from: &Path, to: &Path) -> Result<Salvaged, BackendError>;
}

/// How long one case may take. A slow machine takes a hundredth of it.
const CASE: Duration = Duration::from_secs(20);
/// Bytes by which the memory of the process may grow in one case.
const GROWTH: u64 = 512 << 20;
/// How often the progress of many cases is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Tries as many cases as the figure `name` says, prints what was tried, and panics with the seed and the case when
/// the rule did not hold.
///
/// # Panics
/// When it does not hold, or when a planted fault was not caught.
pub fn prove<S: Subject>(subject: &S, samples: &[Sample], what: &'static str, name: &str, usual: u64) {
    let (tried, seed) = (proof::figure(name, usual), proof::seed());
    let scratch = Scratch::new();
    let quiet = case::Quiet::new();
    let (planted, caught) = controls::run_all(subject, samples, scratch.path());
    let began = Instant::now();
    let (mut told, mut tally) = (began, Tally::default());
    for number in 0..tried {
        match one(subject, samples, scratch.path(), seed, number) {
            Ok(fate) => tally.note(fate),
            Err(wrong) => {
                drop(quiet);
                panic!("{wrong}");
            }
        }
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            eprintln!(
                "{what}: {} of {tried} in {:.0} s: {tally:?}",
                number + 1,
                began.elapsed().as_secs_f64()
            );
        }
    }
    drop(quiet);
    eprintln!("{what}: {tried} in {:.1} s: {tally:?}", began.elapsed().as_secs_f64());
    assert!(tally.refused > 0 && tally.opened > 0, "the damage always or never matters: {tally:?}");
    Proof { row: "R5", what, tried, failed: 0, seed, planted, caught }.print();
}

/// Tries the case of this number.
fn one<S: Subject>(
    subject: &S,
    samples: &[Sample],
    scratch: &Path,
    seed: u64,
    number: u64,
) -> Result<Fate, String> {
    let mut random = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
    let sample = &samples[random.usize(..samples.len())];
    let mutation = Mutation::draw(&mut random, sample);
    let told = format!("POOLQUEUE_SEED={seed}, case {number}: {mutation:?} of the {} file", sample.name);
    let directory = scratch.join("case");
    // A store that takes the process along leaves the case behind.
    std::fs::write(scratch.join("case.txt"), &told).expect("the scratch directory can be written to");
    case::run(subject, sample, &mutation, &directory, CASE).map_err(|wrong| format!("{told}: {wrong}"))
}

/// What became of the copies.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    /// Opened, and found damaged.
    flawed: u64,
    opened: u64,
    /// Of the refused and the flawed: a new store was made.
    salvaged: u64,
    /// Jobs in those new stores, and jobs that were stored.
    jobs: u64,
    of_jobs: u64,
}

impl Tally {
    fn note(&mut self, fate: Fate) {
        match fate {
            Fate::Whole => self.opened += 1,
            Fate::Refused(saved) | Fate::Flawed(saved) => {
                if matches!(fate, Fate::Refused(_)) {
                    self.refused += 1;
                } else {
                    self.flawed += 1;
                }
                self.salvaged += u64::from(saved.is_some());
                if let Some((jobs, of_jobs)) = saved {
                    self.jobs += jobs;
                    self.of_jobs += of_jobs;
                }
            }
        }
    }
}

/// A directory in memory where there is one, that goes when this does.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Scratch(made.expect("a directory for scratch files can be made"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
