//! Durable enqueues: 1, 16, 64 and 256 callers each awaiting its own, and batches of 1,000.
//!
//! Every job is 256 bytes and on stable storage when its caller goes on. The reference beside it is the same store with
//! one commit for each command.
#![allow(missing_docs, reason = "criterion's macros")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Grouping, PAYLOAD};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use poolqueue::NewJob;

fn by_callers(criterion: &mut Criterion) {
    let runtime = common::runtime();
    let mut group = criterion.benchmark_group("enqueue");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(3));
    for callers in [1, 16, 64, 256] {
        let bench = runtime.block_on(Bench::new(Grouping::Grouped));
        group.bench_with_input(BenchmarkId::new("callers", callers), &callers, |bencher, callers| {
            bencher.iter_custom(|jobs| runtime.block_on(common::enqueue(&bench.queue, jobs, *callers)));
        });
    }
    let bench = runtime.block_on(Bench::new(Grouping::OneCommitPerOp));
    group.bench_function("one commit per op, callers/64", |bencher| {
        bencher.iter_custom(|jobs| runtime.block_on(common::enqueue(&bench.queue, jobs, 64)));
    });
    group.finish();
}

fn batch(criterion: &mut Criterion) {
    let runtime = common::runtime();
    let bench = runtime.block_on(Bench::new(Grouping::Grouped));
    let mut group = criterion.benchmark_group("enqueue");
    group.throughput(Throughput::Elements(1_000)).sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("batch/1000", |bencher| {
        bencher.iter_custom(|batches| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..batches {
                    let jobs = (0..1_000).map(|_| NewJob::new("bench", PAYLOAD));
                    bench.queue.enqueue_all(jobs).await.expect("a batch");
                }
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, by_callers, batch);
criterion_main!(benches);
