//! rustqueue 0.3 on redb.
//!
//! Jobs are pulled as many at a time as may be worked on at once, and each is acknowledged by itself: its ready-made
//! worker takes one job at a time, and a worker for each job that may be worked on is slower. Both wait half a second
//! when there is no job.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench_compare::{Contender, Res, Sink, Work};
use rustqueue::config::RetentionConfig;
use rustqueue::engine::queue::BatchPushItem;
use rustqueue::engine::scheduler::start_scheduler;
use rustqueue::storage::{BufferedRedbConfig, BufferedRedbStorage, RedbStorage};
use rustqueue::{Job, JobOptions, QueueManager, StorageBackend};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};

const QUEUE: &str = "bench";
const KIND: &str = "job";
/// A commit for each call.
const PULL: &str = "pull";
/// Its write coalescing with its defaults: a commit every 10 ms, or for 100 operations.
const COALESCED: &str = "coalesced";
/// How long its own worker waits when there is no job.
const POLL: Duration = Duration::from_millis(500);
/// How often its builder has it look for stalled jobs, in milliseconds.
const TICK_MS: u64 = 1_000;
/// How long its builder lets a job be silent, in milliseconds.
const STALL_MS: u64 = 30_000;

struct RustQueue {
    // What its `RustQueue` wraps; only here is a call that takes many jobs.
    manager: Arc<QueueManager>,
    /// What writes are coalesced on: that task has no other end, and holds the file.
    flushing: Option<Runtime>,
    mode: &'static str,
    directory: PathBuf,
}

struct Running {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
}

impl Contender for RustQueue {
    const NAME: &'static str = "rustqueue";
    const ENGINE: &'static str = "redb";
    const MODES: &'static [&'static str] = &[PULL, COALESCED];
    type Running = Running;

    async fn open(dir: &Path, mode: &str) -> Res<Self> {
        let plain: Arc<dyn StorageBackend> = Arc::new(RedbStorage::new(dir.join("rustqueue.redb"))?);
        let (mode, storage, flushing) = match mode {
            PULL => (PULL, plain, None),
            COALESCED => {
                let (storage, flushing) = coalesced(plain)?;
                (COALESCED, storage, Some(flushing))
            }
            _ => return Err(format!("rustqueue has no mode {mode}").into()),
        };
        let manager = Arc::new(QueueManager::new(storage));
        Ok(RustQueue { manager, flushing, mode, directory: dir.to_owned() })
    }

    async fn durability(&self) -> Res<String> {
        rival_observe::durability::<Self>("redb, Immediate", &self.directory, self.mode).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        self.manager.push(QUEUE, KIND, Value::String(payload), None).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        let item = |payload| BatchPushItem {
            name: KIND.to_owned(),
            data: Value::String(payload),
            options: Some(JobOptions::default()),
        };
        self.manager.push_batch(QUEUE, payloads.into_iter().map(item).collect()).await?;
        Ok(())
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<Running> {
        let most = u32::try_from(work.streams * work.capacity)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (manager, stopped) = (Arc::clone(&self.manager), Arc::clone(&stop));
        let worker = tokio::spawn(async move {
            if let Err(error) = work_until(&stopped, &manager, most, &sink).await {
                eprintln!("the worker of rustqueue ended: {error}");
            }
        });
        let manager = Arc::clone(&self.manager);
        let housekeeping = start_scheduler(manager, TICK_MS, STALL_MS, RetentionConfig::default());
        Ok(Running { stop, worker, housekeeping })
    }

    async fn stop(&self, running: Running) -> Res<()> {
        running.housekeeping.abort();
        let _ = running.housekeeping.await;
        running.stop.store(true, Ordering::Relaxed);
        Ok(running.worker.await?)
    }

    async fn close(mut self) -> Res<()> {
        let flushing = self.flushing.take();
        // It waits, which is not allowed here.
        Ok(tokio::task::spawn_blocking(move || drop(flushing)).await?)
    }
}

impl Drop for RustQueue {
    fn drop(&mut self) {
        if let Some(flushing) = self.flushing.take() {
            flushing.shutdown_background();
        }
    }
}

fn coalesced(plain: Arc<dyn StorageBackend>) -> Res<(Arc<dyn StorageBackend>, Runtime)> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let entered = runtime.enter();
    let storage = BufferedRedbStorage::new(plain, BufferedRedbConfig::default());
    drop(entered);
    Ok((Arc::new(storage), runtime))
}

async fn work_until(stop: &AtomicBool, manager: &Arc<QueueManager>, most: u32, sink: &Sink) -> Res<()> {
    while !stop.load(Ordering::Relaxed) {
        let jobs = manager.pull(QUEUE, most).await?;
        if jobs.is_empty() {
            tokio::time::sleep(POLL).await;
        }
        let handle = |job| handle(Arc::clone(manager), job, sink.clone());
        let mut handlers: JoinSet<Res<()>> = jobs.into_iter().map(handle).collect();
        while let Some(handled) = handlers.join_next().await {
            handled??;
        }
    }
    Ok(())
}

async fn handle(manager: Arc<QueueManager>, job: Job, sink: Sink) -> Res<()> {
    let payload = job.data.as_str().ok_or("the payload is no text")?;
    sink.hit(payload);
    manager.ack(job.id, None).await?;
    sink.done(payload);
    Ok(())
}

fn main() -> ExitCode {
    bench_compare::run::<RustQueue>()
}
