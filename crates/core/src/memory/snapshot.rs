use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;

use crate::{
    BackendError, Counts, Cursor, Detail, Filter, HistoryEntry, Job, JobId, Lease, Page, Query, Snapshot,
    Verified,
};

use super::Shared;
use super::data::{Data, Row};

/// Committed data of a [`MemoryStore`](super::MemoryStore). Each call sees one moment; two calls may see two.
#[derive(Clone)]
pub struct MemorySnapshot {
    data: Shared,
}

impl MemorySnapshot {
    pub(super) fn new(data: Shared) -> Self {
        MemorySnapshot { data }
    }
}

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySnapshot").finish_non_exhaustive()
    }
}

impl Snapshot for MemorySnapshot {
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, BackendError> {
        let data = self.data.lock();
        let job = |id: &JobId| data.rows.get(id).map(|row| row.job(&row.state, Detail::Full));
        Ok(ids.iter().map(job).collect())
    }

    fn select(&self, query: &Query) -> Result<Page, BackendError> {
        let data = self.data.lock();
        let mut matching = rows(&data, &query.filter, query.after);
        let jobs = matching.by_ref().take(query.limit).map(|row| row.job(&row.state, query.detail));
        let jobs: Vec<Job> = jobs.collect();
        let more = matching.next().is_some();
        let next = jobs.last().filter(|_| more).map(|job| Cursor(job.id));
        Ok(Page { jobs, next })
    }

    fn count(&self, filter: &Filter) -> Result<Counts, BackendError> {
        let data = self.data.lock();
        if filter.is_everything() {
            return Ok(data.indexes.counts.clone());
        }
        let mut counts = Counts::default();
        rows(&data, filter, None).for_each(|row| counts.add(&row.state));
        Ok(counts)
    }

    fn history(&self, id: JobId) -> Result<Option<(Vec<HistoryEntry>, u64)>, BackendError> {
        let data = self.data.lock();
        let row = data.rows.get(&id);
        Ok(row.map(|row| (row.history.iter().cloned().collect(), row.history_cut)))
    }

    fn held(&self) -> Result<Vec<Lease>, BackendError> {
        let data = self.data.lock();
        data.indexes.held.iter().map(|id| Ok(data.row(*id)?.state.lease())).collect()
    }

    fn record(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, BackendError> {
        Ok(self.data.lock().records.get(key).cloned())
    }

    fn verify(&self) -> Result<Verified, BackendError> {
        self.data.lock().verify()
    }
}

/// The rows that match, in ascending order of id, starting after `after`.
fn rows<'a>(
    data: &'a Data,
    filter: &'a Filter,
    after: Option<Cursor>,
) -> Box<dyn Iterator<Item = &'a Row> + 'a> {
    let start = after.map_or(Bound::Unbounded, |Cursor(id)| Bound::Excluded(id));
    let Some(ids) = filter.only_ids() else {
        let all = data.rows.range((start, Bound::Unbounded)).map(|(_, row)| row);
        return Box::new(all.filter(|row| filter.matches(&row.state)));
    };
    let ids: BTreeSet<JobId> =
        ids.iter().copied().filter(|id| after.is_none_or(|Cursor(at)| *id > at)).collect();
    // Each of these is named by its id: looking it up in the list once more would cost a factor.
    let narrowed = Filter { ids: None, ..filter.clone() };
    let named = ids.into_iter().filter_map(|id| data.rows.get(&id));
    Box::new(named.filter(move |row| narrowed.matches(&row.state)))
}
