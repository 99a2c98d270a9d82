use std::fmt;
use std::sync::Arc;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{Attempt, JobId, Labels, Phase, Priority, Status, Timestamp};

/// A due job in its lane: its place in the order of claims, and its id. The order of the bytes is the order of
/// claims, and without padding a million of them take 34 MB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    bytes: [u8; 18],
    id: [u8; 16],
}

impl Entry {
    pub(crate) fn new(priority: Priority, run_at: Timestamp, sequence: u64, id: JobId) -> Self {
        // Flipping the sign bit makes the order of the bytes the order of the numbers.
        let priority = (priority.0 as u16 ^ 1 << 15).to_be_bytes();
        let run_at = (run_at.as_micros() as u64 ^ 1 << 63).to_be_bytes();
        let mut bytes = [0; 18];
        let source = priority.into_iter().chain(run_at).chain(sequence.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(source) {
            *to = from;
        }
        Entry { bytes, id: *id.as_bytes() }
    }

    pub(crate) fn id(&self) -> JobId {
        JobId::from_bytes(self.id)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.id())
    }
}

/// Where a job stands in the index, as far as claims and timers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// It can be claimed.
    Ready {
        /// Its place in its lane.
        entry: Entry,
        /// Whether it can only be claimed alone.
        suspect: bool,
    },
    /// It will be due at a time.
    Future {
        /// When.
        run_at: Timestamp,
        /// Its place among those due then.
        sequence: u64,
    },
    /// In no list: held, parked, over, or waiting for something else than a time.
    Nowhere,
}

/// Everything the index knows of a job: follows from its state, and leads back to every place it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) id: JobId,
    pub(crate) labels: Arc<Labels>,
    pub(crate) status: Status,
    pub(crate) retries: u32,
    pub(crate) spot: Spot,
    pub(crate) deadline: Option<Timestamp>,
    /// While it is held: its attempt, and whether its next crash would be its last.
    pub(crate) held: Option<(Attempt, bool)>,
}

impl Seat {
    pub(crate) fn of(state: &JobState) -> Self {
        let spot = if state.is_claimable() {
            let (priority, run_at, sequence) = state.order_key();
            let entry = Entry::new(priority, run_at, sequence, state.id);
            Spot::Ready { entry, suspect: state.is_suspect() }
        } else if state.phase() == Phase::Ready && state.run_at != Timestamp::NEVER {
            Spot::Future { run_at: state.run_at, sequence: state.sequence }
        } else {
            Spot::Nowhere
        };
        Seat {
            id: state.id,
            labels: Arc::clone(&state.labels),
            status: state.status,
            retries: state.retry_count,
            spot,
            deadline: state.expires_at.filter(|at| state.awaits_deadline() && *at != Timestamp::NEVER),
            held: (state.phase() == Phase::Held).then(|| (state.attempt, state.is_suspect())),
        }
    }
}
