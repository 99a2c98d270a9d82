//! poolqueue on its stores.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bench_compare::{Contender, Res, Sink, Work};
use poolqueue::backend::{EmbeddedOptions, WriterOptions};
use poolqueue::{
    BackendError, ClaimedJob, JobStream, NewJob, PoolQueue, RedbBackend, RedbOptions, SqliteBackend,
    SqliteOptions, StreamBuilder, SyncPolicy,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Every commit is synced before it is answered.
const EVERY_COMMIT: &str = "every-commit";
/// What is answered is synced every 100 ms.
const AT_INTERVAL: &str = "interval";
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// The system syncs.
const OS: &str = "os";

/// The mode with a cache of 1 MiB.
const LEAN: &str = "lean";
const LEAN_CACHE_BYTES: usize = 1 << 20;

/// A store.
pub trait Engine: Send + Sync + 'static {
    const ENGINE: &'static str;
    /// The modes that stand for a sync policy weaker than the usual one.
    const POLICIES: &'static [&'static str];
    fn open(
        dir: &Path,
        settings: Settings,
        options: EmbeddedOptions,
    ) -> impl Future<Output = poolqueue::Result<PoolQueue>> + Send;
}

/// What a mode comes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    cache_bytes: Option<usize>,
    sync: SyncPolicy,
}

impl Settings {
    fn of(mode: &str) -> Res<Self> {
        let usual = Settings::default();
        Ok(match mode {
            EVERY_COMMIT => usual,
            LEAN => Settings { cache_bytes: Some(LEAN_CACHE_BYTES), ..usual },
            AT_INTERVAL => Settings { sync: SyncPolicy::Interval(SYNC_INTERVAL), ..usual },
            OS => Settings { sync: SyncPolicy::Os, ..usual },
            _ => return Err(format!("there is no mode {mode:?}").into()),
        })
    }
}

/// The redb store.
pub struct Redb;

impl Engine for Redb {
    const ENGINE: &'static str = "redb";
    const POLICIES: &'static [&'static str] = &[AT_INTERVAL];

    async fn open(dir: &Path, settings: Settings, options: EmbeddedOptions) -> poolqueue::Result<PoolQueue> {
        let store = RedbOptions::default().with_sync(settings.sync);
        let store = match settings.cache_bytes {
            Some(bytes) => store.with_cache_bytes(bytes),
            None => store,
        };
        let path = dir.join("jobs.redb");
        PoolQueue::new(opened(move || RedbBackend::open_with(path, store, options)).await?).await
    }
}

/// The SQLite store.
pub struct Sqlite;

impl Engine for Sqlite {
    const ENGINE: &'static str = "sqlite";
    const POLICIES: &'static [&'static str] = &[AT_INTERVAL, OS];

    async fn open(dir: &Path, settings: Settings, options: EmbeddedOptions) -> poolqueue::Result<PoolQueue> {
        let store = SqliteOptions::default().sync(settings.sync);
        let store = match settings.cache_bytes {
            Some(bytes) => store.cache_bytes(bytes),
            None => store,
        };
        let path = dir.join("jobs.db");
        PoolQueue::new(opened(move || SqliteBackend::open_with(path, store, options)).await?).await
    }
}

/// Opening blocks.
async fn opened<B: Send + 'static>(
    open: impl FnOnce() -> Result<B, BackendError> + Send + 'static,
) -> Result<B, BackendError> {
    let task = tokio::task::spawn_blocking(open);
    task.await.unwrap_or_else(|ended| Err(BackendError::corrupted(ended.to_string())))
}

/// How commands share commits.
pub trait Grouping: Send + Sync + 'static {
    const NAME: &'static str;
    fn options() -> WriterOptions;
}

/// As delivered.
pub struct Grouped;

impl Grouping for Grouped {
    const NAME: &'static str = "poolqueue";

    fn options() -> WriterOptions {
        WriterOptions::default()
    }
}

/// A commit, and so a sync, for each command: what a queue does that does not group.
pub struct SingleCommits;

impl Grouping for SingleCommits {
    const NAME: &'static str = "one-commit-per-op";

    fn options() -> WriterOptions {
        let mut options = WriterOptions::default();
        options.group_commands = 1;
        options
    }
}

/// A queue on a store.
pub struct Ours<E, G> {
    queue: PoolQueue,
    kind: PhantomData<fn() -> (E, G)>,
}

