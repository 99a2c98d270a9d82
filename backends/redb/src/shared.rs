//! What the writer and the readers share: the open database, and the figures of the last commit.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poolqueue_core::{Attempt, BackendError, BackendErrorKind, Health, JobId, Verification};
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::index::{Figures, Index, Step};
use crate::site::Site;

/// See the module. Readers hold it; the database itself comes and goes with closing and reopening.
#[derive(Debug)]
pub(crate) struct Shared {
    site: Site,
    state: Mutex<State>,
    /// Held while a commit becomes visible and its figures are published: whoever has it sees both or
    /// neither. Readers that need no more than one of the two do not take it.
    settled: Mutex<()>,
    condition: Mutex<Condition>,
}

#[derive(Debug, Default)]
struct State {
    db: Option<Database>,
    figures: Figures,
    held: Arc<BTreeMap<JobId, Attempt>>,
    /// Jobs that are held once the commit in flight is visible.
    rising: Arc<Vec<JobId>>,
}

#[derive(Debug, Default)]
struct Condition {
    verification: Verification,
    damage: Option<String>,
}

/// Committed data, and the figures of the same or the commit before.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) txn: ReadTransaction,
    pub(crate) figures: Figures,
    pub(crate) held: Arc<BTreeMap<JobId, Attempt>>,
    pub(crate) rising: Arc<Vec<JobId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks protect is whole at every step, also when the thread that held one panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(site: Site) -> Self {
        Shared { site, state: Mutex::default(), settled: Mutex::default(), condition: Mutex::default() }
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Puts an opened database and the index read from it in place.
    pub(crate) fn install(&self, db: Database, index: &Index, verification: Verification) {
        let mut state = lock(&self.state);
        *state = State {
            db: Some(db),
            figures: index.figures(),
            held: Arc::new(index.held().clone()),
            rising: Arc::default(),
        };
        *lock(&self.condition) = Condition { verification, damage: None };
    }

    /// Takes the database away from the readers.
    pub(crate) fn remove(&self) -> Option<Database> {
        lock(&self.state).db.take()
    }

    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, BackendError> {
        let state = lock(&self.state);
        let db = state.db.as_ref().ok_or_else(BackendError::closed)?;
        self.site.guard("begin a transaction", || {
            db.begin_write().map_err(|error| self.site.engine("begin a transaction", error))
        })
    }

    /// Committed data as it is now.
    pub(crate) fn view(&self) -> Result<View, BackendError> {
        let state = lock(&self.state);
        let db = state.db.as_ref().ok_or_else(BackendError::closed)?;
        let txn = self.site.guard("begin to read", || {
            db.begin_read().map_err(|error| self.site.engine("begin to read", error))
        })?;
        Ok(View {
            txn,
            figures: state.figures,
            held: Arc::clone(&state.held),
            rising: Arc::clone(&state.rising),
        })
    }

    /// Committed data with exactly its own figures. Waits for a commit in flight.
    pub(crate) fn settled_view(&self) -> Result<View, BackendError> {
        let _settled = lock(&self.settled);
        self.view()
    }

    /// Runs `commit` and publishes the changes of `index` when it succeeded.
    pub(crate) fn publish(
        &self,
        index: &Index,
        commit: impl FnOnce() -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let _settled = lock(&self.settled);
        let takes_slot = |(step, seat): &(Step, crate::index::Seat)| {
            (*step == Step::Take && seat.held.is_some()).then_some(seat.id)
        };
        let rising: Vec<JobId> = index.changes().iter().filter_map(takes_slot).collect();
        if !rising.is_empty() {
            lock(&self.state).rising = Arc::new(rising);
        }
        let result = commit();
        let mut state = lock(&self.state);
        if !state.rising.is_empty() {
            state.rising = Arc::default();
        }
        if result.is_ok() {
            state.figures = index.figures();
            let changes = index.changes().iter().filter(|(_, seat)| seat.held.is_some());
            for (step, seat) in changes {
                let held = Arc::make_mut(&mut state.held);
                match (step, seat.held) {
                    (Step::Take, Some((attempt, _))) => held.insert(seat.id, attempt),
                    _ => held.remove(&seat.id),
                };
            }
        }
        result
    }

    /// Remembers damage for [`health`](Self::health), and hands the error on.
    pub(crate) fn noted<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    /// Remembers damage. The first one stays.
    pub(crate) fn note(&self, error: &BackendError) {
        if error.kind() == BackendErrorKind::Corrupted {
            let mut condition = lock(&self.condition);
            condition.verification = Verification::Damaged;
            condition.damage.get_or_insert_with(|| error.to_string());
        }
    }

    /// Every record was read, and fits.
    pub(crate) fn note_verified(&self) {
        let mut condition = lock(&self.condition);
        if condition.verification != Verification::Damaged {
            condition.verification = Verification::Verified;
        }
    }

    pub(crate) fn health(&self) -> Health {
        let condition = lock(&self.condition);
        let mut health = Health::default();
        health.verification = condition.verification;
        health.damage = condition.damage.clone();
        health.file_bytes = fs::metadata(self.site.path()).map_or(0, |metadata| metadata.len());
        health.durability = "redb Immediate: synced before it is answered";
        health
    }
}
