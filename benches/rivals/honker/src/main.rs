//! honker 0.5: SQL functions in an SQLite file, behind one connection.
//!
//! One thread claims as many jobs as may be worked on at once, and acknowledges them in one call. Its `ClaimWaker`
//! claims one at a time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench_compare::{Contender, Res, Sink, Work};
use honker::{Database, EnqueueOpts, Queue, QueueOpts, UpdateEvents};
use tokio::task::JoinHandle;

const WORKER: &str = "worker";
/// How long the worker waits before it looks by itself.
const POLL: Duration = Duration::from_millis(500);

struct Honker {
    database: Database,
    queue: Queue,
    directory: PathBuf,
}

struct Running {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<()>,
}

impl Contender for Honker {
    const NAME: &'static str = "honker";
    const ENGINE: &'static str = "sqlite";
    type Running = Running;

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let database = Database::open(dir.join("honker.db"))?;
        let queue = database.queue("bench", QueueOpts::default());
        Ok(Honker { database, queue, directory: dir.to_owned() })
    }

    async fn durability(&self) -> Res<String> {
        let settings = self.database.with_conn(|connection| {
            let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            let synchronous = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            Ok::<_, honker::Error>(rival_observe::settings(&journal, synchronous))
        })?;
        rival_observe::durability::<Self>(&settings, &self.directory, Self::MODES[0]).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        let queue = self.queue.clone();
        tokio::task::spawn_blocking(move || queue.enqueue(&payload, EnqueueOpts::default())).await??;
        Ok(())
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        let (database, queue) = (self.database.clone(), self.queue.clone());
        let enqueue = move || {
            let transaction = database.transaction()?;
            for payload in &payloads {
                queue.enqueue_tx(&transaction, payload, EnqueueOpts::default())?;
            }
            transaction.commit()
        };
        Ok(tokio::task::spawn_blocking(enqueue).await??)
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let most = i64::try_from(work.streams * work.capacity)?;
        let (queue, events, stopped) = (self.queue.clone(), self.database.update_events(), Arc::clone(&stop));
        let worker = tokio::task::spawn_blocking(move || {
            if let Err(error) = work_until(&stopped, &queue, &events, most, &sink) {
                eprintln!("the worker of honker ended: {error}");
            }
        });
        Ok(Running { stop, worker })
    }

    async fn stop(&self, running: Running) -> Res<()> {
        running.stop.store(true, Ordering::Relaxed);
        Ok(running.worker.await?)
    }

    async fn close(self) -> Res<()> {
        Ok(())
    }
}

fn work_until(stop: &AtomicBool, queue: &Queue, events: &UpdateEvents, most: i64, sink: &Sink) -> Res<()> {
    while !stop.load(Ordering::Relaxed) {
        let jobs = queue.claim_batch(WORKER, most)?;
        if jobs.is_empty() {
            events.recv_timeout(POLL)?;
            continue;
        }
        let payloads: Vec<String> = jobs.iter().map(|job| job.payload_as()).collect::<Result<_, _>>()?;
        payloads.iter().for_each(|payload| sink.hit(payload));
        let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
        queue.ack_batch(&ids, WORKER)?;
        payloads.iter().for_each(|payload| sink.done(payload));
    }
    Ok(())
}

fn main() -> ExitCode {
    bench_compare::run::<Honker>()
}
