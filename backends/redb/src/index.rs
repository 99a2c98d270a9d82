//! What the writer keeps in memory of the jobs that are not over: who can be claimed in which order, who will
//! be due when, who is held, how many there are.
//!
//! It is rebuilt from the table `live` when the store is opened, changes with each group, and goes back
//! with each group that was not committed: every change is noted in a log that is undone backwards.
//!
//! There is no map from ids to places: a job's place follows from its [`JobState`](poolqueue_core::lifecycle::JobState).

mod figures;
mod lane;
mod load;
mod merge;
mod seat;
mod shelf;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hash;
use std::ops::Bound;

use poolqueue_core::{Attempt, ClaimFilter, JobId, QueueName, Timestamp};

pub(crate) use figures::{Digest, Figures};
pub(crate) use load::Loader;
pub(crate) use seat::{Entry, Seat, Spot};
use shelf::Shelf;

/// The due jobs of one queue.
#[derive(Debug, Default)]
struct Queue {
    /// Jobs that may be claimed side by side.
    regular: Shelf,
    /// Jobs whose next crash would be their last: claimed one at a time in the whole store.
    suspects: Shelf,
}

impl Queue {
    fn shelf(&mut self, suspect: bool) -> &mut Shelf {
        if suspect { &mut self.suspects } else { &mut self.regular }
    }

    fn is_empty(&self) -> bool {
        self.regular.is_empty() && self.suspects.is_empty()
    }
}

/// A due job and the lane it was found in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    lane: u32,
    suspect: bool,
}

impl Found {
    pub(crate) fn id(&self) -> JobId {
        self.entry.id()
    }
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The job takes this seat.
    Take,
    /// The job leaves this seat.
    Leave,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    queues: BTreeMap<QueueName, Queue>,
    future: BTreeSet<(Timestamp, u64, JobId)>,
    deadlines: BTreeSet<(Timestamp, JobId)>,
    held: BTreeMap<JobId, Attempt>,
    figures: Figures,
    log: Vec<(Step, Seat)>,
}

impl Index {
    /// A job comes to stand at `seat`.
    pub(crate) fn take(&mut self, seat: Seat) {
        self.apply(Step::Take, &seat);
        self.log.push((Step::Take, seat));
    }

    /// A job leaves `seat`.
    pub(crate) fn leave(&mut self, seat: Seat) {
        self.apply(Step::Leave, &seat);
        self.log.push((Step::Leave, seat));
    }

    /// Undoes every change since the last [`commit`](Self::commit) or roll-back.
    pub(crate) fn rollback(&mut self) {
        for (step, seat) in std::mem::take(&mut self.log).into_iter().rev() {
            let back = match step {
                Step::Take => Step::Leave,
                Step::Leave => Step::Take,
            };
            self.apply(back, &seat);
        }
    }

    /// The changes since the last commit or roll-back.
    pub(crate) fn changes(&self) -> &[(Step, Seat)] {
        &self.log
    }

    /// Keeps every change.
    pub(crate) fn commit(&mut self) {
        self.log.clear();
        // A group of thousands leaves a log of megabytes behind.
        self.log.shrink_to(1024);
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures { future: self.future.len() as u64, deadlines: self.deadlines.len() as u64, ..self.figures }
    }

    pub(crate) fn held(&self) -> &BTreeMap<JobId, Attempt> {
        &self.held
    }

    fn apply(&mut self, step: Step, seat: &Seat) {
        let figures = &mut self.figures;
        let tally = if seat.status.is_final() { &mut figures.finals } else { &mut figures.live };
        match step {
            Step::Take => tally.add(seat.status, seat.retries),
            Step::Leave => tally.remove(seat.status, seat.retries),
        }
        if let Some((attempt, suspect)) = seat.held {
            let one = u64::from(suspect);
            match step {
                Step::Take => {
                    self.held.insert(seat.id, attempt);
                    figures.suspects_held += one;
                }
                Step::Leave => {
                    self.held.remove(&seat.id);
                    figures.suspects_held = figures.suspects_held.saturating_sub(one);
                }
            }
        }
        if let Some(deadline) = seat.deadline {
            toggle(&mut self.deadlines, &mut figures.digest, step, (deadline, seat.id));
        }
        match seat.spot {
            Spot::Nowhere => {}
            Spot::Future { run_at, sequence } => {
                toggle(&mut self.future, &mut figures.digest, step, (run_at, sequence, seat.id));
            }
            Spot::Ready { entry, suspect } => self.apply_ready(step, seat, entry, suspect),
        }
    }

    fn apply_ready(&mut self, step: Step, seat: &Seat, entry: Entry, suspect: bool) {
        let name = &seat.labels.queue;
        match step {
            Step::Take => {
                if !self.queues.contains_key(name) {
                    self.queues.insert(name.clone(), Queue::default());
                }
                if let Some(queue) = self.queues.get_mut(name)
                    && queue.shelf(suspect).insert(&seat.labels, entry)
                {
                    self.figures.move_ready(step, entry, suspect);
                }
            }
            Step::Leave => {
                let Some(queue) = self.queues.get_mut(name) else { return };
                if queue.shelf(suspect).remove(&seat.labels, entry) {
                    self.figures.move_ready(step, entry, suspect);
                }
                if queue.is_empty() {
                    self.queues.remove(name);
                }
            }
        }
    }

