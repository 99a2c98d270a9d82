use rusqlite::Connection;

use super::Sql;

/// The statements that read a whole table: the full check, and the few counters.
const WHOLE_TABLES: [&str; 10] = [
    "sweep_touched",
    "sweep_applied",
    "walk",
    "walk_keys",
    "walk_records",
    "count_rows",
    "count_listed",
    "count_listable",
    "read_counts",
    "handles",
];
/// The statements that read all held jobs: the rescue of those that a handle held.
const ALL_HELD: [&str; 2] = ["held_by", "leave"];
/// The statements that look at the schema itself.
const SCHEMA: [&str; 2] = ["foreign_tables", "made_with"];

/// 100,000 jobs, one in ten of them held, over, future or with a deadline, in 20 queues.
fn filled(sql: &Sql) -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    for step in poolqueue_migrations::SQLITE {
        conn.execute_batch(&step.with_prefix(&sql.prefix)).unwrap();
    }
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
        INSERT INTO {p}jobs (sequence, id, queue, kind, tags, priority, crash_limit, backoff, created_at, status,
            phase, attempt, failures, retry_count, crashes, run_at, due, deadline, suspect, finalized_at, history_first,
            history_next, seal)
        SELECT i, randomblob(16), 'queue ' || (i % 20), 'kind', '[\"tag\"]', i % 7, 3, 'none', i, 'status',
            CASE i % 10 WHEN 1 THEN 'held' WHEN 2 THEN 'final' ELSE 'ready' END, 0, 0, 0, 0, i, i % 10 <> 3,
            CASE i % 10 WHEN 4 THEN i END, i % 2, CASE i % 10 WHEN 2 THEN i END, 0, 0, 0 FROM n;
        INSERT INTO {p}ready_tags SELECT queue, 'tag', priority, run_at, sequence FROM {p}jobs
            WHERE phase = 'ready' AND due = 1;";
    conn.execute_batch(&fill.replace("{p}", &sql.prefix)).unwrap();
    conn
}

fn plan(conn: &Connection, statement: &str) -> Vec<String> {
    let explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {statement}"));
    let mut explained = explained.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let parameters = vec![rusqlite::types::Null; explained.parameter_count()];
    let rows = explained.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// No statement reads a table from end to end or sorts, with or without statistics.
#[test]
fn every_statement_is_served_by_an_index_in_its_order() {
    let sql = Sql::new("p_");
    let conn = filled(&sql);
    for analyzed in [false, true] {
        if analyzed {
            conn.execute_batch("ANALYZE").unwrap();
        }
        for (name, statement) in sql.all() {
            for step in plan(&conn, statement) {
                let text = format!("{name} (analyzed: {analyzed}): {step}");
                assert!(!step.contains("TEMP B-TREE"), "{text}");
                let whole = WHOLE_TABLES.contains(&name) || step == "SCAN CONSTANT ROW";
                // The outer query of a count over a limited one.
                let of_subquery = step.contains("(subquery");
                let held = ALL_HELD.contains(&name) && step.contains("USING INDEX p_jobs_held");
                let whole = whole || held || SCHEMA.contains(&name);
                assert!(whole || of_subquery || !step.starts_with("SCAN"), "{text}");
            }
        }
    }
}

#[test]
fn claims_and_timers_use_the_index_made_for_them() {
    let sql = Sql::new("p_");
    let conn = filled(&sql);
    let cases: [(&str, &[&str]); 9] = [
        (&sql.ready, &["SEARCH p_jobs USING INDEX p_jobs_ready (queue=?)"]),
        (
            &sql.ready_tagged,
            &[
                "SEARCH t USING PRIMARY KEY (queue=? AND tag=?)",
                "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
            ],
        ),
        (&sql.next_queue, &["SEARCH p_jobs USING COVERING INDEX p_jobs_ready (queue>?)"]),
        (&sql.future, &["SEARCH p_jobs USING INDEX p_jobs_future (run_at<?)"]),
        (&sql.deadlines, &["SEARCH p_jobs USING INDEX p_jobs_deadline (deadline>? AND deadline<?)"]),
        (&sql.load, &["SEARCH p_jobs USING INDEX p_jobs_id (id=?)"]),
        (&sql.list, &["SEARCH p_jobs USING INDEX p_jobs_id (id>?)"]),
        (&sql.held, &["SEARCH p_jobs USING INDEX p_jobs_held (id>?)"]),
        (&sql.finalized, &["SEARCH p_jobs USING INDEX p_jobs_finalized (finalized_at<?)"]),
    ];
    for (statement, expected) in cases {
        assert_eq!(plan(&conn, statement), expected, "{statement}");
    }
}
