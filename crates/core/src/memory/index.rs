use std::collections::{BTreeMap, BTreeSet};

use crate::lifecycle::JobState;
use crate::{BackendError, Counts, JobId, Phase, Priority, QueueName, Timestamp};

/// A job's place among the due jobs of its queue.
pub(super) type Place = (Priority, Timestamp, u64, JobId);

/// Everything that follows from the states of the jobs and is kept only so that it need not be looked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// Jobs that can be claimed, in the order of claims. No queue is kept without one.
    pub(super) ready: BTreeMap<QueueName, BTreeSet<Place>>,
    /// Jobs that wait for their time, the earliest first. Those that wait for something else than a time are
    /// the last, at [`Timestamp::NEVER`].
    pub(super) future: BTreeSet<(Timestamp, u64, JobId)>,
    /// Jobs that wait for their first start under a deadline, the earliest deadline first.
    pub(super) deadlines: BTreeSet<(Timestamp, JobId)>,
    /// Jobs that are held.
    pub(super) held: BTreeSet<JobId>,
    /// Jobs that are held and whose next crash would be their last.
    pub(super) held_suspects: BTreeSet<JobId>,
    /// How many jobs there are.
    pub(super) counts: Counts,
}

impl Indexes {
    /// Enters a job.
    pub(super) fn add(&mut self, job: &JobState) {
        match job.phase() {
            Phase::Ready if job.due => {
                self.ready.entry(job.labels.queue.clone()).or_default().insert(place(job));
            }
            Phase::Ready => {
                self.future.insert((job.run_at, job.sequence, job.id));
            }
            Phase::Held => {
                self.held.insert(job.id);
                if job.is_suspect() {
                    self.held_suspects.insert(job.id);
                }
            }
            Phase::Parked | Phase::Final => {}
        }
        if let Some(deadline) = deadline(job) {
            self.deadlines.insert((deadline, job.id));
        }
        self.counts.add(job);
    }

    /// Takes out a job that was entered in this state.
    pub(super) fn remove(&mut self, job: &JobState) {
        if let Some(places) = self.ready.get_mut(&job.labels.queue) {
            places.remove(&place(job));
            if places.is_empty() {
                self.ready.remove(&job.labels.queue);
            }
        }
        self.future.remove(&(job.run_at, job.sequence, job.id));
        if let Some(deadline) = deadline(job) {
            self.deadlines.remove(&(deadline, job.id));
        }
        self.held.remove(&job.id);
        self.held_suspects.remove(&job.id);
        self.counts.remove(job);
    }

    /// The jobs that wait, due or not.
    pub(super) fn waiting_ids(&self) -> BTreeSet<JobId> {
        let due = self.ready.values().flatten().map(|(_, _, _, id)| *id);
        due.chain(self.future.iter().map(|(_, _, id)| *id)).collect()
    }

    /// `Ok` when these indexes are `derived`, those made anew from the jobs.
    pub(super) fn compare(&self, derived: &Indexes) -> Result<(), BackendError> {
        for queue in self.ready.keys().chain(derived.ready.keys()) {
            let none = BTreeSet::new();
            let kept = self.ready.get(queue).unwrap_or(&none);
            let expected = derived.ready.get(queue).unwrap_or(&none);
            same_set(&format!("due jobs of queue {queue}"), kept, expected)?;
        }
        same_set("jobs not yet due", &self.future, &derived.future)?;
        same_set("deadlines", &self.deadlines, &derived.deadlines)?;
        same_set("held jobs", &self.held, &derived.held)?;
        same_set("held jobs one crash below their limit", &self.held_suspects, &derived.held_suspects)?;
        if self.counts != derived.counts {
            let (kept, expected) = (&self.counts, &derived.counts);
            return Err(BackendError::corrupted(format!("counts are {kept:?}, the jobs make {expected:?}")));
        }
        if self == derived {
            Ok(())
        } else {
            Err(BackendError::corrupted("a queue without due jobs is kept"))
        }
    }
}

fn place(job: &JobState) -> Place {
    let (priority, run_at, sequence) = job.order_key();
    (priority, run_at, sequence, job.id)
}

fn deadline(job: &JobState) -> Option<Timestamp> {
    job.expires_at.filter(|_| job.awaits_deadline())
}

/// Names the first entry that is in one of the sets only.
fn same_set<T: Ord + std::fmt::Debug>(
    what: &str,
    kept: &BTreeSet<T>,
    expected: &BTreeSet<T>,
) -> Result<(), BackendError> {
    match kept.symmetric_difference(expected).next() {
        None => Ok(()),
        Some(entry) if kept.contains(entry) => {
            Err(BackendError::corrupted(format!("the index of {what} has {entry:?}, which no job explains")))
        }
        Some(entry) => Err(BackendError::corrupted(format!("the index of {what} lacks {entry:?}"))),
    }
}
