//! The load: jobs are enqueued, claimed, completed, failed and stopped, read, and deleted when they have been over for as
//! long as retention keeps them. Time is the number of jobs, so that as many are kept however fast the machine is.

use std::fs::File;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use poolqueue::{
    Backoff, ClaimedJob, Error, Failure, JobStream, NewJob, PoolQueue, Query, Retention, Select, Status,
};
use poolqueue_core::{EmbeddedOptions, ManualClock, Timestamp};
use tokio::sync::{Semaphore, mpsc};

use super::{Place, Sample};
use crate::stress::StressError;

/// Samples of a run.
const SAMPLES: u64 = 200;
/// Jobs that are enqueued and not over, at most.
const BACKLOG: usize = 1_000;
/// Jobs of one enqueue.
const BATCH: usize = 100;
/// Streams, and the jobs each of them holds at most.
const STREAMS: usize = 4;
const CAPACITY: usize = 64;
/// Steps a job makes until it is over, about.
const TRANSITIONS_PER_JOB: u64 = 3;
/// The part of the window that is deleted at once, as one in so many.
const RETAINED_AT_ONCE: u64 = 4;
/// The time a job takes.
const TICK: Duration = Duration::from_millis(1);
/// What a planted leak keeps of each transition, in bytes.
const LEAK: usize = 256;

/// A fault planted on purpose, which the judgement must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A little memory of each transition is kept.
    Memory,
    /// A descriptor is kept at each sample.
    Descriptor,
    /// A thread is kept at each sample.
    Thread,
    /// What is over is never deleted.
    Retention,
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "memory" => Ok(Plant::Memory),
            "descriptor" => Ok(Plant::Descriptor),
            "thread" => Ok(Plant::Thread),
            "retention" => Ok(Plant::Retention),
            other => Err(format!("there is no fault {other:?} to plant")),
        }
    }
}

/// How much is done, with what.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Steps of jobs: enqueued, claimed, completed, failed and stopped. Deletions are not counted.
    pub transitions: u64,
    /// Jobs that are over and kept.
    pub window: u64,
    /// Where the random choices start.
    pub seed: u64,
    /// A fault, if there is to be one.
    pub plant: Option<Plant>,
}

impl Load {
    /// The load that leaves as many jobs as there ever are under this one: those kept, those the next deletion will take
    /// and those that are not over. Nothing is deleted.
    #[must_use]
    pub fn reference(self) -> Self {
        let jobs = self.window + self.window / RETAINED_AT_ONCE + BACKLOG as u64;
        Load { transitions: jobs * TRANSITIONS_PER_JOB, plant: Some(Plant::Retention), ..self }
    }
}

/// What all tasks share.
struct Shared {
    load: Load,
    queue: PoolQueue,
    clock: Arc<ManualClock>,
    room: Semaphore,
    transitions: AtomicU64,
    over: AtomicU64,
    stopped: AtomicBool,
}

/// Runs the load on the store at `place`, telling each sample, and closes it. What it holds has been verified then.
///
/// # Errors
/// What the store reports.
pub async fn run(place: &Place, load: Load, mut tell: impl FnMut(Sample)) -> Result<(), StressError> {
    let clock = ManualClock::new(Timestamp::from_micros(chrono::Utc::now().timestamp_micros()));
    let options = EmbeddedOptions::default().clock(clock.clone());
    let queue = PoolQueue::new(place.open(options)?).await?;
    let shared = Arc::new(Shared {
        load,
        queue: queue.clone(),
        clock,
        room: Semaphore::new(BACKLOG),
        transitions: AtomicU64::new(0),
        over: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    });
    let (failed, mut failure) = mpsc::channel(1);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..STREAMS {
        let stream = queue.stream(format!("w{n}")).capacity(CAPACITY).open().await?;
        spawn(&mut tasks, &failed, work(Arc::clone(&shared), stream, load.seed + 1 + n as u64));
    }
    spawn(&mut tasks, &failed, enqueue(Arc::clone(&shared)));
    spawn(&mut tasks, &failed, retain(Arc::clone(&shared)));
    let watched = watch(place, &shared, &mut failure, &mut tell).await;
    shared.stopped.store(true, Ordering::SeqCst);
    tasks.shutdown().await;
    watched?;
    queue.verify().await?;
    Ok(queue.close().await?)
}

fn spawn(
    tasks: &mut tokio::task::JoinSet<()>,
    failed: &mpsc::Sender<StressError>,
    task: impl Future<Output = Result<(), StressError>> + Send + 'static,
) {
    let failed = failed.clone();
    tasks.spawn(async move {
        if let Err(error) = task.await {
            // Only the first is of interest.
            let _ = failed.try_send(error);
        }
    });
}

