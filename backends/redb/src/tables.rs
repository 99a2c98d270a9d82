//! The tables of a write transaction, each opened when it is first needed: a table that is changed costs a
//! commit some 30 µs.

use poolqueue_core::{BackendError, JobId};
use redb::{Key, ReadableTable, Table, TableDefinition, TableError, Value, WriteTransaction};

use crate::format::{Bytes, Id};
use crate::site::Site;

pub(crate) struct Tables<'t> {
    txn: &'t WriteTransaction,
    site: &'t Site,
    live: Option<Table<'t, Id, Bytes>>,
    done: Option<Table<'t, Id, Bytes>>,
    body: Option<Table<'t, Id, Bytes>>,
    outcome: Option<Table<'t, Id, Bytes>>,
    history: Option<Table<'t, (Id, u32), Bytes>>,
    unique: Option<Table<'t, Bytes, Bytes>>,
    records: Option<Table<'t, &'static str, Bytes>>,
    meta: Option<Table<'t, &'static str, Bytes>>,
    inbox: Option<Table<'t, u64, ()>>,
}

macro_rules! open_when_needed {
    ($($name:ident: $key:ty => $value:ty),*) => {
        $(pub(crate) fn $name(&mut self) -> Result<&mut Table<'t, $key, $value>, BackendError> {
            open(&mut self.$name, self.txn, self.site.layout().$name(), self.site)
        })*
    };
}

impl<'t> Tables<'t> {
    pub(crate) fn new(txn: &'t WriteTransaction, site: &'t Site) -> Self {
        Tables {
            txn,
            site,
            live: None,
            done: None,
            body: None,
            outcome: None,
            history: None,
            unique: None,
            records: None,
            meta: None,
            inbox: None,
        }
    }

    open_when_needed! {
        live: Id => Bytes, done: Id => Bytes, body: Id => Bytes, outcome: Id => Bytes, history: (Id, u32) => Bytes,
        unique: Bytes => Bytes, records: &'static str => Bytes, meta: &'static str => Bytes,
        inbox: u64 => ()
    }

    /// The table of states: of jobs that are over, or of the others.
    pub(crate) fn states(&mut self, is_final: bool) -> Result<&mut Table<'t, Id, Bytes>, BackendError> {
        if is_final { self.done() } else { self.live() }
    }

    /// Copies the state row of a job into `row`. False when there is none.
    pub(crate) fn read_state(
        &mut self,
        id: JobId,
        is_final: bool,
        row: &mut Vec<u8>,
    ) -> Result<bool, BackendError> {
        let site = self.site;
        let found = self.states(is_final)?.get(id.as_bytes());
        let found = found.map_err(|error| site.engine("read a state", error))?;
        row.clear();
        match found {
            Some(guard) => {
                row.extend_from_slice(guard.value());
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

fn open<'s, 't, K: Key + 'static, V: Value + 'static>(
    slot: &'s mut Option<Table<'t, K, V>>,
    txn: &'t WriteTransaction,
    definition: TableDefinition<'_, K, V>,
    site: &Site,
) -> Result<&'s mut Table<'t, K, V>, BackendError> {
    match slot {
        Some(table) => Ok(table),
        None => {
            let table =
                txn.open_table(definition).map_err(|error: TableError| site.engine("open a table", error))?;
            Ok(slot.insert(table))
        }
    }
}
