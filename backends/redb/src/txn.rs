//! One transaction: the tables, and the memory that changes with them.

mod kept;
mod notes;
mod rows;
mod side;
mod write;

#[cfg(test)]
mod tests;

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::salvage::Saved;
use poolqueue_core::{
    BackendError, BackendErrorKind, Body, ClaimFilter, Elsewhere, Job, JobId, LastError, Output, QueueName,
    Timestamp, Txn, UniqueKey,
};
use redb::{ReadableTable, WriteTransaction};

use crate::codec::{Owner, Part, StateRow, StoredBody, StoredOutcome, seal, unseal};
use crate::index::{Found, Index, Seat, Spot, Step};
use crate::memory::Memory;
use crate::shared::Shared;
use crate::site::Site;
use crate::tables::Tables;
use kept::{Aside, Kept};
use rows::{BUFFER_BYTES_MAX, Rows};
pub(crate) use side::unique_row_key;

pub(crate) struct RedbTxn<'t> {
    tables: Tables<'t>,
    shared: &'t Shared,
    kept: Kept<'t>,
    wrote: bool,
    scratch: Scratch,
}

/// Buffers that are used again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The states of the jobs that the transaction is about.
    rows: Rows,
    /// A row that is not a state.
    row: Vec<u8>,
    /// Its labels.
    labels: Vec<u8>,
    /// Its newest history.
    tail: Vec<u8>,
    /// Its outcome.
    outcome: Vec<u8>,
}

impl Scratch {
    /// What is kept for the next transaction. Buffers that have become large are not.
    fn kept(mut self) -> Self {
        for buffer in [&mut self.row, &mut self.labels, &mut self.tail, &mut self.outcome] {
            buffer.clear();
            buffer.shrink_to(BUFFER_BYTES_MAX);
        }
        self
    }
}

impl<'t> RedbTxn<'t> {
    /// The writer's transaction.
    pub(crate) fn new(txn: &'t WriteTransaction, shared: &'t Shared, memory: &'t mut Memory) -> Self {
        let scratch = std::mem::take(&mut memory.scratch);
        Self::keeping(txn, shared, Kept::writer(memory), scratch)
    }

    /// A transaction of the application's. Nothing can be claimed in it.
    pub(crate) fn of_application(txn: &'t WriteTransaction, shared: &'t Shared) -> Self {
        Self::keeping(txn, shared, Kept::Application(Aside::default()), Scratch::default())
    }

    fn keeping(txn: &'t WriteTransaction, shared: &'t Shared, kept: Kept<'t>, scratch: Scratch) -> Self {
        let tables = Tables::new(txn, shared.site());
        RedbTxn { tables, shared, kept, wrote: false, scratch }
    }

    /// Whether there is anything to commit.
    pub(crate) fn wrote(&self) -> bool {
        self.wrote
    }

