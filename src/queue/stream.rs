use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use poolqueue_core::{
    AssigneeId, ClaimFilter, Clock, Invalid, Job, Kind, Lease, QueueName, Rejected, Slots, Tags, Target,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::mailbox::Mailbox;
use super::pump::{self, Pumped};
use super::streams::start;
use super::{Inner, PoolQueue};
use crate::Result;

/// Jobs a stream holds at most, unless it says otherwise.
const CAPACITY: usize = 16;

/// A stream that is about to be opened. See [`PoolQueue::stream`].
#[derive(Debug)]
#[must_use = "a stream does nothing until it is opened"]
pub struct StreamBuilder {
    queue: PoolQueue,
    assignee: String,
    queues: Vec<String>,
    all_queues: bool,
    kinds: Option<Vec<String>>,
    tags: Tags,
    capacity: usize,
    manual_lease: Option<Duration>,
}

impl PoolQueue {
    /// Has jobs pushed to `assignee`. An assignee may have several streams.
    pub fn stream(&self, assignee: impl Into<String>) -> StreamBuilder {
        StreamBuilder {
            queue: self.clone(),
            assignee: assignee.into(),
            queues: Vec::new(),
            all_queues: false,
            kinds: None,
            tags: Tags::default(),
            capacity: CAPACITY,
            manual_lease: None,
        }
    }
}

impl StreamBuilder {
    /// Takes jobs of this queue; repeated, of several, in turn. Default `default`.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Takes jobs of every queue, in turn.
    pub fn all_queues(mut self) -> Self {
        self.all_queues = true;
        self
    }

    /// Takes only jobs that have all of these tags.
    pub fn tags<T: Into<String>>(self, all_of: impl IntoIterator<Item = T>) -> Self {
        self.filter(Tags::all(all_of))
    }

    /// Takes only jobs whose tags match. The last call of this or of [`tags`](Self::tags) counts.
    pub fn filter(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Takes only jobs of these kinds. An empty list is refused when the stream is opened.
    pub fn kinds<T: Into<String>>(mut self, kinds: impl IntoIterator<Item = T>) -> Self {
        self.kinds = Some(kinds.into_iter().map(Into::into).collect());
        self
    }

    /// Holds at most this many jobs at once, at least 1. Default 16.
    ///
    /// A stream claims up to its capacity whether or not anyone reads.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.capacity = jobs;
        self
    }

    /// Leaves the heartbeat to the caller: a job for which [`ClaimedJob::heartbeat`] was not called for `lease` is taken
    /// away and is due again. More than zero. Without this, jobs stay with the stream as long as it lives.
    pub fn manual_lease(mut self, lease: Duration) -> Self {
        self.manual_lease = Some(lease);
        self
    }

    /// Opens the stream.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) naming the argument; [`BackendErrorKind::Closed`](crate::BackendErrorKind)
    /// when the queue is closed.
    pub async fn open(self) -> Result<JobStream> {
        let inner = self.queue.inner;
        let core = StreamCore::new(
            AssigneeId::new(&self.assignee)?,
            claim_filter(self.queues, self.all_queues, self.kinds, &self.tags)?,
            self.capacity,
            self.manual_lease,
        )?;
        if inner.backend.health().closed.is_some() {
            return Err(poolqueue_core::BackendError::closed().into());
        }
        let core = Arc::new(core);
        inner.streams.add(&core)?;
        // The runtime in which the queue was opened may be gone.
        let runtime = Handle::try_current().unwrap_or_else(|_| inner.runtime.clone());
        let pumped = Pumped(Arc::clone(&core));
        runtime.spawn(pump::run(Arc::clone(&inner.backend), pumped, inner.reopened.subscribe()));
        Ok(JobStream { inner, core, runtime })
    }
}

fn claim_filter(
    queues: Vec<String>,
    all_queues: bool,
    kinds: Option<Vec<String>>,
    tags: &Tags,
) -> Result<ClaimFilter> {
    let mut queues = queues.iter().map(QueueName::new).collect::<std::result::Result<Vec<_>, _>>()?;
    if queues.is_empty() {
        queues.push(QueueName::default());
    }
    queues.sort_unstable();
    queues.dedup();
    let kinds = match kinds {
        Some(kinds) if kinds.is_empty() => return Err(Invalid::new("kinds", "names no kind").into()),
        Some(kinds) => Some(kinds.iter().map(Kind::new).collect::<std::result::Result<Vec<_>, _>>()?),
        None => None,
    };
    Ok(ClaimFilter { queues: (!all_queues).then_some(queues), kinds, tags: tags.checked()? })
}

/// What the queue knows of an open stream.
#[derive(Debug)]
pub(super) struct StreamCore {
    pub(super) id: u64,
    pub(super) assignee: AssigneeId,
    pub(super) filter: ClaimFilter,
    pub(super) slots: Arc<Slots>,
    /// How long a job may be silent, where the caller beats for it.
    pub(super) manual_lease: Option<Duration>,
    pub(super) mailbox: Mailbox,
    stopped: CancellationToken,
    /// Nobody answers for what it holds any more.
    ended: AtomicBool,
}

impl StreamCore {
    pub(super) fn new(
        assignee: AssigneeId,
        filter: ClaimFilter,
        capacity: usize,
        manual_lease: Option<Duration>,
    ) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        at_least_one(capacity)?;
        if manual_lease.is_some_and(|lease| lease.is_zero()) {
            return Err(Invalid::new("manual_lease", "must be more than zero").into());
        }
        Ok(StreamCore {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            assignee,
            filter,
            slots: Slots::new(capacity),
            manual_lease,
            mailbox: Mailbox::default(),
            stopped: CancellationToken::new(),
            ended: AtomicBool::new(false),
        })
    }

    /// Claims no more, not even for a claim that still stands with the store. What is held stays held.
    pub(super) fn stop_claiming(&self) {
        self.slots.close();
        self.stopped.cancel();
    }

    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Claims no more, and leaves what is held to be handed back.
    pub(super) fn end(&self) {
        self.stop_claiming();
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

fn at_least_one(capacity: usize) -> Result<()> {
    if capacity == 0 { Err(Invalid::new("capacity", "must be at least 1").into()) } else { Ok(()) }
}

/// Jobs pushed to one assignee, in batches.
///
/// Each batch holds what has been claimed since the last one, at most [`capacity`](Self::capacity) jobs. A job holds its
/// place until its outcome is committed, whoever reports it; then the next job is claimed, where possible in the same
/// transaction. Dropping the stream ends it like [`close`](Self::close), in the background.
pub struct JobStream {
    inner: Arc<Inner>,
    core: Arc<StreamCore>,
    runtime: Handle,
}

impl JobStream {
    /// The next batch, never empty; `None` when the stream has ended: it was drained, its worker was given up, or the
    /// queue was closed. Jobs that were answered by someone else before they were read are left out.
    ///
    /// An error says that the store has stopped; the stream goes on after [`PoolQueue::reopen`].
    ///
    /// # Cancel safety
    /// Dropping the future loses no job.
    pub async fn next(&mut self) -> Option<Result<Vec<ClaimedJob>>> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<ClaimedJob>>>> {
        loop {
            let jobs = match std::task::ready!(self.core.mailbox.poll_take(context)) {
                Some(Ok(jobs)) => jobs,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            let batch: Vec<ClaimedJob> = jobs.into_iter().filter_map(|job| self.claimed(job)).collect();
            if !batch.is_empty() {
                return Poll::Ready(Some(Ok(batch)));
            }
        }
    }

    /// The job with the right to report its outcome; `None` when the stream does not hold it any more.
    fn claimed(&self, job: Job) -> Option<ClaimedJob> {
        if !self.core.slots.holds(job.lease()) {
            return None;
        }
        let slots = Arc::clone(&self.core.slots);
        let clock = Arc::clone(&self.inner.backend.capabilities().clock);
        Some(ClaimedJob { job, slots, clock })
    }

    /// Jobs the stream may hold at once.
    pub fn capacity(&self) -> usize {
        self.core.slots.capacity()
    }

    /// Jobs the stream holds now, delivered or not.
    pub fn held(&self) -> usize {
        self.core.slots.held_count()
    }

    /// Changes how many jobs the stream may hold at once, at least 1. With fewer than it holds nothing is taken away.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for zero.
    pub fn set_capacity(&self, jobs: usize) -> Result<()> {
        at_least_one(jobs)?;
        self.core.slots.set_capacity(jobs);
        Ok(())
    }

    /// Claims no more. What has been claimed is still delivered, then [`next`](Self::next) answers `None`; the jobs stay
    /// with the stream until they are answered or it is dropped.
    pub fn drain(&self) {
        self.core.stop_claiming();
    }

    /// Ends the stream. Jobs not answered go back: running ones are due again at once, counted as a retry but not as a
    /// failure; cancelled ones end as `UnknownStopped`.
    ///
    /// # Errors
    /// What the store reports. The stream has ended all the same, and its jobs go back as soon as the store takes them.
    pub async fn close(self) -> Result<()> {
        self.inner.end_stream(&self.core).await
    }
}

impl Stream for JobStream {
    type Item = Result<Vec<ClaimedJob>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_batch(context)
    }
}

impl Drop for JobStream {
    fn drop(&mut self) {
        self.core.end();
        if !self.inner.streams.lists(&self.core) {
            return;
        }
        let (inner, core) = (Arc::clone(&self.inner), Arc::clone(&self.core));
        start(&self.runtime, async move {
            if let Err(error) = inner.end_stream(&core).await {
                tracing::warn!(assignee = %core.assignee, %error, "the jobs of a dropped stream are handed back later");
            }
        });
    }
}

impl fmt::Debug for JobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobStream").field("core", &self.core).finish_non_exhaustive()
    }
}

