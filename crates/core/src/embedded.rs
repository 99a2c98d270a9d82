//! A [`Backend`] of any [`Store`]: one writer thread, group commit, answers after the commit.

mod apply;
mod elsewhere;
mod inbox;
mod standing;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::{BoxFuture, Observer};
use crate::lifecycle::Event;
use crate::new_job::{Refused, representable};
use crate::sync::{Mutex, thread};
use crate::{
    Applied, Backend, BackendError, BackendErrorKind, Batch, Capabilities, Claim, Counts, Filter, Health,
    HistoryEntry, Job, JobId, JobIds, Lease, Page, Query, Reader, Receipt, Snapshot, Store, Verified, Wake,
};
use crate::{Clock, Limits, SystemClock};
use elsewhere::Pending;
use inbox::{Answered, Command, Inbox};
use writer::Writer;

pub use elsewhere::{Staged, Work};

/// The longest key of a record, in bytes.
const RECORD_KEY_BYTES_MAX: usize = 256;

/// How the writer forms its groups.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WriterOptions {
    /// How long the writer, having applied all that has come, waits for more commands for its group, but only while it has
    /// fewer than the last one had. Default 50 µs; zero never waits, and more than a second is a second.
    pub linger: Duration,
    /// Commands in one group. Default 1,024; 1 gives each command a transaction of its own.
    pub group_commands: usize,
    /// Bytes in one group, about. A larger single command still makes a group. Default 8 MiB.
    pub group_bytes: usize,
    /// Commands that may wait for the writer; callers beyond wait for room. Default 16,384.
    pub queue_capacity: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            linger: Duration::from_micros(50),
            group_commands: 1_024,
            group_bytes: 8 << 20,
            queue_capacity: 16_384,
        }
    }
}

/// What a store is, as [`Capabilities`] say it.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// The engine's name.
    pub engine: &'static str,
    /// Whether an answered transaction survives the end of the process, under the sync policy in use.
    pub durable: bool,
    /// Whether no other handle can have claimed jobs.
    pub exclusive: bool,
}

/// What every backend inside the process can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EmbeddedOptions {
    /// Where the time comes from. Default: the machine's clock.
    pub clock: Arc<dyn Clock>,
    /// How large what is stored may be.
    pub limits: Limits,
    /// How the writer forms its groups.
    pub writer: WriterOptions,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        EmbeddedOptions {
            clock: Arc::new(SystemClock::default()),
            limits: Limits::default(),
            writer: WriterOptions::default(),
        }
    }
}

impl EmbeddedOptions {
    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Allows what `limits` allow.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Forms groups as `writer` says.
    #[must_use]
    pub fn writer(mut self, writer: WriterOptions) -> Self {
        self.writer = writer;
        self
    }
}

/// A [`Backend`] made of a [`Store`].
///
/// One thread owns the store. It takes all commands that wait, applies them in one transaction (load, decide,
/// store) together with those that come meanwhile, and answers each after the commit. Reads go to snapshots on the runtime's blocking threads. After an
/// I/O error nothing is written any more until [`reopen`](Backend::reopen).
///
/// Dropping it finishes what was asked before and closes the store, waiting for both;
/// [`close`](Backend::close) does the same and reports errors.
pub struct Embedded<S: Store> {
    inbox: Arc<Inbox>,
    reader: S::Reader,
    capabilities: Capabilities,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
    /// For jobs that are enqueued in the application's transactions.
    ids: JobIds,
    pending: Arc<Pending>,
}

impl<S: Store> Embedded<S> {
    /// Starts the writer thread on `store`.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started, `Invalid` when an option is zero that must not be.
    pub fn start(store: S, profile: Profile, options: EmbeddedOptions) -> Result<Self, BackendError> {
        let Profile { engine, durable, exclusive } = profile;
        let EmbeddedOptions { clock, limits, writer: options } = options;
        let capabilities = Capabilities { engine, durable, exclusive, limits, clock };
        if options.group_commands == 0 || options.queue_capacity == 0 {
            return Err(BackendError::new(
                BackendErrorKind::Invalid,
                "group_commands and queue_capacity must be at least 1",
            ));
        }
        let inbox = Inbox::new(options.queue_capacity);
        let sleeper: Arc<dyn Wake> = inbox.clone();
        capabilities.clock.subscribe(Arc::downgrade(&sleeper));
        let reader = store.reader();
        let pending = Arc::<Pending>::default();
        let writer =
            Writer::new(store, capabilities.clone(), options, Arc::clone(&inbox), Arc::clone(&pending));
        let thread = thread::Builder::new()
            .name(format!("poolqueue-{}", capabilities.engine))
            .spawn(move || writer.run())
            .map_err(|error| {
                BackendError::new(BackendErrorKind::Io, "the writer thread could not be started")
                    .with_source(error)
            })?;
        let writer = Mutex::new(Some(thread));
        Ok(Embedded { inbox, reader, capabilities, writer, ids: JobIds::default(), pending })
    }

