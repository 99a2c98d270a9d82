//! Reading committed data from any thread.

pub(crate) mod parts;
mod select;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use poolqueue_core::{
    BackendError, Counts, Filter, Health, HistoryEntry, Job, JobId, Lease, Page, Query, Reader, Snapshot,
    Verified,
};
use rusqlite::Connection;

use crate::codec::{Names, Stored, StoredRow};
use crate::shared::Shared;
use crate::site::Site;
use crate::sql::Sql;
use crate::store::execute;
use crate::verify;

/// Reads a [`SqliteStore`](crate::SqliteStore) from any thread. Works across a reopening of the store.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    shared: Arc<Shared>,
}

impl SqliteReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        SqliteReader { shared }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Reader for SqliteReader {
    type Snapshot = SqliteSnapshot;

    fn snapshot(&self) -> Result<SqliteSnapshot, BackendError> {
        let (conn, generation) = self.shared.noted(self.shared.borrow())?;
        let snapshot = SqliteSnapshot {
            shared: Arc::clone(&self.shared),
            conn: Some(conn),
            generation,
            names: RefCell::default(),
        };
        self.shared.noted(snapshot.begin())?;
        Ok(snapshot)
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

/// A [`SqliteStore`](crate::SqliteStore) as it was at one moment: a read transaction on a connection of its own.
///
/// While it lives, the write-ahead log grows: keep it short.
pub struct SqliteSnapshot {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    conn: Option<Connection>,
    generation: u64,
    names: RefCell<Names>,
}

impl SqliteSnapshot {
    fn site(&self) -> &Site {
        self.shared.site()
    }

    fn sql(&self) -> &Sql {
        self.shared.sql()
    }

    pub(crate) fn conn(&self) -> Result<&Connection, BackendError> {
        self.conn.as_ref().ok_or_else(BackendError::closed)
    }

    /// Begins the read transaction. SQLite does so at the first read.
    fn begin(&self) -> Result<(), BackendError> {
        let engine = |error| self.site().engine("begin to read", error);
        let conn = self.conn()?;
        execute(conn, &self.sql().begin_read).map_err(engine)?;
        conn.prepare_cached(&self.sql().read_meta)
            .and_then(|mut statement| statement.exists(["schema"]))
            .map(|_| ())
            .map_err(engine)
    }

    /// Runs a read; damage is remembered.
    fn reading<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let read = || read(self.conn()?);
        self.shared.noted(self.site().guard("read", read))
    }

    fn find(&self, conn: &Connection, id: JobId) -> Result<Option<Stored>, BackendError> {
        let site = self.site();
        let engine = |error| site.engine("read a state", error);
        let mut statement = conn.prepare_cached(&self.sql().load).map_err(engine)?;
        let mut rows = statement.query([id.as_bytes().as_slice()]).map_err(engine)?;
        let Some(row) = rows.next().map_err(engine)? else { return Ok(None) };
        StoredRow::read(row)
            .and_then(|row| row.stored(&mut self.names.borrow_mut()))
            .map(Some)
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))
    }

    /// The job with everything it carries.
    fn full(&self, conn: &Connection, stored: &Stored) -> Result<Job, BackendError> {
        let body = parts::body(conn, self.sql(), self.site(), stored)?;
        let outcome = parts::outcome(conn, self.sql(), self.site(), stored)?.unwrap_or_default();
        Ok(Job::assemble(&stored.state, Some(body), outcome.output, outcome.error))
    }
}

impl Snapshot for SqliteSnapshot {
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, BackendError> {
        self.reading(|conn| {
            let job = |id: &JobId| match self.find(conn, *id)? {
                Some(stored) => self.full(conn, &stored).map(Some),
                None => Ok(None),
            };
            ids.iter().map(job).collect()
        })
    }

    fn select(&self, query: &Query) -> Result<Page, BackendError> {
        self.reading(|conn| select::page(self, conn, query))
    }

    fn count(&self, filter: &Filter) -> Result<Counts, BackendError> {
        let by_status_only = Filter { statuses: None, ..filter.clone() }.is_everything();
        self.reading(|conn| {
            if by_status_only {
                return parts::all_counts(conn, self.sql(), self.site(), |status| {
                    filter.takes_status(status)
                });
            }
            let mut counts = Counts::default();
            select::each(self, conn, filter, None, |stored| {
                counts.add(&stored.state);
                Ok(true)
            })?;
            Ok(counts)
        })
    }

    fn history(&self, id: JobId) -> Result<Option<(Vec<HistoryEntry>, u64)>, BackendError> {
        self.reading(|conn| {
            let Some(stored) = self.find(conn, id)? else { return Ok(None) };
            let names = &mut self.names.borrow_mut();
            let entries = parts::history(conn, self.sql(), self.site(), &stored, names)?;
            Ok(Some((entries, stored.extra.history_first)))
        })
    }

    fn held(&self) -> Result<Vec<Lease>, BackendError> {
        self.reading(|conn| {
            let mut leases = Vec::new();
            select::each_held(self, conn, None, |stored| {
                leases.push(stored.state.lease());
                Ok(true)
            })?;
            Ok(leases)
        })
    }

    fn record(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, BackendError> {
        self.reading(|conn| parts::record(conn, self.sql(), self.site(), key))
    }

    fn verify(&self) -> Result<Verified, BackendError> {
        let verified = self.reading(|conn| verify::verify(conn, self.sql(), self.site()))?;
        self.shared.note_verified();
        Ok(verified)
    }
}

impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && (conn.is_autocommit() || execute(&conn, &self.shared.sql().rollback).is_ok())
        {
            self.shared.give_back(conn, self.generation);
        }
    }
}

impl fmt::Debug for SqliteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSnapshot").finish_non_exhaustive()
    }
}
