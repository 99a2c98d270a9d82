//! What a backlog costs: claiming 16 jobs from few and from many, with a mass of future jobs of a higher priority in
//! front, and with a stream that wants one job in a hundred; opening the file; memory.

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Grouping, PAYLOAD};
use poolqueue::{NewJob, PoolQueue, Priority};

const ROUNDS: usize = 200;
const CLAIMED: usize = 16;

fn main() {
    let runtime = common::runtime();
    let quick = std::env::var_os("POOLQUEUE_QUICK").is_some();
    let (few, many) = if quick { (10_000, 200_000) } else { (10_000, 1_000_000) };
    runtime.block_on(async {
        let small = Bench::new(Grouping::Grouped).await;
        common::fill(&small.queue, few).await;
        let base = claims(&small.queue, &[]).await;
        println!("claim and complete {CLAIMED}, redb, median of {ROUNDS}");
        println!("  {few:>9} waiting            {base:>10.1?}");

        let before = resident_bytes();
        let large = Bench::new(Grouping::Grouped).await;
        common::fill(&large.queue, many).await;
        let memory = resident_bytes().saturating_sub(before);
        show(&format!("{many:>9} waiting"), claims(&large.queue, &[]).await, base);
        println!(
            "  memory per waiting job        {:>10.0} B (page cache of the engine included)",
            memory as f64 / many as f64
        );

        fill(&large.queue, many / 100, |job| job.tag("rare")).await;
        show(&format!("{many:>9} waiting, 1 % tag"), claims(&large.queue, &["rare"]).await, base);

        fill(&small.queue, many, |job| job.run_after(Duration::from_secs(86_400)).priority(Priority::HIGH))
            .await;
        show(&format!("{many:>9} future, high"), claims(&small.queue, &[]).await, base);

        large.queue.close().await.expect("a close");
        let start = Instant::now();
        let path = large.dir.path().join("bench.redb");
        let again = PoolQueue::open(&path).await.expect("a queue");
        println!("  open with {many} waiting  {:>10.1?}", start.elapsed());
        again.close().await.expect("a close");
    });
}

fn show(what: &str, took: Duration, base: Duration) {
    println!("  {what:<28}{took:>10.1?}  {:.2}×", took.as_secs_f64() / base.as_secs_f64());
}

async fn fill(queue: &PoolQueue, jobs: u64, make: impl Fn(NewJob) -> NewJob) {
    let mut left = jobs;
    while left > 0 {
        let slice = left.min(1_000);
        queue.enqueue_all((0..slice).map(|_| make(NewJob::new("bench", PAYLOAD)))).await.expect("a batch");
        left -= slice;
    }
}

/// The median time to claim and complete a batch.
async fn claims(queue: &PoolQueue, tags: &[&str]) -> Duration {
    let mut stream =
        queue.stream("worker").tags(tags.iter().copied()).capacity(CLAIMED).open().await.expect("a stream");
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let Some(batch) = stream.next().await else { break };
        let batch = batch.expect("a batch");
        let done = queue.complete_all(batch.iter().map(|job| (job, ()))).await.expect("completions");
        assert!(done.iter().all(Result::is_ok));
        times.push(start.elapsed() * CLAIMED as u32 / batch.len() as u32);
    }
    stream.close().await.expect("a close");
    times.sort_unstable();
    times[times.len() / 2]
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}
