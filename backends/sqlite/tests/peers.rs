//! What several handles of one file must not do to each other, whatever happens around them.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use poolqueue::{BackendErrorKind, ClaimedJob, JobEvent, JobStream, NewJob, PoolQueue, Select, Status};
use poolqueue_core::{
    AssigneeId, Attention, Backend, Batch, Claim, ClaimFilter, Committed, Elsewhere, EmbeddedOptions,
    Observer, Slots, Store, Verdict,
};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions, SqliteStore};
use rusqlite::{Connection, TransactionBehavior};
use support::{claim, id, insert, options};

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it took too long")
}

async fn open_with(path: &Path, options: SqliteOptions) -> PoolQueue {
    PoolQueue::new(SqliteBackend::open_with(path, options, EmbeddedOptions::default()).unwrap())
        .await
        .unwrap()
}

async fn open(path: &Path) -> PoolQueue {
    open_with(path, options()).await
}

async fn next(stream: &mut JobStream) -> ClaimedJob {
    let mut batch = soon(stream.next()).await.expect("the stream goes on").unwrap();
    assert_eq!(batch.len(), 1);
    batch.remove(0)
}

fn attention() -> Attention {
    Attention::default()
}

/// What the handle learns in a transaction of its own.
fn learn(store: &mut SqliteStore) -> Elsewhere {
    let mut found = None;
    store
        .transact(&mut |txn| {
            found = Some(txn.elsewhere()?);
            Ok(Verdict::Commit)
        })
        .unwrap();
    found.unwrap()
}

/// Enqueues a job, if there is none of that number yet, and claims it.
fn hold(store: &mut SqliteStore, number: u64) {
    store
        .transact(&mut |txn| {
            let _ = txn.elsewhere()?;
            if txn.load(id(number))?.is_none() {
                insert(txn, support::job(number), 1)?;
            }
            support::apply(txn, id(number), &claim(), 2)?;
            Ok(Verdict::Commit)
        })
        .unwrap();
}

fn lock_file(path: &Path, number: u32) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("-poolqueue_handle-{number}"));
    name.into()
}

/// A handle that never sleeps for a whole nap sees all the same that another one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_handle_gives_back_the_jobs_of_a_dead_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let queue = open(&path).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (queue, stop) = (queue.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    queue.enqueue(NewJob::new("other", b"")).await.unwrap();
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let dead = path.clone();
    tokio::task::spawn_blocking(move || {
        let mut store = SqliteStore::open(&dead, options()).unwrap();
        hold(&mut store, 1);
        // Closed with a job in its hands: all that is left of it is its row.
    })
    .await
    .unwrap();
    let since = Instant::now();
    while queue.get(id(1)).await.unwrap().unwrap().status == Status::Running {
        assert!(since.elapsed() < PATIENCE, "nobody looks who is gone while there is work");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
}

/// While a transaction of the application's keeps everyone out, nobody can beat: that is no sign of death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_is_kept_from_writing_is_not_taken_to_hang() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    for busy in [100, 700, 5_000] {
        let options =
            options().handle_lease(Duration::from_secs(1)).busy_timeout(Duration::from_millis(busy));
        let (here, there) = (open_with(&path, options.clone()).await, open_with(&path, options).await);
        let mut stream = here.stream("holder").capacity(1).open().await.unwrap();
        let id = there.enqueue(NewJob::new("kind", b"")).await.unwrap();
        let job = next(&mut stream).await;
        for round in 0..3 {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                let mut conn = Connection::open(&path).unwrap();
                conn.busy_timeout(Duration::from_secs(5)).unwrap();
                let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                std::thread::sleep(Duration::from_millis(1_300));
                txn.commit().unwrap();
            })
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert!(!job.is_cancelled(), "busy_timeout {busy}, round {round}");
        }
        here.complete(&job, b"").await.unwrap();
        let job = there.get(id).await.unwrap().unwrap();
        assert_eq!((job.attempt.0, job.crashes), (1, 0));
        drop(stream);
        here.close().await.unwrap();
        there.close().await.unwrap();
    }
}

/// Each beats as its own lease asks, and is judged by it.
#[tokio::test]
async fn handles_with_different_leases_leave_each_other_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let slow = open_with(&path, options().handle_lease(Duration::from_secs(30))).await;
    let quick = open_with(&path, options().handle_lease(Duration::from_secs(1))).await;
    let mut stream = slow.stream("holder").capacity(1).open().await.unwrap();
    quick.enqueue(NewJob::new("kind", b"")).await.unwrap();
    let job = next(&mut stream).await;
    let lost = tokio::time::timeout(Duration::from_millis(3_500), job.cancelled()).await;
    assert!(lost.is_err(), "it was taken away from a handle that lives");
    slow.complete(&job, b"").await.unwrap();
}

