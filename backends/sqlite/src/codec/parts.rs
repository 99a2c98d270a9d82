use std::collections::BTreeMap;

use poolqueue_core::{
    Attempt, Body, ContentType, FailureKind, HistoryEntry, JobId, LastError, Output, Timestamp,
};
use rusqlite::Row;

use super::seal::{Columns, Part, Seal};
use super::span::{span, span_text};
use super::{Flaw, Names, read_u32};

/// What a job carries. Columns: payload, content_type, metadata, timeout, seal.
#[derive(Debug)]
pub(crate) struct BodyRow {
    pub(crate) metadata: String,
    pub(crate) timeout: Option<String>,
    pub(crate) seal: i64,
}

impl BodyRow {
    pub(crate) fn of(id: JobId, body: &Body) -> Result<Self, Flaw> {
        let metadata = if body.metadata.is_empty() {
            "{}".to_owned()
        } else {
            serde_json::to_string(&body.metadata).map_err(|error| Flaw(error.to_string()))?
        };
        let timeout = body.timeout.map(span_text);
        let seal = seal_of_body(id, &body.payload, body.content_type.as_str(), &metadata, timeout.as_deref());
        Ok(BodyRow { metadata, timeout, seal })
    }

    pub(crate) fn read(id: JobId, row: &Row<'_>) -> Result<Body, Flaw> {
        let mut columns = Columns::of(row);
        let (payload, content_type) = (columns.blob()?, columns.text()?);
        let (metadata, timeout) = (columns.text()?, columns.opt_text()?);
        if columns.int()? != seal_of_body(id, payload, content_type, metadata, timeout) {
            return Err(Flaw::seal());
        }
        let pairs: BTreeMap<String, String> = if metadata == "{}" {
            BTreeMap::new()
        } else {
            serde_json::from_str(metadata).map_err(|error| Flaw(format!("its metadata: {error}")))?
        };
        Ok(Body {
            payload: payload.to_vec(),
            content_type: content_type.parse()?,
            metadata: pairs,
            timeout: timeout.map(span).transpose()?,
        })
    }
}

pub(super) fn seal_of_body(
    id: JobId,
    payload: &[u8],
    content_type: &str,
    metadata: &str,
    timeout: Option<&str>,
) -> i64 {
    let mut seal = Seal::of(Part::Body);
    seal.bytes(id.as_bytes()).bytes(payload).text(content_type).text(metadata).opt_text(timeout);
    seal.finish()
}

/// What a job left behind. Columns: attempt, output, output_type, error, error_kind, seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutcomeRow {
    pub(crate) attempt: u32,
    pub(crate) output: Output,
    pub(crate) error: Option<LastError>,
}

impl OutcomeRow {
    /// Whether there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        self.output.value().is_none() && self.error.is_none()
    }

    pub(crate) fn error_kind(&self) -> Option<&'static str> {
        self.error.as_ref().and_then(|error| error.kind).map(FailureKind::as_str)
    }

    pub(crate) fn seal(&self, id: JobId) -> i64 {
        let (output, output_type) = match self.output.value() {
            Some((bytes, content_type)) => (Some(bytes), Some(content_type.as_str())),
            None => (None, None),
        };
        let message = self.error.as_ref().map(|error| error.message.as_str());
        seal_of_outcome(id, self.attempt.into(), (output, output_type), (message, self.error_kind()))
    }

    /// The outcome of the job's `attempt`.
    pub(crate) fn read(id: JobId, attempt: u32, row: &Row<'_>) -> Result<Self, Flaw> {
        let mut columns = Columns::of(row);
        let stored = columns.int()?;
        let output = (columns.opt_blob()?, columns.opt_text()?);
        let error = (columns.opt_text()?, columns.opt_text()?);
        if columns.int()? != seal_of_outcome(id, stored, output, error) {
            return Err(Flaw::seal());
        }
        if stored != i64::from(attempt) {
            return Err(Flaw(format!("it is of attempt {stored} instead of {attempt}")));
        }
        let output = match output {
            (Some(bytes), Some(content_type)) => Output::new(bytes, content_type.parse::<ContentType>()?),
            _ => Output::none(),
        };
        let kind = error.1.map(str::parse).transpose()?;
        let error = error.0.map(|message| LastError { message: message.to_owned(), kind });
        Ok(OutcomeRow { attempt, output, error })
    }
}

