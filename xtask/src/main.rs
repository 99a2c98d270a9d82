//! The project's own chores. `cargo xtask help` lists them.

mod charts;
mod instructions;
mod manifest;
mod program;
mod prove;
mod rivals;
mod tidy;
mod tree;

use std::process::ExitCode;

const HELP: &str = "\
The project's own chores.

Usage: cargo xtask <chore>

  help      prints this
  features  prints the features of the package poolqueue, one a line, `default` left out
  tidy      checks the rules a machine can keep; exits with 1 when one is broken
  prove     tries to break the promises at the figures for a release, which takes hours, and prints the scoreboard

            prove [quick] [ROW...] [--percent N] [--seed N]
              quick        the figures for every change
              ROW          only these: R1, or one figure of it, R1_REDB
              --percent N  so much of each figure
              --seed N     draws the same cases again; without it each run draws new ones, so that runs add up
            prove planted [NUMBER...]
              plants each of the twelve faults in a copy of the tree; exits with 1 when a test does not notice
            prove mutants K/N [PACKAGE]
              tries part K (from 0) of N of all small changes that cargo-mutants makes to core and the stores

  rivals    builds the queues in benches/rivals and measures them beside poolqueue; exits with 1 when one cannot be

            rivals [ARGUMENT...]
              as bench-compare takes them; `cargo run --release -p bench-compare -- --help` lists them

  charts    draws the pictures of docs/performance.md into docs/charts; exits with 1 when there is nothing to draw

            charts FILE...
              what `--json FILE` of `rivals` or of bench-compare wrote; of several files medians count, void results do not

  instructions  counts the instructions of the hot paths under valgrind and compares them with docs/instructions.md; exits with 1
            when one takes more than 5 % more, and with 2 when nothing could be counted

            instructions [--write]
              --write      writes docs/instructions.md anew
";

/// Why a chore did not succeed. Its text is for the person who ran it.
enum Failed {
    /// The chore ran and says no.
    Check(String),
    /// The chore could not run.
    Usage(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(Failed::Check(report)) => {
            eprint!("{report}");
            ExitCode::from(1)
        }
        Err(Failed::Usage(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs the chore that `arguments` name. What it prints is its value.
fn run(arguments: &[&str]) -> Result<String, Failed> {
    match arguments {
        [] | ["help" | "--help" | "-h"] => Ok(HELP.to_owned()),
        ["features"] => features(),
        ["tidy"] => tidy::run(&tree::root()),
        ["prove", "planted", numbers @ ..] => prove::planted(&planted(numbers)?),
        ["prove", "mutants", shard] => prove::mutants(shard, None),
        ["prove", "mutants", shard, package] => prove::mutants(shard, Some(package)),
        ["instructions"] => instructions::run(false),
        ["instructions", "--write"] => instructions::run(true),
        ["rivals", arguments @ ..] => rivals::run(arguments),
        ["charts", files @ ..] => charts::run(files),
        ["prove", arguments @ ..] => prove::run(&chosen(arguments)?),
        ["instructions", unknown, ..] => {
            Err(Failed::Usage(format!("instructions takes --write alone, {unknown:?} was given")))
        }
        [chore @ ("help" | "features" | "tidy"), extra, ..] => {
            Err(Failed::Usage(format!("{chore} takes no argument, {extra:?} was given")))
        }
        [unknown, ..] => {
            Err(Failed::Usage(format!("there is no chore named {unknown:?}; `cargo xtask help` lists them")))
        }
    }
}

fn planted(numbers: &[&str]) -> Result<Vec<usize>, Failed> {
    numbers.iter().map(|text| number("planted", text).map(|number| number as usize)).collect()
}

/// What `prove` is asked to run.
fn chosen(arguments: &[&str]) -> Result<prove::Chosen, Failed> {
    let mut chosen = prove::Chosen { quick: false, only: Vec::new(), percent: 100, seed: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || {
            let missing = || Failed::Usage(format!("{argument} needs a number"));
            rest.next().ok_or_else(missing).and_then(|text| number(argument, text))
        };
        match *argument {
            "quick" => chosen.quick = true,
            "--percent" => chosen.percent = value()?,
            "--seed" => chosen.seed = Some(value()?),
            option if option.starts_with('-') => {
                return Err(Failed::Usage(format!("prove has no option {option}")));
            }
            row => chosen.only.push(row.to_owned()),
        }
    }
    Ok(chosen)
}

fn number(of: &str, text: &str) -> Result<u64, Failed> {
    text.parse().map_err(|_| Failed::Usage(format!("{of}: {text:?} is not a number")))
}

/// The features of the root package, one a line.
fn features() -> Result<String, Failed> {
    let path = tree::root().join("Cargo.toml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failed::Usage(format!("{}: {error}", path.display())))?;
    Ok(manifest::features(&text).map(|name| format!("{name}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_chore_and_unknown_ones_are_refused_by_name() {
        let Ok(help) = run(&[]) else { panic!("help fails") };
        for chore in ["help", "features", "tidy", "prove", "rivals", "charts", "instructions"] {
            assert!(help.contains(&format!("  {chore} ")), "{chore}");
        }
        let mistakes = [
            (&["prvoe"][..], "\"prvoe\""),
            (&["tidy", "--fast"], "\"--fast\""),
            (&["prove", "R99"], "R99"),
            (&["prove", "--percent"], "--percent needs"),
            (&["prove", "--seed", "x"], "\"x\""),
            (&["prove", "--fast"], "--fast"),
            (&["prove", "planted", "13"], "13"),
            (&["charts"], "--json"),
            (&["charts", "no-such-file"], "no-such-file"),
            (&["instructions", "--fast"], "\"--fast\""),
        ];
        for (arguments, named) in mistakes {
            let Err(Failed::Usage(message)) = run(arguments) else { panic!("{arguments:?} is accepted") };
            assert!(message.contains(named), "{message}");
        }
    }
}