    /// Reads from a snapshot on a thread that may block.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&<S::Reader as Reader>::Snapshot) -> Result<T, BackendError> + Send + 'static,
    ) -> BoxFuture<'_, T> {
        let reader = self.reader.clone();
        Box::pin(async move {
            let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
                BackendError::new(BackendErrorKind::Invalid, "a queue is used from within a tokio runtime")
                    .with_source(error)
            })?;
            let task = runtime.spawn_blocking(move || read(&reader.snapshot()?));
            task.await.unwrap_or_else(|error| {
                Err(BackendError::new(BackendErrorKind::Closed, "the read did not finish").with_source(error))
            })
        })
    }

    /// Checks a batch against the limits and cuts its messages.
    fn within_limits(&self, mut batch: Batch) -> Result<Batch, BackendError> {
        let limits = &self.capabilities.limits;
        Refused::check("batch", batch.len(), limits.batch_jobs)?;
        for insert in &batch.inserts {
            Refused::check("payload", insert.body.payload.len(), limits.payload_bytes)?;
        }
        for put in &batch.records {
            Refused::check("record key", put.key.len(), RECORD_KEY_BYTES_MAX)?;
        }
        for change in &mut batch.changes {
            if let Event::Complete { output } = &change.event {
                let size = output.value().map_or(0, |(bytes, _)| bytes.len());
                Refused::check("output", size, limits.output_bytes)?;
            }
            if let Event::FailRetry { failure, .. } = &change.event {
                representable("retry_after", failure.retry_after.unwrap_or_default())?;
            }
            let event = std::mem::replace(&mut change.event, Event::Cancel);
            change.event = event.tidied(limits.error_bytes);
        }
        Ok(batch)
    }
}

impl<S: Store> Backend for Embedded<S> {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        Box::pin(async move {
            let batch = self.within_limits(batch)?;
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Command::Commit { batch, answer }).await?;
            // Only a writer that broke leaves a batch unanswered, and it may have done so behind the commit.
            let Ok(Answered { outcome, batch }) = answered.await else {
                return Err(BackendError::closed().with_applied(Applied::Unknown));
            };
            drop(batch);
            outcome
        })
    }

    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Command::Claim { claims, answer }).await?;
            match answered.await {
                Ok(Ok(mut delivery)) => Ok(delivery.take()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(BackendError::closed()),
            }
        })
    }

    fn get(&self, ids: Vec<JobId>) -> BoxFuture<'_, Vec<Option<Job>>> {
        self.read(move |snapshot| snapshot.get(&ids))
    }

    fn select(&self, query: Query) -> BoxFuture<'_, Page> {
        self.read(move |snapshot| snapshot.select(&query))
    }

    fn count(&self, filter: Filter) -> BoxFuture<'_, Counts> {
        self.read(move |snapshot| snapshot.count(&filter))
    }

    fn history(&self, id: JobId) -> BoxFuture<'_, Option<(Vec<HistoryEntry>, u64)>> {
        self.read(move |snapshot| snapshot.history(id))
    }

    fn held(&self) -> BoxFuture<'_, Vec<Lease>> {
        self.read(|snapshot| snapshot.held())
    }

    fn record(&self, key: String) -> BoxFuture<'_, Option<(u64, Vec<u8>)>> {
        self.read(move |snapshot| snapshot.record(&key))
    }

    fn verify(&self) -> BoxFuture<'_, Verified> {
        self.read(|snapshot| snapshot.verify())
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inbox.set_observer(observer);
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn health(&self) -> Health {
        let mut health = self.reader.health();
        health.queued_commands = self.inbox.len();
        health.closed = self.inbox.closed_because().map(|error| describe(&error));
        health
    }

    fn reopen(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Command::Reopen { answer }).await?;
            answered.await.unwrap_or_else(|_| Err(BackendError::closed()))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Command::Close { answer: Some(answer) }).await?;
            answered.await.unwrap_or_else(|_| Err(BackendError::closed()))
        })
    }
}

/// An error and what caused it, in one line.
fn describe(error: &BackendError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl<S: Store> Drop for Embedded<S> {
    fn drop(&mut self) {
        self.inbox.send_now(Command::Close { answer: None });
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panic of the writer has nowhere to go from a drop; every caller was answered `Closed`.
            let _ = thread.join();
        }
    }
}

impl<S: Store> fmt::Debug for Embedded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("engine", &self.capabilities.engine).finish_non_exhaustive()
    }
}
