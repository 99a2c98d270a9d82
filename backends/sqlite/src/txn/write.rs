//! What a transaction writes of a job.

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::salvage::Saved;
use poolqueue_core::{BackendError, BackendErrorKind, Body, HistoryEntry, JobId, Output, Phase};
use rusqlite::{ffi, params};

use crate::codec::{BodyRow, EntryRow, Extra, Flaw, OutcomeRow, Stored, StoredRow, stored_u64};
use crate::reader::parts;

use super::SqliteTxn;

impl SqliteTxn<'_> {
    pub(super) fn insert_job(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        let (id, site, sql) = (state.id, self.site(), self.sql());
        let flawed = |flaw: Flaw| site.flaw(format_args!("job {id}"), flaw);
        let stored = Stored { state: state.clone(), extra: Extra::default() };
        let row = StoredRow::of(state, stored.extra).map_err(flawed)?;
        let inserted = row.insert(&mut self.writing(&sql.insert_job)?);
        inserted.map_err(|error| match error.sqlite_extended_error_code() {
            // The index of ids: the caller has not looked.
            Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => {
                site.error(BackendErrorKind::Invalid, format_args!("job {id} exists already"))
            }
            _ => site.engine("write a job under its sequence", error),
        })?;
        self.insert_body(id, stored_u64(state.sequence).map_err(flawed)?, body)?;
        self.post(None, Some(state))?;
        self.count(state, 1);
        self.memory.admit(stored);
        Ok(())
    }

    /// Stores a job that was saved from another store. A held one is held by this handle until it ends, and then by nobody.
    pub(super) fn restore_job(&mut self, saved: &Saved) -> Result<(), BackendError> {
        let (state, id, site, sql) = (&saved.state, saved.state.id, self.site(), self.sql());
        let flawed = |flaw: Flaw| site.flaw(format_args!("job {id}"), flaw);
        let engine = |error| site.engine("write a job", error);
        let job = stored_u64(state.sequence).map_err(flawed)?;
        let outcome =
            OutcomeRow { attempt: state.attempt.0, output: saved.output.clone(), error: saved.error.clone() };
        let extra = Extra {
            owner: (state.phase() == Phase::Held).then(|| self.shared.handle()),
            outcome: (!outcome.is_empty()).then_some(outcome.attempt),
            history_first: saved.cut,
            history_next: saved.cut.saturating_add(saved.history.len() as u64),
        };
        StoredRow::of(state, extra)
            .map_err(flawed)?
            .insert(&mut self.writing(&sql.insert_job)?)
            .map_err(engine)?;
        self.insert_body(id, job, &saved.body)?;
        if !outcome.is_empty() {
            self.put_outcome(id, job, &outcome)?;
        }
        for (entry, number) in saved.history.iter().zip(saved.cut..) {
            self.insert_entry(id, job, number, entry)?;
        }
        self.post(None, Some(state))?;
        self.count(state, 1);
        self.memory.admit(Stored { state: state.clone(), extra });
        self.pass_sequence(state.sequence)
    }

    fn insert_body(&mut self, id: JobId, job: i64, body: &Body) -> Result<(), BackendError> {
        let (site, sql) = (self.site(), self.sql());
        let part = BodyRow::of(id, body).map_err(|flaw| site.flaw(format_args!("job {id}"), flaw))?;
        let values =
            params![job, body.payload, body.content_type.as_str(), part.metadata, part.timeout, part.seal];
        let written = self.writing(&sql.insert_body)?.execute(values);
        written.map(|_| ()).map_err(|error| site.engine("write a body", error))
    }

    fn put_outcome(&mut self, id: JobId, job: i64, new: &OutcomeRow) -> Result<(), BackendError> {
        let (site, sql) = (self.site(), self.sql());
        let (bytes, content_type) = match new.output.value() {
            Some((bytes, content_type)) => (Some(bytes), Some(content_type.as_str())),
            None => (None, None),
        };
        let message = new.error.as_ref().map(|error| error.message.as_str());
        let values = params![job, new.attempt, bytes, content_type, message, new.error_kind(), new.seal(id)];
        let written = self.writing(&sql.put_outcome)?.execute(values);
        written.map(|_| ()).map_err(|error| site.engine("write an outcome", error))
    }

    fn insert_entry(
        &mut self,
        id: JobId,
        job: i64,
        number: u64,
        entry: &HistoryEntry,
    ) -> Result<(), BackendError> {
        let (site, sql) = (self.site(), self.sql());
        let number =
            stored_u64(number).map_err(|flaw| site.flaw(format_args!("the history of job {id}"), flaw))?;
        let row = EntryRow::of(number, entry);
        let values = params![
            job,
            row.number,
            row.at,
            row.event,
            row.from,
            row.to,
            row.attempt,
            row.assignee,
            row.message,
            row.seal(id)
        ];
        let written = self.writing(&sql.insert_entry)?.execute(values);
        written.map(|_| ()).map_err(|error| site.engine("write history", error))
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
        let old = self.expect(&step.before)?;
        let outcome = self.store_outcome(&old, step, output)?;
        let (history_first, history_next) = self.append(&old, &step.history(), history_max)?;
        let owner = self.owner(&old, step)?;
        self.update(&old, &step.after, Extra { owner, outcome, history_first, history_next })
    }

    /// The handle that holds the job after the step. One that held it before and is not this one is told.
    fn owner(&mut self, old: &Stored, step: &Transition) -> Result<Option<i64>, BackendError> {
        let (id, site, sql, own) = (step.after.id, self.site(), self.sql(), self.shared.handle());
        if step.took_slot() {
            self.claimed = true;
            return Ok(Some(own));
        }
        if let Some(owner) = old.extra.owner.filter(|owner| *owner != own) {
            let touched = self.writing(&sql.touch)?.execute(params![owner, id.as_bytes().as_slice()]);
            touched.map_err(|error| site.engine("tell the holder of a job", error))?;
        }
        Ok(old.extra.owner.filter(|_| !step.freed_slot()))
    }

    /// Stores another state of a job without anything else: no history, no outcome.
    pub(super) fn rewrite(&mut self, old: &Stored, after: &JobState) -> Result<(), BackendError> {
        self.update(old, after, old.extra)
    }

    /// The row of a job that must be in this state.
    fn expect(&mut self, before: &JobState) -> Result<Stored, BackendError> {
        let (id, site) = (before.id, self.site());
        match self.stored(id)? {
            Some(stored) if stored.state == *before => Ok(stored),
            Some(_) => {
                let what = format!("job {id} is not in the state that the change starts from");
                Err(site.error(BackendErrorKind::Invalid, what))
            }
            None => {
                Err(site.error(BackendErrorKind::Invalid, format_args!("there is no job {id} in the store")))
            }
        }
    }

    fn update(&mut self, old: &Stored, after: &JobState, extra: Extra) -> Result<(), BackendError> {
        let (id, site, sql) = (after.id, self.site(), self.sql());
        let row = StoredRow::of(after, extra)
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        let changed = row
            .update(&mut self.writing(&sql.update_job)?)
            .map_err(|error| site.engine("write a state", error))?;
        if changed != 1 {
            return Err(site.corrupted(format_args!("the state of job {id} is missing")));
        }
        self.post(Some(&old.state), Some(after))?;
        self.count(&old.state, -1);
        self.count(after, 1);
        self.memory.keep(Stored { state: after.clone(), extra });
        Ok(())
    }

    /// Brings the tags under which a job can be claimed up to date.
    fn post(&mut self, before: Option<&JobState>, after: Option<&JobState>) -> Result<(), BackendError> {
        let posted = |state: &&JobState| state.is_claimable() && !state.labels.tags.is_empty();
        let (before, after) = (before.filter(posted), after.filter(posted));
        match (before, after) {
            (Some(before), Some(after)) if before.order_key() == after.order_key() => return Ok(()),
            _ => {}
        }
        let sql = self.sql();
        for (state, statement) in [(before, &sql.delete_tag), (after, &sql.insert_tag)] {
            let Some(state) = state else { continue };
            let site = self.site();
            let (priority, run_at, sequence) = state.order_key();
            let job = stored_u64(sequence).map_err(|flaw| site.flaw("the sequence", flaw))?;
            let mut statement = self.writing(statement)?;
            for tag in state.labels.tags.iter() {
                let place =
                    params![state.labels.queue.as_str(), tag.as_str(), priority.0, run_at.as_micros(), job];
                statement
                    .execute(place)
                    .map_err(|error| site.engine("write the tags of a due job", error))?;
            }
        }
        Ok(())
    }

    /// Appends to the history of a job and cuts it. Its first and its next number.
    fn append(
        &mut self,
        old: &Stored,
        entry: &HistoryEntry,
        history_max: usize,
    ) -> Result<(u64, u64), BackendError> {
        let (id, site, sql) = (old.state.id, self.site(), self.sql());
        let flawed = |flaw: Flaw| site.flaw(format_args!("the history of job {id}"), flaw);
        let number = old.extra.history_next;
        let next = number.saturating_add(1);
        let job = stored_u64(old.state.sequence).map_err(flawed)?;
        if history_max > 0 {
            self.insert_entry(id, job, number, entry)?;
        }
        let most = u64::try_from(history_max).unwrap_or(u64::MAX);
        let first = old.extra.history_first.max(next.saturating_sub(most));
        if first > old.extra.history_first {
            let cut = stored_u64(first).map_err(flawed)?;
            let written = self.writing(&sql.cut_history)?.execute([job, cut]);
            written.map_err(|error| site.engine("cut history", error))?;
        }
        Ok((first, next))
    }

    /// Stores what the step leaves behind, beside what is there already. Under which attempt the outcome is
    /// stored now.
    fn store_outcome(
        &mut self,
        old: &Stored,
        step: &Transition,
        output: Option<&Output>,
    ) -> Result<Option<u32>, BackendError> {
        if step.error.is_none() && output.is_none() {
            return Ok(old.extra.outcome);
        }
        let (id, site, sql) = (step.after.id, self.site(), self.sql());
        let engine = |error| site.engine("write an outcome", error);
        let kept = parts::outcome(self.conn, sql, site, old)?.unwrap_or_default();
        let new = OutcomeRow {
            attempt: step.after.attempt.0,
            output: output.cloned().unwrap_or(kept.output),
            error: step.error.clone().or(kept.error),
        };
        let job = stored_u64(old.state.sequence)
            .map_err(|flaw| site.flaw(format_args!("the outcome of job {id}"), flaw))?;
        if new.is_empty() {
            if old.extra.outcome.is_some() {
                self.writing(&sql.delete_outcome)?.execute([job]).map_err(engine)?;
            }
            return Ok(None);
        }
        self.put_outcome(id, job, &new)?;
        Ok(Some(new.attempt))
    }

    pub(super) fn delete_job(&mut self, state: &JobState) -> Result<(), BackendError> {
        let (id, site, sql) = (state.id, self.site(), self.sql());
        let engine = |error| site.engine("delete a job", error);
        let old = self.expect(state)?;
        let job = stored_u64(state.sequence)
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        self.writing(&sql.delete_job)?.execute([job]).map_err(engine)?;
        self.writing(&sql.delete_body)?.execute([job]).map_err(engine)?;
        if old.extra.outcome.is_some() {
            self.writing(&sql.delete_outcome)?.execute([job]).map_err(engine)?;
        }
        if old.extra.history_next > old.extra.history_first {
            self.writing(&sql.cut_history)?.execute([job, i64::MAX]).map_err(engine)?;
        }
        if let Some(key) = &state.unique_key {
            let holder = params![state.labels.queue.as_str(), key.as_str(), id.as_bytes().as_slice()];
            self.writing(&sql.delete_key_of)?.execute(holder).map_err(engine)?;
        }
        self.post(Some(state), None)?;
        self.count(state, -1);
        self.memory.remove(id);
        Ok(())
    }
}
