//! Reads. Each takes the rows for as long as it lasts: it waits for the transaction that is being written, and the
//! next one waits for it. `Embedded` asks each snapshot one thing, so that one lock is one moment.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use poolqueue_core::{
    BackendError, Counts, Cursor, Filter, Health, HistoryEntry, Job, JobId, Lease, Page, Query, Reader,
    Snapshot, Verification, Verified,
};

use crate::entry::Row;
use crate::log;
use crate::rows::Rows;
use crate::{Detail, Shared};

/// Reads from any thread.
#[derive(Clone)]
pub struct LogReader(pub(crate) Arc<Shared>);

/// Committed data.
pub struct LogSnapshot(Arc<Shared>);

impl Reader for LogReader {
    type Snapshot = LogSnapshot;

    fn snapshot(&self) -> Result<LogSnapshot, BackendError> {
        Ok(LogSnapshot(Arc::clone(&self.0)))
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        // Opening has read and checked every frame.
        health.verification = Verification::Verified;
        health.file_bytes = fs::metadata(&self.0.path).map_or(0, |file| file.len());
        health.durability = "each transaction is synced before it is answered".into();
        health
    }
}

impl LogSnapshot {
    fn read<T>(&self, read: impl FnOnce(&Rows) -> Result<T, BackendError>) -> Result<T, BackendError> {
        let rows = self.0.rows.read().unwrap_or_else(PoisonError::into_inner);
        read(rows.as_ref().ok_or_else(BackendError::closed)?)
    }
}

impl Snapshot for LogSnapshot {
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, BackendError> {
        let job = |row: &Row| row.job(&row.state, Detail::Full);
        self.read(|rows| Ok(ids.iter().map(|id| rows.jobs.get(id).map(job)).collect()))
    }

    fn select(&self, query: &Query) -> Result<Page, BackendError> {
        self.read(|rows| {
            let mut matching = matching(rows, &query.filter, query.after);
            let page = matching.by_ref().take(query.limit);
            let jobs: Vec<Job> = page.map(|row| row.job(&row.state, query.detail)).collect();
            let next = matching.next().and(jobs.last()).map(|job| Cursor(job.id));
            Ok(Page { jobs, next })
        })
    }

    fn count(&self, filter: &Filter) -> Result<Counts, BackendError> {
        self.read(|rows| {
            if filter.is_everything() {
                return Ok(rows.index.counts.clone());
            }
            let mut counts = Counts::default();
            matching(rows, filter, None).for_each(|row| counts.add(&row.state));
            Ok(counts)
        })
    }

    fn history(&self, id: JobId) -> Result<Option<(Vec<HistoryEntry>, u64)>, BackendError> {
        let lines = |row: &Row| (row.history.iter().map(|line| line.0.clone()).collect(), row.cut);
        self.read(|rows| Ok(rows.jobs.get(&id).map(lines)))
    }

    fn held(&self) -> Result<Vec<Lease>, BackendError> {
        self.read(|rows| rows.index.held.iter().map(|id| Ok(rows.row(*id)?.state.lease())).collect())
    }

    fn record(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, BackendError> {
        self.read(|rows| Ok(rows.records.get(key).cloned()))
    }

    fn verify(&self) -> Result<Verified, BackendError> {
        self.read(|rows| {
            let stored = log::read(&self.0.path)?.rows;
            let ids: BTreeSet<&JobId> = rows.jobs.keys().chain(stored.jobs.keys()).collect();
            if let Some(id) = ids.into_iter().find(|id| rows.jobs.get(id) != stored.jobs.get(id)) {
                return Err(BackendError::corrupted(format!("job {id} is not what the log says it is")));
            }
            if *rows != stored {
                return Err(BackendError::corrupted("the unique keys or records are not what the log says"));
            }
            rows.verify()
        })
    }
}

/// The jobs that match, in ascending order of id.
fn matching<'a>(
    rows: &'a Rows,
    filter: &'a Filter,
    after: Option<Cursor>,
) -> Box<dyn Iterator<Item = &'a Row> + 'a> {
    let start = after.map_or(Bound::Unbounded, |Cursor(id)| Bound::Excluded(id));
    match filter.only_ids() {
        Some(ids) => {
            let ids: BTreeSet<JobId> = ids.iter().copied().collect();
            // They are named already: to look each up in the filter's list would take the square of their number.
            let others = Filter { ids: None, ..filter.clone() };
            let named: Vec<&Row> =
                ids.range((start, Bound::Unbounded)).filter_map(|id| rows.jobs.get(id)).collect();
            Box::new(named.into_iter().filter(move |row| others.matches(&row.state)))
        }
        None => {
            let all = rows.jobs.range((start, Bound::Unbounded)).map(|(_, row)| row);
            Box::new(all.filter(|row| filter.matches(&row.state)))
        }
    }
}
