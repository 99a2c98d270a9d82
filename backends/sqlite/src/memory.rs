use foldhash::HashMap;
use poolqueue_core::JobId;

use crate::codec::{Names, Stored};

/// Rows kept from one transaction to the next: those of the jobs that a group of claims takes and its holders then answer.
const ROWS_MAX: usize = 2048;

/// What the writer has read or written, and need not read again. Only as long as nobody else commits, and not when one of its
/// own transactions was not committed.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) names: Names,
    rows: HashMap<JobId, Stored>,
    /// No stored id is greater, where that is known. New ids mostly are, and need not be looked for.
    ceiling: Option<JobId>,
    /// The version of the file that this is about.
    version: Option<i64>,
}

impl Memory {
    /// A transaction begins in which the file has this version.
    pub(crate) fn begin(&mut self, version: i64) {
        if self.version != Some(version) {
            self.forget();
            self.version = Some(version);
        }
        if self.rows.len() > ROWS_MAX {
            self.rows.clear();
            self.rows.shrink_to(ROWS_MAX);
        }
    }

    pub(crate) fn forget(&mut self) {
        self.rows.clear();
        (self.ceiling, self.version) = (None, None);
    }

    pub(crate) fn row(&self, id: JobId) -> Option<&Stored> {
        self.rows.get(&id)
    }

    /// The job has this row. Nobody asks soon for one that is over.
    pub(crate) fn keep(&mut self, row: Stored) {
        if row.state.status.is_final() {
            self.rows.remove(&row.state.id);
        } else {
            self.rows.insert(row.state.id, row);
        }
    }

    pub(crate) fn remove(&mut self, id: JobId) {
        self.rows.remove(&id);
    }

    pub(crate) fn ceiling(&self) -> Option<JobId> {
        self.ceiling
    }

    pub(crate) fn set_ceiling(&mut self, ceiling: JobId) {
        self.ceiling = Some(ceiling);
    }

    /// A job is stored that was not.
    pub(crate) fn admit(&mut self, row: Stored) {
        // Where the greatest id is not known, a new one says nothing of it.
        self.ceiling = self.ceiling.map(|ceiling| ceiling.max(row.state.id));
        self.keep(row);
    }
}
