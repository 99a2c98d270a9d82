use std::sync::Arc;

use foldhash::HashMap;
use poolqueue_core::Labels;
use poolqueue_core::lifecycle::JobState;

use super::lane::Lane;
use super::{Entry, Index, Seat, Spot, Step};

/// Builds an [`Index`] from all jobs at once: sorting each lane is several times faster than inserting job by
/// job, and leaves the trees full instead of half full.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    index: Index,
    lanes: HashMap<(Arc<Labels>, bool), usize>,
    entries: Vec<Vec<Entry>>,
    /// The lane of the job before: neighbours often share theirs.
    last: Option<(Arc<Labels>, bool, usize)>,
}

impl Loader {
    pub(crate) fn add(&mut self, state: &JobState) {
        let mut seat = Seat::of(state);
        if let Spot::Ready { entry, suspect } = seat.spot {
            let at = self.lane(&seat.labels, suspect);
            if let Some(lane) = self.entries.get_mut(at) {
                lane.push(entry);
            }
            seat.spot = Spot::Nowhere;
        }
        self.index.apply(Step::Take, &seat);
    }

    fn lane(&mut self, labels: &Arc<Labels>, suspect: bool) -> usize {
        if let Some((last, was_suspect, at)) = &self.last
            && Arc::ptr_eq(last, labels)
            && *was_suspect == suspect
        {
            return *at;
        }
        let entries = &mut self.entries;
        let at = *self.lanes.entry((Arc::clone(labels), suspect)).or_insert_with(|| {
            entries.push(Vec::new());
            entries.len() - 1
        });
        self.last = Some((Arc::clone(labels), suspect, at));
        at
    }

    /// The index of the jobs that were added, and the counters of those that are over.
    pub(crate) fn finish(mut self, finals: crate::tally::Tally) -> Index {
        for ((labels, suspect), at) in self.lanes.drain() {
            let entries = self.entries.get_mut(at).map(std::mem::take).unwrap_or_default();
            let name = labels.queue.clone();
            if let Some(lane) = Lane::of(labels, entries) {
                let figures = &mut self.index.figures;
                lane.iter().for_each(|entry| figures.move_ready(Step::Take, entry, suspect));
                self.index.queues.entry(name).or_default().shelf(suspect).add(lane);
            }
        }
        self.index.figures.finals = finals;
        self.index
    }
}