/// A copy of the directory was put back, say: the file has its name, and the lock is on another one.
#[tokio::test]
async fn a_handle_whose_lock_file_was_replaced_loses_its_jobs_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let (here, there) = (open(&path).await, open(&path).await);
    let mut stream = here.stream("worker").capacity(1).open().await.unwrap();
    there.enqueue(NewJob::new("kind", b"").crash_limit(100)).await.unwrap();
    let job = next(&mut stream).await;
    std::fs::remove_file(lock_file(&path, 1)).unwrap();
    std::fs::write(lock_file(&path, 1), b"").unwrap();
    soon(job.cancelled()).await;
    let again = next(&mut stream).await;
    let lost = tokio::time::timeout(Duration::from_millis(1_500), again.cancelled()).await;
    assert!(lost.is_err(), "it was taken away again: attempt {}", again.attempt);
    here.complete(&again, b"").await.unwrap();
}

/// Two handles find a third one gone; before the second of them can write, that one is back and has claimed again.
#[test]
fn who_is_back_before_it_is_written_off_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut lives = SqliteStore::open(&path, options()).unwrap();
    let mut first = SqliteStore::open(&path, options()).unwrap();
    let mut second = SqliteStore::open(&path, options()).unwrap();
    hold(&mut lives, 1);
    std::fs::remove_file(lock_file(&path, 1)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(first.stirred(attention()) && second.stirred(attention()));
    assert_eq!(learn(&mut first).orphaned.len(), 1);
    assert!(learn(&mut lives).forgotten);
    hold(&mut lives, 2);
    let found = learn(&mut second);
    assert!(found.orphaned.is_empty(), "{found:?}");
    assert!(lock_file(&path, 1).exists());
    assert!(!learn(&mut lives).forgotten);
}

/// The application's connection waits as long as it is said to, whatever queues the thread has opened.
#[test]
fn the_time_out_of_one_store_is_not_that_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let patient = SqliteBackend::open_with(&path, options(), EmbeddedOptions::default()).unwrap();
    let mut conn = patient.connect().unwrap();
    let hasty = options().busy_timeout(Duration::ZERO);
    let _hasty = SqliteStore::open(directory.path().join("other.db"), hasty).unwrap();
    let mut blocker = Connection::open(&path).unwrap();
    let (began, begun) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let txn = blocker.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        began.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(txn);
    });
    begun.recv().unwrap();
    conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap().commit().unwrap();
    holder.join().unwrap();
}

/// SQLite names files by bytes; not all of them are text.
#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_name_is_no_text_is_told_from_others() {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| directory.path().join(std::ffi::OsStr::from_bytes(name));
    let one = SqliteBackend::open_with(path(b"a\xff.db"), options(), EmbeddedOptions::default()).unwrap();
    let other = SqliteBackend::open_with(path(b"b\xfe.db"), options(), EmbeddedOptions::default()).unwrap();
    let mut conn = one.connect().unwrap();
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    assert_eq!(one.enqueue_in(&txn, [NewJob::new("kind", b"")]).unwrap().ids().len(), 1);
    let error = other.enqueue_in(&txn, [NewJob::new("kind", b"")]).unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Invalid), "{error}");
    txn.commit().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_name_is_no_text_is_not_taken_for_another() {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| directory.path().join(std::ffi::OsStr::from_bytes(name));
    let one = SqliteBackend::open_with(path(b"a\xff.db"), options(), EmbeddedOptions::default()).unwrap();
    let _other = SqliteBackend::open_with(path(b"b\xfe.db"), options(), EmbeddedOptions::default()).unwrap();
    let mut conn = Connection::open(path(b"b\xfe.db")).unwrap();
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let error = one.enqueue_in(&txn, [NewJob::new("kind", b"")]).unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Invalid), "{error}");
}

/// Keeps the writer where it is while it is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    at_it: AtomicBool,
}

impl Observer for Gate {
    fn committed(&self, _: Committed<'_>) {
        let mut shut = self.shut.lock().unwrap();
        while *shut {
            self.at_it.store(true, Ordering::SeqCst);
            shut = self.opened.wait(shut).unwrap();
        }
    }
}

