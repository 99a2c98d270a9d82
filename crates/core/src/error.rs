mod call;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::{Attempt, EventKind, JobId, Status};

pub use call::{Error, ErrorKind};

/// The job said no: the store is fine, and this job is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The life cycle has no such step.
    #[error("job {id} is {status}, which does not allow {event}")]
    Illegal {
        /// The job.
        id: JobId,
        /// Where it stands.
        status: Status,
        /// What was asked.
        event: EventKind,
    },
    /// The lease is of another attempt than the job's current one.
    #[error("job {id} is at attempt {current}, the lease is of attempt {given}")]
    StaleAttempt {
        /// The job.
        id: JobId,
        /// The attempt of the lease.
        given: Attempt,
        /// The attempt of the job.
        current: Attempt,
    },
    /// The same lease has already reported the same outcome, and it still stands.
    #[error("job {id} is {status}: this lease has already reported {event}")]
    AlreadyApplied {
        /// The job.
        id: JobId,
        /// Where it stands.
        status: Status,
        /// What was asked again.
        event: EventKind,
    },
    /// No job has this id.
    #[error("there is no job {id}")]
    NotFound {
        /// The id.
        id: JobId,
    },
    /// A job with this id exists already, in the store or earlier in the same batch, or this unfinished job
    /// holds the unique key.
    #[error("job {id} exists already and has the same id or unique key")]
    Duplicate {
        /// The job that is in the way.
        id: JobId,
    },
    /// Only jobs that are over can be deleted.
    #[error("job {id} is {status}, only a job that is over can be deleted")]
    NotFinal {
        /// The job.
        id: JobId,
        /// Where it stands.
        status: Status,
    },
    /// Another part of the same all-or-nothing batch was rejected, so this part was not applied either.
    #[error("not applied: another part of the same batch was rejected")]
    NotApplied,
}

impl Rejected {
    /// The job that said no; `None` for [`Rejected::NotApplied`].
    pub fn id(&self) -> Option<JobId> {
        match self {
            Rejected::Illegal { id, .. }
            | Rejected::StaleAttempt { id, .. }
            | Rejected::AlreadyApplied { id, .. }
            | Rejected::NotFound { id }
            | Rejected::Duplicate { id }
            | Rejected::NotFinal { id, .. } => Some(*id),
            Rejected::NotApplied => None,
        }
    }
}

/// An argument that no call accepts. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument}: {reason}")]
pub struct Invalid {
    /// The argument's name.
    pub argument: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// An error about `argument`.
    pub fn new(argument: &'static str, reason: impl Into<String>) -> Self {
        Invalid { argument, reason: reason.into() }
    }
}

/// Whether a failed call changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// Nothing was changed.
    No,
    /// The change is there entirely or not at all. Repeating the call with the same job ids is safe.
    Unknown,
}

/// How a store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// Someone else holds what is needed, for now.
    Busy,
    /// The store is already open, here or in another process.
    AlreadyOpen,
    /// Stored data is damaged. The message names what. A store that was refused so is as it was; `poolqueue::salvage` reads
    /// what is left of it into a new one.
    Corrupted,
    /// The store was written by a newer version of this crate.
    NewerFormat,
    /// The disk, or what the user allowed of it, is full.
    Full,
    /// Something is larger than its limit.
    TooLarge,
    /// The handle takes no more calls: it was closed, or an earlier error ended it.
    Closed,
    /// The operating system reported an error.
    Io,
    /// What was asked cannot be, for a reason the message gives.
    Invalid,
}

/// The store failed.
#[derive(Clone, Debug)]
pub struct BackendError {
    kind: BackendErrorKind,
    applied: Applied,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl BackendError {
    /// An error of this kind that changed nothing.
    pub fn new(kind: BackendErrorKind, message: impl Into<String>) -> Self {
        BackendError { kind, applied: Applied::No, message: message.into(), source: None }
    }

    /// Damage, described by what was found where.
    pub fn corrupted(what: impl Into<String>) -> Self {
        Self::new(BackendErrorKind::Corrupted, what)
    }

    /// The handle was closed on purpose.
    pub fn closed() -> Self {
        Self::new(BackendErrorKind::Closed, "the queue is closed")
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The same error, after a commit whose outcome is not known.
    #[must_use]
    pub fn with_applied(mut self, applied: Applied) -> Self {
        self.applied = applied;
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> BackendErrorKind {
        self.kind
    }

    /// Whether the failed call changed anything.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Whether a handle whose transaction failed so writes nothing more until it is reopened: what is stored is not known,
    /// or the next transaction would fare no better.
    pub fn ends_handle(&self) -> bool {
        let passing = matches!(
            self.kind,
            BackendErrorKind::Full
                | BackendErrorKind::TooLarge
                | BackendErrorKind::Busy
                | BackendErrorKind::Invalid
        );
        !passing || self.applied == Applied::Unknown
    }

    /// The same failure as later callers of a handle see it: [`BackendErrorKind::Closed`] with this cause.
    pub fn as_cause_of_closing(&self) -> Self {
        Self::new(BackendErrorKind::Closed, "an earlier error ended this handle; reopen() starts it again")
            .with_source(self.clone())
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

impl From<Invalid> for BackendError {
    fn from(invalid: Invalid) -> Self {
        Self::new(BackendErrorKind::Invalid, invalid.to_string()).with_source(invalid)
    }
}
