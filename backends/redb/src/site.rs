//! What goes wrong, said with the path of the file it went wrong in.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use poolqueue_core::{BackendError, BackendErrorKind};

use crate::codec::Flaw;
use crate::format::Layout;

/// Where a store is: its file, as errors name it, and its tables in there.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    path: Arc<Path>,
    layout: Arc<Layout>,
}

impl Site {
    pub(crate) fn new(path: PathBuf, layout: Layout) -> Self {
        Site { path: path.into(), layout: Arc::new(layout) }
    }

    /// The tables in a database of the application's, of whose file nothing is known.
    pub(crate) fn of_application(layout: Layout) -> Self {
        Self::new(format!("the application's database ({}*)", layout.prefix()).into(), layout)
    }

    /// The same tables in another file.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        Site { path: path.into(), layout: Arc::clone(&self.layout) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// An error about this file.
    pub(crate) fn error(&self, kind: BackendErrorKind, what: impl Display) -> BackendError {
        BackendError::new(kind, format!("{}: {what}", self.path.display()))
    }

    /// What the system said about this file.
    pub(crate) fn io(&self, doing: &str, error: io::Error) -> BackendError {
        self.error(kind_of_io(&error), format_args!("cannot {doing}: {error}")).with_source(error)
    }

    /// What redb said.
    pub(crate) fn engine(&self, doing: &str, error: impl Into<redb::Error>) -> BackendError {
        use redb::Error as E;
        let error = error.into();
        let kind = match &error {
            E::DatabaseClosed => return BackendError::closed(),
            E::Io(error) => kind_of_io(error),
            E::Unsupported => BackendErrorKind::Io,
            // It wants nothing more of a file of which an operation failed.
            E::PreviousIo => BackendErrorKind::Closed,
            E::ValueTooLarge(_) => BackendErrorKind::TooLarge,
            E::DatabaseAlreadyOpen | E::LockProtocolMismatch => {
                let what = "is already open, here or in another process";
                return self.error(BackendErrorKind::AlreadyOpen, what).with_source(error);
            }
            E::UpgradeRequired(_) => BackendErrorKind::Invalid,
            E::TransactionInProgress => BackendErrorKind::Busy,
            // Everything else says that the file is not what redb or this crate has written.
            _ => BackendErrorKind::Corrupted,
        };
        self.error(kind, format_args!("cannot {doing}: {error}")).with_source(error)
    }

    /// A stored value that cannot be used; `what` names it.
    pub(crate) fn flaw(&self, what: impl Display, flaw: Flaw) -> BackendError {
        match flaw {
            Flaw::Newer { found, known } => self.error(
                BackendErrorKind::NewerFormat,
                format_args!("{what} has the format {found}, this version of poolqueue knows {known}"),
            ),
            Flaw::TooLarge(size) => {
                self.error(BackendErrorKind::TooLarge, format_args!("{what} takes {size} bytes"))
            }
            Flaw::Unfit(reason) => {
                self.error(BackendErrorKind::Invalid, format_args!("{what} cannot be stored: {reason}"))
            }
            Flaw::Damaged(reason) => self.corrupted(format_args!("{what} is damaged: {reason}")),
        }
    }

    /// Damage.
    pub(crate) fn corrupted(&self, what: impl Display) -> BackendError {
        self.error(BackendErrorKind::Corrupted, what)
    }

    /// Runs what calls into redb. redb trusts a page that passed its checks and panics where a damaged one
    /// did not add up; such a panic is an error like any other.
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

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn kind_of_io(error: &io::Error) -> BackendErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BackendErrorKind::Full
        }
        // redb reads only what its own pages say is there.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => BackendErrorKind::Corrupted,
        _ => BackendErrorKind::Io,
    }
}
