use std::time::Duration;

use bincode::{BorrowDecode, Encode};
use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    Attempt, Backoff, EventKind, JobId, Labels, Phase, Priority, Status, Tag, Timestamp, UniqueKey,
};

use super::{Flaw, Names};

/// The state of a job as it is stored. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredState<'a> {
    /// The bytes of [`StoredLabels`]: they never change, and jobs that have the same share them in memory. They come
    /// first, so that they are found without the rest.
    pub(crate) labels: &'a [u8],
    pub(crate) unique_key: Option<&'a str>,
    pub(crate) status: u8,
    pub(crate) resumes_to: Option<u8>,
    pub(crate) last_reported: Option<u8>,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) retry_count: u32,
    pub(crate) crashes: u32,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) crash_limit: u32,
    pub(crate) backoff: StoredBackoff,
    pub(crate) priority: i16,
    pub(crate) run_at: i64,
    pub(crate) due: bool,
    pub(crate) sequence: u64,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) started_at: Option<i64>,
    pub(crate) assigned_at: Option<i64>,
    pub(crate) last_retry_at: Option<i64>,
    pub(crate) finalized_at: Option<i64>,
    pub(crate) assignee: Option<&'a str>,
    /// The attempt under which the job's outcome is stored; `None` when it has none.
    pub(crate) outcome: Option<u32>,
    pub(crate) history: StoredHistory<'a>,
}

/// Where the history of a job is: the newest entries here, older ones in chunks of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredHistory<'a> {
    /// Entries that were cut.
    pub(crate) dropped: u64,
    /// The oldest chunk that is kept.
    pub(crate) first_chunk: u32,
    /// The number of the next chunk.
    pub(crate) next_chunk: u32,
    /// Entries at the start of the oldest chunk that count as cut.
    pub(crate) skipped: u32,
    /// Entries of the oldest chunk, those cut included.
    pub(crate) first_entries: u32,
    /// Entries in all chunks, those cut included.
    pub(crate) chunk_entries: u32,
    /// Entries in `tail`.
    pub(crate) tail_entries: u32,
    /// The newest entries, one after the other: the end of the row.
    pub(crate) tail: &'a [u8],
}

impl StoredHistory<'_> {
    pub(crate) fn without_tail(&self) -> StoredHistory<'static> {
        StoredHistory { tail: &[], ..*self }
    }
}

/// What a job is found by.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredLabels<'a> {
    pub(crate) queue: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) tags: Vec<&'a str>,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredSpan {
    pub(crate) seconds: u64,
    pub(crate) nanos: u32,
}

/// How long a job waits after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) enum StoredBackoff {
    None,
    Fixed { delay: StoredSpan, jitter: bool },
    Linear { step: StoredSpan, ceiling: StoredSpan, jitter: bool },
    Exponential { first: StoredSpan, ceiling: StoredSpan, jitter: bool },
}

impl StoredSpan {
    pub(crate) fn of(span: Duration) -> Self {
        StoredSpan { seconds: span.as_secs(), nanos: span.subsec_nanos() }
    }

    pub(crate) fn span(self) -> Result<Duration, Flaw> {
        if self.nanos >= 1_000_000_000 {
            return Err(Flaw::damaged("a span has more than a second of nanoseconds"));
        }
        Ok(Duration::new(self.seconds, self.nanos))
    }
}

impl StoredBackoff {
    fn of(backoff: Backoff) -> Result<Self, Flaw> {
        let span = StoredSpan::of;
        Ok(match backoff {
            Backoff::None => StoredBackoff::None,
            Backoff::Fixed { delay, jitter } => StoredBackoff::Fixed { delay: span(delay), jitter },
            Backoff::Linear { step, ceiling, jitter } => {
                StoredBackoff::Linear { step: span(step), ceiling: span(ceiling), jitter }
            }
            Backoff::Exponential { first, ceiling, jitter } => {
                StoredBackoff::Exponential { first: span(first), ceiling: span(ceiling), jitter }
            }
            other => return Err(Flaw::Unfit(format!("it does not know the backoff {other:?}"))),
        })
    }

