//! A store that fails, waits and breaks when it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::lifecycle::{JobState, Transition};
use crate::memory::{MemoryReader, MemoryStore};
use crate::{
    Applied, Attention, BackendError, BackendErrorKind, Body, ClaimFilter, Elsewhere, Job, JobId, Output,
    QueueName, Store, Timestamp, Txn, UniqueKey, Verdict,
};

/// What becomes of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The disk is full: rolled back, and known to be.
    Full,
    /// The sync failed, and the group is there.
    UnknownApplied,
    /// The sync failed, and the group is not there.
    UnknownLost,
}

impl Fault {
    fn error(self) -> BackendError {
        match self {
            Fault::Full => full(),
            Fault::UnknownApplied | Fault::UnknownLost => {
                BackendError::new(BackendErrorKind::Io, "the sync failed").with_applied(Applied::Unknown)
            }
        }
    }
}

pub(super) fn full() -> BackendError {
    BackendError::new(BackendErrorKind::Full, "no room")
}

/// What a [`FaultyStore`] is told.
#[derive(Default)]
pub(super) struct Faults {
    state: Mutex<Plan>,
    opened: Condvar,
    /// Transactions that are about to be committed, or were.
    reached: watch::Sender<u64>,
    /// Whether a transaction waits in the middle.
    inside: watch::Sender<bool>,
}

#[derive(Default)]
struct Plan {
    /// Whether commits wait at the gate.
    shut: bool,
    /// What becomes of the next commits that write; the last stays.
    commit: Option<Fault>,
    /// Touching these jobs fails.
    broken: HashMap<JobId, BackendError>,
    /// So many readings of what these jobs carry find it damaged.
    unreadable: HashMap<JobId, u32>,
    /// Whether no transaction begins until the store is reopened.
    refuses: bool,
    /// Whether the next transaction panics outside of all guards.
    panics: bool,
    /// Whether inserts wait at the gate, in the middle of their transaction.
    shut_inside: bool,
    /// Whether the next insert panics, in the middle of its transaction.
    panics_inside: bool,
    /// What was committed elsewhere, until a transaction that was told of it ends well. `None` while nobody else writes.
    elsewhere: Option<Elsewhere>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits wait from now on, until the gate is opened.
    pub(super) fn shut_gate(&self) {
        self.lock().shut = true;
    }

    /// Inserts wait from now on, until the gate is opened.
    pub(super) fn shut_inside(&self) {
        self.lock().shut_inside = true;
    }

    /// Returns when a transaction waits in the middle.
    pub(super) async fn inside(&self) {
        self.inside.subscribe().wait_for(|inside| *inside).await.unwrap();
    }

    pub(super) fn open_gate(&self) {
        self.lock().shut = false;
        self.lock().shut_inside = false;
        self.opened.notify_all();
    }

    /// What becomes of every commit from now on.
    pub(super) fn on_commit(&self, fault: Option<Fault>) {
        self.lock().commit = fault;
    }

    /// Loading or storing this job fails from now on.
    pub(super) fn break_job(&self, id: JobId, error: BackendError) {
        self.lock().broken.insert(id, error);
    }

    /// The next `times` readings of what this job carries find it damaged.
    pub(super) fn spoil_job(&self, id: JobId, times: u32) {
        self.lock().unreadable.insert(id, times);
    }

    /// From now on others write to the store, too: the next transaction is told this.
    pub(super) fn tell(&self, elsewhere: Elsewhere) {
        self.lock().elsewhere = Some(elsewhere);
    }

    /// Whether there is something to tell that no transaction has taken note of.
    pub(super) fn has_to_tell(&self) -> bool {
        self.lock().elsewhere.as_ref().is_some_and(|elsewhere| *elsewhere != Elsewhere::default())
    }

    /// No transaction begins from now on until the store is reopened: a reader could not read the file.
    pub(super) fn refuse(&self) {
        self.lock().refuses = true;
    }

    /// It can be loaded and stored again.
    pub(super) fn mend_job(&self, id: JobId) {
        self.lock().broken.remove(&id);
    }

    pub(super) fn panic_next(&self) {
        self.lock().panics = true;
    }

    pub(super) fn panic_inside_next(&self) {
        self.lock().panics_inside = true;
    }

    /// How many transactions reached their commit.
    pub(super) fn commits(&self) -> u64 {
        *self.reached.borrow()
    }

    /// Returns when as many transactions have reached their commit.
    pub(super) async fn reached(&self, commits: u64) {
        let mut reached = self.reached.subscribe();
        reached.wait_for(|count| *count >= commits).await.unwrap();
    }

    fn touch(&self, id: JobId) -> Result<(), BackendError> {
        self.lock().broken.get(&id).map_or(Ok(()), |error| Err(error.clone()))
    }

