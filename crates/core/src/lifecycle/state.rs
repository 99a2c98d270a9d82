use std::sync::Arc;

use crate::{
    AssigneeId, Attempt, Backoff, EventKind, HistoryEntry, JobId, Labels, LastError, Lease, Phase, Priority,
    Start, Status, Timestamp, UniqueKey,
};

use super::{next, next_paused};

/// What the life cycle knows of a job: the part of the record that each transition rewrites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobState {
    /// The job.
    pub id: JobId,
    /// What it is found by.
    pub labels: Arc<Labels>,
    /// The key that no other unfinished job of its queue may hold.
    pub unique_key: Option<UniqueKey>,
    /// Where it stands.
    pub status: Status,
    /// While paused, the status that resuming gives back.
    pub resumes_to: Option<Status>,
    /// The event that led here, if it was reported by a lease: the same one from the same lease is a repetition.
    pub last_reported: Option<EventKind>,
    /// How often it has been claimed.
    pub attempt: Attempt,
    /// What `max_attempts` is compared with.
    pub failures: u32,
    /// Failures, failed stops and ended streams over the whole life.
    pub retry_count: u32,
    /// Workers lost in a row.
    pub crashes: u32,
    /// Failures after which the job is given up; `None` is never.
    pub max_attempts: Option<u32>,
    /// Lost workers after which the job is given up; at least 1.
    pub crash_limit: u32,
    /// How long it waits after a failure.
    pub backoff: Backoff,
    /// Lower runs first.
    pub priority: Priority,
    /// When it is due: its place in the order among jobs of its priority.
    pub run_at: Timestamp,
    /// Whether it has become due. A stored fact: a clock that goes back does not withdraw it.
    pub due: bool,
    /// The order of enqueues; breaks ties of `run_at`.
    pub sequence: u64,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it is given up unless it was started before.
    pub expires_at: Option<Timestamp>,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it was last claimed.
    pub assigned_at: Option<Timestamp>,
    /// When it last failed.
    pub last_retry_at: Option<Timestamp>,
    /// When it ended.
    pub finalized_at: Option<Timestamp>,
    /// Who holds it, or held it last.
    pub assignee: Option<AssigneeId>,
}

/// What the life cycle needs to know of a new job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The job.
    pub id: JobId,
    /// What it is found by.
    pub labels: Arc<Labels>,
    /// The key that no other unfinished job of its queue may hold.
    pub unique_key: Option<UniqueKey>,
    /// Lower runs first.
    pub priority: Priority,
    /// When it is to start.
    pub start: Start,
    /// Failures after which the job is given up; `None` is never.
    pub max_attempts: Option<u32>,
    /// Lost workers after which the job is given up.
    pub crash_limit: u32,
    /// How long it waits after a failure.
    pub backoff: Backoff,
    /// How long after the enqueue it is given up unless it was started before.
    pub expires_after: Option<std::time::Duration>,
}

impl JobState {
    /// A new job, enqueued at `now` as the `sequence`-th of its store.
    pub fn admit(new: &Admission, sequence: u64, now: Timestamp) -> JobState {
        let run_at = match new.start {
            Start::Now => now,
            Start::At(at) => at,
            Start::After(delay) => now.plus(delay),
        };
        JobState {
            id: new.id,
            labels: Arc::clone(&new.labels),
            unique_key: new.unique_key.clone(),
            status: Status::InitialPending,
            resumes_to: None,
            last_reported: None,
            attempt: Attempt(0),
            failures: 0,
            retry_count: 0,
            crashes: 0,
            max_attempts: new.max_attempts,
            crash_limit: new.crash_limit.max(1),
            backoff: new.backoff,
            priority: new.priority,
            run_at,
            due: run_at <= now,
            sequence,
            created_at: now,
            expires_at: new.expires_after.map(|span| now.plus(span)),
            started_at: None,
            assigned_at: None,
            last_retry_at: None,
            finalized_at: None,
            assignee: None,
        }
    }

    /// The phase of the job's status.
    pub fn phase(&self) -> Phase {
        self.status.phase()
    }

