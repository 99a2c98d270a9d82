//! What behaviours are written with.

use std::future::Future;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use poolqueue::backend::lifecycle::{Event, Transition};
use poolqueue::backend::{
    Backend, Batch, Change, Claim, ClaimFilter, EmbeddedOptions, Insert, ManualClock, Receipt, Slots,
};
use poolqueue::{
    AssigneeId, BackendErrorKind, ClaimedJob, Error, EventKind, EventStream, Failure, Invalid, Job, JobEvent,
    JobId, JobStream, Kind, Limits, NewJob, PoolQueue, Rejected, Status, Target, Timestamp,
};

use crate::Fixture;

/// What the clock of a [`Scene`] shows at first: 2030-03-17T17:46:40Z.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
/// How long an event that has to come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store, a queue on it and the clock of both, which stands still until it is moved. Reads like the queue.
pub(crate) struct Scene<F> {
    pub(crate) queue: PoolQueue,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) options: EmbeddedOptions,
    pub(crate) fixture: F,
}

impl<F> Deref for Scene<F> {
    type Target = PoolQueue;

    fn deref(&self) -> &PoolQueue {
        &self.queue
    }
}

impl<F: Fixture> Scene<F> {
    pub(crate) async fn new() -> Self {
        Self::with_limits(|_| ()).await
    }

    pub(crate) async fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let clock = ManualClock::new(START);
        let mut limits = Limits::default();
        change(&mut limits);
        let options = EmbeddedOptions::default().clock(clock.clone()).limits(limits);
        Self::open(F::new(), clock, options).await
    }

    pub(crate) async fn open(fixture: F, clock: Arc<ManualClock>, options: EmbeddedOptions) -> Self {
        let backend = fixture.open(options.clone()).await;
        let queue = PoolQueue::new(Arc::clone(&backend)).await.expect("the queue opens");
        Scene { queue, backend, clock, options, fixture }
    }

    /// Closes the queue in order and opens the store again.
    pub(crate) async fn restart(self) -> Self {
        self.queue.close().await.expect("the queue closes");
        self.opened_again().await
    }

    /// Closes the store under the queue, so that what is held stays held, and opens it again: as close to a
    /// crash as a store can come that is not killed.
    pub(crate) async fn crash(self) -> Self {
        self.backend.close().await.expect("the store closes");
        self.opened_again().await
    }

    async fn opened_again(self) -> Self {
        let Scene { queue, backend, clock, options, fixture } = self;
        drop((queue, backend));
        Self::open(fixture, clock, options).await
    }
}

impl<F> Scene<F> {
    /// Enqueues a job that has to be accepted.
    pub(crate) async fn add(&self, job: NewJob) -> JobId {
        self.queue.enqueue(job).await.expect("the job is accepted")
    }

    /// Enqueues jobs that have to be accepted.
    pub(crate) async fn add_all(&self, jobs: impl IntoIterator<Item = NewJob>) -> Vec<JobId> {
        self.queue.enqueue_all(jobs).await.expect("the jobs are accepted")
    }

