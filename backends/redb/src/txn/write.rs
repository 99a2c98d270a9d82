//! What a transaction writes of a job.

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::salvage::Saved;
use poolqueue_core::{BackendError, BackendErrorKind, Body, ContentType, JobId, Output};
use redb::ReadableTable;

use super::{RedbTxn, unique_row_key};
use crate::codec::{
    Flaw, Owner, Part, StoredBody, StoredChunk, StoredError, StoredHistory, StoredLabels, StoredOutcome,
    StoredState, encode, seal, unseal,
};
use crate::history::{self, Chunks};
use crate::index::{Seat, Step};
use crate::site::Site;
use crate::tables::Tables;

impl RedbTxn<'_> {
    pub(super) fn insert_job(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        let (id, site) = (state.id, self.site());
        let mut row = self.rows.buffer();
        let labels = &mut self.scratch.labels;
        let engine = |error| site.engine("write a job", error);
        self.wrote = true;
        labels.clear();
        encode(&StoredLabels::of(&state.labels), labels)
            .and_then(|()| StoredState::of(state, labels, None, StoredHistory::default()))
            .and_then(|stored| seal(Owner::new(Part::State, id.as_bytes()), &stored, &mut row))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        let states = self.tables.states(state.status.is_final())?;
        if states.insert(id.as_bytes(), row.as_slice()).map_err(engine)?.is_some() {
            return Err(site.error(BackendErrorKind::Invalid, format_args!("job {id} exists already")));
        }
        self.rows.keep(id, state.status.is_final(), row);
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
        let (mut row, labels) = (self.rows.buffer(), &mut self.scratch.labels);
        labels.clear();
        encode(&StoredLabels::of(&state.labels), labels)
            .and_then(|()| StoredState::of(state, labels, has_outcome.then_some(attempt), history))
            .and_then(|stored| seal(Owner::new(Part::State, id.as_bytes()), &stored, &mut row))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        let is_final = state.status.is_final();
        self.tables.states(is_final)?.insert(id.as_bytes(), row.as_slice()).map_err(engine)?;
        self.rows.keep(id, is_final, row);
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
        let flawed = |flaw: Flaw| site.flaw(format_args!("the state of job {id}"), flaw);
        let old_row = self.take_row(id, step.before.status.is_final())?;
        let old: StoredState<'_> =
            unseal(Owner::new(Part::State, id.as_bytes()), &old_row).map_err(flawed)?;
        if (old.status, old.attempt) != (step.before.status.code(), step.before.attempt.0) {
            let what = format_args!("the transition of job {id} starts from a state it is not in");
            return Err(site.error(BackendErrorKind::Invalid, what));
        }
        let outcome = self.store_outcome(&old, step, output)?;
        let mut chunks = JobChunks { id, site, tables: &mut self.tables, row: &mut self.scratch.row };
        let tail = &mut self.scratch.tail;
        let history = history::append(&old.history, &step.history(), history_max, tail, &mut chunks)?;
        let mut row = self.rows.buffer();
        StoredState::of(&step.after, old.labels, outcome, history)
            .and_then(|stored| seal(Owner::new(Part::State, id.as_bytes()), &stored, &mut row))
            .map_err(flawed)?;
        self.rows.give_back(old_row);
        self.replace(&step.before, &step.after, row)
    }

    /// Stores another state of a job without anything else: no history, no outcome.
    pub(super) fn rewrite(&mut self, before: &JobState, after: &JobState) -> Result<(), BackendError> {
        let (id, site) = (after.id, self.site());
        let old_row = self.take_row(id, before.status.is_final())?;
        let mut row = self.rows.buffer();
        unseal::<StoredState<'_>>(Owner::new(Part::State, id.as_bytes()), &old_row)
            .and_then(|old| StoredState::of(after, old.labels, old.outcome, old.history))
            .and_then(|stored| seal(Owner::new(Part::State, id.as_bytes()), &stored, &mut row))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        self.rows.give_back(old_row);
        self.replace(before, after, row)
    }

    /// Puts the new row in its table, takes the old one out of another, and tells the index.
    fn replace(&mut self, before: &JobState, after: &JobState, row: Vec<u8>) -> Result<(), BackendError> {
        let site = self.site();
        let engine = |error| site.engine("write a state", error);
        let (from, to) = (before.status.is_final(), after.status.is_final());
        self.wrote = true;
        self.tables.states(to)?.insert(after.id.as_bytes(), row.as_slice()).map_err(engine)?;
        if from != to {
            self.tables.states(from)?.remove(before.id.as_bytes()).map_err(engine)?;
        }
        self.rows.keep(after.id, to, row);
        self.kept.change(Step::Leave, Seat::of(before));
        self.kept.change(Step::Take, Seat::of(after));
        Ok(())
    }

    /// Stores what the step leaves behind, beside what is there already. Under which attempt the outcome is
    /// stored now.
    fn store_outcome(
        &mut self,
        old: &StoredState<'_>,
        step: &Transition,
        output: Option<&Output>,
    ) -> Result<Option<u32>, BackendError> {
        if step.error.is_none() && output.is_none() {
            return Ok(old.outcome);
        }
        let (id, site) = (step.after.id, self.site());
        let engine = |error| site.engine("write an outcome", error);
        let flawed = |flaw: Flaw| site.flaw(format_args!("the outcome of job {id}"), flaw);
        let old_row = &mut self.scratch.outcome;
        let mut kept = StoredOutcome::default();
        if let Some(attempt) = old.outcome {
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
            if old.outcome.is_some() {
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
        let row = self.take_row(id, state.status.is_final())?;
        let old: StoredState<'_> = unseal(Owner::new(Part::State, key), &row)
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        self.wrote = true;
        self.tables.states(state.status.is_final())?.remove(key).map_err(engine)?;
        self.tables.body()?.remove(key).map_err(engine)?;
        if old.outcome.is_some() {
            self.tables.outcome()?.remove(key).map_err(engine)?;
        }
        for chunk in old.history.first_chunk..old.history.next_chunk {
            self.tables.history()?.remove((key, chunk)).map_err(engine)?;
        }
        if let Some(unique) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) {
            let row_key = unique_row_key(&state.labels.queue, unique);
            self.tables.unique()?.remove(row_key.as_slice()).map_err(engine)?;
        }
        self.kept.change(Step::Leave, Seat::of(state));
        self.rows.give_back(row);
        Ok(())
    }
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
