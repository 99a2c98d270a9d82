use std::time::Duration;

use super::*;
use crate::lifecycle::{Event, JobState, KeyChange, consequences, decide};
use crate::{
    BackendErrorKind, Backoff, ClaimFilter, Counts, Cursor, Detail, Failure, Filter, Limits, NewJob, Output,
    Phase, Query, QueueName, Rejected, Snapshot, Status, StatusSet, Tags, Timestamp, UniqueKey,
};

mod random;
mod reads;

const HISTORY_MAX: usize = 3;
const MILLI: Duration = Duration::from_millis(1);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn id(n: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    JobId::from_bytes(bytes)
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn new_job(n: u64) -> NewJob {
    NewJob::new("kind", vec![1, 2, 3]).id(*id(n).as_uuid())
}

fn claim() -> Event {
    Event::Claim { assignee: crate::AssigneeId::new("worker").unwrap() }
}

fn complete(output: impl Into<Output>) -> Event {
    Event::Complete { output: output.into() }
}

fn fail(message: &str) -> Event {
    Event::FailRetry { failure: Failure::new(message), random: 0 }
}

/// What a writer does with a new job.
fn enqueue(txn: &mut dyn Txn, job: NewJob, now: Timestamp) -> Result<JobId, BackendError> {
    let insert = job.into_insert(&Limits::default(), || id(0)).unwrap();
    let state = JobState::admit(&insert.admission, txn.next_sequence()?, now);
    if let Some(key) = &state.unique_key {
        txn.set_key_holder(&state.labels.queue, key, Some(state.id))?;
    }
    txn.insert(&state, &insert.body)?;
    Ok(state.id)
}

/// What a writer does with a change.
fn apply(
    txn: &mut dyn Txn,
    id: JobId,
    event: &Event,
    now: Timestamp,
) -> Result<Result<JobState, Rejected>, BackendError> {
    let Some(job) = txn.load(id)? else { return Ok(Err(Rejected::NotFound { id })) };
    let transition = match decide(&job, event, None, now) {
        Ok(transition) => transition,
        Err(rejected) => return Ok(Err(rejected)),
    };
    let own_queue = &job.labels.queue;
    match (consequences(&transition).unique_key, &job.unique_key) {
        (KeyChange::Take, Some(key)) => {
            if let Some(holder) = txn.key_holder(own_queue, key)? {
                return Ok(Err(Rejected::Duplicate { id: holder }));
            }
            txn.set_key_holder(own_queue, key, Some(id))?;
        }
        (KeyChange::Release, Some(key)) => txn.set_key_holder(own_queue, key, None)?,
        _ => {}
    }
    let output = match event {
        Event::Complete { output } => Some(output),
        _ => None,
    };
    txn.store(&transition, output, HISTORY_MAX)?;
    Ok(Ok(transition.after))
}

fn commit<T>(
    store: &mut MemoryStore,
    mut work: impl FnMut(&mut dyn Txn) -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    let mut result = None;
    store.transact(&mut |txn| {
        result = Some(work(txn)?);
        Ok(Verdict::Commit)
    })?;
    Ok(result.unwrap())
}

/// A store with these jobs, enqueued one after the other at time 0.
fn store_of(jobs: impl IntoIterator<Item = NewJob>) -> MemoryStore {
    let mut store = MemoryStore::new();
    for job in jobs {
        commit(&mut store, |txn| enqueue(txn, job.clone(), at(0))).unwrap();
    }
    store
}

/// Applies the events one after the other, a microsecond apart, from time `now`; each must be accepted.
fn drive(store: &mut MemoryStore, job: JobId, now: i64, events: &[Event]) -> JobState {
    let mut last = None;
    for (event, now) in events.iter().zip(now..) {
        let verdict = commit(store, |txn| apply(txn, job, event, at(now))).unwrap();
        last = Some(verdict.unwrap_or_else(|rejected| panic!("{event:?}: {rejected}")));
    }
    verify(store).unwrap();
    last.unwrap()
}

fn verify(store: &MemoryStore) -> Result<Counts, BackendError> {
    store.reader().snapshot()?.verify().map(|verified| verified.counts)
}

fn ready(store: &mut MemoryStore, name: &str, filter: &ClaimFilter, limit: usize) -> Vec<JobId> {
    let found = commit(store, |txn| txn.ready(&queue(name), filter, limit)).unwrap();
    found.iter().map(|state| state.id).collect()
}

/// Everything in the store, indexes included, as text.
fn everything(store: &MemoryStore) -> String {
    format!("{:#?}", *store.data.lock())
}

/// One change of every kind, to jobs 1 (held, with a full history), 2 (over) and 3 (future).
fn change_everything(txn: &mut dyn Txn) -> Result<(), BackendError> {
    enqueue(txn, new_job(9).unique("nine"), at(50))?;
    apply(txn, id(1), &complete("late"), at(51))?.unwrap();
    apply(txn, id(2), &Event::Retry, at(52))?.unwrap();
    apply(txn, id(2), &claim(), at(53))?.unwrap();
    assert_eq!(txn.promote(at(2_000), 9)?, 1);
    txn.put_record("kept", Some((2, b"new")))?;
    txn.put_record("other", Some((1, b"new")))?;
    txn.put_record("kept", None)?;
    let state = txn.load(id(3))?.unwrap();
    txn.delete(&state)?;
    enqueue(txn, new_job(3), at(60))?;
    Ok(())
}

#[test]
fn transaction_that_is_not_committed_leaves_no_trace() {
    let mut store =
        store_of([new_job(1).unique("one"), new_job(2), new_job(3).unique("three").run_after(MILLI)]);
    commit(&mut store, |txn| txn.put_record("kept", Some((1, b"old")))).unwrap();
    drive(&mut store, id(1), 10, &[claim(), fail("a"), claim(), fail("b"), claim()]);
    drive(&mut store, id(2), 20, &[Event::Cancel]);
    let before = everything(&store);

    let rolled_back = store.transact(&mut |txn| change_everything(txn).map(|()| Verdict::Rollback));
    assert!(rolled_back.is_ok());
    assert_eq!(everything(&store), before, "after a rollback");

    let failed = store.transact(&mut |txn| {
        change_everything(txn)?;
        Err(BackendError::new(BackendErrorKind::Full, "no room"))
    });
    assert_eq!(failed.unwrap_err().kind(), BackendErrorKind::Full);
    assert_eq!(everything(&store), before, "after an error");

    let panicked = store.transact(&mut |txn| {
        change_everything(txn)?;
        panic!("at job {}", 7)
    });
    let error = panicked.unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Corrupted);
    assert_eq!(error.to_string(), "panic in a transaction: at job 7");
    assert_eq!(everything(&store), before, "after a panic");

    commit(&mut store, change_everything).unwrap();
    assert_ne!(everything(&store), before);
    verify(&store).unwrap();
}