    /// A job that has to be there.
    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.queue.get(id).await.expect("the store reads").expect("the job is there")
    }

    pub(crate) async fn status(&self, id: JobId) -> Status {
        self.job(id).await.status
    }

    pub(crate) async fn statuses(&self, ids: &[JobId]) -> Vec<Status> {
        let jobs = self.queue.get_all(ids.iter().copied()).await.expect("the store reads");
        jobs.into_iter().map(|job| job.expect("the job is there").status).collect()
    }

    /// Claims up to `most` jobs of any sort at once, for an assignee named `claimer`.
    pub(crate) async fn claim(&self, most: usize) -> Vec<Job> {
        self.claim_for("claimer", most, ClaimFilter::default()).await
    }

    /// Claims up to `most` jobs at once.
    pub(crate) async fn claim_for(&self, assignee: &str, most: usize, filter: ClaimFilter) -> Vec<Job> {
        let claim = claim_of(assignee, &Slots::new(most), filter);
        let claimed = soon(self.backend.claim(vec![claim])).await.expect("the claim is answered");
        claimed.into_iter().flatten().collect()
    }

    /// Claims this job, whose kind no other ready job has.
    pub(crate) async fn take(&self, id: JobId, assignee: &str) -> Job {
        let kind = self.job(id).await.kind;
        let filter = ClaimFilter { kinds: Some(vec![kind]), ..ClaimFilter::default() };
        let claimed = self.claim_for(assignee, 1, filter).await;
        assert_eq!(ids(&claimed), [id], "the job was to be claimed");
        claimed.into_iter().next().expect("one was claimed")
    }

    /// Commits a batch that the store has to answer.
    pub(crate) async fn commit(&self, batch: Batch) -> Receipt {
        soon(self.backend.commit(batch)).await.expect("the store commits")
    }

    /// Applies an event that no verb of the queue stands for.
    pub(crate) async fn change(
        &self,
        target: impl Into<Target>,
        event: Event,
    ) -> Result<Transition, Rejected> {
        let change = Change { target: target.into(), only_from: None, event };
        let receipt = self.commit(Batch { changes: vec![change], ..Batch::default() }).await;
        receipt.changes.into_iter().next().expect("the change is answered")
    }

    /// Moves the clock and returns when the store has seen it.
    pub(crate) async fn advance(&self, span: Duration) {
        self.clock.advance(span);
        self.settle().await;
    }

    /// Returns when the writer has done what it was asked or woken for before.
    pub(crate) async fn settle(&self) {
        self.commit(Batch::default()).await;
    }

    /// Enqueues `job`, whose kind has to be its own (see [`fresh`]), and brings it into `status`.
    pub(crate) async fn bring(&self, job: NewJob, status: Status) -> Job {
        let id = self.add(job).await;
        match status {
            Status::InitialPending => {}
            Status::Paused => {
                self.queue.pause(id).await.expect("the job pauses");
            }
            Status::Unscheduled => {
                self.queue.cancel(id).await.expect("the job is cancelled");
            }
            claimed => self.bring_claimed(id, claimed).await,
        }
        let job = self.job(id).await;
        assert_eq!(job.status, status, "the job is where it was brought");
        job
    }

    async fn bring_claimed(&self, id: JobId, status: Status) {
        let lease = self.take(id, &format!("worker-of-{id}")).await.lease();
        let brought = match status {
            Status::Running => return,
            Status::Cancelling => self.queue.cancel(id).await.map(|_| Status::Cancelling),
            Status::FailedRetry => self.queue.fail_retry(lease, "failed").await,
            Status::UnknownRetry => self.queue.release(lease).await,
            Status::Completed => self.queue.complete(lease, b"output").await,
            Status::Stopped => self.queue.stop(lease, "stopped").await,
            Status::UnknownStopped => self.queue.unknown_stop(lease, "gone").await,
            Status::Dead => self.queue.fail_retry(lease, Failure::new("hopeless").no_retry()).await,
            Status::Waiting => {
                let suspend = Event::Suspend { until: self.now() };
                self.change(lease, suspend).await.map(|step| step.after.status).map_err(Error::from)
            }
            other => panic!("{other} is not reached by a claim"),
        };
        assert_eq!(brought.expect("the step is accepted"), status);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// A stream of the default queue that has to open.
    pub(crate) async fn stream(&self, assignee: &str, capacity: usize) -> JobStream {
        self.queue.stream(assignee).capacity(capacity).open().await.expect("the stream opens")
    }
}

/// A job of a kind that no other one has.
pub(crate) fn fresh() -> NewJob {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NewJob::new(format!("kind-{}", NEXT.fetch_add(1, Ordering::Relaxed)), b"payload")
}

