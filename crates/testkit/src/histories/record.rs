//! A backend that notes every call with its answer, and when both were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::{
    AssigneeId, Backend, BackendError, Batch, BoxFuture, Change, Claim, ClaimFilter, Delete, Detail, Insert,
    Job, JobId, Page, Query, Receipt, Rejected,
};

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Op {
    /// When it began: a place in the order of all beginnings and ends.
    pub(super) begin: u64,
    /// When it was answered; `None` when it never was.
    pub(super) end: Option<u64>,
    /// What it said of jobs, in its order. All of it is one transaction.
    pub(super) parts: Vec<Part>,
}

/// What one call said of one job.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Insert(Insert, Result<JobState, Rejected>),
    Change(Change, Result<Transition, Rejected>),
    Delete(Delete, Result<JobId, Rejected>),
    Claimed(AssigneeId, Job),
    Read(JobId, Detail, Option<Job>),
    /// A claim that was withdrawn: whether it took a job first, and gave it back, nobody was told.
    Withdrawn(AssigneeId, ClaimFilter),
}

impl Part {
    /// The job, where it is known which.
    pub(super) fn id(&self) -> Option<JobId> {
        match self {
            Part::Insert(insert, _) => Some(insert.admission.id),
            Part::Change(change, _) => Some(change.target.id()),
            Part::Delete(delete, _) => Some(delete.id),
            Part::Claimed(_, job) => Some(job.id),
            Part::Read(id, ..) => Some(*id),
            Part::Withdrawn(..) => None,
        }
    }
}

/// The calls of all handles.
#[derive(Debug, Default)]
pub(super) struct Log {
    ticks: AtomicU64,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    ops: Vec<Op>,
    /// Claims that were not answered yet, by their beginning.
    standing: BTreeMap<u64, Op>,
    failed: Vec<String>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    fn answered(&self, begin: u64, parts: Vec<Part>) {
        let end = Some(self.tick());
        self.lock().ops.push(Op { begin, end, parts });
    }

    fn failed(&self, call: &str, error: &BackendError) {
        self.lock().failed.push(format!("a {call} failed: {error} ({:?})", error.kind()));
    }

    /// What was noted since this was asked last. A claim that stands now counts as withdrawn.
    pub(super) fn take(&self) -> Result<Vec<Op>, String> {
        let mut noted = self.lock();
        if let Some(failed) = noted.failed.first() {
            return Err(failed.clone());
        }
        let mut ops = std::mem::take(&mut noted.ops);
        ops.extend(noted.standing.values().cloned());
        ops.sort_by_key(|op| op.begin);
        Ok(ops)
    }
}

/// A claim that stands. Dropped unanswered, it was withdrawn.
struct Standing<'a> {
    log: &'a Log,
    begin: u64,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut noted = self.log.lock();
        if let Some(withdrawn) = noted.standing.remove(&self.begin) {
            noted.ops.push(withdrawn);
        }
    }
}

/// A backend whose calls are noted.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) log: Arc<Log>,
}

impl Recorded {
    fn reads(&self, begin: u64, reads: impl Iterator<Item = (JobId, Detail, Option<Job>)>) {
        self.log.answered(begin, reads.map(|(id, detail, job)| Part::Read(id, detail, job)).collect());
    }
}

fn parts_of(batch: Batch, receipt: &Receipt) -> Vec<Part> {
    let inserts = batch.inserts.into_iter().zip(receipt.inserts.iter().cloned());
    let changes = batch.changes.into_iter().zip(receipt.changes.iter().cloned());
    let deletes = batch.deletes.into_iter().zip(receipt.deletes.iter().cloned());
    inserts
        .map(|(insert, answer)| Part::Insert(insert, answer))
        .chain(changes.map(|(change, answer)| Part::Change(change, answer)))
        .chain(deletes.map(|(delete, answer)| Part::Delete(delete, answer)))
        .collect()
}

impl Backend for Recorded {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        let begin = self.log.tick();
        Box::pin(async move {
            let answer = self.inner.commit(batch.clone()).await;
            match &answer {
                Ok(receipt) => self.log.answered(begin, parts_of(batch, receipt)),
                Err(error) => self.log.failed("commit", error),
            }
            answer
        })
    }

    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>> {
        let begin = self.log.tick();
        let withdrawn = |claim: &Claim| Part::Withdrawn(claim.assignee.clone(), claim.filter.clone());
        let parts = claims.iter().map(withdrawn).collect();
        self.log.lock().standing.insert(begin, Op { begin, end: None, parts });
        let standing = Standing { log: &self.log, begin };
        Box::pin(async move {
            let assignees: Vec<AssigneeId> = claims.iter().map(|claim| claim.assignee.clone()).collect();
            let answer = self.inner.claim(claims).await;
            self.log.lock().standing.remove(&begin);
            match &answer {
                Ok(claimed) => {
                    let jobs = assignees.iter().zip(claimed);
                    let part = |(who, jobs): (&AssigneeId, &Vec<Job>)| {
                        let who = who.clone();
                        jobs.clone().into_iter().map(move |job| Part::Claimed(who.clone(), job))
                    };
                    self.log.answered(begin, jobs.flat_map(part).collect());
                }
                Err(error) => self.log.failed("claim", error),
            }
            drop(standing);
            answer
        })
    }

    fn get(&self, ids: Vec<JobId>) -> BoxFuture<'_, Vec<Option<Job>>> {
        let begin = self.log.tick();
        Box::pin(async move {
            let answer = self.inner.get(ids.clone()).await;
            match &answer {
                Ok(jobs) => {
                    let found = ids.into_iter().zip(jobs.iter().cloned());
                    self.reads(begin, found.map(|(id, job)| (id, Detail::Full, job)));
                }
                Err(error) => self.log.failed("get", error),
            }
            answer
        })
    }

    fn select(&self, query: Query) -> BoxFuture<'_, Page> {
        let begin = self.log.tick();
        let detail = query.detail;
        Box::pin(async move {
            let answer = self.inner.select(query).await;
            match &answer {
                Ok(page) => {
                    self.reads(begin, page.jobs.iter().map(|job| (job.id, detail, Some(job.clone()))));
                }
                Err(error) => self.log.failed("select", error),
            }
            answer
        })
    }

    crate::pass_on!(history the_rest);
}
