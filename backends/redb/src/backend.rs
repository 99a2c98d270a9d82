use std::path::Path;
use std::sync::Arc;

use poolqueue_core::{
    BackendError, Embedded, EmbeddedOptions, Error, Lease, NewJob, Output, Profile, Staged, SyncPolicy,
    delegate_backend,
};
use redb::{Database, WriteTransaction};

use crate::shared::Shared;
use crate::{RedbOptions, RedbStore, application, backup, database, store};

/// The default backend: a queue in one redb file, or in a database of the application's. See [`RedbStore`].
///
/// Clones share the queue, which is closed when the last one is dropped.
///
/// # A database of the application's
/// The queue lives in tables of its own in the application's database ([`with_database`](Self::with_database)), so
/// that rows of the application's and jobs commit together ([`enqueue_in`](Self::enqueue_in),
/// [`complete_in`](Self::complete_in)). redb has one write transaction at a time, and the queue's writer takes turns
/// with those of the application:
/// - While the application holds a write transaction, calls that write wait for it to end, each group of calls up to
///   [`RedbOptions::busy_timeout`]; then they fail as `Busy` with nothing applied. Claims that stand keep waiting, and
///   nothing is lost. Reading never waits, except for figures (`stats`, `held`, `verify`) right after a commit of the
///   application's, which wait until the writer has taken note of it, equally long at most.
/// - A task that holds a write transaction and awaits a call that writes on the queue waits for itself: the call is
///   `Busy` after the time-out, nothing is lost, and the transaction can go on. Use `enqueue_in` there. The other way
///   round nothing waits for ever either: the writer never holds a transaction while it waits for someone.
/// - The jobs are as durable as the application's commit: with redb's default they are on stable storage, after
///   `set_durability(Durability::None)` they are once a later commit is. Rolled back, dropped or unwound, the transaction
///   leaves nothing behind.
/// - Calls on the queue itself are synced as [`RedbOptions::sync`] says. Under an interval, each commit of the
///   application's with redb's default syncs them, too; a write transaction of its own that is open when the interval
///   ends puts the queue's sync off until it has ended.
/// - The tables with the prefix are the queue's: the application must not write or delete them, nor bring older ones
///   back by restoring a savepoint.
/// - After an I/O error redb refuses to write until the database is opened anew, which only the application can do:
///   `reopen()` says so. Drop the queue and the database, open both again.
#[derive(Clone, Debug)]
pub struct RedbBackend {
    embedded: Arc<Embedded<RedbStore>>,
    shared: Arc<Shared>,
    options: Arc<RedbOptions>,
}

