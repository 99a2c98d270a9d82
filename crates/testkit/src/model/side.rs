//! One of the two stores, and what it is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use poolqueue::backend::lifecycle::JobState;
use poolqueue::backend::{
    Backend, Batch, Claim, Committed, Counts, Detail, Filter, Observer, Query, Receipt, Slots, Verified,
};
use poolqueue::{AssigneeId, BackendError, EventKind, HistoryEntry, Job, JobId, Lease, Status, Timestamp};

use super::draw::RECORDS;

/// What the clock shows at first.
pub(super) const START: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);
/// The places of the streams that claim.
pub(super) const CAPACITIES: [usize; 3] = [1, 3, 8];

/// The name of a stream.
pub(super) fn assignee(stream: usize) -> AssigneeId {
    AssigneeId::new(format!("stream-{stream}")).expect("a valid name")
}

/// What was heard of one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    Inserted(JobId),
    Changed(JobId, EventKind, Status, Status, u32),
    Deleted(JobId),
}

/// Remembers what was heard since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Listener {
    heard: Mutex<Vec<Heard>>,
}

impl Listener {
    /// What was heard, in the order of jobs; of one job, in the order of events.
    fn take(&self) -> Vec<Heard> {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        heard.sort_by_key(|heard| match heard {
            Heard::Inserted(id) | Heard::Changed(id, ..) | Heard::Deleted(id) => *id,
        });
        heard
    }
}

impl Observer for Listener {
    fn committed(&self, what: Committed<'_>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend(what.inserted.iter().map(|job| Heard::Inserted(job.id)));
        heard.extend(what.transitions.iter().map(|step| {
            let (before, after) = (&step.before, &step.after);
            Heard::Changed(after.id, step.event, before.status, after.status, after.attempt.0)
        }));
        heard.extend(what.deleted.iter().map(|id| Heard::Deleted(*id)));
    }
}

/// An open store and the places of its streams.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) backend: Arc<dyn Backend>,
    slots: Vec<Arc<Slots>>,
    listener: Arc<Listener>,
}

/// Everything a store holds, the numbers that order enqueues apart.
#[derive(Debug, PartialEq)]
pub(super) struct Everything {
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) states: Vec<Job>,
    pub(super) histories: BTreeMap<JobId, (Vec<HistoryEntry>, u64)>,
    pub(super) counts: Counts,
    pub(super) held: Vec<Lease>,
    pub(super) records: Vec<Option<(u64, Vec<u8>)>>,
    pub(super) verified: Verified,
}

impl Side {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        let listener = Arc::new(Listener::default());
        backend.observe(listener.clone());
        Side { backend, slots: CAPACITIES.iter().map(|places| Slots::new(*places)).collect(), listener }
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<Receipt, BackendError> {
        let mut receipt = self.backend.commit(batch).await?;
        receipt.inserts.iter_mut().flatten().for_each(unordered_state);
        for step in receipt.changes.iter_mut().flatten() {
            unordered_state(&mut step.before);
            unordered_state(&mut step.after);
        }
        Ok(receipt)
    }

    pub(super) async fn claim(
        &self,
        claims: &[(usize, poolqueue::backend::ClaimFilter)],
    ) -> Result<Vec<Vec<Job>>, BackendError> {
        let claim = |(stream, filter): &(usize, poolqueue::backend::ClaimFilter)| Claim {
            assignee: assignee(*stream),
            filter: filter.clone(),
            slots: Arc::clone(&self.slots[*stream]),
            wait: false,
        };
        let mut claimed = self.backend.claim(claims.iter().map(claim).collect()).await?;
        claimed.iter_mut().flatten().for_each(unordered);
        Ok(claimed)
    }

    pub(super) fn set_capacity(&self, stream: usize, places: usize) {
        self.slots[stream].set_capacity(places);
    }

    /// What the streams hold.
    pub(super) fn slots(&self) -> Vec<Vec<Lease>> {
        self.slots.iter().map(|slots| sorted(slots.held())).collect()
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.listener.take()
    }

    pub(super) async fn held(&self) -> Result<Vec<Lease>, BackendError> {
        Ok(sorted(self.backend.held().await?))
    }

    /// Every page of a list, and how many jobs were counted.
    pub(super) async fn read(
        &self,
        filter: &Filter,
        limit: usize,
        detail: Detail,
    ) -> Result<(Vec<Vec<Job>>, Counts), BackendError> {
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let query = Query { filter: filter.clone(), after, limit, detail };
            let mut page = self.backend.select(query).await?;
            page.jobs.iter_mut().for_each(unordered);
            pages.push(page.jobs);
            after = page.next;
            if after.is_none() {
                return Ok((pages, self.backend.count(filter.clone()).await?));
            }
        }
    }

    pub(super) async fn everything(&self) -> Result<Everything, BackendError> {
        let all = Filter::everything();
        let (pages, counts) = self.read(&all, 1_000, Detail::Full).await?;
        let (states, _) = self.read(&all, 1_000, Detail::State).await?;
        let mut everything = Everything {
            jobs: pages.into_iter().flatten().map(|job| (job.id, job)).collect(),
            states: states.into_iter().flatten().collect(),
            histories: BTreeMap::new(),
            counts,
            held: self.held().await?,
            records: Vec::new(),
            verified: self.backend.verify().await?,
        };
        for id in everything.jobs.keys() {
            everything.histories.insert(*id, self.backend.history(*id).await?.unwrap_or_default());
        }
        for key in RECORDS {
            everything.records.push(self.backend.record(key.to_owned()).await?);
        }
        Ok(everything)
    }
}

fn sorted(mut leases: Vec<Lease>) -> Vec<Lease> {
    leases.sort_unstable_by_key(|lease| (lease.id, lease.attempt));
    leases
}

/// The numbers that order enqueues may differ: a store may leave some out.
fn unordered(job: &mut Job) {
    job.sequence = 0;
}

fn unordered_state(job: &mut JobState) {
    job.sequence = 0;
}
