use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use foldhash::HashMap;
use tokio_util::sync::CancellationToken;

use crate::sync::{Mutex, MutexGuard};
#[cfg(shuttle)]
use crate::sync::{Planted, planted};
use crate::{Attempt, JobId, Lease, Wake};

/// The places of one stream: how many jobs it may hold, and which it holds.
///
/// The stream's owner and the backend share it. The backend reserves a place before it claims a job, so that
/// no job is ever running without a place to go, and keeps the list of held jobs in the order of commits; the
/// owner may change the capacity at any time. A place is taken exactly while its job's phase is
/// [`Held`](crate::Phase::Held).
#[derive(Default)]
pub struct Slots {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    capacity: usize,
    /// Places taken by claims of the group being written, not yet committed.
    reserved: usize,
    /// Places given up by the group being written, not yet committed.
    returned: usize,
    /// Nothing is claimed any more, whatever the capacity.
    closed: bool,
    held: HashMap<JobId, Held>,
    claimer: Option<Weak<dyn Wake>>,
}

struct Held {
    attempt: Attempt,
    beat: Duration,
    cancelled: bool,
    /// Made when the holder first asks for it: most never do.
    token: Option<CancellationToken>,
}

impl Held {
    fn cancel(&mut self) -> Option<CancellationToken> {
        self.cancelled = true;
        self.token.clone()
    }

    fn token(&mut self) -> CancellationToken {
        let token = self.token.get_or_insert_default();
        if self.cancelled {
            token.cancel();
        }
        token.clone()
    }
}

impl Inner {
    fn held(&mut self, lease: Lease) -> Option<&mut Held> {
        self.held.get_mut(&lease.id).filter(|held| held.attempt == lease.attempt)
    }
}

impl Slots {
    /// Places for `capacity` jobs.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Slots { inner: Mutex::new(Inner { capacity, ..Inner::default() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many jobs may be held at once.
    pub fn capacity(&self) -> usize {
        self.lock().capacity
    }

    /// Changes how many jobs may be held at once. With less than are held nothing is taken away, and nothing
    /// is claimed until enough have ended.
    pub fn set_capacity(&self, capacity: usize) {
        let claimer = {
            let mut inner = self.lock();
            inner.capacity = capacity;
            inner.claimer.clone()
        };
        #[cfg(shuttle)]
        let claimer = claimer.filter(|_| !planted(Planted::SilentCapacity));
        if let Some(claimer) = claimer.and_then(|claimer| claimer.upgrade()) {
            claimer.wake();
        }
    }

    /// From now on nothing is claimed into these places, whatever the capacity and whatever claim still stands.
    /// What is held stays held.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// The jobs held now, in no order.
    pub fn held(&self) -> Vec<Lease> {
        self.lock().held.iter().map(|(id, held)| Lease { id: *id, attempt: held.attempt }).collect()
    }

    /// How many jobs are held now.
    pub fn held_count(&self) -> usize {
        self.lock().held.len()
    }

    /// The token that is cancelled when the job's cancellation is requested or its lease is lost; `None` when
    /// the lease is not held any more.
    pub fn cancellation(&self, lease: Lease) -> Option<CancellationToken> {
        self.lock().held(lease).map(Held::token)
    }

    /// Whether the lease is held.
    pub fn holds(&self, lease: Lease) -> bool {
        self.lock().held(lease).is_some()
    }

    /// Whether the job's cancellation was requested, or its lease is not held any more.
    pub fn is_cancelled(&self, lease: Lease) -> bool {
        self.lock().held(lease).is_none_or(|held| held.cancelled)
    }

    /// Says that the holder of `lease` is alive at `monotonic`. False when the lease is not held any more.
    pub fn beat(&self, lease: Lease, monotonic: Duration) -> bool {
        match self.lock().held(lease) {
            Some(held) => {
                held.beat = held.beat.max(monotonic);
                true
            }
            None => false,
        }
    }

    /// Says that the holder of every lease is alive at `monotonic`.
    pub fn beat_all(&self, monotonic: Duration) {
        for held in self.lock().held.values_mut() {
            held.beat = held.beat.max(monotonic);
        }
    }

    /// The leases whose last beat is `lease` or more before `monotonic`.
    pub fn silent(&self, lease: Duration, monotonic: Duration) -> Vec<Lease> {
        let inner = self.lock();
        let silent = inner.held.iter().filter(|(_, held)| monotonic.saturating_sub(held.beat) >= lease);
        silent.map(|(id, held)| Lease { id: *id, attempt: held.attempt }).collect()
    }

    /// Backend: who is to be woken when the capacity changes.
    pub fn set_claimer(&self, claimer: Weak<dyn Wake>) {
        self.lock().claimer = Some(claimer);
    }

    /// Backend: how many jobs may be claimed now.
    pub fn free(&self) -> usize {
        let inner = self.lock();
        let room = if inner.closed { 0 } else { inner.capacity.saturating_add(inner.returned) };
        room.saturating_sub(inner.held.len() + inner.reserved)
    }

    /// Backend: reserves `count` places before the claim that fills them.
    pub fn reserve(&self, count: usize) {
        self.lock().reserved += count;
    }

    /// Backend: counts one place as given up by the group being written.
    pub fn give_back(&self) {
        self.lock().returned += 1;
    }

    /// Backend: forgets all reservations, the group having failed or been written.
    pub fn settle(&self) {
        let mut inner = self.lock();
        inner.reserved = 0;
        inner.returned = 0;
    }

    /// Backend: the claim of `lease` is committed. Called before the claim is answered.
    pub fn hold(&self, lease: Lease, monotonic: Duration) {
        let held = Held { attempt: lease.attempt, beat: monotonic, cancelled: false, token: None };
        self.lock().held.insert(lease.id, held);
    }

    /// Backend: the holder of `lease` is to be told that its job was cancelled.
    pub fn request_cancel(&self, lease: Lease) {
        let token = self.lock().held(lease).and_then(Held::cancel);
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// Backend: the job left the phase Held. Its token is cancelled: whoever still works on it is too late.
    pub fn release(&self, lease: Lease) {
        let released = {
            let mut inner = self.lock();
            let is_held = inner.held(lease).is_some();
            if is_held { inner.held.remove(&lease.id) } else { None }
        };
        if let Some(token) = released.and_then(|held| held.token) {
            token.cancel();
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Slots").field("capacity", &inner.capacity).field("held", &inner.held.len()).finish()
    }
}
