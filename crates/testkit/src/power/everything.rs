//! Everything a store holds.

use std::fmt::Debug;
use std::sync::Arc;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    BackendError, Counts, Detail, Filter, HistoryEntry, Job, JobId, Lease, Query, QueueName, Reader,
    Snapshot, Store, Timestamp, Txn, UniqueKey, Verdict, Verified,
};

use super::draw::{KEYS, QUEUES, RECORDS};

/// Everything a store holds, as its readers and its writer find it.
#[derive(Debug, PartialEq)]
pub struct Everything {
    jobs: Vec<Arc<Kept>>,
    /// In the order of enqueues. The numbers that say so may differ: a store leaves some out after a crash.
    order: Vec<JobId>,
    counts: Counts,
    held: Vec<Lease>,
    records: Vec<Option<(u64, Vec<u8>)>>,
    /// Who holds which unique key of which queue.
    keys: Vec<Option<JobId>>,
    timer: Option<Timestamp>,
    verified: Verified,
}

/// Everything of one job.
#[derive(Debug, PartialEq)]
struct Kept {
    job: Job,
    history: (Vec<HistoryEntry>, u64),
    state: JobState,
}

/// More than a life has jobs at once.
const JOBS_MAX: usize = 1_000;

impl Everything {
    /// Of this store, which is verified along with it. What is as it was in `before` is kept once.
    pub(super) fn of(store: &mut impl Store, before: Option<&Everything>) -> Result<Self, BackendError> {
        let snapshot = store.reader().snapshot()?;
        let query =
            Query { filter: Filter::everything(), after: None, limit: JOBS_MAX, detail: Detail::Full };
        let page = snapshot.select(&query)?;
        let (mut states, mut keys, mut timer) = (Vec::new(), Vec::new(), None);
        store.transact(&mut |txn| {
            states = page.jobs.iter().map(|job| txn.load(job.id)).collect::<Result<_, _>>()?;
            keys = holders(txn)?;
            timer = txn.next_timer()?;
            Ok(Verdict::Rollback)
        })?;
        let mut jobs = Vec::with_capacity(page.jobs.len());
        let mut order: Vec<(u64, JobId)> = page.jobs.iter().map(|job| (job.sequence, job.id)).collect();
        order.sort_unstable();
        for (mut job, state) in page.jobs.into_iter().zip(states) {
            let missing = || BackendError::corrupted(format!("job {} is listed and not there", job.id));
            let history = snapshot.history(job.id)?.ok_or_else(missing)?;
            let mut state: JobState = state.ok_or_else(missing)?;
            if state.sequence != job.sequence {
                let what = format!("job {} is {} and {} in the order", job.id, job.sequence, state.sequence);
                return Err(BackendError::corrupted(what));
            }
            (job.sequence, state.sequence) = (0, 0);
            jobs.push(shared(before, Kept { job, history, state }));
        }
        let mut held = snapshot.held()?;
        held.sort_unstable_by_key(|lease| (lease.id, lease.attempt));
        Ok(Everything {
            jobs,
            order: order.into_iter().map(|(_, id)| id).collect(),
            counts: snapshot.count(&Filter::everything())?,
            held,
            records: RECORDS.iter().map(|key| snapshot.record(key)).collect::<Result<_, _>>()?,
            keys,
            timer,
            verified: snapshot.verify()?,
        })
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are no jobs.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// In what `found` differs from this, if it does.
    pub(super) fn difference(&self, found: &Everything) -> Option<String> {
        if self == found {
            return None;
        }
        self.other_jobs(found).or_else(|| {
            other("the order of enqueues", &self.order, &found.order)
                .or_else(|| other("the counts", &self.counts, &found.counts))
                .or_else(|| other("the held jobs", &self.held, &found.held))
                .or_else(|| other("the records", &self.records, &found.records))
                .or_else(|| other("the holders of keys", &self.keys, &found.keys))
                .or_else(|| other("the next timer", &self.timer, &found.timer))
                .or_else(|| other("what was verified", &self.verified, &found.verified))
        })
    }

    fn other_jobs(&self, found: &Everything) -> Option<String> {
        let there = |all: &Everything, id| all.jobs.iter().any(|kept| kept.job.id == id);
        for kept in &self.jobs {
            let id = kept.job.id;
            let Some(found) = found.jobs.iter().find(|found| found.job.id == id) else {
                return Some(format!("job {id} ({}) should be there and is lost", kept.job.status));
            };
            let of = |what: &str| format!("{what} of job {id}");
            let difference = other(&of("the job"), &kept.job, &found.job)
                .or_else(|| other(&of("the history"), &kept.history, &found.history))
                .or_else(|| other(&of("the state"), &kept.state, &found.state));
            if difference.is_some() {
                return difference;
            }
        }
        let more = found.jobs.iter().find(|found| !there(self, found.job.id));
        more.map(|more| format!("job {} ({}) is there and should not be", more.job.id, more.job.status))
    }
}

/// The one of `before`, if it is the same.
fn shared(before: Option<&Everything>, kept: Kept) -> Arc<Kept> {
    let before = before.map(|before| before.jobs.as_slice()).unwrap_or_default();
    let at = before.binary_search_by_key(&kept.job.id, |before| before.job.id);
    match at.ok().map(|at| &before[at]) {
        Some(same) if **same == kept => Arc::clone(same),
        _ => Arc::new(kept),
    }
}

fn holders(txn: &mut dyn Txn) -> Result<Vec<Option<JobId>>, BackendError> {
    let mut holders = Vec::with_capacity(QUEUES.len() * KEYS.len());
    for queue in QUEUES {
        let queue = QueueName::new(queue)?;
        for key in KEYS {
            holders.push(txn.key_holder(&queue, &UniqueKey::new(key)?)?);
        }
    }
    Ok(holders)
}

/// That two things differ, with what is around the first difference.
fn other<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Option<String> {
    if expected == found {
        return None;
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    let differ = expected.chars().zip(found.chars()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| text.chars().skip(differ.saturating_sub(60)).take(160).collect::<String>();
    Some(format!("{what} should be …{}… and is …{}…", around(&expected), around(&found)))
}
