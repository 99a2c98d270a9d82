use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::lifecycle::{JobState, Transition};
use crate::{
    BackendError, BackendErrorKind, Body, Detail, HistoryEntry, Job, JobId, LastError, Output, QueueName,
    UniqueKey, Verified,
};

use super::index::Indexes;

/// Everything kept of one job.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) state: JobState,
    pub(super) body: Arc<Body>,
    pub(super) output: Output,
    pub(super) last_error: Option<LastError>,
    /// Oldest first.
    pub(super) history: VecDeque<HistoryEntry>,
    /// Entries that were cut from the front.
    pub(super) history_cut: u64,
}

impl Row {
    /// The job in `state`, with as much as `detail` asks for.
    pub(super) fn job(&self, state: &JobState, detail: Detail) -> Job {
        match detail {
            Detail::State => Job::assemble(state, None, Output::none(), None),
            Detail::Full => {
                let body = Some(Body::clone(&self.body));
                Job::assemble(state, body, self.output.clone(), self.last_error.clone())
            }
        }
    }
}

pub(super) type Key = (QueueName, UniqueKey);
pub(super) type Record = (u64, Vec<u8>);

/// The truth (everything but the indexes), and the indexes.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) rows: BTreeMap<JobId, Row>,
    pub(super) keys: BTreeMap<Key, JobId>,
    pub(super) records: BTreeMap<String, Record>,
    /// The last sequence given out.
    pub(super) sequence: u64,
    pub(super) indexes: Indexes,
}

/// What a change replaced. Putting all of them back, the last one first, undoes a transaction; each costs about
/// what the change did.
#[derive(Debug)]
pub(super) enum Undo {
    /// There was no such job.
    Inserted(JobId),
    /// The job was there.
    Deleted(Box<Row>),
    /// The job was in this state, with the same of everything else.
    Moved(Box<JobState>),
    /// The job was as it was before a transition.
    Stored(Box<Before>),
    /// The key had this holder.
    Key(Key, Option<JobId>),
    /// The record had this value.
    Record(String, Option<Record>),
    /// This was the last sequence given out.
    Sequence(u64),
}

/// What a transition replaced of a row.
#[derive(Debug)]
pub(super) struct Before {
    state: JobState,
    /// `None` when the output stayed.
    output: Option<Output>,
    /// `None` when the last error stayed.
    last_error: Option<Option<LastError>>,
    /// Entries cut from the front, oldest first.
    cut: Vec<HistoryEntry>,
}

impl Data {
    /// The row of a job that has to be there.
    pub(super) fn row(&self, id: JobId) -> Result<&Row, BackendError> {
        self.rows.get(&id).ok_or_else(|| missing(id))
    }

    /// Stores a new job.
    pub(super) fn insert(&mut self, state: &JobState, body: &Body) -> Result<Undo, BackendError> {
        if self.rows.contains_key(&state.id) {
            return Err(misused(format!("job {} exists already", state.id)));
        }
        let row = Row {
            state: state.clone(),
            body: Arc::new(body.clone()),
            output: Output::none(),
            last_error: None,
            history: VecDeque::new(),
            history_cut: 0,
        };
        self.indexes.add(state);
        self.rows.insert(state.id, row);
        Ok(Undo::Inserted(state.id))
    }

    /// Removes a job.
    pub(super) fn delete(&mut self, id: JobId) -> Result<Undo, BackendError> {
        let row = self.rows.remove(&id).ok_or_else(|| missing(id))?;
        self.indexes.remove(&row.state);
        Ok(Undo::Deleted(Box::new(row)))
    }

    /// Gives a job another state and returns the one it had.
    pub(super) fn set_state(&mut self, state: JobState) -> Result<JobState, BackendError> {
        let row = self.rows.get_mut(&state.id).ok_or_else(|| missing(state.id))?;
        self.indexes.remove(&row.state);
        self.indexes.add(&state);
        Ok(std::mem::replace(&mut row.state, state))
    }

    /// Stores a transition of a job that is as the transition says it was.
    pub(super) fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<Undo, BackendError> {
        let id = transition.before.id;
        if self.row(id)?.state != transition.before {
            return Err(misused(format!("the transition of job {id} starts from a state it is not in")));
        }
        let state = self.set_state(transition.after.clone())?;
        let row = self.rows.get_mut(&id).ok_or_else(|| missing(id))?;
        let output = output.map(|output| std::mem::replace(&mut row.output, output.clone()));
        let error = transition.error.as_ref();
        let last_error = error.map(|error| row.last_error.replace(error.clone()));
        row.history.push_back(transition.history());
        let excess = row.history.len().saturating_sub(history_max);
        let cut: Vec<HistoryEntry> = row.history.drain(..excess).collect();
        row.history_cut += cut.len() as u64;
        Ok(Undo::Stored(Box::new(Before { state, output, last_error, cut })))
    }