/// One job that another handle has cancelled and a transaction of the application's completed frees one place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_given_back_once_however_many_tell_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let here = SqliteBackend::open_with(&path, options(), EmbeddedOptions::default()).unwrap();
    let there = open(&path).await;
    let slots = Slots::new(1);
    let ask = || Claim {
        assignee: AssigneeId::new("worker").unwrap(),
        filter: ClaimFilter::default(),
        slots: Arc::clone(&slots),
        wait: true,
    };
    there.enqueue_all((0..4).map(|_| NewJob::new("kind", b""))).await.unwrap();
    let held = here.claim(vec![ask()]).await.unwrap().concat();
    assert_eq!(held.len(), 1);
    let gate = Arc::new(Gate::default());
    here.observe(gate.clone());
    *gate.shut.lock().unwrap() = true;
    let stuck = tokio::spawn({
        let here = here.clone();
        async move { here.commit(Batch { inserts: vec![support_insert(77)], ..Batch::default() }).await }
    });
    while !gate.at_it.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    there.cancel(Select::id(held[0].id)).await.unwrap();
    let mut conn = here.connect().unwrap();
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let _ = here.complete_in(&txn, held[0].lease(), "done").unwrap();
    txn.commit().unwrap();
    let claimed = tokio::spawn({
        let (here, claim) = (here.clone(), ask());
        async move { here.claim(vec![claim]).await.unwrap().concat() }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    *gate.shut.lock().unwrap() = false;
    gate.opened.notify_all();
    stuck.await.unwrap().unwrap();
    let claimed = soon(claimed).await.unwrap();
    assert_eq!((claimed.len(), slots.held_count()), (1, 1), "there is one place");
}

fn support_insert(number: u64) -> poolqueue_core::Insert {
    NewJob::new("other", b"")
        .queue("other")
        .id(id(number))
        .into_insert(&poolqueue_core::Limits::default(), || id(number))
        .unwrap()
}

fn count(path: &Path, table: &str) -> i64 {
    let conn = Connection::open(path).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM poolqueue_{table}"), [], |row| row.get(0)).unwrap()
}

/// What was noted for a handle does not outlive it for ever.
#[tokio::test]
async fn nothing_is_left_of_what_was_noted_for_a_handle_that_has_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    for _ in 0..10 {
        let here = SqliteBackend::open_with(&path, options(), EmbeddedOptions::default()).unwrap();
        here.commit(Batch::default()).await.unwrap();
        let mut conn = here.connect().unwrap();
        let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let _ = here.enqueue_in(&txn, [NewJob::new("kind", b"")]).unwrap();
        txn.commit().unwrap();
        here.close().await.unwrap();
    }
    let _queue = open(&path).await;
    assert_eq!((count(&path, "applied"), count(&path, "touched")), (0, 0));
}

/// One damaged job of a dead handle does not keep everyone else from working.
#[tokio::test]
async fn a_damaged_job_of_a_dead_handle_does_not_stop_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut store = SqliteStore::open(&path, options()).unwrap();
    hold(&mut store, 1);
    hold(&mut store, 2);
    drop(store);
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE poolqueue_jobs SET attempt = 1 << 40 WHERE sequence = 1", []).unwrap();
    drop(conn);
    let queue = open(&path).await;
    queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    assert_eq!(queue.get(id(2)).await.unwrap().unwrap().status, Status::UnknownRetry);
}

/// A handle that is alone hears of nobody else, whatever it does itself.
#[tokio::test]
async fn a_handle_alone_hears_of_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let queue = open_with(&path, SqliteOptions::default().wal_autocheckpoint(5).cache_bytes(1)).await;
    let mut stream = queue.stream("worker").kinds(["none"]).open().await.unwrap();
    let mut events = queue.events();
    for n in 0..100_u64 {
        queue.enqueue(NewJob::new("kind", vec![7; 20_000]).id(id(n))).await.unwrap();
        // Rejected, and so rolled back.
        queue.enqueue(NewJob::new("kind", b"").id(id(n))).await.unwrap_err();
        assert!(matches!(events.next().await, Some(JobEvent::Enqueued { .. })));
    }
    assert!(tokio::time::timeout(Duration::from_millis(700), stream.next()).await.is_err());
    assert!(tokio::time::timeout(Duration::from_millis(1), events.next()).await.is_err());
}

/// A number under which somebody holds a lock is not given to anybody else.
#[tokio::test]
async fn a_lock_that_somebody_holds_does_not_keep_others_from_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let queue = open(&path).await;
    let file = std::fs::File::create(lock_file(&path, 2)).unwrap();
    file.lock().unwrap();
    let other = open(&path).await;
    other.enqueue(NewJob::new("kind", b"")).await.unwrap();
    queue.verify().await.unwrap();
}

/// Done, deleted, enqueued again under its id and claimed by another handle before this one looked: the place is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_another_one_by_now_does_not_keep_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let here = SqliteBackend::open_with(&path, options(), EmbeddedOptions::default()).unwrap();
    let there = open(&path).await;
    let slots = Slots::new(1);
    let claim = Claim {
        assignee: AssigneeId::new("worker").unwrap(),
        filter: ClaimFilter::default(),
        slots: Arc::clone(&slots),
        wait: true,
    };
    there.enqueue(NewJob::new("kind", b"").id(id(1))).await.unwrap();
    assert_eq!(here.claim(vec![claim]).await.unwrap().concat().len(), 1);
    let gate = Arc::new(Gate::default());
    here.observe(gate.clone());
    *gate.shut.lock().unwrap() = true;
    let stuck = tokio::spawn({
        let here = here.clone();
        async move { here.commit(Batch { inserts: vec![support_insert(77)], ..Batch::default() }).await }
    });
    while !gate.at_it.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    there.complete(id(1), b"").await.unwrap();
    there.delete(Select::id(id(1))).await.unwrap();
    there.enqueue(NewJob::new("kind", b"").id(id(1))).await.unwrap();
    let mut stream = there.stream("other").open().await.unwrap();
    let again = next(&mut stream).await;
    assert_eq!((again.id, again.attempt.0), (id(1), 1));
    *gate.shut.lock().unwrap() = false;
    gate.opened.notify_all();
    stuck.await.unwrap().unwrap();
    here.commit(Batch::default()).await.unwrap();
    assert_eq!(slots.held_count(), 0);
    there.complete(&again, b"").await.unwrap();
}
