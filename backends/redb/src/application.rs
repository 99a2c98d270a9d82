//! A database that is the application's: who has opened a queue in it, and what its transactions did.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poolqueue_core::{
    BackendError, BackendErrorKind, Clock, Error, Invalid, JobIds, SyncPolicy, SystemClock, Work,
};
use redb::{Database, Durability, TableHandle, WriteTransaction};

use crate::format;
use crate::shared::Shared;
use crate::site::Site;
use crate::turn::Turn;
use crate::txn::RedbTxn;

/// What a store knows of a database that is not its own.
#[derive(Debug)]
pub(crate) struct Application {
    /// Written into the tables by whoever opens them: tables with another owner are of another database, or were
    /// opened by another process since.
    pub(crate) owner: [u8; 16],
    pub(crate) busy_timeout: Duration,
    pub(crate) turn: Turn,
    /// Changes made in transactions of the application's, ever.
    staged: AtomicU64,
    /// One call at a time: threads may share a transaction, but redb gives each of its tables to one.
    calls: Mutex<()>,
}

impl Application {
    pub(crate) fn new(busy_timeout: Duration) -> Self {
        let owner = *JobIds::default().next(SystemClock::default().now()).as_bytes();
        Application {
            owner,
            busy_timeout,
            turn: Turn::default(),
            staged: AtomicU64::new(0),
            calls: Mutex::default(),
        }
    }

    pub(crate) fn staged(&self) -> u64 {
        self.staged.load(Ordering::SeqCst)
    }
}

/// The queues open in databases of applications: the database, by where it is in memory, and the prefix.
static OPEN: Mutex<Option<HashSet<(usize, String)>>> = Mutex::new(None);

fn open() -> MutexGuard<'static, Option<HashSet<(usize, String)>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry in the list of open queues. It keeps the database alive, so that no other can come to lie in its place.
#[derive(Debug)]
pub(crate) struct Registration {
    key: (usize, String),
    _db: Arc<Database>,
}

impl Registration {
    pub(crate) fn new(db: &Arc<Database>, site: &Site) -> Result<Self, BackendError> {
        let key = (Arc::as_ptr(db).addr(), site.layout().prefix().to_owned());
        if open().get_or_insert_default().insert(key.clone()) {
            return Ok(Registration { key, _db: Arc::clone(db) });
        }
        let what = "has a queue open under this prefix already";
        Err(site.error(BackendErrorKind::AlreadyOpen, what))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(open) = open().as_mut() {
            open.remove(&self.key);
        }
    }
}

/// Makes the tables that are not there and takes them over, in one transaction.
pub(crate) fn prepare(db: &Arc<Database>, shared: &Shared) -> Result<(), BackendError> {
    let (site, Some(application)) = (shared.site(), shared.application()) else { return Ok(()) };
    let mut txn = application.turn.begin(db, application.busy_timeout, site)?;
    site.guard("make the tables", || {
        let ask = |txn: &mut WriteTransaction, durability| {
            txn.set_durability(durability).map_err(|error| site.engine("ask for durability", error))
        };
        if shared.sync() != SyncPolicy::EveryCommit {
            // A database that several processes open has no other commits than durable ones.
            ask(&mut txn, Durability::None)
                .map_err(|error| Invalid::new("sync", format!("must be EveryCommit: {error}")))?;
        }
        ask(&mut txn, Durability::Immediate)?;
        let found = if has_tables(&txn, site)? {
            let meta = txn.open_table(site.layout().meta());
            let meta = meta.map_err(|error| site.engine("open the table of formats", error))?;
            format::read(&meta, site)?
        } else {
            refuse_foreign(&txn, site)?;
            0
        };
        format::upgrade(&txn, found, site)?;
        format::empty_inbox(&txn, site)?;
        txn.open_table(site.layout().inbox()).map_err(|error| site.engine("create the tables", error))?;
        RedbTxn::of_application(&txn, shared).set_owner(&application.owner)?;
        txn.commit().map_err(|error| site.engine("commit the tables", error))
    })
}

/// Where there is no table of formats, a table of one of our names is the application's.
fn refuse_foreign(txn: &WriteTransaction, site: &Site) -> Result<(), BackendError> {
    let mut tables = txn.list_tables().map_err(|error| site.engine("list the tables", error))?;
    match tables.find(|table| site.layout().has(table.name())) {
        None => Ok(()),
        Some(table) => {
            let what =
                format_args!("has a table {:?} that is not a queue's: choose another prefix", table.name());
            Err(site.error(BackendErrorKind::Invalid, what))
        }
    }
}

/// Whether the tables are there. Opening one in a write transaction would make it.
fn has_tables(txn: &WriteTransaction, site: &Site) -> Result<bool, BackendError> {
    let mut tables = txn.list_tables().map_err(|error| site.engine("list the tables", error))?;
    Ok(tables.any(|table| table.name() == TableHandle::name(&site.layout().meta())))
}

/// Runs `work` in a transaction of the application's, and leaves a note of it there.
pub(crate) fn within(
    shared: &Shared,
    txn: &WriteTransaction,
    number: u64,
    work: Work<'_>,
) -> Result<(), Error> {
    let refused = |reason: &str| Err(Invalid::new("txn", reason).into());
    let Some(application) = shared.application() else {
        return refused("the queue has its file for itself: see RedbBackend::with_database");
    };
    let site = shared.site();
    let _one = application.calls.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = site.guard("look at the transaction", || {
        Ok(has_tables(txn, site)? && RedbTxn::of_application(txn, shared).is_owned_by(&application.owner)?)
    })?;
    if !ours {
        return refused("is a transaction of another database than the queue's");
    }
    let mut own = RedbTxn::of_application(txn, shared);
    let worked = site.guard("apply a transaction", || match work(&mut own) {
        Ok(()) => own.finish().map(|()| Ok(())),
        Err(error) => Ok(Err(error)),
    });
    let result = worked.unwrap_or_else(|error| Err(error.into()));
    if own.wrote() {
        let noted = site.guard("leave a note", || match &result {
            Ok(()) => own.note(number),
            Err(_) => own.note_failure(),
        });
        application.staged.fetch_add(1, Ordering::SeqCst);
        return result.and(noted.map_err(Error::from));
    }
    result
}
