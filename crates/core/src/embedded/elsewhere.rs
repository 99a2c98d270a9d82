//! What was committed otherwise than by the writer: by another handle of the same store, or by a transaction of the
//! application's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

use crate::lifecycle::{Event, JobState, Transition};
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::{
    BackendError, BackendErrorKind, Batch, Change, Embedded, Error, JobId, Lease, NewJob, Output, Slots,
    Store, Target, Timestamp, Txn,
};
use foldhash::{HashMap, HashSet};

use super::apply::{Done, Failed, apply, apply_own};
use super::inbox::Inbox;
use super::standing::Standing;
use super::writer::Group;

/// Changes made in transactions of the application's that have not been seen to end, by their numbers.
///
/// The transaction itself stores the number. The writer that finds it knows that the changes are committed; what it does
/// not find once it may write itself was rolled back, since no two transactions write at the same time.
pub(super) struct Pending {
    next: AtomicU64,
    changes: Mutex<BTreeMap<u64, Arc<Done>>>,
    /// The last stamp given in a transaction of either side.
    stamp: AtomicI64,
}

impl Default for Pending {
    fn default() -> Self {
        Pending { next: AtomicU64::new(0), changes: Mutex::default(), stamp: AtomicI64::new(i64::MIN) }
    }
}

impl Pending {
    /// The time to stamp something with when it is `now`: never before the last stamp.
    pub(super) fn stamp(&self, now: Timestamp) -> Timestamp {
        let last = self.stamp.fetch_max(now.as_micros(), Ordering::SeqCst);
        now.max(Timestamp::from_micros(last))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Done>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All numbers there are now.
    fn numbers(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    fn get(&self, number: u64) -> Option<Arc<Done>> {
        self.lock().get(&number).map(Arc::clone)
    }

    /// Forgets these: it is known what became of them.
    fn forget(&self, numbers: &[u64]) {
        let mut changes = self.lock();
        for number in numbers {
            changes.remove(number);
        }
    }
}

/// Jobs that were written in a transaction of the application's: they are there when it is committed, and never were
/// when it is rolled back.
///
/// Streams are woken after the commit without any help, within milliseconds; [`wake`](Self::wake) does it at once.
pub struct Staged {
    ids: Vec<JobId>,
    inbox: Weak<Inbox>,
}

impl Staged {
    /// The jobs, in the order in which they were given.
    pub fn ids(&self) -> &[JobId] {
        &self.ids
    }

    /// The jobs, in the order in which they were given.
    pub fn into_ids(self) -> Vec<JobId> {
        self.ids
    }

    /// Says that the transaction was committed, so that streams hear of it at once.
    pub fn wake(&self) {
        if let Some(inbox) = self.inbox.upgrade() {
            inbox.look();
        }
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("ids", &self.ids).finish_non_exhaustive()
    }
}

/// What is to be done within a transaction of the application's, given access to the queue's part of it.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Txn) -> Result<(), Error>;

impl<S: Store> Embedded<S> {
    /// Enqueues jobs in a transaction of the application's, all or none. Does not wait for the writer.
    ///
    /// `within` stores the number it is given beside the jobs, so that [`Txn::elsewhere`] finds it when the transaction
    /// was committed, and runs the work on a [`Txn`] that writes to the application's transaction. That transaction
    /// must exclude every other writer until it ends.
    ///
    /// # Errors
    /// As for enqueuing. Nothing was written by the work, unless the error is of the store.
    pub fn enqueue_in(
        &self,
        jobs: impl IntoIterator<Item = NewJob>,
        within: impl FnOnce(u64, Work<'_>) -> Result<(), Error>,
    ) -> Result<Staged, Error> {
        let new_id = || self.ids.next(self.capabilities.clock.now());
        let inserts = NewJob::into_inserts(jobs, &self.capabilities.limits, new_id)?;
        self.apply_in(Batch { inserts, require_all: true, ..Batch::default() }, within)
    }

    /// Completes a job in a transaction of the application's. See [`enqueue_in`](Self::enqueue_in).
    ///
    /// # Errors
    /// As for completing.
    pub fn complete_in(
        &self,
        lease: Lease,
        output: Output,
        within: impl FnOnce(u64, Work<'_>) -> Result<(), Error>,
    ) -> Result<Staged, Error> {
        let event = Event::Complete { output };
        let change = Change { target: Target::Lease(lease), only_from: None, event };
        self.apply_in(Batch { changes: vec![change], require_all: true, ..Batch::default() }, within)
    }

    fn apply_in(
        &self,
        batch: Batch,
        within: impl FnOnce(u64, Work<'_>) -> Result<(), Error>,
    ) -> Result<Staged, Error> {
        if let Some(cause) = self.inbox.closed_because() {
            return Err(cause.as_cause_of_closing().into());
        }
        let batch = self.within_limits(batch)?;
        let history_max = self.capabilities.limits.history_entries;
        let mut done = Done::default();
        let number = self.pending.next.fetch_add(1, Ordering::Relaxed);
        within(number, &mut |txn| {
            let now = self.pending.stamp(self.capabilities.clock.now());
            let applied = apply(txn, &batch, now, history_max, &mut done);
            let receipt = applied.map_err(|(Failed::Batch(error) | Failed::Group(error))| error)?;
            receipt.first_rejection().map_or(Ok(()), |rejected| Err(rejected.clone().into()))
        })?;
        let inserted = done.inserted.iter().map(|job| job.id);
        let ids = inserted.chain(done.transitions.iter().map(|step| step.after.id)).collect();
        self.pending.lock().insert(number, Arc::new(done));
        // The writer now waits for the transaction to end.
        self.inbox.look();
        Ok(Staged { ids, inbox: Arc::downgrade(&self.inbox) })
    }
}

/// What a group learnt of what was committed elsewhere.
#[derive(Default)]
pub(super) struct Learnt {
    pub(super) changed: bool,
    /// Held jobs of which others have made a step, as they are now.
    touched: Vec<(JobId, Option<JobState>)>,
    /// Of which changes it is known what became of them, once the group is committed.
    resolved: Vec<u64>,
}

/// Who holds which job.
pub(super) type Holders = HashMap<JobId, (Lease, Arc<Slots>)>;

/// Takes note of what was committed elsewhere, and gives back the jobs of those who are gone. What it has come to when
/// it fails is in the group, to be withdrawn.
pub(super) fn learn(
    txn: &mut dyn Txn,
    pending: &Pending,
    holders: &Holders,
    standing: &mut [Standing],
    now: Timestamp,
    history_max: usize,
    group: &mut Group,
) -> Result<(), BackendError> {
    let Group { done, learnt, .. } = group;
    let found = txn.elsewhere()?;
    // Whoever stored these had to end before this transaction could begin.
    (learnt.changed, learnt.resolved) = (found.changed, pending.numbers());
    for changes in found.applied.iter().filter_map(|number| pending.get(*number)) {
        for job in &changes.inserted {
            txn.adopt(None, job)?;
        }
        for step in &changes.transitions {
            txn.adopt(Some(&step.before), &step.after)?;
        }
        done.absorb(&changes);
    }
    // What was noted is taken out of the store.
    done.wrote |= found.wrote || !found.applied.is_empty() || !found.touched.is_empty();
    if found.changed {
        standing.iter_mut().for_each(|one| one.look_again = true);
    }
    let lost: HashSet<JobId> = found.lost.into_iter().collect();
    let touched = if found.forgotten { holders.keys().copied().collect() } else { found.touched };
    for id in touched {
        let job = readable(txn.load(id))?.flatten().filter(|_| !lost.contains(&id));
        if let Some((lease, slots)) = holders.get(&id)
            && !job.as_ref().is_some_and(|job| holds(job, lease))
        {
            // A place that is free by what was applied is given back with the group's own steps.
            let freed = |step: &Transition| step.freed_slot() && step.before.lease() == *lease;
            if !done.transitions.iter().any(freed) {
                slots.give_back();
            }
        }
        learnt.touched.push((id, job));
    }
    for lease in found.orphaned {
        if let Some(job) = readable(txn.load(lease.id))?.flatten().filter(|job| job.attempt == lease.attempt)
        {
            apply_own(txn, &job, &Event::LoseWorker, now, history_max, done)?;
        }
    }
    Ok(())
}

impl Learnt {
    /// The group is committed: slots and tokens of the jobs that others have changed.
    pub(super) fn settle(self, holders: &mut Holders, pending: &Pending) {
        pending.forget(&self.resolved);
        for (id, job) in self.touched {
            let Some((lease, slots)) = holders.get(&id) else { continue };
            slots.settle();
            match job.filter(|job| holds(job, lease)) {
                Some(job) if job.is_cancelling() => slots.request_cancel(*lease),
                Some(_) => {}
                None => {
                    slots.release(*lease);
                    holders.remove(&id);
                }
            }
        }
    }

    /// The group failed: nothing was given back.
    pub(super) fn withdraw(&self, holders: &Holders) {
        for (_, slots) in self.touched.iter().filter_map(|(id, _)| holders.get(id)) {
            slots.settle();
        }
    }
}

/// Whether the lease still stands.
fn holds(job: &JobState, lease: &Lease) -> bool {
    job.phase() == crate::Phase::Held && job.attempt == lease.attempt
}

/// One damaged job is no reason to stop all others: it is reported to whoever asks for it.
pub(super) fn readable<T>(read: Result<T, BackendError>) -> Result<Option<T>, BackendError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == BackendErrorKind::Corrupted => Ok(None),
        Err(error) => Err(error),
    }
}
