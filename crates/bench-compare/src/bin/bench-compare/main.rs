//! Job queues beside each other. `bench-compare --help` says how.

mod arguments;
mod own;
mod rounds;
mod summary;
mod targets;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench_compare::{Listing, Measurement, Res, machine};

use arguments::{Arguments, Asked};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let program = own::program();
    if let Some(code) = program.answer(&arguments) {
        return code;
    }
    match arguments::parse(&arguments) {
        Ok(Asked::Help) => {
            print!("{}", arguments::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Asked::Measure(asked)) => compare(&program.listings(), &asked).unwrap_or_else(|error| {
            eprintln!("bench-compare: {error}");
            ExitCode::FAILURE
        }),
        Err(message) => {
            eprint!("bench-compare: {message}\n\n{}", arguments::USAGE);
            ExitCode::from(2)
        }
    }
}

/// Measures, prints, and says whether something failed.
fn compare(own: &[Listing], asked: &Arguments) -> Res<ExitCode> {
    let entrants = rounds::entrants(own, asked)?;
    let place = Place::new(asked.dir.as_deref())?;
    if machine::is_in_memory(&place.0) {
        eprintln!("{} is in memory: there are no syncs to measure", place.0.display());
    }
    let results = rounds::run(&entrants, asked, &place.0)?;
    let medians = bench_compare::medians(&results.measurements);
    if let Some(path) = &asked.json {
        write_json(path, &medians)?;
    }
    let cores = std::thread::available_parallelism()?;
    println!(
        "{} rounds, medians, payloads of {} B, {cores} cores\n",
        asked.rounds,
        bench_compare::PAYLOAD_BYTES
    );
    print!("{}", summary::table(&medians, &results.failures));
    let mut failed = !results.failures.is_empty();
    if asked.targets {
        let verdicts = targets::verdicts(&medians);
        print!("\n{}", targets::table(&verdicts));
        failed |= verdicts.iter().any(targets::Verdict::failed);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_json(path: &Path, results: &[Measurement]) -> Res<()> {
    let mut file = fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for result in results {
        serde_json::to_writer(&file, result)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// A directory for the stores, which goes when the program ends.
struct Place(PathBuf);

impl Place {
    /// Below `dir`, or else below the build's directory, which is on a disk where a temporary one may not be.
    fn new(dir: Option<&Path>) -> Res<Self> {
        let parent = match dir {
            Some(dir) => dir.to_owned(),
            None => match std::env::current_exe()?.parent().and_then(Path::parent) {
                Some(target) => target.join("bench-compare"),
                None => std::env::temp_dir(),
            },
        };
        let place = parent.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        Ok(Place(place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
