//! Rows changed by hand: damaged until someone accepts them, and as good as any other from then on.

mod support;

use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    Backend, BackendErrorKind, Backoff, ClaimFilter, Detail, EmbeddedOptions, Filter, JobId, Priority, Query,
    QueueName, Snapshot, Status, Store, Tags, UniqueKey,
};
use poolqueue_sqlite::{Resealed, SqliteBackend};
use rusqlite::Connection;
use support::{Rig, at, claim, complete, fail, id, job};

/// When the rows are accepted.
const NOW: i64 = 1_000;

/// Jobs 1 to 4 are due, with tags and a unique key each; 5 is completed after a failure, 6 is held, 7 waits for
/// its time, 8 is dead and 9 paused.
fn filled() -> Rig {
    let mut rig = Rig::default();
    let due =
        |number: u64| job(number).tag(format!("tag {number}")).tag("common").unique(format!("key {number}"));
    rig.insert((1..=4).map(due), 10);
    rig.insert([job(5).unique("key 5"), job(6), job(7).run_after(Duration::from_micros(5_000))], 20);
    rig.insert([job(8).max_attempts(1), job(9)], 30);
    rig.apply(id(5), claim(), 40);
    rig.apply(id(5), fail("no luck"), 50);
    rig.apply(id(5), claim(), 60);
    rig.apply(id(5), complete("output"), 70);
    rig.apply(id(6), claim(), 40);
    rig.apply(id(8), claim(), 40);
    rig.apply(id(8), fail("spent"), 50);
    rig.apply(id(9), Event::Pause, 40);
    rig.verify();
    rig
}

const OF_JOB: &str = "(SELECT sequence FROM poolqueue_jobs WHERE id = ?1)";

/// Runs a statement as the `sqlite3` shell would, while the store is open. `?1` is the id of the job.
fn change(rig: &Rig, statement: &str, number: u64) {
    let conn = Connection::open(rig.path()).unwrap();
    let mut prepared = conn.prepare(&statement.replace("{job}", OF_JOB)).unwrap();
    let changed = prepared.execute([id(number).as_bytes().as_slice()]).unwrap();
    assert!(changed > 0, "{statement}");
}

