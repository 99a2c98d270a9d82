use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::lifecycle::Admission;
use crate::{
    BackendError, BackendErrorKind, Backoff, Body, ContentType, Insert, Invalid, JobId, Kind, Labels, Limits,
    Priority, QueueName, Start, Tag, TagSet, Timestamp, UniqueKey,
};

/// Why a new job was not accepted. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Something about it is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Something about it is larger than the store's limit.
    #[error("{what} has a size of {size}, at most {limit} is allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

impl Refused {
    /// `Ok` when `size` is within `limit`.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] otherwise.
    pub fn check(what: &'static str, size: usize, limit: usize) -> Result<(), Refused> {
        if size > limit { Err(Refused::TooLarge { what, size, limit }) } else { Ok(()) }
    }
}

impl From<Refused> for BackendError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(invalid) => invalid.into(),
            too_large => BackendError::new(BackendErrorKind::TooLarge, too_large.to_string()),
        }
    }
}

/// A job to enqueue.
///
/// Whatever is wrong with it (a bad name, a value that does not serialise, a limit passed) shows when it is
/// enqueued.
///
/// ```
/// use std::time::Duration;
/// use poolqueue_core::{NewJob, Priority};
///
/// let job = NewJob::new("thumbnail", b"cat.png")
///     .queue("images")
///     .tags(["images", "small"])
///     .meta("user", "7")
///     .priority(Priority::HIGH)
///     .run_after(Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a job does nothing until it is enqueued"]
pub struct NewJob {
    id: Option<JobId>,
    kind: String,
    queue: Option<String>,
    payload: Result<Vec<u8>, String>,
    content_type: ContentType,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    priority: Priority,
    start: Start,
    max_attempts: Option<u32>,
    crash_limit: u32,
    backoff: Backoff,
    timeout: Option<Duration>,
    unique: Option<String>,
    expires_after: Option<Duration>,
}

/// Lost workers after which a job is given up, unless it says otherwise.
const CRASH_LIMIT: u32 = 3;

impl NewJob {
    /// A job of this kind that carries these bytes.
    pub fn new(kind: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self::with(kind.into(), Ok(payload.into()), ContentType::Bytes)
    }

    /// A job of this kind that carries `value` as JSON.
    pub fn json<T: Serialize + ?Sized>(kind: impl Into<String>, value: &T) -> Self {
        let payload = serde_json::to_vec(value).map_err(|error| error.to_string());
        Self::with(kind.into(), payload, ContentType::Json)
    }

    /// A job of this kind that carries positional arguments: a tuple or a list, stored as a JSON array.
    pub fn args<T: Serialize>(kind: impl Into<String>, arguments: T) -> Self {
        let payload = serde_json::to_vec(&arguments).map_err(|error| error.to_string()).and_then(|bytes| {
            match bytes.first() {
                Some(b'[') => Ok(bytes),
                _ => Err("positional arguments must be a tuple or a list".to_owned()),
            }
        });
        Self::with(kind.into(), payload, ContentType::Args)
    }

    fn with(kind: String, payload: Result<Vec<u8>, String>, content_type: ContentType) -> Self {
        NewJob {
            id: None,
            kind,
            queue: None,
            payload,
            content_type,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            priority: Priority::NORMAL,
            start: Start::Now,
            max_attempts: None,
            crash_limit: CRASH_LIMIT,
            backoff: Backoff::None,
            timeout: None,
            unique: None,
            expires_after: None,
        }
    }

    /// The job's id, instead of a new one. An id that exists already is refused, so that enqueueing the same
    /// job again after an unknown outcome is safe.
    pub fn id(mut self, id: impl Into<JobId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The queue to wait in. Default `default`.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// One more tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// More tags. Duplicates are folded.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// A key/value pair. The last value of a key stays.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Its place among the due jobs of its queue: lower runs first. Default [`Priority::NORMAL`].
    pub fn priority(mut self, priority: impl Into<Priority>) -> Self {
        self.priority = priority.into();
        self
    }

    /// When it is due. A time in the past is kept: it is the job's place in the order.
    pub fn run_at(mut self, at: DateTime<Utc>) -> Self {
        self.start = Start::At(Timestamp::from(at));
        self
    }

    /// How long after the enqueue it is due.
    pub fn run_after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// Failures after which the job is given up, at least 1. Default: never.
    pub fn max_attempts(mut self, most: u32) -> Self {
        self.max_attempts = Some(most);
        self
    }

    /// Workers lost in a row while it ran after which the job is given up, at least 1. Default 3. A job that one more
    /// would end is claimed only while no other such job is held: with 1, that is so from the start.
    pub fn crash_limit(mut self, most: u32) -> Self {
        self.crash_limit = most;
        self
    }

    /// How long it waits after a failure. Default: not at all.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long one attempt may take, more than zero. Kept for whoever runs the job; default for ever.
    pub fn timeout(mut self, most: Duration) -> Self {
        self.timeout = Some(most);
        self
    }

    /// A key that no other unfinished job of the same queue may hold. While one does, this job is refused as
    /// a duplicate of it. The key is free again when the job is over.
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique = Some(key.into());
        self
    }

    /// How long after the enqueue the job is given up unless it was started before, more than zero.
    pub fn expires_after(mut self, span: Duration) -> Self {
        self.expires_after = Some(span);
        self
    }

