//! What goes wrong, said with the path of the file it went wrong in.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use poolqueue_core::{BackendError, BackendErrorKind};
use rusqlite::{ErrorCode, ffi};

use crate::codec::Flaw;

/// A store's file, as errors name it.
#[derive(Clone, Debug)]
pub(crate) struct Site(Arc<Path>);

impl Site {
    pub(crate) fn new(path: PathBuf) -> Self {
        Site(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path with something after it: the names of the files that SQLite keeps beside the database.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// An error about this file.
    pub(crate) fn error(&self, kind: BackendErrorKind, what: impl Display) -> BackendError {
        BackendError::new(kind, format!("{}: {what}", self.0.display()))
    }

    /// What the system said about this file.
    pub(crate) fn io(&self, doing: &str, error: io::Error) -> BackendError {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                BackendErrorKind::Full
            }
            _ => BackendErrorKind::Io,
        };
        self.error(kind, format_args!("cannot {doing}: {error}")).with_source(error)
    }

    /// What SQLite said.
    pub(crate) fn engine(&self, doing: &str, error: rusqlite::Error) -> BackendError {
        let kind = kind_of(&error);
        let what = match kind {
            BackendErrorKind::Busy => format!("cannot {doing}: another writer holds the file: {error}"),
            _ => format!("cannot {doing}: {error}"),
        };
        self.error(kind, what).with_source(error)
    }

    /// A stored row that cannot be used; `what` names it.
    pub(crate) fn flaw(&self, what: impl Display, flaw: Flaw) -> BackendError {
        self.corrupted(format_args!("{what} is damaged: {}", flaw.0))
    }

    /// Damage.
    pub(crate) fn corrupted(&self, what: impl Display) -> BackendError {
        self.error(BackendErrorKind::Corrupted, what)
    }

    /// Runs what calls into the store; a panic is an error like any other.
    pub(crate) fn guard<T>(
        &self,
        doing: &str,
        call: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(result) => result,
            Err(panic) => {
                let text = text_of(&*panic);
                Err(self.corrupted(format_args!("a panic while trying to {doing}: {text}")))
            }
        }
    }
}

/// Whether a commit that failed so has committed nothing for certain: a full disk and a waiting writer are met before
/// anything is written.
pub(crate) fn is_before_commit(error: &BackendError) -> bool {
    matches!(error.kind(), BackendErrorKind::Full | BackendErrorKind::Busy)
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What an error of SQLite means for a caller.
fn kind_of(error: &rusqlite::Error) -> BackendErrorKind {
    // The file ends before a page that it should have, or the disk itself says that what it read is not what was written.
    const DAMAGE: [i32; 3] =
        [ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_DATA, ffi::SQLITE_IOERR_CORRUPTFS];
    if error.sqlite_extended_error_code().is_some_and(|code| DAMAGE.contains(&code)) {
        return BackendErrorKind::Corrupted;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => BackendErrorKind::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => BackendErrorKind::Busy,
        Some(ErrorCode::TooBig) => BackendErrorKind::TooLarge,
        // A statement that does not fit the tables, or a row that breaks a constraint: somebody else has been at
        // them.
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::SchemaChanged
            | ErrorCode::Unknown,
        ) => BackendErrorKind::Corrupted,
        Some(_) => BackendErrorKind::Io,
        // rusqlite's own: a value is not of the type the column has.
        None => BackendErrorKind::Corrupted,
    }
}