/// A job that was claimed, and the right to report its outcome. Reads like a [`Job`].
///
/// Dropping it reports nothing: the job stays with its stream until it is answered or the stream ends.
#[derive(Clone)]
pub struct ClaimedJob {
    job: Job,
    slots: Arc<Slots>,
    clock: Arc<dyn Clock>,
}

impl ClaimedJob {
    /// The job as it was when it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The right to report the outcome of this attempt.
    pub fn lease(&self) -> Lease {
        self.job.lease()
    }

    /// Resolves when there is no point in going on: the job's cancellation was requested, or it is not with this stream
    /// any more. A cancelled job wants an answer: [`PoolQueue::acknowledge_cancel`], or its completion.
    pub async fn cancelled(&self) {
        if let Some(cancelled) = self.slots.cancellation(self.lease()) {
            cancelled.cancelled().await;
        }
    }

    /// Whether [`cancelled`](Self::cancelled) would resolve at once.
    pub fn is_cancelled(&self) -> bool {
        self.slots.is_cancelled(self.lease())
    }

    /// Says that the worker is alive. Needed only with [`StreamBuilder::manual_lease`].
    ///
    /// # Errors
    /// [`Rejected::StaleAttempt`] when the lease is lost; its outcome would be refused.
    pub fn heartbeat(&self) -> Result<()> {
        let lease = self.lease();
        if self.slots.beat(lease, self.clock.monotonic()) {
            return Ok(());
        }
        Err(Rejected::StaleAttempt { id: lease.id, given: lease.attempt, current: lease.attempt }.into())
    }
}

impl Deref for ClaimedJob {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

impl From<&ClaimedJob> for Target {
    fn from(job: &ClaimedJob) -> Self {
        Target::Lease(job.lease())
    }
}

impl fmt::Debug for ClaimedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedJob").field("job", &self.job).finish_non_exhaustive()
    }
}