    fn backoff(self) -> Result<Backoff, Flaw> {
        Ok(match self {
            StoredBackoff::None => Backoff::None,
            StoredBackoff::Fixed { delay, jitter } => Backoff::Fixed { delay: delay.span()?, jitter },
            StoredBackoff::Linear { step, ceiling, jitter } => {
                Backoff::Linear { step: step.span()?, ceiling: ceiling.span()?, jitter }
            }
            StoredBackoff::Exponential { first, ceiling, jitter } => {
                Backoff::Exponential { first: first.span()?, ceiling: ceiling.span()?, jitter }
            }
        })
    }
}

impl<'a> StoredLabels<'a> {
    pub(crate) fn of(labels: &'a Labels) -> Self {
        StoredLabels {
            queue: labels.queue.as_str(),
            kind: labels.kind.as_str(),
            tags: labels.tags.iter().map(Tag::as_str).collect(),
        }
    }
}

impl<'a> StoredState<'a> {
    /// `state` with its labels already encoded.
    pub(crate) fn of(
        state: &'a JobState,
        labels: &'a [u8],
        outcome: Option<u32>,
        history: StoredHistory<'a>,
    ) -> Result<Self, Flaw> {
        let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
        Ok(StoredState {
            labels,
            unique_key: state.unique_key.as_ref().map(UniqueKey::as_str),
            status: state.status.code(),
            resumes_to: state.resumes_to.map(Status::code),
            last_reported: state.last_reported.map(EventKind::code),
            attempt: state.attempt.0,
            failures: state.failures,
            retry_count: state.retry_count,
            crashes: state.crashes,
            max_attempts: state.max_attempts,
            crash_limit: state.crash_limit,
            backoff: StoredBackoff::of(state.backoff)?,
            priority: state.priority.0,
            run_at: state.run_at.as_micros(),
            due: state.due,
            sequence: state.sequence,
            created_at: state.created_at.as_micros(),
            expires_at: micros(state.expires_at),
            started_at: micros(state.started_at),
            assigned_at: micros(state.assigned_at),
            last_retry_at: micros(state.last_retry_at),
            finalized_at: micros(state.finalized_at),
            assignee: state.assignee.as_deref(),
            outcome,
            history,
        })
    }

    /// The stored status.
    pub(crate) fn status(&self) -> Result<Status, Flaw> {
        status(self.status)
    }

    /// The state that was stored, checked for what its table may hold: `is_final` or not.
    pub(crate) fn state(&self, id: JobId, names: &mut Names, is_final: bool) -> Result<JobState, Flaw> {
        let micros = |at: Option<i64>| at.map(Timestamp::from_micros);
        let unique_key = self.unique_key.map(UniqueKey::new).transpose();
        let state = JobState {
            id,
            labels: names.labels(self.labels)?,
            unique_key: unique_key.map_err(|error| Flaw::Damaged(error.to_string()))?,
            status: self.status()?,
            resumes_to: self.resumes_to.map(status).transpose()?,
            last_reported: self.last_reported.map(event).transpose()?,
            attempt: Attempt(self.attempt),
            failures: self.failures,
            retry_count: self.retry_count,
            crashes: self.crashes,
            max_attempts: self.max_attempts,
            crash_limit: self.crash_limit,
            backoff: self.backoff.backoff()?,
            priority: Priority(self.priority),
            run_at: Timestamp::from_micros(self.run_at),
            due: self.due,
            sequence: self.sequence,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: micros(self.expires_at),
            started_at: micros(self.started_at),
            assigned_at: micros(self.assigned_at),
            last_retry_at: micros(self.last_retry_at),
            finalized_at: micros(self.finalized_at),
            assignee: self.assignee.map(|text| names.assignee(text)).transpose()?,
        };
        if state.status.is_final() != is_final {
            let status = state.status;
            return Err(Flaw::Damaged(format!("its status {status} is in the wrong table")));
        }
        let remembers = state.resumes_to.is_some_and(|status| status.phase() == Phase::Ready);
        if remembers != (state.phase() == Phase::Parked) || remembers != state.resumes_to.is_some() {
            return Err(Flaw::damaged("what it resumes to does not go with its status"));
        }
        Ok(state)
    }
}

pub(super) fn status(code: u8) -> Result<Status, Flaw> {
    Status::from_code(code).ok_or_else(|| Flaw::Damaged(format!("there is no status {code}")))
}

pub(super) fn event(code: u8) -> Result<EventKind, Flaw> {
    EventKind::from_code(code).ok_or_else(|| Flaw::Damaged(format!("there is no event {code}")))
}
