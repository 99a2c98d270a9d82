//! What a transaction does, decided before it is done, so that two stores are asked the same.

use poolqueue_core::lifecycle::{Event, JobState, KeyChange, consequences, decide};
use poolqueue_core::{
    AssigneeId, BackendError, ClaimFilter, JobId, Limits, NewJob, Output, QueueName, Store, Timestamp, Txn,
    Verdict,
};

/// Entries a job's history keeps: few, so that some are cut.
const HISTORY_MAX: usize = 12;
/// Expired jobs that one step ends.
const EXPIRED_MAX: usize = 8;

/// The steps of one transaction, at one time.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) now: Timestamp,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Enqueues a job, unless its id or its unique key is taken.
    Insert(Box<NewJob>),
    /// Claims so many due jobs of a queue.
    Claim(QueueName, usize),
    /// What may happen to a job happens to it.
    Change(JobId, Event),
    /// Jobs become due whose time has come.
    Promote(usize),
    /// Jobs end whose deadline has passed.
    Expire,
    /// What is over is deleted.
    Delete(Vec<JobId>),
    /// A record is written, or removed.
    Record(&'static str, Option<Vec<u8>>),
}

impl Group {
    /// Does it in one transaction, and says what each step did.
    pub(super) fn run(&self, store: &mut impl Store, verdict: Verdict) -> Result<Vec<String>, BackendError> {
        let mut answers = Vec::new();
        store.transact(&mut |txn| {
            answers.clear();
            for step in &self.steps {
                answers.push(take(txn, step, self.now)?);
            }
            Ok(verdict)
        })?;
        Ok(answers)
    }
}

fn take(txn: &mut dyn Txn, step: &Step, now: Timestamp) -> Result<String, BackendError> {
    match step {
        Step::Insert(job) => insert(txn, job, now),
        Step::Claim(queue, limit) => {
            let ready = txn.ready(queue, &ClaimFilter::default(), *limit)?;
            let event = Event::Claim { assignee: AssigneeId::new("worker")? };
            let claimed = ready.iter().map(|state| change(txn, state, &event, now));
            claimed.collect::<Result<Vec<_>, _>>().map(|claimed| claimed.join(", "))
        }
        Step::Change(id, event) => match txn.load(*id)? {
            Some(state) => change(txn, &state, event, now),
            None => Ok("no such job".to_owned()),
        },
        Step::Promote(limit) => Ok(format!("{} promoted", txn.promote(now, *limit)?)),
        Step::Expire => {
            // Two jobs of one deadline may come in either order.
            let mut expired = txn.expired(now, EXPIRED_MAX)?;
            expired.sort_by_key(|state| state.id);
            let ended = expired.iter().map(|state| change(txn, state, &Event::Expire, now));
            ended.collect::<Result<Vec<_>, _>>().map(|ended| ended.join(", "))
        }
        Step::Delete(ids) => {
            let mut deleted = 0;
            for id in ids {
                if let Some(state) = txn.load(*id)?.filter(|state| state.status.is_final()) {
                    txn.delete(&state)?;
                    deleted += 1;
                }
            }
            Ok(format!("{deleted} deleted"))
        }
        Step::Record(key, value) => {
            let version = txn.record_version(key)?;
            txn.put_record(key, value.as_ref().map(|value| (version + 1, value.as_slice())))?;
            Ok(format!("version {version} replaced"))
        }
    }
}

fn insert(txn: &mut dyn Txn, job: &NewJob, now: Timestamp) -> Result<String, BackendError> {
    let insert = job.clone().into_insert(&Limits::default(), || JobId::from_bytes([0; 16]));
    let Ok(insert) = insert else { return Ok("refused".to_owned()) };
    let new = &insert.admission;
    if txn.load(new.id)?.is_some() {
        return Ok("exists".to_owned());
    }
    if let Some(key) = &new.unique_key {
        if let Some(holder) = txn.key_holder(&new.labels.queue, key)? {
            return Ok(format!("the key is held by {holder}"));
        }
        txn.set_key_holder(&new.labels.queue, key, Some(new.id))?;
    }
    let state = JobState::admit(new, txn.next_sequence()?, now);
    txn.insert(&state, &insert.body)?;
    Ok(format!("inserted {} as {}", state.id, state.sequence))
}

fn change(
    txn: &mut dyn Txn,
    state: &JobState,
    event: &Event,
    now: Timestamp,
) -> Result<String, BackendError> {
    let step = match decide(state, event, None, now) {
        Ok(step) if step.is_noop() => return Ok("nothing to do".to_owned()),
        Ok(step) => step,
        Err(rejected) => return Ok(rejected.to_string()),
    };
    if let Some(key) = &state.unique_key {
        let queue = &state.labels.queue;
        match consequences(&step).unique_key {
            KeyChange::Keep => {}
            KeyChange::Release => txn.set_key_holder(queue, key, None)?,
            KeyChange::Take if txn.key_holder(queue, key)?.is_some() => {
                return Ok("the key is held".to_owned());
            }
            KeyChange::Take => txn.set_key_holder(queue, key, Some(state.id))?,
        }
    }
    let output: Option<&Output> = match event {
        Event::Complete { output } => Some(output),
        _ => None,
    };
    txn.store(&step, output, HISTORY_MAX)?;
    Ok(format!("{} {} to {}", state.id, step.before.status, step.after.status))
}