    /// Gives a key to a job, or takes it away.
    pub(super) fn set_key_holder(&mut self, key: Key, holder: Option<JobId>) -> Undo {
        let replaced = match holder {
            Some(id) => self.keys.insert(key.clone(), id),
            None => self.keys.remove(&key),
        };
        Undo::Key(key, replaced)
    }

    /// Stores a record, or removes it.
    pub(super) fn put_record(&mut self, key: String, value: Option<Record>) -> Undo {
        let replaced = match value {
            Some(record) => self.records.insert(key.clone(), record),
            None => self.records.remove(&key),
        };
        Undo::Record(key, replaced)
    }

    /// Undoes the last change that was not undone yet. What a change found, its undoing finds too, so nothing
    /// here can fail.
    pub(super) fn put_back(&mut self, change: Undo) {
        match change {
            Undo::Inserted(id) => {
                if let Some(row) = self.rows.remove(&id) {
                    self.indexes.remove(&row.state);
                }
            }
            Undo::Deleted(row) => {
                self.indexes.add(&row.state);
                self.rows.insert(row.state.id, *row);
            }
            Undo::Moved(state) => {
                let _ = self.set_state(*state);
            }
            Undo::Stored(before) => self.put_back_row(*before),
            Undo::Key(key, holder) => {
                self.set_key_holder(key, holder);
            }
            Undo::Record(key, value) => {
                self.put_record(key, value);
            }
            Undo::Sequence(last) => self.sequence = last,
        }
    }

    fn put_back_row(&mut self, before: Before) {
        if let Some(row) = self.rows.get_mut(&before.state.id) {
            // The entry the transition left is the last one, or was cut at once and is the last of those cut.
            row.history_cut -= before.cut.len() as u64;
            for entry in before.cut.into_iter().rev() {
                row.history.push_front(entry);
            }
            row.history.pop_back();
            if let Some(output) = before.output {
                row.output = output;
            }
            if let Some(last_error) = before.last_error {
                row.last_error = last_error;
            }
        }
        let _ = self.set_state(before.state);
    }

    /// Makes the indexes anew from the rows and compares, and checks what the rows say of each other.
    pub(super) fn verify(&self) -> Result<Verified, BackendError> {
        let mut derived = Indexes::default();
        let mut history_entries = 0;
        for (id, row) in &self.rows {
            self.verify_row(*id, row)?;
            derived.add(&row.state);
            history_entries += row.history.len() as u64;
        }
        self.indexes.compare(&derived)?;
        for ((queue, key), holder) in &self.keys {
            let holds = |row: &Row| {
                !row.state.status.is_final()
                    && row.state.labels.queue == *queue
                    && row.state.unique_key.as_ref() == Some(key)
            };
            if !self.rows.get(holder).is_some_and(holds) {
                let what =
                    format!("unique key {key:?} of queue {queue} is held by {holder}, which is over, ");
                return Err(BackendError::corrupted(what + "has another key or does not exist"));
            }
        }
        Ok(Verified::new(self.rows.len() as u64, history_entries, derived.counts))
    }

    fn verify_row(&self, id: JobId, row: &Row) -> Result<(), BackendError> {
        let state = &row.state;
        if state.id != id {
            return Err(BackendError::corrupted(format!("the row of job {id} is of job {}", state.id)));
        }
        if state.sequence > self.sequence {
            let (own, last) = (state.sequence, self.sequence);
            return Err(BackendError::corrupted(format!("job {id} has sequence {own}, the last is {last}")));
        }
        if let Some(key) = state.unique_key.as_ref().filter(|_| !state.status.is_final())
            && self.keys.get(&(state.labels.queue.clone(), key.clone())) != Some(&id)
        {
            return Err(BackendError::corrupted(format!("job {id} does not hold its key {key:?}")));
        }
        Ok(())
    }
}

pub(super) fn missing(id: JobId) -> BackendError {
    misused(format!("there is no job {id} in the store"))
}

/// The caller broke the contract of [`Txn`](crate::Txn). Nothing was changed.
fn misused(what: String) -> BackendError {
    BackendError::new(BackendErrorKind::Invalid, what)
}
