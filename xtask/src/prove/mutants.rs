//! Small changes to the code, one at a time: does a test fail for each? Needs cargo-mutants, and hours for all of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::program::{Ended, Program};
use crate::{Failed, tree};

/// A package whose code is changed, and the tests that have to notice: what follows `cargo test`.
struct Subject {
    package: &'static str,
    targets: &'static [&'static str],
}

const SUBJECTS: &[Subject] = &[
    Subject {
        package: "poolqueue-core",
        targets: &[
            "--package",
            "poolqueue-testkit",
            "--lib",
            "--test",
            "state_machine_doc",
            "--test",
            "memory",
        ],
    },
    Subject { package: "poolqueue-redb", targets: &["--lib", "--tests"] },
    Subject { package: "poolqueue-sqlite", targets: &["--lib", "--tests"] },
];

/// The least part of the mutants that has to be caught, in percent.
const LEAST: u64 = 90;
const LIMIT: Duration = Duration::from_secs(48 * 3_600);

/// What became of mutants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    caught: u64,
    missed: u64,
}

impl Outcome {
    /// Hangs count as caught: without the change the tests end.
    fn read(directory: &Path) -> Self {
        let lines = |name: &str| {
            fs::read_to_string(directory.join(name)).map_or(0, |text| text.lines().count() as u64)
        };
        Outcome { caught: lines("caught.txt") + lines("timeout.txt"), missed: lines("missed.txt") }
    }

    fn tried(self) -> u64 {
        self.caught + self.missed
    }

    fn holds(self) -> bool {
        self.tried() > 0 && self.caught * 100 >= self.tried() * LEAST
    }
}

/// Tries the mutants of this shard (`K/N`: of N equal parts the K-th, from 0), of all packages or of one.
pub fn run(shard: &str, only: Option<&str>) -> Result<String, Failed> {
    let subjects: Vec<&Subject> =
        SUBJECTS.iter().filter(|subject| only.is_none_or(|only| subject.package == only)).collect();
    if subjects.is_empty() {
        let known: Vec<&str> = SUBJECTS.iter().map(|subject| subject.package).collect();
        return Err(Failed::Usage(format!("mutants are made of {}", known.join(", "))));
    }
    let mut report = String::new();
    let mut holds = true;
    for subject in subjects {
        let outcome = subject.try_out(shard)?;
        let Outcome { caught, missed } = outcome;
        let line = format!(
            "R13 mutants of {}, part {shard}: tried {}, caught {caught}, missed {missed}\n",
            subject.package,
            outcome.tried()
        );
        holds &= outcome.holds();
        report += &line;
    }
    if holds { Ok(report) } else { Err(Failed::Check(report)) }
}

impl Subject {
    fn try_out(&self, shard: &str) -> Result<Outcome, Failed> {
        let output = tree::target().join("mutants").join(self.package);
        let _ = fs::remove_dir_all(&output);
        fs::create_dir_all(&output)
            .map_err(|error| Failed::Usage(format!("{}: {error}", output.display())))?;
        let log = output.join("log");
        let text = output.display().to_string();
        eprintln!("{}: part {shard} (log: {})", self.package, log.display());
        // In a build directory of cargo-mutants' own, not in ours.
        let program = Program::cargo_anywhere(&tree::root(), &log)
            .arguments(&["mutants", "--package", self.package, "--shard", shard])
            .arguments(&["--sharding", "round-robin", "--no-times", "--output", &text, "--"])
            .arguments(self.targets)
            .variable("POOLQUEUE_QUICK", "1")
            .limit(LIMIT);
        let ended = program.run()?;
        let outcome = Outcome::read(&output.join("mutants.out"));
        if outcome.tried() == 0 || ended == Ended::TooLate {
            let why = "cargo-mutants tried nothing; is it installed (cargo install cargo-mutants --locked)?";
            return Err(Failed::Check(format!("{why} See {}\n", log.display())));
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_ten_are_enough_and_none_tried_are_not() {
        assert!(Outcome { caught: 90, missed: 10 }.holds());
        assert!(!Outcome { caught: 89, missed: 11 }.holds());
        assert!(!Outcome::default().holds());
    }
}
