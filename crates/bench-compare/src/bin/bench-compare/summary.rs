//! The table of the medians.

use std::fmt::Write;

use bench_compare::Measurement;

use crate::rounds::Failure;

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
            jobs_per_s,
            ..Measurement::default()
        }
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
