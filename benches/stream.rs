//! Idle latency: an empty queue and one waiting stream; from before the enqueue until the job is in the worker's hands.
#![allow(missing_docs, reason = "criterion's macros")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Grouping, PAYLOAD};
use criterion::{Criterion, criterion_group, criterion_main};
use poolqueue::NewJob;

fn idle(criterion: &mut Criterion) {
    let runtime = common::runtime();
    let mut group = criterion.benchmark_group("latency");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    group.bench_function("enqueue to worker, idle", |bencher| {
        bencher.iter_custom(|jobs| {
            runtime.block_on(async {
                let bench = Bench::new(Grouping::Grouped).await;
                let mut stream = bench.queue.stream("worker").open().await.expect("a stream");
                let mut took = Duration::ZERO;
                for _ in 0..jobs {
                    let queue = bench.queue.clone();
                    let start = Instant::now();
                    let caller =
                        tokio::spawn(async move { queue.enqueue(NewJob::new("bench", PAYLOAD)).await });
                    let batch = stream.next().await.expect("a stream").expect("a batch");
                    took += start.elapsed();
                    caller.await.expect("a caller").expect("an enqueue");
                    for job in &batch {
                        bench.queue.complete(job, ()).await.expect("a completion");
                    }
                }
                took
            })
        });
    });
    group.finish();
}

criterion_group!(benches, idle);
criterion_main!(benches);
