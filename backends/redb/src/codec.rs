//! The stored bytes: everything that is bincode is in here.
//!
//! Every value is *sealed*: a version byte, a CRC-32 and the bincode bytes. The checksum also covers the
//! version, which part of a job the value is, and what it belongs to (the id, for an outcome the attempt, for
//! a piece of history its number), so that a value moved to another place is noticed like a damaged one. The
//! seal is the same in every version of the format.
//!
//! The records (`Stored…`) mirror the types of `poolqueue-core`, so that those may change without the bytes;
//! they borrow from the row they were read from. The golden files under `tests/golden` pin the bytes.

#[doc(hidden)]
pub mod fuzz;
mod meta;
mod names;
mod parts;
mod row;
mod state;

#[cfg(test)]
mod tests;

use bincode::{BorrowDecode, Encode};

pub(crate) use meta::{
    COMMITS, FINALS, FORMAT, OWNER, SEQUENCE, StoredCommits, StoredFormat, StoredHolder, StoredOwner,
    StoredRecord, StoredSequence, StoredTally,
};
pub(crate) use names::Names;
pub(crate) use parts::{StoredBody, StoredChunk, StoredEntry, StoredError, StoredOutcome};
pub(crate) use row::StateRow;
#[cfg(test)]
pub(crate) use state::StoredBackoff;
pub(crate) use state::{StoredHistory, StoredLabels, StoredSpan, StoredState};

/// The version of the stored values.
pub(crate) const VERSION: u8 = 1;
/// The version byte and the checksum.
const SEAL_BYTES: usize = 5;
/// The largest value that is written. It bounds what a decoder may be asked for, too.
const VALUE_BYTES_MAX: usize = 512 << 20;
/// Rows up to this size are decoded under the lower limit.
const SMALL_ROW_BYTES: usize = 64 << 10;
/// What decoding a small row may allocate: the largest element of a list takes 32 times its shortest encoding.
const SMALL_LIMIT: usize = SMALL_ROW_BYTES * 32;
/// What decoding any row may allocate.
const LARGE_LIMIT: usize = 1 << 30;

/// Why a stored value cannot be used, or a value not be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A newer version of this crate wrote it.
    Newer {
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// It is larger than what is read back.
    TooLarge(usize),
    /// There is no way to write it.
    Unfit(String),
    /// It is not what was written.
    Damaged(String),
}

impl Flaw {
    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Flaw::Damaged(reason.into())
    }
}

/// Which part of the store a value is.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Part {
    State = 1,
    Body = 2,
    Outcome = 3,
    History = 4,
    Meta = 5,
    Record = 6,
    Unique = 7,
}

/// What a value belongs to: the bytes the checksum covers beside the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) part: Part,
    pub(crate) key: &'a [u8],
    /// The attempt of an outcome, the number of a piece of history, 0 elsewhere.
    pub(crate) number: u32,
}

impl<'a> Owner<'a> {
    pub(crate) fn new(part: Part, key: &'a [u8]) -> Self {
        Owner { part, key, number: 0 }
    }

    pub(crate) fn numbered(part: Part, key: &'a [u8], number: u32) -> Self {
        Owner { part, key, number }
    }

    fn checksum(&self, version: u8, payload: &[u8]) -> [u8; 4] {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[version, self.part as u8]);
        hasher.update(&self.number.to_le_bytes());
        // The length keeps a key and the value after it from trading bytes.
        hasher.update(&(self.key.len() as u64).to_le_bytes());
        hasher.update(self.key);
        hasher.update(payload);
        hasher.finalize().to_le_bytes()
    }
}

/// Writes `value` sealed into `out`, which is cleared first.
pub(crate) fn seal(owner: Owner<'_>, value: &impl Encode, out: &mut Vec<u8>) -> Result<(), Flaw> {
    out.clear();
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    encode(value, out)?;
    if out.len() > VALUE_BYTES_MAX {
        return Err(Flaw::TooLarge(out.len()));
    }
    if let Some((seal, payload)) = out.split_at_mut_checked(SEAL_BYTES) {
        let checksum = owner.checksum(VERSION, payload);
        for (to, from) in seal.iter_mut().skip(1).zip(checksum) {
            *to = from;
        }
    }
    Ok(())
}

/// The value sealed in `row`.
pub(crate) fn unseal<'a, T: BorrowDecode<'a, ()>>(owner: Owner<'_>, row: &'a [u8]) -> Result<T, Flaw> {
    let Some((&[version, ref checksum @ ..], payload)) = row.split_first_chunk::<SEAL_BYTES>() else {
        return Err(Flaw::Damaged(format!("it is only {} bytes long", row.len())));
    };
    if owner.checksum(version, payload) != *checksum {
        return Err(Flaw::damaged("its checksum does not match"));
    }
    match version {
        VERSION => decode(payload),
        newer if newer > VERSION => Err(Flaw::Newer { found: newer.into(), known: VERSION.into() }),
        other => Err(Flaw::Damaged(format!("there is no format {other}"))),
    }
}

/// Appends the bytes of `value` to `out`.
pub(crate) fn encode(value: &impl Encode, out: &mut Vec<u8>) -> Result<(), Flaw> {
    let config = bincode::config::standard().with_limit::<LARGE_LIMIT>();
    bincode::encode_into_std_write(value, out, config)
        .map(|_| ())
        .map_err(|error| Flaw::Unfit(error.to_string()))
}

/// The value whose bytes are exactly `bytes`.
pub(crate) fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Flaw> {
    let (value, used) = decode_prefix(bytes)?;
    if used != bytes.len() {
        return Err(Flaw::Damaged(format!("{} bytes follow it", bytes.len() - used)));
    }
    Ok(value)
}

/// The value that `bytes` start with, and how long it is.
pub(crate) fn decode_prefix<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, usize), Flaw> {
    let config = bincode::config::standard();
    let decoded = if bytes.len() <= SMALL_ROW_BYTES {
        bincode::borrow_decode_from_slice(bytes, config.with_limit::<SMALL_LIMIT>())
    } else {
        bincode::borrow_decode_from_slice(bytes, config.with_limit::<LARGE_LIMIT>())
    };
    decoded.map_err(|error| Flaw::Damaged(format!("it cannot be decoded: {error}")))
}
