//! What the log is made of. The types of poolqueue-core say nothing about how they are stored: that is the
//! store's to choose and to keep. Here each gets a form, which serde derives and bincode writes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    AssigneeId, Attempt, BackendError, BackendErrorKind, Backoff, Body, ContentType, EventKind, FailureKind,
    HistoryEntry, JobId, Kind, Labels, Priority, QueueName, Status, Tag, Timestamp, UniqueKey,
};
use serde::{Deserialize, Serialize};

/// An output: `None` is no output, which is not the same as an empty one.
pub type StoredOutput = Option<(Vec<u8>, ContentType)>;
/// A last error.
pub type StoredError = (String, Option<FailureKind>);

/// One change of the rows.
#[derive(Serialize, Deserialize)]
pub enum Entry {
    /// A new job, or a job as it stood when the log was written anew.
    Put(Box<Row>),
    /// A transition.
    Step(Box<Step>),
    /// A job's time has come.
    Due(JobId),
    /// A job was deleted.
    Delete(JobId),
    /// A unique key has another holder, or none.
    Key((QueueName, UniqueKey), Option<JobId>),
    /// A record has another version, or is gone.
    Record(String, Option<(u64, Vec<u8>)>),
    /// The last sequence given out.
    Sequence(u64),
}

/// All that is kept of a job.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    #[serde(with = "StateForm")]
    pub state: JobState,
    #[serde(with = "BodyForm")]
    pub body: Body,
    pub output: StoredOutput,
    pub error: Option<StoredError>,
    pub history: VecDeque<Line>,
    /// How many lines of the history were cut.
    pub cut: u64,
}

/// What a transition changes of a row.
#[derive(Serialize, Deserialize)]
pub struct Step {
    #[serde(with = "StateForm")]
    pub state: JobState,
    /// `None` keeps the one there is.
    pub output: Option<StoredOutput>,
    /// `None` keeps the one there is.
    pub error: Option<StoredError>,
    pub line: Line,
    pub history_max: usize,
}

/// A line of a history.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Line(#[serde(with = "LineForm")] pub HistoryEntry);

impl Entry {
    /// Appends the entry to `bytes`.
    pub fn write_to(&self, bytes: &mut Vec<u8>) -> Result<(), BackendError> {
        let written = bincode::serde::encode_into_std_write(self, bytes, bincode::config::standard());
        written.map(drop).map_err(|error| {
            BackendError::new(BackendErrorKind::Invalid, "a change cannot be written").with_source(error)
        })
    }

    /// Takes an entry off the front of `bytes`.
    pub fn read_from(bytes: &mut &[u8]) -> Result<Entry, BackendError> {
        let decoded = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
        let (entry, length) = decoded.map_err(|error| {
            BackendError::corrupted("a change cannot be read although its checksum fits").with_source(error)
        })?;
        *bytes = &bytes[length..];
        Ok(entry)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "JobState")]
struct StateForm {
    id: JobId,
    #[serde(with = "labels")]
    labels: Arc<Labels>,
    unique_key: Option<UniqueKey>,
    status: Status,
    resumes_to: Option<Status>,
    last_reported: Option<EventKind>,
    attempt: Attempt,
    failures: u32,
    retry_count: u32,
    crashes: u32,
    max_attempts: Option<u32>,
    crash_limit: u32,
    #[serde(with = "BackoffForm")]
    backoff: Backoff,
    priority: Priority,
    #[serde(with = "micros")]
    run_at: Timestamp,
    due: bool,
    sequence: u64,
    #[serde(with = "micros")]
    created_at: Timestamp,
    #[serde(with = "micros::option")]
    expires_at: Option<Timestamp>,
    #[serde(with = "micros::option")]
    started_at: Option<Timestamp>,
    #[serde(with = "micros::option")]
    assigned_at: Option<Timestamp>,
    #[serde(with = "micros::option")]
    last_retry_at: Option<Timestamp>,
    #[serde(with = "micros::option")]
    finalized_at: Option<Timestamp>,
    assignee: Option<AssigneeId>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Body")]
struct BodyForm {
    payload: Vec<u8>,
    content_type: ContentType,
    metadata: BTreeMap<String, String>,
    timeout: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HistoryEntry")]
struct LineForm {
    #[serde(with = "micros")]
    at: Timestamp,
    event: EventKind,
    from: Status,
    to: Status,
    attempt: Attempt,
    assignee: Option<AssigneeId>,
    message: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Backoff")]
#[non_exhaustive]
enum BackoffForm {
    None,
    Fixed { delay: Duration, jitter: bool },
    Linear { step: Duration, ceiling: Duration, jitter: bool },
    Exponential { first: Duration, ceiling: Duration, jitter: bool },
}

mod labels {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(labels: &Labels, to: S) -> Result<S::Ok, S::Error> {
        (&labels.queue, &labels.kind, &labels.tags[..]).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Labels>, D::Error> {
        let (queue, kind, tags) = <(QueueName, Kind, Vec<Tag>)>::deserialize(from)?;
        Ok(Arc::new(Labels { queue, kind, tags: tags.into_iter().collect() }))
    }
}

mod micros {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        at.as_micros().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_micros)
    }

    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
            at.map(Timestamp::as_micros).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<i64>::deserialize(from)?.map(Timestamp::from_micros))
        }
    }
}
