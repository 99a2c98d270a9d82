//! Starting again after an error.

use std::collections::HashSet;

use super::{Group, Writer};
use crate::embedded::elsewhere::readable;
use crate::embedded::inbox::Returned;
use crate::{BackendError, JobId, Lease, Store, Verdict};

impl<S: Store> Writer<S> {
    /// Whether the store takes no more transactions though none of the writer's has failed: an engine may want nothing more of
    /// a file that a reader could not read.
    fn is_broken(&mut self) -> bool {
        let Err(error) = self.store.transact(&mut |_| Ok(Verdict::Rollback)) else { return false };
        if error.ends_handle() {
            self.poisoned = true;
            self.inbox.set_poison(Some(error));
        }
        self.poisoned
    }

    /// Opens the store again and makes its held jobs and the lists of the streams agree: the last group's
    /// outcome was not known.
    pub(super) fn reopen(&mut self) -> Result<(), BackendError> {
        if !self.poisoned && !self.is_broken() {
            return Ok(());
        }
        self.store.reopen()?;
        let held = self.store.held_here()?;
        let held_set: HashSet<&Lease> = held.iter().collect();
        let ended: Vec<JobId> = self
            .holders
            .values()
            .filter(|(lease, _)| !held_set.contains(lease))
            .map(|(lease, _)| lease.id)
            .collect();
        for id in ended {
            if let Some((lease, slots)) = self.holders.remove(&id) {
                slots.release(lease);
            }
        }
        let unheld = |lease: &Lease| self.holders.get(&lease.id).is_none_or(|(known, _)| known != lease);
        let returned = held.iter().copied().filter(unheld).map(Returned::from).collect();
        self.tell_cancelled()?;
        self.poisoned = false;
        self.inbox.set_poison(None);
        self.write(Group::returning(returned), true, None);
        match self.inbox.closed_because() {
            Some(cause) => Err(cause),
            None => Ok(()),
        }
    }

    /// Tells the workers of held jobs whose cancellation was requested: that may have been in the last group.
    fn tell_cancelled(&mut self) -> Result<(), BackendError> {
        let Writer { store, holders, .. } = self;
        store.transact(&mut |txn| {
            for (lease, slots) in holders.values() {
                if readable(txn.load(lease.id))?.flatten().is_some_and(|job| job.is_cancelling()) {
                    slots.request_cancel(*lease);
                }
            }
            Ok(Verdict::Rollback)
        })
    }
}
