//! The pictures of docs/performance.md, drawn from what `bench-compare --json` wrote.

mod figures;
mod latency;
mod lines;
mod look;
mod scale;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use bench_compare::Shape;

use self::figures::Figures;
use self::lines::Titles;
use crate::{Failed, tree};

/// Where they go.
const DIRECTORY: &str = "docs/charts";

type Drawn<T> = Result<T, Box<dyn Error>>;

/// A picture: the name of its file, the shapes that it shows, and how it is drawn. There is none of no figures.
struct Chart {
    name: &'static str,
    shapes: &'static str,
    draw: fn(&Figures) -> Drawn<Option<String>>,
}

const CHARTS: [Chart; 3] = [
    Chart { name: "throughput-by-callers.svg", shapes: "enqueue-N", draw: throughput },
    Chart { name: "latency.svg", shapes: "idle or loaded", draw: latency },
    Chart { name: "claim-by-backlog.svg", shapes: "backlog-N", draw: claims },
];

fn throughput(figures: &Figures) -> Drawn<Option<String>> {
    let callers = |shape| if let Shape::Enqueue(callers) = shape { Some(callers) } else { None };
    let titles = Titles {
        chart: "Jobs enqueued a second",
        x: "callers, each awaiting its own enqueue (log)",
        y: "jobs per second (log)",
    };
    lines::draw(&titles, &figures.lines(callers, |result| Some(result.jobs_per_s)))
}

fn latency(figures: &Figures) -> Drawn<Option<String>> {
    let panels =
        [("empty queue, idle worker", Shape::Idle), ("at half the rate of the drain", Shape::Loaded)];
    latency::draw(&panels.map(|(title, shape)| (title, figures.percentiles(shape))))
}

fn claims(figures: &Figures) -> Drawn<Option<String>> {
    let waiting = |shape| if let Shape::Backlog(jobs) = shape { Some(jobs) } else { None };
    let titles = Titles {
        chart: "Claim 16 jobs and complete them, median",
        x: "jobs that wait (log)",
        y: "microseconds (log)",
    };
    lines::draw(&titles, &figures.lines(waiting, |result| result.p50_us))
}

/// Draws what the lines of JSON in `files` have figures for, and says what was drawn and what was left out.
pub fn run(files: &[&str]) -> Result<String, Failed> {
    if files.is_empty() {
        return Err(Failed::Usage("charts needs a file that `bench-compare --json` wrote".to_owned()));
    }
    let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    draw(&files, &tree::root().join(DIRECTORY))
}

fn draw(files: &[PathBuf], directory: &Path) -> Result<String, Failed> {
    let figures = Figures::read(files)?;
    let mut report: String = figures.void().iter().map(|what| format!("left out, void: {what}\n")).collect();
    let mut any = false;
    for chart in &CHARTS {
        let path = directory.join(chart.name);
        let failed = |error: &dyn Error| Failed::Usage(format!("{}: {error}", path.display()));
        let Some(svg) = (chart.draw)(&figures).map_err(|error| failed(&*error))? else {
            report += &format!("{} is not drawn: there are no figures of {}\n", chart.name, chart.shapes);
            continue;
        };
        fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        fs::write(&path, svg).map_err(|error| failed(&error))?;
        report += &format!("{}\n", path.display());
        any = true;
    }
    if any { Ok(report) } else { Err(Failed::Check(report)) }
}

#[cfg(test)]
mod tests;
