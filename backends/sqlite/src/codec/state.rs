use std::borrow::Cow;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{Attempt, JobId, Phase, Priority, TagSet, Timestamp, UniqueKey};
use rusqlite::{CachedStatement, Row, params};

use super::seal::{Columns, Part, Seal};
use super::span::{backoff, backoff_text};
use super::{Flaw, Names, read_u32, read_u64, stored_u64};

/// The columns of the table of jobs, in the order in which they are read and written.
pub(crate) const COLUMNS: [&str; 34] = [
    "sequence",
    "id",
    "queue",
    "kind",
    "tags",
    "unique_key",
    "priority",
    "max_attempts",
    "crash_limit",
    "backoff",
    "created_at",
    "expires_at",
    "status",
    "phase",
    "resumes_to",
    "last_reported",
    "attempt",
    "failures",
    "retry_count",
    "crashes",
    "run_at",
    "due",
    "deadline",
    "suspect",
    "started_at",
    "assigned_at",
    "last_retry_at",
    "finalized_at",
    "assignee",
    "owner",
    "outcome",
    "history_first",
    "history_next",
    "seal",
];

/// What a row says beside the state: where the rest of the job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    /// The number of the handle that holds it.
    pub(crate) owner: Option<i64>,
    /// Under which attempt it has an outcome, if it has one.
    pub(crate) outcome: Option<u32>,
    /// The number of its first history entry: so many were cut.
    pub(crate) history_first: u64,
    /// The number its next history entry gets.
    pub(crate) history_next: u64,
}

/// A row of the table of jobs, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) state: JobState,
    pub(crate) extra: Extra,
}

/// A row of the table of jobs, column by column.
#[derive(Debug)]
pub(crate) struct StoredRow<'a> {
    sequence: i64,
    id: &'a [u8],
    queue: &'a str,
    kind: &'a str,
    tags: Cow<'a, str>,
    unique_key: Option<&'a str>,
    priority: i64,
    max_attempts: Option<i64>,
    crash_limit: i64,
    backoff: Cow<'a, str>,
    created_at: i64,
    expires_at: Option<i64>,
    status: &'a str,
    phase: &'a str,
    resumes_to: Option<&'a str>,
    last_reported: Option<&'a str>,
    attempt: i64,
    failures: i64,
    retry_count: i64,
    crashes: i64,
    run_at: i64,
    due: i64,
    deadline: Option<i64>,
    suspect: i64,
    started_at: Option<i64>,
    assigned_at: Option<i64>,
    last_retry_at: Option<i64>,
    finalized_at: Option<i64>,
    assignee: Option<&'a str>,
    owner: Option<i64>,
    outcome: Option<i64>,
    history_first: i64,
    history_next: i64,
    seal: i64,
}

/// Tags as they are stored: a JSON list.
fn tags_text(tags: &TagSet) -> Result<Cow<'static, str>, Flaw> {
    if tags.is_empty() {
        return Ok(Cow::Borrowed("[]"));
    }
    let list: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
    serde_json::to_string(&list).map(Cow::Owned).map_err(|error| Flaw(error.to_string()))
}

/// The deadline while it counts.
fn deadline(state: &JobState) -> Option<i64> {
    let counts = state.awaits_deadline();
    state.expires_at.filter(|at| counts && *at != Timestamp::NEVER).map(Timestamp::as_micros)
}

