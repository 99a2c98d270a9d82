//! Reading committed data from any thread.

mod select;

pub(crate) use select::States;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    BackendError, Counts, Filter, Health, HistoryEntry, Job, JobId, Lease, Output, Page, Query, Reader,
    Snapshot, Verified,
};
use redb::{Key, ReadOnlyTable, ReadTransaction, TableDefinition, TableError, Value};

use crate::codec::{
    Names, Owner, Part, StoredBody, StoredChunk, StoredEntry, StoredOutcome, StoredRecord, StoredState,
    unseal,
};
use crate::format::{Bytes, Id};
use crate::shared::{Shared, View};
use crate::site::Site;
use crate::verify;

/// Reads a [`RedbStore`](crate::RedbStore) from any thread. Works across a reopening of the store.
#[derive(Clone, Debug)]
pub struct RedbReader {
    shared: Arc<Shared>,
}

impl RedbReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        RedbReader { shared }
    }
}

impl Reader for RedbReader {
    type Snapshot = RedbSnapshot;

    fn snapshot(&self) -> Result<RedbSnapshot, BackendError> {
        let view = self.shared.noted(self.shared.view())?;
        Ok(RedbSnapshot { shared: Arc::clone(&self.shared), view, names: RefCell::default() })
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

/// A [`RedbStore`](crate::RedbStore) as it was at one moment.
///
/// While it lives, the pages it can see are not used again: keep it short.
#[derive(Debug)]
pub struct RedbSnapshot {
    shared: Arc<Shared>,
    view: View,
    names: RefCell<Names>,
}

/// A table; `None` where the file has none.
pub(crate) fn table<K: Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
    site: &Site,
) -> Result<Option<ReadOnlyTable<K, V>>, BackendError> {
    match txn.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(site.engine("open a table", error)),
    }
}

/// The tables that jobs are put together from.
struct JobTables<'a> {
    site: &'a Site,
    live: Option<ReadOnlyTable<Id, Bytes>>,
    done: Option<ReadOnlyTable<Id, Bytes>>,
    body: Option<ReadOnlyTable<Id, Bytes>>,
    outcome: Option<ReadOnlyTable<Id, Bytes>>,
}

/// The state of a job, and the attempt under which it has an outcome.
struct Row {
    state: JobState,
    outcome: Option<u32>,
}

impl JobTables<'_> {
    /// The row of a job in `live` or `done`, decoded by `read`.
    fn find<T>(
        &self,
        id: JobId,
        mut read: impl FnMut(&StoredState<'_>, bool) -> Result<T, BackendError>,
    ) -> Result<Option<T>, BackendError> {
        for (states, is_final) in [(&self.live, false), (&self.done, true)] {
            let Some(states) = states else { continue };
            let row = states.get(id.as_bytes());
            if let Some(row) = row.map_err(|error| self.site.engine("read a state", error))? {
                let stored: StoredState<'_> = unseal(Owner::new(Part::State, id.as_bytes()), row.value())
                    .map_err(|flaw| self.site.flaw(format_args!("the state of job {id}"), flaw))?;
                return read(&stored, is_final).map(Some);
            }
        }
        Ok(None)
    }

    /// Everything a job carries.
    fn full(&self, row: &Row) -> Result<Job, BackendError> {
        let (id, site) = (row.state.id, self.site);
        let missing = |what: &str| site.corrupted(format_args!("the {what} of job {id} is missing"));
        let get = |table: &Option<ReadOnlyTable<Id, Bytes>>, what: &str| match table {
            None => Err(missing(what)),
            Some(table) => {
                let found = table.get(id.as_bytes()).map_err(|error| site.engine("read a job", error))?;
                found.ok_or_else(|| missing(what))
            }
        };
        let body = get(&self.body, "body")?;
        let body = unseal::<StoredBody<'_>>(Owner::new(Part::Body, id.as_bytes()), body.value())
            .and_then(|stored| stored.body())
            .map_err(|flaw| site.flaw(format_args!("the body of job {id}"), flaw))?;
        let (output, error) = match row.outcome {
            None => (Output::none(), None),
            Some(attempt) => {
                let outcome = get(&self.outcome, "outcome")?;
                let owner = Owner::numbered(Part::Outcome, id.as_bytes(), attempt);
                unseal::<StoredOutcome<'_>>(owner, outcome.value())
                    .and_then(|stored| stored.parts())
                    .map_err(|flaw| site.flaw(format_args!("the outcome of job {id}"), flaw))?
            }
        };
        Ok(Job::assemble(&row.state, Some(body), output, error))
    }
}

impl RedbSnapshot {
    fn site(&self) -> &Site {
        self.shared.site()
    }

    /// Runs a read: redb's panics are errors, and damage is remembered.
    fn reading<T>(&self, read: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
        self.shared.noted(self.site().guard("read", read))
    }

    /// Another view, when the figures of this one may be behind what transactions of the application's have committed.
    fn exact(&self) -> Result<Option<View>, BackendError> {
        if self.view.current {
            return Ok(None);
        }
        self.reading(|| self.shared.exact_view().map(Some))
    }

