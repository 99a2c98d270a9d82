//! Reading everything, and whether it goes together.

mod chunks;
mod others;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{Attempt, BackendError, JobId, Phase, Verified};
use redb::{ReadOnlyTable, ReadTransaction};

use crate::codec::{
    Names, Owner, Part, StoredBody, StoredChunk, StoredEntry, StoredHolder, StoredOutcome, StoredState,
    unseal,
};
use crate::format::Bytes;
use crate::index::Figures;
use crate::reader::{States, table};
use crate::shared::View;
use crate::site::Site;
use crate::txn::unique_row_key;
use chunks::Chunks;

/// How often a long reading looks whether it is to stop, in rows.
const STOP_EVERY: u64 = 256;

/// Reads every row of every table and compares: each row decodes and its checksum fits; every job has a body,
/// and an outcome and history as its state says, and nothing else has; unique keys and unfinished jobs name each
/// other; the counters and the index in memory are what the rows say. `None` when it was stopped.
///
/// # Errors
/// `Corrupted` naming the first difference.
pub(crate) fn verify(view: &View, site: &Site, stop: &AtomicBool) -> Result<Option<Verified>, BackendError> {
    site.guard("check everything", || {
        let mut walk = Walk::new(&view.txn, site)?;
        let mut rows = 0u64;
        while walk.next_job()? {
            rows += 1;
            if rows.is_multiple_of(STOP_EVERY) && stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        walk.nothing_is_left()?;
        others::unique_keys(&view.txn, site)?;
        others::records(&view.txn, site)?;
        others::meta(&view.txn, site, &walk.figures.finals, walk.sequence_max)?;
        if walk.held != *view.held {
            return Err(site.corrupted("the index in memory lists other held jobs than there are"));
        }
        if walk.figures != view.figures {
            let (found, kept) = (walk.figures, view.figures);
            let what =
                format_args!("the index in memory and its counters are {kept:?}, the records say {found:?}");
            return Err(site.corrupted(what));
        }
        let counts = walk.figures.live.plus(&walk.figures.finals).counts(|_| true);
        Ok(Some(Verified::new(rows, walk.entries, counts)))
    })
}

/// All tables that are keyed by job, read side by side.
struct Walk<'a> {
    site: &'a Site,
    live: States<'a>,
    done: States<'a>,
    bodies: States<'a>,
    outcomes: States<'a>,
    chunks: Chunks<'a>,
    unique: Option<ReadOnlyTable<Bytes, Bytes>>,
    names: Names,
    figures: Figures,
    held: BTreeMap<JobId, Attempt>,
    entries: u64,
    sequence_max: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(txn: &ReadTransaction, site: &'a Site) -> Result<Self, BackendError> {
        let rows = |definition| States::after(table(txn, definition, site)?.as_ref(), None, site);
        Ok(Walk {
            site,
            live: rows(site.layout().live())?,
            done: rows(site.layout().done())?,
            bodies: rows(site.layout().body())?,
            outcomes: rows(site.layout().outcome())?,
            chunks: Chunks::new(txn, site)?,
            unique: table(txn, site.layout().unique(), site)?,
            names: Names::default(),
            figures: Figures::default(),
            held: BTreeMap::new(),
            entries: 0,
            sequence_max: None,
        })
    }

    fn corrupted<T>(&self, id: JobId, what: impl Display) -> Result<T, BackendError> {
        Err(self.site.corrupted(format_args!("job {id}: {what}")))
    }

    /// Checks the next job. False when there is none.
    fn next_job(&mut self) -> Result<bool, BackendError> {
        let site = self.site;
        let is_final = match (self.live.id(), self.done.id()) {
            (None, None) => return Ok(false),
            (Some(live), Some(done)) if live == done => {
                return self.corrupted(live, "it is stored both as over and as not over");
            }
            (Some(live), Some(done)) => done < live,
            (live, _) => live.is_none(),
        };
        let rows = if is_final { &mut self.done } else { &mut self.live };
        let Some((id, (_, value))) = rows.take()? else { return Ok(false) };
        let flawed = |flaw| site.flaw(format_args!("the state of job {id}"), flaw);
        let stored: StoredState<'_> =
            unseal(Owner::new(Part::State, id.as_bytes()), value.value()).map_err(flawed)?;
        let state = stored.state(id, &mut self.names, is_final).map_err(flawed)?;
        self.body(id)?;
        self.outcome(id, stored.outcome)?;
        self.history(id, &stored)?;
        self.unique_key(&state)?;
        self.figures.count(&state);
        if state.phase() == Phase::Held {
            self.held.insert(id, state.attempt);
        }
        self.sequence_max = self.sequence_max.max(Some(state.sequence));
        Ok(true)
    }

    fn body(&mut self, id: JobId) -> Result<(), BackendError> {
        let site = self.site;
        if self.bodies.id() != Some(id) {
            return self.unmatched(id, self.bodies.id(), "body");
        }
        let Some((_, (_, row))) = self.bodies.take()? else { return Ok(()) };
        unseal::<StoredBody<'_>>(Owner::new(Part::Body, id.as_bytes()), row.value())
            .and_then(|stored| stored.body())
            .map_err(|flaw| site.flaw(format_args!("the body of job {id}"), flaw))?;
        Ok(())
    }

    fn outcome(&mut self, id: JobId, attempt: Option<u32>) -> Result<(), BackendError> {
        let site = self.site;
        let Some(attempt) = attempt else { return Ok(()) };
        if self.outcomes.id() != Some(id) {
            return self.unmatched(id, self.outcomes.id(), "outcome");
        }
        let Some((_, (_, row))) = self.outcomes.take()? else { return Ok(()) };
        let owner = Owner::numbered(Part::Outcome, id.as_bytes(), attempt);
        let flawed = |flaw| site.flaw(format_args!("the outcome of job {id}"), flaw);
        let stored: StoredOutcome<'_> = unseal(owner, row.value()).map_err(flawed)?;
        stored.parts().map_err(flawed)?;
        if stored.attempt != attempt {
            return self.corrupted(id, format_args!("its outcome is of attempt {}", stored.attempt));
        }
        Ok(())
    }

    /// A row of another table did not stand where this job's should: either it belongs to no job, or this
    /// job has none.
    fn unmatched(&self, id: JobId, found: Option<JobId>, what: &str) -> Result<(), BackendError> {
        match found {
            Some(orphan) if orphan < id => self.corrupted(orphan, format_args!("it has an {what} too many")),
            _ => self.corrupted(id, format_args!("its {what} is missing")),
        }
    }

    fn history(&mut self, id: JobId, stored: &StoredState<'_>) -> Result<(), BackendError> {
        let (site, history) = (self.site, stored.history);
        let flawed = |flaw| site.flaw(format_args!("the history of job {id}"), flaw);
        let names = &mut self.names;
        let (mut entries, mut first) = (0u32, 0);
        for number in history.first_chunk..history.next_chunk {
            let Some(row) = self.chunks.take(id, number)? else {
                return Err(
                    site.corrupted(format_args!("piece {number} of the history of job {id} is missing"))
                );
            };
            let owner = Owner::numbered(Part::History, id.as_bytes(), number);
            let chunk: StoredChunk<'_> = unseal(owner, row.value()).map_err(flawed)?;
            StoredEntry::read_all(chunk.entries, chunk.count, |entry, _| entry.entry(names).map(|_| ()))
                .map_err(flawed)?;
            if number == history.first_chunk {
                first = chunk.count;
            }
            entries = entries.saturating_add(chunk.count);
        }
        StoredEntry::read_all(history.tail, history.tail_entries, |entry, _| entry.entry(names).map(|_| ()))
            .map_err(flawed)?;
        let fits = entries == history.chunk_entries
            && first == history.first_entries
            && (history.skipped == 0 || history.skipped < first);
        if !fits {
            return self.corrupted(id, "its history does not have the length its state says");
        }
        self.entries += u64::from(entries - history.skipped) + u64::from(history.tail_entries);
        Ok(())
    }

    /// An unfinished job with a unique key holds it.
    fn unique_key(&self, state: &JobState) -> Result<(), BackendError> {
        let (id, site) = (state.id, self.site);
        let Some(key) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) else { return Ok(()) };
        let row_key = unique_row_key(&state.labels.queue, key);
        let row = match &self.unique {
            Some(table) => {
                table.get(row_key.as_slice()).map_err(|error| site.engine("read a unique key", error))?
            }
            None => None,
        };
        let Some(row) = row else {
            return self.corrupted(id, format_args!("it does not hold its unique key {key:?}"));
        };
        let holder: StoredHolder = unseal(Owner::new(Part::Unique, &row_key), row.value())
            .map_err(|flaw| site.flaw(format_args!("the holder of the unique key {key:?}"), flaw))?;
        if holder.id != *id.as_bytes() {
            let other = JobId::from_bytes(holder.id);
            return self.corrupted(id, format_args!("its unique key {key:?} is held by job {other}"));
        }
        Ok(())
    }

    fn nothing_is_left(&self) -> Result<(), BackendError> {
        for (rows, what) in [(&self.bodies, "body"), (&self.outcomes, "outcome")] {
            if let Some(orphan) = rows.id() {
                return self.corrupted(orphan, format_args!("it has an {what} too many"));
            }
        }
        match self.chunks.id() {
            Some(orphan) => self.corrupted(orphan, "it has history too much"),
            None => Ok(()),
        }
    }
}
