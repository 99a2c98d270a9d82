use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Timestamp;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Where the queue's time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day. It may jump.
    fn now(&self) -> Timestamp;

    /// Time that only grows, from an arbitrary start. Leases are measured with it.
    fn monotonic(&self) -> Duration;

    /// How long to sleep, at most, until `deadline` by [`Clock::now`]; `None` when only a call to
    /// [`Wake::wake`] tells that time has passed.
    fn sleep_until(&self, deadline: Timestamp) -> Option<Duration>;

    /// Asks to be woken when the time changes otherwise than by itself. The default never does.
    fn subscribe(&self, sleeper: Weak<dyn Wake>) {
        let _ = sleeper;
    }
}

/// Someone who sleeps until a time.
pub trait Wake: Send + Sync {
    /// Looks at the clock again. Must not block.
    fn wake(&self);
}

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX - 1),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Option<Duration> {
        Some(deadline.since(self.now()))
    }
}

/// A clock that stands still until it is told to move: for tests.
pub struct ManualClock {
    now: AtomicI64,
    monotonic: AtomicU64,
    sleepers: Mutex<Vec<Weak<dyn Wake>>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(ManualClock {
            now: AtomicI64::new(now.as_micros()),
            monotonic: AtomicU64::new(0),
            sleepers: Mutex::new(Vec::new()),
        })
    }

    /// Lets `span` pass: both the time of day and the monotonic time move.
    pub fn advance(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let passed = |monotonic: u64| Some(monotonic.saturating_add(micros));
        // Always `Ok`: the closure never says `None`.
        let _ = self.monotonic.fetch_update(Ordering::SeqCst, Ordering::SeqCst, passed);
        self.jump(self.now().plus(span));
    }

    /// Sets the time of day, forward or back, as an operator or a time service does. The monotonic time
    /// stands still.
    pub fn jump(&self, now: Timestamp) {
        self.now.store(now.as_micros(), Ordering::SeqCst);
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.retain(|sleeper| match sleeper.upgrade() {
            Some(sleeper) => {
                sleeper.wake();
                true
            }
            None => false,
        });
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _deadline: Timestamp) -> Option<Duration> {
        None
    }

    fn subscribe(&self, sleeper: Weak<dyn Wake>) {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        sleepers.push(sleeper);
    }
}
