//! What a good engineer writes by hand: a table in SQLite, one thread that puts everything that waits into one transaction
//! and answers after the commit. It has no tags, no history, no fencing and no figures.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use bench_compare::{Contender, Res, Sink, Work};
use poolqueue::rusqlite::{self, Connection, params};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, \
  payload TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 0, \
  run_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, lease_until INTEGER); \
  CREATE INDEX IF NOT EXISTS ready ON jobs (queue, priority, run_at, id) WHERE state = 0; \
  UPDATE jobs SET state = 0 WHERE state = 1";
const INSERT: &str = "INSERT INTO jobs (queue, payload, run_at) VALUES ('q', ?1, ?2)";
const CLAIM: &str = "UPDATE jobs SET state = 1, attempts = attempts + 1, lease_until = ?1 WHERE id IN \
  (SELECT id FROM jobs WHERE queue = 'q' AND state = 0 AND run_at <= ?2 ORDER BY priority, run_at, id LIMIT ?3) \
  RETURNING id, payload";
const DONE: &str = "DELETE FROM jobs WHERE id = ?1";

/// Calls in a transaction at most.
const GROUP: usize = 1_024;

const LEASE_MS: i64 = 30_000;

const ENDED: &str = "the table's writer has ended";

type Jobs = Vec<(i64, String)>;

enum Op {
    Add { payloads: Vec<String>, stored: oneshot::Sender<()> },
    Done { ids: Vec<i64>, stored: oneshot::Sender<()> },
    Claim { count: usize, jobs: oneshot::Sender<Jobs> },
    Settings { text: oneshot::Sender<String> },
}

/// The calls of the application's side.
struct Calls {
    ops: mpsc::UnboundedSender<Op>,
    added: Notify,
}

pub struct Table {
    calls: Arc<Calls>,
    writer: JoinHandle<rusqlite::Result<()>>,
}

impl Contender for Table {
    const NAME: &'static str = "hand-written-table";
    const ENGINE: &'static str = "sqlite";
    const BATCHED_ACK: bool = true;
    type Running = AbortHandle;

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let path = dir.join("jobs.db");
        let connection = tokio::task::spawn_blocking(move || open(&path)).await??;
        let (ops, receiver) = mpsc::unbounded_channel();
        let writer = std::thread::Builder::new().name("table".to_owned());
        let writer = writer.spawn(move || write(connection, receiver))?;
        Ok(Table { calls: Arc::new(Calls { ops, added: Notify::new() }), writer })
    }

    async fn durability(&self) -> Res<String> {
        self.calls.ask(|text| Op::Settings { text }).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        self.enqueue_batch(vec![payload]).await
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        self.calls.ask(|stored| Op::Add { payloads, stored }).await?;
        self.calls.added.notify_one();
        Ok(())
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<AbortHandle> {
        let worker = Worker { calls: Arc::clone(&self.calls), sink, batched: work.batched };
        Ok(tokio::spawn(Arc::new(worker).work(work.streams * work.capacity)).abort_handle())
    }

    /// What is claimed waits until the table is opened again.
    async fn stop(&self, running: AbortHandle) -> Res<()> {
        running.abort();
        self.durability().await.map(drop)
    }

    async fn close(self) -> Res<()> {
        drop(self.calls);
        let ended = tokio::task::spawn_blocking(move || self.writer.join()).await?;
        Ok(ended.map_err(|_| "the writer of the table panicked")??)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

impl Calls {
    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> Op) -> Res<T> {
        let (answer, answered) = oneshot::channel();
        self.ops.send(op(answer)).map_err(|_| ENDED)?;
        Ok(answered.await.map_err(|_| ENDED)?)
    }
}

struct Worker {
    calls: Arc<Calls>,
    sink: Sink,
    batched: bool,
}

impl Worker {
    /// Claims as many as there are free places, until nobody answers any more.
    async fn work(self: Arc<Self>, places: usize) {
        let free = Arc::new(Semaphore::new(places));
        while let Ok(mut place) = Arc::clone(&free).acquire_owned().await {
            let others = u32::try_from(free.available_permits()).unwrap_or(u32::MAX);
            if let Ok(others) = Arc::clone(&free).try_acquire_many_owned(others) {
                place.merge(others);
            }
            let count = place.num_permits();
            let Ok(jobs) = self.calls.ask(|jobs| Op::Claim { count, jobs }).await else { return };
            if jobs.is_empty() {
                drop(place);
                self.calls.added.notified().await;
            } else if self.batched {
                place = place.split(jobs.len()).unwrap_or(place);
                tokio::spawn(Arc::clone(&self).complete(jobs, place));
            } else {
                for job in jobs {
                    if let Some(place) = place.split(1) {
                        tokio::spawn(Arc::clone(&self).complete(vec![job], place));
                    }
                }
            }
        }
    }

    /// The places are free as soon as the completion is on its way, so that it shares a commit with the next claim.
    async fn complete(self: Arc<Self>, jobs: Jobs, places: OwnedSemaphorePermit) {
        jobs.iter().for_each(|(_, payload)| self.sink.hit(payload));
        let ids = jobs.iter().map(|(id, _)| *id).collect();
        let (stored, answered) = oneshot::channel();
        let sent = self.calls.ops.send(Op::Done { ids, stored });
        drop(places);
        if sent.is_ok() && answered.await.is_ok() {
            jobs.iter().for_each(|(_, payload)| self.sink.done(payload));
        }
    }
}

/// Everything that waits in one transaction, then the answers. After an error nobody gets one.
fn write(mut connection: Connection, mut ops: mpsc::UnboundedReceiver<Op>) -> rusqlite::Result<()> {
    let mut group = Vec::new();
    while ops.blocking_recv_many(&mut group, GROUP) > 0 {
        let transaction = connection.transaction()?;
        let (mut stored, mut claimed) = (Vec::new(), Vec::new());
        for op in group.drain(..) {
            match op {
                Op::Add { payloads, stored: answer } => {
                    let mut insert = transaction.prepare_cached(INSERT)?;
                    for payload in &payloads {
                        insert.execute(params![payload, now_ms()])?;
                    }
                    stored.push(answer);
                }
                Op::Done { ids, stored: answer } => {
                    let mut delete = transaction.prepare_cached(DONE)?;
                    for id in ids {
                        delete.execute([id])?;
                    }
                    stored.push(answer);
                }
                Op::Claim { count, jobs } => claimed.push((jobs, claim(&transaction, count)?)),
                Op::Settings { text } => drop(text.send(settings(&transaction)?)),
            }
        }
        transaction.commit()?;
        // Who does not wait any more needs no answer.
        for answer in stored {
            let _ = answer.send(());
        }
        for (answer, jobs) in claimed {
            let _ = answer.send(jobs);
        }
    }
    Ok(())
}

fn claim(connection: &Connection, count: usize) -> rusqlite::Result<Jobs> {
    let now = now_ms();
    let mut claim = connection.prepare_cached(CLAIM)?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    claim.query_map(params![now + LEASE_MS, now, count], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn settings(connection: &Connection) -> rusqlite::Result<String> {
    let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let level: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    Ok(format!("{journal}, synchronous={level}"))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
