mod builder;
mod bulk;
mod enqueue;
mod location;
mod mailbox;
#[cfg(all(test, shuttle))]
mod model;
mod outcome;
mod pump;
mod read;
mod select;
mod stream;
mod streams;
mod sweeper;

use std::ffi::OsStr;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use poolqueue_core::{
    Backend, Batch, Capabilities, Change, JobId, JobIds, Rejected, Status, Target, Timestamp,
    lifecycle::Event,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::events::{EventSource, EventStream};
use crate::{BackendErrorKind, Error, Result};

pub(crate) use location::{named, unknown};

pub use builder::Builder;
pub use bulk::{Cancelled, Changed, Retention};
pub use enqueue::IntoJob;
pub use read::{Explanation, History, Page, Query, Stats};
pub use select::Select;
pub use stream::{ClaimedJob, JobStream, StreamBuilder};

use stream::StreamCore;
use streams::Streams;
use sweeper::Sweeper;

/// Changes in one transaction of an action on many jobs: larger ones would hold up every other caller.
const SLICE: usize = 250;

/// What a call on many jobs returns: a future that has read its iterator already, so that it can be awaited in any
/// task whatever the iterator borrows.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A durable job queue.
///
/// Cheap to clone; all clones are one queue. It is used from within a tokio runtime. When the last clone and the
/// last stream are gone, the store is closed in order; [`close`](PoolQueue::close) does the same at once and
/// reports errors.
#[derive(Clone)]
pub struct PoolQueue {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    ids: JobIds,
    events: Arc<EventSource>,
    streams: Arc<Streams>,
    sweeper: Sweeper,
    /// Counts the times the queue was reopened.
    reopened: watch::Sender<u64>,
    runtime: Handle,
}

/// How a queue and its store are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The engine's name: `redb`, `memory`, …
    pub engine: &'static str,
    /// Figures about the store.
    pub store: poolqueue_core::Health,
    /// Open streams.
    pub streams: usize,
    /// Jobs held by them, and by streams that have ended and whose jobs the store has not taken back yet.
    pub held: usize,
}

impl Health {
    /// Whether calls are accepted and no damage was found.
    pub fn is_ok(&self) -> bool {
        self.store.closed.is_none() && self.store.damage.is_none()
    }
}

impl PoolQueue {
    /// Opens or creates a queue.
    ///
    /// `url` is a path or a URL: `jobs.redb` and `redb:jobs.redb` are a file, `memory:` is a queue that ends with
    /// the process. A scheme that this build has no store for is an error that names the feature to turn on.
    /// Jobs that were running when the file was last in use are ready again at once: no one else can hold them.
    ///
    /// # Errors
    /// [`BackendErrorKind::AlreadyOpen`] when the file is open, here or in another process;
    /// [`BackendErrorKind::Corrupted`] and [`BackendErrorKind::NewerFormat`] by name;
    /// [`BackendErrorKind::Io`] with the path. A file that is not ours is never changed.
    pub async fn open(url: impl AsRef<OsStr>) -> Result<Self> {
        Self::new(location::open(url.as_ref()).await?).await
    }

    /// A queue on this store.
    ///
    /// # Errors
    /// What the store reports while the jobs that were running are made ready again.
    pub async fn new(backend: impl Backend) -> Result<Self> {
        Self::builder(backend).open().await
    }

    /// A queue on this store, with options.
    pub fn builder(backend: impl Backend) -> Builder {
        Builder::new(Arc::new(backend))
    }

    /// How the queue and its store are doing.
    pub fn health(&self) -> Health {
        let streams = self.inner.streams.all();
        Health {
            engine: self.capabilities().engine,
            store: self.inner.backend.health(),
            streams: streams.iter().filter(|stream| !stream.has_ended()).count(),
            held: streams.iter().map(|stream| stream.slots.held_count()).sum(),
        }
    }

    /// What happens to jobs from now on, in the order of commits. A reader that is more than the builder's
    /// [`event_capacity`](Builder::event_capacity) behind misses events and is told how many.
    pub fn events(&self) -> EventStream {
        self.inner.events.subscribe()
    }

    /// Starts again, in place, after an I/O error ended the handle: clones and streams go on. Does nothing to a
    /// queue that works.
    ///
    /// # Errors
    /// As [`open`](Self::open); the queue stays as it was and `reopen` may be called again.
    pub async fn reopen(&self) -> Result<()> {
        self.inner.backend.reopen().await?;
        self.inner.reopened.send_modify(|times| *times += 1);
        for stream in self.inner.streams.ended() {
            // The sweeper tries again.
            let _ = self.inner.end_stream(&stream).await;
        }
        Ok(())
    }

