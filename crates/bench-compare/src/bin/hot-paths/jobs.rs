//! Jobs that are the same in every run.

use bench_compare::{Res, payload};
use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{AssigneeId, Insert, JobId, Limits, NewJob, Timestamp};

/// When everything happens: the clock stands still.
pub const NOW: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);

/// The job `number`, with what most have: a queue, a tag, 256 bytes.
pub fn new_job(number: u64) -> NewJob {
    NewJob::new("send-email", payload(number)).tag(format!("tenant:{}", number % 100))
}

/// It, checked. Later numbers have later ids, as in use.
pub fn insert(number: u64) -> Res<Insert> {
    let id = JobId::from_bytes(u128::from(number).to_be_bytes());
    Ok(new_job(number).into_insert(&Limits::default(), || id)?)
}

/// It, as it waits.
pub fn waiting(number: u64) -> Res<JobState> {
    Ok(JobState::admit(&insert(number)?.admission, number, NOW))
}

/// Who works on them.
pub fn worker() -> Res<AssigneeId> {
    Ok(AssigneeId::new("worker-1")?)
}
