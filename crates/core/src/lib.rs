//! The thin waist of [poolqueue](https://docs.rs/poolqueue): what a job is, what may happen to it, and the
//! two seams a store is written against.
//!
//! Applications use the crate `poolqueue`. This crate is for those who write a backend:
//!
//! - [`lifecycle`]: the one table of statuses and events, and [`lifecycle::decide`], which turns a job and an
//!   event into a [`lifecycle::Transition`] or a [`Rejected`]. Pure: no I/O, no clock, no locks.
//! - [`Backend`]: what the queue needs of a store, batch-shaped and usable as `dyn`.
//! - [`Store`], [`Txn`], [`Reader`]: what a store inside the process provides. [`Embedded`] makes a `Backend`
//!   of it: one writer thread, group commit, answers after the commit.
//! - [`memory::MemoryStore`]: the reference model that every other store is compared with.
//!
//! Nothing here does I/O of its own or reads a clock: time is an argument or comes from a [`Clock`].

mod backend;
mod backoff;
mod batch;
mod clock;
mod embedded;
mod error;
mod filter;
mod id;
mod job;
pub mod lifecycle;
mod limits;
pub mod memory;
mod names;
mod new_job;
pub mod salvage;
mod slots;
mod status;
mod store;
mod sync;
mod sync_policy;
mod time;

pub use backend::{
    Backend, BoxFuture, Capabilities, Claim, Committed, Health, Observer, Verification, Verified,
};
pub use backoff::Backoff;
pub use batch::{Batch, Change, Delete, Insert, Receipt, RecordConflict, RecordPut, Start, Target};
pub use clock::{Clock, ManualClock, SystemClock, Wake};
pub use embedded::{Embedded, EmbeddedOptions, Profile, Staged, Work, WriterOptions};
pub use error::{Applied, BackendError, BackendErrorKind, Error, ErrorKind, Invalid, Rejected};
pub use filter::{ClaimFilter, Counts, Cursor, Detail, Filter, Page, Query, TagFilter, Tags};
pub use id::{Attempt, JobId, JobIds, Lease};
pub use job::{Body, ContentType, Failure, FailureKind, HistoryEntry, Job, Labels, LastError, Output};
pub use limits::Limits;
pub use names::{AssigneeId, Kind, Priority, QueueName, Tag, TagSet, UniqueKey};
pub use new_job::{NewJob, Refused};
pub use slots::Slots;
pub use status::{EventKind, Phase, Status, StatusSet};
pub use store::{Attention, Elsewhere, Reader, Snapshot, Store, Txn, Verdict};
#[cfg(shuttle)]
#[doc(hidden)]
pub use sync::{Planted, plant, planted};
pub use sync_policy::{SyncPolicy, SyncTimer};
pub use time::Timestamp;
