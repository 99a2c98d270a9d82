//! Several handles on one file, in this process and in others.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use poolqueue::{BackendErrorKind, JobEvent, JobStream, NewJob, PoolQueue, Rejected, Select, Status};
use poolqueue_core::EmbeddedOptions;
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};

/// More than anything here takes, and less than the backstop of a waiting claim.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it took too long")
}

async fn open(path: &Path) -> PoolQueue {
    open_with(path, options()).await
}

fn options() -> SqliteOptions {
    SqliteOptions::default().wal_grow_bytes(0)
}

async fn open_with(path: &Path, options: SqliteOptions) -> PoolQueue {
    PoolQueue::new(SqliteBackend::open_with(path, options, EmbeddedOptions::default()).unwrap())
        .await
        .unwrap()
}

async fn next(stream: &mut JobStream) -> poolqueue::ClaimedJob {
    let mut batch = soon(stream.next()).await.expect("the stream goes on").unwrap();
    assert_eq!(batch.len(), 1);
    batch.remove(0)
}

#[tokio::test]
async fn a_job_enqueued_through_one_handle_wakes_a_stream_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let (here, there) = (open(&path).await, open(&path).await);
    let mut stream = there.stream("worker").open().await.unwrap();
    for round in 0..20 {
        let id = here.enqueue(NewJob::new("kind", b"")).await.unwrap();
        let job = next(&mut stream).await;
        assert_eq!((job.id, job.attempt.0), (id, 1), "round {round}");
        there.complete(&job, b"done").await.unwrap();
        assert_eq!(here.get(id).await.unwrap().unwrap().status, Status::Completed);
    }
    // A job that is due later wakes it, too.
    let id = here.enqueue(NewJob::new("kind", b"").run_after(Duration::from_millis(30))).await.unwrap();
    assert_eq!(next(&mut stream).await.id, id);
}

#[tokio::test]
async fn what_one_handle_does_to_the_jobs_of_another_reaches_their_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let (here, there) = (open(&path).await, open(&path).await);
    let mut stream = there.stream("worker").capacity(1).open().await.unwrap();
    let ids = here.enqueue_all((0..4).map(|_| NewJob::new("kind", b""))).await.unwrap();
    // Completed elsewhere: its place is free.
    let first = next(&mut stream).await;
    here.complete(first.lease(), b"").await.unwrap();
    soon(first.cancelled()).await;
    let second = next(&mut stream).await;
    assert_eq!(second.id, ids[1]);
    let late = there.complete(&first, b"").await.unwrap_err();
    assert!(matches!(late.rejected(), Some(Rejected::AlreadyApplied { .. })), "{late}");
    // Cancelled elsewhere: the worker hears of it, and keeps its place until it answers.
    here.cancel(Select::id(second.id)).await.unwrap();
    soon(second.cancelled()).await;
    assert_eq!(stream.held(), 1);
    there.acknowledge_cancel(&second, true).await.unwrap();
    // Taken away elsewhere, and done by somebody else there.
    let third = next(&mut stream).await;
    let mut other = here.stream("other").capacity(1).open().await.unwrap();
    assert_eq!(next(&mut other).await.id, ids[3]);
    here.complete(ids[3], b"").await.unwrap();
    here.lose_worker("worker").await.unwrap();
    soon(third.cancelled()).await;
    let again = next(&mut other).await;
    assert_eq!((again.id, again.attempt.0), (third.id, 2));
    let stale = there.complete(&third, b"").await.unwrap_err();
    assert!(matches!(stale.rejected(), Some(Rejected::StaleAttempt { .. })), "{stale}");
    here.complete(&again, b"").await.unwrap();
    there.verify().await.unwrap();
}

#[tokio::test]
async fn events_say_that_something_happened_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let (here, there) = (open(&path).await, open(&path).await);
    let mut events = there.events();
    here.enqueue(NewJob::new("kind", b"")).await.unwrap();
    assert_eq!(soon(events.next()).await, Some(JobEvent::Elsewhere));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_handles_under_load_share_the_work_and_neither_is_told_that_the_file_is_busy() {
    const JOBS: usize = 400;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let (here, there) = (open(&path).await, open(&path).await);
    let work = |queue: PoolQueue, name: &'static str| async move {
        let mut stream = queue.stream(name).open().await.unwrap();
        let mut done = 0;
        while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_secs(3), stream.next()).await {
            for job in batch.unwrap() {
                queue.complete(&job, b"").await.unwrap();
                done += 1;
            }
        }
        done
    };
    let workers = [tokio::spawn(work(here.clone(), "one")), tokio::spawn(work(there.clone(), "two"))];
    let enqueue = |queue: PoolQueue| async move {
        for _ in 0..JOBS / 2 {
            queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
        }
    };
    tokio::join!(enqueue(here.clone()), enqueue(there.clone()));
    let mut done = Vec::new();
    for worker in workers {
        done.push(worker.await.unwrap());
    }
    assert_eq!(done.iter().sum::<usize>(), JOBS, "{done:?}");
    assert_eq!(here.stats(Select::all()).await.unwrap().completed, JOBS as u64);
    here.verify().await.unwrap();
}

