//! `docs/schema.md`, which is part of the crate's documentation: its tables are those of the schema steps, and its
//! questions are ones that SQLite answers.

mod support;

use std::fmt::Write as _;

use rusqlite::Connection;
use rusqlite::types::Value;
use support::{Rig, at, claim, complete, fail, id, job};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.md");
/// The end of the part that is written by hand.
const END_OF_HAND: &str = "--test schema_doc -->\n";

fn page() -> String {
    std::fs::read_to_string(PAGE).unwrap().replace("\r\n", "\n")
}

/// The page up to where the tables begin.
fn by_hand(page: &str) -> &str {
    let end = page.find(END_OF_HAND).expect("the page says where the tables begin");
    &page[..end + END_OF_HAND.len()]
}

fn with_tables(by_hand: &str) -> String {
    let mut page = by_hand.to_owned();
    for step in poolqueue_migrations::SQLITE {
        let sql = step.with_prefix("poolqueue_");
        let _ =
            write!(page, "\nStep {}, `{}`:\n\n```sql\n{}\n```\n", step.version, step.name, sql.trim_end());
    }
    page
}

#[test]
fn the_page_shows_the_tables_of_the_schema_steps() {
    let found = page();
    let expected = with_tables(by_hand(&found));
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        std::fs::write(PAGE, &expected).unwrap();
        return;
    }
    assert!(
        found == expected,
        "docs/schema.md is stale; POOLQUEUE_BLESS=1 cargo test -p poolqueue-sqlite --test schema_doc"
    );
}

/// The statements between the fences of the part written by hand.
fn questions() -> Vec<String> {
    let page = page();
    let blocks = by_hand(&page).split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// Every column of every row, as text.
fn answers(conn: &Connection, question: &str) -> Vec<Vec<String>> {
    let mut statement = conn.prepare(question).unwrap_or_else(|error| panic!("{question}: {error}"));
    assert!(statement.readonly(), "{question}");
    let columns = statement.column_count();
    let text = |value: Value| match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => panic!("{question} shows {other:?}"),
    };
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at).map(text)).collect();
    statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_question_of_the_page_is_answered() {
    let mut rig = Rig::default();
    rig.insert([job(1), job(2), job(3).priority(-1), job(4)], 1_000_000);
    rig.insert([job(5).run_after(std::time::Duration::from_secs(60))], 1_000_000);
    for now in [2_000_000, 4_000_000] {
        rig.apply(id(1), claim(), now);
        rig.apply(id(1), fail("no luck"), now + 1_000_000);
    }
    rig.apply(id(2), claim(), 6_000_000);
    rig.apply(id(4), claim(), 6_000_000);
    rig.apply(id(4), complete("done"), 7_000_000);
    let conn = Connection::open(rig.path()).unwrap();
    conn.execute("UPDATE poolqueue_bodies SET payload = x'00' WHERE job = 3", []).unwrap();
    rig.store.reseal([id(3)], at(8_000_000)).unwrap();
    let [by_status, running, errors, due, waiting, history, reseals] =
        <[String; 7]>::try_from(questions()).expect("a question came or went: say here what it answers");
    let text = |number: u64| id(number).to_string();
    let by_status = answers(&conn, &by_status);
    assert_eq!(by_status[0], ["initial_pending", "2", "0"]);
    assert!(by_status.contains(&["failed_retry", "1", "2"].map(str::to_owned).to_vec()), "{by_status:?}");
    let second = "1970-01-01T00:00:06.000Z";
    assert_eq!(answers(&conn, &running), [[&text(2), "default", "kind", "1", "worker", second]]);
    let failed = "1970-01-01T00:00:05.000Z";
    let expected = [&text(1), "kind", "failed_retry", "2", "error", "no luck", failed];
    assert_eq!(answers(&conn, &errors), [expected]);
    let ids = |rows: Vec<Vec<String>>| rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(ids(answers(&conn, &due)), [text(3), text(1)]);
    assert_eq!(ids(answers(&conn, &waiting)), [text(5)]);
    let history = answers(&conn, &history);
    assert_eq!(history.len(), 4);
    assert_eq!(history[3][2..5], ["fail_retry", "running", "failed_retry"]);
    assert_eq!(history[3][7], "no luck");
    let reseals = answers(&conn, &reseals);
    assert_eq!(reseals[0][1..], [text(3).replace('-', ""), r#"{"bodies":true}"#.to_owned()]);
}
