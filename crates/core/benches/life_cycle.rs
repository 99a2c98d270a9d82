//! What the rules themselves cost: admitting a job, and deciding each step of its way.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use poolqueue_core::lifecycle::{Event, JobState, decide};
use poolqueue_core::{AssigneeId, Failure, JobId, Limits, NewJob, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);

/// A job with what most have: a queue, two tags, retries.
fn job() -> NewJob {
    NewJob::new("send-email", vec![b'x'; 256]).queue("mail").tag("tenant:42").tag("welcome").max_attempts(25)
}

fn admitted() -> JobState {
    let insert = job().into_insert(&Limits::default(), || JobId::from_bytes([7; 16]));
    JobState::admit(&insert.expect("it is a good job").admission, 1, NOW)
}

fn claim() -> Event {
    Event::Claim { assignee: AssigneeId::new("worker-1").expect("a good name") }
}

/// The state after a step.
fn after(state: &JobState, event: &Event) -> JobState {
    decide(state, event, None, NOW).expect("the step is allowed").after
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("life cycle");
    let limits = Limits::default();
    group.bench_function("check a new job", |bench| {
        bench.iter(|| black_box(job()).into_insert(&limits, || JobId::from_bytes([7; 16])));
    });
    let waiting = admitted();
    let running = after(&waiting, &claim());
    let failed = Event::FailRetry { failure: Failure::new("no route to host"), random: 7 };
    let cases = [
        ("claim", &waiting, claim()),
        ("complete", &running, Event::Complete { output: "sent".into() }),
        ("fail and retry", &running, failed),
        ("cancel", &waiting, Event::Cancel),
    ];
    for (name, state, event) in cases {
        group.bench_function(name, |bench| {
            bench.iter(|| decide(black_box(state), black_box(&event), None, NOW))
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