    /// The status `event` leads to, by the table and the status a paused job remembers.
    pub fn next(&self, event: EventKind) -> Option<Status> {
        match self.resumes_to {
            Some(remembered) if self.status == Status::Paused => next_paused(remembered, event),
            _ => next(self.status, event),
        }
    }

    /// Whether the job can be claimed now, the crash limit apart.
    pub fn is_claimable(&self) -> bool {
        self.phase() == Phase::Ready && self.due
    }

    /// Whether one more lost worker ends the job. Such a job is claimed only while no other one is held, so
    /// that a job that kills its process does so alone. With a crash limit of 1 a job is one from the start.
    pub fn is_suspect(&self) -> bool {
        self.crashes.saturating_add(1) >= self.crash_limit
    }

    /// Whether its worker was asked to stop and has not answered yet.
    pub fn is_cancelling(&self) -> bool {
        self.status == Status::Cancelling
    }

    /// Whether the job waits for its first start under a deadline.
    pub fn awaits_deadline(&self) -> bool {
        let waiting = self.resumes_to.unwrap_or(self.status);
        self.expires_at.is_some() && waiting == Status::InitialPending
    }

    /// The order of claims within a queue.
    pub fn order_key(&self) -> (Priority, Timestamp, u64) {
        (self.priority, self.run_at, self.sequence)
    }

    /// The lease of the current attempt.
    pub fn lease(&self) -> Lease {
        Lease { id: self.id, attempt: self.attempt }
    }

    /// The job as it is when its time has come: due, and otherwise unchanged.
    #[must_use]
    pub fn promoted(&self) -> JobState {
        JobState { due: true, ..self.clone() }
    }
}

/// What a transition means for rows other than the job's own, applied in the same transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    /// What becomes of the job's unique key.
    pub unique_key: KeyChange,
}

/// What becomes of a unique key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyChange {
    /// Nothing.
    #[default]
    Keep,
    /// The job takes its key, or is rejected when another job holds it.
    Take,
    /// The job gives its key up.
    Release,
}

/// What follows from a transition for rows other than the job's own.
pub fn consequences(of: &Transition) -> Consequences {
    let unique_key = match (&of.after.unique_key, of.before.status.is_final(), of.after.status.is_final()) {
        (None, _, _) => KeyChange::Keep,
        (Some(_), true, false) => KeyChange::Take,
        (Some(_), false, true) => KeyChange::Release,
        (Some(_), _, _) => KeyChange::Keep,
    };
    Consequences { unique_key }
}

/// One step of a job: what it was and what it is.
///
/// What follows for slots, indexes and wake-ups is derived from the two phases, never listed per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job before.
    pub before: JobState,
    /// The job after.
    pub after: JobState,
    /// What happened.
    pub event: EventKind,
    /// When.
    pub at: Timestamp,
    /// What to keep as the job's last error; `None` keeps the one it has.
    pub error: Option<LastError>,
}

impl Transition {
    /// Whether the step was accepted and changes nothing.
    pub fn is_noop(&self) -> bool {
        self.before == self.after
    }

    /// Whether a slot was taken.
    pub fn took_slot(&self) -> bool {
        self.before.phase() != Phase::Held && self.after.phase() == Phase::Held
    }

    /// Whether a slot was freed.
    pub fn freed_slot(&self) -> bool {
        self.before.phase() == Phase::Held && self.after.phase() != Phase::Held
    }

    /// Whether the job can now be claimed and could not before, moved in the order, or is no longer one that
    /// has to wait for others ([`JobState::is_suspect`]).
    pub fn became_ready(&self) -> bool {
        let (before, after) = (&self.before, &self.after);
        after.is_claimable()
            && (!before.is_claimable()
                || before.order_key() != after.order_key()
                || before.is_suspect() != after.is_suspect())
    }

    /// Whether a worker has to be told that its job was cancelled.
    pub fn requested_cancel(&self) -> bool {
        self.before.status == Status::Running && self.after.is_cancelling()
    }

    /// The line this step leaves in the job's history.
    pub fn history(&self) -> HistoryEntry {
        HistoryEntry {
            at: self.at,
            event: self.event,
            from: self.before.status,
            to: self.after.status,
            attempt: self.after.attempt,
            assignee: self.after.assignee.clone(),
            message: self.error.as_ref().map(|error| error.message.clone()),
        }
    }
}
