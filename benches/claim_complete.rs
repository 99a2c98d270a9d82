//! Drain: jobs wait, 4 streams of 16 take them, each completion is acknowledged singly; every claim and completion is
//! durable.
#![allow(missing_docs, reason = "criterion's macros")]

mod common;

use std::time::Duration;

use common::{Bench, Grouping};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn drain(criterion: &mut Criterion) {
    let runtime = common::runtime();
    let mut group = criterion.benchmark_group("drain");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("4 streams × 16", |bencher| {
        bencher.iter_custom(|jobs| {
            runtime.block_on(async {
                let bench = Bench::new(Grouping::Grouped).await;
                common::fill(&bench.queue, jobs).await;
                let took = common::drain(&bench.queue, jobs, 4, 16).await;
                bench.queue.close().await.expect("a close");
                took
            })
        });
    });
    group.finish();
}

criterion_group!(benches, drain);
criterion_main!(benches);
