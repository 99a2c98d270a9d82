//! The project's own chores. `cargo xtask help` lists them.

mod manifest;
mod tidy;
mod tree;

use std::process::ExitCode;

const HELP: &str = "\
The project's own chores.

Usage: cargo xtask <chore>

  help      prints this
  features  prints the features of the package poolqueue, one a line, `default` left out
  tidy      checks the rules a machine can keep; exits with 1 when one is broken
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
        [chore @ ("help" | "features" | "tidy"), extra, ..] => {
            Err(Failed::Usage(format!("{chore} takes no argument, {extra:?} was given")))
        }
        [unknown, ..] => {
            Err(Failed::Usage(format!("there is no chore named {unknown:?}; `cargo xtask help` lists them")))
        }
    }
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
        for chore in ["help", "features", "tidy"] {
            assert!(help.contains(&format!("  {chore} ")), "{chore}");
        }
        for (arguments, named) in [(&["prvoe"][..], "\"prvoe\""), (&["tidy", "--fast"], "\"--fast\"")] {
            let Err(Failed::Usage(message)) = run(arguments) else { panic!("{arguments:?} is accepted") };
            assert!(message.contains(named), "{message}");
        }
    }
}
