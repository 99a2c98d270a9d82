//! Applying a batch inside a transaction: load, decide, and only then store.

use crate::lifecycle::{Event, JobState, KeyChange, Transition, consequences, decide};
use crate::{
    BackendError, BackendErrorKind, Batch, Body, Change, Committed, Insert, JobId, Output, QueueName,
    Receipt, RecordConflict, RecordPut, Rejected, Target, Timestamp, Txn, UniqueKey,
};
use foldhash::{HashMap, HashSet};

/// Jobs promoted, and jobs expired, in one group.
const TIMERS_PER_GROUP: usize = 1_000;

/// What a group has done so far, for those who hear of it after the commit.
#[derive(Default)]
pub(super) struct Done {
    pub(super) inserted: Vec<JobState>,
    pub(super) transitions: Vec<Transition>,
    pub(super) deleted: Vec<JobId>,
    gone: HashSet<JobId>,
    /// How much of the three above came before a deleted id was inserted again.
    cuts: Vec<[usize; 3]>,
    /// Whether anything was written at all, the above or records or promotions.
    pub(super) wrote: bool,
    /// Whether jobs became due by the clock.
    pub(super) promoted: bool,
}

impl Done {
    /// What was done, as it is told: an id that was inserted again is told so after its deletion.
    pub(super) fn parts(&self) -> impl Iterator<Item = Committed<'_>> {
        let mut told = [0; 3];
        self.cuts.iter().copied().chain([self.lengths()]).map(move |until| {
            let from = std::mem::replace(&mut told, until);
            Committed {
                inserted: &self.inserted[from[0]..until[0]],
                transitions: &self.transitions[from[1]..until[1]],
                deleted: &self.deleted[from[2]..until[2]],
            }
        })
    }

    /// Adds what was done before and elsewhere.
    pub(super) fn absorb(&mut self, other: &Done) {
        self.inserted.extend_from_slice(&other.inserted);
        self.transitions.extend_from_slice(&other.transitions);
    }

    fn lengths(&self) -> [usize; 3] {
        [self.inserted.len(), self.transitions.len(), self.deleted.len()]
    }
}

/// Why a batch was not applied.
pub(super) enum Failed {
    /// Only this batch: nothing was written for it, and the group goes on.
    Batch(BackendError),
    /// The transaction cannot go on.
    Group(BackendError),
}

/// An error before the first write of a batch: a damaged record concerns the batch that asked for it.
fn reading(error: BackendError) -> Failed {
    if error.kind() == BackendErrorKind::Corrupted { Failed::Batch(error) } else { Failed::Group(error) }
}

/// What a batch has decided and not yet written.
#[derive(Default)]
struct Plan {
    /// Whether the batch asks for one thing only: nothing in it looks back at what was decided.
    single: bool,
    jobs: HashMap<JobId, Option<JobState>>,
    keys: HashMap<(QueueName, UniqueKey), Option<JobId>>,
    records: HashMap<String, u64>,
}

impl Plan {
    fn job(&self, txn: &mut dyn Txn, id: JobId) -> Result<Option<JobState>, Failed> {
        match self.jobs.get(&id) {
            Some(planned) => Ok(planned.clone()),
            None => txn.load(id).map_err(reading),
        }
    }

    fn remember(&mut self, id: JobId, job: Option<&JobState>) {
        if !self.single {
            self.jobs.insert(id, job.cloned());
        }
    }

    /// Gives or takes the job's unique key, or names the job that has it.
    fn change_key(
        &mut self,
        txn: &mut dyn Txn,
        job: &JobState,
        change: KeyChange,
    ) -> Result<Option<JobId>, Failed> {
        let (Some(key), false) = (&job.unique_key, change == KeyChange::Keep) else { return Ok(None) };
        let slot = (job.labels.queue.clone(), key.clone());
        let holder = match self.keys.get(&slot) {
            Some(planned) => *planned,
            None => txn.key_holder(&slot.0, &slot.1).map_err(reading)?,
        };
        match (change, holder) {
            (KeyChange::Take, Some(holder)) if holder != job.id => return Ok(Some(holder)),
            (KeyChange::Take, _) => self.keys.insert(slot, Some(job.id)),
            _ => self.keys.insert(slot, None),
        };
        Ok(None)
    }
}

