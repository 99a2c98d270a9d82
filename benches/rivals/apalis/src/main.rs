//! apalis 1.0 with its SQLite storage: one worker, woken by SQLite's update hook, whose handlers run as tasks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_sqlite::callback::HookCallbackListener;
use apalis_sqlite::{Config, SqlitePool, SqliteStorage};
use bench_compare::{Contender, Res, Sink, Work};
use futures::{StreamExt, TryFutureExt};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

const QUEUE: &str = "bench";
/// How often the worker looks by itself.
const POLL: Duration = Duration::from_millis(500);

struct Apalis {
    pool: SqlitePool,
    inserted: HookCallbackListener,
    /// How many were started: a name is not given twice.
    workers: AtomicUsize,
    directory: PathBuf,
}

struct Running {
    stop: oneshot::Sender<()>,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl Contender for Apalis {
    const NAME: &'static str = "apalis";
    const ENGINE: &'static str = "sqlite";
    type Running = Running;

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let url = format!("sqlite://{}?mode=rwc", dir.join("apalis.db").display());
        let (pool, inserted) = SqliteStorage::connect_with_callback(&url)?;
        SqliteStorage::setup(&pool).await?;
        Ok(Apalis { pool, inserted, workers: AtomicUsize::new(0), directory: dir.to_owned() })
    }

    async fn durability(&self) -> Res<String> {
        rival_observe::durability::<Self>(&self.settings().await?, &self.directory, Self::MODES[0]).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        Ok(self.storage(Config::default()).push(payload).await?)
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        Ok(self.storage(Config::default()).push_bulk(payloads).await?)
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<Running> {
        let concurrency = work.streams * work.capacity;
        let inserts = self.inserted.clone().ready_chunks(concurrency);
        let strategy = Strategy::new().stream(inserts).interval(POLL);
        let storage = self.storage(Config::default().batch_size(concurrency));
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let worker = WorkerBuilder::new(format!("worker-{number}"))
            .backend(storage.poll_with_strategy(strategy))
            .data(sink)
            .concurrency(concurrency)
            .parallelize(tokio::spawn)
            .build(handle);
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = Handle::current();
        let stopped = stopped.map_err(std::io::Error::other);
        // The worker's future is not `Send` when its handlers are spawned.
        let worker = thread::spawn(move || runtime.block_on(worker.run_until(stopped)));
        Ok(Running { stop, worker })
    }

    async fn stop(&self, running: Running) -> Res<()> {
        // Where nobody listens any more, the worker has ended.
        let _ = running.stop.send(());
        let join = move || running.worker.join();
        Ok(tokio::task::spawn_blocking(join).await?.map_err(|_| "the worker panicked")??)
    }

    async fn close(self) -> Res<()> {
        self.pool.close().await;
        Ok(())
    }
}

impl Apalis {
    fn storage(&self, config: Config) -> SqliteStorage<String> {
        SqliteStorage::new(&self.pool).with_config(config.queue(QUEUE))
    }

    /// The settings of its connections, which differ: of as many as it opens when it is busy.
    async fn settings(&self) -> Res<String> {
        let open = self.pool.size() as usize;
        let mut connections = Vec::new();
        for _ in 0..self.pool.options().get_max_connections() {
            connections.push(self.pool.acquire().await?);
        }
        let mut settings = BTreeSet::new();
        for connection in &mut connections {
            let journal: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **connection).await?;
            let synchronous = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut **connection).await?;
            settings.insert(rival_observe::settings(&journal, synchronous));
        }
        // What is measured has those that it would have without this.
        for connection in connections.into_iter().skip(open) {
            connection.close().await?;
        }
        let settings: Vec<String> = settings.into_iter().collect();
        Ok(settings.join(" or "))
    }
}

/// Completions are stored together after their handlers have returned, and nobody is told.
async fn handle(payload: String, sink: Data<Sink>) -> Result<(), BoxDynError> {
    sink.hit(&payload);
    sink.done(&payload);
    Ok(())
}

fn main() -> ExitCode {
    bench_compare::run::<Apalis>()
}
