//! Writing within a transaction of the application's.

use std::error::Error as _;

use poolqueue_core::{BackendError, BackendErrorKind, Error, Work};
use rusqlite::{Connection, ffi};

use crate::database;
use crate::memory::Memory;
use crate::settings::{self, Role};
use crate::shared::Shared;
use crate::store::execute;
use crate::txn::SqliteTxn;

/// Runs `work` in the transaction that `conn` is in. What it wrote is undone when it fails.
pub(crate) fn within(shared: &Shared, conn: &Connection, batch: u64, work: Work<'_>) -> Result<(), Error> {
    let (site, sql) = (shared.site(), shared.sql());
    check(shared, conn)?;
    let engine = |error| site.engine("write in the application's transaction", error);
    execute(conn, &sql.savepoint).map_err(engine)?;
    let result = site
        .guard("apply a batch", || {
            let mut memory = Memory::default();
            let mut txn = SqliteTxn::new(conn, shared, &mut memory, None);
            // First of all, because it takes the place of the writer before anything is read.
            txn.note_applied(batch).map_err(|error| too_early(shared, error))?;
            Ok(work(&mut txn).and_then(|()| txn.finish().map_err(Error::from)))
        })
        .unwrap_or_else(|error| Err(error.into()));
    let undo = if result.is_ok() { Ok(()) } else { execute(conn, &sql.undo) };
    let released = undo.and_then(|()| execute(conn, &sql.release));
    result?;
    Ok(released.map_err(engine)?)
}

/// A transaction that has read before somebody else wrote can never write, however long it waits.
fn too_early(shared: &Shared, error: BackendError) -> BackendError {
    let cause = error.source().and_then(|source| source.downcast_ref::<rusqlite::Error>());
    if cause.and_then(rusqlite::Error::sqlite_extended_error_code) != Some(ffi::SQLITE_BUSY_SNAPSHOT) {
        return error;
    }
    let what = "the transaction has read before another one was committed, and so cannot write: roll it back, and \
                begin it with TransactionBehavior::Immediate";
    shared.site().error(BackendErrorKind::Busy, what).with_source(error)
}

/// A connection for the application.
pub(crate) fn connect(shared: &Shared) -> Result<Connection, BackendError> {
    let site = shared.site();
    if !shared.is_open() {
        return Err(BackendError::closed());
    }
    let conn = database::connect(site, Role::Application, shared.options())?;
    settings::apply(&conn, Role::Application, site, shared.options())?;
    Ok(conn)
}

/// Refuses a connection to another file, and one without a transaction: its changes would be committed one by one.
fn check(shared: &Shared, conn: &Connection) -> Result<(), Error> {
    let site = shared.site();
    let ours = shared.file();
    let theirs = database::file_of(conn);
    if theirs.is_none() || theirs != ours {
        let named = |file: Option<Vec<u8>>| {
            file.map_or("no file".to_owned(), |name| String::from_utf8_lossy(&name).into_owned())
        };
        let (theirs, ours) = (named(theirs), named(ours));
        let what = format!("the transaction is on {theirs}, the queue is in {ours}");
        return Err(site.error(BackendErrorKind::Invalid, what).into());
    }
    if conn.is_autocommit() {
        let what = "the transaction has ended: an error rolled it back";
        return Err(site.error(BackendErrorKind::Invalid, what).into());
    }
    Ok(())
}
