//! The stored rows, value by value: a change of them is a change of the format.

mod support;

use std::fmt::Write as _;
use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{Backoff, NewJob, Timestamp};
use rusqlite::Connection;
use rusqlite::types::Value;
use support::{Rig, at, claim, complete, fail, id, job};

const TABLES: [&str; 9] =
    ["meta", "jobs", "ready_tags", "bodies", "outcomes", "history", "unique_keys", "records", "counts"];

/// One job with everything, one that is over, one that waits for a signal, one that is held and cancelled.
fn filled() -> Rig {
    let mut rig = Rig::default();
    let full = NewJob::json("kind:a/b", &["payload"])
        .id(id(1))
        .queue("mail")
        .tags(["b", "a", "ü \"quoted\""])
        .meta("key", "value")
        .priority(-7)
        .max_attempts(4)
        .crash_limit(2)
        .backoff(Backoff::exponential(Duration::from_nanos(1_500), Duration::from_secs(60)))
        .timeout(Duration::from_millis(1))
        .unique("only one")
        .expires_after(Duration::from_secs(1));
    rig.insert([full, job(2), job(3), job(4).run_after(Duration::from_secs(9)), job(5)], 1_000);
    rig.apply(id(2), claim(), 2_000);
    rig.apply(id(2), fail("no luck"), 2_500);
    rig.apply(id(2), claim(), 2_600);
    rig.apply(id(2), complete("output"), 3_000);
    rig.apply(id(3), claim(), 2_000);
    rig.apply(id(3), Event::Suspend { until: Timestamp::NEVER }, 3_000);
    rig.apply(id(5), claim(), 2_000);
    rig.apply(id(5), Event::Cancel, 3_000);
    rig.run(|txn| txn.put_record("record", Some((3, b"value"))));
    assert_eq!(rig.run(|txn| txn.promote(at(0), 9)), 0);
    rig
}

fn text(value: Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => bytes.iter().fold("x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

fn rows(conn: &Connection) -> String {
    let mut out = String::new();
    for table in TABLES {
        let mut statement = conn.prepare(&format!("SELECT * FROM poolqueue_{table}")).unwrap();
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let _ = writeln!(out, "{table}");
            for (at, column) in columns.iter().enumerate() {
                let _ = writeln!(out, "  {column} = {}", text(row.get(at).unwrap()));
            }
        }
    }
    out
}

/// `POOLQUEUE_BLESS=1` remakes the file, which before 0.1.0 is allowed.
#[test]
fn the_stored_rows_are_those_of_the_golden_file() {
    let rig = filled();
    let found = rows(&Connection::open(rig.path()).unwrap());
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rows.txt");
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        std::fs::write(golden, &found).unwrap();
    }
    let expected = std::fs::read_to_string(golden).unwrap();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", number + 1);
    }
    assert_eq!(found, expected);
}
