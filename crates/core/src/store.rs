use std::time::Duration;

use crate::backend::{Health, Verified};
use crate::lifecycle::{JobState, Transition};
use crate::salvage::Saved;
use crate::{
    BackendError, BackendErrorKind, Body, ClaimFilter, Counts, Filter, HistoryEntry, Job, JobId, Lease,
    Output, Page, Query, QueueName, Timestamp, UniqueKey,
};

/// Whether a transaction is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it and make it durable, as the store's [`SyncPolicy`](crate::SyncPolicy) says.
    Commit,
    /// Leave everything as it was.
    Rollback,
}

/// What the writer is about while it waits for work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attention {
    /// Claims stand: someone waits for jobs.
    pub waiting: bool,
    /// Claimed jobs are held.
    pub holding: bool,
    /// Changes were made in transactions of the application's that have not been seen to end.
    pub pending: bool,
}

/// What was committed otherwise than by [`Store::transact`] of this handle: by another handle of the same store, or
/// by a transaction of the application's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elsewhere {
    /// Whether anything was: jobs may have become due, and times set.
    pub changed: bool,
    /// The changes of [`Embedded::enqueue_in`](crate::Embedded::enqueue_in) and
    /// [`Embedded::complete_in`](crate::Embedded::complete_in) that were committed, by their numbers.
    pub applied: Vec<u64>,
    /// Jobs held by this handle of which another handle has made a step.
    pub touched: Vec<JobId>,
    /// Those of the touched that this handle holds no more, whatever their attempt: an id may be another job's by now.
    pub lost: Vec<JobId>,
    /// Whether this handle was taken for dead: it cannot know which of the jobs it holds are still its own.
    pub forgotten: bool,
    /// Jobs held by handles that are gone.
    pub orphaned: Vec<Lease>,
    /// Whether the store has written something along with this, so that the transaction is to be committed.
    pub wrote: bool,
}

/// What a store inside the process provides. Synchronous; owned by one writer thread.
///
/// [`Embedded`](crate::Embedded) makes a [`Backend`](crate::Backend) of it. A store knows nothing of
/// statuses beyond their phases: the life cycle decides, the store applies.
pub trait Store: Send + 'static {
    /// How other threads read.
    type Reader: Reader;

    /// Runs `group` in one transaction.
    ///
    /// When it returns [`Verdict::Commit`], everything it did is on stable storage by the time `transact`
    /// returns `Ok`, unless the user has chosen a weaker [`SyncPolicy`](crate::SyncPolicy): then it is visible, and synced
    /// when that says. In every other case (a rollback, an error, a panic inside) nothing it did is visible,
    /// neither in the store nor in what the store keeps in memory, unless the error says
    /// [`Applied::Unknown`](crate::Applied::Unknown).
    ///
    /// # Errors
    /// The error of `group`, or of the store. A store never retries a failed sync.
    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError>;

    /// A reader of committed data.
    fn reader(&self) -> Self::Reader;

    /// How long the writer may sleep before it asks [`Store::stirred`]; `None` for as long as it likes. The default
    /// is `None`: nobody else writes, and nothing is to be synced later.
    fn watch(&self, attention: Attention) -> Option<Duration> {
        let _ = attention;
        None
    }

    /// Whether [`Txn::elsewhere`] may have something to tell in a transaction that began now. Asked between
    /// transactions, often, and so cheap. A store that syncs at an interval does so here when it is due; if that fails, the
    /// answer is yes, and the next transaction fails with the error. The default is no.
    fn stirred(&mut self, attention: Attention) -> bool {
        let _ = attention;
        false
    }

    /// The jobs held by claims of this handle. The default is all that are held.
    ///
    /// # Errors
    /// What the store reports.
    fn held_here(&mut self) -> Result<Vec<Lease>, BackendError> {
        self.reader().snapshot()?.held()
    }

    /// Opens the store again in place after an error ended it. Readers made before keep working afterwards.
    ///
    /// # Errors
    /// As for opening it the first time.
    fn reopen(&mut self) -> Result<(), BackendError>;

    /// Writes and syncs what is not yet, and lets go of every resource.
    ///
    /// # Errors
    /// What the store reported. The store is closed all the same.
    fn close(&mut self) -> Result<(), BackendError>;
}

/// One transaction of a [`Store`], with the indexes that claims need.
///
/// Later calls see what earlier ones did.
pub trait Txn {
    /// What was committed elsewhere since this was last asked in a transaction that was committed, or rolled back
    /// without an error. The writer asks first of all. The default is nothing.
    ///
    /// # Errors
    /// What the store reports.
    fn elsewhere(&mut self) -> Result<Elsewhere, BackendError> {
        Ok(Elsewhere::default())
    }

    /// Brings what the store keeps in memory up to date with one of the changes that [`Txn::elsewhere`] said were
    /// applied: they are stored already. `before` is `None` for a new job. The default does nothing.
    ///
    /// # Errors
    /// What the store reports.
    fn adopt(&mut self, before: Option<&JobState>, after: &JobState) -> Result<(), BackendError> {
        let _ = (before, after);
        Ok(())
    }

    /// The job, if there is one.
    ///
    /// # Errors
    /// `Corrupted` when its record is damaged; the transaction can go on without it.
    fn load(&mut self, id: JobId) -> Result<Option<JobState>, BackendError>;

