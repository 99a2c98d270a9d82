//! fang 0.11 with its SQLite queue: a worker for each job that may be worked on at once.
//!
//! Workers poll: every 5 to 15 seconds by default, here every 10 to 50 milliseconds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bench_compare::{Contender, Res, Sink, Work};
use fang::asynk::async_queue::{AsyncQueue, AsyncQueueError, AsyncQueueable};
use fang::asynk::async_runnable::AsyncRunnable;
use fang::asynk::async_worker_pool::AsyncWorkerPool;
use fang::{FangError, SleepParams};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;

/// As in its README.
const CONNECTIONS: u32 = 2;
/// The table of its migration for SQLite, which runs only with a second library beneath.
const TABLE: &str = include_str!("table.sql");
/// Where handlers report, since they are given nothing but their job.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

#[derive(Serialize, Deserialize)]
struct Job {
    payload: String,
}

#[typetag::serde]
#[fang::async_trait]
impl AsyncRunnable for Job {
    // Its completion is stored after the handler has returned, and nobody is told.
    async fn run(&self, _queue: &dyn AsyncQueueable) -> Result<(), FangError> {
        if let Some(sink) = &*SINK.read().unwrap_or_else(PoisonError::into_inner) {
            sink.hit(&self.payload);
            sink.done(&self.payload);
        }
        Ok(())
    }
}

struct Fang {
    queue: AsyncQueue,
    directory: PathBuf,
}

fn file(directory: &Path) -> PathBuf {
    directory.join("fang.db")
}

/// Whether others kept the file locked until SQLite gave up; a caller tries again.
fn is_locked(error: &AsyncQueueError) -> bool {
    let AsyncQueueError::SqlXError(sqlx::Error::Database(error)) = error else { return false };
    error.code().as_deref() == Some("5")
}

impl Contender for Fang {
    const NAME: &'static str = "fang";
    const ENGINE: &'static str = "sqlite";
    const BATCH: bool = false;
    type Running = ();

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let uri = format!("sqlite://{}?mode=rwc", file(dir).display());
        let pool = SqlitePool::connect(&uri).await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        pool.close().await;
        let mut queue = AsyncQueue::builder().uri(uri).max_pool_size(CONNECTIONS).build();
        queue.connect().await?;
        Ok(Fang { queue, directory: dir.to_owned() })
    }

    async fn durability(&self) -> Res<String> {
        let journal = rival_observe::journal(&file(&self.directory))?;
        rival_observe::durability::<Self>(journal, &self.directory, Self::MODES[0]).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        let job = Job { payload };
        loop {
            match self.queue.insert_task(&job).await {
                Ok(_) => return Ok(()),
                Err(error) if is_locked(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn enqueue_batch(&self, _payloads: Vec<String>) -> Res<()> {
        Err("fang has no call that takes many jobs".into())
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<()> {
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
        let sleep = SleepParams {
            sleep_period: Duration::from_millis(10),
            min_sleep_period: Duration::from_millis(10),
            max_sleep_period: Duration::from_millis(50),
            sleep_step: Duration::from_millis(10),
        };
        let mut workers: AsyncWorkerPool<AsyncQueue> = AsyncWorkerPool::builder()
            .queue(self.queue.clone())
            .sleep_params(sleep)
            .number_of_workers(u32::try_from(work.streams * work.capacity)?)
            .build();
        workers.start().await;
        Ok(())
    }

    async fn stop(&self, (): ()) -> Res<()> {
        // Its workers cannot be stopped; they end with the process. What they still do is not counted.
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    async fn close(self) -> Res<()> {
        Ok(())
    }
}

fn main() -> ExitCode {
    bench_compare::run::<Fang>()
}
