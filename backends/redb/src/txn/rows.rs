use poolqueue_core::{BackendError, JobId};

use crate::tables::Tables;

/// Larger buffers are not kept.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Reads state rows, and remembers the last one: a job that was stored is mostly read for its claimer next.
#[derive(Default)]
pub(super) struct Rows {
    last: Option<(JobId, bool, Vec<u8>)>,
    spare: Vec<u8>,
}

impl Rows {
    /// The row of a job in the table of jobs that are over (`is_final`) or that of the others; `None` when it
    /// is not there. [`keep`](Self::keep) takes it back.
    pub(super) fn take(
        &mut self,
        tables: &mut Tables<'_>,
        id: JobId,
        is_final: bool,
    ) -> Result<Option<Vec<u8>>, BackendError> {
        match self.last.take() {
            Some((last, was_final, row)) if (last, was_final) == (id, is_final) => return Ok(Some(row)),
            Some((_, _, row)) => self.give_back(row),
            None => {}
        }
        let mut row = self.buffer();
        if tables.read_state(id, is_final, &mut row)? {
            return Ok(Some(row));
        }
        self.give_back(row);
        Ok(None)
    }

    /// Remembers the row that a job has.
    pub(super) fn keep(&mut self, id: JobId, is_final: bool, row: Vec<u8>) {
        if let Some((_, _, row)) = self.last.replace((id, is_final, row)) {
            self.give_back(row);
        }
    }

    /// A buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Takes back a buffer that is not needed any more.
    pub(super) fn give_back(&mut self, row: Vec<u8>) {
        if row.capacity() <= BUFFER_BYTES_MAX {
            self.spare = row;
        }
    }
}
