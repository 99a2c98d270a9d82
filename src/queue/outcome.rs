//! The verbs by which the outcome of a job is reported.

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{Change, Failure, Invalid, Output, Rejected, Status, Target};

use super::{Answer, PoolQueue};
use crate::Result;

/// What became of each job of a batch, in the order of the batch.
type Verdicts = Vec<std::result::Result<Status, Rejected>>;

/// The verbs take a `&ClaimedJob`, a [`Lease`](crate::Lease) or a [`JobId`](crate::JobId). The first two are fenced:
/// they are refused once the job has been claimed again. A bare id names the job whatever its attempt.
///
/// Each returns the job's new status after the change is on stable storage, as the [`SyncPolicy`](crate::SyncPolicy) says. A job that says no is
/// [`Error::Rejected`](crate::Error::Rejected) from the verb for one job, and that job's own verdict from the verb for
/// many, in the order they were given; the others of the batch are not concerned. A batch is one transaction. Dropping
/// the future does not undo a change already handed to the store.
impl PoolQueue {
    /// Marks a job completed, keeps its output and frees its slot.
    ///
    /// Also accepted late, after the worker was given up: from `UnknownRetry` and `UnknownStopped`.
    ///
    /// # Errors
    /// [`Rejected::StaleAttempt`] when the job was claimed again since; [`Rejected::AlreadyApplied`] when this lease has
    /// completed it before, whatever the output; [`Error::TooLarge`](crate::Error::TooLarge) for the output; what the
    /// store reports.
    pub async fn complete(&self, job: impl Into<Target>, output: impl Into<Output>) -> Result<Status> {
        self.inner.change(job.into(), Event::Complete { output: output.into() }).await
    }

    /// [`complete`](Self::complete) for many jobs in one transaction.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for an output or the number of jobs, and what the store reports: then
    /// nothing was changed.
    pub fn complete_all<T: Into<Target>, O: Into<Output>>(
        &self,
        jobs: impl IntoIterator<Item = (T, O)>,
    ) -> Answer<'_, Verdicts> {
        let events = jobs.into_iter().map(|(job, output)| (job, Event::Complete { output: output.into() }));
        self.report(events.map(Ok))
    }

    /// Reports a failed attempt. The job is due again after its backoff, or is given up when its attempts are spent or
    /// the failure says so.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an empty message; otherwise as [`complete`](Self::complete).
    pub async fn fail_retry(&self, job: impl Into<Target>, failure: impl Into<Failure>) -> Result<Status> {
        self.inner.change(job.into(), failed(failure.into())?).await
    }

    /// [`fail_retry`](Self::fail_retry) for many jobs in one transaction.
    ///
    /// # Errors
    /// As [`complete_all`](Self::complete_all); an empty message fails the call.
    pub fn fail_retry_all<T: Into<Target>, F: Into<Failure>>(
        &self,
        jobs: impl IntoIterator<Item = (T, F)>,
    ) -> Answer<'_, Verdicts> {
        self.report(jobs.into_iter().map(|(job, failure)| Ok((job, failed(failure.into())?))))
    }

    /// Stops a job for good. The message may be empty.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn stop(&self, job: impl Into<Target>, message: impl Into<String>) -> Result<Status> {
        self.inner.change(job.into(), Event::Stop { message: message.into() }).await
    }

    /// [`stop`](Self::stop) for many jobs in one transaction.
    ///
    /// # Errors
    /// As [`complete_all`](Self::complete_all).
    pub fn stop_all<T: Into<Target>, M: Into<String>>(
        &self,
        jobs: impl IntoIterator<Item = (T, M)>,
    ) -> Answer<'_, Verdicts> {
        self.report(jobs.into_iter().map(|(job, message)| Ok((job, Event::Stop { message: message.into() }))))
    }

    /// Stops a job whose cancellation was requested, for good, and counts the stop as a retry. The message may be empty.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn stop_failed(&self, job: impl Into<Target>, message: impl Into<String>) -> Result<Status> {
        self.inner.change(job.into(), Event::StopFailed { message: message.into() }).await
    }

    /// [`stop_failed`](Self::stop_failed) for many jobs in one transaction.
    ///
    /// # Errors
    /// As [`complete_all`](Self::complete_all).
    pub fn stop_failed_all<T: Into<Target>, M: Into<String>>(
        &self,
        jobs: impl IntoIterator<Item = (T, M)>,
    ) -> Answer<'_, Verdicts> {
        let events =
            jobs.into_iter().map(|(job, message)| Ok((job, Event::StopFailed { message: message.into() })));
        self.report(events)
    }

    /// Stops a job for good whose worker's state is not known. The message may be empty.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn unknown_stop(&self, job: impl Into<Target>, message: impl Into<String>) -> Result<Status> {
        self.inner.change(job.into(), Event::UnknownStop { message: message.into() }).await
    }

    /// [`unknown_stop`](Self::unknown_stop) for many jobs in one transaction.
    ///
    /// # Errors
    /// As [`complete_all`](Self::complete_all).
    pub fn unknown_stop_all<T: Into<Target>, M: Into<String>>(
        &self,
        jobs: impl IntoIterator<Item = (T, M)>,
    ) -> Answer<'_, Verdicts> {
        let events =
            jobs.into_iter().map(|(job, message)| Ok((job, Event::UnknownStop { message: message.into() })));
        self.report(events)
    }

    /// Answers a cancel request: `Stopped` when the worker was at work on the job, `UnknownStopped` when it knows nothing
    /// of it. Either frees the slot. Only from `Cancelling`.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn acknowledge_cancel(&self, job: impl Into<Target>, was_executing: bool) -> Result<Status> {
        self.inner.change(job.into(), acknowledged(was_executing)).await
    }

    /// [`acknowledge_cancel`](Self::acknowledge_cancel) for many jobs in one transaction.
    ///
    /// # Errors
    /// As [`complete_all`](Self::complete_all).
    pub fn acknowledge_cancel_all<T: Into<Target>>(
        &self,
        jobs: impl IntoIterator<Item = (T, bool)>,
    ) -> Answer<'_, Verdicts> {
        self.report(jobs.into_iter().map(|(job, was_executing)| Ok((job, acknowledged(was_executing)))))
    }

    /// Hands a job back: it keeps its place in the order and nothing is counted. A job whose cancellation was requested
    /// is stopped instead.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn release(&self, job: impl Into<Target>) -> Result<Status> {
        self.inner.change(job.into(), Event::Release).await
    }

    fn report<T: Into<Target>>(
        &self,
        events: impl Iterator<Item = Result<(T, Event)>>,
    ) -> Answer<'_, Verdicts> {
        let change = |(job, event): (T, Event)| Change { target: job.into(), only_from: None, event };
        let changes = events.map(|event| event.map(change)).collect::<Result<Vec<_>>>();
        Box::pin(async move { self.inner.change_all(changes?).await })
    }
}

fn failed(failure: Failure) -> Result<Event> {
    if failure.message.is_empty() {
        return Err(Invalid::new("failure", "its message must not be empty").into());
    }
    Ok(Event::FailRetry { failure, random: fastrand::u64(..) })
}

fn acknowledged(was_executing: bool) -> Event {
    Event::AcknowledgeCancel { was_executing, message: String::new() }
}