impl<'a> StoredRow<'a> {
    /// The row of a job, sealed.
    pub(crate) fn of(state: &'a JobState, extra: Extra) -> Result<Self, Flaw> {
        let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
        let mut row = StoredRow {
            sequence: stored_u64(state.sequence)?,
            id: state.id.as_bytes(),
            queue: state.labels.queue.as_str(),
            kind: state.labels.kind.as_str(),
            tags: tags_text(&state.labels.tags)?,
            unique_key: state.unique_key.as_deref(),
            priority: state.priority.0.into(),
            max_attempts: state.max_attempts.map(i64::from),
            crash_limit: state.crash_limit.into(),
            backoff: Cow::Owned(backoff_text(state.backoff)?),
            created_at: state.created_at.as_micros(),
            expires_at: micros(state.expires_at),
            status: state.status.as_str(),
            phase: state.phase().as_str(),
            resumes_to: state.resumes_to.map(|status| status.as_str()),
            last_reported: state.last_reported.map(|event| event.as_str()),
            attempt: state.attempt.0.into(),
            failures: state.failures.into(),
            retry_count: state.retry_count.into(),
            crashes: state.crashes.into(),
            run_at: state.run_at.as_micros(),
            due: state.due.into(),
            deadline: deadline(state),
            suspect: state.is_suspect().into(),
            started_at: micros(state.started_at),
            assigned_at: micros(state.assigned_at),
            last_retry_at: micros(state.last_retry_at),
            finalized_at: micros(state.finalized_at),
            assignee: state.assignee.as_deref(),
            owner: extra.owner,
            outcome: extra.outcome.map(i64::from),
            history_first: stored_u64(extra.history_first)?,
            history_next: stored_u64(extra.history_next)?,
            seal: 0,
        };
        row.seal = row.checksum();
        Ok(row)
    }

    /// The columns of a row of [`COLUMNS`].
    pub(crate) fn read(row: &'a Row<'_>) -> Result<Self, Flaw> {
        let mut columns = Columns::of(row);
        let c = &mut columns;
        Ok(StoredRow {
            sequence: c.int()?,
            id: c.blob()?,
            queue: c.text()?,
            kind: c.text()?,
            tags: Cow::Borrowed(c.text()?),
            unique_key: c.opt_text()?,
            priority: c.int()?,
            max_attempts: c.opt_int()?,
            crash_limit: c.int()?,
            backoff: Cow::Borrowed(c.text()?),
            created_at: c.int()?,
            expires_at: c.opt_int()?,
            status: c.text()?,
            phase: c.text()?,
            resumes_to: c.opt_text()?,
            last_reported: c.opt_text()?,
            attempt: c.int()?,
            failures: c.int()?,
            retry_count: c.int()?,
            crashes: c.int()?,
            run_at: c.int()?,
            due: c.int()?,
            deadline: c.opt_int()?,
            suspect: c.int()?,
            started_at: c.opt_int()?,
            assigned_at: c.opt_int()?,
            last_retry_at: c.opt_int()?,
            finalized_at: c.opt_int()?,
            assignee: c.opt_text()?,
            owner: c.opt_int()?,
            outcome: c.opt_int()?,
            history_first: c.int()?,
            history_next: c.int()?,
            seal: c.int()?,
        })
    }

    pub(super) fn checksum(&self) -> i64 {
        let mut seal = Seal::of(Part::State);
        seal.int(self.sequence).bytes(self.id).text(self.queue).text(self.kind).text(&self.tags);
        seal.opt_text(self.unique_key).int(self.priority).opt_int(self.max_attempts).int(self.crash_limit);
        seal.text(&self.backoff).int(self.created_at).opt_int(self.expires_at);
        seal.text(self.status).text(self.phase).opt_text(self.resumes_to).opt_text(self.last_reported);
        seal.int(self.attempt).int(self.failures).int(self.retry_count).int(self.crashes);
        seal.int(self.run_at).int(self.due).opt_int(self.deadline).int(self.suspect).opt_int(self.started_at);
        seal.opt_int(self.assigned_at).opt_int(self.last_retry_at).opt_int(self.finalized_at);
        seal.opt_text(self.assignee)
            .opt_int(self.owner)
            .opt_int(self.outcome)
            .int(self.history_first)
            .int(self.history_next);
        seal.finish()
    }

    /// The id, as far as the row has one.
    pub(crate) fn id(&self) -> Result<JobId, Flaw> {
        let bytes = self.id.try_into().map_err(|_| Flaw::new("its id does not have 16 bytes"))?;
        Ok(JobId::from_bytes(bytes))
    }

    /// What the row says. It must be as it was sealed.
    pub(crate) fn stored(&self, names: &mut Names) -> Result<Stored, Flaw> {
        if self.is_sealed() { self.unsealed(names) } else { Err(Flaw::seal()) }
    }