impl<E, G> Ours<E, G> {
    pub fn queue(&self) -> &PoolQueue {
        &self.queue
    }
}

impl<E: Engine, G: Grouping> Contender for Ours<E, G> {
    const NAME: &'static str = G::NAME;
    const ENGINE: &'static str = E::ENGINE;
    const MODES: &'static [&'static str] = &[EVERY_COMMIT];
    const NAMED_MODES: &'static [&'static str] = E::POLICIES;
    const BATCHED_ACK: bool = true;
    const LEAN: Option<&'static str> = Some(LEAN);
    type Running = Running;

    async fn open(dir: &Path, mode: &str) -> Res<Self> {
        let options = EmbeddedOptions::default().writer(G::options());
        Ok(Ours { queue: E::open(dir, Settings::of(mode)?, options).await?, kind: PhantomData })
    }

    async fn durability(&self) -> Res<String> {
        Ok(self.queue.health().store.durability.into_owned())
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        self.queue.enqueue(NewJob::new("bench", payload)).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        let jobs = payloads.into_iter().map(|payload| NewJob::new("bench", payload));
        self.queue.enqueue_all(jobs).await?;
        Ok(())
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<Running> {
        let stream = |number| self.queue.stream(format!("worker-{number}")).capacity(work.capacity);
        Running::start(&self.queue, (0..work.streams).map(stream), work.batched, &sink).await
    }

    async fn stop(&self, running: Running) -> Res<()> {
        running.stop().await
    }

    async fn close(self) -> Res<()> {
        Ok(self.queue.close().await?)
    }
}

/// Open streams and what works on their jobs.
pub struct Running {
    stop: watch::Sender<bool>,
    streams: Vec<JoinHandle<poolqueue::Result<()>>>,
}

impl Running {
    /// Opens streams and works on what they deliver.
    pub async fn start(
        queue: &PoolQueue,
        streams: impl IntoIterator<Item = StreamBuilder>,
        batched: bool,
        sink: &Sink,
    ) -> Res<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut running = Running { stop, streams: Vec::new() };
        for stream in streams {
            let stream = stream.open().await?;
            let worker = Worker { queue: queue.clone(), sink: sink.clone(), batched };
            running.streams.push(tokio::spawn(worker.work(stream, stopped.clone())));
        }
        Ok(running)
    }

    /// Ends the streams. What they hold is given back.
    pub async fn stop(self) -> Res<()> {
        // The streams that have ended by themselves do not listen.
        let _ = self.stop.send(true);
        for stream in self.streams {
            stream.await??;
        }
        Ok(())
    }
}

struct Worker {
    queue: PoolQueue,
    sink: Sink,
    batched: bool,
}

impl Worker {
    async fn work(self, mut stream: JobStream, mut stopped: watch::Receiver<bool>) -> poolqueue::Result<()> {
        let worker = Arc::new(self);
        loop {
            let batch = tokio::select! {
                batch = stream.next() => batch,
                _ = stopped.wait_for(|stopped| *stopped) => break,
            };
            let Some(batch) = batch else { break };
            worker.deliver(batch?);
        }
        stream.close().await
    }

    fn deliver(self: &Arc<Self>, batch: Vec<ClaimedJob>) {
        if self.batched {
            tokio::spawn(Arc::clone(self).complete_all(batch));
        } else {
            for job in batch {
                tokio::spawn(Arc::clone(self).complete(job));
            }
        }
    }

    /// A completion that is refused is not counted as done, and so shows.
    async fn complete(self: Arc<Self>, job: ClaimedJob) {
        self.sink.hit(payload(&job));
        if self.queue.complete(&job, ()).await.is_ok() {
            self.sink.done(payload(&job));
        }
    }

    async fn complete_all(self: Arc<Self>, batch: Vec<ClaimedJob>) {
        batch.iter().for_each(|job| self.sink.hit(payload(job)));
        let Ok(verdicts) = self.queue.complete_all(batch.iter().map(|job| (job, ()))).await else { return };
        let done = batch.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
        done.for_each(|(job, _)| self.sink.done(payload(job)));
    }
}

/// What is no text is no payload of ours, which the sink notices.
fn payload(job: &ClaimedJob) -> &str {
    std::str::from_utf8(&job.job().payload).unwrap_or_default()
}
