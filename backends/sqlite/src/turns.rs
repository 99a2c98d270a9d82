//! Leaving others room to write.
//!
//! SQLite's writers do not queue: each tries again after a while, and a writer that begins anew as soon as it has ended
//! would keep all others out.

use std::time::{Duration, Instant};

/// Which part of the time it held the file a writer leaves it free afterwards.
const SHARE: u32 = 4;
const GAP_MIN: Duration = Duration::from_micros(200);
const GAP_MAX: Duration = Duration::from_millis(5);

/// When this handle's writer had the file last.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    begun: Option<Instant>,
    ended: Option<(Instant, Duration)>,
}

impl Turns {
    /// Waits until others have had the file to take since the last turn.
    pub(crate) fn give_way(&self) {
        let Some((ended, held)) = self.ended else { return };
        let gap = (held / SHARE).clamp(GAP_MIN, GAP_MAX);
        let left = gap.saturating_sub(ended.elapsed());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }

    pub(crate) fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    pub(crate) fn end(&mut self) {
        let now = Instant::now();
        self.ended = self.begun.take().map(|begun| (now, now.saturating_duration_since(begun)));
    }
}
