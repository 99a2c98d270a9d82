use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::{
    Applied, Attention, BackendError, BackendErrorKind, Invalid, JobId, Store, SyncPolicy, SyncTimer, Txn,
    Verdict, Verification,
};
use redb::{CommitError, Database, Durability, WriteTransaction};

use crate::application::{self, Application, Registration};
use crate::check::Checker;
use crate::database::{self, Opened};
use crate::format::{self, Layout};
use crate::memory::Memory;
use crate::options::RedbOptions;
use crate::reader::RedbReader;
use crate::shared::Shared;
use crate::site::Site;
use crate::txn::RedbTxn;

/// A queue in one redb file.
///
/// A committed transaction is on stable storage ([`redb::Durability::Immediate`]), unless [`RedbOptions::sync`] says
/// otherwise. What claims and timers need of the unfinished jobs is kept in memory and read back when the store is
/// opened; finished ones are not read. Every stored value carries a checksum. Dropping the store closes it and ignores
/// errors; [`close`](Store::close) reports them.
#[derive(Debug)]
pub struct RedbStore {
    options: RedbOptions,
    shared: Arc<Shared>,
    memory: Memory,
    /// The error after which the memory and the file may differ. Ends with [`reopen`](Store::reopen).
    broken: Option<BackendError>,
    /// What is not synced yet.
    unsynced: SyncTimer,
    /// What a sync between two transactions failed with. The next one tells.
    failed_sync: Option<BackendError>,
    checker: Option<Checker>,
    /// Only when the database is the application's.
    registration: Option<Registration>,
}

/// How long the writer sleeps between two looks for the end of a transaction of the application's.
const PENDING_NAP: Duration = Duration::from_millis(10);

impl RedbStore {
    /// Opens the store at `path`; makes a new one when there is no file. Directories are not created.
    ///
    /// A new file is built under another name and linked to its own when it is whole and durable: there
    /// is never a half-made one at `path`, and of several creators at the same time one wins and the others
    /// find its file.
    ///
    /// # Errors
    /// Each names the path and says what is wrong with it; nothing is created, emptied or repaired unasked.
    /// `AlreadyOpen` at once when the file is open here or in another process; `Invalid` when it is a directory,
    /// not a redb file, or another program's database, or when an option cannot be; `Corrupted` when it is empty, cut
    /// short or damaged; `NewerFormat` when a newer version wrote it; `Full`; otherwise `Io` with the system's reason.
    pub fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, BackendError> {
        let site = site_of(path.as_ref(), &options)?;
        let mut store = Self::at(Shared::new(site, None), options);
        let opened = database::open_or_create(store.shared.site(), &store.options)?;
        store.take_over(opened)?;
        Ok(store)
    }

    /// Opens the store in a database of the application's.
    pub(crate) fn with_database(db: Arc<Database>, options: RedbOptions) -> Result<Self, BackendError> {
        check_sync(options.sync)?;
        format::check_prefix(&options.table_prefix)?;
        let site = Site::of_application(Layout::new(&options.table_prefix));
        let registration = Registration::new(&db, &site)?;
        let application = Application::new(options.busy_timeout);
        let mut store = Self::at(Shared::new(site, Some(application)), options);
        store.registration = Some(registration);
        application::prepare(&db, &store.shared)?;
        let memory = store.load(&db)?;
        store.install(db, memory, false)?;
        Ok(store)
    }

    /// The store in a new file, which has the tables and no jobs.
    pub(crate) fn of_new(db: Database, shared: Shared, options: RedbOptions) -> Result<Self, BackendError> {
        let mut store = Self::at(shared, options);
        let memory = store.load(&db)?;
        store.install(Arc::new(db), memory, true)?;
        Ok(store)
    }

    fn at(shared: Shared, options: RedbOptions) -> Self {
        let sync = options.sync;
        let unsynced = SyncTimer::new(sync, Arc::clone(&options.clock));
        RedbStore {
            options,
            shared: Arc::new(shared.with_sync(sync)),
            memory: Memory::default(),
            broken: None,
            unsynced,
            failed_sync: None,
            checker: None,
            registration: None,
        }
    }

    /// The path of the file, absolute.
    pub fn path(&self) -> &Path {
        self.shared.site().path()
    }

