//! effectum 0.7: one writer thread on an SQLite file, which takes up to 50 waiting operations into a transaction.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str;
use std::sync::Arc;
use std::time::Duration;

use bench_compare::{Contender, Res, Sink, Work};
use effectum::{Job, JobRunner, Queue, RunningJob, Worker};

const KIND: &str = "job";
/// How long workers may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

struct Effectum {
    queue: Queue,
    directory: PathBuf,
}

fn file(directory: &Path) -> PathBuf {
    directory.join("effectum.db")
}

fn job(payload: String) -> Job {
    Job::builder(KIND).payload(payload.into_bytes()).build()
}

/// Completes the job itself, since only that call tells when the completion is stored.
async fn handle(job: RunningJob, sink: Arc<Sink>) -> Res<()> {
    let payload = str::from_utf8(&job.payload)?;
    sink.hit(payload);
    job.complete(()).await?;
    sink.done(payload);
    Ok(())
}

impl Contender for Effectum {
    const NAME: &'static str = "effectum";
    const ENGINE: &'static str = "sqlite";
    type Running = Worker;

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let queue = Queue::new(&file(dir)).await?;
        Ok(Effectum { queue, directory: dir.to_owned() })
    }

    async fn durability(&self) -> Res<String> {
        let journal = rival_observe::journal(&file(&self.directory))?;
        rival_observe::durability::<Self>(journal, &self.directory, Self::MODES[0]).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        self.queue.add_job(job(payload)).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        self.queue.add_jobs(payloads.into_iter().map(job).collect()).await?;
        Ok(())
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<Worker> {
        let concurrency = u16::try_from(work.streams * work.capacity)?;
        let runner = JobRunner::builder(KIND, handle).build();
        let worker = Worker::builder(&self.queue, Arc::new(sink)).max_concurrency(concurrency).jobs([runner]);
        Ok(worker.build().await?)
    }

    async fn stop(&self, worker: Worker) -> Res<()> {
        Ok(worker.unregister(Some(PATIENCE)).await?)
    }

    async fn close(self) -> Res<()> {
        Ok(self.queue.close(PATIENCE).await?)
    }
}

fn main() -> ExitCode {
    bench_compare::run::<Effectum>()
}