/// Takes a sample whenever another part of the transitions is done.
async fn watch(
    place: &Place,
    shared: &Shared,
    failure: &mut mpsc::Receiver<StressError>,
    tell: &mut impl FnMut(Sample),
) -> Result<(), StressError> {
    let mut leaked = Leaked::default();
    for part in 1..=SAMPLES {
        let wanted = shared.load.transitions / SAMPLES * part;
        loop {
            let done = shared.transitions.load(Ordering::SeqCst);
            if done >= wanted {
                leaked.keep(shared.load.plant, done)?;
                tell(Sample::take(done, place));
                break;
            }
            match tokio::time::timeout(Duration::from_millis(5), failure.recv()).await {
                Ok(Some(error)) => return Err(error),
                Ok(None) => return Err("all tasks have ended".into()),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// What a planted fault keeps.
#[derive(Default)]
struct Leaked {
    transitions: u64,
    memory: Vec<Vec<u8>>,
    descriptors: Vec<File>,
}

impl Leaked {
    fn keep(&mut self, plant: Option<Plant>, transitions: u64) -> Result<(), StressError> {
        match plant {
            Some(Plant::Memory) => {
                let bytes = (transitions - self.transitions) as usize * LEAK;
                self.memory.push(vec![1; bytes]);
            }
            Some(Plant::Descriptor) => self.descriptors.push(File::open("/dev/null")?),
            Some(Plant::Thread) => drop(std::thread::Builder::new().spawn(std::thread::park)?),
            Some(Plant::Retention) | None => {}
        }
        self.transitions = transitions;
        Ok(())
    }
}

/// Enqueues batch after batch, while there is room.
async fn enqueue(shared: Arc<Shared>) -> Result<(), StressError> {
    let mut random = fastrand::Rng::with_seed(shared.load.seed);
    let mut number = 0_u64;
    while !shared.stopped.load(Ordering::SeqCst) {
        shared.room.acquire_many(BATCH as u32).await?.forget();
        let jobs: Vec<NewJob> = (0..BATCH as u64).map(|n| job(&mut random, number + n)).collect();
        number += BATCH as u64;
        shared.queue.enqueue_all(jobs).await?;
        shared.count(BATCH);
        shared.clock.advance(TICK * BATCH as u32);
        if number.is_multiple_of(10_000) {
            look(&shared.queue).await?;
        }
    }
    Ok(())
}

fn job(random: &mut fastrand::Rng, number: u64) -> NewJob {
    let mut payload = vec![0; random.usize(50..500)];
    random.fill(&mut payload);
    let mut job = NewJob::new(["mail", "render", "import"][random.usize(..3)], payload)
        .priority(random.i16(-2..3))
        .backoff(Backoff::None)
        .max_attempts(3)
        .meta("number", number.to_string());
    if random.u8(..10) == 0 {
        job = job.unique(format!("key {number}")).tags([format!("tag {}", random.u8(..50))]);
    }
    job
}

/// Reads what an operator looks at.
async fn look(queue: &PoolQueue) -> Result<(), StressError> {
    queue.stats(Select::new()).await?;
    let page = queue.list(Query::new(Select::new().status(Status::Completed)).limit(50)).await?;
    match page.jobs.first() {
        Some(job) => match queue.history(job.id).await {
            // Deleted meanwhile.
            Ok(_) | Err(Error::Rejected(_)) => Ok(()),
            Err(error) => Err(error.into()),
        },
        None => Ok(()),
    }
}

/// Completes most of the jobs of a stream, fails or stops a few.
async fn work(shared: Arc<Shared>, mut stream: JobStream, seed: u64) -> Result<(), StressError> {
    let mut random = fastrand::Rng::with_seed(seed);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        shared.count(batch.len());
        let (failing, others): (Vec<ClaimedJob>, _) = batch.into_iter().partition(|_| random.u8(..20) == 0);
        let (stopping, done): (Vec<ClaimedJob>, _) = others.into_iter().partition(|_| random.u8(..50) == 0);
        let outcomes = [
            shared.queue.fail_retry_all(failing.iter().map(|job| (job, Failure::new("no luck")))).await?,
            shared.queue.stop_all(stopping.iter().map(|job| (job, "enough"))).await?,
            shared.queue.complete_all(done.iter().map(|job| (job, vec![7_u8; random.usize(..200)]))).await?,
        ];
        for status in outcomes.into_iter().flatten() {
            shared.count(1);
            if status?.is_final() {
                shared.over.fetch_add(1, Ordering::SeqCst);
                shared.room.add_permits(1);
            }
        }
    }
    Ok(())
}

/// Deletes what has been over for as long as it is kept, a part of the window at a time.
async fn retain(shared: Arc<Shared>) -> Result<(), StressError> {
    let span = TICK * u32::try_from(shared.load.window)?;
    let retention = [Status::Completed, Status::Stopped, Status::Dead]
        .into_iter()
        .fold(Retention::new(), |retention, status| retention.keep(status, span));
    let mut next = shared.load.window / RETAINED_AT_ONCE;
    while !shared.stopped.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if shared.over.load(Ordering::SeqCst) >= next && shared.load.plant != Some(Plant::Retention) {
            shared.queue.retain(&retention).await?;
            next += shared.load.window / RETAINED_AT_ONCE;
        }
    }
    Ok(())
}

impl Shared {
    fn count(&self, transitions: usize) {
        self.transitions.fetch_add(transitions as u64, Ordering::SeqCst);
    }
}
