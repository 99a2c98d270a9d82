use std::time::Duration;

use crate::embedded::elsewhere::Pending;
use crate::{Clock, Timestamp};

/// The time by which jobs are stamped and become due: the clock's, but never before the last stamp. While the
/// clock is behind it, having been set back, time goes on at half its pace: delays end all the same, and stamps
/// and clock meet again.
pub(super) struct Time {
    /// The last stamp given.
    pub(super) last: Timestamp,
    /// When that was on the monotonic clock.
    given: Duration,
}

impl Default for Time {
    fn default() -> Self {
        Time { last: Timestamp::from_micros(i64::MIN), given: Duration::ZERO }
    }
}

impl Time {
    pub(super) fn now(&self, clock: &dyn Clock) -> Timestamp {
        let passed = clock.monotonic().saturating_sub(self.given);
        clock.now().max(self.last.plus(passed / 2))
    }

    /// Gives a stamp.
    pub(super) fn stamp(&mut self, clock: &dyn Clock, pending: &Pending) -> Timestamp {
        self.last = pending.stamp(self.now(clock));
        self.given = clock.monotonic();
        self.last
    }
}
