use crate::{AssigneeId, EventKind, Failure, Output, Status, Timestamp};

use super::JobState;

/// Something that happens to a job, with what is reported along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker takes the job.
    Claim {
        /// Who takes it.
        assignee: AssigneeId,
    },
    /// The worker reports success.
    Complete {
        /// What the job leaves behind.
        output: Output,
    },
    /// The worker reports a failure.
    FailRetry {
        /// What went wrong and how to go on.
        failure: Failure,
        /// Evenly distributed bits for the backoff's jitter.
        random: u64,
    },
    /// The stream that holds the job ended without an answer: a running job is due again at once, a cancelled
    /// one ends with its worker unknown.
    StreamEnded {
        /// What is reported.
        message: String,
    },
    /// The job is stopped for good.
    Stop {
        /// Why; may be empty.
        message: String,
    },
    /// The job is stopped for good, counted as a retry.
    StopFailed {
        /// Why; may be empty.
        message: String,
    },
    /// The job is stopped for good, its worker unknown.
    UnknownStop {
        /// Why; may be empty.
        message: String,
    },
    /// The worker answers a cancel request. Only from [`Status::Cancelling`].
    AcknowledgeCancel {
        /// Whether the worker was at work on the job: a [`EventKind::Stop`] if so, else an
        /// [`EventKind::UnknownStop`].
        was_executing: bool,
        /// What the worker has to say; may be empty.
        message: String,
    },
    /// Someone asks for the job not to run.
    Cancel,
    /// The worker is gone.
    LoseWorker,
    /// The worker hands the job back.
    Release,
    /// The claim that took the job was withdrawn before anyone saw the job: a [`EventKind::Release`] that is no
    /// answer, so that the crashes of earlier attempts stay counted.
    Undelivered,
    /// The job suspends itself.
    Suspend {
        /// When it is due again; [`Timestamp::NEVER`] until something wakes it.
        until: Timestamp,
    },
    /// The job was not started by its deadline.
    Expire,
    /// An operator sets the job aside.
    Pause,
    /// An operator puts a paused job back.
    Resume,
    /// An operator starts an ended job anew.
    Retry,
}

impl Event {
    /// The column of the table this event stands in, for a job that is `from`.
    pub fn kind(&self, from: Status) -> EventKind {
        match self {
            Event::Claim { .. } => EventKind::Claim,
            Event::Complete { .. } => EventKind::Complete,
            Event::FailRetry { .. } => EventKind::FailRetry,
            // Also from where it leads, so that a repetition is seen to be one.
            Event::StreamEnded { .. } if matches!(from, Status::Cancelling | Status::UnknownStopped) => {
                EventKind::UnknownStop
            }
            Event::StreamEnded { .. } => EventKind::FailRetry,
            Event::Stop { .. } => EventKind::Stop,
            Event::StopFailed { .. } => EventKind::StopFailed,
            Event::UnknownStop { .. } => EventKind::UnknownStop,
            Event::AcknowledgeCancel { was_executing: true, .. } => EventKind::Stop,
            Event::AcknowledgeCancel { was_executing: false, .. } => EventKind::UnknownStop,
            Event::Cancel => EventKind::Cancel,
            Event::LoseWorker => EventKind::LoseWorker,
            Event::Release | Event::Undelivered => EventKind::Release,
            Event::Suspend { .. } => EventKind::Suspend,
            Event::Expire => EventKind::Expire,
            Event::Pause => EventKind::Pause,
            Event::Resume => EventKind::Resume,
            Event::Retry => EventKind::Retry,
        }
    }

    /// What an event asks of a job beyond the table.
    pub(super) fn applies_to(&self, job: &JobState, now: Timestamp) -> bool {
        match self {
            Event::AcknowledgeCancel { .. } => job.status == Status::Cancelling,
            Event::StreamEnded { .. } => matches!(job.status, Status::Running | Status::Cancelling),
            Event::Claim { .. } => job.due,
            Event::Expire => job.expires_at.is_some_and(|deadline| deadline <= now),
            _ => true,
        }
    }

    /// The same event with its message as it is stored: control characters visible, `bytes_max` at most.
    pub(crate) fn tidied(mut self, bytes_max: usize) -> Self {
        match &mut self {
            Event::FailRetry { failure: Failure { message, .. }, .. }
            | Event::StreamEnded { message }
            | Event::Stop { message }
            | Event::StopFailed { message }
            | Event::UnknownStop { message }
            | Event::AcknowledgeCancel { message, .. } => *message = crate::limits::tidy(message, bytes_max),
            _ => {}
        }
        self
    }
}
