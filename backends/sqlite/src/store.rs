use std::path::{Path, PathBuf};
use std::sync::Arc;

use poolqueue_core::{Applied, BackendError, BackendErrorKind, JobId, Store, Txn, Verdict};
use rusqlite::Connection;

use crate::codec::Names;
use crate::database::{self, Opened};
use crate::options::SqliteOptions;
use crate::reader::SqliteReader;
use crate::shared::Shared;
use crate::site::Site;
use crate::sql::{Sql, check_prefix};
use crate::txn::{SqliteTxn, membership};

/// A queue in one SQLite file.
///
/// A committed transaction is on stable storage: the file has a write-ahead log and `synchronous` is `FULL`, set
/// and read back on every connection. Nothing about jobs is kept in memory. Every row carries a checksum.
/// Dropping the store closes it and ignores errors; [`close`](Store::close) reports them.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    opened: Option<Opened>,
    names: Names,
    /// The error after which it is not known what is in the file. Ends with [`reopen`](Store::reopen).
    broken: Option<BackendError>,
}

impl SqliteStore {
    /// Opens the store at `path`; makes a new one when there is no file. Directories are not created.
    ///
    /// A new file is built under another name and linked to its own when it is whole and durable: there
    /// is never a half-made one at `path`. While the store is open, the file `path` + `-poolqueue-lock` keeps other
    /// openers out; it stays behind, empty.
    ///
    /// # Errors
    /// Each names the path and says what is wrong with it; nothing is created, emptied or repaired unasked.
    /// `AlreadyOpen` at once when the file is open here or in another process; `Invalid` when it is `:memory:`, a
    /// directory, not a SQLite file or another program's, or when a setting did not take; `Corrupted` when it is
    /// empty or damaged; `NewerFormat` when a newer version wrote it; `Busy` when another program keeps it
    /// locked; `Full`; otherwise `Io` with the system's reason.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, BackendError> {
        let path = path.as_ref();
        let given = Site::new(PathBuf::from(path));
        if path.as_os_str() == ":memory:" || path.as_os_str().is_empty() {
            let what = "is no file: a queue that is not kept is opened as \"memory:\"";
            return Err(given.error(BackendErrorKind::Invalid, what));
        }
        check_prefix(&options.table_prefix, &given)?;
        // Absolute, so that a later change of the working directory does not lead reopen() astray.
        let absolute = std::path::absolute(path).map_err(|error| given.io("find its directory", error))?;
        let sql = Sql::new(&options.table_prefix);
        let shared = Arc::new(Shared::new(Site::new(absolute), options, sql));
        let opened = database::open_or_create(shared.site(), shared.options(), shared.sql())?;
        shared.install();
        Ok(SqliteStore { shared, opened: Some(opened), names: Names::default(), broken: None })
    }

    /// The path of the file, absolute.
    pub fn path(&self) -> &Path {
        self.shared.site().path()
    }

    /// For each id: whether the indexes of jobs that wait (due or not) hold it, and whether the index of held
    /// jobs does: what is stored, not what should be. For tools that compare.
    ///
    /// # Errors
    /// What SQLite reports; `Closed` after closing.
    pub fn membership(&self, ids: &[JobId]) -> Result<Vec<(bool, bool)>, BackendError> {
        let opened = self.opened.as_ref().ok_or_else(BackendError::closed)?;
        membership(&opened.conn, self.shared.sql(), ids)
            .map_err(|error| self.shared.site().engine("read the indexes", error))
    }

    /// Runs the group in the transaction that was begun. What it did is not committed.
    fn run(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<Outcome, BackendError> {
        let conn = connection(&self.opened)?;
        let (shared, names) = (&self.shared, &mut self.names);
        shared.site().guard("apply a transaction", || {
            let mut own = SqliteTxn::new(conn, shared, names);
            match group(&mut own)? {
                Verdict::Rollback => Ok(Outcome::Nothing),
                Verdict::Commit if !own.wrote() => Ok(Outcome::Nothing),
                Verdict::Commit => own.finish().map(|()| Outcome::Commit),
            }
        })
    }

    fn execute(&self, sql: &str, doing: &str) -> Result<(), BackendError> {
        execute(connection(&self.opened)?, sql).map_err(|error| self.shared.site().engine(doing, error))
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        let Err(error) = self.execute(&self.shared.sql().commit, "commit") else { return Ok(()) };
        // A full disk or a waiting writer is met before the commit is written, and then all of it is undone.
        let harmless = matches!(error.kind(), BackendErrorKind::Full | BackendErrorKind::Busy);
        match self.rollback() {
            Ok(()) if harmless => Err(error),
            _ => {
                let error = error.with_applied(Applied::Unknown);
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Undoes what was not committed, if SQLite has not done so on its own.
    fn rollback(&self) -> Result<(), BackendError> {
        if connection(&self.opened)?.is_autocommit() {
            return Ok(());
        }
        self.execute(&self.shared.sql().rollback, "roll back")
    }

    fn shut(&mut self) -> Result<(), BackendError> {
        // First the readers that nobody uses: the last connection to close moves the log into the file, which
        // one that only reads cannot do.
        self.shared.remove();
        let Some(Opened { conn, lock }) = self.opened.take() else { return Ok(()) };
        let closed = conn.close().map_err(|(_, error)| self.shared.site().engine("close", error));
        drop(lock);
        closed
    }
}

/// What becomes of a transaction whose group ran to its end.
enum Outcome {
    Commit,
    Nothing,
}

fn connection(opened: &Option<Opened>) -> Result<&Connection, BackendError> {
    opened.as_ref().map(|opened| &opened.conn).ok_or_else(BackendError::closed)
}

/// Runs a statement without parameters.
pub(crate) fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}

impl Store for SqliteStore {
    type Reader = SqliteReader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        if let Some(cause) = &self.broken {
            return Err(cause.as_cause_of_closing());
        }
        self.execute(&self.shared.sql().begin_write, "begin a transaction")?;
        let result = match self.run(group) {
            Ok(Outcome::Commit) => self.commit(),
            Ok(Outcome::Nothing) => self.rollback(),
            Err(error) => match self.rollback() {
                Ok(()) => Err(error),
                Err(rollback) => {
                    self.broken = Some(rollback);
                    Err(error)
                }
            },
        };
        self.shared.noted(result)
    }

    fn reader(&self) -> SqliteReader {
        SqliteReader::new(Arc::clone(&self.shared))
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        // An error of closing is what made reopening necessary, or will show again.
        let _ = self.shut();
        self.broken = Some(BackendError::new(BackendErrorKind::Closed, "the store could not be reopened"));
        let opened = database::open_existing(self.shared.site(), self.shared.options(), self.shared.sql())?;
        self.shared.install();
        self.opened = Some(opened);
        self.broken = None;
        Ok(())
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.shut()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let _ = self.shut();
    }
}

#[cfg(test)]
mod tests;