    fn site(&self) -> &'t Site {
        self.shared.site()
    }

    fn read_meta<T: for<'a> bincode::BorrowDecode<'a, ()>>(
        &mut self,
        key: &'static str,
        what: &str,
    ) -> Result<Option<T>, BackendError> {
        let site = self.site();
        let row = self.tables.meta()?.get(key).map_err(|error| site.engine("read the counters", error))?;
        row.map(|row| unseal(Owner::new(Part::Meta, key.as_bytes()), row.value()))
            .transpose()
            .map_err(|flaw| site.flaw(what, flaw))
    }

    fn put_meta(&mut self, key: &'static str, value: &impl bincode::Encode) -> Result<(), BackendError> {
        let site = self.site();
        let row = &mut self.scratch.row;
        seal(Owner::new(Part::Meta, key.as_bytes()), value, row).map_err(|flaw| site.flaw(key, flaw))?;
        self.wrote = true;
        let meta = self.tables.meta()?;
        meta.insert(key, row.as_slice()).map_err(|error| site.engine("write the counters", error))?;
        Ok(())
    }

    /// The state of a job in one of the two tables.
    fn load_from(&mut self, id: JobId, is_final: bool) -> Result<Option<JobState>, BackendError> {
        let Some(row) = self.take_row(id, is_final)? else { return Ok(None) };
        let state = row.state().clone();
        self.scratch.rows.keep(row);
        Ok(Some(state))
    }

    /// The state of a job that the index says is there and `fits`. `Ok(None)` and a note of the damage when its
    /// record says otherwise.
    fn load_listed(
        &mut self,
        id: JobId,
        fits: impl FnOnce(&JobState) -> bool,
    ) -> Result<Option<JobState>, BackendError> {
        let loaded = match self.load_from(id, false) {
            Ok(Some(state)) if fits(&state) => return Ok(Some(state)),
            Ok(Some(_)) => Err(self.site().corrupted(format_args!("job {id} is not what the index says"))),
            Ok(None) => Err(self.site().corrupted(format_args!("the state of job {id} is missing"))),
            Err(error) => Err(error),
        };
        match loaded {
            Err(error)
                if matches!(error.kind(), BackendErrorKind::Corrupted | BackendErrorKind::NewerFormat) =>
            {
                self.shared.note(&error);
                Ok(None)
            }
            other => other,
        }
    }

    fn take_row(&mut self, id: JobId, is_final: bool) -> Result<Option<StateRow>, BackendError> {
        let (site, names) = (self.shared.site(), self.kept.names());
        self.scratch.rows.take(&mut self.tables, names, site, id, is_final)
    }

    /// The row of a job that is there in this state.
    fn take_row_of(&mut self, state: &JobState) -> Result<StateRow, BackendError> {
        let (id, site) = (state.id, self.site());
        let row = self.take_row(id, state.status.is_final())?;
        let row = row.ok_or_else(|| site.corrupted(format_args!("the state of job {id} is missing")))?;
        if (row.state().status, row.state().attempt) == (state.status, state.attempt) {
            return Ok(row);
        }
        let what = format_args!("job {id} was taken to be in a state it is not in");
        Err(site.error(BackendErrorKind::Invalid, what))
    }

    fn body(&mut self, id: JobId) -> Result<Body, BackendError> {
        let site = self.site();
        let row = self.tables.body()?.get(id.as_bytes());
        let row = row.map_err(|error| site.engine("read a body", error))?;
        let row = row.ok_or_else(|| site.corrupted(format_args!("the body of job {id} is missing")))?;
        unseal::<StoredBody<'_>>(Owner::new(Part::Body, id.as_bytes()), row.value())
            .and_then(|stored| stored.body())
            .map_err(|flaw| site.flaw(format_args!("the body of job {id}"), flaw))
    }

    fn outcome(&mut self, id: JobId, attempt: u32) -> Result<(Output, Option<LastError>), BackendError> {
        let site = self.site();
        let row = self.tables.outcome()?.get(id.as_bytes());
        let row = row.map_err(|error| site.engine("read an outcome", error))?;
        let row = row.ok_or_else(|| site.corrupted(format_args!("the outcome of job {id} is missing")))?;
        unseal::<StoredOutcome<'_>>(Owner::numbered(Part::Outcome, id.as_bytes(), attempt), row.value())
            .and_then(|stored| stored.parts())
            .map_err(|flaw| site.flaw(format_args!("the outcome of job {id}"), flaw))
    }

    fn try_ready(
        &mut self,
        queue: &QueueName,
        found: Vec<Found>,
    ) -> Result<(Vec<JobState>, Vec<Found>), BackendError> {
        let mut states = Vec::with_capacity(found.len());
        let mut damaged = Vec::new();
        for found in found {
            let fits = |state: &JobState| state.is_claimable() && state.labels.queue == *queue;
            match self.load_listed(found.id(), fits)? {
                Some(state) => states.push(state),
                None => damaged.push(found),
            }
        }
        Ok((states, damaged))
    }
}

