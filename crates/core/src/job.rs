use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::lifecycle::JobState;
use crate::status::named_enum;
use crate::{
    AssigneeId, Attempt, EventKind, Invalid, JobId, Kind, Priority, QueueName, Status, TagSet, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

named_enum! {
    /// How the bytes of a payload or an output are to be read.
    ContentType, "content type" {
        /// Bytes without a known form.
        Bytes = "bytes",
        /// One JSON value.
        Json = "json",
        /// A JSON array of positional arguments.
        Args = "args",
    }
}

named_enum! {
    /// Why an attempt failed.
    FailureKind, "failure kind" {
        /// The worker reported an error.
        Error = "error",
        /// The handler panicked.
        Panic = "panic",
        /// The attempt took longer than the job allows.
        TimedOut = "timed_out",
        /// The payload could not be decoded.
        Decode = "decode",
        /// The stream that held the job ended.
        StreamEnded = "stream_ended",
        /// The worker was lost while the job ran.
        Crashed = "crashed",
        /// The job was not started by its deadline.
        Expired = "expired",
    }
}

/// What a job is found by: never changed after the enqueue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// The queue it waits in.
    pub queue: QueueName,
    /// What sort of work it is.
    pub kind: Kind,
    /// Its tags.
    pub tags: TagSet,
}

/// What a job carries: never changed after the enqueue, and read only when someone wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The payload.
    pub payload: Vec<u8>,
    /// How to read the payload.
    pub content_type: ContentType,
    /// Free key/value pairs.
    pub metadata: BTreeMap<String, String>,
    /// How long one attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
}

/// The last thing that went wrong with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// What was reported.
    pub message: String,
    /// What sort of failure it was; `None` for the message of a stop.
    pub kind: Option<FailureKind>,
}

/// What a completed job leaves behind: bytes, or nothing at all. An empty output and none are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    value: Option<(Vec<u8>, ContentType)>,
}

impl Output {
    /// No output.
    pub const fn none() -> Self {
        Output { value: None }
    }

    /// These bytes, to be read as `content_type` says.
    pub fn new(bytes: impl Into<Vec<u8>>, content_type: ContentType) -> Self {
        Output { value: Some((bytes.into(), content_type)) }
    }

    /// The bytes and how to read them, if there is an output.
    pub fn value(&self) -> Option<(&[u8], ContentType)> {
        self.value.as_ref().map(|(bytes, content_type)| (bytes.as_slice(), *content_type))
    }

    /// The bytes and how to read them, if there is an output.
    pub fn into_value(self) -> Option<(Vec<u8>, ContentType)> {
        self.value
    }
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Output::none()
    }
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Output::new(bytes, ContentType::Bytes)
    }
}

impl From<&[u8]> for Output {
    fn from(bytes: &[u8]) -> Self {
        Output::new(bytes, ContentType::Bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Output {
    fn from(bytes: &[u8; N]) -> Self {
        Output::new(bytes.as_slice(), ContentType::Bytes)
    }
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        Output::new(text, ContentType::Bytes)
    }
}

impl From<&str> for Output {
    fn from(text: &str) -> Self {
        Output::new(text, ContentType::Bytes)
    }
}

/// What a worker reports when an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong. It must not be empty.
    pub message: String,
    /// What sort of failure it was.
    pub kind: FailureKind,
    /// How long to wait before the next attempt, instead of what the job's backoff says.
    pub retry_after: Option<Duration>,
    /// Whether the job is given up, whatever attempts it has left.
    pub give_up: bool,
}

impl Failure {
    /// An ordinary error, retried as the job's backoff says.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), kind: FailureKind::Error, retry_after: None, give_up: false }
    }

    /// Waits this long before the next attempt.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Gives the job up: it becomes [`Status::Dead`].
    #[must_use]
    pub fn no_retry(mut self) -> Self {
        self.give_up = true;
        self
    }

    /// What sort of failure it was.
    #[must_use]
    pub fn kind(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Failure::new(message)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::new(message)
    }
}