impl RedbBackend {
    /// Opens or creates the file at `path` with the default options. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::open_with(path, RedbOptions::default(), EmbeddedOptions::default())
    }

    /// Opens or creates the file at `path`. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        store: RedbOptions,
        options: EmbeddedOptions,
    ) -> Result<Self, BackendError> {
        let store = store.with_clock(Arc::clone(&options.clock));
        Self::start(RedbStore::open(path, store.clone())?, store, options)
    }

    /// Opens or creates a redb file for the application with the default options. See
    /// [`create_database_with`](Self::create_database_with).
    ///
    /// # Errors
    /// As [`create_database_with`](Self::create_database_with).
    pub fn create_database(path: impl AsRef<Path>) -> Result<Database, BackendError> {
        Self::create_database_with(path, &RedbOptions::default())
    }

    /// Opens or creates the redb file at `path` for the application, the way the queue opens its own: for
    /// [`with_database`](Self::with_database) and tables of the application's. Blocks while the file is read.
    ///
    /// A database opened by redb's own `Database::create` works as well, but lacks what this one has:
    /// - a file whose creation was cut short by a power loss does not stay behind, unopenable: it is built under another
    ///   name, synced, and linked to its own, and the directory is synced;
    /// - the file is filled with zeroes ahead of use ([`RedbOptions::preallocate_step`]), which makes commits faster;
    /// - the cache is [`RedbOptions::cache_bytes`] large, not 1 GiB;
    /// - files up to [`RedbOptions::check_on_open_max_bytes`] are read and checked in full: without that, redb does not
    ///   notice pages that were damaged after a clean close.
    ///
    /// A new file has the tables of a queue already; in one that exists any tables are welcome.
    ///
    /// # Errors
    /// As [`RedbStore::open`], but a database of the application's is not refused.
    pub fn create_database_with(
        path: impl AsRef<Path>,
        options: &RedbOptions,
    ) -> Result<Database, BackendError> {
        database::open_for_application(&store::site_of(path.as_ref(), options)?, options)
    }

    /// A queue in the application's database, with the default options. See
    /// [`with_database_options`](Self::with_database_options).
    ///
    /// # Errors
    /// As [`with_database_options`](Self::with_database_options).
    pub fn with_database(db: Arc<Database>) -> Result<Self, BackendError> {
        Self::with_database_options(db, RedbOptions::default(), EmbeddedOptions::default())
    }

    /// A queue in the application's database. Its tables are made in one transaction if they are not there. Blocks
    /// while they are read; waits for a write transaction that is under way for up to
    /// [`RedbOptions::busy_timeout`].
    ///
    /// An application that goes back to a savepoint takes the queue's tables back with it. If the queue has committed
    /// anything since, it ends with an error and has to be opened anew.
    ///
    /// Of `store`, the table prefix, the time-out and the sync policy matter; the rest is for those who open the file. What is stored is
    /// checked in the background, and [`Health`](poolqueue_core::Health) says `Unverified` until it is done; it does not
    /// know the size of the file. Closing the queue lets go of the database and leaves it open; where the writer was kept
    /// waiting by a transaction of the application's, a moment after the end of that transaction. Under an interval it is
    /// synced first, which waits for such a transaction up to the time-out, and says `Busy` if that was too short.
    ///
    /// # Errors
    /// `AlreadyOpen` when a queue with the same prefix is open in this database; `Busy` when a write transaction does
    /// not end in time; `NewerFormat` when a newer version made the tables; `Corrupted` when they are damaged; `Invalid`
    /// naming `table_prefix` or `sync`; otherwise `Io` with the system's reason. The database is unchanged then, or has tables
    /// without jobs.
    pub fn with_database_options(
        db: Arc<Database>,
        store: RedbOptions,
        options: EmbeddedOptions,
    ) -> Result<Self, BackendError> {
        let store = store.with_clock(Arc::clone(&options.clock));
        Self::start(RedbStore::with_database(db, store.clone())?, store, options)
    }

    fn start(
        store: RedbStore,
        options: RedbOptions,
        embedded: EmbeddedOptions,
    ) -> Result<Self, BackendError> {
        // What is not synced is in the memory of the process.
        let durable = options.sync == SyncPolicy::EveryCommit;
        let profile = Profile { engine: "redb", durable, exclusive: true };
        let shared = Arc::clone(store.shared());
        let embedded = Arc::new(Embedded::start(store, profile, embedded)?);
        Ok(RedbBackend { embedded, shared, options: Arc::new(options) })
    }

    /// Enqueues jobs in a transaction of the application's, all or none. They are there when it is committed, and never
    /// were when it is not; until then nobody else sees them. Does not wait for anyone.
    ///
    /// Streams get them after the commit without any help, in milliseconds at most; [`Staged::wake`] makes it at once.
    ///
    /// # Errors
    /// As for enqueuing; `Invalid` naming `txn` when it is a transaction of another database than
    /// [`with_database`](Self::with_database) was given; `Closed`. The transaction is then as it was before the call
    /// and can go on, unless the error is [`Error::Backend`] of another kind: then abort it. If it is committed all
    /// the same, the queue ends with an error and has to be opened anew.
    pub fn enqueue_in(
        &self,
        txn: &WriteTransaction,
        jobs: impl IntoIterator<Item = NewJob>,
    ) -> Result<Staged, Error> {
        self.embedded.enqueue_in(jobs, |number, work| application::within(&self.shared, txn, number, work))
    }

    /// Completes a job in a transaction of the application's: what it wrote for the job and the completion commit
    /// together, so that the effect happens exactly once. The slot of the job is free after the commit. Does not wait
    /// for anyone.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the lease is of an older attempt, or was reported already: nothing was written, and
    /// whoever holds the job now goes on, so the application should abort the transaction rather than commit its effect
    /// a second time. Otherwise as [`enqueue_in`](Self::enqueue_in).
    pub fn complete_in(
        &self,
        txn: &WriteTransaction,
        lease: Lease,
        output: impl Into<Output>,
    ) -> Result<Staged, Error> {
        self.embedded.complete_in(lease, output.into(), |number, work| {
            application::within(&self.shared, txn, number, work)
        })
    }

    /// Copies the queue to a new file at `path`, as it is at one moment, while it goes on working. Blocks until the copy
    /// is complete: call it from a thread that may block.
    ///
    /// The copy is built under another name beside `path`, read and checked in full, synced, and only then given its
    /// name; it opens with [`open`](Self::open) under the same [`RedbOptions::table_prefix`]. Of a database of the
    /// application's only the queue's tables are copied. While it runs, the pages of that moment are not used again,
    /// so the queue's file may grow, and the unfinished jobs of the copy are held in memory while it is checked.
    ///
    /// # Errors
    /// `Invalid` when there is something at `path` already, `Corrupted` when stored data is damaged, `Full` or `Io`
    /// when the copy cannot be written, `Closed`. There is no file at `path` then that was not there before, and the
    /// queue is not concerned.
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<(), BackendError> {
        backup::backup(&self.shared, path.as_ref(), &self.options)
    }
}

delegate_backend!(for RedbBackend, this => this.embedded);
