//! Rows changed by something else: reported by name, never read wrongly, never in the way of others.

mod support;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    BackendError, BackendErrorKind, ClaimFilter, Detail, Filter, Query, QueueName, Reader, Snapshot, Store,
    Tags, Timestamp, Verification,
};
use rusqlite::Connection;
use std::time::Duration;
use support::{Rig, at, claim, complete, fail, id, job};

/// Job 1 and 2 are done with an outcome, 3 waits after many failures, 4 and 5 are new, 6 has a unique key, 7 waits
/// for its time and 8 has a deadline.
fn filled() -> Rig {
    let mut rig = Rig::default();
    rig.insert((1..=5).map(|number| job(number).tag(format!("tag {number}")).tag("common")), 0);
    rig.insert([job(6).unique("key")], 0);
    rig.insert([job(7).run_after(Duration::from_micros(100))], 0);
    rig.insert([job(8).expires_after(Duration::from_micros(200))], 0);
    for number in [1, 2] {
        rig.apply(id(number), claim(), 1);
        rig.apply(id(number), complete(&format!("output {number}")), 2);
    }
    for now in 0..20 {
        rig.apply(id(3), claim(), now);
        rig.apply(id(3), fail("no luck"), now);
    }
    rig.run(|txn| txn.put_record("record", Some((1, b"value"))));
    rig.verify();
    rig
}

/// Runs a statement as the `sqlite3` shell would, while the store is open. `?1` is the id of the job.
fn change(rig: &Rig, statement: &str, number: u64) {
    let conn = Connection::open(rig.path()).unwrap();
    let mut prepared = conn.prepare(statement).unwrap();
    let id = id(number);
    let changed = match prepared.parameter_count() {
        0 => prepared.execute([]).unwrap(),
        _ => prepared.execute([id.as_bytes().as_slice()]).unwrap(),
    };
    assert!(changed > 0, "{statement}");
}

#[track_caller]
fn check_corrupted<T: std::fmt::Debug>(result: Result<T, BackendError>, names: &str) {
    let error = result.expect_err("it was accepted");
    let text = error.to_string();
    assert_eq!(error.kind(), BackendErrorKind::Corrupted, "{text}");
    assert!(text.contains(names), "{text:?} should name {names}");
}

const OF_JOB: &str = "(SELECT sequence FROM poolqueue_jobs WHERE id = ?1)";

