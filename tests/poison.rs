//! A job that kills its process, beside jobs that do not.
#![cfg(any(feature = "redb", feature = "sqlite"))]

use std::path::Path;
use std::process::Command;

use poolqueue::{FailureKind, NewJob, PoolQueue, Query, Select, Status};

/// Jobs that are done at once, if they are let.
const INNOCENT: usize = 31;

fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

/// Run by the tests below in a process of its own: works until nothing is left, or it is killed.
#[tokio::test]
async fn child_process_does_what_the_jobs_say() {
    let Some(url) = std::env::var_os("POOLQUEUE_TEST_POISON") else { return };
    let queue = PoolQueue::open(url).await.unwrap();
    let mut jobs = queue.stream("worker").capacity(32).open().await.unwrap();
    loop {
        let stats = queue.stats(Select::all()).await.unwrap();
        if stats.completed + stats.dead == stats.total {
            return;
        }
        // All that it is given is begun before anything of it is done.
        for job in jobs.next().await.unwrap().unwrap() {
            if job.kind == "killer" {
                std::process::abort();
            }
            queue.complete(&job, b"").await.unwrap();
        }
    }
}

/// Starts the child again whenever it has died. How often it died.
fn run_until_it_lives(url: &str) -> usize {
    for deaths in 0.. {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process_does_what_the_jobs_say"])
            .env("POOLQUEUE_TEST_POISON", url)
            .output()
            .unwrap();
        if ended.status.success() {
            return deaths;
        }
        assert!(deaths < 20, "it goes on dying: {}", String::from_utf8_lossy(&ended.stderr));
    }
    unreachable!()
}

async fn a_killer_dies_alone(scheme: &str) {
    let dir = tempfile::tempdir().unwrap();
    let url = url(scheme, &dir.path().join("jobs"));
    let queue = PoolQueue::open(&url).await.unwrap();
    // The killer is among them: whoever is claimed with it is held when it strikes.
    let kinds = (0..=INNOCENT).map(|n| if n == 7 { "killer" } else { "innocent" });
    queue.enqueue_all(kinds.map(|kind| NewJob::new(kind, b""))).await.unwrap();
    queue.close().await.unwrap();
    let deaths = run_until_it_lives(&url);
    let queue = PoolQueue::open(&url).await.unwrap();
    let jobs = queue.list(Query::new(Select::all()).limit(100)).await.unwrap().jobs;
    assert_eq!(jobs.len(), INNOCENT + 1);
    for job in jobs {
        if job.kind == "killer" {
            assert_eq!((job.status, job.crashes, job.attempt.0), (Status::Dead, 3, 3));
            assert_eq!(job.last_error.unwrap().kind, Some(FailureKind::Crashed));
        } else {
            assert_eq!(job.status, Status::Completed, "{job:?}");
        }
    }
    assert_eq!(deaths, 3, "as often as its limit says, and no more");
    queue.verify().await.unwrap();
    queue.close().await.unwrap();
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_job_that_kills_its_process_ends_dead_and_takes_none_along_redb() {
    a_killer_dies_alone("redb").await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_job_that_kills_its_process_ends_dead_and_takes_none_along_sqlite() {
    a_killer_dies_alone("sqlite").await;
}
