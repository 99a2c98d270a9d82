//! Rows as they are now, whatever their seals say. Only for a reseal, which a person asked for: each column must be
//! something the life cycle knows, and a flaw names the column.

use std::collections::BTreeMap;

use poolqueue_core::{
    AssigneeId, ContentType, EventKind, FailureKind, JobId, Kind, QueueName, Status, Tag, UniqueKey,
};
use rusqlite::Row;

use super::parts::{EntryRow, seal_of_body, seal_of_outcome};
use super::seal::Columns;
use super::span::{backoff, span};
use super::{Flaw, read_u32, read_u64};

/// The seal a row ought to have, and whether it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealing {
    pub(crate) seal: i64,
    pub(crate) fits: bool,
}

impl Sealing {
    fn new(seal: i64, stored: i64) -> Self {
        Sealing { seal, fits: seal == stored }
    }
}

/// Puts the column's name before what is wrong with it.
fn in_column<T>(name: &str, value: Result<T, impl Into<Flaw>>) -> Result<T, Flaw> {
    value.map_err(|flaw| {
        let Flaw(reason) = flaw.into();
        Flaw(format!("{name}: {reason}"))
    })
}

type Rule = fn(&mut Columns<'_>) -> Result<(), Flaw>;

/// What each column of a job must be. Those that follow from others have no rule.
const RULES: [(&str, Rule); 23] = [
    ("sequence", |c| read_u64(c.int()?).map(drop)),
    ("queue", |c| Ok(QueueName::new(c.text()?).map(drop)?)),
    ("kind", |c| Ok(Kind::new(c.text()?).map(drop)?)),
    ("tags", |c| tags(c.text()?)),
    ("unique_key", |c| Ok(c.opt_text()?.map(UniqueKey::new).transpose().map(drop)?)),
    ("priority", |c| {
        let given = c.int()?;
        i16::try_from(given).map(drop).map_err(|_| Flaw(format!("there is no priority {given}")))
    }),
    ("max_attempts", |c| c.opt_int()?.map_or(Ok(()), at_least_one)),
    ("crash_limit", |c| at_least_one(c.int()?)),
    ("backoff", |c| backoff(c.text()?).map(drop)),
    ("status", |c| Ok(c.text()?.parse::<Status>().map(drop)?)),
    ("resumes_to", |c| Ok(c.opt_text()?.map(str::parse::<Status>).transpose().map(drop)?)),
    ("last_reported", |c| Ok(c.opt_text()?.map(str::parse::<EventKind>).transpose().map(drop)?)),
    ("attempt", |c| read_u32(c.int()?).map(drop)),
    ("failures", |c| read_u32(c.int()?).map(drop)),
    ("retry_count", |c| read_u32(c.int()?).map(drop)),
    ("crashes", |c| read_u32(c.int()?).map(drop)),
    ("run_at", |c| c.int().map(drop)),
    ("due", |c| match c.int()? {
        0 | 1 => Ok(()),
        other => Err(Flaw(format!("{other} is neither 0 nor 1"))),
    }),
    ("created_at", |c| c.int().map(drop)),
    ("assignee", |c| Ok(c.opt_text()?.map(AssigneeId::new).transpose().map(drop)?)),
    ("outcome", |c| c.opt_int()?.map(read_u32).transpose().map(drop)),
    ("history_first", |c| read_u64(c.int()?).map(drop)),
    ("history_next", |c| read_u64(c.int()?).map(drop)),
];

fn tags(text: &str) -> Result<(), Flaw> {
    let list: Vec<String> = serde_json::from_str(text)
        .map_err(|error| Flaw(format!("it is not a JSON list of texts: {error}")))?;
    Ok(list.iter().try_for_each(|tag| Tag::new(tag).map(drop))?)
}

fn at_least_one(number: i64) -> Result<(), Flaw> {
    match read_u32(number)? {
        0 => Err(Flaw::new("it must be at least 1")),
        _ => Ok(()),
    }
}

/// Checks a row of the table of jobs, column by column.
pub(crate) fn job_columns(row: &Row<'_>) -> Result<(), Flaw> {
    for (name, rule) in RULES {
        in_column(&format!("jobs.{name}"), Columns::from(row, name).and_then(|mut at| rule(&mut at)))?;
    }
    Ok(())
}

/// Checks a body. Columns as [`BodyRow`](super::BodyRow) has them.
pub(crate) fn body(id: JobId, row: &Row<'_>) -> Result<Sealing, Flaw> {
    let mut c = Columns::of(row);
    let payload = in_column("bodies.payload", c.blob())?;
    let content_type = in_column("bodies.content_type", c.text())?;
    let metadata = in_column("bodies.metadata", c.text())?;
    let timeout = in_column("bodies.timeout", c.opt_text())?;
    let stored = in_column("bodies.seal", c.int())?;
    in_column("bodies.content_type", content_type.parse::<ContentType>())?;
    let pairs: Result<BTreeMap<String, String>, Flaw> = serde_json::from_str(metadata)
        .map_err(|error| Flaw(format!("it is not a JSON object of texts: {error}")));
    in_column("bodies.metadata", pairs)?;
    in_column("bodies.timeout", timeout.map(span).transpose())?;
    Ok(Sealing::new(seal_of_body(id, payload, content_type, metadata, timeout), stored))
}

/// Checks an outcome, and says of which attempt it is. Columns as [`OutcomeRow`](super::OutcomeRow) has them.
pub(crate) fn outcome(id: JobId, row: &Row<'_>) -> Result<(u32, Sealing), Flaw> {
    let mut c = Columns::of(row);
    let attempt = in_column("outcomes.attempt", c.int())?;
    let output = in_column("outcomes.output", c.opt_blob())?;
    let output_type = in_column("outcomes.output_type", c.opt_text())?;
    let error = in_column("outcomes.error", c.opt_text())?;
    let kind = in_column("outcomes.error_kind", c.opt_text())?;
    let stored = in_column("outcomes.seal", c.int())?;
    let of_attempt = in_column("outcomes.attempt", read_u32(attempt))?;
    in_column("outcomes.output_type", output_type.map(str::parse::<ContentType>).transpose())?;
    in_column("outcomes.error_kind", kind.map(str::parse::<FailureKind>).transpose())?;
    if output.is_some() != output_type.is_some() {
        return Err(Flaw::new("outcomes.output_type: it stands beside an output and nowhere else"));
    }
    if kind.is_some() && error.is_none() {
        return Err(Flaw::new("outcomes.error_kind: there is no error"));
    }
    let seal = seal_of_outcome(id, attempt, (output, output_type), (error, kind));
    Ok((of_attempt, Sealing::new(seal, stored)))
}

/// A history entry: which it is, of which attempt, and its seal. Columns as [`EntryRow`] has them.
pub(crate) fn entry(id: JobId, row: &Row<'_>) -> Result<(u64, u32, Sealing), Flaw> {
    let mut c = Columns::of(row);
    let found = EntryRow {
        number: in_column("history.number", c.int())?,
        at: in_column("history.at", c.int())?,
        event: in_column("history.event", c.text())?,
        from: in_column("history.from_status", c.text())?,
        to: in_column("history.to_status", c.text())?,
        attempt: in_column("history.attempt", c.int())?,
        assignee: in_column("history.assignee", c.opt_text())?,
        message: in_column("history.message", c.opt_text())?,
    };
    let stored = in_column("history.seal", c.int())?;
    let number = in_column("history.number", read_u64(found.number))?;
    let attempt = in_column("history.attempt", read_u32(found.attempt))?;
    in_column("history.event", found.event.parse::<EventKind>())?;
    in_column("history.from_status", found.from.parse::<Status>())?;
    in_column("history.to_status", found.to.parse::<Status>())?;
    in_column("history.assignee", found.assignee.map(AssigneeId::new).transpose())?;
    Ok((number, attempt, Sealing::new(found.seal(id), stored)))
}
