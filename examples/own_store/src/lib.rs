//! A poolqueue store of one's own: a log file, and its rows in memory.
//!
//! Written for reading, after `docs/backends.md`. It suits queues whose jobs fit into memory. Each transaction is one
//! frame appended to the file and synced; opening reads the file from its beginning.

mod entry;
mod log;
mod rows;
mod snapshot;
mod txn;

use std::any::Any;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use poolqueue_core::{
    BackendError, BackendErrorKind, Detail, Embedded, EmbeddedOptions, Profile, Store, Txn, Verdict,
};

use crate::log::Log;
use crate::rows::Rows;
pub use crate::snapshot::{LogReader, LogSnapshot};
use crate::txn::LogTxn;

/// Opens a backend on the log at `path`, which is made if it is not there.
///
/// # Errors
/// `AlreadyOpen` when someone has it open, `Corrupted` when it is damaged, `NewerFormat`, `Invalid` when it is another
/// program's file, `Io` and `Full`.
pub fn open(path: impl Into<PathBuf>, options: EmbeddedOptions) -> Result<Embedded<LogStore>, BackendError> {
    // Exclusive, by the lock: whoever held a job when the log was closed is gone.
    let profile = Profile { engine: "log", durable: true, exclusive: true };
    Embedded::start(LogStore::open(path)?, profile, options)
}

/// The store.
pub struct LogStore {
    shared: Arc<Shared>,
    /// `None` when the store is closed.
    open: Option<Open>,
}

struct Open {
    log: Log,
    _lock: File,
}

/// What the writer and the readers share.
struct Shared {
    path: PathBuf,
    /// Committed data, except while the writer has it locked. `None` when the store is closed.
    rows: RwLock<Option<Rows>>,
}

impl Shared {
    fn set(&self, rows: Option<Rows>) {
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

impl LogStore {
    /// Opens the log at `path`.
    ///
    /// # Errors
    /// As for [`open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, BackendError> {
        let path = path.into();
        // One file has one lock, whatever name it is opened by.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let lock = log::lock(&path)?;
        let (log, rows) = Log::open(&path, false)?;
        let shared = Arc::new(Shared { path, rows: RwLock::new(Some(rows)) });
        Ok(LogStore { shared, open: Some(Open { log, _lock: lock }) })
    }
}

impl Store for LogStore {
    type Reader = LogReader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        let open = self.open.as_mut().ok_or_else(BackendError::closed)?;
        // Locked until the transaction is durable or undone: nobody reads what may not come to be.
        let mut guard = self.shared.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut txn = LogTxn::new(guard.as_mut().ok_or_else(BackendError::closed)?);
        let judged = catch_unwind(AssertUnwindSafe(|| group(&mut txn)));
        let written = match judged.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(Verdict::Commit) if txn.entries.is_empty() => return Ok(()),
            Ok(Verdict::Commit) => open.log.append(&txn.entries),
            Ok(Verdict::Rollback) => {
                txn.roll_back();
                return Ok(());
            }
            Err(error) => Err(error),
        };
        if written.is_err() {
            txn.roll_back();
        }
        written
    }

    fn reader(&self) -> LogReader {
        LogReader(Arc::clone(&self.shared))
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        let lock = match self.open.take() {
            Some(open) => open._lock,
            None => log::lock(&self.shared.path)?,
        };
        // Written anew: after a failed sync, what can be read from the file need not be on the disk.
        let (log, rows) = Log::open(&self.shared.path, true)?;
        self.shared.set(Some(rows));
        self.open = Some(Open { log, _lock: lock });
        Ok(())
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.shared.set(None);
        match self.open.take() {
            Some(mut open) => open.log.append(&[]),
            None => Ok(()),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> BackendError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    BackendError::new(BackendErrorKind::Io, format!("a panic ended the transaction: {text}"))
}
