//! What the tests that kill share: the children, what they said, and the comparison with what the store holds.
#![allow(dead_code)]

pub mod acknowledged;
pub mod child;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use poolqueue_testkit::proof::{self, Proof};

/// A directory for a store and for what its children say. It is kept when the test fails.
pub struct Place {
    directory: Option<tempfile::TempDir>,
    store: PathBuf,
}

impl Place {
    pub fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join(name);
        Place { directory: Some(directory), store }
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The names of the files beside the store that contain this.
    pub fn files(&self, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.store.parent().unwrap()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(part))
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (true, Some(directory)) = (std::thread::panicking(), self.directory.take()) {
            eprintln!("the store and what the children said are in {}", directory.keep().display());
        }
    }
}

/// Rounds on one store, then a new one is made: each is created once under fire, and none grows without end.
pub const ROUNDS_OF_A_STORE: usize = 50;

/// Tries this many rounds of kill -9, on stores of `rounds` each, and prints what was tried. `kill` runs so many rounds on
/// a store of its own and says how many faults it planted afterwards and how many of them it found.
pub fn prove(
    name: &str,
    few: u64,
    what: &'static str,
    mut kill: impl FnMut(usize, &mut fastrand::Rng) -> (u64, u64),
) {
    let (rounds, seed) = (proof::figure(name, few), proof::seed());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut proof = Proof { row: "R3", what, tried: 0, failed: 0, seed, planted: 0, caught: 0 };
    while proof.tried < rounds {
        eprintln!("{what}: {} of {rounds}, drawn with {seed}", proof.tried);
        let some = rounds.saturating_sub(proof.tried).min(ROUNDS_OF_A_STORE as u64);
        let (planted, caught) = kill(some as usize, &mut random);
        proof.tried += some;
        proof.planted += planted;
        proof.caught += caught;
    }
    proof.print();
}

/// What the store holds, by id.
pub type Jobs = BTreeMap<String, Job>;

#[derive(Clone)]
pub struct Job {
    pub status: String,
    pub attempt: u32,
}

impl Job {
    pub fn is_held(&self) -> bool {
        ["running", "cancelling"].contains(&self.status.as_str())
    }
}

/// The jobs in the store, which must verify.
pub fn dump(backend: &str, path: &Path) -> Jobs {
    let dump = Command::new(env!("CARGO_BIN_EXE_stress-dump"))
        .args(["--backend", backend, "--path"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(dump.stdout).unwrap();
    let last = text.lines().last();
    assert!(dump.status.success(), "{}{last:?}", String::from_utf8_lossy(&dump.stderr));
    assert_eq!(last, Some("verify ok"));
    let jobs = text.lines().filter(|line| !line.starts_with("counts ") && !line.starts_with("verify "));
    jobs.map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|job| (job[0].to_owned(), Job { status: job[1].to_owned(), attempt: job[2].parse().unwrap() }))
        .collect()
}
