#![doc = include_str!("front.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backends;
mod error;
mod events;
mod queue;
mod salvage;

pub mod backend;

pub use backends::*;
pub use error::{Error, ErrorKind, Result};
pub use events::{EventStream, JobEvent};
pub use poolqueue_core::{
    Applied, AssigneeId, Attempt, BackendError, BackendErrorKind, Backoff, ContentType, Cursor, EventKind,
    Failure, FailureKind, HistoryEntry, Invalid, Job, JobId, Kind, LastError, Lease, Limits, NewJob, Output,
    Phase, Priority, QueueName, Rejected, Status, StatusSet, SyncPolicy, Tag, TagSet, Tags, Target,
    Timestamp, UniqueKey,
};
pub use queue::{
    Answer, Builder, Cancelled, Changed, ClaimedJob, Explanation, Health, History, IntoJob, JobStream, Page,
    PoolQueue, Query, Retention, Select, Stats, StreamBuilder,
};

pub use salvage::{Lost, LostPart, Salvaged, salvage};

/// The program in the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