    fn before_insert(&self) {
        let mut plan = self.lock();
        while plan.shut_inside {
            self.inside.send_replace(true);
            plan = self.opened.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
        self.inside.send_replace(false);
        assert!(!std::mem::take(&mut plan.panics_inside), "told to");
    }

    /// Waits at the gate and says what becomes of the commit.
    fn before_commit(&self) -> Option<Fault> {
        self.reached.send_modify(|count| *count += 1);
        let mut plan = self.lock();
        while plan.shut {
            plan = self.opened.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
        plan.commit
    }
}

/// A [`MemoryStore`] that does as it is told.
pub(super) struct FaultyStore {
    pub(super) inner: MemoryStore,
    pub(super) faults: Arc<Faults>,
}

impl Store for FaultyStore {
    type Reader = MemoryReader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        let faults = &self.faults;
        assert!(!std::mem::take(&mut faults.lock().panics), "told to");
        if faults.lock().refuses {
            return Err(BackendError::new(BackendErrorKind::Io, "wants no more of the file"));
        }
        let told = faults.lock().elsewhere.clone();
        let mut fault = None;
        self.inner.transact(&mut |txn| {
            let verdict = group(&mut FaultyTxn { txn, faults })?;
            if verdict == Verdict::Rollback {
                return Ok(verdict);
            }
            fault = faults.before_commit();
            match fault {
                Some(Fault::Full | Fault::UnknownLost) => Ok(Verdict::Rollback),
                Some(Fault::UnknownApplied) | None => Ok(verdict),
            }
        })?;
        if let Some(fault) = fault {
            return Err(fault.error());
        }
        let elsewhere = &mut faults.lock().elsewhere;
        if *elsewhere == told {
            *elsewhere = told.map(|_| Elsewhere::default());
        }
        Ok(())
    }

    fn watch(&self, _attention: Attention) -> Option<Duration> {
        self.faults.lock().elsewhere.as_ref().map(|_| Duration::from_millis(1))
    }

    fn stirred(&mut self, _attention: Attention) -> bool {
        self.faults.has_to_tell()
    }

    fn reader(&self) -> MemoryReader {
        self.inner.reader()
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        self.faults.lock().refuses = false;
        self.inner.reopen()
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.inner.close()
    }
}

struct FaultyTxn<'a> {
    txn: &'a mut dyn Txn,
    faults: &'a Faults,
}

impl Txn for FaultyTxn<'_> {
    fn elsewhere(&mut self) -> Result<Elsewhere, BackendError> {
        Ok(self.faults.lock().elsewhere.clone().unwrap_or_default())
    }

    fn load(&mut self, id: JobId) -> Result<Option<JobState>, BackendError> {
        let job = self.txn.load(id)?;
        job.map(|job| self.faults.touch(id).map(|()| job)).transpose()
    }

    fn job(&mut self, state: &JobState) -> Result<Job, BackendError> {
        if let Some(times) = self.faults.lock().unreadable.get_mut(&state.id).filter(|times| **times > 0) {
            *times -= 1;
            return Err(BackendError::corrupted(format!("the body of job {} is damaged", state.id)));
        }
        self.txn.job(state)
    }

    fn next_sequence(&mut self) -> Result<u64, BackendError> {
        self.txn.next_sequence()
    }

    fn insert(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        self.faults.touch(state.id)?;
        self.faults.before_insert();
        self.txn.insert(state, body)
    }

    fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError> {
        self.txn.store(transition, output, history_max)
    }

    fn delete(&mut self, state: &JobState) -> Result<(), BackendError> {
        self.txn.delete(state)
    }

    fn ready_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        self.txn.ready_queues(filter, after, limit)
    }

    fn ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        self.txn.ready(queue, filter, limit)
    }

    fn promote(&mut self, now: Timestamp, limit: usize) -> Result<usize, BackendError> {
        self.txn.promote(now, limit)
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobState>, BackendError> {
        self.txn.expired(now, limit)
    }

    fn next_timer(&mut self) -> Result<Option<Timestamp>, BackendError> {
        self.txn.next_timer()
    }

    fn key_holder(&mut self, queue: &QueueName, key: &UniqueKey) -> Result<Option<JobId>, BackendError> {
        self.txn.key_holder(queue, key)
    }

    fn set_key_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError> {
        self.txn.set_key_holder(queue, key, holder)
    }

    fn record_version(&mut self, key: &str) -> Result<u64, BackendError> {
        self.txn.record_version(key)
    }

    fn put_record(&mut self, key: &str, value: Option<(u64, &[u8])>) -> Result<(), BackendError> {
        self.txn.put_record(key, value)
    }
}
