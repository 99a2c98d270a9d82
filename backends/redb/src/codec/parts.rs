use std::collections::BTreeMap;

use bincode::{BorrowDecode, Encode};
use poolqueue_core::{Attempt, Body, ContentType, FailureKind, HistoryEntry, LastError, Output, Timestamp};

use super::state::{event, status};
use super::{Flaw, Names, StoredSpan, decode_prefix};

/// What a job carries.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredBody<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) content_type: u8,
    pub(crate) metadata: Vec<(&'a str, &'a str)>,
    pub(crate) timeout: Option<StoredSpan>,
}

impl<'a> StoredBody<'a> {
    pub(crate) fn of(body: &'a Body) -> Self {
        StoredBody {
            payload: &body.payload,
            content_type: body.content_type.code(),
            metadata: body.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            timeout: body.timeout.map(StoredSpan::of),
        }
    }

    pub(crate) fn body(&self) -> Result<Body, Flaw> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let metadata: BTreeMap<String, String> = self.metadata.iter().map(owned).collect();
        Ok(Body {
            payload: self.payload.to_vec(),
            content_type: content_type(self.content_type)?,
            metadata,
            timeout: self.timeout.map(StoredSpan::span).transpose()?,
        })
    }
}

/// What a job left behind: an output, a last error, or both.
#[derive(Clone, Debug, Default, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredOutcome<'a> {
    pub(crate) attempt: u32,
    pub(crate) output: Option<(&'a [u8], u8)>,
    pub(crate) error: Option<StoredError<'a>>,
}

/// The last thing that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredError<'a> {
    pub(crate) message: &'a str,
    pub(crate) kind: Option<u8>,
}

impl<'a> StoredError<'a> {
    pub(crate) fn of(error: &'a LastError) -> Self {
        StoredError { message: &error.message, kind: error.kind.map(FailureKind::code) }
    }

    fn error(&self) -> Result<LastError, Flaw> {
        let kind = |code: u8| {
            FailureKind::from_code(code)
                .ok_or_else(|| Flaw::Damaged(format!("there is no kind of failure {code}")))
        };
        Ok(LastError { message: self.message.to_owned(), kind: self.kind.map(kind).transpose()? })
    }
}

impl StoredOutcome<'_> {
    pub(crate) fn parts(&self) -> Result<(Output, Option<LastError>), Flaw> {
        let output = match self.output {
            Some((bytes, code)) => Output::new(bytes, content_type(code)?),
            None => Output::none(),
        };
        Ok((output, self.error.as_ref().map(StoredError::error).transpose()?))
    }
}

/// A piece of a job's history.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredChunk<'a> {
    pub(crate) count: u32,
    /// [`StoredEntry`] after [`StoredEntry`].
    pub(crate) entries: &'a [u8],
}

/// One line of a job's history.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredEntry<'a> {
    pub(crate) at: i64,
    pub(crate) event: u8,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) attempt: u32,
    pub(crate) assignee: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
}

impl<'a> StoredEntry<'a> {
    pub(crate) fn of(entry: &'a HistoryEntry) -> Self {
        StoredEntry {
            at: entry.at.as_micros(),
            event: entry.event.code(),
            from: entry.from.code(),
            to: entry.to.code(),
            attempt: entry.attempt.0,
            assignee: entry.assignee.as_deref(),
            message: entry.message.as_deref(),
        }
    }

    /// The entries that `bytes` hold, of which there are `count`.
    pub(crate) fn read_all(
        mut bytes: &'a [u8],
        count: u32,
        mut each: impl FnMut(StoredEntry<'a>, &'a [u8]) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let mut seen = 0u32;
        while !bytes.is_empty() {
            let (entry, used) = decode_prefix::<StoredEntry<'a>>(bytes)?;
            let (own, rest) = bytes.split_at_checked(used).unwrap_or((bytes, &[]));
            each(entry, own)?;
            bytes = rest;
            seen = seen.saturating_add(1);
        }
        if seen != count {
            return Err(Flaw::Damaged(format!("it holds {seen} entries of history instead of {count}")));
        }
        Ok(())
    }

    pub(crate) fn entry(&self, names: &mut Names) -> Result<HistoryEntry, Flaw> {
        Ok(HistoryEntry {
            at: Timestamp::from_micros(self.at),
            event: event(self.event)?,
            from: status(self.from)?,
            to: status(self.to)?,
            attempt: Attempt(self.attempt),
            assignee: self.assignee.map(|text| names.assignee(text)).transpose()?,
            message: self.message.map(str::to_owned),
        })
    }
}

fn content_type(code: u8) -> Result<ContentType, Flaw> {
    ContentType::from_code(code).ok_or_else(|| Flaw::Damaged(format!("there is no content type {code}")))
}
