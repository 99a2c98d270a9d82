//! What rows say, and how to tell that they still say what was written.
//!
//! Columns hold plain values that any SQL tool shows. Each row is *sealed*: its last column is a CRC-32 over the
//! version of the format, the table, the job's id where there is one, and every other column. So a row that
//! was changed by hand, moved to another job or damaged is noticed when it is read.

#[doc(hidden)]
pub mod fuzz;
mod names;
mod parts;
mod seal;
mod span;
mod state;
pub(crate) mod unsealed;

#[cfg(test)]
mod tests;

pub(crate) use names::Names;
pub(crate) use parts::{
    BodyRow, EntryRow, OutcomeRow, seal_of_counts, seal_of_holder, seal_of_meta, seal_of_record,
};
pub(crate) use seal::Columns;
pub(crate) use state::{COLUMNS, Extra, Stored, StoredRow};

/// Why a stored row cannot be used, or a value not be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw(pub(crate) String);

impl Flaw {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Flaw(reason.into())
    }

    /// The seal is that of other values.
    pub(crate) fn seal() -> Self {
        Flaw::new("its seal does not match: it was changed by something else than poolqueue")
    }
}

impl From<poolqueue_core::Invalid> for Flaw {
    fn from(invalid: poolqueue_core::Invalid) -> Self {
        Flaw(invalid.to_string())
    }
}

/// A counter or a number as SQLite stores them.
pub(crate) fn stored_u64(number: u64) -> Result<i64, Flaw> {
    i64::try_from(number).map_err(|_| Flaw(format!("{number} is more than SQLite can store")))
}

/// A number that must not be negative.
pub(crate) fn read_u64(number: i64) -> Result<u64, Flaw> {
    u64::try_from(number).map_err(|_| Flaw(format!("{number} is negative")))
}

/// A number of 32 bits that must not be negative.
pub(crate) fn read_u32(number: i64) -> Result<u32, Flaw> {
    u32::try_from(number).map_err(|_| Flaw(format!("{number} is out of range")))
}