    /// Checks the job and turns it into what a [`Batch`](crate::Batch) takes. `new_id` is called when the job
    /// has no id of its own.
    ///
    /// # Errors
    /// [`Refused`] naming what is wrong.
    pub fn into_insert(self, limits: &Limits, new_id: impl FnOnce() -> JobId) -> Result<Insert, Refused> {
        let kind = Kind::new(&self.kind)?;
        let queue = self.queue.map(QueueName::new).transpose()?.unwrap_or_default();
        let payload = self.payload.map_err(|reason| Invalid::new("payload", reason))?;
        Refused::check("payload", payload.len(), limits.payload_bytes)?;
        let tags = self.tags.iter().map(Tag::new).collect::<Result<TagSet, Invalid>>()?;
        Refused::check("tags", tags.len(), limits.tags)?;
        let longest = tags.iter().map(|tag| tag.len()).max().unwrap_or(0);
        Refused::check("tag", longest, limits.tag_bytes)?;
        let metadata_bytes = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        Refused::check("metadata", metadata_bytes, limits.metadata_bytes)?;
        at_least_one("max_attempts", self.max_attempts == Some(0))?;
        at_least_one("crash_limit", self.crash_limit == 0)?;
        more_than_zero("timeout", self.timeout)?;
        more_than_zero("expires_after", self.expires_after)?;
        if let Start::After(delay) = self.start {
            representable("run_after", delay)?;
        }
        representable("backoff", self.backoff.longest())?;
        let admission = Admission {
            id: self.id.unwrap_or_else(new_id),
            labels: Arc::new(Labels { queue, kind, tags }),
            unique_key: self.unique.map(UniqueKey::new).transpose()?,
            priority: self.priority,
            start: self.start,
            max_attempts: self.max_attempts,
            crash_limit: self.crash_limit,
            backoff: self.backoff,
            expires_after: self.expires_after,
        };
        let body =
            Body { payload, content_type: self.content_type, metadata: self.metadata, timeout: self.timeout };
        Ok(Insert { admission, body })
    }
}

impl NewJob {
    /// Checks jobs for one batch, which may hold [`Limits::batch_jobs`]. See [`into_insert`](Self::into_insert). No more jobs
    /// are asked for than can be taken.
    ///
    /// # Errors
    /// [`Refused`] naming what is wrong with the batch or the first bad job.
    pub fn into_inserts(
        jobs: impl IntoIterator<Item = NewJob>,
        limits: &Limits,
        new_id: impl Fn() -> JobId,
    ) -> Result<Vec<Insert>, Refused> {
        let prepare = |(nth, job): (usize, NewJob)| {
            Refused::check("batch", nth + 1, limits.batch_jobs)?;
            job.into_insert(limits, &new_id)
        };
        jobs.into_iter().enumerate().map(prepare).collect()
    }
}

fn at_least_one(argument: &'static str, is_zero: bool) -> Result<(), Invalid> {
    if is_zero { Err(Invalid::new(argument, "must be at least 1")) } else { Ok(()) }
}

fn more_than_zero(argument: &'static str, span: Option<Duration>) -> Result<(), Invalid> {
    match span {
        Some(span) if span.is_zero() => Err(Invalid::new(argument, "must be more than zero")),
        Some(span) => representable(argument, span),
        None => Ok(()),
    }
}

/// Spans of more than 10,000 years are refused: the time they lead to could not be told from never.
pub(crate) fn representable(argument: &'static str, span: Duration) -> Result<(), Invalid> {
    const LONGEST: Duration = Duration::from_secs(10_000 * 366 * 86_400);
    if span > LONGEST { Err(Invalid::new(argument, "is longer than 10,000 years")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(job: NewJob) -> Result<Insert, Refused> {
        job.into_insert(&Limits::default(), || JobId::from_bytes([7; 16]))
    }

    fn refused(job: NewJob) -> String {
        check(job).expect_err("the job was accepted").to_string()
    }

    #[test]
    fn bad_jobs_are_refused_by_the_name_of_what_is_wrong() {
        let job = || NewJob::new("kind", b"");
        let cases = [
            (NewJob::new("", b""), "kind: must not be empty"),
            (job().queue("a b"), "queue: "),
            (job().tag(""), "tag: must not be empty"),
            (job().max_attempts(0), "max_attempts: must be at least 1"),
            (job().crash_limit(0), "crash_limit: must be at least 1"),
            (job().timeout(Duration::ZERO), "timeout: must be more than zero"),
            (job().expires_after(Duration::MAX), "expires_after: is longer"),
            (job().run_after(Duration::MAX), "run_after: is longer"),
            (job().backoff(Backoff::fixed(Duration::MAX)), "backoff: is longer"),
            (job().unique(""), "unique: must not be empty"),
            (NewJob::args("kind", 7), "payload: positional arguments"),
            (NewJob::new("kind", vec![0; (1 << 20) + 1]), "payload has a size of 1048577"),
            (job().tags((0..65).map(|n| n.to_string())), "tags has a size of 65"),
            (job().tag("x".repeat(129)), "tag has a size of 129"),
            (job().meta("k", "x".repeat(16 << 10)), "metadata has a size of 16385"),
        ];
        for (job, expected) in cases {
            let reason = refused(job);
            assert!(reason.starts_with(expected), "{reason:?} should start with {expected:?}");
        }
    }

    #[test]
    fn a_value_that_does_not_serialise_is_refused() {
        let unserialisable = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(refused(NewJob::json("kind", &unserialisable)).starts_with("payload: "));
    }

    #[test]
    fn sixty_five_tags_that_fold_to_one_are_accepted() {
        let insert = check(NewJob::new("kind", b"").tags((0..65).map(|_| "same"))).unwrap();
        assert_eq!(insert.admission.labels.tags.len(), 1);
        assert_eq!(insert.admission.id, JobId::from_bytes([7; 16]));
        assert_eq!(insert.admission.labels.queue, "default");
    }
}
