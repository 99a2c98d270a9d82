use std::path::Path;
use std::sync::Arc;

use poolqueue_core::{
    BackendError, Embedded, EmbeddedOptions, Error, Lease, NewJob, Output, Profile, Staged, delegate_backend,
};
use rusqlite::{Connection, Transaction};

use crate::application::within;
use crate::shared::Shared;
use crate::{SqliteOptions, SqliteStore, application};

/// A queue in one SQLite file, which it may share with other processes and with the application's own tables. See
/// [`SqliteStore`]. Cheap to clone; the file is closed with the last clone, or by
/// [`close`](poolqueue_core::Backend::close).
///
/// # In the application's transaction
///
/// [`enqueue_in`](Self::enqueue_in) and [`complete_in`](Self::complete_in) write jobs in a transaction of the
/// application's on the same file, so that its rows and the jobs are committed together or not at all:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("shop.db");
/// use poolqueue_core::NewJob;
/// use poolqueue_sqlite::SqliteBackend;
/// use rusqlite::TransactionBehavior;
///
/// let backend = SqliteBackend::open(&path)?;
/// let mut shop = backend.connect()?;
/// shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")?;
///
/// let order = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
/// order.execute("INSERT INTO orders (item) VALUES ('tea')", [])?;
/// let staged = backend.enqueue_in(&order, [NewJob::new("ship", b"tea")])?;
/// order.commit()?;
/// staged.wake();
/// # Ok(())
/// # }
/// ```
///
/// - While the transaction is open nobody else can write to the file: the calls of the queue wait, up to
///   [`busy_timeout`](SqliteOptions::busy_timeout), and then fail with
///   [`Busy`](poolqueue_core::BackendErrorKind::Busy) and nothing changed. So does a call that the thread awaits that
///   holds the transaction. Keep such transactions short, and begin them as `Immediate`: one that has read before it
///   writes fails when somebody else has written in between.
/// - The jobs are as durable as the transaction, which is what the application's connection is set to. One made by
///   [`connect`](Self::connect) has `synchronous` at `FULL`.
#[derive(Clone, Debug)]
pub struct SqliteBackend {
    embedded: Arc<Embedded<SqliteStore>>,
    shared: Arc<Shared>,
}

impl SqliteBackend {
    /// Opens or creates the file at `path` with the default options. Blocks while the file is opened.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::open_with(path, SqliteOptions::default(), EmbeddedOptions::default())
    }

    /// Opens or creates the file at `path`. Blocks while the file is opened.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        store: SqliteOptions,
        options: EmbeddedOptions,
    ) -> Result<Self, BackendError> {
        // Whatever is synced when: what is committed is with the system.
        let profile = Profile { engine: "sqlite", durable: true, exclusive: false };
        let store = SqliteStore::open(path, store.clock(Arc::clone(&options.clock)))?;
        let shared = Arc::clone(store.shared());
        Ok(SqliteBackend { embedded: Arc::new(Embedded::start(store, profile, options)?), shared })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Enqueues jobs in a transaction of the application's, all or none: they are there when it is committed, and never
    /// were when it is rolled back. Blocks for as long as SQLite takes.
    ///
    /// Streams are woken after the commit, within milliseconds, or at once by [`Staged::wake`].
    ///
    /// # Errors
    /// As for enqueuing; [`Busy`](poolqueue_core::BackendErrorKind::Busy) when somebody else writes for longer than the
    /// application's connection waits; [`Invalid`](poolqueue_core::BackendErrorKind::Invalid) when the transaction is on
    /// another file. Nothing of the call is in the transaction then, and the application may go on with it, unless SQLite
    /// itself has rolled it back.
    pub fn enqueue_in(
        &self,
        txn: &Transaction<'_>,
        jobs: impl IntoIterator<Item = NewJob>,
    ) -> Result<Staged, Error> {
        self.embedded.enqueue_in(jobs, |number, work| within(&self.shared, txn, number, work))
    }

    /// Completes a job in a transaction of the application's: what the job did to the file and its completion are
    /// committed together, which makes its effect happen exactly once. The job keeps its place in its stream until the
    /// commit has been seen.
    ///
    /// # Errors
    /// As [`enqueue_in`](Self::enqueue_in), and [`Rejected`](poolqueue_core::Rejected) when the lease does not stand any
    /// more: the application should then roll back, since somebody else does the job anew or has done it.
    pub fn complete_in(
        &self,
        txn: &Transaction<'_>,
        lease: Lease,
        output: impl Into<Output>,
    ) -> Result<Staged, Error> {
        self.embedded
            .complete_in(lease, output.into(), |number, work| within(&self.shared, txn, number, work))
    }

    /// A connection to the file for the application's own use, set up like the queue's: it waits for other writers as
    /// long as the queue does, its commits are synced before they return (whatever [`SqliteOptions::sync`] says of the queue's
    /// own), foreign keys are enforced.
    ///
    /// # Errors
    /// What SQLite reports; `Closed` when the queue is closed.
    pub fn connect(&self) -> Result<Connection, BackendError> {
        application::connect(&self.shared)
    }
}

delegate_backend!(for SqliteBackend, this => this.embedded);