    /// For each id: whether the index in memory lists the job as due now or later, and whether it lists it as
    /// held. Reads the whole index; for tools that compare it with the records.
    pub fn membership(&self, ids: &[JobId]) -> Vec<(bool, bool)> {
        self.memory.index.membership(ids)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A file that was opened: it is changed only once its unfinished jobs were read.
    fn take_over(&mut self, opened: Opened) -> Result<(), BackendError> {
        let memory = self.load(&opened.db)?;
        opened.accept(self.shared.site())?;
        self.install(Arc::new(opened.db), memory, opened.checked)
    }

    fn load(&self, db: &Database) -> Result<Memory, BackendError> {
        let site = self.shared.site();
        site.guard("read the unfinished jobs", || Memory::load(db, site))
    }

    fn install(&mut self, db: Arc<Database>, memory: Memory, checked: bool) -> Result<(), BackendError> {
        let shared = Arc::clone(&self.shared);
        self.memory = memory;
        let verification = if checked { Verification::Verified } else { Verification::Unverified };
        shared.install(db, &self.memory, verification);
        self.broken = None;
        self.failed_sync = None;
        self.unsynced.synced();
        if !checked {
            self.checker = Some(Checker::start(shared)?);
        }
        Ok(())
    }

    /// How far a commit goes that is made now.
    fn durability(&self) -> Durability {
        if self.unsynced.takes_commit() { Durability::Immediate } else { Durability::None }
    }

    /// Runs the group. What it did is in the transaction and in the memory, neither committed.
    fn run(
        &mut self,
        txn: &WriteTransaction,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<Outcome, BackendError> {
        let shared = &self.shared;
        let memory = &mut self.memory;
        shared.site().guard("apply a transaction", || {
            let mut own = RedbTxn::new(txn, shared, memory);
            match group(&mut own)? {
                Verdict::Rollback => Ok(Outcome::Nothing),
                Verdict::Commit if !own.wrote() => Ok(Outcome::Nothing),
                Verdict::Commit => own.finish().map(|()| Outcome::Commit),
            }
        })
    }

    fn commit(&mut self, mut txn: WriteTransaction, durability: Durability) -> Result<(), BackendError> {
        let site = self.shared.site();
        let mut applied = Applied::Unknown;
        let commit = || {
            site.guard("commit", || {
                txn.set_durability(durability).map_err(|error| site.engine("ask for durability", error))?;
                txn.commit().map_err(|error| {
                    if matches!(error, CommitError::TransactionPoisoned) {
                        applied = Applied::No;
                    }
                    site.engine("commit", error)
                })
            })
        };
        match self.shared.publish(&self.memory, commit) {
            Ok(()) => {
                self.memory.commit();
                match durability {
                    Durability::Immediate => self.unsynced.synced(),
                    _ => self.unsynced.committed(),
                }
                Ok(())
            }
            Err(error) => {
                let error = error.with_applied(applied);
                self.memory.rollback();
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    fn abort(&mut self, txn: WriteTransaction) {
        self.memory.rollback();
        let site = self.shared.site();
        let aborted =
            site.guard("roll back", || txn.abort().map_err(|error| site.engine("roll back", error)));
        if let Err(error) = aborted {
            self.broken = Some(error);
        }
    }

    /// Gives back the sequences that were reserved and not given out, so that closing in order leaves no gap.
    fn settle_sequence(&mut self) -> Result<(), BackendError> {
        if self.broken.is_some() || self.memory.sequence.next == self.memory.sequence.reserved {
            return Ok(());
        }
        let Some(txn) = self.shared.try_begin_write()? else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let memory = &mut self.memory;
        let settled = shared
            .site()
            .guard("write the sequence", || RedbTxn::new(&txn, &shared, memory).settle_sequence());
        match settled {
            Ok(()) => self.commit(txn, Durability::Immediate),
            Err(error) => {
                self.abort(txn);
                Err(error)
            }
        }
    }

    /// Syncs what was committed, by a commit of nothing else.
    fn sync(&mut self) -> Result<(), BackendError> {
        if let Some(error) = self.failed_sync.take() {
            return Err(error);
        }
        if self.broken.is_some() || !self.unsynced.is_behind() {
            return Ok(());
        }
        let txn = self.shared.begin_write()?;
        self.commit(txn, Durability::Immediate)
    }

    /// The same when it is time. While the application has a transaction under way, it is left for later.
    fn sync_if_due(&mut self) -> Result<(), BackendError> {
        if self.broken.is_some() || !self.unsynced.is_due() {
            return Ok(());
        }
        match self.shared.try_begin_write()? {
            Some(txn) => self.commit(txn, Durability::Immediate),
            None => Ok(()),
        }
    }

    /// A sync between two transactions has failed: the next one tells.
    fn failed_to_sync(&mut self, error: BackendError) {
        let error = error.with_applied(Applied::Unknown);
        self.shared.end(&error);
        self.shared.note(&error);
        self.broken = Some(error.clone());
        self.failed_sync = Some(error);
    }

    /// Whether transactions of the application's may have ended of which the writer does not know.
    fn may_stir(&self, attention: Attention) -> bool {
        attention.pending && self.shared.application().is_some()
    }

    fn shut(&mut self) -> Result<(), BackendError> {
        if self.shared.application().is_none() {
            // Nobody reads the file while it is closed.
            self.checker = None;
        }
        // A gap in the sequence does no harm; if the file cannot be written, closing it will say so.
        let _ = self.settle_sequence();
        let synced = self.sync();
        let closed = self.shared.close();
        // In a database that stays open, the thread may wait for the writer until there is nothing to wait for.
        self.checker = None;
        self.registration = None;
        synced.and(closed)
    }
}

/// Refuses the policies that redb cannot follow.
fn check_sync(policy: SyncPolicy) -> Result<(), Invalid> {
    match policy.check()? {
        SyncPolicy::Os => {
            let reason = "redb cannot leave syncs to the system: a power cut would lose the file, not the last jobs; \
                          choose SyncPolicy::Interval";
            Err(Invalid::new("sync", reason))
        }
        _ => Ok(()),
    }
}

/// The site of a file. Absolute, so that a later change of the working directory does not lead reopen() astray.
pub(crate) fn site_of(path: &Path, options: &RedbOptions) -> Result<Site, BackendError> {
    check_sync(options.sync)?;
    format::check_prefix(&options.table_prefix)?;
    let site = Site::new(path.to_owned(), Layout::new(&options.table_prefix));
    let absolute = std::path::absolute(path).map_err(|error| site.io("find its directory", error))?;
    Ok(site.at(absolute))
}

/// What becomes of a transaction whose group ran to its end.
enum Outcome {
    Commit,
    Nothing,
}

impl Store for RedbStore {
    type Reader = RedbReader;

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
        let txn = self.shared.begin_write()?;
        let result = match self.run(&txn, group) {
            Ok(Outcome::Commit) => self.commit(txn, self.durability()),
            Ok(Outcome::Nothing) => {
                let resolved = self.memory.resolved;
                self.abort(txn);
                self.shared.resolve(resolved);
                Ok(())
            }
            Err(error) => {
                self.abort(txn);
                if self.broken.is_some() {
                    // What made the roll-back fail too.
                    self.broken = Some(error.clone());
                }
                Err(error)
            }
        };
        if let Err(error) = &result
            && error.ends_handle()
        {
            self.shared.end(error);
        }
        self.shared.noted(result)
    }

    fn reader(&self) -> RedbReader {
        RedbReader::new(Arc::clone(&self.shared))
    }

    fn watch(&self, attention: Attention) -> Option<Duration> {
        let look = self.may_stir(attention).then_some(PENDING_NAP);
        // A transaction of the application's may stand in the way when it is time.
        let least = self.shared.application().map_or(Duration::ZERO, |_| PENDING_NAP);
        let sync = self.unsynced.left().map(|left| left.max(least));
        look.into_iter().chain(sync).min()
    }

    fn stirred(&mut self, attention: Attention) -> bool {
        if let Err(error) = self.sync_if_due() {
            self.failed_to_sync(error);
        }
        self.failed_sync.is_some() || self.may_stir(attention)
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        if self.shared.application().is_some() {
            let what = "is the application's to open anew; then call RedbBackend::with_database again";
            return Err(self.shared.site().error(BackendErrorKind::Closed, what));
        }
        if self.broken.is_none()
            && let Err(error) = self.sync()
        {
            // What was acknowledged since the last sync does not come back: whoever calls is told before it is gone.
            self.broken = Some(error.clone());
            return Err(error);
        }
        // An error of closing is what made reopening necessary, or will show again.
        let _ = self.shut();
        self.memory = Memory::default();
        self.broken = Some(BackendError::new(BackendErrorKind::Closed, "the store could not be reopened"));
        let opened = database::open_existing(self.shared.site(), &self.options)?;
        self.take_over(opened.after_an_error())
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.shut()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // Readers may outlive the store: without this they would keep the file open and locked.
        let _ = self.shut();
    }
}
