//! Jobs to measure with.

use std::time::Duration;

use criterion::Criterion;
use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{Insert, JobId, Limits, NewJob, Timestamp};

/// The new job `number`.
pub fn insert(number: u64, job: NewJob) -> Insert {
    let id = JobId::from_bytes(u128::from(number).to_be_bytes());
    job.into_insert(&Limits::default(), || id).expect("it is a good job")
}

/// The new job `number` as it waits.
pub fn waiting(number: u64, job: NewJob) -> JobState {
    const NOW: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);
    JobState::admit(&insert(number, job).admission, number, NOW)
}

/// Measurements of two and a half seconds each.
pub fn brief() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}
