//! The reference model: a store of plain ordered maps, for tests and for queues that need not last.
//!
//! Every other store is compared with this one, so it is written to be read: the rows are the truth, and the
//! indexes are what `Indexes::add` makes of them, which is what `verify()` checks. A transaction holds
//! the one lock from its first call to its last, so nobody sees half of it; it is undone by putting back what
//! it replaced, last change first.

mod backend;
mod data;
mod index;
mod snapshot;
mod txn;

pub use backend::MemoryBackend;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::{BackendError, Health, JobId, Reader, Store, Txn, Verdict, Verification};

use data::Data;
pub use snapshot::MemorySnapshot;
use txn::MemoryTxn;

/// When an answered call is durable, in this engine's words.
const DURABILITY: &str = "none: the data ends with the process";

/// A store in memory.
///
/// A clone is another handle on the same data, open whether or not this one is: closing a handle and opening a
/// queue over a clone of it is to this store what closing and opening a file is to others. The data ends with
/// its last handle or reader.
#[derive(Default)]
pub struct MemoryStore {
    data: Shared,
    closed: Arc<AtomicBool>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// For each job whether the indexes of jobs that wait (due or not) hold it, and whether the index of held
    /// jobs does: what is stored, not what should be. For tests; it reads the indexes as a whole.
    pub fn membership(&self, ids: &[JobId]) -> Vec<(bool, bool)> {
        let data = self.data.lock();
        let waiting = data.indexes.waiting_ids();
        ids.iter().map(|id| (waiting.contains(id), data.indexes.held.contains(id))).collect()
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        MemoryStore { data: self.data.clone(), closed: Arc::default() }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("closed", &self.closed.load(Ordering::Acquire))
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    type Reader = MemoryReader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BackendError::closed());
        }
        let mut data = self.data.lock();
        let mut undo = Vec::new();
        let run = || group(&mut MemoryTxn::new(&mut data, &mut undo));
        // What a panic leaves half done is undone below, before the lock lets anyone see it.
        let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(panicked(&*panic)));
        if !matches!(outcome, Ok(Verdict::Commit)) {
            for change in undo.into_iter().rev() {
                data.put_back(change);
            }
        }
        outcome.map(|_| ())
    }

    fn reader(&self) -> MemoryReader {
        MemoryReader { data: self.data.clone(), closed: Arc::clone(&self.closed) }
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        self.closed.store(false, Ordering::Release);
        Ok(())
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

fn panicked(panic: &(dyn Any + Send)) -> BackendError {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    BackendError::corrupted(format!("panic in a transaction: {}", message.unwrap_or("no message")))
}

/// Reads a [`MemoryStore`]. A read waits for the transaction that is running, if there is one.
#[derive(Clone)]
pub struct MemoryReader {
    data: Shared,
    closed: Arc<AtomicBool>,
}

impl fmt::Debug for MemoryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReader")
            .field("closed", &self.closed.load(Ordering::Acquire))
            .finish_non_exhaustive()
    }
}

impl Reader for MemoryReader {
    type Snapshot = MemorySnapshot;

    fn snapshot(&self) -> Result<MemorySnapshot, BackendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BackendError::closed());
        }
        Ok(MemorySnapshot::new(self.data.clone()))
    }

    fn health(&self) -> Health {
        let closed = self.closed.load(Ordering::Acquire);
        Health {
            closed: closed.then(|| BackendError::closed().to_string()),
            verification: Verification::Verified,
            damage: None,
            file_bytes: 0,
            durability: DURABILITY.into(),
            queued_commands: 0,
        }
    }
}

/// The data of all handles of one store.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Data>>);

impl Shared {
    /// A panic while the lock is held leaves it usable: transactions undo what one of theirs interrupted, and
    /// reads change nothing.
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
