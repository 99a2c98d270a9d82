use std::path::Path;

use crate::Sink;

/// What a contender's calls return.
pub type Res<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A job queue that is measured.
pub trait Contender: Sized + Send + Sync + 'static {
    /// Name in the tables.
    const NAME: &'static str;
    /// The store beneath: "redb", "sqlite", "file".
    const ENGINE: &'static str;
    /// Settings that can be measured, the usual first.
    const MODES: &'static [&'static str] = &["default"];
    /// Further settings, which are measured only when they are asked for by name.
    const NAMED_MODES: &'static [&'static str] = &[];
    /// Whether there is a call that takes many jobs.
    const BATCH: bool = true;
    /// Whether there is a call that completes many jobs, which `start` uses for [`Work::batched`].
    const BATCHED_ACK: bool = false;
    /// A mode with the smallest caches, in which a store that is opened again shows what its jobs take in memory. It
    /// need not be one of [`MODES`](Self::MODES). Without one, the mode measured is taken.
    const LEAN: Option<&'static str> = None;
    /// Whatever keeps the workers alive.
    type Running: Send;

    /// Opens the store in the directory `dir`, or creates it there.
    fn open(dir: &Path, mode: &str) -> impl Future<Output = Res<Self>> + Send;

    /// The durability in use, read back from the open store: "WAL, synchronous=FULL".
    fn durability(&self) -> impl Future<Output = Res<String>> + Send;

    /// Adds a job; returns when the queue says that it is stored.
    fn enqueue(&self, payload: String) -> impl Future<Output = Res<()>> + Send;

    /// Adds many jobs in one call.
    fn enqueue_batch(&self, payloads: Vec<String>) -> impl Future<Output = Res<()>> + Send;

    /// Starts workers. Each handler calls [`Sink::hit`] when it has the job in hand, and [`Sink::done`] once its
    /// completion is acknowledged as stored; for queues that do not tell, when the handler returns.
    fn start(&self, work: Work, sink: Sink) -> impl Future<Output = Res<Self::Running>> + Send;

    /// Stops the workers.
    fn stop(&self, running: Self::Running) -> impl Future<Output = Res<()>> + Send;

    /// Closes the store, so that it can be opened again.
    fn close(self) -> impl Future<Output = Res<()>> + Send;
}

/// How the workers are laid out. Queues that know no streams run `streams` × `capacity` handlers at once.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Streams, or whatever the queue calls what jobs are delivered to.
    pub streams: usize,
    /// Jobs that each may hold at once.
    pub capacity: usize,
    /// Whether completions are acknowledged a delivered batch at a time instead of singly.
    pub batched: bool,
}
