//! Jobs in the application's own transactions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use poolqueue::{
    BackendErrorKind, ClaimedJob, Error, EventKind, JobEvent, JobId, JobStream, Limits, NewJob, PoolQueue,
    Rejected, Select, Status,
};
use poolqueue_core::EmbeddedOptions;
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};
use rusqlite::{Connection, TransactionBehavior};

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it took too long")
}

/// A shop whose orders and jobs are in one file.
struct Shop {
    directory: tempfile::TempDir,
    backend: SqliteBackend,
    queue: PoolQueue,
    /// The application's own connection.
    conn: Connection,
}

impl Shop {
    async fn open() -> Self {
        Self::with(SqliteOptions::default(), EmbeddedOptions::default()).await
    }

    async fn with(options: SqliteOptions, embedded: EmbeddedOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        let backend = SqliteBackend::open_with(&path, options.wal_grow_bytes(0), embedded).unwrap();
        let queue = PoolQueue::new(backend.clone()).await.unwrap();
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT UNIQUE)").unwrap();
        Shop { directory, backend, queue, conn }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("shop.db")
    }

    fn begin(&mut self) -> rusqlite::Transaction<'_> {
        self.conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap()
    }

    fn orders(&self) -> i64 {
        self.conn.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
    }

    async fn jobs(&self) -> u64 {
        self.queue.stats(Select::all()).await.unwrap().total
    }
}

fn job() -> NewJob {
    NewJob::new("ship", b"tea")
}

async fn next(stream: &mut JobStream) -> ClaimedJob {
    soon(stream.next()).await.expect("the stream goes on").unwrap().remove(0)
}

