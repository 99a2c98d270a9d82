//! The life cycle is specified by these tests: the table in [`matrix`], the rulings beside it in [`counters`],
//! [`fences`] and [`stamps`], and what holds whatever happens in [`walk`].

mod counters;
mod fences;
mod matrix;
mod stamps;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::{AssigneeId, Backoff, Failure, JobId, Kind, Labels, Output, Priority, QueueName, Start, TagSet};
use crate::{StatusSet, UniqueKey};

/// When the jobs of these tests are enqueued.
const BIRTH: Timestamp = Timestamp::from_micros(1_000);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn admission() -> Admission {
    Admission {
        id: JobId::from_bytes([7; 16]),
        labels: Arc::new(Labels {
            queue: QueueName::default(),
            kind: Kind::new("kind").unwrap(),
            tags: TagSet::default(),
        }),
        unique_key: None,
        priority: Priority::NORMAL,
        start: Start::Now,
        max_attempts: None,
        crash_limit: 100,
        backoff: Backoff::None,
        expires_after: Some(Duration::from_micros(500)),
    }
}

fn new_job() -> JobState {
    JobState::admit(&admission(), 1, BIRTH)
}

/// The event of each kind, with nothing special about it.
fn event(kind: EventKind) -> Event {
    let message = "message".to_owned();
    match kind {
        EventKind::Claim => Event::Claim { assignee: AssigneeId::new("worker").unwrap() },
        EventKind::Complete => Event::Complete { output: Output::none() },
        EventKind::FailRetry => fail(Failure::new(message)),
        EventKind::Stop => Event::Stop { message },
        EventKind::StopFailed => Event::StopFailed { message },
        EventKind::UnknownStop => Event::UnknownStop { message },
        EventKind::Cancel => Event::Cancel,
        EventKind::LoseWorker => Event::LoseWorker,
        EventKind::Release => Event::Release,
        EventKind::Suspend => Event::Suspend { until: BIRTH },
        EventKind::Expire => Event::Expire,
        EventKind::Pause => Event::Pause,
        EventKind::Resume => Event::Resume,
        EventKind::Retry => Event::Retry,
    }
}

fn fail(failure: Failure) -> Event {
    Event::FailRetry { failure, random: 0 }
}

fn stream_ended() -> Event {
    Event::StreamEnded { message: "stream ended".to_owned() }
}

fn acknowledge(was_executing: bool) -> Event {
    Event::AcknowledgeCancel { was_executing, message: String::new() }
}

/// How a new job comes to each status but `Paused`.
fn path(status: Status) -> &'static [EventKind] {
    use EventKind as E;
    match status {
        Status::InitialPending => &[],
        Status::FailedRetry => &[E::Claim, E::FailRetry],
        Status::UnknownRetry => &[E::Claim, E::LoseWorker],
        Status::Waiting => &[E::Claim, E::Suspend],
        Status::Running => &[E::Claim],
        Status::Cancelling => &[E::Claim, E::Cancel],
        Status::Paused => &[E::Pause],
        Status::Completed => &[E::Claim, E::Complete],
        Status::Stopped => &[E::Claim, E::Stop],
        Status::Unscheduled => &[E::Cancel],
        Status::UnknownStopped => &[E::Claim, E::UnknownStop],
        Status::Dead => &[E::Expire],
    }
}

/// `job` after these events, the first 1 ms after its birth, and each a microsecond after the one before.
fn after(job: JobState, events: &[EventKind]) -> JobState {
    events.iter().zip(2_000..).fold(job, |job, (kind, now)| {
        let step = decide(&job, &event(*kind), None, at(now));
        step.unwrap_or_else(|rejected| panic!("{events:?}: {rejected}")).after
    })
}

/// A job of this status, come to it by the life cycle.
fn job(status: Status) -> JobState {
    let job = after(new_job(), path(status));
    assert_eq!(job.status, status);
    job
}

/// A paused job that remembers this status.
fn paused(remembered: Status) -> JobState {
    let job = after(job(remembered), &[EventKind::Pause]);
    assert_eq!((job.status, job.resumes_to), (Status::Paused, Some(remembered)));
    job
}

/// The statuses a paused job can remember.
fn rememberable() -> impl Iterator<Item = Status> {
    StatusSet::of_phase(Phase::Ready).iter()
}

/// A job of every status, and a paused one for each status it can remember.
fn one_of_each() -> Vec<JobState> {
    let unpaused = Status::ALL.iter().filter(|status| **status != Status::Paused).map(|status| job(*status));
    unpaused.chain(rememberable().map(paused)).collect()
}

/// The step `event` makes by bare id at `now`, which must be accepted.
fn step(job: &JobState, event: &Event, now: i64) -> Transition {
    match decide(job, event, None, at(now)) {
        Ok(transition) => transition,
        Err(rejected) => panic!("{event:?}: {rejected}"),
    }
}

/// Why `event` is rejected, by the current lease of the job.
fn refusal(job: &JobState, event: &Event, now: i64) -> Rejected {
    match decide(job, event, Some(job.attempt), at(now)) {
        Ok(transition) => panic!("{event:?} led from {} to {}", job.status, transition.after.status),
        Err(rejected) => rejected,
    }
}

fn illegal(job: &JobState, event: EventKind) -> Rejected {
    Rejected::Illegal { id: job.id, status: job.status, event }
}

fn already(job: &JobState, event: EventKind) -> Rejected {
    Rejected::AlreadyApplied { id: job.id, status: job.status, event }
}