    fn job_tables(&self) -> Result<JobTables<'_>, BackendError> {
        let (txn, site) = (&self.view.txn, self.site());
        let body = table(txn, site.layout().body(), site)?;
        let outcome = table(txn, site.layout().outcome(), site)?;
        Ok(JobTables { body, outcome, ..self.state_tables()? })
    }

    /// Those of them that say where a job stands.
    fn state_tables(&self) -> Result<JobTables<'_>, BackendError> {
        let (txn, site) = (&self.view.txn, self.site());
        let live = table(txn, site.layout().live(), site)?;
        let done = table(txn, site.layout().done(), site)?;
        Ok(JobTables { site, live, done, body: None, outcome: None })
    }

    fn row(&self, tables: &JobTables<'_>, id: JobId) -> Result<Option<Row>, BackendError> {
        tables.find(id, |stored, is_final| self.decode(id, stored, is_final))
    }

    fn decode(&self, id: JobId, stored: &StoredState<'_>, is_final: bool) -> Result<Row, BackendError> {
        let state = stored
            .state(id, &mut self.names.borrow_mut(), is_final)
            .map_err(|flaw| self.site().flaw(format_args!("the state of job {id}"), flaw))?;
        Ok(Row { state, outcome: stored.outcome })
    }

    fn read_history(&self, id: JobId) -> Result<Option<(Vec<HistoryEntry>, u64)>, BackendError> {
        let site = self.site();
        let flawed = |flaw| site.flaw(format_args!("the history of job {id}"), flaw);
        self.state_tables()?.find(id, |stored, _| {
            let history = stored.history;
            // Most jobs have all of their history in the row of their state.
            let chunks = match history.first_chunk < history.next_chunk {
                true => table(&self.view.txn, site.layout().history(), site)?,
                false => None,
            };
            let names = &mut self.names.borrow_mut();
            let mut entries = Vec::new();
            let mut skip = history.skipped;
            for number in history.first_chunk..history.next_chunk {
                let row = match &chunks {
                    Some(table) => table
                        .get((id.as_bytes(), number))
                        .map_err(|error| site.engine("read history", error))?,
                    None => None,
                };
                let row = row.ok_or_else(|| {
                    site.corrupted(format_args!("piece {number} of the history of job {id} is missing"))
                })?;
                let owner = Owner::numbered(Part::History, id.as_bytes(), number);
                let chunk: StoredChunk<'_> = unseal(owner, row.value()).map_err(flawed)?;
                StoredEntry::read_all(chunk.entries, chunk.count, |entry, _| {
                    if skip > 0 {
                        skip -= 1;
                    } else {
                        entries.push(entry.entry(names)?);
                    }
                    Ok(())
                })
                .map_err(flawed)?;
            }
            StoredEntry::read_all(history.tail, history.tail_entries, |entry, _| {
                entries.push(entry.entry(names)?);
                Ok(())
            })
            .map_err(flawed)?;
            Ok((entries, history.dropped))
        })
    }
}

impl Snapshot for RedbSnapshot {
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, BackendError> {
        self.reading(|| {
            let tables = self.job_tables()?;
            let job = |id: &JobId| match self.row(&tables, *id)? {
                Some(row) => tables.full(&row).map(Some),
                None => Ok(None),
            };
            ids.iter().map(job).collect()
        })
    }

    fn select(&self, query: &Query) -> Result<Page, BackendError> {
        self.reading(|| select::page(self, query))
    }

    fn count(&self, filter: &Filter) -> Result<Counts, BackendError> {
        let by_status_only = Filter { statuses: None, ..filter.clone() }.is_everything();
        if by_status_only {
            let figures = self.exact()?.map_or(self.view.figures, |view| view.figures);
            return Ok(figures.live.plus(&figures.finals).counts(|status| filter.takes_status(status)));
        }
        self.reading(|| {
            let mut counts = Counts::default();
            select::each(self, filter, None, |row| {
                counts.add(&row.state);
                Ok(true)
            })?;
            Ok(counts)
        })
    }

    fn history(&self, id: JobId) -> Result<Option<(Vec<HistoryEntry>, u64)>, BackendError> {
        self.reading(|| self.read_history(id))
    }

    fn held(&self) -> Result<Vec<Lease>, BackendError> {
        let exact = self.exact()?;
        let held: &BTreeMap<_, _> = exact.as_ref().map_or(&self.view.held, |view| &view.held);
        Ok(held.iter().map(|(id, attempt)| Lease { id: *id, attempt: *attempt }).collect())
    }

    fn record(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, BackendError> {
        self.reading(|| {
            let site = self.site();
            let Some(records) = table(&self.view.txn, site.layout().records(), site)? else {
                return Ok(None);
            };
            let row = records.get(key).map_err(|error| site.engine("read a record", error))?;
            row.map(|row| {
                unseal::<StoredRecord<'_>>(Owner::new(Part::Record, key.as_bytes()), row.value())
                    .map(|record| (record.version, record.value.to_vec()))
                    .map_err(|flaw| site.flaw(format_args!("the record {key:?}"), flaw))
            })
            .transpose()
        })
    }

    fn verify(&self) -> Result<Verified, BackendError> {
        let never = AtomicBool::new(false);
        self.shared.noted(
            self.shared
                .exact_view()
                .and_then(|view| verify::verify(&view, self.site(), &never).map(Option::unwrap_or_default)),
        )
    }
}
