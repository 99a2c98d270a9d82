//! The process that works, and what there is that can go wrong with it.

use std::process::exit;
use std::time::Duration;

use poolqueue::{ClaimedJob, Error, Failure, FailureKind, PoolQueue, Select};

/// How long a job may be silent.
pub const LEASE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const SWEEP: Duration = Duration::from_millis(250);
/// How often a process looks whether all is over.
const LOOK: Duration = Duration::from_millis(100);

/// What a job does to whoever works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Its task panics.
    Panic,
    /// What its task leaves behind panics when it is dropped.
    PanicInDrop,
    /// The same while it is panicking, which ends the process.
    PanicWhilePanicking,
    Abort,
    StackOverflow,
    Exit,
    /// It computes for ever.
    Loop,
    /// It blocks its thread for longer than anybody waits.
    Sleep,
}

impl Poison {
    pub const ALL: [Poison; 8] = [
        Poison::Panic,
        Poison::PanicInDrop,
        Poison::PanicWhilePanicking,
        Poison::Abort,
        Poison::StackOverflow,
        Poison::Exit,
        Poison::Loop,
        Poison::Sleep,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Poison::Panic => "panic",
            Poison::PanicInDrop => "panic-in-drop",
            Poison::PanicWhilePanicking => "panic-while-panicking",
            Poison::Abort => "abort",
            Poison::StackOverflow => "stack-overflow",
            Poison::Exit => "exit",
            Poison::Loop => "loop",
            Poison::Sleep => "sleep",
        }
    }

    fn of(job: &ClaimedJob) -> Option<Poison> {
        Poison::ALL.into_iter().find(|poison| job.kind.as_str() == poison.name())
    }

    /// Whether its task comes to an end, or its process does.
    fn ends(self) -> bool {
        !matches!(self, Poison::Loop | Poison::Sleep)
    }

    fn strike(self) {
        match self {
            Poison::Panic => panic!("the handler panics"),
            Poison::PanicInDrop => drop(Bomb),
            Poison::PanicWhilePanicking => {
                let _bomb = Bomb;
                panic!("the handler panics");
            }
            Poison::Abort => std::process::abort(),
            Poison::StackOverflow => println!("{}", descend(1)),
            Poison::Exit => exit(3),
            Poison::Loop => loop {
                // The thread is lost to the runtime; the machine has better things to do.
                std::thread::yield_now();
            },
            Poison::Sleep => std::thread::sleep(Duration::from_secs(3_600)),
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a drop panics");
    }
}

/// Never returns: the stack ends first.
fn descend(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    if depth == 0 { page[0] } else { descend(std::hint::black_box(depth + 1)) + page[1] }
}

/// The queue at this URL, which looks often for silent workers.
pub async fn open(url: &str) -> PoolQueue {
    let (scheme, path) = url.split_once(':').unwrap();
    let builder = match scheme {
        #[cfg(feature = "redb")]
        "redb" => PoolQueue::builder(poolqueue::RedbBackend::open(path).unwrap()),
        #[cfg(feature = "sqlite")]
        "sqlite" => PoolQueue::builder(poolqueue::SqliteBackend::open(path).unwrap()),
        other => panic!("{other} is no store"),
    };
    builder.sweep_interval(SWEEP).open().await.unwrap()
}

/// Run in a process of its own by the test that it belongs to: works until nothing is left, or it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn process_does_what_the_jobs_say() {
    let Ok(url) = std::env::var("POOLQUEUE_TEST_POISON") else { return };
    let worker = std::env::var("POOLQUEUE_TEST_POISON_WORKER").unwrap();
    let queue = open(&url).await;
    let capacity = std::env::var("POOLQUEUE_TEST_POISON_CAPACITY").unwrap().parse().unwrap();
    let mut stream = queue.stream(worker).capacity(capacity);
    if std::env::var("POOLQUEUE_TEST_POISON_LEASES").unwrap() == "true" {
        stream = stream.manual_lease(LEASE);
    }
    let mut jobs = stream.open().await.unwrap();
    loop {
        let stats = queue.stats(Select::all()).await.unwrap();
        if stats.completed + stats.dead == stats.total {
            queue.close().await.unwrap();
            // Threads that never come back keep a runtime from ending, and nobody has to wait for them.
            exit(0);
        }
        let Ok(batch) = tokio::time::timeout(LOOK, jobs.next()).await else { continue };
        let mut batch = batch.unwrap().unwrap();
        // The poison strikes while everything that came with it is held.
        batch.sort_by_key(|job| Poison::of(job).is_none());
        for job in batch {
            work(&queue, job).await;
        }
    }
}

async fn work(queue: &PoolQueue, job: ClaimedJob) {
    let answer = match Poison::of(&job) {
        Some(poison) => {
            let task = tokio::spawn(async move { poison.strike() });
            if !poison.ends() {
                return;
            }
            let outcome = task.await;
            assert!(outcome.is_err_and(|error| error.is_panic()), "{poison:?} did not strike");
            queue.fail_retry(&job, Failure::new("panicked").kind(FailureKind::Panic).no_retry()).await
        }
        None => queue.complete(&job, b"").await,
    };
    // Somebody slow may have lost the job meanwhile.
    if let Err(error) = answer {
        assert!(matches!(error, Error::Rejected(_)), "{error}");
    }
}