    /// The job in this state with everything it carries. The caller has the state from this transaction.
    ///
    /// # Errors
    /// `Corrupted` when a part of it is damaged or missing; the transaction can go on without it.
    fn job(&mut self, state: &JobState) -> Result<Job, BackendError>;

    /// The next place in the order of enqueues. Never the same twice.
    ///
    /// # Errors
    /// What the store reports.
    fn next_sequence(&mut self) -> Result<u64, BackendError>;

    /// Stores a new job. The id is free: the caller has looked.
    ///
    /// # Errors
    /// What the store reports.
    fn insert(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError>;

    /// Stores a transition: the state, the last error and output if there are new ones, the history entry, and
    /// every index and counter that changes with them. At most `history_max` entries are kept. Steps that change
    /// nothing ([`Transition::is_noop`]) never come here.
    ///
    /// # Errors
    /// What the store reports.
    fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError>;

    /// Removes a job and everything kept of it.
    ///
    /// # Errors
    /// What the store reports.
    fn delete(&mut self, state: &JobState) -> Result<(), BackendError>;

    /// Up to `limit` queues from which [`Txn::ready`] would return a job for `filter`, in ascending order of name,
    /// starting after `after` and going round once. A queue whose due jobs are all for others may be among them where a
    /// store cannot tell cheaply.
    ///
    /// # Errors
    /// What the store reports.
    fn ready_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError>;

    /// Up to `limit` due jobs of `queue` that `filter` takes, in the order of claims. Jobs whose next crash
    /// would be their last ([`JobState::is_suspect`]) are left out while another such job is held, and at
    /// most one is among those returned.
    ///
    /// # Errors
    /// What the store reports. A job whose record is damaged is an error of `Corrupted` with its id only when
    /// the store cannot leave it out.
    fn ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError>;

    /// Marks up to `limit` jobs due whose time has come by `now`. Returns how many.
    ///
    /// # Errors
    /// What the store reports.
    fn promote(&mut self, now: Timestamp, limit: usize) -> Result<usize, BackendError>;

    /// Up to `limit` jobs that have not been started by their deadline at `now`.
    ///
    /// # Errors
    /// What the store reports.
    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobState>, BackendError>;

    /// The next time at which [`Txn::promote`] or [`Txn::expired`] will find something; `None` when never.
    ///
    /// # Errors
    /// What the store reports.
    fn next_timer(&mut self) -> Result<Option<Timestamp>, BackendError>;

    /// The unfinished job that holds a unique key.
    ///
    /// # Errors
    /// What the store reports.
    fn key_holder(&mut self, queue: &QueueName, key: &UniqueKey) -> Result<Option<JobId>, BackendError>;

    /// Gives a unique key to a job, or takes it away.
    ///
    /// # Errors
    /// What the store reports.
    fn set_key_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError>;

    /// The version of a record; 0 when there is none.
    ///
    /// # Errors
    /// What the store reports.
    fn record_version(&mut self, key: &str) -> Result<u64, BackendError>;

    /// Stores a record with its version, or removes it.
    ///
    /// # Errors
    /// What the store reports.
    fn put_record(&mut self, key: &str, value: Option<(u64, &[u8])>) -> Result<(), BackendError>;

    /// Stores a job that was saved from a damaged store, with all that was found of it. The id, the sequence and the unique
    /// key are free, and the caller has given the job its unique key; later sequences are greater. A held job is held by
    /// nobody who lives. The default refuses: such a store cannot be salvaged to.
    ///
    /// # Errors
    /// What the store reports.
    fn restore(&mut self, job: &Saved) -> Result<(), BackendError> {
        let what = format!("this store does not take job {}, which was saved from another", job.state.id);
        Err(BackendError::new(BackendErrorKind::Invalid, what))
    }
}

/// Reads committed data from any thread, without waiting for the writer.
pub trait Reader: Clone + Send + Sync + 'static {
    /// What one call reads from: a snapshot.
    type Snapshot: Snapshot;

    /// The committed data as it is now.
    ///
    /// # Errors
    /// What the store reports.
    fn snapshot(&self) -> Result<Self::Snapshot, BackendError>;

    /// Figures about the store.
    fn health(&self) -> Health;
}

/// Committed data as it was at one moment.
pub trait Snapshot {
    /// Jobs by id, in the order of the ids; `None` for those that do not exist.
    ///
    /// # Errors
    /// `Corrupted` when a record is damaged, naming it.
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, BackendError>;

    /// One page of a list.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn select(&self, query: &Query) -> Result<Page, BackendError>;

    /// How many jobs match.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn count(&self, filter: &Filter) -> Result<Counts, BackendError>;

    /// The history of a job, oldest first, and how many entries were cut; `None` when there is no such job.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn history(&self, id: JobId) -> Result<Option<(Vec<HistoryEntry>, u64)>, BackendError>;

    /// The jobs held now.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn held(&self) -> Result<Vec<Lease>, BackendError>;

    /// A record and its version.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn record(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, BackendError>;

    /// Reads everything, recomputes every index and counter from the records, and reports what does not fit.
    ///
    /// # Errors
    /// `Corrupted` naming the first difference.
    fn verify(&self) -> Result<Verified, BackendError>;
}
