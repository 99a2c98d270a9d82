//! Unique keys and records: tables of their own, touched only by those who use them.

use poolqueue_core::{BackendError, JobId, QueueName, UniqueKey};
use redb::ReadableTable;

use super::RedbTxn;
use crate::codec::{Owner, Part, StoredHolder, StoredRecord, seal, unseal};

/// The key of a unique key in its table. Neither part can hold the 0 between them.
pub(crate) fn unique_row_key(queue: &str, key: &str) -> Vec<u8> {
    [queue.as_bytes(), &[0], key.as_bytes()].concat()
}

impl RedbTxn<'_> {
    pub(super) fn read_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
    ) -> Result<Option<JobId>, BackendError> {
        let site = self.site();
        let row_key = unique_row_key(queue, key);
        let row = self.tables.unique()?.get(row_key.as_slice());
        let row = row.map_err(|error| site.engine("read a unique key", error))?;
        row.map(|row| {
            unseal::<StoredHolder>(Owner::new(Part::Unique, &row_key), row.value())
                .map(|holder| JobId::from_bytes(holder.id))
                .map_err(|flaw| site.flaw(format_args!("the holder of the unique key {key:?}"), flaw))
        })
        .transpose()
    }

    pub(super) fn write_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError> {
        let site = self.site();
        let row_key = unique_row_key(queue, key);
        let engine = |error| site.engine("write a unique key", error);
        self.wrote = true;
        match holder {
            Some(id) => {
                let row = &mut self.scratch.row;
                let stored = StoredHolder { id: *id.as_bytes() };
                seal(Owner::new(Part::Unique, &row_key), &stored, row)
                    .map_err(|flaw| site.flaw(format_args!("the unique key {key:?}"), flaw))?;
                self.tables.unique()?.insert(row_key.as_slice(), row.as_slice()).map_err(engine)?;
            }
            None => {
                self.tables.unique()?.remove(row_key.as_slice()).map_err(engine)?;
            }
        }
        Ok(())
    }

    pub(super) fn read_record_version(&mut self, key: &str) -> Result<u64, BackendError> {
        let site = self.site();
        let row = self.tables.records()?.get(key);
        match row.map_err(|error| site.engine("read a record", error))? {
            None => Ok(0),
            Some(row) => unseal::<StoredRecord<'_>>(Owner::new(Part::Record, key.as_bytes()), row.value())
                .map(|record| record.version)
                .map_err(|flaw| site.flaw(format_args!("the record {key:?}"), flaw)),
        }
    }

    pub(super) fn write_record(
        &mut self,
        key: &str,
        value: Option<(u64, &[u8])>,
    ) -> Result<(), BackendError> {
        let site = self.site();
        let engine = |error| site.engine("write a record", error);
        self.wrote = true;
        match value {
            Some((version, value)) => {
                let row = &mut self.scratch.row;
                let stored = StoredRecord { version, value };
                seal(Owner::new(Part::Record, key.as_bytes()), &stored, row)
                    .map_err(|flaw| site.flaw(format_args!("the record {key:?}"), flaw))?;
                self.tables.records()?.insert(key, row.as_slice()).map_err(engine)?;
            }
            None => {
                self.tables.records()?.remove(key).map_err(engine)?;
            }
        }
        Ok(())
    }
}