impl Txn for RedbTxn<'_> {
    fn elsewhere(&mut self) -> Result<Elsewhere, BackendError> {
        self.take_notes()
    }

    fn adopt(&mut self, before: Option<&JobState>, after: &JobState) -> Result<(), BackendError> {
        match before {
            Some(before) => {
                self.kept.change(Step::Leave, Seat::of(before));
                self.kept.change(Step::Take, Seat::of(after));
            }
            None => self.kept.admit(Seat::of(after)),
        }
        Ok(())
    }

    fn load(&mut self, id: JobId) -> Result<Option<JobState>, BackendError> {
        if !self.kept.may_have(id) {
            return Ok(None);
        }
        if let Some(row) = self.scratch.rows.known(id) {
            return Ok(Some(row.state().clone()));
        }
        match self.load_from(id, false)? {
            Some(state) => Ok(Some(state)),
            None => self.load_from(id, true),
        }
    }

    fn job(&mut self, state: &JobState) -> Result<Job, BackendError> {
        let id = state.id;
        let row = self.take_row_of(state)?;
        let attempt = row.outcome();
        self.scratch.rows.keep(row);
        let body = self.body(id)?;
        let (output, error) = match attempt {
            Some(attempt) => self.outcome(id, attempt)?,
            None => (Output::none(), None),
        };
        Ok(Job::assemble(state, Some(body), output, error))
    }

    fn next_sequence(&mut self) -> Result<u64, BackendError> {
        self.take_sequence()
    }

    fn insert(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        self.insert_job(state, body)
    }

    fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError> {
        self.store_step(transition, output, history_max)
    }

    fn delete(&mut self, state: &JobState) -> Result<(), BackendError> {
        self.delete_job(state)
    }

    fn ready_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        Ok(self.kept.index().map_or(Vec::new(), |index| index.ready_queues(filter, after, limit)))
    }

    fn ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        if !filter.takes_queue(queue) {
            return Ok(Vec::new());
        }
        loop {
            let Some(index) = self.kept.index() else { return Ok(Vec::new()) };
            let found = index.ready(queue, filter, limit);
            let (states, damaged) = self.try_ready(queue, found)?;
            if damaged.is_empty() {
                return Ok(states);
            }
            // Left out from now on, so that a damaged job does not stand in the way of the others.
            if let Some(index) = self.kept.index() {
                damaged.into_iter().for_each(|found| index.drop_ready(queue, found));
            }
        }
    }

    fn promote(&mut self, now: Timestamp, limit: usize) -> Result<usize, BackendError> {
        let mut promoted = 0;
        while promoted < limit {
            let first = self.kept.index().and_then(|index| index.first_future());
            let Some((_, id)) = first.filter(|(run_at, _)| *run_at <= now) else { break };
            match self.load_listed(id, |state| matches!(Seat::of(state).spot, Spot::Future { .. }))? {
                Some(state) => {
                    self.rewrite(&state, &state.promoted())?;
                    promoted += 1;
                }
                None => self.kept.index().into_iter().for_each(Index::drop_first_future),
            }
        }
        Ok(promoted)
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobState>, BackendError> {
        let Some(index) = self.kept.index() else { return Ok(Vec::new()) };
        let past = index.deadlines().take_while(|(at, _)| *at <= now);
        let past: Vec<(Timestamp, JobId)> = past.take(limit).collect();
        let mut states = Vec::with_capacity(past.len());
        for (at, id) in past {
            match self.load_listed(id, |state| state.awaits_deadline() && state.expires_at == Some(at))? {
                Some(state) => states.push(state),
                None => self.kept.index().into_iter().for_each(|index| index.drop_deadline(at, id)),
            }
        }
        Ok(states)
    }

    fn next_timer(&mut self) -> Result<Option<Timestamp>, BackendError> {
        Ok(self.kept.index().and_then(|index| index.next_timer()))
    }

    fn key_holder(&mut self, queue: &QueueName, key: &UniqueKey) -> Result<Option<JobId>, BackendError> {
        self.read_holder(queue, key)
    }

    fn set_key_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError> {
        self.write_holder(queue, key, holder)
    }

    fn record_version(&mut self, key: &str) -> Result<u64, BackendError> {
        self.read_record_version(key)
    }

    fn put_record(&mut self, key: &str, value: Option<(u64, &[u8])>) -> Result<(), BackendError> {
        self.write_record(key, value)
    }

    fn restore(&mut self, job: &Saved) -> Result<(), BackendError> {
        self.restore_job(job)
    }
}