#[tokio::test]
async fn rows_and_jobs_are_committed_together_and_the_stream_wakes_by_itself() {
    let mut shop = Shop::open().await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let mut stream = queue.stream("worker").open().await.unwrap();
    let txn = shop.begin();
    txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
    let ids = backend.enqueue_in(&txn, [job(), job()]).unwrap().into_ids();
    txn.commit().unwrap();
    // What is read right behind the commit shows it.
    assert_eq!(queue.stats(Select::all()).await.unwrap().total, 2);
    let batch = soon(stream.next()).await.unwrap().unwrap();
    let got: Vec<JobId> = batch.iter().map(|job| job.id).collect();
    assert_eq!((got, shop.orders()), (ids, 1));
    queue.verify().await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_or_dropped_leaves_no_job() {
    let mut shop = Shop::open().await;
    let backend = shop.backend.clone();
    for end in ["roll back", "drop", "savepoint"] {
        let mut txn = shop.begin();
        match end {
            "roll back" => {
                txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
                let _ = backend.enqueue_in(&txn, [job()]).unwrap();
                txn.rollback().unwrap();
            }
            "drop" => {
                txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
                let _ = backend.enqueue_in(&txn, [job()]).unwrap();
                drop(txn);
            }
            _ => {
                let savepoint = txn.savepoint().unwrap();
                // A transaction in the eyes of the queue, too: it is on the same connection.
                savepoint.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
                drop(savepoint);
                txn.commit().unwrap();
            }
        }
        assert_eq!((shop.orders(), shop.jobs().await), (0, 0), "{end}");
    }
    // The queue and the application go on.
    shop.queue.enqueue(job()).await.unwrap();
    let txn = shop.begin();
    backend.enqueue_in(&txn, [job()]).unwrap().wake();
    txn.commit().unwrap();
    assert_eq!(shop.jobs().await, 2);
    shop.queue.verify().await.unwrap();
}

#[tokio::test]
async fn events_tell_of_each_step_once() {
    let mut shop = Shop::open().await;
    let backend = shop.backend.clone();
    let mut events = shop.queue.events();
    let txn = shop.begin();
    let staged = backend.enqueue_in(&txn, [job(), job()]).unwrap();
    let rolled_back = {
        // Not to be heard of.
        let mut other = Shop::open().await;
        let backend = other.backend.clone();
        let txn = other.begin();
        let ids = backend.enqueue_in(&txn, [job()]).unwrap().into_ids();
        drop(txn);
        ids
    };
    txn.commit().unwrap();
    staged.wake();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match soon(events.next()).await.unwrap() {
            JobEvent::Enqueued { id, .. } => heard.push(id),
            JobEvent::Elsewhere => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, staged.ids());
    assert!(!heard.contains(&rolled_back[0]));
    let last = shop.queue.enqueue(job()).await.unwrap();
    loop {
        match soon(events.next()).await.unwrap() {
            JobEvent::Elsewhere => {}
            JobEvent::Enqueued { id, .. } => break assert_eq!(id, last, "one was told twice"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_job_is_completed_with_the_rows_it_wrote_and_its_place_is_free() {
    let mut shop = Shop::open().await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let mut stream = queue.stream("worker").capacity(1).open().await.unwrap();
    let ids = queue.enqueue_all([job(), job()]).await.unwrap();
    let first = next(&mut stream).await;
    let mut events = queue.events();
    // Rolled back: it is as if it had not been done.
    let txn = shop.begin();
    txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
    let _ = backend.complete_in(&txn, first.lease(), "done").unwrap();
    txn.rollback().unwrap();
    assert_eq!(queue.get(ids[0]).await.unwrap().unwrap().status, Status::Running);
    assert_eq!((stream.held(), shop.orders()), (1, 0));
    // Committed.
    let txn = shop.begin();
    txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
    let staged = backend.complete_in(&txn, first.lease(), "done").unwrap();
    assert_eq!(staged.ids(), [ids[0]]);
    txn.commit().unwrap();
    let second = next(&mut stream).await;
    assert_eq!((second.id, shop.orders()), (ids[1], 1));
    let done = queue.get(ids[0]).await.unwrap().unwrap();
    assert_eq!((done.status, done.output.as_deref()), (Status::Completed, Some(&b"done"[..])));
    let mut steps = Vec::new();
    while steps.len() < 2 {
        if let JobEvent::Changed { id, event, .. } = soon(events.next()).await.unwrap() {
            steps.push((id, event));
        }
    }
    assert_eq!(steps, [(ids[0], EventKind::Complete), (ids[1], EventKind::Claim)]);
    assert!(first.is_cancelled(), "there is no point in going on");
    queue.verify().await.unwrap();
}

#[tokio::test]
async fn a_stale_lease_rolls_nothing_in() {
    let mut shop = Shop::open().await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let mut stream = queue.stream("worker").capacity(1).open().await.unwrap();
    let id = queue.enqueue(job()).await.unwrap();
    let zombie = next(&mut stream).await;
    queue.lose_worker("worker").await.unwrap();
    let mut stream = queue.stream("heir").open().await.unwrap();
    let job = next(&mut stream).await;
    let txn = shop.begin();
    txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
    let error = backend.complete_in(&txn, zombie.lease(), "late").unwrap_err();
    assert!(matches!(error.rejected(), Some(Rejected::StaleAttempt { .. })), "{error}");
    // The application may commit what is its own.
    txn.commit().unwrap();
    assert_eq!(shop.orders(), 1);
    assert_eq!(queue.get(id).await.unwrap().unwrap().status, Status::Running);
    queue.complete(&job, b"done").await.unwrap();
    queue.verify().await.unwrap();
}

/// Each of these is refused whole, and the transaction is as it was before.
#[tokio::test]
async fn what_cannot_be_enqueued_leaves_the_transaction_usable() {
    let mut limits = Limits::default();
    limits.batch_jobs = 3;
    limits.payload_bytes = 10;
    let mut shop = Shop::with(SqliteOptions::default(), EmbeddedOptions::default().limits(limits)).await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let id = JobId::from_bytes([7; 16]);
    queue.enqueue(job().id(id).unique("key")).await.unwrap();
    type Refusal = (Vec<NewJob>, fn(&Error) -> bool);
    let refusals: [Refusal; 5] = [
        (vec![job(), job().id(id)], |error| matches!(error, Error::Rejected(Rejected::Duplicate { .. }))),
        (vec![job(), job().unique("key")], |error| {
            matches!(error, Error::Rejected(Rejected::Duplicate { .. }))
        }),
        (vec![job(), NewJob::new("", b"")], |error| matches!(error, Error::Invalid(_))),
        (vec![NewJob::new("kind", [0; 11])], |error| matches!(error, Error::TooLarge(_))),
        (vec![job(), job(), job(), job()], |error| matches!(error, Error::TooLarge(_))),
    ];
    let txn = shop.begin();
    txn.execute("INSERT INTO orders (item) VALUES ('tea')", []).unwrap();
    for (jobs, expected) in refusals {
        let error = backend.enqueue_in(&txn, jobs).unwrap_err();
        assert!(expected(&error), "{error:?}");
    }
    let staged = backend.enqueue_in(&txn, []).unwrap();
    assert!(staged.ids().is_empty());
    let _ = backend.enqueue_in(&txn, [job()]).unwrap();
    txn.commit().unwrap();
    assert_eq!((shop.orders(), shop.jobs().await), (1, 2));
    queue.verify().await.unwrap();
}

#[tokio::test]
async fn a_transaction_on_another_file_is_refused() {
    let shop = Shop::open().await;
    let mut other = Shop::open().await;
    let txn = other.begin();
    let error = shop.backend.enqueue_in(&txn, [job()]).unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Invalid), "{error}");
    assert!(error.to_string().contains("shop.db"), "{error}");
    drop(txn);
    let mut nowhere = Connection::open_in_memory().unwrap();
    let txn = nowhere.transaction().unwrap();
    let error = shop.backend.enqueue_in(&txn, [job()]).unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Invalid), "{error}");
}

/// A deferred transaction that has read sees an old moment, and SQLite lets it write no more.
#[tokio::test]
async fn a_transaction_that_has_read_too_early_is_told_busy_and_what_to_do() {
    let mut shop = Shop::open().await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let txn = shop.conn.transaction().unwrap();
    txn.query_row("SELECT count(*) FROM orders", [], |_| Ok(())).unwrap();
    queue.enqueue(job()).await.unwrap();
    let error = backend.enqueue_in(&txn, [job()]).unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}");
    assert!(error.to_string().contains("Immediate"), "{error}");
    drop(txn);
    let txn = shop.begin();
    let _ = backend.enqueue_in(&txn, [job()]).unwrap();
    txn.commit().unwrap();
    assert_eq!(shop.jobs().await, 2);
}

