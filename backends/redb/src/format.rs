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
//! | `poolqueue_meta` | name | the format, the sequence, the counters of jobs that are over, the owner, the commits |
//! | `poolqueue_inbox` | number | nothing: a change that a transaction of the application's made |
//!
//! `poolqueue_` is the prefix the options give. The inbox, the owner (the random name of whoever opened the queue
//! last) and the number of the writer's commits are only there when the database is the application's. Only `live` is read when the store is opened: jobs that are over cost nothing.

use poolqueue_core::{BackendError, BackendErrorKind, Invalid};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use crate::codec::{self, Owner, Part, StoredFormat};
use crate::reader::table;
use crate::site::Site;

pub(crate) type Id = &'static [u8; 16];
pub(crate) type Bytes = &'static [u8];

/// What the names of the tables begin with unless the options say otherwise.
pub(crate) const PREFIX: &str = "poolqueue_";
/// The longest prefix of a table's name.
const PREFIX_BYTES_MAX: usize = 64;

/// The tables of a store, by their names in the file.
#[derive(Debug)]
pub(crate) struct Layout {
    prefix: String,
    live: String,
    done: String,
    body: String,
    outcome: String,
    history: String,
    unique: String,
    records: String,
    meta: String,
    inbox: String,
}

macro_rules! definitions {
    ($($name:ident: $key:ty => $value:ty),* $(,)?) => {
        $(pub(crate) fn $name(&self) -> TableDefinition<'_, $key, $value> {
            TableDefinition::new(&self.$name)
        })*
    };
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        let name = |table: &str| format!("{prefix}{table}");
        Layout {
            prefix: prefix.to_owned(),
            live: name("live"),
            done: name("done"),
            body: name("body"),
            outcome: name("outcome"),
            history: name("history"),
            unique: name("unique"),
            records: name("records"),
            meta: name("meta"),
            inbox: name("inbox"),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether a table of this name is one of these.
    pub(crate) fn has(&self, name: &str) -> bool {
        let states = [&self.live, &self.done, &self.body, &self.outcome, &self.history];
        let others = [&self.unique, &self.records, &self.meta, &self.inbox];
        states.into_iter().chain(others).any(|own| own == name)
    }

    definitions! {
        live: Id => Bytes,
        done: Id => Bytes,
        body: Id => Bytes,
        outcome: Id => Bytes,
        history: (Id, u32) => Bytes,
        unique: Bytes => Bytes,
        records: &'static str => Bytes,
        meta: &'static str => Bytes,
        inbox: u64 => (),
    }
}

/// Refuses a prefix that would not be part of a name.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), BackendError> {
    let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let starts = !prefix.starts_with(|first: char| first.is_ascii_digit());
    if plain && starts && prefix.len() <= PREFIX_BYTES_MAX {
        return Ok(());
    }
    let reason =
        format!("{prefix:?} is not up to {PREFIX_BYTES_MAX} letters, digits and '_', the first no digit");
    Err(Invalid::new("table_prefix", reason).into())
}

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
    let mut meta = txn.open_table(site.layout().meta()).map_err(|error| engine(error.into()))?;
    meta.insert(codec::FORMAT, row.as_slice()).map_err(|error| engine(error.into()))?;
    Ok(())
}

/// Every table exists from the start, so that opening one to read never has to create it.
fn create_tables(txn: &WriteTransaction, site: &Site) -> Result<(), BackendError> {
    let layout = site.layout();
    let create = || -> Result<(), redb::TableError> {
        txn.open_table(layout.live())?;
        txn.open_table(layout.done())?;
        txn.open_table(layout.body())?;
        txn.open_table(layout.outcome())?;
        txn.open_table(layout.history())?;
        txn.open_table(layout.unique())?;
        txn.open_table(layout.records())?;
        txn.open_table(layout.meta())?;
        Ok(())
    };
    create().map_err(|error| site.engine("create the tables", error))
}

/// Whether transactions of the application's have left notes that nobody has read.
pub(crate) fn has_notes(txn: &ReadTransaction, site: &Site) -> Result<bool, BackendError> {
    match table(txn, site.layout().inbox(), site)? {
        Some(inbox) => inbox.is_empty().map(|empty| !empty),
        None => Ok(false),
    }
    .map_err(|error| site.engine("read the notes", error))
}

/// Forgets the notes that nobody has read: whoever opens the store reads the tables.
pub(crate) fn empty_inbox(txn: &WriteTransaction, site: &Site) -> Result<(), BackendError> {
    let deleted = txn.delete_table(site.layout().inbox());
    deleted.map(|_| ()).map_err(|error| site.engine("empty the inbox", error))
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
