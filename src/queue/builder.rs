use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::{Backend, BackendError, BackendErrorKind, Batch, Invalid, JobIds, lifecycle::Event};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::streams::apply_to_all;
use super::{Inner, PoolQueue, Streams, Sweeper};
use crate::Result;
use crate::events::EventSource;

/// Events kept for a slow reader, at most: the room for them is taken at once.
const EVENTS_MAX: usize = 1_000_000;

/// A queue that is about to be opened. See [`PoolQueue::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct Builder {
    backend: Arc<dyn Backend>,
    sweep_interval: Duration,
    event_capacity: usize,
}

impl Builder {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Builder { backend, sweep_interval: Duration::from_secs(5), event_capacity: 1_024 }
    }

    /// How often leases are looked at: a lost one is found at most this long after it ran out. Default 5 s.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }

    /// Events kept for a slow reader of [`PoolQueue::events`], 1 to 1,000,000. Default 1,024.
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events;
        self
    }

    /// Opens the queue. Jobs that were held when the store was last in use are ready again at once, where no one
    /// else can hold them.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an option out of its bounds; what the store reports.
    pub async fn open(self) -> Result<PoolQueue> {
        if self.sweep_interval.is_zero() {
            return Err(Invalid::new("sweep_interval", "must be more than zero").into());
        }
        if self.event_capacity == 0 || self.event_capacity > EVENTS_MAX {
            return Err(Invalid::new("event_capacity", format!("must be 1 to {EVENTS_MAX}")).into());
        }
        let runtime = Handle::try_current().map_err(|error| {
            BackendError::new(BackendErrorKind::Invalid, "a queue is opened from within a tokio runtime")
                .with_source(error)
        })?;
        let events = Arc::new(EventSource::new(self.event_capacity));
        self.backend.observe(events.clone());
        let streams = Arc::new(Streams::default());
        let sweeper = Sweeper::start(
            Arc::clone(&streams),
            Arc::downgrade(&self.backend),
            self.sweep_interval,
            runtime.clone(),
        )?;
        let inner = Inner {
            backend: self.backend,
            ids: JobIds::default(),
            events,
            streams,
            sweeper,
            reopened: watch::Sender::new(0),
            runtime,
        };
        inner.rescue().await?;
        Ok(PoolQueue { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// Gives back the jobs that an earlier process left held.
    async fn rescue(&self) -> Result<()> {
        if !self.backend.capabilities().exclusive {
            // The store itself finds out whose holders are gone, before it answers a batch.
            return Ok(self.backend.commit(Batch::default()).await.map(drop)?);
        }
        let held = self.backend.held().await?;
        if held.is_empty() {
            return Ok(());
        }
        tracing::info!(
            jobs = held.len(),
            "rescuing the jobs that were running when the store was last in use"
        );
        Ok(apply_to_all(&*self.backend, &held, &Event::LoseWorker).await?)
    }
}