/// Whoever holds a transaction open keeps all other writers out: they are told in time, and nothing is lost.
#[tokio::test]
async fn others_are_told_busy_while_a_transaction_is_held_open() {
    let options = SqliteOptions::default().busy_timeout(Duration::from_millis(100));
    let mut shop = Shop::with(options, EmbeddedOptions::default()).await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let mut stream = queue.stream("worker").open().await.unwrap();
    let txn = shop.begin();
    let staged = backend.enqueue_in(&txn, [job()]).unwrap();
    for _ in 0..3 {
        let error = soon(queue.enqueue(job())).await.unwrap_err();
        assert_eq!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}");
        assert!(error.is_retryable());
    }
    // Readers do not wait.
    assert_eq!(soon(queue.stats(Select::all())).await.unwrap().total, 0);
    txn.commit().unwrap();
    let job = next(&mut stream).await;
    assert_eq!(job.id, staged.ids()[0]);
    queue.complete(&job, b"").await.unwrap();
    assert_eq!(shop.jobs().await, 1);
    queue.verify().await.unwrap();
}

#[tokio::test]
async fn a_closed_queue_takes_nothing_into_a_transaction() {
    let mut shop = Shop::open().await;
    let backend = shop.backend.clone();
    let txn = shop.begin();
    let _ = backend.enqueue_in(&txn, [job()]).unwrap();
    txn.commit().unwrap();
    shop.queue.close().await.unwrap();
    let txn = shop.begin();
    let error = backend.enqueue_in(&txn, [job()]).unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Closed), "{error}");
    assert_eq!(backend.connect().unwrap_err().kind(), BackendErrorKind::Closed);
    drop(txn);
    // The job that was committed before is there.
    let queue = PoolQueue::new(SqliteBackend::open(shop.path()).unwrap()).await.unwrap();
    let mut stream = queue.stream("worker").open().await.unwrap();
    queue.complete(&next(&mut stream).await, b"").await.unwrap();
    queue.verify().await.unwrap();
}

/// The queue writes as fast as it can, and the application's transactions get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_gets_its_turn_under_load() {
    let mut shop = Shop::open().await;
    let (backend, queue) = (shop.backend.clone(), shop.queue.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (queue, stop) = (queue.clone(), stop.clone());
            tokio::spawn(async move {
                let mut enqueued = 0;
                while !stop.load(Ordering::Relaxed) {
                    queue.enqueue(job()).await.unwrap();
                    enqueued += 1;
                }
                enqueued
            })
        })
        .collect();
    let shop = tokio::task::spawn_blocking(move || {
        for n in 0..50 {
            let txn = shop.begin();
            txn.execute("INSERT INTO orders (item) VALUES (?1)", [n.to_string()]).unwrap();
            let _ = backend.enqueue_in(&txn, [job()]).unwrap();
            txn.commit().unwrap();
        }
        shop
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut enqueued = 0;
    for task in load {
        enqueued += task.await.unwrap();
    }
    assert_eq!((shop.orders(), shop.jobs().await), (50, enqueued + 50));
    queue.verify().await.unwrap();
}

#[tokio::test]
async fn two_queues_with_different_prefixes_share_a_file() {
    let mut shop = Shop::open().await;
    let options =
        SqliteOptions::default().table_prefix("mail_").share_with_application(true).wal_grow_bytes(0);
    let mail = SqliteBackend::open_with(shop.path(), options, EmbeddedOptions::default()).unwrap();
    let mail_queue = PoolQueue::new(mail.clone()).await.unwrap();
    let backend = shop.backend.clone();
    let txn = shop.begin();
    let _ = backend.enqueue_in(&txn, [job()]).unwrap();
    let _ = mail.enqueue_in(&txn, [job(), job()]).unwrap();
    txn.commit().unwrap();
    assert_eq!((shop.jobs().await, mail_queue.stats(Select::all()).await.unwrap().total), (1, 2));
    mail_queue.verify().await.unwrap();
    shop.queue.verify().await.unwrap();
}
