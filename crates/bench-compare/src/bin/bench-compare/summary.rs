//! Medians over the rounds, and the table of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use bench_compare::{Measurement, median};

use crate::rounds::Failure;

/// The figure that says how many of several rounds are void.
const VOID_ROUNDS: &str = "void_rounds";

/// The rounds of one contender in one shape as one measurement: medians of the rounds that are not void, or of all of them
/// when every one is.
pub fn medians(measurements: &[Measurement]) -> Vec<Measurement> {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for measurement in measurements {
        match groups.iter_mut().find(|group| same(group[0], measurement)) {
            Some(group) => group.push(measurement),
            None => groups.push(vec![measurement]),
        }
    }
    groups.iter().map(|group| of(group)).collect()
}

fn same(one: &Measurement, other: &Measurement) -> bool {
    (&one.shape, &one.contender, &one.engine) == (&other.shape, &other.contender, &other.engine)
}

fn of(rounds: &[&Measurement]) -> Measurement {
    let sound: Vec<&Measurement> = rounds.iter().copied().filter(|round| !round.void).collect();
    let counted = if sound.is_empty() { rounds.to_vec() } else { sound };
    let middle =
        |value: fn(&Measurement) -> Option<f64>| median(counted.iter().filter_map(|round| value(round)));
    let mut figures = BTreeMap::new();
    for name in counted.iter().flat_map(|round| round.figures.keys()) {
        let values = counted.iter().filter_map(|round| round.figures.get(name).copied());
        figures.extend(median(values).map(|value| (name.clone(), value)));
    }
    let void_rounds = rounds.iter().filter(|round| round.void).count();
    if void_rounds > 0 && rounds.len() > 1 {
        figures.insert(VOID_ROUNDS.to_owned(), void_rounds as f64);
    }
    Measurement {
        jobs: middle(|round| Some(round.jobs as f64)).unwrap_or_default() as u64,
        jobs_per_s: middle(|round| Some(round.jobs_per_s)).unwrap_or_default(),
        p50_us: middle(|round| round.p50_us),
        p99_us: middle(|round| round.p99_us),
        p999_us: middle(|round| round.p999_us),
        rss_bytes: middle(|round| Some(round.rss_bytes as f64)).unwrap_or_default() as u64,
        bytes_per_job: middle(|round| round.bytes_per_job),
        fsync_p50_us: middle(|round| Some(round.fsync_p50_us)).unwrap_or_default(),
        void: rounds.iter().all(|round| round.void),
        lost: rounds.iter().map(|round| round.lost).sum(),
        doubled: rounds.iter().map(|round| round.doubled).sum(),
        figures,
        ..rounds[0].clone()
    }
}

const HEAD: [&str; 11] = [
    "contender",
    "engine",
    "jobs",
    "jobs/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "peak MiB",
    "B/job",
    "sync µs",
    "",
];

/// The results by shape.
pub fn table(medians: &[Measurement], failures: &[Failure]) -> String {
    let mut text = String::new();
    let mut shapes: Vec<&str> = Vec::new();
    for result in medians {
        if !shapes.contains(&result.shape.as_str()) {
            shapes.push(&result.shape);
        }
    }
    for shape in shapes {
        let rows: Vec<[String; 11]> =
            medians.iter().filter(|result| result.shape == shape).map(row).collect();
        // Writing to a string does not fail.
        let _ = write!(text, "{shape}\n{}\n", aligned(&rows));
    }
    for failure in failures {
        let _ = writeln!(text, "not measured: {}: {}", failure.what, failure.why);
    }
    let mut durabilities: Vec<String> = Vec::new();
    for result in medians {
        let line = format!("  {} on {}: {}", result.contender, result.engine, result.durability);
        if !durabilities.contains(&line) {
            durabilities.push(line);
        }
    }
    let _ = writeln!(text, "durability, read back:\n{}", durabilities.join("\n"));
    text
}

fn row(result: &Measurement) -> [String; 11] {
    let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"));
    [
        result.contender.clone(),
        result.engine.clone(),
        result.jobs.to_string(),
        format!("{:.0}", result.jobs_per_s),
        optional(result.p50_us),
        optional(result.p99_us),
        optional(result.p999_us),
        format!("{:.0}", result.rss_bytes as f64 / f64::from(1 << 20)),
        optional(result.bytes_per_job),
        format!("{:.0}", result.fsync_p50_us),
        notes(result),
    ]
}

/// What is to be known of a result: that it is void, that jobs were lost or came twice, and what only its shape has.
fn notes(result: &Measurement) -> String {
    let mut notes = Vec::new();
    if result.void {
        notes.push("VOID: the machine is busy".to_owned());
    }
    if result.lost > 0 {
        notes.push(format!("LOST {}", result.lost));
    }
    if result.doubled > 0 {
        notes.push(format!("TWICE {}", result.doubled));
    }
    let figures = result.figures.iter().filter(|(_, value)| **value != 0.0);
    notes.extend(figures.map(|(name, value)| format!("{name} {value:.1}")));
    notes.join(", ")
}

/// The first two columns and the last to the left, the others to the right.
fn aligned(rows: &[[String; 11]]) -> String {
    let head = HEAD.map(str::to_owned);
    let all: Vec<&[String; 11]> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 | 10 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A result with these figures and nothing else.
    pub fn result(shape: &str, contender: &str, engine: &str, jobs_per_s: f64) -> Measurement {
        Measurement {
            shape: shape.to_owned(),
            contender: contender.to_owned(),
            engine: engine.to_owned(),
            durability: "synced".to_owned(),
            callers: 1,
            batch: 1,
            jobs: 10,
            jobs_per_s,
            p50_us: None,
            p99_us: None,
            p999_us: None,
            rss_bytes: 1 << 20,
            bytes_per_job: None,
            fsync_p50_us: 100.0,
            void: false,
            lost: 0,
            doubled: 0,
            figures: BTreeMap::new(),
        }
    }

    #[test]
    fn the_rounds_of_a_contender_become_their_median_and_void_ones_do_not_count() {
        let void = Measurement { void: true, ..result("drain", "a", "redb", 1_000.0) };
        let rounds = [
            result("drain", "a", "redb", 1.0),
            result("drain", "a", "sqlite", 7.0),
            result("drain", "a", "redb", 3.0),
            result("drain", "a", "redb", 2.0),
            void.clone(),
        ];
        let medians = medians(&rounds);
        assert_eq!(medians.len(), 2);
        assert!((medians[0].jobs_per_s - 2.0).abs() < 1e-9 && !medians[0].void);
        assert_eq!(medians[0].figures.get(VOID_ROUNDS), Some(&1.0));
        let only_void = super::medians(std::slice::from_ref(&void));
        assert!(only_void[0].void && (only_void[0].jobs_per_s - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn the_table_marks_what_is_void_lost_and_doubled() {
        let bad = Measurement { void: true, lost: 3, doubled: 4, ..result("drain", "a", "redb", 5.0) };
        let failure = Failure { what: "idle b".to_owned(), why: "it broke".to_owned() };
        let text = table(&[bad, result("idle", "a", "redb", 6.0)], &[failure]);
        for expected in ["VOID", "LOST 3", "TWICE 4", "not measured: idle b: it broke", "a on redb: synced"] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert_eq!(text.matches("a on redb").count(), 1);
    }
}