pub(super) fn seal_of_outcome(
    id: JobId,
    attempt: i64,
    output: (Option<&[u8]>, Option<&str>),
    error: (Option<&str>, Option<&str>),
) -> i64 {
    let mut seal = Seal::of(Part::Outcome);
    seal.bytes(id.as_bytes()).int(attempt).opt_bytes(output.0).opt_text(output.1);
    seal.opt_text(error.0).opt_text(error.1);
    seal.finish()
}

/// One line of a job's history. Columns: number, at, event, from_status, to_status, attempt, assignee, message,
/// seal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryRow<'a> {
    pub(crate) number: i64,
    pub(crate) at: i64,
    pub(crate) event: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) attempt: i64,
    pub(crate) assignee: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
}

impl<'a> EntryRow<'a> {
    pub(crate) fn of(number: i64, entry: &'a HistoryEntry) -> Self {
        EntryRow {
            number,
            at: entry.at.as_micros(),
            event: entry.event.as_str(),
            from: entry.from.as_str(),
            to: entry.to.as_str(),
            attempt: entry.attempt.0.into(),
            assignee: entry.assignee.as_deref(),
            message: entry.message.as_deref(),
        }
    }

    pub(crate) fn seal(&self, id: JobId) -> i64 {
        let mut seal = Seal::of(Part::History);
        seal.bytes(id.as_bytes()).int(self.number).int(self.at).text(self.event).text(self.from);
        seal.text(self.to).int(self.attempt).opt_text(self.assignee).opt_text(self.message);
        seal.finish()
    }

    /// The entry that must have this number.
    pub(crate) fn read(
        id: JobId,
        number: u64,
        row: &'a Row<'_>,
        names: &mut Names,
    ) -> Result<HistoryEntry, Flaw> {
        let mut columns = Columns::of(row);
        let c = &mut columns;
        let stored = EntryRow {
            number: c.int()?,
            at: c.int()?,
            event: c.text()?,
            from: c.text()?,
            to: c.text()?,
            attempt: c.int()?,
            assignee: c.opt_text()?,
            message: c.opt_text()?,
        };
        if c.int()? != stored.seal(id) {
            return Err(Flaw::seal());
        }
        if u64::try_from(stored.number) != Ok(number) {
            return Err(Flaw(format!("entry {number} is missing")));
        }
        Ok(HistoryEntry {
            at: Timestamp::from_micros(stored.at),
            event: stored.event.parse()?,
            from: stored.from.parse()?,
            to: stored.to.parse()?,
            attempt: Attempt(read_u32(stored.attempt)?),
            assignee: stored.assignee.map(|text| names.assignee(text)).transpose()?,
            message: stored.message.map(str::to_owned),
        })
    }
}

pub(crate) fn seal_of_meta(name: &str, value: i64) -> i64 {
    Seal::of(Part::Meta).text(name).int(value).finish()
}

pub(crate) fn seal_of_holder(queue: &str, name: &str, holder: &[u8]) -> i64 {
    Seal::of(Part::Unique).text(queue).text(name).bytes(holder).finish()
}

pub(crate) fn seal_of_record(name: &str, version: i64, value: &[u8]) -> i64 {
    Seal::of(Part::Record).text(name).int(version).bytes(value).finish()
}

pub(crate) fn seal_of_counts(status: &str, jobs: i64, retries: i64) -> i64 {
    Seal::of(Part::Counts).text(status).int(jobs).int(retries).finish()
}
