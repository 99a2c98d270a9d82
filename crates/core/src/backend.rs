use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::lifecycle::{JobState, Transition};
use crate::{
    AssigneeId, BackendError, Batch, ClaimFilter, Clock, Counts, Filter, HistoryEntry, Job, JobId, Lease,
    Limits, Page, Query, Receipt, Slots,
};

/// What a [`Backend`] call returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// What a queue needs of a store: batch-shaped, dyn-compatible, one boxed future per batch.
///
/// The contract *between* the calls:
///
/// - Each [`commit`](Backend::commit) is one transaction, answered after it is durable. Dropping its future does
///   not undo it.
/// - A [`claim`](Backend::claim) reserves places in [`Claim::slots`] before it takes jobs, lists them there
///   before it answers, and the backend takes them off the list when the jobs leave the phase
///   [`Held`](crate::Phase::Held), whoever caused it. A claim whose future was dropped before it was answered
///   takes nothing: jobs already taken for it are handed back by [`Release`](crate::EventKind::Release).
/// - Reads see every transaction that was answered before they began, and do not wait for the writer.
/// - The [`Observer`] hears of every transaction, in the order of commits, before it is answered.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Applies a batch in one transaction.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Receipt>;

    /// Takes due jobs for several streams at once: for each claim the jobs it got, at most as many as it has
    /// free slots.
    ///
    /// If any of the claims waits ([`Claim::wait`]), the future resolves when one of them got a job.
    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>>;

    /// Jobs by id, in the order of the ids.
    fn get(&self, ids: Vec<JobId>) -> BoxFuture<'_, Vec<Option<Job>>>;

    /// One page of a list.
    fn select(&self, query: Query) -> BoxFuture<'_, Page>;

    /// How many jobs match.
    fn count(&self, filter: Filter) -> BoxFuture<'_, Counts>;

    /// The history of a job, oldest first, and how many entries were cut; `None` when there is no such job.
    fn history(&self, id: JobId) -> BoxFuture<'_, Option<(Vec<HistoryEntry>, u64)>>;

    /// The jobs held now.
    fn held(&self) -> BoxFuture<'_, Vec<Lease>>;

    /// A record and its version.
    fn record(&self, key: String) -> BoxFuture<'_, Option<(u64, Vec<u8>)>>;

    /// Reads everything, recomputes every index and counter from the records, and reports what does not fit.
    fn verify(&self) -> BoxFuture<'_, Verified>;

    /// Who is to hear of every transaction from now on.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// What the store can do.
    fn capabilities(&self) -> &Capabilities;

    /// Figures about the store.
    fn health(&self) -> Health;

    /// Starts again, in place, after an error ended the handle. Does nothing to a handle that works.
    fn reopen(&self) -> BoxFuture<'_, ()>;

    /// Finishes what was asked before and lets go of every resource. Later calls answer `Closed`.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Writes `impl Backend for $type` by passing every call on to `$this => $inner`: for types that add methods
/// of their own to a backend.
#[macro_export]
macro_rules! delegate_backend {
    ($(impl($($generics:tt)*))? for $type:ty, $this:ident => $inner:expr) => {
        impl $(<$($generics)*>)? $crate::Backend for $type {
            fn commit(&self, batch: $crate::Batch) -> $crate::BoxFuture<'_, $crate::Receipt> {
                let $this = self;
                $inner.commit(batch)
            }
            fn claim(&self, claims: Vec<$crate::Claim>) -> $crate::BoxFuture<'_, Vec<Vec<$crate::Job>>> {
                let $this = self;
                $inner.claim(claims)
            }
            fn get(&self, ids: Vec<$crate::JobId>) -> $crate::BoxFuture<'_, Vec<Option<$crate::Job>>> {
                let $this = self;
                $inner.get(ids)
            }
            fn select(&self, query: $crate::Query) -> $crate::BoxFuture<'_, $crate::Page> {
                let $this = self;
                $inner.select(query)
            }
            fn count(&self, filter: $crate::Filter) -> $crate::BoxFuture<'_, $crate::Counts> {
                let $this = self;
                $inner.count(filter)
            }
            fn history(
                &self,
                id: $crate::JobId,
            ) -> $crate::BoxFuture<'_, Option<(Vec<$crate::HistoryEntry>, u64)>> {
                let $this = self;
                $inner.history(id)
            }
            fn held(&self) -> $crate::BoxFuture<'_, Vec<$crate::Lease>> {
                let $this = self;
                $inner.held()
            }
            fn record(&self, key: String) -> $crate::BoxFuture<'_, Option<(u64, Vec<u8>)>> {
                let $this = self;
                $inner.record(key)
            }
            fn verify(&self) -> $crate::BoxFuture<'_, $crate::Verified> {
                let $this = self;
                $inner.verify()
            }
            fn observe(&self, observer: std::sync::Arc<dyn $crate::Observer>) {
                let $this = self;
                $inner.observe(observer)
            }
            fn capabilities(&self) -> &$crate::Capabilities {
                let $this = self;
                $inner.capabilities()
            }
            fn health(&self) -> $crate::Health {
                let $this = self;
                $inner.health()
            }
            fn reopen(&self) -> $crate::BoxFuture<'_, ()> {
                let $this = self;
                $inner.reopen()
            }
            fn close(&self) -> $crate::BoxFuture<'_, ()> {
                let $this = self;
                $inner.close()
            }
        }
    };
}