#[test]
fn due_jobs_come_in_the_order_of_priority_then_due_time_then_sequence() {
    let past = |micros| Timestamp::from_micros(micros).to_datetime().unwrap();
    let mut store = store_of([
        new_job(5),
        new_job(4),
        new_job(3).run_at(past(-5)),
        new_job(2).priority(-1),
        new_job(1).priority(1).run_at(past(-9)),
        new_job(6).queue("other"),
        new_job(7).run_after(MILLI),
    ]);
    assert_eq!(ready(&mut store, "default", &ClaimFilter::default(), 9), [id(2), id(3), id(5), id(4), id(1)]);
    assert_eq!(ready(&mut store, "default", &ClaimFilter::default(), 2), [id(2), id(3)]);
    assert_eq!(ready(&mut store, "default", &ClaimFilter::default(), 0), []);
    assert_eq!(ready(&mut store, "nowhere", &ClaimFilter::default(), 9), []);
}

#[test]
fn ready_leaves_out_what_the_filter_does_not_take() {
    let mut store = store_of([
        new_job(1).tag("a"),
        new_job(2).tags(["a", "b"]),
        NewJob::new("other", b"").id(*id(3).as_uuid()),
    ]);
    let by_tag = |tags: Tags| ClaimFilter { tags: tags.checked().unwrap(), ..ClaimFilter::default() };
    let by_kind =
        ClaimFilter { kinds: Some(vec![crate::Kind::new("other").unwrap()]), ..ClaimFilter::default() };
    let by_queue = ClaimFilter { queues: Some(vec![queue("x")]), ..ClaimFilter::default() };
    let cases = [
        (by_tag(Tags::all(["b"])), vec![id(2)]),
        (by_tag(Tags::all(["a"]).none(["b"])), vec![id(1)]),
        (by_tag(Tags::default().any(["a", "c"])), vec![id(1), id(2)]),
        (by_kind, vec![id(3)]),
        (by_queue, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ready(&mut store, "default", &filter, 9), expected, "{filter:?}");
    }
}

#[test]
fn a_job_one_crash_below_its_limit_is_offered_alone() {
    let mut store = store_of([1, 2, 3].map(|n| new_job(n).crash_limit(2)));
    let all = ClaimFilter::default();
    for n in [1, 2] {
        drive(&mut store, id(n), 10, &[claim(), Event::LoseWorker]);
    }
    assert_eq!(ready(&mut store, "default", &all, 9), [id(1), id(3)], "at most one of them");
    drive(&mut store, id(2), 20, &[claim()]);
    assert_eq!(ready(&mut store, "default", &all, 9), [id(3)], "none while one is held");
    drive(&mut store, id(2), 30, &[Event::Cancel]);
    assert_eq!(ready(&mut store, "default", &all, 9), [id(3)], "a cancelled one is still held");
    drive(&mut store, id(2), 40, &[complete(())]);
    assert_eq!(ready(&mut store, "default", &all, 9), [id(1), id(3)]);
    drive(&mut store, id(3), 50, &[claim()]);
    assert_eq!(ready(&mut store, "default", &all, 9), [id(1)], "bystanders do not count");
}

