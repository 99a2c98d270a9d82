//! What the index of due jobs costs: a job that comes and goes, and a look for the next 16.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{ClaimFilter, NewJob, Tags};
use poolqueue_redb::bench::ReadyIndex;

/// Prime to every size measured, so that jobs are visited in no order.
const STRIDE: u64 = 7_919;
/// Jobs of a million in which a look is measured.
const MILLION: u64 = 1_000_000;
/// What a stream of the default capacity asks for.
const WANTED: usize = 16;

/// Jobs that all have the same labels.
fn alike(number: u64) -> JobState {
    support::waiting(number, NewJob::new("send-email", b"").tag("welcome"))
}

/// Jobs of a thousand tenants, 1 % of them with a second tag.
fn of_tenants(number: u64) -> JobState {
    let job = NewJob::new("send-email", b"").tag(format!("tenant:{}", number % 1_000));
    support::waiting(number, if number.is_multiple_of(100) { job.tag("rare") } else { job })
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index, leave and take a seat");
    for (name, jobs) in [("10,000 ready", 10_000), ("1,000,000 ready", MILLION)] {
        let mut index = ReadyIndex::of((0..jobs).map(of_tenants));
        let mut number = 0;
        group.bench_function(name, |bench| {
            bench.iter_batched_ref(
                || {
                    number = (number + STRIDE) % jobs;
                    of_tenants(number)
                },
                |job| {
                    index.leave(job);
                    index.take(job);
                    index.commit();
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn looks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index, the next 16 of 1,000,000");
    let everything = ClaimFilter::default();
    let rare = Tags::all(["rare"]).checked().expect("a good tag");
    let rare = ClaimFilter { tags: rare, ..ClaimFilter::default() };
    let mut measure = |name: &str, index: &ReadyIndex, filter: &ClaimFilter| {
        assert_eq!(index.ready("default", filter, WANTED), WANTED, "{name}");
        group.bench_function(name, |bench| {
            bench.iter(|| index.ready(black_box("default"), black_box(filter), WANTED))
        });
    };
    measure("all labelled alike", &ReadyIndex::of((0..MILLION).map(alike)), &everything);
    let index = ReadyIndex::of((0..MILLION).map(of_tenants));
    measure("1,000 tags", &index, &everything);
    measure("a tag of 1 %", &index, &rare);
    group.finish();
}

criterion_group! { name = benches; config = support::brief(); targets = changes, looks }
criterion_main!(benches);
