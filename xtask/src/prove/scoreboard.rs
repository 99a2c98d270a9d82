//! Runs the rows and prints the scoreboard.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::line::Line;
use super::rows::{Place, ROWS, Row};
use crate::program::{Ended, Program};
use crate::{Failed, tree};

/// The longest a row may take: a release figure takes hours, a hang for ever.
const LIMIT: Duration = Duration::from_secs(12 * 3_600);

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// At the figures for every change instead of those for a release.
    pub quick: bool,
    /// Only these rows (`R1`) or figures (`R1_REDB`); all when there are none.
    pub only: Vec<String>,
    /// So much of each figure instead.
    pub percent: u64,
    /// What cases are drawn with; something new for each row when there is none.
    pub seed: Option<u64>,
}

/// Runs the chosen rows, prints a line for each as it ends, and says how many hold.
pub fn run(chosen: &Chosen) -> Result<String, Failed> {
    let rows = select(chosen)?;
    let bench = Bench { logs: tree::target().join("prove") };
    bench.build(&rows)?;
    let begun = Instant::now();
    let mut broken = 0;
    for row in &rows {
        let started = Instant::now();
        let result = bench.prove(row, chosen)?;
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(lines) => lines.iter().for_each(|line| println!("{line} ({seconds} s)")),
            Err(why) => {
                broken += 1;
                println!("{} {}: DOES NOT HOLD: {why} ({seconds} s)", row.row, row.figure);
            }
        }
    }
    let summary = format!(
        "scoreboard: {} of {} hold, {} s\n",
        rows.len() - broken,
        rows.len(),
        begun.elapsed().as_secs()
    );
    if broken == 0 { Ok(summary) } else { Err(Failed::Check(summary)) }
}

fn select(chosen: &Chosen) -> Result<Vec<&'static Row>, Failed> {
    let is_named = |row: &Row, name: &str| row.row == name || row.figure == name;
    if let Some(unknown) = chosen.only.iter().find(|name| !ROWS.iter().any(|row| is_named(row, name))) {
        let known: Vec<&str> = ROWS.iter().map(|row| row.figure).collect();
        return Err(Failed::Usage(format!("there is no row {unknown}; there are {}", known.join(", "))));
    }
    let wanted = |row: &&Row| chosen.only.is_empty() || chosen.only.iter().any(|name| is_named(row, name));
    Ok(ROWS.iter().filter(wanted).collect())
}

/// How much a row tries.
fn figure(row: &Row, chosen: &Chosen) -> u64 {
    let whole = if chosen.quick { row.quick } else { row.release };
    (whole.saturating_mul(chosen.percent) / 100).max(1)
}

struct Bench {
    logs: PathBuf,
}

impl Bench {
    /// Builds what the rows need, so that no row pays for another's.
    fn build(&self, rows: &[&Row]) -> Result<(), Failed> {
        let places: BTreeSet<Place> = rows.iter().map(|row| row.place).collect();
        let (modelled, plain): (Vec<Place>, Vec<Place>) = places.into_iter().partition(|place| place.shuttle);
        for place in modelled {
            self.build_one(&format!("{}-models", place.package), place, &place.target())?;
        }
        let targets: BTreeSet<Vec<&str>> = plain.iter().map(Place::target).collect();
        match plain.first() {
            Some(place) => self.build_one("tests", *place, &targets.into_iter().collect::<Vec<_>>().concat()),
            None => Ok(()),
        }
    }

    fn build_one(&self, name: &str, place: Place, targets: &[&str]) -> Result<(), Failed> {
        let log = self.logs.join(format!("build-{name}.log"));
        eprintln!("building {name} (log: {})", log.display());
        match self.cargo(place, &log).arguments(targets).arguments(&["--no-run"]).run()? {
            Ended::Well => Ok(()),
            _ => Err(Failed::Check(format!("it does not build, see {}\n", log.display()))),
        }
    }