    /// Whether the row is as it was sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.seal == self.checksum()
    }

    /// What the row says, sealed or not.
    pub(crate) fn unsealed(&self, names: &mut Names) -> Result<Stored, Flaw> {
        let extra = Extra {
            owner: self.owner,
            outcome: self.outcome.map(read_u32).transpose()?,
            history_first: read_u64(self.history_first)?,
            history_next: read_u64(self.history_next)?,
        };
        Ok(Stored { state: self.state(names)?, extra })
    }

    /// As [`stored`](Self::stored), and the row is what would be written today: its phase, deadline and the like
    /// follow from the rest.
    pub(crate) fn checked(&self, names: &mut Names) -> Result<Stored, Flaw> {
        let stored = self.stored(names)?;
        if StoredRow::of(&stored.state, stored.extra)?.seal != self.seal {
            return Err(Flaw::new("its phase, deadline or suspect column does not follow from the others"));
        }
        if stored.extra.owner.is_some() != (stored.state.phase() == Phase::Held) {
            return Err(Flaw::new("it is held by nobody, or by someone without being held"));
        }
        Ok(stored)
    }

    fn state(&self, names: &mut Names) -> Result<JobState, Flaw> {
        let time = |at: Option<i64>| at.map(Timestamp::from_micros);
        let priority = i16::try_from(self.priority)
            .map_err(|_| Flaw(format!("there is no priority {}", self.priority)))?;
        Ok(JobState {
            id: self.id()?,
            labels: names.labels(self.queue, self.kind, &self.tags)?,
            unique_key: self.unique_key.map(UniqueKey::new).transpose()?,
            status: self.status.parse()?,
            resumes_to: self.resumes_to.map(str::parse).transpose()?,
            last_reported: self.last_reported.map(str::parse).transpose()?,
            attempt: Attempt(read_u32(self.attempt)?),
            failures: read_u32(self.failures)?,
            retry_count: read_u32(self.retry_count)?,
            crashes: read_u32(self.crashes)?,
            max_attempts: self.max_attempts.map(read_u32).transpose()?,
            crash_limit: read_u32(self.crash_limit)?,
            backoff: backoff(&self.backoff)?,
            priority: Priority(priority),
            run_at: Timestamp::from_micros(self.run_at),
            due: self.due != 0,
            sequence: read_u64(self.sequence)?,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: time(self.expires_at),
            started_at: time(self.started_at),
            assigned_at: time(self.assigned_at),
            last_retry_at: time(self.last_retry_at),
            finalized_at: time(self.finalized_at),
            assignee: self.assignee.map(|text| names.assignee(text)).transpose()?,
        })
    }

    /// Runs a statement whose parameters are all of [`COLUMNS`].
    pub(crate) fn insert(&self, statement: &mut CachedStatement<'_>) -> rusqlite::Result<usize> {
        statement.execute(params![
            self.sequence,
            self.id,
            self.queue,
            self.kind,
            self.tags,
            self.unique_key,
            self.priority,
            self.max_attempts,
            self.crash_limit,
            self.backoff,
            self.created_at,
            self.expires_at,
            self.status,
            self.phase,
            self.resumes_to,
            self.last_reported,
            self.attempt,
            self.failures,
            self.retry_count,
            self.crashes,
            self.run_at,
            self.due,
            self.deadline,
            self.suspect,
            self.started_at,
            self.assigned_at,
            self.last_retry_at,
            self.finalized_at,
            self.assignee,
            self.owner,
            self.outcome,
            self.history_first,
            self.history_next,
            self.seal,
        ])
    }

    /// Runs a statement whose parameters are the sequence and what a transition can change: the columns from
    /// `status` on.
    pub(crate) fn update(&self, statement: &mut CachedStatement<'_>) -> rusqlite::Result<usize> {
        statement.execute(params![
            self.sequence,
            self.status,
            self.phase,
            self.resumes_to,
            self.last_reported,
            self.attempt,
            self.failures,
            self.retry_count,
            self.crashes,
            self.run_at,
            self.due,
            self.deadline,
            self.suspect,
            self.started_at,
            self.assigned_at,
            self.last_retry_at,
            self.finalized_at,
            self.assignee,
            self.owner,
            self.outcome,
            self.history_first,
            self.history_next,
            self.seal,
        ])
    }
}