/// A process of its own that claims jobs and says so, until it is killed.
struct Worker {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Worker {
    fn start(path: &Path, lease: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process_works", "--nocapture"])
            .env("POOLQUEUE_TEST_WORK", path)
            .env("POOLQUEUE_TEST_LEASE", lease.as_millis().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Worker { child, says }
    }

    /// What it says after `word`.
    fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.says.read_line(&mut line).unwrap(), 0, "it ended without saying {word}");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run by the tests below in a process of its own.
#[tokio::test]
async fn child_process_works() {
    let Some(path) = std::env::var_os("POOLQUEUE_TEST_WORK") else { return };
    let lease = std::env::var("POOLQUEUE_TEST_LEASE").unwrap().parse().unwrap();
    let options = options().handle_lease(Duration::from_millis(lease));
    let queue = open_with(Path::new(&path), options).await;
    let mut stream = queue.stream("child").capacity(2).open().await.unwrap();
    println!("open");
    while let Some(batch) = stream.next().await {
        for job in batch.unwrap() {
            println!("claimed {}", job.id);
            let queue = queue.clone();
            tokio::spawn(async move {
                job.cancelled().await;
                println!("lost {:?}", queue.complete(&job, b"").await.unwrap_err().rejected());
            });
        }
    }
}

#[tokio::test]
async fn the_jobs_of_a_killed_process_are_given_to_others_long_before_their_lease_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let queue = open(&path).await;
    let mut worker = Worker::start(&path, Duration::from_secs(30));
    worker.says("open");
    let ids = queue.enqueue_all((0..2).map(|_| NewJob::new("kind", b""))).await.unwrap();
    worker.says("claimed");
    worker.says("claimed");
    let mut stream = queue.stream("heir").open().await.unwrap();
    worker.child.kill().unwrap();
    worker.child.wait().unwrap();
    let mut inherited = Vec::new();
    while inherited.len() < 2 {
        inherited.extend(soon(stream.next()).await.unwrap().unwrap());
    }
    let mut found: Vec<_> = inherited.iter().map(|job| job.id).collect();
    found.sort();
    assert_eq!(found, ids);
    for job in inherited {
        assert_eq!((job.attempt.0, job.crashes), (2, 1));
        queue.complete(&job, b"").await.unwrap();
    }
    queue.verify().await.unwrap();
}

/// Nobody else is there when it dies: the next opener gives its jobs back before it answers anything.
#[tokio::test]
async fn the_next_opener_rescues_the_jobs_of_a_killed_process_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let queue = open(&path).await;
    let id = queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    queue.close().await.unwrap();
    let mut worker = Worker::start(&path, Duration::from_secs(30));
    worker.says("claimed");
    drop(worker);
    let queue = open(&path).await;
    assert_eq!(queue.get(id).await.unwrap().unwrap().status, Status::UnknownRetry);
    queue.close().await.unwrap();
    let names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["jobs.db"], "nothing is left of the dead handle");
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_hangs_loses_its_jobs_after_a_lease_and_learns_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let lease = Duration::from_secs(1);
    let queue = open_with(&path, options().handle_lease(lease)).await;
    let mut worker = Worker::start(&path, lease);
    worker.says("open");
    let id = queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    worker.says("claimed");
    worker.signal("-STOP");
    let mut stream = queue.stream("heir").open().await.unwrap();
    let job = next(&mut stream).await;
    assert_eq!((job.id, job.attempt.0), (id, 2));
    worker.signal("-CONT");
    let told = worker.says("lost");
    assert!(told.contains("StaleAttempt"), "{told}");
    queue.complete(&job, b"").await.unwrap();
    // It goes on as if nothing had been: it has its place back.
    drop(stream);
    queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    worker.says("claimed");
}

/// A process that works for longer than a lease is not taken to hang.
#[tokio::test]
async fn a_handle_that_holds_jobs_for_many_leases_keeps_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let options = options().handle_lease(Duration::from_secs(3));
    let (here, there) = (open_with(&path, options.clone()).await, open_with(&path, options).await);
    let mut stream = here.stream("slow").open().await.unwrap();
    let id = there.enqueue(NewJob::new("kind", b"")).await.unwrap();
    let job = next(&mut stream).await;
    // The time is the test: nothing is to happen in it.
    assert!(tokio::time::timeout(Duration::from_secs(7), job.cancelled()).await.is_err());
    here.complete(&job, b"").await.unwrap();
    assert_eq!(there.get(id).await.unwrap().unwrap().crashes, 0);
}

/// Somebody tidied up and removed the lock file of a handle that lives: its jobs are given away, and it goes on under a
/// lock anew.
#[tokio::test]
async fn a_handle_whose_lock_file_was_removed_loses_its_jobs_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let (here, there) = (open(&path).await, open(&path).await);
    let mut stream = here.stream("worker").capacity(1).open().await.unwrap();
    let id = there.enqueue(NewJob::new("kind", b"")).await.unwrap();
    let job = next(&mut stream).await;
    std::fs::remove_file(directory.path().join("jobs.db-poolqueue_handle-1")).unwrap();
    soon(job.cancelled()).await;
    let again = next(&mut stream).await;
    assert_eq!((again.id, again.attempt.0), (id, 2));
    here.complete(&again, b"").await.unwrap();
    assert!(directory.path().join("jobs.db-poolqueue_handle-1").exists());
}

#[tokio::test]
async fn a_handle_that_is_dropped_in_the_middle_of_its_work_leaves_its_jobs_to_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let here = open(&path).await;
    let there = open(&path).await;
    let mut stream = there.stream("worker").open().await.unwrap();
    let id = here.enqueue(NewJob::new("kind", b"")).await.unwrap();
    assert_eq!(next(&mut stream).await.id, id);
    there.close().await.unwrap();
    let closed = there.enqueue(NewJob::new("kind", b"")).await.unwrap_err();
    assert_eq!(closed.backend_kind(), Some(BackendErrorKind::Closed));
    let mut heir = here.stream("heir").open().await.unwrap();
    let job = next(&mut heir).await;
    assert_eq!((job.id, job.attempt.0, job.crashes), (id, 2, 0), "it was handed back");
}
