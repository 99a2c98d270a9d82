//! What a transaction writes of a job.

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::salvage::Saved;
use poolqueue_core::{BackendError, BackendErrorKind, Body, ContentType, JobId, Labels, Output};
use redb::ReadableTable;

use super::{RedbTxn, Scratch, unique_row_key};
use crate::codec::{
    Flaw, Owner, Part, StateRow, StoredBody, StoredChunk, StoredError, StoredHistory, StoredLabels,
    StoredOutcome, encode, seal, unseal,
};
use crate::history::{self, Chunks};
use crate::index::{Seat, Step};
use crate::site::Site;
use crate::tables::Tables;

impl RedbTxn<'_> {
    pub(super) fn insert_job(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        let (id, site) = (state.id, self.site());
        let engine = |error| site.engine("write a job", error);
        self.wrote = true;
        let Scratch { rows, labels, .. } = &mut self.scratch;
        let row = encode_labels(&state.labels, labels)
            .and_then(|()| rows.write(state, labels, None, StoredHistory::default()))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        let states = self.tables.states(state.status.is_final())?;
        if states.insert(id.as_bytes(), row.bytes()).map_err(engine)?.is_some() {
            return Err(site.error(BackendErrorKind::Invalid, format_args!("job {id} exists already")));
        }
        rows.keep(row);
        let row = &mut self.scratch.row;
        seal(Owner::new(Part::Body, id.as_bytes()), &StoredBody::of(body), row)
            .map_err(|flaw| site.flaw(format_args!("the body of job {id}"), flaw))?;
        self.tables.body()?.insert(id.as_bytes(), row.as_slice()).map_err(engine)?;
        self.kept.admit(Seat::of(state));
        Ok(())
    }

    /// Stores a job that was saved from another store.
    pub(super) fn restore_job(&mut self, job: &Saved) -> Result<(), BackendError> {
        let (state, id, site) = (&job.state, job.state.id, self.site());
        let engine = |error| site.engine("write a job", error);
        self.wrote = true;
        let row = &mut self.scratch.row;
        seal(Owner::new(Part::Body, id.as_bytes()), &StoredBody::of(&job.body), row)
            .map_err(|flaw| site.flaw(format_args!("the body of job {id}"), flaw))?;
        self.tables.body()?.insert(id.as_bytes(), row.as_slice()).map_err(engine)?;
        let attempt = state.attempt.0;
        let outcome = StoredOutcome {
            attempt,
            output: job.output.value().map(|(bytes, kind): (_, ContentType)| (bytes, kind.code())),
            error: job.error.as_ref().map(StoredError::of),
        };
        let has_outcome = outcome.output.is_some() || outcome.error.is_some();
        if has_outcome {
            seal(Owner::numbered(Part::Outcome, id.as_bytes(), attempt), &outcome, row)
                .map_err(|flaw| site.flaw(format_args!("the outcome of job {id}"), flaw))?;
            self.tables.outcome()?.insert(id.as_bytes(), row.as_slice()).map_err(engine)?;
        }
        let mut chunks = JobChunks { id, site, tables: &mut self.tables, row };
        let tail = &mut self.scratch.tail;
        let history = history::write(job.cut, &job.history, tail, &mut chunks)?;
        let (rows, labels) = (&mut self.scratch.rows, &mut self.scratch.labels);
        let row = encode_labels(&state.labels, labels)
            .and_then(|()| rows.write(state, labels, has_outcome.then_some(attempt), history))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        let states = self.tables.states(state.status.is_final())?;
        states.insert(id.as_bytes(), row.bytes()).map_err(engine)?;
        rows.keep(row);
        self.kept.admit(Seat::of(state));
        self.pass_sequence(state.sequence)
    }

    pub(super) fn store_step(
        &mut self,
        step: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError> {
        if step.is_noop() {
            return Ok(());
        }
        let (id, site) = (step.after.id, self.site());
        let old = self.take_row_of(&step.before)?;
        let outcome = self.store_outcome(&old, step, output)?;
        let mut chunks = JobChunks { id, site, tables: &mut self.tables, row: &mut self.scratch.row };
        let tail = &mut self.scratch.tail;
        let history = history::append(&old.history(), &step.history(), history_max, tail, &mut chunks)?;
        let row = self.scratch.rows.write(&step.after, old.labels(), outcome, history);
        let row = row.map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        self.replace(old, row)
    }

    /// Stores another state of a job without anything else: no history, no outcome.
    pub(super) fn rewrite(&mut self, before: &JobState, after: &JobState) -> Result<(), BackendError> {
        let (id, site) = (after.id, self.site());
        let old = self.take_row_of(before)?;
        let row = self.scratch.rows.write(after, old.labels(), old.outcome(), old.history());
        let row = row.map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        self.replace(old, row)
    }

    /// Puts the new row in its table, takes the old one out of another, and tells the index.
    fn replace(&mut self, old: StateRow, row: StateRow) -> Result<(), BackendError> {
        let (id, site) = (row.id(), self.site());
        let engine = |error| site.engine("write a state", error);
        self.wrote = true;
        self.tables.states(row.is_final())?.insert(id.as_bytes(), row.bytes()).map_err(engine)?;
        if old.is_final() != row.is_final() {
            self.tables.states(old.is_final())?.remove(id.as_bytes()).map_err(engine)?;
        }
        self.kept.change(Step::Leave, Seat::of(old.state()));
        self.kept.change(Step::Take, Seat::of(row.state()));
        let rows = &mut self.scratch.rows;
        rows.give_back(old);
        // Nobody asks soon for a job that is over.
        if row.is_final() {
            rows.give_back(row)
        } else {
            rows.keep(row)
        }
        Ok(())
    }

    /// Stores what the step leaves behind, beside what is there already. Under which attempt the outcome is
    /// stored now.
    fn store_outcome(
        &mut self,
        old: &StateRow,
        step: &Transition,
        output: Option<&Output>,
    ) -> Result<Option<u32>, BackendError> {
        if step.error.is_none() && output.is_none() {
            return Ok(old.outcome());
        }
        let (id, site) = (step.after.id, self.site());
        let engine = |error| site.engine("write an outcome", error);
        let flawed = |flaw: Flaw| site.flaw(format_args!("the outcome of job {id}"), flaw);
        let old_row = &mut self.scratch.outcome;
        let mut kept = StoredOutcome::default();
        if let Some(attempt) = old.outcome() {
            let Some(found) = self.tables.outcome()?.get(id.as_bytes()).map_err(engine)? else {
                return Err(site.corrupted(format_args!("the outcome of job {id} is missing")));
            };
            old_row.clear();
            old_row.extend_from_slice(found.value());
            kept = unseal(Owner::numbered(Part::Outcome, id.as_bytes(), attempt), old_row).map_err(flawed)?;
        }
        let attempt = step.after.attempt.0;
        let new = StoredOutcome {
            attempt,
            output: match output {
                Some(output) => output.value().map(|(bytes, kind): (_, ContentType)| (bytes, kind.code())),
                None => kept.output,
            },
            error: step.error.as_ref().map(StoredError::of).or(kept.error),
        };
        if new.output.is_none() && new.error.is_none() {
            if old.outcome().is_some() {
                self.tables.outcome()?.remove(id.as_bytes()).map_err(engine)?;
            }
            return Ok(None);
        }
        let row = &mut self.scratch.row;
        seal(Owner::numbered(Part::Outcome, id.as_bytes(), attempt), &new, row).map_err(flawed)?;
        self.tables.outcome()?.insert(id.as_bytes(), row.as_slice()).map_err(engine)?;
        Ok(Some(attempt))
    }

    pub(super) fn delete_job(&mut self, state: &JobState) -> Result<(), BackendError> {
        let (id, site) = (state.id, self.site());
        let key = id.as_bytes();
        let engine = |error| site.engine("delete a job", error);
        let old = self.take_row_of(state)?;
        self.wrote = true;
        self.tables.states(old.is_final())?.remove(key).map_err(engine)?;
        self.tables.body()?.remove(key).map_err(engine)?;
        if old.outcome().is_some() {
            self.tables.outcome()?.remove(key).map_err(engine)?;
        }
        for chunk in old.history().first_chunk..old.history().next_chunk {
            self.tables.history()?.remove((key, chunk)).map_err(engine)?;
        }
        if let Some(unique) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) {
            let row_key = unique_row_key(&state.labels.queue, unique);
            self.tables.unique()?.remove(row_key.as_slice()).map_err(engine)?;
        }
        self.kept.change(Step::Leave, Seat::of(state));
        self.scratch.rows.give_back(old);
        Ok(())
    }
}

