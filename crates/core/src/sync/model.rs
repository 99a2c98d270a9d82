//! Threads, locks and time as the models see them.

use std::cell::Cell;
use std::ops::Add;
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
pub(crate) use shuttle::thread;

use atomic::{AtomicBool, Ordering};

/// From here on a timeout is a backstop, and never ends in a model: nothing may be in need of it.
const NEVER: Duration = Duration::from_secs(1);

/// A fault planted on purpose, which the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The writer lets go of the inbox between looking into it and going to sleep.
    LostWakeUp,
    /// Batches are answered once they are applied, before the store has committed.
    EarlyAnswer,
    /// Claimed jobs that nobody takes are dropped on the way.
    LostDelivery,
    /// A change of the capacity wakes nobody.
    SilentCapacity,
    /// A writer that ends leaves what waits for it unanswered.
    SilentEnd,
    /// A stream that ends hands nothing back.
    KeptJobs,
}

thread_local! {
    // A model runs on one thread of the system, and beside other models.
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Plants a fault into every model that this thread runs from now on; `None` mends it.
pub fn plant(fault: Option<Planted>) {
    PLANTED.set(fault);
}

/// Whether this fault is planted.
pub fn planted(fault: Planted) -> bool {
    PLANTED.get() == Some(fault)
}

/// A time that passes only by timeouts that end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Instant(NOW.get())
    }

    pub(crate) fn checked_add(self, span: Duration) -> Option<Self> {
        self.0.checked_add(span).map(Instant)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, span: Duration) -> Instant {
        Instant(self.0 + span)
    }
}

/// Shuttle's, with timeouts: one below [`NEVER`] is over whenever the scheduler likes, a longer one never.
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar(Arc::new(shuttle::sync::Condvar::new()))
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        span: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        let timer = (span < NEVER).then(|| self.start_timer(span));
        let guard = self.wait(guard);
        if let Some(over) = timer {
            over.store(true, Ordering::SeqCst);
        }
        guard.map(|guard| (guard, ())).map_err(|error| PoisonError::new((error.into_inner(), ())))
    }

    /// Lets `span` pass at some time, and wakes who waits then. Again and again until told: it may be early.
    fn start_timer(&self, span: Duration) -> Arc<AtomicBool> {
        let over = Arc::new(AtomicBool::new(false));
        let (condvar, told, end) = (Arc::clone(&self.0), Arc::clone(&over), Instant::now() + span);
        thread::spawn(move || {
            NOW.set(NOW.get().max(end.0));
            while !told.load(Ordering::SeqCst) {
                condvar.notify_all();
                thread::yield_now();
            }
        });
        over
    }
}