/// Applies `batch`. All of its decisions come before its first write.
pub(super) fn apply(
    txn: &mut dyn Txn,
    batch: &Batch,
    now: Timestamp,
    history_max: usize,
    done: &mut Done,
) -> Result<Receipt, Failed> {
    let mut plan = Plan { single: batch.len() == 1, ..Plan::default() };
    let mut receipt = Receipt {
        inserts: Vec::with_capacity(batch.inserts.len()),
        changes: Vec::with_capacity(batch.changes.len()),
        ..Receipt::default()
    };
    for insert in &batch.inserts {
        receipt.inserts.push(decide_insert(txn, &mut plan, insert, now)?);
    }
    for change in &batch.changes {
        receipt.changes.push(decide_change(txn, &mut plan, change, now)?);
    }
    for delete in &batch.deletes {
        let verdict = decide_delete(txn, &mut plan, delete.id, delete.only_from)?;
        receipt.deletes.push(verdict);
    }
    for put in &batch.records {
        receipt.records.push(decide_record(txn, &mut plan, put)?);
    }
    if batch.require_all && !receipt.is_complete() {
        withdraw(&mut receipt);
        return Ok(receipt);
    }
    let deleted = deleted_states(txn, &receipt)?;
    write(txn, batch, &receipt, &plan, deleted, history_max, done).map_err(Failed::Group)?;
    receipt.applied = true;
    Ok(receipt)
}

fn decide_insert(
    txn: &mut dyn Txn,
    plan: &mut Plan,
    insert: &Insert,
    now: Timestamp,
) -> Result<Result<JobState, Rejected>, Failed> {
    let id = insert.admission.id;
    if plan.job(txn, id)?.is_some() {
        return Ok(Err(Rejected::Duplicate { id }));
    }
    let sequence = txn.next_sequence().map_err(Failed::Group)?;
    let state = JobState::admit(&insert.admission, sequence, now);
    if let Some(holder) = plan.change_key(txn, &state, KeyChange::Take)? {
        return Ok(Err(Rejected::Duplicate { id: holder }));
    }
    plan.remember(id, Some(&state));
    Ok(Ok(state))
}

fn decide_change(
    txn: &mut dyn Txn,
    plan: &mut Plan,
    change: &Change,
    now: Timestamp,
) -> Result<Result<Transition, Rejected>, Failed> {
    let id = change.target.id();
    let Some(state) = plan.job(txn, id)? else { return Ok(Err(Rejected::NotFound { id })) };
    if change.only_from.is_some_and(|statuses| !statuses.contains(state.status)) {
        let event = change.event.kind(state.status);
        return Ok(Err(Rejected::Illegal { id, status: state.status, event }));
    }
    let fence = match change.target {
        Target::Id(_) => None,
        Target::Lease(lease) => Some(lease.attempt),
    };
    let transition = match decide(&state, &change.event, fence, now) {
        Ok(transition) => transition,
        Err(rejected) => return Ok(Err(rejected)),
    };
    let key_change = consequences(&transition).unique_key;
    if let Some(holder) = plan.change_key(txn, &transition.after, key_change)? {
        return Ok(Err(Rejected::Duplicate { id: holder }));
    }
    plan.remember(id, Some(&transition.after));
    Ok(Ok(transition))
}

fn decide_delete(
    txn: &mut dyn Txn,
    plan: &mut Plan,
    id: JobId,
    only_from: Option<crate::StatusSet>,
) -> Result<Result<JobId, Rejected>, Failed> {
    let Some(state) = plan.job(txn, id)? else { return Ok(Err(Rejected::NotFound { id })) };
    if !state.status.is_final() || only_from.is_some_and(|statuses| !statuses.contains(state.status)) {
        return Ok(Err(Rejected::NotFinal { id, status: state.status }));
    }
    plan.remember(id, None);
    Ok(Ok(id))
}

fn decide_record(
    txn: &mut dyn Txn,
    plan: &mut Plan,
    put: &RecordPut,
) -> Result<Result<u64, RecordConflict>, Failed> {
    let found = match plan.records.get(&put.key) {
        Some(version) => *version,
        None => txn.record_version(&put.key).map_err(reading)?,
    };
    if put.expected.is_some_and(|expected| expected != found) {
        return Ok(Err(RecordConflict { key: put.key.clone(), found }));
    }
    let version = if put.value.is_some() { found + 1 } else { 0 };
    plan.records.insert(put.key.clone(), version);
    Ok(Ok(version))
}