fn encode_labels(labels: &Labels, out: &mut Vec<u8>) -> Result<(), Flaw> {
    out.clear();
    encode(&StoredLabels::of(labels), out)
}

/// The history rows of one job.
struct JobChunks<'a, 't> {
    id: JobId,
    site: &'a Site,
    tables: &'a mut Tables<'t>,
    row: &'a mut Vec<u8>,
}

impl Chunks for JobChunks<'_, '_> {
    fn put(&mut self, number: u32, chunk: &StoredChunk<'_>) -> Result<(), BackendError> {
        let (key, site) = (self.id.as_bytes(), self.site);
        seal(Owner::numbered(Part::History, key, number), chunk, self.row).map_err(|flaw| self.flaw(flaw))?;
        let history = self.tables.history()?;
        history
            .insert((key, number), self.row.as_slice())
            .map_err(|error| site.engine("write history", error))?;
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Result<(), BackendError> {
        let (key, site) = (self.id.as_bytes(), self.site);
        let history = self.tables.history()?;
        history.remove((key, number)).map_err(|error| site.engine("cut history", error))?;
        Ok(())
    }

    fn count(&mut self, number: u32) -> Result<u32, BackendError> {
        let (id, site) = (self.id, self.site);
        let row = self.tables.history()?.get((id.as_bytes(), number));
        let row = row.map_err(|error| site.engine("read history", error))?;
        let row = row.ok_or_else(|| site.corrupted(format_args!("history of job {id} is missing")))?;
        unseal::<StoredChunk<'_>>(Owner::numbered(Part::History, id.as_bytes(), number), row.value())
            .map(|chunk| chunk.count)
            .map_err(|flaw| site.flaw(format_args!("the history of job {id}"), flaw))
    }

    fn flaw(&self, flaw: Flaw) -> BackendError {
        self.site.flaw(format_args!("the history of job {}", self.id), flaw)
    }
}
