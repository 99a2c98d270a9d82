use poolqueue_core::lifecycle::JobState;

use super::{Seat, Spot};
use crate::tally::Tally;

/// Figures about the index, and the counters of all jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Jobs that are not over.
    pub(crate) live: Tally,
    /// Jobs that are over.
    pub(crate) finals: Tally,
    /// Jobs that can be claimed.
    pub(crate) ready: u64,
    /// Jobs that will be due at a time.
    pub(crate) future: u64,
    /// Jobs that wait under a deadline.
    pub(crate) deadlines: u64,
    /// Held jobs whose next crash would be their last.
    pub(crate) suspects_held: u64,
}

impl Figures {
    /// Counts a job as [`Index`] would.
    pub(crate) fn count(&mut self, state: &JobState) {
        let seat = Seat::of(state);
        let tally = if seat.status.is_final() { &mut self.finals } else { &mut self.live };
        tally.add(seat.status, seat.retries);
        self.deadlines += u64::from(seat.deadline.is_some());
        self.suspects_held += u64::from(seat.held.is_some_and(|(_, suspect)| suspect));
        match seat.spot {
            Spot::Nowhere => {}
            Spot::Future { .. } => self.future += 1,
            Spot::Ready { .. } => self.ready += 1,
        }
    }
}
