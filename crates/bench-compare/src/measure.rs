//! The shapes that any contender can do.

mod backlog;
mod latency;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{Contender, Order, Res, Shape, Sink, Work, machine, payload};

/// Jobs in a call that fills a queue.
const FILL_BATCH: u64 = 1_000;

/// Callers that fill a queue that has no call for many.
const FILL_CALLERS: u64 = 64;

/// Jobs are lost when nothing has happened for so long while some are missing.
const STALL: Duration = Duration::from_secs(10);

/// Jobs that may be enqueued and not done while enqueuing and draining are kept in balance.
const STEADY_BACKLOG: usize = 1_024;

/// More than are enqueued singly in a second: the numbers that a sink can tell apart.
const STEADY_JOBS_A_SECOND: f64 = 1e6;

/// The streams of a drain.
const DRAIN: Work = Work { streams: 4, capacity: 16, batched: false };
const DRAIN_BATCHED: Work = Work { streams: 4, capacity: 256, batched: true };

/// What a measurement found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Jobs that were counted.
    pub jobs: u64,
    /// How long they took.
    pub span: Duration,
    /// The single times, where there are such.
    pub times: Vec<Duration>,
    /// Bytes on the disk for each job that waited.
    pub bytes_per_job: Option<f64>,
    /// Jobs that never came to a handler.
    pub lost: u64,
    /// How often a job came again.
    pub doubled: u64,
    /// What only this shape has.
    pub figures: BTreeMap<String, f64>,
}

/// Does what `order` says.
pub(crate) async fn measure<C: Contender>(contender: &Arc<C>, order: &Order) -> Res<Outcome> {
    match order.shape {
        Shape::Enqueue(callers) => enqueue(contender, order, callers).await,
        Shape::Batch(jobs) => batch(contender, order, jobs).await,
        Shape::Drain => filled_drain(contender, order, DRAIN).await,
        Shape::DrainBatched => filled_drain(contender, order, DRAIN_BATCHED).await,
        Shape::Steady => steady(contender, order).await,
        Shape::Idle => latency::idle(contender, order).await,
        Shape::Loaded => latency::loaded(contender, order).await,
        Shape::Backlog(jobs) => backlog::backlog(contender, order, jobs).await,
        shape => Err(format!("{} cannot do {shape}", C::NAME).into()),
    }
}

/// What is measured once the store is closed.
pub(crate) use backlog::{Reopened, reopen, reopened};

pub use backlog::claims;

async fn enqueue<C: Contender>(contender: &Arc<C>, order: &Order, callers: u64) -> Res<Outcome> {
    let warm_up = Instant::now() + order.span() / 10;
    let warm = enqueue_for(contender, 0, u64::MAX, callers, warm_up).await?;
    let start = Instant::now();
    let done = enqueue_for(contender, warm.next, u64::MAX, callers, start + order.span()).await?;
    let jobs = done.times.len() as u64;
    Ok(Outcome { jobs, span: start.elapsed(), times: done.times, ..Outcome::default() })
}

async fn batch<C: Contender>(contender: &Arc<C>, order: &Order, jobs: u64) -> Res<Outcome> {
    contender.enqueue_batch((0..jobs).map(payload).collect()).await?;
    let (mut next, mut times) = (jobs, Vec::new());
    let deadline = Instant::now() + order.span();
    while Instant::now() < deadline {
        let payloads = (next..next + jobs).map(payload).collect();
        let call = Instant::now();
        contender.enqueue_batch(payloads).await?;
        times.push(call.elapsed());
        next += jobs;
    }
    Ok(Outcome { jobs: next - jobs, span: times.iter().sum(), times, ..Outcome::default() })
}

/// What callers that enqueued report.
#[derive(Debug)]
pub struct Enqueued {
    /// How long each call took.
    pub times: Vec<Duration>,
    /// The number after the last that was used.
    pub next: u64,
}

/// Enqueues from `callers` tasks, each awaiting its own, jobs with the numbers from `first` to below `end`, until
/// `deadline`.
///
/// # Errors
/// The first that a caller met.
pub async fn enqueue_for<C: Contender>(
    contender: &Arc<C>,
    first: u64,
    end: u64,
    callers: u64,
    deadline: Instant,
) -> Res<Enqueued> {
    let next = Arc::new(AtomicU64::new(first));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (contender, next) = (Arc::clone(contender), Arc::clone(&next));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < deadline {
                let number = next.fetch_add(1, Relaxed);
                if number >= end {
                    break;
                }
                let payload = payload(number);
                let start = Instant::now();
                contender.enqueue(payload).await?;
                times.push(start.elapsed());
            }
            Res::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.append(&mut done??);
    }
    Ok(Enqueued { times, next: next.load(Relaxed).min(end) })
}

