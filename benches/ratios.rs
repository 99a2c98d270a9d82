//! What group commit buys, as a ratio within one run: the contenders take turns, and the medians are compared. The
//! disk's own sync time is printed with it; a run in which it sits near 4 ms says more about the machine than about
//! the queue.

mod common;

use std::time::Duration;

use common::{Bench, Grouping};

const ROUNDS: usize = 5;
const CALLERS: u64 = 64;

fn main() {
    let runtime = common::runtime();
    let quick = std::env::var_os("POOLQUEUE_QUICK").is_some();
    let (grouped_jobs, single_jobs) = if quick { (2_000, 200) } else { (40_000, 2_000) };
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut probes = Vec::new();
    for _ in 0..ROUNDS {
        let contenders = [(Grouping::Grouped, grouped_jobs), (Grouping::OneCommitPerOp, single_jobs)];
        for (nth, (grouping, jobs)) in contenders.into_iter().enumerate() {
            let (took, probe) = runtime.block_on(async {
                let bench = Bench::new(grouping).await;
                common::enqueue(&bench.queue, CALLERS * 4, CALLERS).await;
                let took = common::enqueue(&bench.queue, jobs, CALLERS).await;
                bench.queue.close().await.expect("a close");
                (took, common::fsync_probe(bench.dir.path()))
            });
            rates[nth].push(jobs as f64 / took.as_secs_f64());
            probes.push(probe);
        }
    }
    let [grouped, single] = rates.map(median);
    probes.sort_unstable();
    let probe = probes[probes.len() / 2];
    println!(
        "durable enqueue, redb, 256 B, {CALLERS} callers, {ROUNDS} rounds, medians (sync probe p50 {probe:.0?})"
    );
    println!("  grouped            {grouped:>10.0} jobs/s");
    println!("  one commit per op  {single:>10.0} jobs/s");
    let verdict = if probe > Duration::from_millis(2) { " (void: the machine is busy)" } else { "" };
    println!("  ratio              {:>10.1}×{verdict}", grouped / single);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
