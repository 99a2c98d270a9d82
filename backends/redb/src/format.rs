//! The tables of the file, and what becomes of a file of another format.
//!
//! | table | key | value |
//! |---|---|---|
//! | `poolqueue_live` | job id | the state of a job that is not over |
//! | `poolqueue_done` | job id | the state of a job that is over |
//! | `poolqueue_body` | job id | what the job carries; never rewritten |
//! | `poolqueue_outcome` | job id | its last error and its output, when it has one |
//! | `poolqueue_history` | job id, number | older entries of its history |
//! | `poolqueue_unique` | queue, 0, key | the unfinished job that holds a unique key |
//! | `poolqueue_records` | key | a record and its version |
//! | `poolqueue_meta` | name | the format, the sequence, the counters of jobs that are over |
//!
//! Only `live` is read when the store is opened: jobs that are over cost nothing.

use poolqueue_core::{BackendError, BackendErrorKind};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::codec::{self, Owner, Part, StoredFormat};
use crate::site::Site;

pub(crate) type Id = &'static [u8; 16];
pub(crate) type Bytes = &'static [u8];

pub(crate) const LIVE: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_live");
pub(crate) const DONE: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_done");
pub(crate) const BODY: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_body");
pub(crate) const OUTCOME: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_outcome");
pub(crate) const HISTORY: TableDefinition<'_, (Id, u32), Bytes> = TableDefinition::new("poolqueue_history");
pub(crate) const UNIQUE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("poolqueue_unique");
pub(crate) const RECORDS: TableDefinition<'_, &'static str, Bytes> =
    TableDefinition::new("poolqueue_records");
pub(crate) const META: TableDefinition<'_, &'static str, Bytes> = TableDefinition::new("poolqueue_meta");

/// The format this version writes.
pub(crate) const FORMAT: u32 = 1;

/// The step that leads from a format to the next one, run in one transaction with the new number. There is
/// none yet: formats before 0.1.0 may change, later ones only gain a step here.
type Step = fn(&WriteTransaction, &Site) -> Result<(), BackendError>;

fn step_from(format: u32) -> Option<Step> {
    match format {
        0 => Some(create_tables),
        _ => None,
    }
}

/// Brings a file of format `from` (0: a new one) to [`FORMAT`], forward only.
pub(crate) fn upgrade(txn: &WriteTransaction, from: u32, site: &Site) -> Result<(), BackendError> {
    for format in from..FORMAT {
        let Some(step) = step_from(format) else {
            let what = format_args!("has the format {format}, from which no step leads to {FORMAT}");
            return Err(site.error(BackendErrorKind::Invalid, what));
        };
        step(txn, site)?;
    }
    let engine = |error: redb::Error| site.engine("write the format", error);
    let mut row = Vec::new();
    let stored = StoredFormat { version: FORMAT };
    codec::seal(Owner::new(Part::Meta, codec::FORMAT.as_bytes()), &stored, &mut row)
        .map_err(|flaw| site.flaw("the format", flaw))?;
    let mut meta = txn.open_table(META).map_err(|error| engine(error.into()))?;
    meta.insert(codec::FORMAT, row.as_slice()).map_err(|error| engine(error.into()))?;
    Ok(())
}

/// Every table exists from the start, so that opening one to read never has to create it.
fn create_tables(txn: &WriteTransaction, site: &Site) -> Result<(), BackendError> {
    let create = || -> Result<(), redb::TableError> {
        txn.open_table(LIVE)?;
        txn.open_table(DONE)?;
        txn.open_table(BODY)?;
        txn.open_table(OUTCOME)?;
        txn.open_table(HISTORY)?;
        txn.open_table(UNIQUE)?;
        txn.open_table(RECORDS)?;
        txn.open_table(META)?;
        Ok(())
    };
    create().map_err(|error| site.engine("create the tables", error))
}

/// The format written in `meta`; an error when it is newer than [`FORMAT`].
pub(crate) fn read(meta: &impl ReadableTable<&'static str, Bytes>, site: &Site) -> Result<u32, BackendError> {
    let row = meta.get(codec::FORMAT).map_err(|error| site.engine("read the format", error))?;
    let Some(row) = row else {
        return Err(site.corrupted("the format is missing"));
    };
    let stored: StoredFormat = codec::unseal(Owner::new(Part::Meta, codec::FORMAT.as_bytes()), row.value())
        .map_err(|flaw| site.flaw("the file", flaw))?;
    if stored.version > FORMAT {
        let what = format_args!(
            "has the format {}, this version of poolqueue knows formats up to {FORMAT}; it was not changed",
            stored.version
        );
        return Err(site.error(BackendErrorKind::NewerFormat, what));
    }
    Ok(stored.version)
}