#[test]
fn queues_are_offered_in_turn_going_round_once() {
    let names = ["b", "d", "a", "c"];
    let mut store = store_of(names.iter().zip(1..).map(|(name, n)| new_job(n).queue(*name)));
    let future = new_job(9).queue("e").run_after(MILLI);
    commit(&mut store, |txn| enqueue(txn, future.clone(), at(0))).unwrap();
    let all = ClaimFilter::default();
    let named = |names: &[&str]| ClaimFilter {
        queues: Some(names.iter().map(|name| queue(name)).collect()),
        ..ClaimFilter::default()
    };
    let cases = [
        (all.clone(), None, 9, "a b c d"),
        (all.clone(), None, 2, "a b"),
        (all.clone(), Some("b"), 9, "c d a b"),
        (all.clone(), Some("b"), 3, "c d a"),
        (all.clone(), Some("bb"), 9, "c d a b"),
        (all.clone(), Some("d"), 1, "a"),
        (all, Some("z"), 0, ""),
        (named(&["d", "a", "d", "e", "x"]), None, 9, "a d"),
        (named(&["d", "c", "a"]), Some("a"), 9, "c d a"),
        (named(&["d", "c", "a"]), Some("b"), 2, "c d"),
        (named(&["d", "c", "a"]), Some("d"), 9, "a c d"),
        (named(&["e"]), None, 9, ""),
        (named(&[]), Some("a"), 9, ""),
    ];
    for (filter, after, limit, expected) in cases {
        let after = after.map(queue);
        let found = commit(&mut store, |txn| txn.ready_queues(&filter, after.as_ref(), limit)).unwrap();
        let found: Vec<&str> = found.iter().map(QueueName::as_str).collect();
        assert_eq!(found.join(" "), expected, "{filter:?} after {after:?}, {limit}");
    }
}

#[test]
fn promoted_jobs_are_due_and_their_history_stays_as_it_was() {
    let jobs = [(1, 30), (2, 10), (3, 20)].map(|(n, due)| new_job(n).run_after(Duration::from_micros(due)));
    let mut store = store_of(jobs);
    let promote =
        |store: &mut MemoryStore, now, limit| commit(store, |txn| txn.promote(at(now), limit)).unwrap();
    let timer = |store: &mut MemoryStore| commit(store, |txn| txn.next_timer()).unwrap();
    assert_eq!(timer(&mut store), Some(at(10)));
    assert_eq!(promote(&mut store, 9, 9), 0);
    assert_eq!(promote(&mut store, 25, 1), 1);
    assert_eq!(ready(&mut store, "default", &ClaimFilter::default(), 9), [id(2)]);
    assert_eq!(promote(&mut store, 25, 9), 1);
    assert_eq!(timer(&mut store), Some(at(30)));
    assert_eq!(store.membership(&[id(1), id(2), id(8)]), [(true, false), (true, false), (false, false)]);
    let history = store.reader().snapshot().unwrap().history(id(2)).unwrap();
    assert_eq!(history, Some((vec![], 0)));
    assert_eq!(promote(&mut store, 30, 9), 1);
    assert_eq!(timer(&mut store), None);
    verify(&store).unwrap();
}

#[test]
fn a_job_without_a_time_is_never_promoted_and_sets_no_timer() {
    let mut store = store_of([new_job(1)]);
    let suspend = Event::Suspend { until: Timestamp::NEVER };
    drive(&mut store, id(1), 10, &[claim(), suspend]);
    let found = commit(&mut store, |txn| Ok((txn.promote(Timestamp::NEVER, 9)?, txn.next_timer()?))).unwrap();
    assert_eq!(found, (0, None));
    assert_eq!(store.membership(&[id(1)]), [(true, false)]);
}

#[test]
fn deadlines_are_those_of_jobs_never_started_paused_ones_included() {
    let micros = Duration::from_micros;
    let mut store = store_of([
        new_job(1).expires_after(micros(30)),
        new_job(2).expires_after(micros(20)),
        new_job(3).expires_after(micros(10)),
        new_job(4).expires_after(micros(40)).run_after(micros(50)),
        new_job(5),
    ]);
    drive(&mut store, id(2), 5, &[Event::Pause]);
    drive(&mut store, id(3), 5, &[claim(), fail("once")]);
    let expired = |store: &mut MemoryStore, now, limit| {
        let found = commit(store, |txn| txn.expired(at(now), limit)).unwrap();
        found.iter().map(|state| state.id).collect::<Vec<_>>()
    };
    assert_eq!(commit(&mut store, |txn| txn.next_timer()).unwrap(), Some(at(20)));
    assert_eq!(expired(&mut store, 19, 9), []);
    assert_eq!(expired(&mut store, 40, 9), [id(2), id(1), id(4)]);
    assert_eq!(expired(&mut store, 40, 1), [id(2)]);
    drive(&mut store, id(2), 40, &[Event::Expire]);
    assert_eq!(expired(&mut store, 40, 9), [id(1), id(4)]);
}