    /// Ends all streams, finishes what was asked before and closes the store.
    ///
    /// Jobs still held go back as when their stream ends: running ones are due again, cancelled ones are
    /// [`Status::UnknownStopped`]. Every later call, of every clone, is an error of
    /// [`BackendErrorKind::Closed`].
    ///
    /// # Errors
    /// What the store reports. The queue is closed all the same.
    pub async fn close(&self) -> Result<()> {
        for stream in self.inner.streams.close() {
            // A store that cannot write any more says so in its close, too.
            let _ = self.inner.end_stream(&stream).await;
        }
        self.inner.sweeper.stop();
        let closed = self.inner.backend.close().await;
        self.inner.events.close();
        Ok(closed?)
    }

    /// Reads everything, recomputes every index and counter from the records, and returns how many jobs were read.
    ///
    /// Compared are: each record with its checksum; each job with its payload, outcome and history, of which none may be
    /// missing or left over; unique keys with the jobs that hold them; the counters of [`stats`](Self::stats); and the lists of
    /// jobs that are due, will be due, wait under a deadline and are held, also where the store keeps them in memory.
    ///
    /// Reads one snapshot on a thread of its own while others go on, and takes as long as reading the whole store does.
    /// Changes nothing. Dropped, it still reads to the end.
    ///
    /// # Errors
    /// [`BackendErrorKind::Corrupted`] naming the first difference; `Closed` or `Io` when the store cannot be read.
    pub async fn verify(&self) -> Result<u64> {
        Ok(self.inner.backend.verify().await?.jobs)
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.backend.capabilities()
    }

    fn now(&self) -> Timestamp {
        self.capabilities().clock.now()
    }
}

impl Inner {
    /// Makes one change; a rejection is an error.
    async fn change(&self, target: Target, event: Event) -> Result<Status> {
        let change = Change { target, only_from: None, event };
        let batch = Batch { changes: vec![change], ..Batch::default() };
        let receipt = self.backend.commit(batch).await?;
        match receipt.changes.into_iter().next() {
            Some(verdict) => Ok(verdict?.after.status),
            None => Err(unanswered()),
        }
    }

    /// Makes changes in one transaction, each accepted or rejected on its own.
    async fn change_all(&self, changes: Vec<Change>) -> Result<Vec<std::result::Result<Status, Rejected>>> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let receipt = self.backend.commit(Batch { changes, ..Batch::default() }).await?;
        Ok(receipt.changes.into_iter().map(|verdict| verdict.map(|step| step.after.status)).collect())
    }

    /// Changes in one transaction of an action on many jobs.
    fn slice(&self) -> usize {
        slice_of(&*self.backend)
    }

    /// Ends a stream: what it still holds goes back.
    async fn end_stream(&self, stream: &StreamCore) -> Result<()> {
        Ok(self.streams.end(&*self.backend, stream).await?)
    }

    /// Makes changes in transactions of at most a slice, each accepted or rejected on its own.
    async fn change_in_slices(
        &self,
        mut changes: Vec<Change>,
    ) -> Result<Vec<(JobId, std::result::Result<Status, Rejected>)>> {
        let mut verdicts = Vec::with_capacity(changes.len());
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(self.slice()));
            let slice = std::mem::replace(&mut changes, rest);
            let ids: Vec<JobId> = slice.iter().map(|change| change.target.id()).collect();
            verdicts.extend(ids.into_iter().zip(self.change_all(slice).await?));
        }
        Ok(verdicts)
    }
}

/// Changes in one transaction of an action on many jobs of this store.
fn slice_of(backend: &dyn Backend) -> usize {
    SLICE.min(backend.capabilities().limits.batch_jobs).max(1)
}

/// A backend that answers a batch with fewer parts than it was given breaks its contract.
fn unanswered() -> Error {
    Error::Backend(poolqueue_core::BackendError::new(
        BackendErrorKind::Invalid,
        "the backend did not answer a part of the batch",
    ))
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sweeper.stop();
    }
}

impl fmt::Debug for PoolQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolQueue").field("backend", &self.inner.backend).finish_non_exhaustive()
    }
}
