use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolqueue_core::{
    Applied, Attention, BackendError, BackendErrorKind, JobId, Lease, Store, SyncPolicy, Txn, Verdict,
};
use rusqlite::Connection;

use crate::log::Log;
use crate::memory::Memory;
use crate::options::SqliteOptions;
use crate::peers::{Peers, data_version};
use crate::reader::SqliteReader;
use crate::shared::Shared;
use crate::site::{Site, is_before_commit};
use crate::sql::{Sql, check_prefix};
use crate::turns::Turns;
use crate::txn::{SqliteTxn, membership};
use crate::{busy, database, settings};

/// The shortest lease of a handle.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// Whoever waited so long for the file was not listening.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How often the length of the log is looked at where several write.
const LOG_CHECK: Duration = Duration::from_secs(1);
/// A log of so many times the pages after which a commit moves them is long.
const LONG_LOG: i64 = 2;
/// How long others are waited for, and kept waiting, to begin a long log anew.
const LOG_WAIT: Duration = Duration::from_millis(200);
/// A wait that others may not have been able to write in.
const WAIT: Duration = Duration::from_millis(100);

/// A queue in one SQLite file.
///
/// A committed transaction is on stable storage: the file has a write-ahead log and `synchronous` is `FULL`, set
/// and read back on every connection, unless [`SqliteOptions::sync`] says otherwise. Of the jobs only the rows that were worked
/// on last are kept in memory, and those only until somebody else commits. Every row carries a checksum.
/// Dropping the store closes it and ignores errors; [`close`](Store::close) reports them.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    conn: Option<Connection>,
    /// The handles of the file, this one among them; `None` once it is closed.
    peers: Option<Peers>,
    turns: Turns,
    /// When the length of the log was looked at last.
    tidied: Instant,
    memory: Memory,
    /// The error after which it is not known what is in the file. Ends with [`reopen`](Store::reopen).
    broken: Option<BackendError>,
    log: Log,
    /// What a sync between two transactions failed with. The next one tells.
    failed_sync: Option<BackendError>,
}