/// Turns every acceptance into [`Rejected::NotApplied`].
fn withdraw(receipt: &mut Receipt) {
    fn deny<T>(verdicts: &mut [Result<T, Rejected>]) {
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
            *verdict = Err(Rejected::NotApplied);
        }
    }
    deny(&mut receipt.inserts);
    deny(&mut receipt.changes);
    deny(&mut receipt.deletes);
}

/// The jobs to delete as they will be when the rest of the batch is written.
fn deleted_states(txn: &mut dyn Txn, receipt: &Receipt) -> Result<Vec<JobState>, Failed> {
    let mut states = Vec::new();
    for id in receipt.deletes.iter().flatten() {
        let changed = receipt.changes.iter().flatten().rev().find(|transition| transition.after.id == *id);
        match changed {
            Some(transition) => states.push(transition.after.clone()),
            None => states.extend(txn.load(*id).map_err(reading)?),
        }
    }
    Ok(states)
}

fn write(
    txn: &mut dyn Txn,
    batch: &Batch,
    receipt: &Receipt,
    plan: &Plan,
    deleted: Vec<JobState>,
    history_max: usize,
    done: &mut Done,
) -> Result<(), BackendError> {
    for (insert, verdict) in batch.inserts.iter().zip(&receipt.inserts) {
        if let Ok(state) = verdict {
            write_insert(txn, state, &insert.body, done)?;
        }
    }
    for (change, verdict) in batch.changes.iter().zip(&receipt.changes) {
        if let Ok(transition) = verdict {
            let output = match &change.event {
                Event::Complete { output } => Some(output),
                _ => None,
            };
            write_transition(txn, transition.clone(), output, history_max, done)?;
        }
    }
    for state in deleted {
        txn.delete(&state)?;
        done.wrote = true;
        done.deleted.push(state.id);
        done.gone.insert(state.id);
    }
    for ((queue, key), holder) in &plan.keys {
        txn.set_key_holder(queue, key, *holder)?;
        done.wrote = true;
    }
    for (put, verdict) in batch.records.iter().zip(&receipt.records) {
        if let Ok(version) = verdict {
            txn.put_record(&put.key, put.value.as_deref().map(|value| (*version, value)))?;
            done.wrote = true;
        }
    }
    Ok(())
}

fn write_insert(
    txn: &mut dyn Txn,
    state: &JobState,
    body: &Body,
    done: &mut Done,
) -> Result<(), BackendError> {
    txn.insert(state, body)?;
    done.wrote = true;
    if done.gone.remove(&state.id) {
        done.cuts.push(done.lengths());
    }
    done.inserted.push(state.clone());
    Ok(())
}

/// Stores a transition and remembers it. One that changes nothing needs no write.
pub(super) fn write_transition(
    txn: &mut dyn Txn,
    transition: Transition,
    output: Option<&Output>,
    history_max: usize,
    done: &mut Done,
) -> Result<(), BackendError> {
    if !transition.is_noop() {
        txn.store(&transition, output, history_max)?;
        done.wrote = true;
        done.transitions.push(transition);
    }
    Ok(())
}

/// Decides and stores one event of the writer's own: nobody is asked and nobody is answered. A job that says no
/// is left as it is.
pub(super) fn apply_own(
    txn: &mut dyn Txn,
    state: &JobState,
    event: &Event,
    now: Timestamp,
    history_max: usize,
    done: &mut Done,
) -> Result<Option<Transition>, BackendError> {
    let Ok(transition) = decide(state, event, Some(state.attempt), now) else { return Ok(None) };
    if let (KeyChange::Release, Some(key)) = (consequences(&transition).unique_key, &state.unique_key) {
        txn.set_key_holder(&state.labels.queue, key, None)?;
    }
    write_transition(txn, transition.clone(), None, history_max, done)?;
    Ok(Some(transition))
}

/// Makes jobs due whose time has come, and gives up those that missed their deadline.
pub(super) fn run_timers(
    txn: &mut dyn Txn,
    now: Timestamp,
    history_max: usize,
    done: &mut Done,
) -> Result<(), BackendError> {
    if txn.promote(now, TIMERS_PER_GROUP)? > 0 {
        done.wrote = true;
        done.promoted = true;
    }
    for job in txn.expired(now, TIMERS_PER_GROUP)? {
        apply_own(txn, &job, &Event::Expire, now, history_max, done)?;
    }
    Ok(())
}
