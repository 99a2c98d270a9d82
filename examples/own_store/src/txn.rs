//! One transaction: each change goes to the rows at once, and to the frame that a commit appends.

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::{
    BackendError, Body, ClaimFilter, Detail, Job, JobId, Output, QueueName, Timestamp, Txn, UniqueKey,
};

use crate::entry::{Entry, Line, Row, Step};
use crate::rows::{Rows, Undo};

pub struct LogTxn<'a> {
    rows: &'a mut Rows,
    undo: Vec<Undo>,
    /// The entries, as the log will hold them.
    pub entries: Vec<u8>,
}

impl<'a> LogTxn<'a> {
    pub fn new(rows: &'a mut Rows) -> Self {
        LogTxn { rows, undo: Vec::new(), entries: Vec::new() }
    }

    /// Leaves the rows as they were.
    pub fn roll_back(self) {
        self.undo.into_iter().rev().for_each(|undo| undo(self.rows));
    }

    fn change(&mut self, entry: Entry) -> Result<(), BackendError> {
        entry.write_to(&mut self.entries)?;
        self.undo.push(self.rows.apply(entry)?);
        Ok(())
    }

    fn states(&self, ids: impl IntoIterator<Item = JobId>) -> Result<Vec<JobState>, BackendError> {
        ids.into_iter().map(|id| Ok(self.rows.row(id)?.state.clone())).collect()
    }
}

impl Txn for LogTxn<'_> {
    fn load(&mut self, id: JobId) -> Result<Option<JobState>, BackendError> {
        Ok(self.rows.jobs.get(&id).map(|row| row.state.clone()))
    }

    fn job(&mut self, state: &JobState) -> Result<Job, BackendError> {
        Ok(self.rows.row(state.id)?.job(state, Detail::Full))
    }

    fn next_sequence(&mut self) -> Result<u64, BackendError> {
        let next = self.rows.sequence + 1;
        self.change(Entry::Sequence(next))?;
        Ok(next)
    }

    fn insert(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        let (state, body) = (state.clone(), body.clone());
        let row = Row { state, body, output: None, error: None, history: Default::default(), cut: 0 };
        self.change(Entry::Put(Box::new(row)))
    }

    fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError> {
        self.change(Entry::Step(Box::new(Step {
            state: transition.after.clone(),
            output: output.map(|output| output.clone().into_value()),
            error: transition.error.clone().map(|error| (error.message, error.kind)),
            line: Line(transition.history()),
            history_max,
        })))
    }

    fn delete(&mut self, state: &JobState) -> Result<(), BackendError> {
        self.change(Entry::Delete(state.id))
    }

    fn ready_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        Ok(self.rows.index.ready_queues(filter, after, limit))
    }

    fn ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        self.states(self.rows.index.ready(queue, filter, limit))
    }

    fn promote(&mut self, now: Timestamp, limit: usize) -> Result<usize, BackendError> {
        let timers = self.rows.index.timers.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<JobId> = timers.take(limit).map(|(_, id)| *id).collect();
        due.iter().try_for_each(|id| self.change(Entry::Due(*id)))?;
        Ok(due.len())
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobState>, BackendError> {
        let passed = self.rows.index.deadlines.iter().take_while(|(at, _)| *at <= now);
        self.states(passed.take(limit).map(|(_, id)| *id))
    }

    fn next_timer(&mut self) -> Result<Option<Timestamp>, BackendError> {
        let index = &self.rows.index;
        Ok(index.timers.first().into_iter().chain(index.deadlines.first()).map(|(at, _)| *at).min())
    }

    fn key_holder(&mut self, queue: &QueueName, key: &UniqueKey) -> Result<Option<JobId>, BackendError> {
        Ok(self.rows.keys.get(&(queue.clone(), key.clone())).copied())
    }

    fn set_key_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError> {
        self.change(Entry::Key((queue.clone(), key.clone()), holder))
    }

    fn record_version(&mut self, key: &str) -> Result<u64, BackendError> {
        Ok(self.rows.records.get(key).map_or(0, |(version, _)| *version))
    }

    fn put_record(&mut self, key: &str, value: Option<(u64, &[u8])>) -> Result<(), BackendError> {
        let value = value.map(|(version, bytes)| (version, bytes.to_vec()));
        self.change(Entry::Record(key.to_owned(), value))
    }
}
