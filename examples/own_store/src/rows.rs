//! What the log amounts to: the rows, the index that follows from them, and how to take a change back.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    BackendError, ClaimFilter, Counts, Detail, Job, JobId, Kind, LastError, Output, Phase, Priority,
    QueueName, TagSet, Timestamp, UniqueKey, Verified,
};

use crate::entry::{Entry, Row};

/// Takes a change back, if those after it were taken back before.
pub type Undo = Box<dyn FnOnce(&mut Rows)>;

/// Everything the store holds.
#[derive(Default, PartialEq)]
pub struct Rows {
    pub jobs: BTreeMap<JobId, Row>,
    pub keys: BTreeMap<(QueueName, UniqueKey), JobId>,
    pub records: BTreeMap<String, (u64, Vec<u8>)>,
    /// The last one given out.
    pub sequence: u64,
    pub index: Index,
}

impl Rows {
    /// Makes a change: the same way when it happens and when the log is read.
    pub fn apply(&mut self, entry: Entry) -> Result<Undo, BackendError> {
        Ok(match entry {
            Entry::Put(row) => self.put(row.state.id, Some(*row)),
            Entry::Delete(id) => self.put(id, None),
            Entry::Due(id) => {
                let before = self.set_state(self.row(id)?.state.promoted())?;
                Box::new(move |rows| _ = rows.set_state(before))
            }
            Entry::Step(step) => {
                let id = step.state.id;
                let before = self.set_state(step.state)?;
                let row = self.jobs.get_mut(&id).ok_or_else(|| missing(id))?;
                let output = step.output.map(|output| mem::replace(&mut row.output, output));
                let error = step.error.map(|error| row.error.replace(error));
                row.history.push_back(step.line);
                let surplus = row.history.len().saturating_sub(step.history_max);
                let cut: Vec<_> = row.history.drain(..surplus).collect();
                row.cut += cut.len() as u64;
                Box::new(move |rows| {
                    _ = rows.set_state(before);
                    let Some(row) = rows.jobs.get_mut(&id) else { return };
                    row.output = output.unwrap_or(mem::take(&mut row.output));
                    row.error = error.unwrap_or(row.error.take());
                    row.cut -= cut.len() as u64;
                    cut.into_iter().rev().for_each(|line| row.history.push_front(line));
                    row.history.pop_back();
                })
            }
            Entry::Key(key, holder) => {
                let before = set(&mut self.keys, key.clone(), holder);
                Box::new(move |rows| _ = set(&mut rows.keys, key, before))
            }
            Entry::Record(key, value) => {
                let before = set(&mut self.records, key.clone(), value);
                Box::new(move |rows| _ = set(&mut rows.records, key, before))
            }
            Entry::Sequence(last) => {
                let before = mem::replace(&mut self.sequence, last);
                Box::new(move |rows| rows.sequence = before)
            }
        })
    }

    /// The shortest log that makes these rows.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let jobs = self.jobs.values().map(|row| Entry::Put(Box::new(row.clone())));
        let keys = self.keys.iter().map(|(key, holder)| Entry::Key(key.clone(), Some(*holder)));
        let records = self.records.iter().map(|(key, value)| Entry::Record(key.clone(), Some(value.clone())));
        jobs.chain(keys).chain(records).chain([Entry::Sequence(self.sequence)])
    }

    /// How many entries that log has, about.
    pub fn len(&self) -> usize {
        self.jobs.len() + self.keys.len() + self.records.len()
    }

    /// A job that an index or a caller names, and that has to be there.
    pub fn row(&self, id: JobId) -> Result<&Row, BackendError> {
        self.jobs.get(&id).ok_or_else(|| missing(id))
    }

    /// Makes the index and the counters anew from the jobs, and compares.
    pub fn verify(&self) -> Result<Verified, BackendError> {
        let mut index = Index::default();
        let mut keys = BTreeMap::new();
        for Row { state, .. } in self.jobs.values() {
            index.add(state);
            if let Some(key) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) {
                keys.insert((state.labels.queue.clone(), key.clone()), state.id);
            }
        }
        for (what, fits) in [("the index", index == self.index), ("the unique keys", keys == self.keys)] {
            if !fits {
                return Err(BackendError::corrupted(format!("{what} and the jobs do not fit")));
            }
        }
        let lines = self.jobs.values().map(|row| row.history.len() as u64).sum();
        Ok(Verified::new(self.jobs.len() as u64, lines, index.counts))
    }

    fn put(&mut self, id: JobId, row: Option<Row>) -> Undo {
        if let Some(before) = self.jobs.get(&id) {
            self.index.remove(&before.state);
        }
        if let Some(after) = &row {
            self.index.add(&after.state);
        }
        let before = set(&mut self.jobs, id, row);
        Box::new(move |rows| _ = rows.put(id, before))
    }

    fn set_state(&mut self, state: JobState) -> Result<JobState, BackendError> {
        let row = self.jobs.get_mut(&state.id).ok_or_else(|| missing(state.id))?;
        self.index.remove(&row.state);
        self.index.add(&state);
        Ok(mem::replace(&mut row.state, state))
    }
}