#[test]
fn every_column_of_a_job_is_sealed() {
    let columns: Vec<(String, String)> = {
        let rig = filled();
        let conn = Connection::open(rig.path()).unwrap();
        let mut prepared =
            conn.prepare("SELECT name, type FROM pragma_table_info('poolqueue_jobs')").unwrap();
        let rows = prepared.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(columns.len(), 34);
    let rig = filled();
    for (column, sort) in columns {
        if column == "sequence" || column == "id" {
            continue;
        }
        let conn = Connection::open(rig.path()).unwrap();
        let key = id(3);
        let old: rusqlite::types::Value = conn
            .query_row(
                &format!("SELECT {column} FROM poolqueue_jobs WHERE id = ?1"),
                [key.as_bytes()],
                |row| row.get(0),
            )
            .unwrap();
        let new = if sort == "TEXT" {
            format!("ifnull({column}, '') || 'x'")
        } else {
            format!("ifnull({column}, 6) + 1")
        };
        change(&rig, &format!("UPDATE poolqueue_jobs SET {column} = {new} WHERE id = ?1"), 3);
        check_corrupted(rig.snapshot().get(&[key]), &key.to_string());
        assert!(rig.snapshot().get(&[id(4)]).unwrap()[0].is_some());
        check_corrupted(rig.snapshot().verify(), &key.to_string());
        conn.execute(
            &format!("UPDATE poolqueue_jobs SET {column} = ?2 WHERE id = ?1"),
            rusqlite::params![key.as_bytes(), old],
        )
        .unwrap();
        assert!(rig.snapshot().get(&[key]).unwrap()[0].is_some(), "{column}");
    }
}

#[test]
fn changed_missing_and_exchanged_rows_are_named_and_the_others_still_read() {
    let cases = [
        ("body", 4, "UPDATE poolqueue_bodies SET payload = x'00' WHERE job = {job}"),
        ("body", 4, "UPDATE poolqueue_bodies SET metadata = '{\"a\":\"b\"}' WHERE job = {job}"),
        ("body", 4, "DELETE FROM poolqueue_bodies WHERE job = {job}"),
        ("outcome", 1, "UPDATE poolqueue_outcomes SET output = x'00' WHERE job = {job}"),
        ("outcome", 1, "DELETE FROM poolqueue_outcomes WHERE job = {job}"),
        ("outcome", 3, "UPDATE poolqueue_outcomes SET error = 'other' WHERE job = {job}"),
        ("state", 1, "UPDATE poolqueue_jobs SET status = 'dead' WHERE id = ?1"),
        ("state", 1, "UPDATE poolqueue_jobs SET outcome = NULL WHERE id = ?1"),
    ];
    for (part, number, statement) in cases {
        let mut rig = filled();
        change(&rig, &statement.replace("{job}", OF_JOB), number);
        let named = id(number).to_string();
        check_corrupted(rig.snapshot().get(&[id(number)]), &named);
        check_corrupted(rig.snapshot().get(&[id(number)]), part);
        let query = Query { filter: Filter::everything(), after: None, limit: 99, detail: Detail::Full };
        check_corrupted(rig.snapshot().select(&query), &named);
        check_corrupted(rig.snapshot().verify(), &named);
        assert!(rig.snapshot().get(&[id(5)]).unwrap()[0].is_some());
        let health = rig.store.reader().health();
        assert_eq!(health.verification, Verification::Damaged);
        assert!(health.damage.unwrap().contains(&named));
        // Others go on.
        rig.apply(id(5), claim(), 500);
    }
}

#[test]
fn changed_history_is_noticed() {
    for statement in [
        "UPDATE poolqueue_history SET message = 'fine' WHERE job = {job} AND number = 3",
        "DELETE FROM poolqueue_history WHERE job = {job} AND number = 3",
        "DELETE FROM poolqueue_history WHERE job = {job} AND number = 0",
        "DELETE FROM poolqueue_history WHERE job = {job} AND number = 39",
        "UPDATE poolqueue_history SET number = 99 WHERE job = {job} AND number = 39",
    ] {
        let rig = filled();
        change(&rig, &statement.replace("{job}", OF_JOB), 3);
        check_corrupted(rig.snapshot().history(id(3)), &id(3).to_string());
        check_corrupted(rig.snapshot().verify(), &id(3).to_string());
    }
}

#[test]
fn what_is_kept_beside_the_jobs_is_sealed_too() {
    let cases = [
        ("UPDATE poolqueue_records SET value = x'00'", "record"),
        ("UPDATE poolqueue_unique_keys SET holder = zeroblob(16)", "key"),
        ("DELETE FROM poolqueue_unique_keys", "does not hold its unique key"),
        ("UPDATE poolqueue_counts SET jobs = jobs + 1", "counter"),
        ("DELETE FROM poolqueue_counts", "counters"),
        ("UPDATE poolqueue_meta SET value = 1 WHERE name = 'sequence'", "sequence"),
        ("DELETE FROM poolqueue_ready_tags WHERE tag = 'tag 4'", "not listed under its tag"),
        ("INSERT INTO poolqueue_ready_tags VALUES ('default', 'x', 0, 0, 1)", "ready_tags"),
        ("INSERT INTO poolqueue_bodies VALUES (99, x'', 'bytes', '{}', NULL, 0)", "bodies"),
    ];
    for (statement, says) in cases {
        let rig = filled();
        change(&rig, statement, 0);
        check_corrupted(rig.snapshot().verify(), says);
    }
    let mut rig = filled();
    change(&rig, "UPDATE poolqueue_records SET version = 7", 0);
    check_corrupted(rig.snapshot().record("record"), "record");
    check_corrupted(rig.try_run(|txn| txn.record_version("record")), "record");
}

#[test]
fn a_changed_job_is_not_offered_and_does_not_stand_in_the_way() {
    let mut rig = filled();
    change(&rig, "UPDATE poolqueue_jobs SET kind = 'other' WHERE id = ?1", 4);
    let due = rig.ready(99);
    assert!(!due.contains(&id(4)) && due.contains(&id(5)), "{due:?}");
    let by_tag = ClaimFilter { tags: Tags::all(["common"]).checked().unwrap(), ..ClaimFilter::default() };
    let due = rig.run(|txn| txn.ready(&QueueName::default(), &by_tag, 9));
    assert_eq!(due.iter().map(|state| state.id).collect::<Vec<_>>(), [id(5), id(3)]);
    assert_eq!(rig.store.reader().health().verification, Verification::Damaged);
    check_corrupted(rig.try_run(|txn| txn.load(id(4))), &id(4).to_string());
    // Timers pass over such jobs, or the writer would never sleep.
    change(&rig, "UPDATE poolqueue_jobs SET kind = 'other' WHERE id = ?1", 7);
    change(&rig, "UPDATE poolqueue_jobs SET kind = 'other' WHERE id = ?1", 8);
    assert_eq!(rig.run(|txn| txn.next_timer()), None);
    assert_eq!(rig.run(|txn| txn.promote(Timestamp::NEVER, 9)), 0);
    assert_eq!(rig.run(|txn| txn.expired(at(1_000), 9)), []);
}

#[test]
fn a_lost_index_or_table_is_damage() {
    let mut rig = filled();
    change_schema(&rig, "DROP INDEX poolqueue_jobs_ready");
    check_corrupted(rig.try_run(|txn| txn.ready(&QueueName::default(), &ClaimFilter::default(), 1)), "ready");
    let rig = filled();
    change_schema(&rig, "DROP TABLE poolqueue_bodies");
    check_corrupted(rig.snapshot().get(&[id(4)]), "bodies");
}

fn change_schema(rig: &Rig, statement: &str) {
    Connection::open(rig.path()).unwrap().execute_batch(statement).unwrap();
}

#[test]
fn a_group_that_fails_or_panics_leaves_no_trace() {
    let mut rig = filled();
    let everything = |rig: &Rig| {
        let query = Query { filter: Filter::everything(), after: None, limit: 99, detail: Detail::Full };
        (rig.snapshot().select(&query).unwrap(), rig.counts(), rig.history(id(4)))
    };
    let before = everything(&rig);
    let change = |txn: &mut dyn poolqueue_core::Txn| -> Result<(), BackendError> {
        support::insert(txn, job(20).tag("new").unique("twenty"), 300)?;
        support::apply(txn, id(4), &claim(), 300)?;
        support::apply(txn, id(3), &Event::Cancel, 300)?;
        txn.put_record("record", None)?;
        let state = txn.load(id(1))?.unwrap();
        txn.delete(&state)
    };
    let failed = rig.try_run(|txn| {
        change(txn)?;
        Err::<(), _>(BackendError::new(BackendErrorKind::Full, "no room"))
    });
    assert_eq!(failed.unwrap_err().kind(), BackendErrorKind::Full);
    assert_eq!(everything(&rig), before);
    let panicked = rig.try_run(|txn| -> Result<(), BackendError> {
        change(txn)?;
        panic!("at job {}", 7)
    });
    check_corrupted(panicked, "at job 7");
    assert_eq!(everything(&rig), before);
    rig.verify();
    rig.run(change);
    assert_ne!(everything(&rig), before);
    rig.verify();
}

#[test]
fn people_can_read_the_jobs() {
    let mut rig = Rig::default();
    rig.insert([job(1).tag("a").meta("k", "v"), job(2)], 1_700_000_000_123_456);
    rig.apply(id(2), claim(), 1_700_000_001_000_000);
    rig.apply(id(2), Event::Suspend { until: Timestamp::NEVER }, 1_700_000_002_000_000);
    let conn = Connection::open(rig.path()).unwrap();
    let sql = "SELECT id, status, tags, payload, metadata, created_at, run_at FROM poolqueue_jobs_readable ORDER BY id";
    let mut prepared = conn.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| (0..7).map(|at| row.get(at)).collect::<Result<Vec<String>, _>>();
    let rows = prepared.query_map([], row).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let id = |number| id(number).to_string();
    let created = "2023-11-14T22:13:20.123Z";
    let first = [&id(1), "initial_pending", "[\"a\"]", "payload 1", "{\"k\":\"v\"}", created, created]
        .map(str::to_owned);
    let second = [&id(2), "waiting", "[]", "payload 2", "{}", created, "never"].map(str::to_owned);
    assert_eq!(rows, [first.to_vec(), second.to_vec()]);
}

/// The file of a closed store, and its jobs as they are.
fn closed() -> (Vec<u8>, Vec<Option<poolqueue_core::Job>>) {
    let mut rig = filled();
    let jobs = rig.snapshot().get(&(1..=8).map(id).collect::<Vec<_>>()).unwrap();
    rig.store.close().unwrap();
    (std::fs::read(rig.path()).unwrap(), jobs)
}

/// Opens a damaged copy and reads everything: each job is as it was or an error, and what is missing is noticed by
/// the full check.
fn check_damaged(bytes: &[u8], jobs: &[Option<poolqueue_core::Job>], what: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    std::fs::write(&path, bytes).unwrap();
    let Ok(store) = poolqueue_sqlite::SqliteStore::open(&path, support::options()) else { return };
    let Ok(snapshot) = store.reader().snapshot() else { return };
    let mut missing = false;
    for (number, job) in (1..=8).zip(jobs) {
        if let Ok(found) = snapshot.get(&[id(number)]) {
            missing |= found[0].is_none();
            assert!(found[0].is_none() || found[0] == *job, "job {number} after {what}");
        }
        let _ = snapshot.history(id(number));
    }
    let query = Query { filter: Filter::everything(), after: None, limit: 99, detail: Detail::Full };
    if let Ok(page) = snapshot.select(&query) {
        assert!(page.jobs.iter().all(|job| jobs.contains(&Some(job.clone()))), "the list after {what}");
        missing |= page.jobs.len() < jobs.len();
    }
    let verified = snapshot.verify();
    assert!(!missing || verified.is_err(), "{what}: jobs are missing and the check found nothing");
}

#[test]
fn random_damage_never_shows_as_other_data() {
    let (bytes, jobs) = closed();
    let seed = 11;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..200 {
        let mut damaged = bytes.clone();
        let page = random.usize(..damaged.len() / 4096) * 4096;
        let what = match random.u8(..4) {
            0 => {
                damaged[page..page + 4096].fill(0);
                "a page was zeroed"
            }
            1 => {
                let other = random.usize(..damaged.len() / 4096) * 4096;
                damaged.copy_within(other..other + 4096, page);
                "a page was replaced by another"
            }
            _ => {
                for _ in 0..random.usize(1..6) {
                    damaged[page + random.usize(..4096)] ^= random.u8(1..);
                }
                "bytes of a page were changed"
            }
        };
        check_damaged(&damaged, &jobs, &format!("{what} (round {round}, page {}, seed {seed})", page / 4096));
    }
}

#[test]
fn a_cut_file_is_damaged() {
    let (bytes, jobs) = closed();
    for len in
        [1, 15, 16, 99, 100, 512, 4095, 4096, 8192, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1]
    {
        check_damaged(&bytes[..len], &jobs, &format!("a cut to {len} bytes"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        std::fs::write(&path, &bytes[..len]).unwrap();
        let refused = poolqueue_sqlite::SqliteStore::open(&path, support::options())
            .and_then(|store| store.reader().snapshot()?.verify())
            .expect_err("a cut file passed the check");
        let kinds = [BackendErrorKind::Corrupted, BackendErrorKind::Invalid];
        assert!(kinds.contains(&refused.kind()), "{len}: {refused}");
    }
}

/// SQLite moves the log into the file when the last connection is closed, also when that one has found the file damaged.
#[test]
fn a_damaged_file_that_a_crash_left_is_refused_and_stays_as_it_was_with_its_log() {
    let rig = filled();
    let (path, log) = (rig.path(), rig.directory.path().join("jobs.db-wal"));
    let (whole, commits) = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    assert!(!commits.is_empty());
    let mut refused = 0;
    for pages in 0..whole.len() / 4096 {
        let directory = tempfile::tempdir().unwrap();
        let (path, log) = (directory.path().join("jobs.db"), directory.path().join("jobs.db-wal"));
        // In the middle of a page; those that the log has are read from there.
        let cut = &whole[..pages * 4096 + 700];
        std::fs::write(&path, cut).unwrap();
        std::fs::write(&log, &commits).unwrap();
        if let Err(error) = support::try_open(&path) {
            assert_eq!(error.kind(), BackendErrorKind::Corrupted, "{error}");
            assert!(std::fs::read(&path).unwrap() == cut, "{pages} pages: the file was changed");
            assert!(std::fs::read(&log).unwrap() == commits, "{pages} pages: the log was changed");
            refused += 1;
        }
    }
    assert!(refused > 0, "no cut matters");
}

/// A file that ends too early is no failing disk.
#[test]
fn a_row_beyond_the_end_of_the_file_is_damage() {
    let (bytes, _) = closed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    std::fs::write(&path, &bytes).unwrap();
    let store = support::open(&path);
    let pages = bytes.len() as u64 / 4096;
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(pages / 2 * 4096).unwrap();
    let kinds: Vec<BackendErrorKind> = (1..=8)
        .filter_map(|number| store.reader().snapshot().and_then(|snapshot| snapshot.get(&[id(number)])).err())
        .map(|error| error.kind())
        .collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == BackendErrorKind::Corrupted), "{kinds:?}");
}

/// The pages on which two indexes begin, as offsets in the file.
fn roots(path: &std::path::Path, names: [&str; 2]) -> [usize; 2] {
    let conn = Connection::open(path).unwrap();
    let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
    names.map(|name| {
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root: i64 = conn.query_row(root, [name], |row| row.get(0)).unwrap();
        usize::try_from((root - 1) * page).unwrap()
    })
}

/// SQLite's own check says nothing of what a partial index lists too much.
#[test]
fn verify_names_an_index_that_lists_what_it_should_not() {
    const PAGE: usize = 4096;
    let mut rig = filled();
    rig.store.close().unwrap();
    let [all, held] = roots(&rig.path(), ["poolqueue_jobs_id", "poolqueue_jobs_held"]);
    let mut bytes = std::fs::read(rig.path()).unwrap();
    bytes.copy_within(all..all + PAGE, held);
    std::fs::write(rig.path(), bytes).unwrap();
    rig.store = support::open(&rig.path());
    check_corrupted(
        rig.store.reader().snapshot().unwrap().verify(),
        "poolqueue_jobs_held lists 8 jobs, and should 0",
    );
}

#[test]
fn verify_names_a_table_that_is_made_in_another_way() {
    let rig = filled();
    let conn = Connection::open(rig.path()).unwrap();
    conn.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'tags          TEXT', 'tags          BLOB')
             WHERE name = 'poolqueue_jobs'",
    )
    .unwrap();
    drop(conn);
    check_corrupted(
        rig.store.reader().snapshot().unwrap().verify(),
        "poolqueue_jobs is not made as this version makes it",
    );
}
