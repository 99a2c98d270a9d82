//! The life cycle of a job: one table, and the rules that go with it.
//!
//! [`next`] is the table; nothing else in the project pairs a status with an event. [`decide`] applies it to
//! a job: it checks the fence, moves the counters and stamps the times. What a transition means for slots,
//! indexes and wake-ups follows from the phases it leads between and is asked of the [`Transition`].

mod event;
mod state;
mod table;

pub use event::Event;
pub use state::{Admission, Consequences, JobState, KeyChange, Transition, consequences};
pub use table::{next, next_paused, sources, table_as_markdown};

use crate::{Attempt, EventKind, FailureKind, LastError, Phase, Rejected, Status, Timestamp};

/// What is left behind for operators when a worker was lost.
const WORKER_LOST: &str = "the worker was lost";
/// What is left behind for operators when a job was not started by its deadline.
const EXPIRED: &str = "not started by its deadline";

/// What `event` does to `job` at `now`.
///
/// `fence` is the attempt of the lease the caller names the job by; `None` names it by its bare id. A
/// transition whose before and after are equal ([`Transition::is_noop`]) is accepted and needs no write.
///
/// # Errors
/// In this order: [`Rejected::StaleAttempt`] when the fence is of another attempt, whatever the status;
/// [`Rejected::AlreadyApplied`] when the same lease repeats the verb whose outcome still stands;
/// [`Rejected::Illegal`] when the table has no such step.
pub fn decide(
    job: &JobState,
    event: &Event,
    fence: Option<Attempt>,
    now: Timestamp,
) -> Result<Transition, Rejected> {
    let kind = event.kind(job.status);
    let illegal = Rejected::Illegal { id: job.id, status: job.status, event: kind };
    if let Some(given) = fence.filter(|given| *given != job.attempt) {
        return Err(Rejected::StaleAttempt { id: job.id, given, current: job.attempt });
    }
    let Some(to) = job.next(kind).filter(|_| event.applies_to(job, now)) else {
        let repeated = fence.is_some() && job.last_reported == Some(kind);
        return Err(if repeated {
            Rejected::AlreadyApplied { id: job.id, status: job.status, event: kind }
        } else {
            illegal
        });
    };
    if kind == EventKind::Claim && job.attempt.0 == u32::MAX {
        return Err(illegal);
    }
    let repeats_itself = matches!(kind, EventKind::Cancel | EventKind::Pause) && to == job.status;
    if repeats_itself {
        return Ok(Transition { before: job.clone(), after: job.clone(), event: kind, at: now, error: None });
    }
    let mut after = job.clone();
    after.status = to;
    after.resumes_to = (to == Status::Paused).then_some(job.status);
    after.last_reported = fence.map(|_| kind);
    let error = count(&mut after, event, now);
    stamp(job, &mut after, event, now);
    Ok(Transition { before: job.clone(), after, event: kind, at: now, error })
}

/// Moves the counters of `job`, may turn its status into `Dead`, and says what to keep as its last error.
fn count(job: &mut JobState, event: &Event, now: Timestamp) -> Option<LastError> {
    let message = |text: &str| (!text.is_empty()).then(|| LastError { message: text.to_owned(), kind: None });
    match event {
        Event::Claim { assignee } => {
            job.attempt = Attempt(job.attempt.0 + 1);
            job.assignee = Some(assignee.clone());
            None
        }
        Event::Complete { .. } | Event::Suspend { .. } | Event::Release => {
            job.crashes = 0;
            None
        }
        Event::FailRetry { failure, random } => {
            job.crashes = 0;
            job.failures = job.failures.saturating_add(1);
            job.retry_count = job.retry_count.saturating_add(1);
            let spent = job.max_attempts.is_some_and(|most| job.failures >= most);
            if failure.give_up || spent {
                job.status = Status::Dead;
            } else {
                let delay = failure.retry_after.unwrap_or_else(|| job.backoff.delay(job.failures, *random));
                job.run_at = now.plus(delay);
            }
            Some(LastError { message: failure.message.clone(), kind: Some(failure.kind) })
        }
        Event::StreamEnded { message: text } => {
            if job.status == Status::UnknownStopped {
                return message(text);
            }
            job.crashes = 0;
            job.retry_count = job.retry_count.saturating_add(1);
            job.run_at = now;
            Some(LastError { message: text.clone(), kind: Some(FailureKind::StreamEnded) })
        }
        Event::StopFailed { message: text } => {
            job.retry_count = job.retry_count.saturating_add(1);
            message(text)
        }
        Event::Stop { message: text }
        | Event::UnknownStop { message: text }
        | Event::AcknowledgeCancel { message: text, .. } => message(text),
        Event::LoseWorker => {
            job.crashes = job.crashes.saturating_add(1);
            if job.status == Status::UnknownRetry && job.crashes >= job.crash_limit {
                job.status = Status::Dead;
            }
            Some(LastError { message: WORKER_LOST.to_owned(), kind: Some(FailureKind::Crashed) })
        }
        Event::Expire => Some(LastError { message: EXPIRED.to_owned(), kind: Some(FailureKind::Expired) }),
        Event::Retry => {
            job.failures = 0;
            job.crashes = 0;
            job.run_at = now;
            None
        }
        Event::Undelivered | Event::Cancel | Event::Pause | Event::Resume => None,
    }
}

/// Stamps what follows from the phases the job moved between.
fn stamp(before: &JobState, after: &mut JobState, event: &Event, now: Timestamp) {
    if let (Event::Suspend { until }, Status::Waiting) = (event, after.status) {
        after.run_at = *until;
    }
    match after.status.phase() {
        Phase::Held if before.status.phase() == Phase::Ready => {
            after.assigned_at = Some(now);
            after.started_at = after.started_at.or(Some(now));
        }
        Phase::Held | Phase::Parked => {}
        Phase::Ready => {
            after.finalized_at = None;
            if after.status == Status::FailedRetry && !matches!(event, Event::Retry | Event::Resume) {
                after.last_retry_at = Some(now);
            }
            let keeps_its_place =
                matches!(event, Event::LoseWorker | Event::Release | Event::Undelivered | Event::Resume);
            after.due = (keeps_its_place && before.due) || after.run_at <= now;
        }
        Phase::Final => {
            after.finalized_at = Some(now);
            if after.status == Status::Dead && event.kind(before.status) == EventKind::FailRetry {
                after.last_retry_at = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
