//! A log and nothing else: what the machine can do. Not a product.
//!
//! Records are appended to a zero-filled file; one thread writes what waits with one write and one sync, and then answers.
//! Jobs wait in a heap in memory. Claims and completions are records as durable as the jobs.

mod file;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bench_compare::{Contender, Res, Sink, Work};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use file::Log;
use writer::{Inbox, Job, Op, Writer};

pub struct RawLog {
    inbox: Arc<Inbox>,
    writer: JoinHandle<std::io::Result<()>>,
}

impl Contender for RawLog {
    const NAME: &'static str = "raw-log";
    const ENGINE: &'static str = "file";
    const BATCHED_ACK: bool = true;
    type Running = Vec<AbortHandle>;

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let path = dir.join("jobs.log");
        let (log, waiting) = tokio::task::spawn_blocking(move || Log::open(&path)).await??;
        let inbox = Arc::new(Inbox::default());
        let writer = Writer::new(log, waiting, Arc::clone(&inbox));
        let writer = std::thread::Builder::new().name("raw-log".to_owned()).spawn(|| writer.run())?;
        Ok(RawLog { inbox, writer })
    }

    async fn durability(&self) -> Res<String> {
        Ok("fdatasync for each group".to_owned())
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        self.enqueue_batch(vec![payload]).await
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        self.inbox.ask(|stored| Op::Add { payloads, stored }).await
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<Self::Running> {
        let mut running = Vec::new();
        for _ in 0..work.streams {
            let (deliver, delivered) = mpsc::unbounded_channel();
            let stream =
                self.inbox.ask(|number| Op::Open { capacity: work.capacity, deliver, number }).await?;
            let worker =
                Worker { inbox: Arc::clone(&self.inbox), sink: sink.clone(), stream, batched: work.batched };
            running.push(tokio::spawn(Arc::new(worker).work(delivered)).abort_handle());
        }
        Ok(running)
    }

    /// What the streams hold is ready again when the log is opened again.
    async fn stop(&self, running: Self::Running) -> Res<()> {
        running.iter().for_each(AbortHandle::abort);
        self.inbox.ask(|done| Op::CloseStreams { done }).await
    }

    async fn close(self) -> Res<()> {
        self.inbox.ask(|done| Op::Close { done }).await?;
        let ended = tokio::task::spawn_blocking(move || self.writer.join()).await?;
        Ok(ended.map_err(|_| "the writer of the raw log panicked")??)
    }
}

struct Worker {
    inbox: Arc<Inbox>,
    sink: Sink,
    stream: usize,
    batched: bool,
}

impl Worker {
    async fn work(self: Arc<Self>, mut delivered: mpsc::UnboundedReceiver<Vec<Job>>) {
        while let Some(batch) = delivered.recv().await {
            if self.batched {
                tokio::spawn(Arc::clone(&self).complete(batch));
            } else {
                for job in batch {
                    tokio::spawn(Arc::clone(&self).complete(vec![job]));
                }
            }
        }
    }

    async fn complete(self: Arc<Self>, batch: Vec<Job>) {
        batch.iter().for_each(|job| self.sink.hit(&job.payload));
        let ids = batch.iter().map(|job| job.id).collect();
        let asked = self.inbox.ask(|stored| Op::Done { ids, stream: self.stream, stored });
        if asked.await.is_ok() {
            batch.iter().for_each(|job| self.sink.done(&job.payload));
        }
    }
}

impl Inbox {
    /// Hands the writer what `op` makes of an answer's sender, and waits for the answer.
    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> Op) -> Res<T> {
        let (answer, answered) = oneshot::channel();
        self.put(op(answer));
        Ok(answered.await.map_err(|_| "the raw log could not be written")?)
    }
}
