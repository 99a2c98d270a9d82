//! A queue under steady load does not grow: neither its memory nor its file, its descriptors or its threads.
//!
//! Each run is a process of its own. The figures `R14_REDB` and `R14_SQLITE` are transitions; `--path` of the program
//! `soak` goes on with a store that is there already.
#![cfg(all(target_os = "linux", any(feature = "redb", feature = "sqlite")))]

use std::process::{Command, Output};

use poolqueue_testkit::proof::{Proof, figure, seed};
use poolqueue_testkit::soak::Sample;

/// Transitions of a run with a planted fault, and jobs that are kept in it.
const PLANTED: u64 = 30_000;
const PLANTED_WINDOW: u64 = 1_000;
/// Runs with fewer transitions keep few jobs, so that the window is full before the warm-up is over.
const SHORT: u64 = 1_000_000;
/// What is planted, and what is then found to be wrong.
const PLANTS: [(&str, &str); 4] = [
    ("memory", "memory grew"),
    ("descriptor", "descriptors grew"),
    ("thread", "threads grew"),
    ("retention", "the file grew"),
];

#[cfg(feature = "redb")]
#[test]
fn a_queue_on_redb_is_steady() {
    prove("redb", "soak, transitions, redb", figure("R14_REDB", 120_000));
}

#[cfg(feature = "sqlite")]
#[test]
fn a_queue_on_sqlite_is_steady() {
    prove("sqlite", "soak, transitions, SQLite", figure("R14_SQLITE", 120_000));
}

fn prove(backend: &str, what: &'static str, transitions: u64) {
    let seed = seed();
    let found = soak(backend, transitions, seed, None);
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success(), "seed {seed}: {text}{}", String::from_utf8_lossy(&found.stderr));
    let tried =
        text.lines().filter_map(|line| line.parse::<Sample>().ok()).next_back().map_or(0, |s| s.transitions);
    let caught = PLANTS.iter().filter(|(plant, wrong)| is_caught(backend, seed, plant, wrong)).count();
    let (planted, caught) = (PLANTS.len() as u64, caught as u64);
    Proof { row: "R14", what, tried, failed: 0, seed, planted, caught }.print();
}

fn is_caught(backend: &str, seed: u64, plant: &str, wrong: &str) -> bool {
    let found = soak(backend, PLANTED, seed, Some(plant));
    let text = String::from_utf8_lossy(&found.stdout);
    let caught =
        !found.status.success() && text.lines().any(|line| line.starts_with("wrong") && line.contains(wrong));
    if !caught {
        eprintln!("{plant} was not caught: {text}{}", String::from_utf8_lossy(&found.stderr));
    }
    caught
}

fn soak(backend: &str, transitions: u64, seed: u64, plant: Option<&str>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let window = match plant {
        Some(_) => PLANTED_WINDOW,
        None if transitions < SHORT => 2_000,
        None => 20_000,
    };
    let mut program = Command::new(env!("CARGO_BIN_EXE_soak"));
    program.args(["--backend", backend, "--path"]).arg(directory.path().join("store"));
    program.args(["--transitions", &transitions.to_string(), "--window", &window.to_string()]);
    program.args(["--seed", &seed.to_string()]);
    if let Some(plant) = plant {
        program.args(["--plant", plant]);
    }
    program.output().unwrap()
}
