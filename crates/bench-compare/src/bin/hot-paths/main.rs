//! The hot paths, to be run where instructions are counted: `cargo xtask instructions`.
//!
//! `list` prints a line for each path: its name, the engine, how often to repeat it, how many jobs one repetition is for, and what
//! it is, with tabs between. `run PATH ENGINE REPETITIONS DIR` runs one, its files in the empty directory `DIR`. What comes before
//! the repetitions costs the same however many there are, so that the difference between two runs is the path alone.

mod gate;
mod jobs;
mod parts;
mod queue;

use std::path::Path;
use std::process::ExitCode;

use bench_compare::Res;

use queue::{Memory, Redb, Sqlite};

/// One path on one engine.
struct HotPath {
    name: &'static str,
    engine: &'static str,
    what: &'static str,
    /// Enough to be counted, few enough to be counted in seconds.
    repetitions: u64,
    /// Jobs of one repetition.
    jobs: u64,
    /// Runs it so often.
    run: fn(&Path, u64) -> Res<()>,
}

const ENQUEUE: &str = "64 callers enqueue a job each, in one group";
const DRAIN: &str = "16 jobs are completed, each by itself, and 16 claimed in their place, in one group";
const CHECK: &str = "a new job is checked against the limits";
const DECIDE: &str = "a claim and a completion are decided";
const CODEC: &str = "a job's state and its body are sealed and unsealed";
const INDEX: &str = "a job leaves its place among 10,000 due ones and takes it again";

const fn groups(
    name: &'static str,
    engine: &'static str,
    what: &'static str,
    repetitions: u64,
    jobs: usize,
    run: fn(&Path, u64) -> Res<()>,
) -> HotPath {
    HotPath { name, engine, what, repetitions, jobs: jobs as u64, run }
}

const fn part(
    name: &'static str,
    engine: &'static str,
    what: &'static str,
    run: fn(&Path, u64) -> Res<()>,
) -> HotPath {
    HotPath { name, engine, what, repetitions: 5_000, jobs: 1, run }
}

const PATHS: [HotPath; 10] = [
    groups("enqueue-64", "redb", ENQUEUE, 50, queue::CALLERS, queue::enqueue::<Redb>),
    groups("enqueue-64", "sqlite", ENQUEUE, 50, queue::CALLERS, queue::enqueue::<Sqlite>),
    groups("enqueue-64", "memory", ENQUEUE, 50, queue::CALLERS, queue::enqueue::<Memory>),
    groups("drain-16", "redb", DRAIN, 100, queue::SLOTS, queue::drain::<Redb>),
    groups("drain-16", "sqlite", DRAIN, 100, queue::SLOTS, queue::drain::<Sqlite>),
    groups("drain-16", "memory", DRAIN, 100, queue::SLOTS, queue::drain::<Memory>),
    part("check", "none", CHECK, parts::check),
    part("decide", "none", DECIDE, parts::decide_steps),
    part("codec", "redb", CODEC, parts::codec),
    part("index", "redb", INDEX, parts::index),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match answer(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hot-paths: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: &[&str]) -> Res<()> {
    match arguments {
        ["list"] => {
            for HotPath { name, engine, what, repetitions, jobs, .. } in PATHS {
                println!("{name}\t{engine}\t{repetitions}\t{jobs}\t{what}");
            }
            Ok(())
        }
        ["run", name, engine, repetitions, dir] => {
            let chosen = PATHS.iter().find(|path| (path.name, path.engine) == (*name, *engine));
            let path = chosen.ok_or_else(|| format!("there is no path {name} on {engine}"))?;
            let repetitions = repetitions.parse().map_err(|_| format!("{repetitions:?} is not a number"))?;
            (path.run)(Path::new(dir), repetitions)
        }
        _ => Err("use: hot-paths list | run PATH ENGINE REPETITIONS DIR".into()),
    }
}
