use std::path::PathBuf;

use bench_compare::Shape;

pub const USAGE: &str = "\
Measures job queues beside each other, each measurement in a process of its own.

Usage: bench-compare [options]

  --shape SHAPE      only this one: a name, or all sizes of a family; may be repeated
                     enqueue-1 enqueue-16 enqueue-64 enqueue-256 batch-1000 drain drain-batched steady idle loaded
                     backlog-N tags-N future-N cleanup-N streams-10000 tag-streams-1000 queues-10000
  --contender NAME   only this one; may be repeated; NAME:MODE is a mode of it, some of which are measured only so:
                     poolqueue:interval poolqueue:os
  --rounds N         the contenders take turns so many times, medians count; 3 unless told
  --quick            one round, shorter measurements, smaller backlogs
  --jobs N           jobs in a drain; 100,000 unless told
  --seconds S        how long one measurement takes; 1 unless told
  --backlog N        also a backlog of N jobs
  --rival PATH       a program that holds further contenders; may be repeated
  --dir DIR          where the stores are made, on the disk that is meant
  --json FILE        also writes a line of JSON for each result
  --targets          also prints each target and whether it is met; exits with 1 when one is not
  --help             prints this

The largest backlogs are measured in one round only. Exits with 2 when the arguments are wrong.
";

/// What the program is asked to do.
#[derive(Debug, PartialEq)]
pub struct Arguments {
    pub shapes: Vec<Shape>,
    pub contenders: Vec<String>,
    pub rounds: u64,
    pub seconds: f64,
    pub jobs: u64,
    pub rivals: Vec<PathBuf>,
    pub dir: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub targets: bool,
}

/// What the text on the command line comes to.
#[derive(Debug, PartialEq)]
pub enum Asked {
    Help,
    Measure(Arguments),
}

/// The sizes that depend on how long it may take.
struct Scale {
    rounds: u64,
    seconds: f64,
    jobs: u64,
    backlog: u64,
    cleanup: u64,
}

const FULL: Scale = Scale { rounds: 3, seconds: 1.0, jobs: 100_000, backlog: 1_000_000, cleanup: 1_000_000 };
const QUICK: Scale = Scale { rounds: 1, seconds: 0.4, jobs: 20_000, backlog: 100_000, cleanup: 50_000 };

/// The backlog that larger ones are compared with.
pub const SMALL_BACKLOG: u64 = 10_000;

impl Scale {
    fn shapes(&self) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = [1, 16, 64, 256].map(Shape::Enqueue).into();
        shapes.extend([
            Shape::Batch(1_000),
            Shape::Drain,
            Shape::DrainBatched,
            Shape::Steady,
            Shape::Idle,
            Shape::Loaded,
            Shape::Backlog(SMALL_BACKLOG),
            Shape::Backlog(self.backlog),
            Shape::Tags(self.backlog),
            Shape::Future(self.backlog),
            Shape::Cleanup(self.cleanup),
            Shape::Streams(10_000),
            Shape::TagStreams(1_000),
            Shape::Queues(10_000),
        ]);
        shapes
    }
}

/// Reads the command line.
///
/// # Errors
/// Says which argument is unknown or wrong.
pub fn parse(arguments: &[String]) -> Result<Asked, String> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let scale = if quick { QUICK } else { FULL };
    let mut shapes = scale.shapes();
    let mut only = Vec::new();
    let mut asked = Arguments {
        shapes: Vec::new(),
        contenders: Vec::new(),
        rounds: scale.rounds,
        seconds: scale.seconds,
        jobs: scale.jobs,
        rivals: Vec::new(),
        dir: None,
        json: None,
        targets: false,
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--quick" => {}
            "--targets" => asked.targets = true,
            "--shape" => only.push(value()?),
            "--contender" => asked.contenders.push(value()?.clone()),
            "--rounds" => asked.rounds = whole(name, value()?)?,
            "--jobs" => asked.jobs = whole(name, value()?)?,
            "--backlog" => shapes.push(Shape::Backlog(whole(name, value()?)?)),
            "--seconds" => asked.seconds = bench_compare::seconds(name, value()?)?,
            "--rival" => asked.rivals.push(value()?.into()),
            "--dir" => asked.dir = Some(value()?.into()),
            "--json" => asked.json = Some(value()?.into()),
            _ => return Err(format!("there is no option {name}")),
        }
    }
    asked.shapes = chosen(&shapes, &only)?;
    Ok(Asked::Measure(asked))
}

/// Those of `all` that `only` names, by a name or a family, and others that it names in full.
fn chosen(all: &[Shape], only: &[&String]) -> Result<Vec<Shape>, String> {
    if only.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen = Vec::new();
    for text in only {
        let family: Vec<Shape> = all.iter().copied().filter(|shape| shape.family() == *text).collect();
        let named = if family.is_empty() { vec![text.parse::<Shape>()?] } else { family };
        for shape in named {
            if !chosen.contains(&shape) {
                chosen.push(shape);
            }
        }
    }
    Ok(chosen)
}

/// A whole number above none.
fn whole(name: &str, value: &str) -> Result<u64, String> {
    let number = value.replace('_', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name}: {value:?} is not a whole number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Asked, String> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn shapes(text: &str) -> Vec<String> {
        match read(text) {
            Ok(Asked::Measure(asked)) => asked.shapes.iter().map(Shape::to_string).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_shape_is_named_alone_or_with_its_family() {
        assert_eq!(shapes("--shape drain --rounds 5"), ["drain"]);
        assert_eq!(shapes("--shape enqueue --shape enqueue-16").len(), 4);
        assert_eq!(shapes("--shape enqueue-2 --shape idle"), ["enqueue-2", "idle"]);
        assert_eq!(shapes("--shape backlog --quick"), ["backlog-10000", "backlog-100000"]);
        assert_eq!(shapes("--shape backlog --backlog 10_000_000").last().unwrap(), "backlog-10000000");
        assert_eq!(shapes("").len(), FULL.shapes().len());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("--shape drian", "drian"),
            ("--fast", "--fast"),
            ("--rounds", "--rounds needs"),
            ("--rounds 0", "\"0\""),
            ("--backlog many", "many"),
            ("--seconds 0", "\"0\""),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
        assert_eq!(read("--help --fast"), Ok(Asked::Help));
    }
}
