use super::{Applied, BackendError, BackendErrorKind, Invalid, Rejected};
use crate::Refused;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job said no. Nothing was changed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// An argument cannot be. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Something is larger than its limit. Nothing was changed.
    #[error("{0}")]
    TooLarge(String),
    /// The store failed.
    #[error(transparent)]
    Backend(BackendError),
}

/// What sort of failure it was, for deciding what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The job said no.
    Rejected,
    /// An argument cannot be.
    Invalid,
    /// Something is larger than its limit.
    TooLarge,
    /// The store cannot be used now: it is busy, open elsewhere or closed.
    Unavailable,
    /// The store's data is damaged, or of a newer format.
    Damaged,
    /// The storage failed: an I/O error, or no room.
    Storage,
}

impl Error {
    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Rejected(_) => ErrorKind::Rejected,
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::TooLarge(_) => ErrorKind::TooLarge,
            Error::Backend(error) => match error.kind() {
                BackendErrorKind::Busy | BackendErrorKind::AlreadyOpen | BackendErrorKind::Closed => {
                    ErrorKind::Unavailable
                }
                BackendErrorKind::Corrupted | BackendErrorKind::NewerFormat => ErrorKind::Damaged,
                BackendErrorKind::TooLarge => ErrorKind::TooLarge,
                BackendErrorKind::Invalid => ErrorKind::Invalid,
                _ => ErrorKind::Storage,
            },
        }
    }

    /// How the store failed, if it was the store.
    pub fn backend_kind(&self) -> Option<BackendErrorKind> {
        match self {
            Error::Backend(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Why the job said no, if it was the job.
    pub fn rejected(&self) -> Option<&Rejected> {
        match self {
            Error::Rejected(rejected) => Some(rejected),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anything being repaired: the store was busy, or its disk
    /// was full and nothing was written.
    pub fn is_retryable(&self) -> bool {
        matches!(self.backend_kind(), Some(BackendErrorKind::Busy | BackendErrorKind::Full))
            && self.applied() == Applied::No
    }

    /// Whether the failed call changed anything.
    pub fn applied(&self) -> Applied {
        match self {
            Error::Backend(error) => error.applied(),
            _ => Applied::No,
        }
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let argument = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Invalid>());
        match error.kind() {
            BackendErrorKind::TooLarge => Error::TooLarge(error.to_string()),
            BackendErrorKind::Invalid => {
                argument.cloned().map_or(Error::Backend(error.clone()), Error::Invalid)
            }
            _ => Error::Backend(error),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(invalid) => Error::Invalid(invalid),
            other => Error::TooLarge(other.to_string()),
        }
    }
}