/// A job like all others.
pub(crate) fn plain() -> NewJob {
    NewJob::new("plain", b"")
}

pub(crate) fn plain_jobs(count: usize) -> impl Iterator<Item = NewJob> {
    (0..count).map(|_| plain())
}

/// A job as a batch of the backend takes it.
pub(crate) fn insert(job: NewJob, id: JobId) -> Insert {
    job.into_insert(&Limits::default(), || id).expect("the job is valid")
}

/// The `n`-th of a row of ids.
pub(crate) fn nth_id(n: u128) -> JobId {
    JobId::from_bytes(n.to_be_bytes())
}

pub(crate) fn at(stamp: Timestamp) -> chrono::DateTime<chrono::Utc> {
    stamp.to_datetime().expect("the time can be written")
}

pub(crate) fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

pub(crate) fn claimed_ids(jobs: &[ClaimedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

pub(crate) fn sorted(mut ids: Vec<JobId>) -> Vec<JobId> {
    ids.sort_unstable();
    ids
}

/// A claim that does not wait.
pub(crate) fn claim_of(assignee: &str, slots: &Arc<Slots>, filter: ClaimFilter) -> Claim {
    let assignee = AssigneeId::new(assignee).expect("a valid name");
    Claim { assignee, filter, slots: Arc::clone(slots), wait: false }
}

pub(crate) fn of_kind(kind: &str) -> ClaimFilter {
    ClaimFilter { kinds: Some(vec![Kind::new(kind).expect("a valid kind")]), ..ClaimFilter::default() }
}

/// Waits for what has to come. How long is no part of any behaviour; the bound is there to end a test that hangs.
#[track_caller]
pub(crate) fn soon<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let asked = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, what).await {
            Ok(came) => came,
            Err(_) => panic!("nothing came within {PATIENCE:?}, awaited at {asked}"),
        }
    }
}

/// Polls `future` once: what it asks for is asked, and it goes on waiting.
pub(crate) async fn begin<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// The next batch of a stream that has not ended.
#[track_caller]
pub(crate) fn next(stream: &mut JobStream) -> impl Future<Output = Vec<ClaimedJob>> {
    let batch = soon(stream.next());
    async move { batch.await.expect("the stream goes on").expect("the store works") }
}

/// As many batches as make `count` jobs.
pub(crate) async fn next_jobs(stream: &mut JobStream, count: usize) -> Vec<ClaimedJob> {
    let mut jobs = Vec::new();
    while jobs.len() < count {
        jobs.extend(next(stream).await);
    }
    assert_eq!(jobs.len(), count, "more came than was asked for");
    jobs
}

/// Reads events until `id` makes the step `event`.
pub(crate) async fn until_changed(events: &mut EventStream, id: JobId, event: EventKind) {
    let wanted = |seen: &JobEvent| matches!(seen, JobEvent::Changed { id: of, event: what, .. } if *of == id && *what == event);
    let wait = async {
        while let Some(seen) = events.next().await {
            if wanted(&seen) {
                return;
            }
        }
        panic!("the events ended before job {id} made the step {event}");
    };
    soon(wait).await;
}

/// The reason why the job said no.
#[track_caller]
pub(crate) fn rejected<T: std::fmt::Debug>(result: Result<T, Error>) -> Rejected {
    match result {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("a rejection was due, not {other:?}"),
    }
}

/// The argument that cannot be.
#[track_caller]
pub(crate) fn invalid<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::Invalid(Invalid { argument, .. })) => argument,
        other => panic!("an invalid argument was due, not {other:?}"),
    }
}

#[track_caller]
pub(crate) fn too_large<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::TooLarge(message)) => message,
        other => panic!("a size over its limit was due, not {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_closed<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    match result {
        Err(error) => assert_eq!(error.backend_kind(), Some(BackendErrorKind::Closed), "{what}: {error:?}"),
        Ok(value) => panic!("{what} after the close answered {value:?}"),
    }
}
