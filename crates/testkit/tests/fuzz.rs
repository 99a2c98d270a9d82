//! The corpus of the fuzz targets, and what a seeded mutation makes of it, given to the same functions: none of them
//! panics, computes for a second or takes a hundred megabytes. The figure `R12_CORPUS` is inputs per target; cargo-fuzz
//! goes on from the same corpus, see CONTRIBUTING.md.
#![cfg(any(feature = "redb", feature = "sqlite"))]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use poolqueue_testkit::fuzz::{Fault, TARGETS, Target, check, check_memory, computed, hush_engines, mutate};
use poolqueue_testkit::proof::{Proof, figure, seed};

/// Inputs whose memory is looked at together.
const TOGETHER: usize = 64;
/// How often what goes on for long says where it is.
const TELL: Duration = Duration::from_secs(10);

#[test]
fn no_input_of_a_fuzz_target_is_taken_badly() {
    hush_engines();
    let (seed, times) = (seed(), figure("R12_CORPUS", 300));
    let mut tried = 0;
    for target in TARGETS {
        let corpus = corpus(target.name);
        match trial(*target, &corpus, seed, times) {
            Ok(inputs) => tried += inputs,
            Err((input, fault)) => panic!("{}, seed {seed}: {fault:?} of {input:02x?}", target.name),
        }
    }
    let planted = [
        ("a length that is trusted", planted_panic as fn(&[u8])),
        ("a loop that does not end soon", planted_loop),
        ("a size that is believed", planted_size),
    ];
    let caught = planted.iter().filter(|(name, run)| is_caught(name, *run, seed)).count();
    Proof {
        row: "R12",
        what: "corpus and mutations, all targets",
        tried,
        failed: 0,
        seed,
        planted: planted.len() as u64,
        caught: caught as u64,
    }
    .print();
}

/// The inputs that are kept for a target. Each has some.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!paths.is_empty(), "{name} has no corpus");
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Gives a target its corpus, then `times` mutations of it. Returns how many inputs that were, or the one that was taken
/// badly.
fn trial(target: Target, corpus: &[Vec<u8>], seed: u64, times: u64) -> Result<u64, (Vec<u8>, Fault)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mutated = (0..times).map(|_| {
        let input = &corpus[random.usize(..corpus.len())];
        mutate(&mut random, input)
    });
    let inputs: Vec<Vec<u8>> = corpus.iter().cloned().chain(mutated).collect();
    // What a target sets up for itself is not the input's.
    check(target, &inputs[0]).map_err(|fault| (inputs[0].clone(), fault))?;
    let mut told = Instant::now();
    for (part, together) in inputs.chunks(TOGETHER).enumerate() {
        let mut bad = None;
        let large = check_memory(|| {
            bad = together.iter().find_map(|input| Some((input.clone(), check(target, input).err()?)));
        });
        if let Some(bad) = bad {
            return Err(bad);
        }
        large.map_err(|fault| (together.concat(), fault))?;
        if told.elapsed() >= TELL {
            told = Instant::now();
            eprintln!("{}: {} of {}", target.name, part * TOGETHER, inputs.len());
        }
    }
    Ok(inputs.len() as u64)
}

fn is_caught(name: &'static str, run: fn(&[u8]), seed: u64) -> bool {
    let found = trial(Target { name, run }, &[b"\x01 planted".to_vec()], seed, 1_000);
    eprintln!("planted {name}: {:?}", found.as_ref().map_err(|(_, fault)| fault));
    found.is_err()
}

fn planted_panic(bytes: &[u8]) {
    if let Some(length) = bytes.first() {
        assert!(usize::from(*length) < bytes.len().max(200), "planted");
    }
}

fn planted_loop(bytes: &[u8]) {
    let start = computed();
    while bytes.contains(&0xff) && computed() - start < Duration::from_millis(1_100) {
        std::hint::black_box((0..100_000_u64).sum::<u64>());
    }
}

fn planted_size(bytes: &[u8]) {
    if bytes.contains(&0xff) {
        std::hint::black_box(vec![1_u8; 200 << 20]);
    }
}
