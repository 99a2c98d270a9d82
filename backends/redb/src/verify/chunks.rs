use poolqueue_core::{BackendError, JobId};
use redb::{AccessGuard, Range, ReadTransaction};

use crate::format::{Bytes, Id};
use crate::reader::table;
use crate::site::Site;

/// The table of history, read in order.
pub(super) struct Chunks<'a> {
    rows: Option<Range<'static, (Id, u32), Bytes>>,
    next: Option<(JobId, u32, AccessGuard<'static, Bytes>)>,
    site: &'a Site,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(txn: &ReadTransaction, site: &'a Site) -> Result<Self, BackendError> {
        let rows = match table(txn, site.layout().history(), site)? {
            Some(table) => {
                Some(table.range::<(Id, u32)>(..).map_err(|error| site.engine("read history", error))?)
            }
            None => None,
        };
        let mut chunks = Chunks { rows, next: None, site };
        chunks.advance()?;
        Ok(chunks)
    }

    /// Whose row is next.
    pub(super) fn id(&self) -> Option<JobId> {
        self.next.as_ref().map(|(id, _, _)| *id)
    }

    fn advance(&mut self) -> Result<(), BackendError> {
        let Some(row) = self.rows.as_mut().and_then(Iterator::next) else { return Ok(()) };
        let (key, value) = row.map_err(|error| self.site.engine("read history", error))?;
        let (id, number) = key.value();
        self.next = Some((JobId::from_bytes(*id), number, value));
        Ok(())
    }

    /// The next row, when it is this one.
    pub(super) fn take(
        &mut self,
        id: JobId,
        number: u32,
    ) -> Result<Option<AccessGuard<'static, Bytes>>, BackendError> {
        match self.next.take() {
            Some((found, found_number, row)) if (found, found_number) == (id, number) => {
                self.advance()?;
                Ok(Some(row))
            }
            other => {
                self.next = other;
                Ok(None)
            }
        }
    }
}