delegate_backend!(impl(B: Backend + ?Sized) for Arc<B>, this => (**this));

/// A wish for jobs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who will work on them.
    pub assignee: AssigneeId,
    /// Which jobs.
    pub filter: ClaimFilter,
    /// Where they go, and so how many there can be.
    pub slots: Arc<Slots>,
    /// Whether to stand until there is a job. Such a claim is looked at again whenever a job becomes ready or
    /// a slot becomes free, in the same transaction that made it so.
    pub wait: bool,
}

/// What a transaction did.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// Jobs that were enqueued.
    pub inserted: &'a [JobState],
    /// Steps that jobs made, in order.
    pub transitions: &'a [Transition],
    /// Jobs that were deleted.
    pub deleted: &'a [JobId],
}

/// Hears of every transaction after its commit and before its answers, in order. Must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A transaction was committed.
    fn committed(&self, what: Committed<'_>);

    /// Another handle of the same store, or a transaction of the application's, committed something. What is not
    /// told. The default does nothing.
    fn elsewhere(&self) {}
}

/// What a backend can do, and the settings a queue has to know of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The engine's name: `redb`, `memory`, …
    pub engine: &'static str,
    /// Whether an answered transaction survives the end of the process. Whether it survives a loss of power as well, and if
    /// not how much is lost, [`Health::durability`] says.
    pub durable: bool,
    /// Whether this handle is the only one that can have claimed jobs: what is held when it opens is lost. Where it is
    /// not, the backend itself finds out whose holders are gone, before it answers the first batch.
    pub exclusive: bool,
    /// What may be stored.
    pub limits: Limits,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Capabilities {
    /// The capabilities of a store with these settings.
    pub fn new(
        engine: &'static str,
        durable: bool,
        exclusive: bool,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Capabilities { engine, durable, exclusive, limits, clock }
    }
}

/// How far the stored data has been checked since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// Every record was read and fits.
    Verified,
    /// The whole store was not read yet; each record is checked when it is.
    #[default]
    Unverified,
    /// Damage was found.
    Damaged,
}

/// Figures about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Why the handle takes no more writes, if it does not.
    pub closed: Option<String>,
    /// How far the stored data has been checked since it was opened.
    pub verification: Verification,
    /// The first damage found, if any was.
    pub damage: Option<String>,
    /// Bytes on disk; 0 when nothing is stored there.
    pub file_bytes: u64,
    /// When an answered call is durable, and what is lost if that is later, in the engine's words.
    pub durability: Cow<'static, str>,
    /// Commands that wait for the writer.
    pub queued_commands: usize,
}

/// What a full check read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Jobs read.
    pub jobs: u64,
    /// History entries read.
    pub history_entries: u64,
    /// The counts, recomputed.
    pub counts: Counts,
}

impl Verified {
    /// The result of a check that found no difference.
    pub fn new(jobs: u64, history_entries: u64, counts: Counts) -> Self {
        Verified { jobs, history_entries, counts }
    }
}