impl Row {
    /// The job with all it carries, where it stands as `state` says.
    pub fn job(&self, state: &JobState, detail: Detail) -> Job {
        if detail == Detail::State {
            return Job::assemble(state, None, Output::none(), None);
        }
        let output = self.output.clone().map_or(Output::none(), |(bytes, how)| Output::new(bytes, how));
        let error = self.error.clone().map(|(message, kind)| LastError { message, kind });
        Job::assemble(state, Some(self.body.clone()), output, error)
    }
}

/// Inserts or removes, and returns what was there.
fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

fn missing(id: JobId) -> BackendError {
    BackendError::corrupted(format!("job {id} is referred to and not there"))
}

/// Jobs that are claimed alike: the same filters take all of them, or none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    suspect: bool,
    kind: Kind,
    tags: TagSet,
}

/// A place in the order of claims.
type Place = ((Priority, Timestamp, u64), JobId);

/// What follows from the jobs' states, and is kept so that it need not be looked for.
#[derive(Default, PartialEq)]
pub struct Index {
    /// Claimable jobs. No queue and no lane is kept without one.
    ready: BTreeMap<QueueName, BTreeMap<Lane, BTreeSet<Place>>>,
    pub held: BTreeSet<JobId>,
    held_suspects: BTreeSet<JobId>,
    /// Jobs that become due, the next one first.
    pub timers: BTreeSet<(Timestamp, JobId)>,
    /// Jobs that expire, the next one first.
    pub deadlines: BTreeSet<(Timestamp, JobId)>,
    pub counts: Counts,
}

impl Index {
    fn add(&mut self, job: &JobState) {
        self.counts.add(job);
        if job.phase() == Phase::Held {
            self.held.insert(job.id);
            if job.is_suspect() {
                self.held_suspects.insert(job.id);
            }
        }
        self.timers.extend(timer(job));
        self.deadlines.extend(deadline(job));
        if job.is_claimable() {
            let lanes = self.ready.entry(job.labels.queue.clone()).or_default();
            lanes.entry(lane(job)).or_default().insert((job.order_key(), job.id));
        }
    }

    fn remove(&mut self, job: &JobState) {
        self.counts.remove(job);
        self.held.remove(&job.id);
        self.held_suspects.remove(&job.id);
        timer(job).map(|timer| self.timers.remove(&timer));
        deadline(job).map(|deadline| self.deadlines.remove(&deadline));
        let queue = &job.labels.queue;
        let Some(lanes) = self.ready.get_mut(queue).filter(|_| job.is_claimable()) else { return };
        let lane = lane(job);
        if let Some(places) = lanes.get_mut(&lane) {
            places.remove(&(job.order_key(), job.id));
            if places.is_empty() {
                lanes.remove(&lane);
            }
        }
        if lanes.is_empty() {
            self.ready.remove(queue);
        }
    }

    /// Queues with jobs that `filter` takes, those after `after` first.
    pub fn ready_queues(
        &self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Vec<QueueName> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.ready.range::<QueueName, _>((start, Bound::Unbounded));
        let earlier = after.map(|after| self.ready.range::<QueueName, _>(..=after));
        let round = later.chain(earlier.into_iter().flatten()).map(|(queue, _)| queue);
        let wanted =
            |queue: &&QueueName| filter.takes_queue(queue) && self.lanes(queue, filter).next().is_some();
        round.filter(wanted).take(limit).cloned().collect()
    }

    /// The first `limit` of the jobs of `queue` that `filter` takes.
    ///
    /// Takes as long as there are lanes (pairs of a kind and a tag set), and not as long as there are jobs.
    pub fn ready(&self, queue: &QueueName, filter: &ClaimFilter, limit: usize) -> Vec<JobId> {
        let suspects = self.lanes(queue, filter).filter(|(lane, _)| lane.suspect);
        let first_suspect = suspects.filter_map(|(_, places)| places.first()).min();
        let others = self.lanes(queue, filter).filter(|(lane, _)| !lane.suspect);
        let mut places: Vec<&Place> = others.flat_map(|(_, places)| places.iter().take(limit)).collect();
        places.extend(first_suspect);
        places.sort_unstable();
        places.into_iter().take(limit).map(|(_, id)| *id).collect()
    }

    /// The lanes of `queue` that `filter` takes. Suspects have none while one is held.
    fn lanes(
        &self,
        queue: &QueueName,
        filter: &ClaimFilter,
    ) -> impl Iterator<Item = (&Lane, &BTreeSet<Place>)> {
        let suspects_wait = !self.held_suspects.is_empty();
        self.ready.get(queue).into_iter().flatten().filter(move |(lane, _)| {
            filter.matches_within_queue(&lane.kind, &lane.tags) && !(lane.suspect && suspects_wait)
        })
    }
}

fn lane(job: &JobState) -> Lane {
    Lane { suspect: job.is_suspect(), kind: job.labels.kind.clone(), tags: job.labels.tags.clone() }
}

/// When a job becomes due. One that waits for something else than a time never does.
fn timer(job: &JobState) -> Option<(Timestamp, JobId)> {
    let waits = job.phase() == Phase::Ready && !job.due && job.run_at != Timestamp::NEVER;
    waits.then_some((job.run_at, job.id))
}

/// When a job expires.
fn deadline(job: &JobState) -> Option<(Timestamp, JobId)> {
    let deadline = job.expires_at.filter(|at| job.awaits_deadline() && *at != Timestamp::NEVER);
    deadline.map(|at| (at, job.id))
}
