use poolqueue_core::{Batch, JobId, NewJob};

use super::{Answer, PoolQueue, unanswered};
use crate::Result;

/// What can be enqueued.
pub trait IntoJob {
    /// The job to enqueue.
    fn into_job(self) -> NewJob;
}

impl IntoJob for NewJob {
    fn into_job(self) -> NewJob {
        self
    }
}

impl PoolQueue {
    /// Adds a job and returns its id. By then the job is on stable storage, as the [`SyncPolicy`](crate::SyncPolicy) says.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) and [`Error::TooLarge`](crate::Error::TooLarge) naming what is
    /// wrong with the job; [`Rejected::Duplicate`](crate::Rejected::Duplicate) when its id exists or its unique key
    /// is taken; a store error, whose [`applied`](crate::Error::applied) says whether the job may be there.
    /// Enqueueing it again with the same id is safe.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo an enqueue already handed to the store.
    pub async fn enqueue(&self, job: impl IntoJob) -> Result<JobId> {
        let insert = job.into_job().into_insert(&self.capabilities().limits, || self.new_id())?;
        let receipt = self.inner.backend.commit(Batch { inserts: vec![insert], ..Batch::default() }).await?;
        match receipt.inserts.into_iter().next() {
            Some(verdict) => Ok(verdict?.id),
            None => Err(unanswered()),
        }
    }

    /// Adds jobs in one transaction, all or none, and returns their ids in the same order. None is no error.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), for the first job that something is wrong with. More jobs than the store's
    /// limit for one call (10,000 unless set) are [`Error::TooLarge`](crate::Error::TooLarge).
    ///
    /// # Cancel safety
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_all<J: IntoJob>(&self, jobs: impl IntoIterator<Item = J>) -> Answer<'_, Vec<JobId>> {
        let jobs = jobs.into_iter().map(IntoJob::into_job);
        let inserts = NewJob::into_inserts(jobs, &self.capabilities().limits, || self.new_id());
        Box::pin(async move {
            let batch = Batch { inserts: inserts?, require_all: true, ..Batch::default() };
            let receipt = self.inner.backend.commit(batch).await?;
            if let Some(rejected) = receipt.first_rejection() {
                return Err(rejected.clone().into());
            }
            Ok(receipt
                .inserts
                .into_iter()
                .map(|verdict| verdict.map(|job| job.id))
                .collect::<std::result::Result<_, _>>()?)
        })
    }

    fn new_id(&self) -> JobId {
        self.inner.ids.next(self.now())
    }
}
