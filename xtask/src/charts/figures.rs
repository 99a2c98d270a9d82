//! The results, by contender.

use std::fs;
use std::path::PathBuf;

use bench_compare::{Measurement, Shape, medians};

use super::look::Look;
use crate::Failed;

/// Beyond these a figure is no measurement, and none or less has no place on a logarithmic axis.
const DRAWABLE: std::ops::RangeInclusive<f64> = 1e-3..=1e12;

/// Who was measured, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The name; with the engine, where the name alone says too little.
    pub label: String,
    /// How it is drawn.
    pub look: Look,
}

/// What one contender reaches at each size, by size.
#[derive(Debug)]
pub struct Line<'a> {
    pub contender: &'a Contender,
    /// Never empty.
    pub points: Vec<(f64, f64)>,
}

/// What one contender takes: p50, p99 and p99.9 in microseconds.
#[derive(Debug)]
pub struct Percentiles<'a> {
    pub contender: &'a Contender,
    pub us: [f64; 3],
}

/// The medians of all rounds that are not void.
pub struct Figures {
    contenders: Vec<Contender>,
    /// Each with the place of its contender.
    results: Vec<(usize, Shape, Measurement)>,
    void: Vec<String>,
}

impl Figures {
    /// Of all `files` together. The first line that is no result ends it, by file and line.
    pub fn read(files: &[PathBuf]) -> Result<Self, Failed> {
        let (mut sound, mut void) = (Vec::new(), Vec::new());
        for file in files {
            let file_name = file.display();
            let text =
                fs::read_to_string(file).map_err(|error| Failed::Usage(format!("{file_name}: {error}")))?;
            for (nth, line) in text.lines().enumerate() {
                let place = format!("{file_name}:{}", nth + 1);
                let result = parse(line).map_err(|why| Failed::Usage(format!("{place}: {why}")))?;
                if result.void {
                    void.push(format!(
                        "{} of {} on {} ({place})",
                        result.shape, result.contender, result.engine
                    ));
                } else {
                    sound.push(result);
                }
            }
        }
        Ok(Self::of(&medians(&sound), void))
    }

    fn of(medians: &[Measurement], void: Vec<String>) -> Self {
        let mut figures = Figures { contenders: Vec::new(), results: Vec::new(), void };
        for result in medians {
            let several = medians
                .iter()
                .any(|other| other.contender == result.contender && other.engine != result.engine);
            let label = match several {
                true => format!("{}, {}", result.contender, result.engine),
                false => result.contender.clone(),
            };
            let known = figures.contenders.iter().position(|contender| contender.label == label);
            let place = known.unwrap_or_else(|| {
                let look = Look::next(&result.contender, figures.contenders.iter().map(|one| one.look));
                figures.contenders.push(Contender { label, look });
                figures.contenders.len() - 1
            });
            figures.results.extend(shape(result).map(|shape| (place, shape, result.clone())));
        }
        figures
    }

    /// What was void, and where it stood.
    pub fn void(&self) -> &[String] {
        &self.void
    }

    /// A line for each contender, from the shapes that `size` is something of.
    pub fn lines(
        &self,
        size: impl Fn(Shape) -> Option<u64>,
        value: impl Fn(&Measurement) -> Option<f64>,
    ) -> Vec<Line<'_>> {
        let drawable = |value: f64| DRAWABLE.contains(&value).then_some(value);
        let line = |(place, contender)| {
            let own = self.results.iter().filter(|(of, _, _)| *of == place);
            let mut points: Vec<(f64, f64)> = own
                .filter_map(|(_, shape, result)| {
                    Some((drawable(size(*shape)? as f64)?, value(result).and_then(drawable)?))
                })
                .collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            Line { contender, points }
        };
        let lines = self.contenders.iter().enumerate().map(line);
        lines.filter(|line| !line.points.is_empty()).collect()
    }

    /// The times of each contender in `shape`.
    pub fn percentiles(&self, shape: Shape) -> Vec<Percentiles<'_>> {
        let own = self.results.iter().filter(|(_, of, _)| *of == shape);
        own.filter_map(|(place, _, result)| {
            let us = [result.p50_us?, result.p99_us?, result.p999_us?];
            let drawable = us.iter().all(|time| DRAWABLE.contains(time));
            drawable.then_some(Percentiles { contender: self.contenders.get(*place)?, us })
        })
        .collect()
    }
}

fn shape(result: &Measurement) -> Option<Shape> {
    result.shape.parse().ok()
}

/// The result in a line of JSON, or what is wrong with it.
fn parse(line: &str) -> Result<Measurement, String> {
    // It is told one line, so the number of the line would be wrong.
    let wrong = |error: serde_json::Error| error.to_string().replace(" at line 1 column ", ", column ");
    let result: Measurement = serde_json::from_str(line)
        .map_err(|error| format!("not a result of bench-compare: {}", wrong(error)))?;
    result.shape.parse::<Shape>()?;
    Ok(result)
}
