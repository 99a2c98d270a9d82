use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use poolqueue_core::lifecycle::JobState;

use super::{Entry, Seat, Spot, Step};
use crate::tally::Tally;

/// A sum over what stands in the lists, whatever the order: it tells whether they hold exactly what the records say
/// without reading them. Moved by what was really put in or taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(super) fn change(&mut self, step: Step, what: impl Hash) {
        let hash = FixedState::default().hash_one(what);
        self.0 = match step {
            Step::Take => self.0.wrapping_add(hash),
            Step::Leave => self.0.wrapping_sub(hash),
        };
    }
}

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
    /// Which jobs can be claimed, will be due and wait under a deadline.
    pub(crate) digest: Digest,
}

impl Figures {
    /// A job came to the lists of those that can be claimed, or left them.
    pub(super) fn move_ready(&mut self, step: Step, entry: Entry, suspect: bool) {
        self.ready = match step {
            Step::Take => self.ready + 1,
            Step::Leave => self.ready.saturating_sub(1),
        };
        self.digest.change(step, (entry, suspect));
    }

    /// Counts a job as [`Index`] would.
    pub(crate) fn count(&mut self, state: &JobState) {
        let seat = Seat::of(state);
        let tally = if seat.status.is_final() { &mut self.finals } else { &mut self.live };
        tally.add(seat.status, seat.retries);
        if let Some(deadline) = seat.deadline {
            self.deadlines += 1;
            self.digest.change(Step::Take, (deadline, seat.id));
        }
        self.suspects_held += u64::from(seat.held.is_some_and(|(_, suspect)| suspect));
        match seat.spot {
            Spot::Nowhere => {}
            Spot::Future { run_at, sequence } => {
                self.future += 1;
                self.digest.change(Step::Take, (run_at, sequence, seat.id));
            }
            Spot::Ready { entry, suspect } => self.move_ready(Step::Take, entry, suspect),
        }
    }
}
