//! What the writer and the readers share: the open database, and the figures of the last commit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use poolqueue_core::{Attempt, BackendError, BackendErrorKind, Health, JobId, SyncPolicy, Verification};
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::application::Application;
use crate::format;
use crate::index::{Figures, Step};
use crate::memory::Memory;
use crate::site::Site;
use crate::turn;

/// See the module. Readers hold it; the database itself comes and goes with closing and reopening.
#[derive(Debug)]
pub(crate) struct Shared {
    site: Site,
    state: Mutex<State>,
    /// Held while a commit becomes visible and its figures are published: whoever has it sees both or
    /// neither. Readers that need no more than one of the two do not take it.
    settled: Mutex<()>,
    condition: Mutex<Condition>,
    /// Only when the database is the application's.
    application: Option<Application>,
    sync: SyncPolicy,
    /// The writer has taken note of changes in transactions of the application's, or the database is gone.
    noticed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    db: Option<Arc<Database>>,
    figures: Figures,
    held: Arc<BTreeMap<JobId, Attempt>>,
    /// Jobs that are held once the commit in flight is visible.
    rising: Arc<Vec<JobId>>,
    /// Of how many staged changes it is known what became of them.
    resolved: u64,
    /// The error after which nobody will find out about the others.
    ended: Option<BackendError>,
}

#[derive(Debug, Default)]
struct Condition {
    verification: Verification,
    damage: Option<String>,
}

/// When an answered call is durable, in redb's words.
fn durability(policy: SyncPolicy) -> Cow<'static, str> {
    match policy {
        SyncPolicy::Interval(span) => {
            format!("redb None, and Immediate every {span:?}: the end of the process or a power cut loses what was answered since")
                .into()
        }
        _ => "redb Immediate: synced before it is answered".into(),
    }
}

/// Committed data, and the figures of the same or the commit before.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) txn: ReadTransaction,
    pub(crate) figures: Figures,
    pub(crate) held: Arc<BTreeMap<JobId, Attempt>>,
    pub(crate) rising: Arc<Vec<JobId>>,
    /// Of how many staged changes it was known what became of them, and whether that was all: if not, the figures may
    /// be behind what transactions of the application's have committed.
    resolved: u64,
    pub(crate) current: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks protect is whole at every step, also when the thread that held one panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(site: Site, application: Option<Application>) -> Self {
        Shared {
            site,
            state: Mutex::default(),
            settled: Mutex::default(),
            condition: Mutex::default(),
            application,
            sync: SyncPolicy::default(),
            noticed: Condvar::new(),
        }
    }

    /// Of a store that follows `policy`.
    pub(crate) fn with_sync(self, policy: SyncPolicy) -> Self {
        Shared { sync: policy, ..self }
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn sync(&self) -> SyncPolicy {
        self.sync
    }

    /// What is known of the application whose database it is; `None` when it is our own.
    pub(crate) fn application(&self) -> Option<&Application> {
        self.application.as_ref()
    }

    /// Puts an opened database and the index read from it in place.
    pub(crate) fn install(&self, db: Arc<Database>, memory: &Memory, verification: Verification) {
        let mut state = lock(&self.state);
        *state = State {
            db: Some(db),
            figures: memory.index.figures(),
            held: Arc::new(memory.index.held().clone()),
            rising: Arc::default(),
            resolved: state.resolved,
            ended: None,
        };
        *lock(&self.condition) = Condition { verification, damage: None };
    }

    /// Takes the database away from the readers.
    fn remove(&self) -> Option<Arc<Database>> {
        let removed = lock(&self.state).db.take();
        self.noticed.notify_all();
        removed
    }

    /// Closes the database if it is our own, and lets go of it.
    pub(crate) fn close(&self) -> Result<(), BackendError> {
        let (Some(db), None) = (self.remove(), &self.application) else { return Ok(()) };
        // Whoever else has it for a moment closes it.
        let Some(db) = Arc::into_inner(db) else { return Ok(()) };
        self.site.guard("close", || db.close().map_err(|error| self.site.engine("close", error)))
    }

    fn db(&self) -> Result<Arc<Database>, BackendError> {
        lock(&self.state).db.clone().ok_or_else(BackendError::closed)
    }

    /// Begins a transaction. Waits for those of the application's, up to a time.
    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, BackendError> {
        let (db, site) = (self.db()?, &self.site);
        match &self.application {
            Some(application) => application.turn.begin(&db, application.busy_timeout, site),
            None => site.guard("begin a transaction", || {
                db.begin_write().map_err(|error| site.engine("begin a transaction", error))
            }),
        }
    }

    /// Begins a transaction if the application has none under way.
    pub(crate) fn try_begin_write(&self) -> Result<Option<WriteTransaction>, BackendError> {
        turn::try_begin(&*self.db()?, &self.site)
    }

    /// Of how many staged changes it is known what became of them.
    pub(crate) fn resolved(&self) -> u64 {
        lock(&self.state).resolved
    }

    /// A transaction that wrote nothing has found out what became of so many staged changes.
    pub(crate) fn resolve(&self, resolved: Option<u64>) {
        if let Some(resolved) = resolved {
            lock(&self.state).resolved = resolved;
            self.noticed.notify_all();
        }
    }

    /// The writer takes note of nothing any more.
    pub(crate) fn end(&self, cause: &BackendError) {
        lock(&self.state).ended.get_or_insert_with(|| cause.clone());
        self.noticed.notify_all();
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
            resolved: state.resolved,
            // After the transaction began: what it can see was staged before.
            current: self.application.as_ref().is_none_or(|own| own.staged() == state.resolved),
        })
    }

    /// Committed data with exactly its own figures. Waits for a commit in flight, and for the writer to take note of
    /// what transactions of the application's have committed.
    ///
    /// # Errors
    /// `Busy` when the writer does not come to it in time, because the application holds another transaction. `Closed`
    /// when an error has ended the writer.
    pub(crate) fn exact_view(&self) -> Result<View, BackendError> {
        let timeout = self.application.as_ref().map(|application| application.busy_timeout);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let settled = lock(&self.settled);
            let view = self.view()?;
            drop(settled);
            if view.current || !format::has_notes(&view.txn, &self.site)? {
                return Ok(view);
            }
            let known = view.resolved;
            // Its pages need not be kept while waiting.
            drop(view);
            let mut state = lock(&self.state);
            while state.resolved == known && state.db.is_some() {
                if let Some(cause) = &state.ended {
                    return Err(cause.as_cause_of_closing());
                }
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let left = left.unwrap_or(std::time::Duration::MAX);
                if left.is_zero() {
                    let what = "what a transaction of the application's committed was not counted in time";
                    return Err(self.site.error(BackendErrorKind::Busy, what));
                }
                state = self.noticed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Runs `commit` and publishes the changes of the index when it succeeded.
    pub(crate) fn publish(
        &self,
        memory: &Memory,
        commit: impl FnOnce() -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let index = &memory.index;
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
            state.resolved = memory.resolved.unwrap_or(state.resolved);
            let changes = index.changes().iter().filter(|(_, seat)| seat.held.is_some());
            for (step, seat) in changes {
                let held = Arc::make_mut(&mut state.held);
                match (step, seat.held) {
                    (Step::Take, Some((attempt, _))) => held.insert(seat.id, attempt),
                    _ => held.remove(&seat.id),
                };
            }
            self.noticed.notify_all();
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
        if self.application.is_none() {
            health.file_bytes = fs::metadata(self.site.path()).map_or(0, |metadata| metadata.len());
        }
        health.durability = durability(self.sync);
        health
    }
}
