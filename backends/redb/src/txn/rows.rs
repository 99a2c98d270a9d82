use foldhash::HashMap;
use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{BackendError, JobId};

use crate::codec::{Flaw, Names, StateRow, StoredHistory};
use crate::site::Site;
use crate::tables::Tables;

/// Larger buffers are not kept.
pub(super) const BUFFER_BYTES_MAX: usize = 4 << 10;
/// Buffers kept for later.
const BUFFERS_MAX: usize = 256;
/// Enough for most rows.
const ROW_BYTES: usize = 256;
/// Rows remembered at once: those of the jobs that a group of claims takes and its holders then answer.
const ROWS_MAX: usize = 2048;
/// Their bytes.
const BYTES_MAX: usize = 1 << 20;

/// Reads state rows, and remembers them: a job is read to decide, then rewritten, read for its claimer, and before
/// long rewritten with its outcome. Only the owner of this writes the tables, so what is remembered is what they hold,
/// as long as it goes when a transaction is not committed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    known: HashMap<JobId, StateRow>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Rows {
    /// The state of a job that is remembered.
    pub(super) fn known(&self, id: JobId) -> Option<&StateRow> {
        self.known.get(&id)
    }

    /// The row of a job in the table of jobs that are over (`is_final`) or that of the others; `None` when it
    /// is not there. It is not remembered any more until [`keep`](Self::keep) takes it back.
    pub(super) fn take(
        &mut self,
        tables: &mut Tables<'_>,
        names: &mut Names,
        site: &Site,
        id: JobId,
        is_final: bool,
    ) -> Result<Option<StateRow>, BackendError> {
        if self.known.get(&id).is_some_and(|row| row.is_final() == is_final) {
            let known = self.known.remove(&id);
            self.bytes -= known.as_ref().map_or(0, StateRow::len);
            return Ok(known);
        }
        let mut bytes = self.buffer();
        if !tables.read_state(id, is_final, &mut bytes)? {
            self.spare.push(bytes);
            return Ok(None);
        }
        let row = StateRow::read(bytes, id, is_final, names);
        row.map(Some).map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))
    }

    /// A new row, not remembered yet.
    pub(super) fn write(
        &mut self,
        state: &JobState,
        labels: &[u8],
        outcome: Option<u32>,
        history: StoredHistory<'_>,
    ) -> Result<StateRow, Flaw> {
        StateRow::write(self.buffer(), state, labels, outcome, history)
    }

    /// Remembers the row that a job has.
    pub(super) fn keep(&mut self, row: StateRow) {
        if self.known.len() >= ROWS_MAX || self.bytes + row.len() > BYTES_MAX {
            self.forget();
        }
        self.bytes += row.len();
        if let Some(row) = self.known.insert(row.id(), row) {
            self.bytes -= row.len();
            self.give_back(row);
        }
    }

    /// Takes back the buffer of a row that is not needed any more.
    pub(super) fn give_back(&mut self, row: StateRow) {
        let buffer = row.into_buffer();
        if buffer.capacity() <= BUFFER_BYTES_MAX && self.spare.len() < BUFFERS_MAX {
            self.spare.push(buffer);
        }
    }

    /// Remembers nothing any more.
    pub(super) fn forget(&mut self) {
        self.bytes = 0;
        let mut known = std::mem::take(&mut self.known);
        known.drain().for_each(|(_, row)| self.give_back(row));
        self.known = known;
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(ROW_BYTES))
    }
}