/// One transition of a job, as its history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When the store applied it.
    pub at: Timestamp,
    /// What happened.
    pub event: EventKind,
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// The attempt after.
    pub attempt: Attempt,
    /// Who held the job, or held it last.
    pub assignee: Option<AssigneeId>,
    /// What was reported.
    pub message: Option<String>,
}

/// A job as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What sort of work it is.
    pub kind: Kind,
    /// The queue it waits in.
    pub queue: QueueName,
    /// Where it stands.
    pub status: Status,
    /// The bytes it was enqueued with.
    pub payload: Vec<u8>,
    /// How to read the payload.
    pub content_type: ContentType,
    /// Its tags, sorted.
    pub tags: TagSet,
    /// Its key/value pairs.
    pub metadata: BTreeMap<String, String>,
    /// Its place among the due jobs of its queue: lower runs first.
    pub priority: Priority,
    /// How often it has been claimed.
    pub attempt: Attempt,
    /// Failed attempts since the enqueue or the last retry by an operator.
    pub failures: u32,
    /// Failed attempts, failed stops and ended streams over its whole life.
    pub retry_count: u32,
    /// Workers lost in a row while it ran.
    pub crashes: u32,
    /// Failures after which it is given up; `None` is never.
    pub max_attempts: Option<u32>,
    /// How long one attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it is due; `None` when it waits for something else than a time.
    pub run_at: Option<DateTime<Utc>>,
    /// When it is given up unless it was started before.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was last claimed.
    pub assigned_at: Option<DateTime<Utc>>,
    /// When it last failed.
    pub last_retry_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finalized_at: Option<DateTime<Utc>>,
    /// Who holds it, or held it last.
    pub assignee: Option<AssigneeId>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// What it left behind when it completed. Empty and none are told apart.
    pub output: Option<Vec<u8>>,
    /// How to read the output.
    pub output_type: ContentType,
    /// Its place among jobs that became due in the same microsecond.
    pub sequence: u64,
}

impl Job {
    /// Puts a job together from its parts. Without a body the payload and the metadata are empty.
    pub fn assemble(
        state: &JobState,
        body: Option<Body>,
        output: Output,
        last_error: Option<LastError>,
    ) -> Job {
        let (body, timeout) = match body {
            Some(body) => {
                let timeout = body.timeout;
                (Some(body), timeout)
            }
            None => (None, None),
        };
        let (payload, content_type, metadata) = body
            .map(|body| (body.payload, body.content_type, body.metadata))
            .unwrap_or((Vec::new(), ContentType::Bytes, BTreeMap::new()));
        let (output, output_type) = match output.into_value() {
            Some((bytes, content_type)) => (Some(bytes), content_type),
            None => (None, ContentType::Bytes),
        };
        let when = |stamp: Option<Timestamp>| stamp.and_then(Timestamp::to_datetime);
        Job {
            id: state.id,
            kind: state.labels.kind.clone(),
            queue: state.labels.queue.clone(),
            status: state.status,
            payload,
            content_type,
            tags: state.labels.tags.clone(),
            metadata,
            priority: state.priority,
            attempt: state.attempt,
            failures: state.failures,
            retry_count: state.retry_count,
            crashes: state.crashes,
            max_attempts: state.max_attempts,
            timeout,
            created_at: state.created_at.to_datetime().unwrap_or_default(),
            run_at: state.run_at.to_datetime(),
            expires_at: when(state.expires_at),
            started_at: when(state.started_at),
            assigned_at: when(state.assigned_at),
            last_retry_at: when(state.last_retry_at),
            finalized_at: when(state.finalized_at),
            assignee: state.assignee.clone(),
            last_error,
            output,
            output_type,
            sequence: state.sequence,
        }
    }

    /// The right to report the outcome of the job's current attempt.
    pub fn lease(&self) -> crate::Lease {
        crate::Lease { id: self.id, attempt: self.attempt }
    }

    /// The job's labels.
    pub fn labels(&self) -> Arc<Labels> {
        Arc::new(Labels { queue: self.queue.clone(), kind: self.kind.clone(), tags: self.tags.clone() })
    }
}
