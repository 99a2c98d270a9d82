//! What transactions of the application's tell the writer: a number each in a table of its own.

use poolqueue_core::{BackendError, BackendErrorKind, Elsewhere};
use redb::ReadableTable;

use super::RedbTxn;
use super::kept::Kept;
use crate::codec::{COMMITS, OWNER, StoredCommits, StoredOwner};

/// The note of a call that failed in the middle of writing. Its transaction should not have been committed.
const FAILED: u64 = u64::MAX;

impl RedbTxn<'_> {
    /// Whether the tables were last opened by this store: another database has another owner, or none.
    pub(crate) fn is_owned_by(&mut self, owner: &[u8; 16]) -> Result<bool, BackendError> {
        Ok(self.read_meta::<StoredOwner>(OWNER, "the owner")?.is_some_and(|stored| stored.id == *owner))
    }

    pub(crate) fn set_owner(&mut self, owner: &[u8; 16]) -> Result<(), BackendError> {
        self.put_meta(OWNER, &StoredOwner { id: *owner })
    }

    /// Leaves a note for the writer.
    pub(crate) fn note(&mut self, number: u64) -> Result<(), BackendError> {
        let site = self.site();
        let inbox = self.tables.inbox()?;
        inbox.insert(number, ()).map_err(|error| site.engine("write a note", error))?;
        Ok(())
    }

    /// Leaves the note that these tables and the writer's memory do not go together any more.
    pub(crate) fn note_failure(&mut self) -> Result<(), BackendError> {
        self.note(FAILED)
    }

    /// Takes the notes out of the table.
    pub(super) fn take_notes(&mut self) -> Result<Elsewhere, BackendError> {
        let mut found = Elsewhere::default();
        let shared = self.shared;
        let Some(application) = shared.application() else { return Ok(found) };
        let site = self.site();
        if !self.is_owned_by(&application.owner)? {
            let what = "the queue was opened anew elsewhere, by a process that shares the database";
            return Err(site.error(BackendErrorKind::AlreadyOpen, what));
        }
        let commits = self.read_meta::<StoredCommits>(COMMITS, "the number of commits")?.unwrap_or_default();
        if let Kept::Writer { memory, .. } = &self.kept
            && memory.commits != commits.count
        {
            let what =
                "the application went back to a savepoint, and the queue has committed since: open it anew";
            return Err(site.corrupted(what));
        }
        // No transaction of the application's is under way, so this one will have dealt with all of these.
        let staged = application.staged();
        if staged == shared.resolved() {
            return Ok(found);
        }
        let engine = |error| site.engine("read the notes", error);
        let inbox = self.tables.inbox()?;
        for row in inbox.iter().map_err(engine)? {
            found.applied.push(row.map_err(engine)?.0.value());
        }
        if found.applied.last() == Some(&FAILED) {
            let what =
                "a transaction was committed in which a call of the queue's had failed: open the queue anew";
            return Err(site.corrupted(what));
        }
        for number in &found.applied {
            inbox.remove(number).map_err(engine)?;
        }
        if !found.applied.is_empty() {
            self.wrote = true;
            found.changed = true;
            self.follow_sequence()?;
        }
        if let Kept::Writer { memory, .. } = &mut self.kept {
            memory.resolved = Some(staged);
        }
        Ok(found)
    }
}
