//! Jobs in a store, without a writer around it.

use poolqueue_core::lifecycle::{Event, JobState, KeyChange, consequences, decide};
use poolqueue_core::{
    AssigneeId, BackendError, Failure, Insert, JobId, Limits, NewJob, Output, Store, Timestamp, Txn, Verdict,
};

/// Entries of history that are kept of each job: few, so that some are cut.
const HISTORY_MAX: usize = 40;
/// When the jobs are enqueued.
pub(super) const NOW: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);

pub(super) fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

/// Inserts a job that is fit for it.
pub(super) fn insert(txn: &mut dyn Txn, insert: &Insert) -> Result<JobState, BackendError> {
    let state = JobState::admit(&insert.admission, txn.next_sequence()?, NOW);
    if let Some(key) = &state.unique_key {
        txn.set_key_holder(&state.labels.queue, key, Some(state.id))?;
    }
    txn.insert(&state, &insert.body)?;
    Ok(state)
}

/// Lets an event happen to a job, if it may. Says whether it did.
pub(super) fn apply(txn: &mut dyn Txn, id: JobId, event: &Event) -> Result<bool, BackendError> {
    let Some(state) = txn.load(id)? else { return Ok(false) };
    let Ok(step) = decide(&state, event, None, NOW) else { return Ok(false) };
    let output: Option<&Output> = match event {
        Event::Complete { output } => Some(output),
        _ => None,
    };
    if let Some(key) = &state.unique_key {
        match consequences(&step).unique_key {
            KeyChange::Keep => {}
            KeyChange::Take => txn.set_key_holder(&state.labels.queue, key, Some(id))?,
            KeyChange::Release => txn.set_key_holder(&state.labels.queue, key, None)?,
        }
    }
    if !step.is_noop() {
        txn.store(&step, output, HISTORY_MAX)?;
    }
    Ok(true)
}

pub(super) fn claim() -> Event {
    Event::Claim { assignee: AssigneeId::new("worker").expect("it is a name") }
}

pub(super) fn fail() -> Event {
    Event::FailRetry { failure: Failure::new("no luck"), random: 0 }
}

/// A job of each sort: due, later, held, failed often, completed, stopped, paused, with everything.
pub(super) fn fill(store: &mut impl Store) {
    let full = NewJob::json("kind", &["payload"])
        .queue("mail")
        .tags(["a", "b"])
        .meta("key", "value")
        .unique("key")
        .run_after(std::time::Duration::from_secs(60))
        .expires_after(std::time::Duration::from_secs(3_600))
        .timeout(std::time::Duration::from_secs(1));
    let plain = (2..=7).map(|n| NewJob::new("kind", vec![n; 20]).id(id(n)));
    let jobs: Vec<Insert> = [full.id(id(1))]
        .into_iter()
        .chain(plain)
        .map(|job| job.into_insert(&Limits::default(), || id(1)).expect("it is fit"))
        .collect();
    let output = Event::Complete { output: Output::from("output") };
    let mut lives = vec![(3, claim()), (5, claim()), (5, output), (6, claim())];
    lives.extend([(6, Event::Stop { message: "enough".to_owned() }), (7, Event::Pause)]);
    for _ in 0..30 {
        lives.extend([(4, claim()), (4, fail())]);
    }
    store
        .transact(&mut |txn| {
            for job in &jobs {
                insert(txn, job)?;
            }
            for (n, event) in &lives {
                assert!(apply(txn, id(*n), event)?, "job {n} refuses {event:?}");
            }
            txn.put_record("record", Some((1, b"value")))?;
            Ok(Verdict::Commit)
        })
        .expect("a new store can be written");
}
