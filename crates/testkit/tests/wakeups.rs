//! R11: no wake-up is lost between the look for jobs and the wait for them. Single jobs are enqueued at random moments into
//! a stream that waits, or is about to; one whose wake-up was lost comes by the backstop of 30 s.

mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use poolqueue::backend::{Backend, BoxFuture, Claim, EmbeddedOptions};
use poolqueue::{Job, NewJob, PoolQueue};
use poolqueue_testkit::proof::{self, Proof};
use poolqueue_testkit::{Fixture, MemoryFixture};
use tokio::sync::watch;

/// Wake-ups in a debug build.
const FEW: u64 = 1_000;
/// A lost wake-up shows after the backstop of 30 s; nothing else takes so long.
const LOST: Duration = Duration::from_secs(20);
/// What takes longer is counted. On a busy machine it is no fault: the threads that wake each other wait for a processor.
const SLOW: Duration = Duration::from_millis(50);
/// How long the planted fault keeps a claim back, and how long it is waited for.
const KEPT_BACK: Duration = Duration::from_secs(3);
const LOST_IF_PLANTED: Duration = Duration::from_secs(1);
/// Wake-ups among which the planted one is.
const WITH_PLANT: u64 = 50;

/// How the stream was woken.
#[derive(Debug, Default)]
struct Woken {
    tried: u64,
    lost: u64,
    slow: u64,
    slowest: Duration,
}

/// Enqueues single jobs, each when the one before it is done, and sees how long after the call each was handed out.
async fn wake(queue: PoolQueue, tries: u64, seed: u64, lost: Duration) -> Woken {
    let mut jobs = queue.stream("worker").capacity(2).open().await.unwrap();
    let done = watch::Sender::new((0, Instant::now()));
    let mut seen = done.subscribe();
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move {
            for nth in 1..=tries {
                let Some(batch) = jobs.next().await else { return };
                let came = Instant::now();
                for job in batch.unwrap() {
                    queue.complete(&job, b"").await.unwrap();
                }
                done.send_replace((nth, came));
            }
        }
    });
    let mut random = fastrand::Rng::with_seed(seed);
    let mut woken = Woken::default();
    let mut told = Instant::now();
    for nth in 1..=tries {
        let asked = Instant::now();
        queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
        woken.tried += 1;
        // A wake-up can be lost only for the one that is on its way.
        let Ok(Ok(came)) = tokio::time::timeout(lost, seen.wait_for(|(done, _)| *done >= nth)).await else {
            woken.lost += 1;
            break;
        };
        let took = came.1.saturating_duration_since(asked);
        drop(came);
        woken.slow += u64::from(took > SLOW);
        woken.slowest = woken.slowest.max(took);
        if random.bool() {
            tokio::time::sleep(Duration::from_micros(random.u64(..2_000))).await;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("wake-ups: {nth} of {tries}, {woken:?}");
        }
    }
    if woken.lost == 0 {
        worker.await.unwrap();
    }
    queue.close().await.unwrap();
    woken
}

/// A backend that lets one claim be asked for too late, as a stream would that missed its notification.
#[derive(Debug)]
struct Deaf {
    inner: Arc<dyn Backend>,
    claims: AtomicU64,
}

impl Backend for Deaf {
    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>> {
        Box::pin(async move {
            if self.claims.fetch_add(1, Ordering::Relaxed) == WITH_PLANT / 2 {
                tokio::time::sleep(KEPT_BACK).await;
            }
            self.inner.claim(claims).await
        })
    }

    poolqueue_testkit::pass_on!(commit get select history the_rest);
}

async fn no_wake_up_is_lost<F: Fixture>(name: &str, store: &str) {
    let (tries, seed) = (proof::figure(name, FEW), proof::seed());
    let fixture = F::new();
    let queue = PoolQueue::new(fixture.open(EmbeddedOptions::default()).await).await.unwrap();
    let woken = wake(queue, tries, seed, LOST).await;
    let Woken { tried, lost: failed, slow, slowest } = woken;
    let what = format!("wake-ups, {store}, {slow} over 50 ms, the slowest {slowest:.0?}").leak();

    let fixture = F::new();
    let inner = fixture.open(EmbeddedOptions::default()).await;
    let deaf = PoolQueue::new(Deaf { inner, claims: AtomicU64::new(0) }).await.unwrap();
    let caught = wake(deaf, WITH_PLANT, seed, LOST_IF_PLANTED).await.lost;
    Proof { row: "R11", what, tried, failed, seed, planted: 1, caught }.print();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_memory() {
    no_wake_up_is_lost::<MemoryFixture>("R11_MEMORY", "memory").await;
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_redb() {
    no_wake_up_is_lost::<stores::RedbFixture>("R11_REDB", "redb").await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_sqlite() {
    no_wake_up_is_lost::<stores::SqliteFixture>("R11_SQLITE", "SQLite").await;
}
