//! An application with a database of its own and a queue in it.
#![allow(dead_code)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use poolqueue::{ClaimedJob, JobEvent, JobStream, NewJob, PoolQueue, Select, Stats};
use poolqueue_core::{EmbeddedOptions, JobId};
use poolqueue_redb::{RedbBackend, RedbOptions};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

/// A table of the application's.
pub const ORDERS: TableDefinition<'_, u64, &str> = TableDefinition::new("orders");

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub struct Rig {
    pub directory: tempfile::TempDir,
    pub db: Arc<Database>,
    pub backend: RedbBackend,
    pub queue: PoolQueue,
}

pub fn id(number: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

pub fn job(number: u64) -> NewJob {
    NewJob::new("kind", number.to_string().into_bytes()).id(id(number))
}

pub fn open(db: &Arc<Database>, options: &RedbOptions) -> RedbBackend {
    let opened =
        RedbBackend::with_database_options(Arc::clone(db), options.clone(), EmbeddedOptions::default());
    opened.expect("the queue opens")
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(RedbOptions::default()).await
    }

    pub async fn with(options: RedbOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = RedbBackend::create_database(directory.path().join("app.redb")).unwrap();
        let db = Arc::new(db);
        let txn = db.begin_write().unwrap();
        txn.open_table(ORDERS).unwrap();
        txn.commit().unwrap();
        let backend = open(&db, &options);
        let queue = PoolQueue::new(backend.clone()).await.unwrap();
        Rig { directory, db, backend, queue }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn begin(&self) -> WriteTransaction {
        self.db.begin_write().unwrap()
    }

    /// Begins a transaction that has an order in it.
    pub fn order(&self, number: u64) -> WriteTransaction {
        let txn = self.begin();
        txn.open_table(ORDERS).unwrap().insert(number, "tea").unwrap();
        txn
    }

    /// The orders that are committed.
    pub fn orders(&self) -> Vec<u64> {
        let txn = self.db.begin_read().unwrap();
        let orders = txn.open_table(ORDERS).unwrap();
        orders.iter().unwrap().map(|row| row.unwrap().0.value()).collect()
    }

    /// Enqueues a job in a transaction of its own.
    pub fn stage(&self, job: NewJob) -> JobId {
        let txn = self.begin();
        let ids = self.backend.enqueue_in(&txn, [job]).unwrap().into_ids();
        txn.commit().unwrap();
        ids[0]
    }

    pub async fn stats(&self) -> Stats {
        self.queue.stats(Select::all()).await.unwrap()
    }

    pub async fn verify(&self) -> u64 {
        self.queue.verify().await.unwrap()
    }

    /// Closes the queue and opens it again in the same database.
    pub async fn restart(self) -> Self {
        self.queue.close().await.unwrap();
        self.restart_closed().await
    }

    pub async fn restart_closed(self) -> Self {
        let Rig { directory, db, backend, queue } = self;
        drop((queue, backend));
        let backend = open(&db, &RedbOptions::default());
        let queue = PoolQueue::new(backend.clone()).await.unwrap();
        Rig { directory, db, backend, queue }
    }
}

/// The next job of a stream.
pub async fn next(stream: &mut JobStream) -> ClaimedJob {
    let mut batch = within("a job", stream.next()).await.expect("the stream goes on").expect("no error");
    assert_eq!(batch.len(), 1, "{batch:?}");
    batch.remove(0)
}

/// Events as short words, until `until` of them about jobs were told.
pub async fn told(events: &mut poolqueue::EventStream, until: usize) -> Vec<String> {
    let mut words = Vec::new();
    while words.len() < until {
        match within("an event", events.next()).await.expect("events go on") {
            JobEvent::Enqueued { id, .. } => words.push(format!("enqueued {}", number(id))),
            JobEvent::Changed { id, event, .. } => words.push(format!("{event} {}", number(id))),
            JobEvent::Elsewhere => {}
            other => panic!("{other:?}"),
        }
    }
    words
}

fn number(id: JobId) -> u64 {
    u64::from_be_bytes(id.as_bytes()[..8].try_into().unwrap())
}

/// Opens a copy of a store by its path, checks all of it, and returns how many jobs there are.
pub async fn check_copy(path: &Path) -> u64 {
    let queue = PoolQueue::new(RedbBackend::open(path).unwrap()).await.unwrap();
    let jobs = queue.verify().await.unwrap();
    assert_eq!(queue.stats(Select::all()).await.unwrap().total, jobs);
    queue.close().await.unwrap();
    jobs
}
