//! What it costs to write the rows of a job and to read them: encoding and checksum.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use poolqueue_core::NewJob;
use poolqueue_redb::bench::{Codec, seal_body, unseal_body};

/// A job with what most have: a queue, two tags, retries.
fn job() -> NewJob {
    NewJob::new("send-email", vec![b'x'; 256]).queue("mail").tag("tenant:42").tag("welcome").max_attempts(25)
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let mut codec = Codec::default();
    let state = support::waiting(7, job());
    let mut row = Vec::new();
    group.bench_function("seal a state", |bench| {
        bench.iter(|| codec.seal_state(black_box(&state), &mut row).expect("it can be stored"));
    });
    group.bench_function("unseal a state", |bench| {
        bench.iter(|| codec.unseal_state(state.id, black_box(&row)).expect("it is whole"));
    });
    let body = support::insert(7, job()).body;
    let mut row = Vec::new();
    group.bench_function("seal a body of 256 B", |bench| {
        bench.iter(|| seal_body(state.id, black_box(&body), &mut row).expect("it can be stored"));
    });
    group.bench_function("unseal a body of 256 B", |bench| {
        bench.iter(|| unseal_body(state.id, black_box(&row)).expect("it is whole"));
    });
    group.finish();
}

criterion_group! { name = benches; config = support::brief(); targets = rows }
criterion_main!(benches);