    /// `cargo test` of what the place is in, the target left out.
    fn cargo(&self, place: Place, log: &Path) -> Program {
        let build = if place.shuttle { tree::target().join("shuttle") } else { tree::target() };
        let program = Program::cargo(&tree::root(), &build, log).arguments(&["test", "--release"]);
        let program = program.arguments(&place.packages());
        if place.shuttle { program.variable("RUSTFLAGS", "--cfg shuttle") } else { program }
    }

    /// The lines that the row printed, or why it does not hold.
    fn prove(&self, row: &Row, chosen: &Chosen) -> Result<Result<Vec<Line>, String>, Failed> {
        let asked = figure(row, chosen);
        let log = self.logs.join(format!("{}.log", row.figure));
        eprintln!("{}: {asked} (log: {})", row.figure, log.display());
        let mut program = self
            .cargo(row.place, &log)
            .arguments(&row.place.target())
            .arguments(&["--", "--exact", "--nocapture", row.test])
            .variable(&format!("POOLQUEUE_PROVE_{}", row.figure), &asked.to_string())
            .limit(LIMIT);
        if let Some(seed) = chosen.seed {
            program = program.variable("POOLQUEUE_SEED", &seed.to_string());
        }
        let ended = program.run()?;
        let text = fs::read(&log).unwrap_or_default();
        let lines: Vec<Line> = String::from_utf8_lossy(&text).lines().filter_map(Line::parse).collect();
        Ok(judge(ended, lines, asked).map_err(|why| format!("{why}; see {}", log.display())))
    }
}

fn judge(ended: Ended, lines: Vec<Line>, asked: u64) -> Result<Vec<Line>, String> {
    match ended {
        Ended::Badly => return Err("the test failed".to_owned()),
        Ended::TooLate => return Err("it did not end".to_owned()),
        Ended::Well => {}
    }
    if lines.is_empty() {
        return Err("the test printed no proof".to_owned());
    }
    if let Some(line) = lines.iter().find(|line| !line.holds()) {
        return Err(format!("it is no proof: {line}"));
    }
    if let Some(line) = lines.iter().find(|line| line.tried < asked) {
        return Err(format!("it tried less than the {asked} it was asked for: {line}"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tried: u64) -> Line {
        let text = format!("proof R1 x: tried {tried}, failed 0, seed 1; control caught 1 of 1");
        Line::parse(&text).unwrap()
    }

    #[test]
    fn a_row_holds_only_by_enough_of_what_was_tried() {
        assert!(judge(Ended::Well, vec![line(10)], 10).is_ok());
        for (ended, lines, why) in [
            (Ended::Badly, vec![line(10)], "failed"),
            (Ended::TooLate, vec![line(10)], "did not end"),
            (Ended::Well, vec![], "no proof"),
            (Ended::Well, vec![line(9)], "less than the 10"),
            (Ended::Well, vec![line(10), Line { failed: 1, ..line(10) }], "no proof"),
        ] {
            let error = judge(ended, lines, 10).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn rows_are_chosen_by_row_or_figure_and_unknown_ones_are_named() {
        let chosen = |only: &[&str]| Chosen {
            quick: true,
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            percent: 100,
            seed: None,
        };
        let named = |only: &[&str]| -> usize {
            let Ok(rows) = select(&chosen(only)) else { panic!("{only:?} is refused") };
            rows.len()
        };
        assert_eq!(named(&[]), ROWS.len());
        assert_eq!(named(&["R1_REDB"]), 1);
        assert!(named(&["R1"]) > 1);
        let Err(Failed::Usage(message)) = select(&chosen(&["R99"])) else { panic!("R99 is accepted") };
        assert!(message.contains("R99") && message.contains("R1_REDB"), "{message}");
    }

    #[test]
    fn a_part_of_a_figure_is_never_nothing() {
        let row = ROWS.first().unwrap();
        let chosen = Chosen { quick: false, only: Vec::new(), percent: 0, seed: None };
        assert_eq!(figure(row, &chosen), 1);
        assert_eq!(figure(row, &Chosen { percent: 100, ..chosen.clone() }), row.release);
        assert_eq!(figure(row, &Chosen { quick: true, percent: 100, ..chosen }), row.quick);
    }
}
