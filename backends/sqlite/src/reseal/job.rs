//! Looking at a job whose rows were changed by hand: whether they can be accepted, and what follows from them.

use poolqueue_core::lifecycle::{JobState, next};
use poolqueue_core::{EventKind, JobId, Phase, Status, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::codec::unsealed::{self, Sealing};
use crate::codec::{Flaw, Names, Stored, StoredRow, stored_u64};

use super::beside::{self, Beside, Changes};
use super::{Halt, Place};

/// What became of looking at a job.
pub(super) enum Examined {
    /// There is no row with this id.
    Unknown,
    /// Every row of it is as it was sealed.
    Fits,
    /// It can be accepted.
    Differs(Box<Plan>),
}

/// A job as it will be accepted.
pub(super) struct Plan {
    pub(super) after: Stored,
    /// The handle that its row named before.
    pub(super) owner: Option<i64>,
    /// Whether the seal of its row in the table of jobs fits, and whether that row has to be written.
    pub(super) job_fits: bool,
    pub(super) write_job: bool,
    pub(super) body: Sealing,
    pub(super) outcome: Option<Sealing>,
    /// The history entries whose seals do not fit.
    pub(super) entries: Vec<(u64, Sealing)>,
    pub(super) beside: Changes,
}

/// What the rows beside the job's own say of it.
struct Rest {
    body: Sealing,
    outcome: Option<(u32, Sealing)>,
    entries: Vec<(u64, Sealing)>,
    /// The numbers of the first history entry and of the one that comes next.
    range: Option<(u64, u64)>,
    attempt_max: u32,
}

pub(super) fn examine(
    place: &Place<'_>,
    beside: &Beside,
    id: JobId,
    names: &mut Names,
) -> Result<Examined, Halt> {
    let engine = |error| place.engine(error);
    let mut statement = place.conn.prepare_cached(&place.sql.load).map_err(engine)?;
    let mut rows = statement.query([id.as_bytes().as_slice()]).map_err(engine)?;
    let Some(row) = rows.next().map_err(engine)? else { return Ok(Examined::Unknown) };
    unsealed::job_columns(row)?;
    let stored_row = StoredRow::read(row)?;
    let before = stored_row.unsealed(names)?;
    let job_fits = stored_row.is_sealed();
    let job = stored_u64(before.state.sequence)?;
    let rest = rest(place, id, job)?;
    check(&before.state, &rest)?;
    if before.state.phase() == Phase::Held {
        check_owner(place, before.extra.owner)?;
    }
    let mut after = before.clone();
    if !job_fits {
        after.state = follow(&before.state, place.now);
    }
    after.extra.owner = before.extra.owner.filter(|_| after.state.phase() == Phase::Held);
    let next = before.extra.history_next;
    (after.extra.history_first, after.extra.history_next) = rest.range.unwrap_or((next, next));
    after.extra.outcome = rest.outcome.map(|(attempt, _)| attempt);
    let write_job = !job_fits || before != after || stored_row.checked(names).is_err();
    let plan = Plan {
        beside: beside::changes(place, beside, &after.state)?,
        after,
        owner: before.extra.owner,
        job_fits,
        write_job,
        body: rest.body,
        outcome: rest.outcome.map(|(_, sealing)| sealing),
        entries: rest.entries,
    };
    Ok(if plan.is_empty() { Examined::Fits } else { Examined::Differs(Box::new(plan)) })
}

impl Plan {
    fn is_empty(&self) -> bool {
        let rows_fit = self.body.fits && self.outcome.is_none_or(|outcome| outcome.fits);
        rows_fit && !self.write_job && self.entries.is_empty() && self.beside == Changes::default()
    }
}

/// Reads what stands under the job's number in the other tables.
fn rest(place: &Place<'_>, id: JobId, job: i64) -> Result<Rest, Halt> {
    let body = one(place, &place.sql.read_body, job, |row| unsealed::body(id, row))?;
    let body = body.ok_or_else(|| Halt::Refused("bodies: the job has no row there".to_owned()))?;
    let outcome = one(place, &place.sql.read_outcome, job, |row| unsealed::outcome(id, row))?;
    let attempt_max = outcome.map_or(0, |(attempt, _)| attempt);
    let mut rest = Rest { body, outcome, entries: Vec::new(), range: None, attempt_max };
    let engine = |error| place.engine(error);
    let mut statement = place.conn.prepare_cached(&place.sql.read_history).map_err(engine)?;
    let mut rows = statement.query([job]).map_err(engine)?;
    while let Some(row) = rows.next().map_err(engine)? {
        let (number, attempt, sealing) = unsealed::entry(id, row)?;
        let (first, expected) = rest.range.unwrap_or((number, number));
        if number != expected {
            return Err(Halt::Refused(format!("history.number: entry {expected} is missing")));
        }
        rest.range = Some((first, number.saturating_add(1)));
        rest.attempt_max = rest.attempt_max.max(attempt);
        if !sealing.fits {
            rest.entries.push((number, sealing));
        }
    }
    Ok(rest)
}

fn one<T>(
    place: &Place<'_>,
    sql: &str,
    job: i64,
    read: impl FnOnce(&Row<'_>) -> Result<T, Flaw>,
) -> Result<Option<T>, Halt> {
    let found = place
        .conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([job], |row| Ok(read(row))).optional())
        .map_err(|error| place.engine(error))?;
    Ok(found.transpose()?)
}

/// Refuses what no job can be.
fn check(state: &JobState, rest: &Rest) -> Result<(), Flaw> {
    let status = state.status;
    let refuse = |column: &str, why: String| Err(Flaw(format!("jobs.{column}: {why}")));
    if state.attempt.0 < rest.attempt_max {
        let why = format!("{} is lower than {}, of which there are traces", state.attempt, rest.attempt_max);
        return refuse("attempt", why);
    }
    match state.resumes_to {
        None if status == Status::Paused => {
            return refuse("resumes_to", "a paused job names the status it resumes to".to_owned());
        }
        Some(other) if status == Status::Paused && other.phase() != Phase::Ready => {
            return refuse("resumes_to", format!("a job cannot be {other} after a pause"));
        }
        _ => {}
    }
    if state.phase() == Phase::Held {
        let given = [
            ("attempt", state.attempt.0 > 0),
            ("assignee", state.assignee.is_some()),
            ("assigned_at", state.assigned_at.is_some()),
            ("started_at", state.started_at.is_some()),
        ];
        if let Some((column, _)) = given.into_iter().find(|(_, given)| !given) {
            return refuse(column, format!("a job that is {status} was claimed, and this says it was not"));
        }
    }
    Ok(())
}

/// Refuses a held job that no open handle holds: nobody would ever give it back.
fn check_owner(place: &Place<'_>, owner: Option<i64>) -> Result<(), Halt> {
    let known =
        place.conn.prepare_cached(&place.sql.beat_of).and_then(|mut statement| statement.exists([owner]));
    if known.map_err(|error| place.engine(error))? {
        return Ok(());
    }
    Err(Halt::Refused("jobs.owner: a held job names the open handle that holds it".to_owned()))
}

/// The state with the columns set that follow from others.
fn follow(state: &JobState, now: Timestamp) -> JobState {
    let mut after = state.clone();
    let phase = state.phase();
    after.due = match phase {
        Phase::Held => true,
        Phase::Ready | Phase::Parked => state.run_at <= now,
        Phase::Final => state.due,
    };
    after.finalized_at = match phase {
        Phase::Final => state.finalized_at.or(Some(now)),
        _ => None,
    };
    after.resumes_to = state.resumes_to.filter(|_| state.status == Status::Paused);
    after.last_reported = state.last_reported.filter(|event| leads_to(*event, state.status));
    after
}

/// Whether the life cycle has a step by `event` that ends at `status`.
fn leads_to(event: EventKind, status: Status) -> bool {
    let gives_up = matches!(event, EventKind::FailRetry | EventKind::LoseWorker) && status == Status::Dead;
    gives_up || Status::ALL.iter().any(|from| next(*from, event) == Some(status))
}
