//! No wake-up is lost between the look for jobs and the wait for them. `POOLQUEUE_WAKEUPS` says how many are tried on each
//! store, `POOLQUEUE_SEED` where the random gaps start.

use std::time::Duration;

use poolqueue::{NewJob, PoolQueue};
use tokio::sync::watch;

/// A lost wake-up shows after the backstop of 30 s; nothing else takes so long.
const LOST: Duration = Duration::from_secs(20);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Enqueues single jobs at random moments into a stream that waits, or is about to.
async fn none_is_lost(url: &str) {
    let (tries, seed) = (number("POOLQUEUE_WAKEUPS", 1_000), number("POOLQUEUE_SEED", 1));
    let queue = PoolQueue::open(url).await.unwrap();
    let mut jobs = queue.stream("worker").capacity(2).open().await.unwrap();
    let done = watch::Sender::new(0);
    let mut seen = done.subscribe();
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move {
            for nth in 0..tries {
                let batch = tokio::time::timeout(LOST, jobs.next()).await;
                let batch = batch.unwrap_or_else(|_| panic!("the wake-up for job {nth} was lost"));
                for job in batch.unwrap().unwrap() {
                    queue.complete(&job, b"").await.unwrap();
                }
                done.send_replace(nth + 1);
            }
        }
    });
    let mut random = fastrand::Rng::with_seed(seed);
    for nth in 0..tries {
        queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
        // Each waits for the one before: a wake-up can be lost only for the one that is on its way. An error says that the
        // worker has given up, and it says why.
        if seen.wait_for(|done| *done > nth).await.is_err() {
            break;
        }
        if random.bool() {
            tokio::time::sleep(Duration::from_micros(random.u64(..2_000))).await;
        }
    }
    worker.await.unwrap();
    println!("wake-ups {url}: tried {tries}, failed 0, seed {seed}");
    queue.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_memory() {
    none_is_lost("memory:").await;
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_redb() {
    let dir = tempfile::tempdir().unwrap();
    none_is_lost(&format!("redb:{}", dir.path().join("jobs").display())).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    none_is_lost(&format!("sqlite:{}", dir.path().join("jobs").display())).await;
}
