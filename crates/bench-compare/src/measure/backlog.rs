use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Outcome, fill};
use crate::sink::Kept;
use crate::{Contender, Order, Res, Sink, Work, machine};

/// Jobs that are claimed and completed at once.
const CLAIMED: usize = 16;

/// How often, after the first few.
const ROUNDS: usize = 200;
const WARM_UP: usize = 10;

/// Filling a backlog may take so long for each million of jobs begun.
const FILL_SPAN_A_MILLION: Duration = Duration::from_secs(60);

/// What `jobs` waiting jobs cost.
pub(super) async fn backlog<C: Contender>(contender: &Arc<C>, order: &Order, jobs: u64) -> Res<Outcome> {
    let limit = FILL_SPAN_A_MILLION * u32::try_from(jobs.div_ceil(1_000_000))?;
    let filled = fill(contender, jobs, Some(Instant::now() + limit)).await?;
    if filled < jobs {
        return Err(format!("{filled} of {jobs} jobs were enqueued in {limit:?}").into());
    }
    let bytes = machine::bytes_below(&order.dir)? as f64 / jobs as f64;
    Ok(Outcome { bytes_per_job: Some(bytes), ..claims(contender, order, jobs).await? })
}

/// The time to claim and complete 16 of the jobs that wait, with numbers from 0 to below `jobs`.
///
/// # Errors
/// What the contender reports.
pub async fn claims<C: Contender>(contender: &Arc<C>, order: &Order, jobs: u64) -> Res<Outcome> {
    let (sink, mut dones) = Sink::keeping(jobs, Kept::Dones);
    let start = Instant::now();
    let deadline = start + order.fill_span();
    let work = Work { streams: 1, capacity: CLAIMED, batched: true };
    let running = contender.start(work, sink.clone()).await?;
    let mut moments = Vec::new();
    while moments.len() < ((WARM_UP + ROUNDS) * CLAIMED).min(jobs as usize) {
        match tokio::time::timeout_at(deadline.into(), dones.recv()).await {
            Ok(Some((_, at))) => moments.push(at),
            _ => break,
        }
    }
    let span = start.elapsed();
    contender.stop(running).await?;
    let ends: Vec<Instant> = moments.iter().skip(CLAIMED * WARM_UP).step_by(CLAIMED).copied().collect();
    let times: Vec<Duration> =
        ends.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).collect();
    let jobs = moments.len() as u64;
    Ok(Outcome { jobs, span, times, doubled: sink.doubled(), ..Outcome::default() })
}

/// What opening a store again took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Reopened {
    milliseconds: f64,
    memory_bytes: u64,
}

/// Opens a filled store and says what that took: in a process of its own, so that memory that was freed before does not
/// hide what opening takes.
pub(crate) async fn reopen<C: Contender>(order: &Order) -> Res<Reopened> {
    let before = machine::memory();
    let start = Instant::now();
    let contender = C::open(&order.dir, &order.mode).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let memory_bytes = machine::memory().saturating_sub(before);
    contender.close().await?;
    Ok(Reopened { milliseconds, memory_bytes })
}

/// Adds to `outcome` what opening the store again takes, once as it was and once with the smallest caches.
pub(crate) fn reopened<C: Contender>(outcome: &mut Outcome, order: &Order, jobs: u64) -> Res<()> {
    let usual = in_a_process(order)?;
    let lean = match C::LEAN {
        Some(mode) => in_a_process(&Order { mode: mode.to_owned(), ..order.clone() })?,
        None => usual,
    };
    outcome.figures.insert("reopen_ms".to_owned(), usual.milliseconds);
    outcome.figures.insert("memory_per_job".to_owned(), lean.memory_bytes as f64 / jobs as f64);
    Ok(())
}

fn in_a_process(order: &Order) -> Res<Reopened> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let output = command.arg("reopen").args(order.arguments()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("opening the store again: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
