//! Waiting for another writer of the file: short sleeps, each a little different, up to a time-out.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// From now on each statement of this connection waits for other writers up to `limit`. Takes the place of SQLite's
/// `busy_timeout`.
pub(crate) fn wait_for_others(conn: &mut Connection, limit: Duration) -> rusqlite::Result<()> {
    let mut since = Instant::now();
    // Asked each time that SQLite was refused; `attempt` says how often before. Whether to try again.
    let wait = move |attempt: i32| {
        if attempt == 0 {
            since = Instant::now();
        }
        let waited = since.elapsed();
        let left = limit.saturating_sub(waited);
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(pause(waited).min(left));
        true
    };
    conn.busy_handler(Some(wait))
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
