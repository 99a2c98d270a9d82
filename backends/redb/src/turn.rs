//! Waiting for a write transaction of the application's to end, but not for ever.
//!
//! redb waits without limit, so a thread of its own does the waiting. There is at most one: when whoever asked has
//! given up, the next one to ask takes it over, and if nobody did, it drops the transaction at once that it is given.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use poolqueue_core::{BackendError, BackendErrorKind};
use redb::{Database, TransactionError, WriteTransaction};

use crate::site::Site;

/// See the module.
#[derive(Default)]
pub(crate) struct Turn(Arc<Line>);

#[derive(Default)]
struct Line {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
enum Waiting {
    #[default]
    Nobody,
    /// A thread waits, and somebody for the thread.
    Wanted,
    /// A thread waits, and nobody for the thread.
    Unwanted,
    /// What the thread waited for.
    Here(Box<Result<WriteTransaction, BackendError>>),
}

impl Turn {
    /// Begins a transaction, waiting for up to `timeout`.
    ///
    /// # Errors
    /// `Busy` when the time is up. Whatever redb reports.
    pub(crate) fn begin(
        &self,
        db: &Arc<Database>,
        timeout: Duration,
        site: &Site,
    ) -> Result<WriteTransaction, BackendError> {
        if let Some(txn) = try_begin(db, site)? {
            return Ok(txn);
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.0.lock();
        match &*state {
            Waiting::Nobody => {
                let (line, db, own) = (Arc::clone(&self.0), Arc::clone(db), site.clone());
                std::thread::Builder::new()
                    .name("poolqueue-turn".into())
                    .spawn(move || line.wait(db, &own))
                    .map_err(|error| site.io("start the thread that waits for its turn", error))?;
            }
            Waiting::Unwanted => {}
            Waiting::Wanted | Waiting::Here(_) => return Err(busy(site)),
        }
        *state = Waiting::Wanted;
        loop {
            match std::mem::take(&mut *state) {
                Waiting::Here(begun) => return *begun,
                waiting => *state = waiting,
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                *state = Waiting::Unwanted;
                return Err(busy(site));
            }
            let left = left.unwrap_or(Duration::MAX);
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Begins a transaction if none is under way.
pub(crate) fn try_begin(db: &Database, site: &Site) -> Result<Option<WriteTransaction>, BackendError> {
    site.guard("begin a transaction", || match db.try_begin_write() {
        Ok(txn) => Ok(Some(txn)),
        Err(TransactionError::WouldBlock) => Ok(None),
        Err(error) => Err(site.engine("begin a transaction", error)),
    })
}

fn busy(site: &Site) -> BackendError {
    site.error(BackendErrorKind::Busy, "a write transaction of the application's has not ended in time")
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, db: Arc<Database>, site: &Site) {
        let begun = site.guard("begin a transaction", || {
            db.begin_write().map_err(|error| site.engine("begin a transaction", error))
        });
        // Whoever was told of the end may close the database.
        drop(db);
        let mut state = self.lock();
        let unwanted = match *state {
            Waiting::Wanted => {
                *state = Waiting::Here(Box::new(begun));
                self.changed.notify_all();
                None
            }
            _ => {
                *state = Waiting::Nobody;
                Some(begun)
            }
        };
        drop(state);
        // A panic of redb's in here ends this thread, which has nothing left to do.
        drop(unwanted);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}