/// Enqueues the jobs 0 to below `jobs`, or as many as there are until `deadline`. Returns how many.
///
/// # Errors
/// What the contender reports.
pub async fn fill<C: Contender>(contender: &Arc<C>, jobs: u64, deadline: Option<Instant>) -> Res<u64> {
    let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut filled = 0;
    while filled < jobs && !late() {
        let end = jobs.min(filled + FILL_BATCH);
        if C::BATCH {
            contender.enqueue_batch((filled..end).map(payload).collect()).await?;
        } else {
            let whenever = Instant::now() + Duration::from_secs(3_600);
            enqueue_for(contender, filled, end, FILL_CALLERS, whenever).await?;
        }
        filled = end;
    }
    Ok(filled)
}

async fn filled_drain<C: Contender>(contender: &Arc<C>, order: &Order, work: Work) -> Res<Outcome> {
    let jobs = fill(contender, order.jobs, Some(Instant::now() + order.fill_span())).await?;
    let bytes = machine::bytes_below(&order.dir)? as f64 / jobs.max(1) as f64;
    let outcome = drain(contender, Sink::new(jobs), jobs, work, order.span()).await?;
    Ok(Outcome { bytes_per_job: Some(bytes), ..outcome })
}

/// Drains the `jobs` jobs that wait, for `span` at most. Where the time is up first, those done by then are counted.
///
/// # Errors
/// What the contender reports.
pub async fn drain<C: Contender>(
    contender: &Arc<C>,
    sink: Sink,
    jobs: u64,
    work: Work,
    span: Duration,
) -> Res<Outcome> {
    let start = Instant::now();
    let running = contender.start(work, sink.clone()).await?;
    let outcome = drained(&sink, jobs, start, span).await;
    contender.stop(running).await?;
    Ok(Outcome { doubled: sink.doubled(), ..outcome })
}

/// Waits until workers have done `jobs` jobs, or `span` is over, and says how long they took from `start` on.
pub async fn drained(sink: &Sink, jobs: u64, start: Instant, span: Duration) -> Outcome {
    wait(sink, jobs, Instant::now() + span).await;
    let done = sink.dones().min(jobs);
    let took = if done == jobs { sink.last_done() - start } else { start.elapsed() };
    let lost = lost(sink, jobs).await;
    Outcome { jobs: done, span: took, lost, doubled: sink.doubled(), ..Outcome::default() }
}

/// Waits until `jobs` jobs are done, or the time is up.
pub(crate) async fn wait(sink: &Sink, jobs: u64, deadline: Instant) {
    while sink.dones() < jobs && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How many of `jobs` jobs are missing: those that are not done when nothing happens any more. None as long as any
/// goes on.
async fn lost(sink: &Sink, jobs: u64) -> u64 {
    let before = sink.dones();
    let deadline = Instant::now() + STALL;
    while sink.dones() == before && before < jobs {
        if Instant::now() >= deadline {
            return jobs - before;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    0
}

async fn steady<C: Contender>(contender: &Arc<C>, order: &Order) -> Res<Outcome> {
    let places = Arc::new(Semaphore::new(STEADY_BACKLOG));
    let end = (STEADY_JOBS_A_SECOND * order.seconds) as u64 + STEADY_BACKLOG as u64;
    let sink = Sink::freeing(end, Arc::clone(&places));
    let running = contender.start(DRAIN, sink.clone()).await?;
    let start = Instant::now();
    let deadline = start + order.span();
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..order.shape.callers() {
        let (contender, next, places) = (Arc::clone(contender), Arc::clone(&next), Arc::clone(&places));
        callers.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < deadline {
                let Ok(place) = tokio::time::timeout_at(deadline.into(), places.acquire()).await else {
                    break;
                };
                place?.forget();
                let number = next.fetch_add(1, Relaxed);
                if number >= end {
                    break;
                }
                let call = Instant::now();
                contender.enqueue(payload(number)).await?;
                times.push(call.elapsed());
            }
            Res::Ok(times)
        });
    }
    tokio::time::sleep_until(deadline.into()).await;
    let (jobs, span) = (sink.dones(), start.elapsed());
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.append(&mut done??);
    }
    let enqueued = times.len() as u64;
    wait(&sink, enqueued, Instant::now() + order.fill_span()).await;
    let lost = lost(&sink, enqueued).await;
    contender.stop(running).await?;
    Ok(Outcome { jobs, span, times, lost, doubled: sink.doubled(), ..Outcome::default() })
}