impl SqliteStore {
    /// Opens the store at `path`; makes a new one when there is no file. Directories are not created.
    ///
    /// A new file is built under another name and linked to its own when it is whole and durable: there
    /// is never a half-made one at `path`. Several stores, in this process and others, may be open on one file: each
    /// holds a lock on an empty file of its own, `path` + `-poolqueue_handle-` + a number, by which the others know that it
    /// lives.
    ///
    /// # Errors
    /// Each names the path and says what is wrong with it; nothing is created, emptied or repaired unasked.
    /// `Invalid` when it is `:memory:`, a directory, not a SQLite file or another program's, when an option cannot be, or
    /// when a setting did not take; `Corrupted` when it is empty or damaged; `NewerFormat` when a newer version wrote it;
    /// `Busy` when another program keeps it locked; `Full`; otherwise `Io` with the system's reason.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, BackendError> {
        let path = path.as_ref();
        let given = Site::new(PathBuf::from(path));
        if path.as_os_str() == ":memory:" || path.as_os_str().is_empty() {
            let what = "is no file: a queue that is not kept is opened as \"memory:\"";
            return Err(given.error(BackendErrorKind::Invalid, what));
        }
        options.sync.check()?;
        check_prefix(&options.table_prefix, &given)?;
        // Absolute, so that a later change of the working directory does not lead reopen() astray.
        let absolute = std::path::absolute(path).map_err(|error| given.io("find its directory", error))?;
        let sql = Sql::new(&options.table_prefix);
        let log = Log::new(&options);
        let shared = Arc::new(Shared::new(Site::new(absolute), options, sql));
        let conn = database::open_or_create(shared.site(), shared.options(), shared.sql())?;
        let mut store = SqliteStore {
            shared,
            conn: None,
            peers: None,
            turns: Turns::default(),
            tidied: Instant::now(),
            memory: Memory::default(),
            broken: None,
            log,
            failed_sync: None,
        };
        store.install(conn)?;
        Ok(store)
    }

    /// The path of the file, absolute.
    pub fn path(&self) -> &Path {
        self.shared.site().path()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// For each id: whether the indexes of jobs that wait (due or not) hold it, and whether the index of held
    /// jobs does: what is stored, not what should be. For tools that compare.
    ///
    /// # Errors
    /// What SQLite reports; `Closed` after closing.
    pub fn membership(&self, ids: &[JobId]) -> Result<Vec<(bool, bool)>, BackendError> {
        membership(connection(&self.conn)?, self.shared.sql(), ids)
            .map_err(|error| self.shared.site().engine("read the indexes", error))
    }

    fn install(&mut self, mut conn: Connection) -> Result<(), BackendError> {
        let (sql, site) = (self.shared.sql(), self.shared.site());
        match &mut self.peers {
            Some(peers) => peers.look_anew(),
            None => {
                let lease = self.shared.options().handle_lease.max(LEASE_MIN);
                let peers = self.peers.insert(Peers::join(&mut conn, sql, site, lease)?);
                self.shared.set_handle(peers.number());
            }
        }
        // Others would wait for it, and some of them wait for nothing else.
        if self.peers.as_ref().is_some_and(Peers::is_alone) {
            database::grow_wal(&conn, site, self.shared.options(), sql)?;
        }
        database::keep_log(&conn, site, false)?;
        if self.shared.options().sync != SyncPolicy::EveryCommit {
            settings::leave_commits_unsynced(&conn, site)?;
        }
        self.log.open(site)?;
        self.shared.install(&conn);
        self.conn = Some(conn);
        Ok(())
    }

    /// Takes the place of the writer.
    fn begin(&mut self) -> Result<(), BackendError> {
        if self.peers.as_ref().is_some_and(Peers::is_crowded) {
            self.turns.give_way();
        }
        let asked = Instant::now();
        let begun = self.execute(&self.shared.sql().begin_write, "begin a transaction");
        if let Some(peers) = &mut self.peers {
            // They may have waited like this one.
            let waited = asked.elapsed();
            if begun.is_err() || waited > LONG_WAIT {
                peers.start_leases_anew();
            } else if waited > WAIT {
                peers.start_grace_anew();
            }
        }
        begun?;
        self.turns.begin();
        Ok(())
    }

    /// Runs the group in the transaction that was begun. What it did is not committed.
    fn run(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<Outcome, BackendError> {
        let conn = connection(&self.conn)?;
        let (shared, memory, peers) = (&self.shared, &mut self.memory, self.peers.as_mut());
        shared.site().guard("apply a transaction", || {
            let version =
                data_version(conn).map_err(|error| shared.site().engine("look who has written", error))?;
            memory.begin(version);
            let mut own = SqliteTxn::new(conn, shared, memory, peers);
            match group(&mut own)? {
                Verdict::Rollback => Ok(Outcome::Nothing),
                Verdict::Commit if !own.wrote() => Ok(Outcome::Nothing),
                Verdict::Commit => own.finish().map(|()| Outcome::Commit),
            }
        })
    }

    fn execute(&self, sql: &str, doing: &str) -> Result<(), BackendError> {
        execute(connection(&self.conn)?, sql).map_err(|error| self.shared.site().engine(doing, error))
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        let Err(error) = self.execute(&self.shared.sql().commit, "commit") else {
            self.log.committed();
            return self.sync_if_due();
        };
        match self.rollback() {
            Ok(()) if is_before_commit(&error) => Err(error),
            _ => {
                let error = error.with_applied(Applied::Unknown);
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Syncs what was committed, if there is anything to sync.
    fn sync(&mut self) -> Result<(), BackendError> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.log.sync(self.shared.site()).inspect_err(|error| self.broken = Some(error.clone()))
    }

    fn sync_if_due(&mut self) -> Result<(), BackendError> {
        if self.log.is_due() { self.sync() } else { Ok(()) }
    }

    /// Begins the log anew when it has become long. A commit moves its pages to the file without waiting for anybody, and
    /// where there is always somebody who reads or writes it never comes to the end.
    fn cut_log(&mut self) {
        let crowded = self.peers.as_ref().is_some_and(Peers::is_crowded);
        if !crowded || self.tidied.elapsed() < LOG_CHECK {
            return;
        }
        let Some(conn) = &mut self.conn else { return };
        self.tidied = Instant::now();
        let pages_of = |conn: &Connection, statement: &str| -> rusqlite::Result<i64> {
            conn.prepare_cached(statement)?.query_row([], |row| row.get(1))
        };
        let options = self.shared.options();
        let long = i64::from(options.wal_autocheckpoint).saturating_mul(LONG_LOG);
        // An error here is met by the next commit, or is none of anybody's who has been answered.
        if long > 0 && pages_of(conn, "PRAGMA wal_checkpoint(PASSIVE)").is_ok_and(|pages| pages >= long) {
            let _ = busy::wait_for_others(conn, LOG_WAIT);
            let _ = pages_of(conn, "PRAGMA wal_checkpoint(RESTART)");
            let _ = busy::wait_for_others(conn, options.busy_timeout);
        }
    }

    /// Undoes what was not committed, if SQLite has not done so on its own.
    fn rollback(&mut self) -> Result<(), BackendError> {
        self.memory.forget();
        if connection(&self.conn)?.is_autocommit() {
            return Ok(());
        }
        self.execute(&self.shared.sql().rollback, "roll back")
    }

    /// Lets go of the file, but stays one of its handles.
    fn disconnect(&mut self) -> Result<(), BackendError> {
        self.memory.forget();
        // First the readers that nobody uses: the last connection to close moves the log into the file, which
        // one that only reads cannot do.
        self.shared.remove();
        let Some(conn) = self.conn.take() else { return Ok(()) };
        self.log.close();
        conn.close().map_err(|(_, error)| self.shared.site().engine("close", error))
    }

    fn shut(&mut self) -> Result<(), BackendError> {
        if let Some(peers) = self.peers.take() {
            peers.leave(self.conn.as_ref().filter(|conn| conn.is_autocommit()), self.shared.sql());
        }
        let synced = self.failed_sync.take().map_or_else(|| self.sync(), Err);
        let disconnected = self.disconnect();
        synced.and(disconnected)
    }
}

/// What becomes of a transaction whose group ran to its end.
enum Outcome {
    Commit,
    Nothing,
}

fn connection(conn: &Option<Connection>) -> Result<&Connection, BackendError> {
    conn.as_ref().ok_or_else(BackendError::closed)
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
        if let Some(error) = self.failed_sync.take() {
            return Err(error);
        }
        if let Some(cause) = &self.broken {
            return Err(cause.as_cause_of_closing());
        }
        let begun = self.begin();
        self.shared.noted(begun)?;
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
        self.turns.end();
        if let Some(peers) = &mut self.peers {
            peers.settle(result.is_ok());
        }
        if result.is_ok() {
            self.cut_log();
        }
        self.shared.noted(result)
    }

    fn watch(&self, attention: Attention) -> Option<Duration> {
        let look = self.peers.as_ref().map(|peers| peers.watch(attention));
        look.into_iter().chain(self.log.left()).min()
    }

    fn stirred(&mut self, attention: Attention) -> bool {
        if let Err(error) = self.sync_if_due() {
            self.failed_sync = Some(error);
        }
        if self.failed_sync.is_some() {
            return true;
        }
        match (&self.conn, &mut self.peers) {
            (Some(conn), Some(peers)) => peers.stirred(conn, self.shared.sql(), attention),
            _ => false,
        }
    }

    fn held_here(&mut self) -> Result<Vec<Lease>, BackendError> {
        let (conn, site) = (connection(&self.conn)?, self.shared.site());
        let Some(peers) = &self.peers else { return Err(BackendError::closed()) };
        peers.held_here(conn, self.shared.sql()).map_err(|error| site.engine("read the held jobs", error))
    }

    fn reader(&self) -> SqliteReader {
        SqliteReader::new(Arc::clone(&self.shared))
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        // An error of closing is what made reopening necessary, or will show again. Nothing is lost by it: the process lives.
        let _ = self.disconnect();
        self.broken = Some(BackendError::new(BackendErrorKind::Closed, "the store could not be reopened"));
        let conn = database::open_existing(self.shared.site(), self.shared.options(), self.shared.sql())?;
        self.install(conn)?;
        (self.broken, self.failed_sync) = (None, None);
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
