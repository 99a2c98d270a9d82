use std::time::Duration;

use crate::lifecycle::{Admission, Event, JobState, Transition};
use crate::{Body, JobId, Lease, Rejected, StatusSet, Timestamp};

/// When a new job is to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// At this time. A time in the past is kept: it is the job's place in the order.
    At(Timestamp),
    /// This long after the store accepted it.
    After(Duration),
}

/// A new job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// What the life cycle needs to know.
    pub admission: Admission,
    /// What the job carries.
    pub body: Body,
}

/// Names the job of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its bare id: whatever its attempt.
    Id(JobId),
    /// By a lease: only while it is at this attempt.
    Lease(Lease),
}

impl Target {
    /// The job's id.
    pub fn id(&self) -> JobId {
        match self {
            Target::Id(id) => *id,
            Target::Lease(lease) => lease.id,
        }
    }
}

/// Something that is to happen to one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The job.
    pub target: Target,
    /// Only while it has one of these statuses; otherwise the change is [`Rejected::Illegal`].
    pub only_from: Option<StatusSet>,
    /// What is to happen.
    pub event: Event,
}

/// A job to delete. Only jobs that are over can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The job.
    pub id: JobId,
    /// Only while it has one of these statuses; otherwise the deletion is [`Rejected::NotFinal`].
    pub only_from: Option<StatusSet>,
}

/// A small value kept beside the jobs, changed only when its version is the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPut {
    /// Names the value. At most 256 bytes.
    pub key: String,
    /// The version it must have: 0 when there must be none, `None` when any will do.
    pub expected: Option<u64>,
    /// The new value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// A record had another version than the expected one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {key:?} has version {found}")]
pub struct RecordConflict {
    /// The record.
    pub key: String,
    /// The version it has; 0 when there is none.
    pub found: u64,
}

/// Everything one call changes: one transaction.
///
/// All of a batch's decisions come before its first write, in the order inserts, changes, deletes, records,
/// each seeing what the ones before it decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// New jobs.
    pub inserts: Vec<Insert>,
    /// Changes of jobs.
    pub changes: Vec<Change>,
    /// Deletions of jobs.
    pub deletes: Vec<Delete>,
    /// Changes of records.
    pub records: Vec<RecordPut>,
    /// Whether one rejection (or record conflict) leaves the whole batch unapplied. Otherwise each part is
    /// accepted or rejected on its own.
    pub require_all: bool,
}

impl Batch {
    /// How many parts the batch has.
    pub fn len(&self) -> usize {
        self.inserts.len() + self.changes.len() + self.deletes.len() + self.records.len()
    }

    /// Whether the batch has no parts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes the batch carries.
    pub fn bytes(&self) -> usize {
        const PER_PART: usize = 128;
        let bodies: usize = self.inserts.iter().map(|insert| insert.body.payload.len()).sum();
        let outputs: usize = self
            .changes
            .iter()
            .map(|change| match &change.event {
                Event::Complete { output } => output.value().map_or(0, |(bytes, _)| bytes.len()),
                _ => 0,
            })
            .sum();
        let records: usize = self.records.iter().filter_map(|put| put.value.as_ref()).map(Vec::len).sum();
        self.len() * PER_PART + bodies + outputs + records
    }
}

/// What became of a batch, part by part and in its order.
///
/// When [`Batch::require_all`] met a rejection, nothing was applied: the parts that said no carry their
/// reason, all other jobs [`Rejected::NotApplied`], and [`Receipt::applied`] is false.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// False when [`Batch::require_all`] met a rejection or a conflict: then nothing was applied.
    pub applied: bool,
    /// The new jobs as they were stored.
    pub inserts: Vec<Result<JobState, Rejected>>,
    /// The transitions that were made.
    pub changes: Vec<Result<Transition, Rejected>>,
    /// The jobs that were deleted.
    pub deletes: Vec<Result<JobId, Rejected>>,
    /// The new versions of the records; 0 for one that was removed.
    pub records: Vec<Result<u64, RecordConflict>>,
}

impl Receipt {
    /// Whether every part was accepted.
    pub fn is_complete(&self) -> bool {
        self.first_rejection().is_none() && self.records.iter().all(Result::is_ok)
    }

    /// The first job that said no for a reason of its own.
    pub fn first_rejection(&self) -> Option<&Rejected> {
        let inserts = self.inserts.iter().filter_map(|verdict| verdict.as_ref().err());
        let changes = self.changes.iter().filter_map(|verdict| verdict.as_ref().err());
        let deletes = self.deletes.iter().filter_map(|verdict| verdict.as_ref().err());
        inserts.chain(changes).chain(deletes).find(|rejected| **rejected != Rejected::NotApplied)
    }
}

impl From<JobId> for Target {
    fn from(id: JobId) -> Self {
        Target::Id(id)
    }
}

impl From<&JobId> for Target {
    fn from(id: &JobId) -> Self {
        Target::Id(*id)
    }
}

impl From<Lease> for Target {
    fn from(lease: Lease) -> Self {
        Target::Lease(lease)
    }
}

impl From<&Lease> for Target {
    fn from(lease: &Lease) -> Self {
        Target::Lease(*lease)
    }
}