    /// The first `limit` due jobs of `queue` that `filter` takes: at most one suspect, and none while one is
    /// held.
    pub(crate) fn ready(&self, queue: &str, filter: &ClaimFilter, limit: usize) -> Vec<Found> {
        let Some(queue) = self.queues.get(queue) else { return Vec::new() };
        let found = |suspect| move |(lane, entry): (u32, Entry)| Found { entry, lane, suspect };
        let mut all: Vec<Found> = queue.regular.matching(filter).take(limit).map(found(false)).collect();
        if self.figures.suspects_held == 0
            && let Some(suspect) = queue.suspects.matching(filter).next().map(found(true))
        {
            let at = all.partition_point(|other| other.entry < suspect.entry);
            all.insert(at, suspect);
            all.truncate(limit);
        }
        all
    }

    /// Up to `limit` queues from which [`ready`](Self::ready) would find something, in order of name, starting
    /// after `after` and going round once.
    pub(crate) fn ready_queues(
        &self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Vec<QueueName> {
        if let Some(named) = &filter.queues {
            return self.ready_queues_of(named, filter, after, limit);
        }
        let (first, round) = match after {
            Some(after) => (
                self.queues.range::<QueueName, _>((Bound::Excluded(after), Bound::Unbounded)),
                Some(self.queues.range::<QueueName, _>((Bound::Unbounded, Bound::Included(after)))),
            ),
            // Without a start there is nothing to come round to.
            None => (self.queues.range::<QueueName, _>(..), None),
        };
        first
            .chain(round.into_iter().flatten())
            .filter(|(_, queue)| self.has_ready(queue, filter))
            .take(limit)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// As [`ready_queues`](Self::ready_queues), looking at the named queues only.
    fn ready_queues_of(
        &self,
        named: &[QueueName],
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Vec<QueueName> {
        let mut names: Vec<&QueueName> = named.iter().collect();
        names.sort_unstable();
        names.dedup();
        let first = after.map_or(0, |after| names.partition_point(|name| *name <= after));
        names.rotate_left(first);
        let has_ready =
            |name: &QueueName| self.queues.get(name).is_some_and(|queue| self.has_ready(queue, filter));
        names.into_iter().filter(|name| has_ready(name)).take(limit).cloned().collect()
    }

    fn has_ready(&self, queue: &Queue, filter: &ClaimFilter) -> bool {
        let suspect = || self.figures.suspects_held == 0 && queue.suspects.matching(filter).next().is_some();
        queue.regular.matching(filter).next().is_some() || suspect()
    }

    /// The first job that will be due.
    pub(crate) fn first_future(&self) -> Option<(Timestamp, JobId)> {
        self.future.first().map(|(run_at, _, id)| (*run_at, *id))
    }

    /// The deadlines, earliest first.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, JobId)> + '_ {
        self.deadlines.iter().copied()
    }

    /// When the first job will be due or past its deadline.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        let future = self.first_future().map(|(run_at, _)| run_at);
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        future.into_iter().chain(deadline).min()
    }

    /// Forgets a due job whose record turned out to be damaged. Not undone: it stays damaged.
    pub(crate) fn drop_ready(&mut self, queue: &str, found: Found) {
        let Some(own) = self.queues.get_mut(queue) else { return };
        if own.shelf(found.suspect).remove_from(found.lane, found.entry) {
            self.figures.move_ready(Step::Leave, found.entry, found.suspect);
        }
        if own.is_empty() {
            self.queues.remove(queue);
        }
    }

    /// Forgets the first job that will be due, its record being damaged.
    pub(crate) fn drop_first_future(&mut self) {
        if let Some(first) = self.future.pop_first() {
            self.figures.digest.change(Step::Leave, first);
        }
    }

    /// Forgets a deadline of a job whose record is damaged.
    pub(crate) fn drop_deadline(&mut self, at: Timestamp, id: JobId) {
        if self.deadlines.remove(&(at, id)) {
            self.figures.digest.change(Step::Leave, (at, id));
        }
    }

    /// For each id: whether it stands among the jobs that are or will be due, and among those held. Reads the
    /// whole index.
    pub(crate) fn membership(&self, ids: &[JobId]) -> Vec<(bool, bool)> {
        let shelves = self.queues.values().flat_map(|queue| [&queue.regular, &queue.suspects]);
        let due = shelves.flat_map(Shelf::entries).map(|entry| entry.id());
        let waiting: HashSet<JobId> = due.chain(self.future.iter().map(|(_, _, id)| *id)).collect();
        ids.iter().map(|id| (waiting.contains(id), self.held.contains_key(id))).collect()
    }
}

fn toggle<T: Ord + Hash + Copy>(set: &mut BTreeSet<T>, digest: &mut Digest, step: Step, entry: T) {
    let changed = match step {
        Step::Take => set.insert(entry),
        Step::Leave => set.remove(&entry),
    };
    if changed {
        digest.change(step, entry);
    }
}