/// Every row of the jobs and of what belongs to them.
fn everything(rig: &Rig) -> Vec<String> {
    let conn = Connection::open(rig.path()).unwrap();
    let mut found = Vec::new();
    for table in ["meta", "jobs", "ready_tags", "bodies", "outcomes", "history", "unique_keys"] {
        let mut statement = conn.prepare(&format!("SELECT * FROM poolqueue_{table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            found.extend((0..columns).map(|at| format!("{table} {:?}", row.get_ref(at).unwrap())));
        }
    }
    found
}

/// The audit rows: which job, when, what.
fn audit(rig: &Rig) -> Vec<(Option<Vec<u8>>, i64, String)> {
    let conn = Connection::open(rig.path()).unwrap();
    let mut rows = conn.prepare("SELECT job, at, what FROM poolqueue_reseals ORDER BY number").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn reseal(rig: &Rig, numbers: &[u64]) -> Resealed {
    rig.store.reseal(numbers.iter().copied().map(id), at(NOW)).unwrap()
}

fn only_resealed(number: u64) -> Resealed {
    let mut expected = Resealed::default();
    expected.resealed.push(id(number));
    expected
}

/// Until it is accepted, the job is damaged by name to everyone.
#[track_caller]
fn check_damaged(rig: &mut Rig, number: u64) {
    let named = id(number).to_string();
    let query = Query { filter: Filter::everything(), after: None, limit: 99, detail: Detail::Full };
    let found = [
        rig.snapshot().get(&[id(number)]).map(drop),
        rig.snapshot().select(&query).map(drop),
        rig.snapshot().verify().map(drop),
    ];
    for error in found.map(|result| result.expect_err("it was accepted")) {
        assert_eq!(error.kind(), BackendErrorKind::Corrupted);
        assert!(error.to_string().contains(&named), "{error} should name {named}");
    }
    assert!(!rig.ready(99).contains(&id(number)), "it was offered");
}

#[test]
fn a_changed_job_is_damaged_until_it_is_accepted_and_then_takes_its_new_place() {
    let mut rig = filled();
    assert_eq!(rig.ready(99), [1, 2, 3, 4].map(id));
    change(&rig, "UPDATE poolqueue_jobs SET priority = -5, tags = '[\"new\", \"common\"]' WHERE id = ?1", 3);
    check_damaged(&mut rig, 3);
    assert_eq!(reseal(&rig, &[3]), only_resealed(3));
    rig.verify();
    assert_eq!(rig.get(id(3)).unwrap().priority, Priority(-5));
    assert_eq!(rig.ready(99), [3, 1, 2, 4].map(id));
    let mut with_tag = |tag: &str| {
        let filter = ClaimFilter { tags: Tags::all([tag]).checked().unwrap(), ..ClaimFilter::default() };
        let states = rig.run(|txn| txn.ready(&QueueName::default(), &filter, 9));
        states.iter().map(|state| state.id).collect::<Vec<JobId>>()
    };
    assert_eq!(with_tag("new"), [id(3)]);
    assert_eq!(with_tag("tag 3"), []);
    assert_eq!(with_tag("common"), [3, 1, 2, 4].map(id));
    let [(job, at, what)] = <[_; 1]>::try_from(audit(&rig)).unwrap();
    assert_eq!((job, at), (Some(id(3).as_bytes().to_vec()), NOW));
    // The tags are written in the one form they have.
    let set = r#""set":{"tags":["[\"new\", \"common\"]","[\"common\",\"new\"]"]}"#;
    assert_eq!(what, format!(r#"{{"jobs":true,"ready_tags":true,{set}}}"#));
    rig.apply(id(3), claim(), 2_000);
    rig.apply(id(3), complete("done"), 2_001);
    rig.verify();
}

#[test]
fn what_follows_from_a_changed_status_is_set_and_the_counts_are_right() {
    let mut rig = filled();
    // A dead job is made due again, one that is due is ended, a paused one goes on.
    change(&rig, "UPDATE poolqueue_jobs SET status = 'failed_retry', failures = 0 WHERE id = ?1", 8);
    change(&rig, "UPDATE poolqueue_jobs SET status = 'dead' WHERE id = ?1", 2);
    change(&rig, "UPDATE poolqueue_jobs SET status = 'initial_pending' WHERE id = ?1", 9);
    let before = rig.counts();
    let resealed = reseal(&rig, &[8, 2, 9, 8]);
    assert_eq!(resealed.resealed, [8, 2, 9].map(id));
    rig.verify();
    let after = rig.counts();
    assert_eq!(before.of(Status::Paused), 1);
    assert_eq!(after.of(Status::Paused), 0);
    assert_eq!((after.of(Status::Dead), after.of(Status::FailedRetry)), (1, 1));
    assert_eq!(after.of(Status::InitialPending), before.of(Status::InitialPending));
    let dead = rig.get(id(2)).unwrap();
    assert_eq!(dead.finalized_at.map(|at| at.timestamp_micros()), Some(NOW));
    assert_eq!(rig.get(id(8)).unwrap().finalized_at, None);
    // The key of the ended job is free.
    let key = UniqueKey::new("key 2").unwrap();
    assert_eq!(rig.run(|txn| txn.key_holder(&QueueName::default(), &key)), None);
    assert_eq!(rig.ready(99), [1, 3, 4, 8, 9].map(id));
    let (job, _, what) = audit(&rig).pop().unwrap();
    assert_eq!(job, None, "the counts have a row of their own");
    assert!(what.starts_with(r#"{"counts":{"#) && what.contains(r#""paused":{"jobs":[1,0]"#), "{what}");
    rig.apply(id(8), claim(), 2_000);
    rig.apply(id(9), claim(), 2_000);
    rig.verify();
}

#[test]
fn a_changed_time_decides_whether_the_job_is_due() {
    let mut rig = filled();
    change(&rig, "UPDATE poolqueue_jobs SET run_at = 999 WHERE id = ?1", 7);
    change(&rig, "UPDATE poolqueue_jobs SET run_at = 9000 WHERE id = ?1", 1);
    change(&rig, "UPDATE poolqueue_jobs SET expires_at = 5000 WHERE id = ?1", 4);
    assert_eq!(reseal(&rig, &[7, 1, 4]).resealed, [7, 1, 4].map(id));
    rig.verify();
    assert_eq!(rig.ready(99), [2, 3, 4, 7].map(id));
    assert_eq!(rig.run(|txn| txn.next_timer()), Some(at(5_000)));
    assert_eq!(rig.run(|txn| txn.promote(at(9_000), 9)), 1);
    assert_eq!(rig.ready(99), [2, 3, 4, 7, 1].map(id));
    rig.verify();
}

#[test]
fn changed_bodies_outcomes_and_histories_keep_what_they_say() {
    let rig = filled();
    change(
        &rig,
        "UPDATE poolqueue_bodies SET payload = x'6869', metadata = '{ \"a\": \"b\" }' WHERE job = {job}",
        1,
    );
    change(&rig, "UPDATE poolqueue_outcomes SET output = x'6279', error = 'other' WHERE job = {job}", 5);
    change(&rig, "UPDATE poolqueue_history SET message = 'rewritten' WHERE job = {job} AND number = 1", 5);
    for number in [1, 5] {
        let error = rig.snapshot().get(&[id(number)]).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Corrupted, "{error}");
    }
    let resealed = reseal(&rig, &[1, 2, 5, 77]);
    assert_eq!(resealed.resealed, [id(1), id(5)]);
    assert_eq!((resealed.unchanged, resealed.unknown, resealed.refused), (vec![id(2)], vec![id(77)], vec![]));
    rig.verify();
    let first = rig.get(id(1)).unwrap();
    assert_eq!((first.payload.as_slice(), first.metadata["a"].as_str()), (b"hi".as_slice(), "b"));
    let fifth = rig.get(id(5)).unwrap();
    assert_eq!(fifth.output.as_deref(), Some(b"by".as_slice()));
    assert_eq!(fifth.last_error.unwrap().message, "other");
    assert_eq!(rig.history(id(5)).0[1].message.as_deref(), Some("rewritten"));
    let whats: Vec<String> = audit(&rig).into_iter().map(|(_, _, what)| what).collect();
    assert_eq!(whats, [r#"{"bodies":true}"#, r#"{"history":[1],"outcomes":true}"#]);
}

#[test]
fn rows_that_were_removed_or_added_beside_a_job_are_put_right() {
    let rig = filled();
    change(&rig, "DELETE FROM poolqueue_history WHERE job = {job} AND number < 2", 5);
    change(&rig, "DELETE FROM poolqueue_outcomes WHERE job = {job}", 8);
    change(&rig, "DELETE FROM poolqueue_ready_tags WHERE sequence = {job}", 1);
    change(
        &rig,
        "UPDATE poolqueue_ready_tags SET tag = 'wrong' WHERE sequence = {job} AND tag <> 'common'",
        2,
    );
    change(&rig, "DELETE FROM poolqueue_unique_keys WHERE holder = ?1", 3);
    change(&rig, "UPDATE poolqueue_unique_keys SET seal = 0 WHERE holder = ?1", 4);
    change(&rig, "UPDATE poolqueue_counts SET jobs = 99 WHERE ?1 IS NOT NULL", 0);
    assert!(rig.snapshot().verify().is_err());
    assert_eq!(reseal(&rig, &[1, 2, 3, 4, 5, 6, 8]).unchanged, [id(6)]);
    rig.verify();
    let (history, cut) = rig.history(id(5));
    assert_eq!((history.len(), cut), (2, 2));
    assert_eq!(rig.get(id(8)).unwrap().last_error, None);
}

#[test]
fn with_no_ids_only_the_counts_are_put_right() {
    let rig = filled();
    let counts = rig.counts();
    assert_eq!(reseal(&rig, &[]), Resealed::default());
    assert_eq!(audit(&rig), [], "nothing was wrong");
    change(&rig, "DELETE FROM poolqueue_counts WHERE ?1 IS NOT NULL", 0);
    reseal(&rig, &[]);
    assert_eq!(rig.counts(), counts);
    rig.verify();
    assert_eq!(audit(&rig).len(), 1);
}

#[test]
fn a_unique_key_goes_with_the_job_that_has_it_and_is_not_taken_from_another() {
    let mut rig = filled();
    change(&rig, "UPDATE poolqueue_jobs SET unique_key = 'fresh', queue = 'other' WHERE id = ?1", 1);
    change(&rig, "UPDATE poolqueue_jobs SET unique_key = 'key 3' WHERE id = ?1", 2);
    let resealed = reseal(&rig, &[1, 2]);
    assert_eq!(resealed.resealed, [id(1)]);
    let (refused, why) = &resealed.refused[0];
    assert_eq!(*refused, id(2));
    assert!(why.starts_with("jobs.unique_key: ") && why.contains(&id(3).to_string()), "{why}");
    let holder = |rig: &mut Rig, queue: &str, key: &str| {
        let (queue, key) = (QueueName::new(queue).unwrap(), UniqueKey::new(key).unwrap());
        rig.run(|txn| txn.key_holder(&queue, &key))
    };
    assert_eq!(holder(&mut rig, "default", "key 1"), None);
    assert_eq!(holder(&mut rig, "other", "fresh"), Some(id(1)));
    // Once the other job has a key of its own, this one may have it. A completed job holds none.
    change(&rig, "UPDATE poolqueue_jobs SET unique_key = 'key 5' WHERE id = ?1", 3);
    assert_eq!(reseal(&rig, &[2, 3]).resealed, [id(2), id(3)]);
    assert_eq!(holder(&mut rig, "default", "key 3"), Some(id(2)));
    assert_eq!(holder(&mut rig, "default", "key 5"), Some(id(3)));
    rig.verify();
}

#[test]
fn a_held_job_stays_held_by_the_same_attempt() {
    let mut rig = filled();
    let lease = rig.snapshot().held().unwrap();
    change(&rig, "UPDATE poolqueue_jobs SET priority = 9, due = 0 WHERE id = ?1", 6);
    assert_eq!(reseal(&rig, &[6]), only_resealed(6));
    assert_eq!(rig.snapshot().held().unwrap(), lease);
    let told = "SELECT count(*) FROM poolqueue_touched AS t JOIN poolqueue_jobs AS j ON j.id = t.job AND j.owner = t.handle";
    let told: i64 = Connection::open(rig.path()).unwrap().query_row(told, [], |row| row.get(0)).unwrap();
    assert_eq!(told, 1, "its handle is told");
    rig.verify();
    // One that is ended by hand has no owner any more.
    rig.insert([job(10)], 100);
    rig.apply(id(10), claim(), 110);
    change(&rig, "UPDATE poolqueue_jobs SET status = 'stopped', owner = 77 WHERE id = ?1", 10);
    assert_eq!(reseal(&rig, &[10]), only_resealed(10));
    assert_eq!(rig.snapshot().held().unwrap(), lease);
    rig.verify();
    rig.apply(id(6), complete("late but fine"), 2_000);
    rig.verify();
}

/// `(column, statement)`: each is refused for that column, and leaves everything as it was.
const NONSENSE: [(&str, u64, &str); 32] = [
    ("jobs.status", 1, "UPDATE poolqueue_jobs SET status = 'done' WHERE id = ?1"),
    ("jobs.resumes_to", 1, "UPDATE poolqueue_jobs SET resumes_to = 'nowhere' WHERE id = ?1"),
    ("jobs.resumes_to", 1, "UPDATE poolqueue_jobs SET status = 'paused' WHERE id = ?1"),
    ("jobs.resumes_to", 9, "UPDATE poolqueue_jobs SET resumes_to = 'running' WHERE id = ?1"),
    ("jobs.attempt", 1, "UPDATE poolqueue_jobs SET status = 'running' WHERE id = ?1"),
    ("jobs.attempt", 5, "UPDATE poolqueue_jobs SET attempt = 1 WHERE id = ?1"),
    ("jobs.assignee", 6, "UPDATE poolqueue_jobs SET assignee = NULL WHERE id = ?1"),
    ("jobs.assignee", 6, "UPDATE poolqueue_jobs SET assignee = 'a' || char(10) WHERE id = ?1"),
    ("jobs.owner", 6, "UPDATE poolqueue_jobs SET owner = NULL WHERE id = ?1"),
    ("jobs.owner", 6, "UPDATE poolqueue_jobs SET owner = owner + 1 WHERE id = ?1"),
    ("jobs.last_reported", 1, "UPDATE poolqueue_jobs SET last_reported = 'said' WHERE id = ?1"),
    ("jobs.queue", 1, "UPDATE poolqueue_jobs SET queue = 'two words' WHERE id = ?1"),
    ("jobs.kind", 1, "UPDATE poolqueue_jobs SET kind = '' WHERE id = ?1"),
    ("jobs.tags", 1, "UPDATE poolqueue_jobs SET tags = 'a, b' WHERE id = ?1"),
    ("jobs.tags", 1, "UPDATE poolqueue_jobs SET tags = '[\"\"]' WHERE id = ?1"),
    ("jobs.unique_key", 1, "UPDATE poolqueue_jobs SET unique_key = '' WHERE id = ?1"),
    ("jobs.priority", 1, "UPDATE poolqueue_jobs SET priority = 40000 WHERE id = ?1"),
    ("jobs.max_attempts", 1, "UPDATE poolqueue_jobs SET max_attempts = 0 WHERE id = ?1"),
    ("jobs.crash_limit", 1, "UPDATE poolqueue_jobs SET crash_limit = 0 WHERE id = ?1"),
    ("jobs.backoff", 1, "UPDATE poolqueue_jobs SET backoff = 'sometimes' WHERE id = ?1"),
    ("jobs.retry_count", 1, "UPDATE poolqueue_jobs SET retry_count = -1 WHERE id = ?1"),
    ("jobs.due", 1, "UPDATE poolqueue_jobs SET due = 2 WHERE id = ?1"),
    ("jobs.queue", 1, "UPDATE poolqueue_jobs SET queue = CAST(x'ff' AS TEXT) WHERE id = ?1"),
    ("bodies", 1, "DELETE FROM poolqueue_bodies WHERE job = {job}"),
    ("bodies.metadata", 1, "UPDATE poolqueue_bodies SET metadata = '{\"a\":1}' WHERE job = {job}"),
    ("bodies.content_type", 1, "UPDATE poolqueue_bodies SET content_type = 'xml' WHERE job = {job}"),
    ("bodies.timeout", 1, "UPDATE poolqueue_bodies SET timeout = 'soon' WHERE job = {job}"),
    ("outcomes.output_type", 5, "UPDATE poolqueue_outcomes SET output_type = NULL WHERE job = {job}"),
    ("outcomes.error_kind", 5, "UPDATE poolqueue_outcomes SET error = NULL WHERE job = {job}"),
    ("history.event", 5, "UPDATE poolqueue_history SET event = 'fell' WHERE job = {job} AND number = 1"),
    ("history.number", 5, "DELETE FROM poolqueue_history WHERE job = {job} AND number = 1"),
    ("history.number", 5, "UPDATE poolqueue_history SET number = -1 WHERE job = {job} AND number = 1"),
];

#[test]
fn nonsense_is_refused_by_column_and_nothing_is_changed() {
    for (column, number, statement) in NONSENSE {
        let mut rig = filled();
        change(&rig, statement, number);
        let before = everything(&rig);
        let resealed = reseal(&rig, &[number, 2]);
        assert_eq!((resealed.resealed, resealed.unchanged), (vec![], vec![id(2)]), "{statement}");
        let (refused, why) = &resealed.refused[0];
        assert_eq!(*refused, id(number));
        assert!(why.starts_with(&format!("{column}: ")), "{statement}: {why}");
        assert_eq!(everything(&rig), before, "{statement}");
        assert!(rig.snapshot().verify().is_err(), "{statement}");
        rig.apply(id(2), claim(), 2_000);
    }
}

#[test]
fn other_spellings_are_accepted_and_written_in_the_one_form() {
    let mut rig = filled();
    change(
        &rig,
        "UPDATE poolqueue_jobs SET backoff = 'fixed 1.50', phase = 'held', suspect = 7 WHERE id = ?1",
        1,
    );
    assert_eq!(reseal(&rig, &[1]), only_resealed(1));
    rig.verify();
    let state = rig.run(|txn| txn.load(id(1))).unwrap();
    assert_eq!(state.backoff, Backoff::fixed(Duration::from_millis(1_500)));
    let (_, _, what) = audit(&rig).remove(0);
    for set in
        [r#""backoff":["fixed 1.50","fixed 1.5"]"#, r#""phase":["held","ready"]"#, r#""suspect":[7,0]"#]
    {
        assert!(what.contains(set), "{what} should say {set}");
    }
}

#[test]
fn a_closed_store_reseals_nothing() {
    let mut rig = filled();
    rig.store.close().unwrap();
    let error = rig.store.reseal([id(1)], at(NOW)).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Closed);
}

#[test]
fn another_writer_is_waited_for_and_in_vain_is_an_error_that_changed_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let options = support::options().busy_timeout(Duration::from_millis(20));
    let store = poolqueue_sqlite::SqliteStore::open(&path, options).unwrap();
    let mut rig = Rig { directory, store };
    rig.insert([job(1)], 10);
    change(&rig, "UPDATE poolqueue_jobs SET priority = 3 WHERE id = ?1", 1);
    let application = Connection::open(&path).unwrap();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = rig.store.reseal([id(1)], at(NOW)).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Busy);
    application.execute_batch("ROLLBACK").unwrap();
    assert_eq!(reseal(&rig, &[1]), only_resealed(1));
    rig.verify();
}

#[tokio::test]
async fn a_running_queue_reseals_by_its_own_clock() {
    let mut rig = filled();
    let path = rig.path();
    rig.store.close().unwrap();
    let backend = SqliteBackend::open_with(&path, support::options(), EmbeddedOptions::default()).unwrap();
    change(&rig, "UPDATE poolqueue_bodies SET payload = x'00' WHERE job = {job}", 4);
    assert!(backend.get(vec![id(4)]).await.is_err());
    let resealed = backend.reseal([id(4)]).unwrap();
    assert_eq!(resealed.resealed, [id(4)]);
    assert_eq!(backend.get(vec![id(4)]).await.unwrap()[0].as_ref().unwrap().payload, [0]);
    assert!(audit(&rig)[0].1 > 1_600_000_000_000_000, "microseconds of today");
    backend.verify().await.unwrap();
    backend.close().await.unwrap();
}
