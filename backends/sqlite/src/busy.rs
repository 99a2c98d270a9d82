//! Waiting for another writer of the file: short sleeps, each a little different, up to the store's time-out.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long a wait may last unless the thread was told otherwise.
const DEFAULT: Duration = Duration::from_secs(5);

thread_local! {
    /// SQLite asks a function without memory: what it has to know is kept with the thread that waits.
    static LIMIT: Cell<Duration> = const { Cell::new(DEFAULT) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Statements of this thread wait at most this long from now on.
pub(crate) fn allow(limit: Duration) {
    LIMIT.set(limit);
}

/// Whether SQLite shall try again, having been refused `attempt` times before. Sleeps first.
pub(crate) fn wait(attempt: i32) -> bool {
    wait_up_to(LIMIT.get(), attempt)
}

/// The same for the application's own connections: whatever the thread was told for the queue's.
pub(crate) fn wait_by_default(attempt: i32) -> bool {
    wait_up_to(DEFAULT, attempt)
}

fn wait_up_to(limit: Duration, attempt: i32) -> bool {
    let now = Instant::now();
    let since = match SINCE.get() {
        Some(since) if attempt > 0 => since,
        _ => now,
    };
    SINCE.set(Some(since));
    let waited = now.saturating_duration_since(since);
    let left = limit.saturating_sub(waited);
    if left.is_zero() {
        return false;
    }
    std::thread::sleep(pause(waited).min(left));
    true
}

/// A queue's writer is done in a fraction of a millisecond; who holds the file for long will hold it longer.
fn pause(waited: Duration) -> Duration {
    let base = match waited {
        waited if waited < Duration::from_millis(5) => Duration::from_micros(100),
        waited if waited < Duration::from_millis(50) => Duration::from_micros(500),
        _ => Duration::from_millis(3),
    };
    let spread = RandomState::new().hash_one(0_u8) % 1024;
    base + base * u32::try_from(spread).unwrap_or(0) / 1024
}
