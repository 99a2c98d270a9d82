//! Backends with a fault planted on purpose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{Backend, Batch, BoxFuture, Change, Claim, EventKind, Job, JobId, Receipt, Target};

/// What is wrong with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Now and then a claim is also given a job that another was given.
    ClaimedTwice,
    /// A job that was paused is not.
    TransitionLost,
    /// Now and then a job is read as it was when it was read before.
    StaleRead,
    /// Now and then a lease is taken for the bare id.
    FenceIgnored,
}

/// All of them.
pub const PLANTS: [Plant; 4] =
    [Plant::ClaimedTwice, Plant::TransitionLost, Plant::StaleRead, Plant::FenceIgnored];

impl Plant {
    /// The backend with this fault.
    pub fn planted_in(self, inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
        Arc::new(Planted { inner, plant: self, kept: Mutex::default(), calls: AtomicU32::new(0) })
    }
}

#[derive(Debug)]
struct Planted {
    inner: Arc<dyn Backend>,
    plant: Plant,
    /// Jobs as they were answered before.
    kept: Mutex<HashMap<JobId, Job>>,
    calls: AtomicU32,
}

impl Planted {
    fn kept(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_and_then(&self, plant: Plant) -> bool {
        self.plant == plant && self.calls.fetch_add(1, Ordering::Relaxed) % 3 == 2
    }

    /// Takes a step back that was answered.
    async fn undo(&self, receipt: &Receipt) {
        for step in receipt.changes.iter().flatten().filter(|step| !step.is_noop()) {
            if step.event == EventKind::Pause && self.plant == Plant::TransitionLost {
                let change =
                    Change { target: Target::Id(step.after.id), only_from: None, event: Event::Resume };
                // Where somebody else was faster, nothing was lost.
                let _ = self.inner.commit(Batch { changes: vec![change], ..Batch::default() }).await;
            }
        }
    }
}

impl Backend for Planted {
    fn commit(&self, mut batch: Batch) -> BoxFuture<'_, Receipt> {
        Box::pin(async move {
            for change in &mut batch.changes {
                if matches!(change.target, Target::Lease(_)) && self.now_and_then(Plant::FenceIgnored) {
                    change.target = Target::Id(change.target.id());
                }
            }
            let receipt = self.inner.commit(batch).await?;
            self.undo(&receipt).await;
            Ok(receipt)
        })
    }

    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>> {
        Box::pin(async move {
            let filters: Vec<Claim> = claims.clone();
            let mut claimed = self.inner.claim(claims).await?;
            for (claim, jobs) in filters.iter().zip(&mut claimed) {
                if jobs.is_empty() && self.now_and_then(Plant::ClaimedTwice) {
                    let wanted = |job: &&Job| claim.filter.matches(&job.labels());
                    let again = self.kept().values().find(wanted).cloned();
                    jobs.extend(again.map(|mut job| {
                        job.assignee = Some(claim.assignee.clone());
                        job
                    }));
                } else if self.plant == Plant::ClaimedTwice {
                    self.kept().extend(jobs.iter().map(|job| (job.id, job.clone())));
                }
            }
            Ok(claimed)
        })
    }

    fn get(&self, ids: Vec<JobId>) -> BoxFuture<'_, Vec<Option<Job>>> {
        Box::pin(async move {
            let mut jobs = self.inner.get(ids).await?;
            for job in jobs.iter_mut().flatten() {
                let before = self.kept().insert(job.id, job.clone());
                if let Some(before) = before.filter(|_| self.now_and_then(Plant::StaleRead)) {
                    *job = before;
                }
            }
            Ok(jobs)
        })
    }

    crate::pass_on!(select history the_rest);
}
