use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{DRAIN, Outcome, drain, fill, lost, wait};
use crate::sink::Kept;
use crate::{Contender, Order, Res, Sink, Work, payload};

const IDLE: Work = Work { streams: 1, capacity: 16, batched: false };

/// Idle latencies are measured so many times at most, after the first few.
const IDLE_ROUNDS: u64 = 1_000;
const IDLE_WARM_UP: u64 = 20;

/// A job that has not come for so long is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Jobs by which the rate of the drain is found: so many more each time, until they last long enough.
const RATE_JOBS: [u64; 3] = [256, 2_048, 16_384];

/// How often jobs are enqueued under load.
const TICK: Duration = Duration::from_micros(250);

/// Jobs under way at most; what comes due beyond is left out.
const UNDER_WAY_MAX: usize = 16_384;

/// One job at a time, with gaps between them: from before the enqueue until the handler has it.
pub(super) async fn idle<C: Contender>(contender: &Arc<C>, order: &Order) -> Res<Outcome> {
    let jobs = IDLE_ROUNDS + IDLE_WARM_UP;
    let (sink, mut hits) = Sink::keeping(jobs, Kept::Hits);
    let running = contender.start(IDLE, sink.clone()).await?;
    let start = Instant::now();
    let deadline = start + order.fill_span();
    let (mut times, mut number, mut lost) = (Vec::new(), 0, 0);
    while number < jobs && Instant::now() < deadline {
        // Not in step with anything that a queue does at intervals.
        tokio::time::sleep(Duration::from_micros(1_000 + number * 7_919 % 3_000)).await;
        let call = Instant::now();
        contender.enqueue(payload(number)).await?;
        let hit = tokio::time::timeout(PATIENCE, async {
            loop {
                match hits.recv().await {
                    Some((came, at)) if came == number => return Some(at),
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        match hit.await {
            Ok(Some(at)) if number >= IDLE_WARM_UP => times.push(at.saturating_duration_since(call)),
            Ok(Some(_)) => {}
            _ => {
                lost = 1;
                break;
            }
        }
        number += 1;
    }
    let span = start.elapsed();
    contender.stop(running).await?;
    Ok(Outcome { jobs: times.len() as u64, span, times, lost, doubled: sink.doubled(), ..Outcome::default() })
}

/// Jobs at half the rate of the drain, each at its time whether or not those before are done.
pub(super) async fn loaded<C: Contender>(contender: &Arc<C>, order: &Order) -> Res<Outcome> {
    let rate = drain_rate(contender, order).await? / 2.0;
    let jobs = ((rate * order.seconds) as u64).max(1);
    let (sink, mut hits) = Sink::keeping(jobs, Kept::Hits);
    let running = contender.start(DRAIN, sink.clone()).await?;
    let arrivals = Arrivals { start: Instant::now(), jobs, rate };
    let feeder = {
        let (contender, handle) = (Arc::clone(contender), Handle::current());
        tokio::task::spawn_blocking(move || arrivals.feed(&contender, &handle))
    };
    let (mut calls, left_out) = feeder.await?;
    while let Some(call) = calls.join_next().await {
        call??;
    }
    let expected = jobs - left_out;
    wait(&sink, expected, Instant::now() + PATIENCE).await;
    let span = arrivals.start.elapsed();
    let lost = lost(&sink, expected).await;
    contender.stop(running).await?;
    let mut times = Vec::new();
    while let Ok((number, at)) = hits.try_recv() {
        times.push(at.saturating_duration_since(arrivals.due(number)));
    }
    let mut outcome =
        Outcome { jobs: expected, span, times, lost, doubled: sink.doubled(), ..Outcome::default() };
    outcome.figures.insert("left_out".to_owned(), left_out as f64);
    Ok(outcome)
}

/// Jobs a second that are drained.
async fn drain_rate<C: Contender>(contender: &Arc<C>, order: &Order) -> Res<f64> {
    let mut rate = 0.0;
    for wanted in RATE_JOBS {
        let jobs = fill(contender, wanted, None).await?;
        let drained = drain(contender, Sink::new(jobs), jobs, DRAIN, PATIENCE).await?;
        if drained.jobs < jobs {
            return Err(format!("{} of {jobs} jobs were drained in {PATIENCE:?}", drained.jobs).into());
        }
        rate = jobs as f64 / drained.span.as_secs_f64();
        if drained.span > order.span() / 4 {
            break;
        }
    }
    Ok(rate)
}

/// Jobs that come at a steady rate.
#[derive(Clone, Copy)]
struct Arrivals {
    start: Instant,
    jobs: u64,
    /// Jobs a second.
    rate: f64,
}

impl Arrivals {
    fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Enqueues each job when it is due, on a thread, since the runtime's timer ticks in milliseconds. Returns the calls
    /// under way and how many jobs were left out.
    fn feed<C: Contender>(&self, contender: &Arc<C>, runtime: &Handle) -> (JoinSet<Res<()>>, u64) {
        let mut calls = JoinSet::new();
        let (mut number, mut left_out) = (0, 0);
        while number < self.jobs {
            while number < self.jobs && self.due(number) <= Instant::now() {
                // A call that failed shows as a job that is lost.
                while calls.len() >= UNDER_WAY_MAX / 2 && calls.try_join_next().is_some() {}
                if calls.len() < UNDER_WAY_MAX {
                    let (contender, payload) = (Arc::clone(contender), payload(number));
                    calls.spawn_on(async move { contender.enqueue(payload).await }, runtime);
                } else {
                    left_out += 1;
                }
                number += 1;
            }
            thread::sleep(TICK);
        }
        (calls, left_out)
    }
}
