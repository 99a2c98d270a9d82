//! Starts the measurements, one process each, the contenders in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bench_compare::{Listing, Measurement, Order, Res, Shape};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Arguments;

/// From so many jobs on, a backlog is measured in one round only: filling it takes longer than anything else.
const LARGE: u64 = 100_000;

/// A contender in one of its modes, and the program that holds it.
#[derive(Clone, Debug)]
pub struct Entrant {
    program: PathBuf,
    listing: Listing,
    mode: String,
}

/// What went wrong with a measurement.
pub struct Failure {
    pub what: String,
    pub why: String,
}

/// Everything that was measured, and what could not be.
#[derive(Default)]
pub struct Results {
    pub measurements: Vec<Measurement>,
    pub failures: Vec<Failure>,
}

/// Those that `asked` names, of this program and of the rivals'.
pub fn entrants(own: &[Listing], asked: &Arguments) -> Res<Vec<Entrant>> {
    let mut listings: Vec<(PathBuf, Listing)> = Vec::new();
    let this = std::env::current_exe()?;
    listings.extend(own.iter().map(|listing| (this.clone(), listing.clone())));
    for rival in &asked.rivals {
        listings.extend(listed(rival)?.into_iter().map(|listing| (rival.clone(), listing)));
    }
    let names = &asked.contenders;
    let unknown = |name: &&String| listings.iter().all(|(_, listing)| modes(listing, name).is_empty());
    if let Some(unknown) = names.iter().find(unknown) {
        return Err(format!("there is no contender {unknown:?}").into());
    }
    let entrants = listings.into_iter().flat_map(|(program, listing)| {
        let mut wanted = if names.is_empty() { listing.modes.clone() } else { Vec::new() };
        for mode in names.iter().flat_map(|name| modes(&listing, name)) {
            if !wanted.contains(&mode) {
                wanted.push(mode);
            }
        }
        let entrant = move |mode| Entrant { program: program.clone(), listing: listing.clone(), mode };
        wanted.into_iter().map(entrant)
    });
    Ok(entrants.collect())
}

/// The modes of a contender that `name` stands for: all but those that have to be named, or the one behind the colon.
fn modes(listing: &Listing, name: &str) -> Vec<String> {
    if name == listing.contender {
        return listing.modes.clone();
    }
    let mode = name.split_once(':').filter(|(contender, _)| *contender == listing.contender);
    let all = listing.modes.iter().chain(&listing.named_modes);
    all.filter(|known| mode.is_some_and(|(_, mode)| *known == mode)).cloned().collect()
}

/// What a rival's program says that it holds.
fn listed(program: &Path) -> Res<Vec<Listing>> {
    let asked = Command::new(program).arg("list").stderr(Stdio::inherit()).output();
    let output = asked.map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{} list: {}", program.display(), output.status).into());
    }
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Measures all shapes, in directories below `dir`.
pub fn run(entrants: &[Entrant], asked: &Arguments, dir: &Path) -> Res<Results> {
    let plan = plan(entrants, asked);
    let bar = ProgressBar::new(plan.len() as u64);
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")?;
    bar.set_style(style);
    let mut results = Results::default();
    for (nth, (entrant, shape)) in plan.into_iter().enumerate() {
        let what =
            format!("{shape} {} {} {}", entrant.listing.contender, entrant.listing.engine, entrant.mode);
        bar.set_message(what.clone());
        let place = dir.join(nth.to_string());
        fs::create_dir_all(&place)?;
        match measured(entrant, shape, &place, asked) {
            Ok(measurement) => results.measurements.push(measurement),
            Err(error) => results.failures.push(Failure { what, why: error.to_string() }),
        }
        fs::remove_dir_all(&place)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(results)
}

/// What is measured after what: round for round, in each shape for shape, in each the contenders in turn, so that what
/// the machine does besides falls on all of them.
fn plan<'a>(entrants: &'a [Entrant], asked: &Arguments) -> Vec<(&'a Entrant, Shape)> {
    let mut plan = Vec::new();
    for round in 0..asked.rounds {
        for shape in asked.shapes.iter().filter(|shape| round == 0 || !is_large(**shape)) {
            let able = |entrant: &&Entrant| entrant.listing.shapes.iter().any(|name| name == shape.family());
            plan.extend(entrants.iter().filter(able).map(|entrant| (entrant, *shape)));
        }
    }
    plan
}

fn is_large(shape: Shape) -> bool {
    matches!(
        shape,
        Shape::Backlog(size) | Shape::Tags(size) | Shape::Future(size) | Shape::Cleanup(size) if size >= LARGE
    )
}

/// One measurement, in a process of its own.
fn measured(entrant: &Entrant, shape: Shape, dir: &Path, asked: &Arguments) -> Res<Measurement> {
    let order = Order {
        contender: entrant.listing.contender.clone(),
        engine: entrant.listing.engine.clone(),
        mode: entrant.mode.clone(),
        shape,
        dir: dir.to_owned(),
        seconds: asked.seconds,
        jobs: asked.jobs,
    };
    let output = Command::new(&entrant.program).arg("measure").args(order.arguments()).output()?;
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", output.status, said.trim()).into())
}
