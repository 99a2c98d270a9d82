//! What is done to a store: drawn from the seed and from what the model holds.

use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{
    Detail, Failure, Filter, Job, JobId, NewJob, Output, Phase, Query, QueueName, Reader, Snapshot, Status,
    Store, Timestamp,
};

use super::step::{Group, Step};

pub(super) const RECORDS: [&str; 3] = ["one", "two", "three"];
pub(super) const QUEUES: [&str; 3] = ["mail", "bulk", "reports"];
pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];

/// What the clock shows at first.
const START: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);
/// Jobs there are at once, about.
const JOBS_MAX: usize = 16;
/// After so many groups large jobs come, so that the file has to grow, …
const TIDE_GROUPS: u64 = 50;
/// … in so many groups, …
const FLOOD_GROUPS: u64 = 3;
/// … and after so many more they go, so that it may shrink.
const EBB_GROUPS: u64 = 2;

/// What comes next.
#[derive(Debug)]
pub(super) struct World {
    random: fastrand::Rng,
    now: Timestamp,
    groups: u64,
    ids: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        World { random: fastrand::Rng::with_seed(seed), now: START, groups: 0, ids: 0 }
    }

    pub(super) fn rolls_back(&mut self) -> bool {
        self.random.u8(..8) == 0
    }

    /// The next group: one step mostly, or many.
    pub(super) fn group(&mut self, model: &MemoryStore) -> Group {
        self.now = self.now.plus(Duration::from_micros(self.random.u64(..2_000)));
        self.groups += 1;
        let jobs = jobs(model);
        let tide = self.groups % TIDE_GROUPS;
        let steps = if tide < FLOOD_GROUPS {
            (0..3).map(|_| self.large()).collect()
        } else if tide == FLOOD_GROUPS + EBB_GROUPS {
            ebb(&jobs)
        } else {
            let many = if self.random.u8(..2) == 0 { 1 } else { self.random.usize(2..9) };
            (0..many).map(|_| self.step(&jobs)).collect()
        };
        Group { now: self.now, steps }
    }

    fn step(&mut self, jobs: &[Job]) -> Step {
        let full = jobs.len() >= JOBS_MAX;
        match self.random.u8(..20) {
            0..6 if full => self.retention(jobs),
            0..6 => Step::Insert(Box::new(self.job())),
            6..9 => Step::Claim(self.queue(), self.random.usize(1..5)),
            9..15 => self.change(jobs),
            15 => Step::Promote(self.random.usize(1..9)),
            16 => Step::Expire,
            17 => self.retention(jobs),
            _ => {
                let value = vec![self.random.u8(..); self.random.usize(..300)];
                let key = RECORDS[self.random.usize(..RECORDS.len())];
                Step::Record(key, (self.random.u8(..4) > 0).then_some(value))
            }
        }
    }

    /// Deletes jobs as retention does: a batch of those that have been over for longest.
    fn retention(&mut self, jobs: &[Job]) -> Step {
        let mut over: Vec<&Job> = jobs.iter().filter(|job| job.status.is_final()).collect();
        over.sort_by_key(|job| job.finalized_at);
        let batch = self.random.usize(1..17);
        Step::Delete(over.into_iter().take(batch).map(|job| job.id).collect())
    }

    fn queue(&mut self) -> QueueName {
        QueueName::new(QUEUES[self.random.usize(..QUEUES.len())]).expect("a valid name")
    }

    /// Mostly in the order of time, as ids are made; some out of it.
    fn id(&mut self) -> JobId {
        self.ids += 1;
        let mut bytes = [0; 16];
        let high = if self.random.u8(..4) == 0 { self.random.u64(..1 << 20) } else { self.ids };
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&self.ids.to_be_bytes());
        JobId::from_bytes(bytes)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.random.u8(..20) {
            0 => self.random.usize(2_000..9_000),
            1..4 => self.random.usize(200..2_000),
            _ => self.random.usize(..200),
        };
        vec![self.random.u8(..); len]
    }

    fn job(&mut self) -> NewJob {
        let kind = format!("kind-{}", self.random.u8(..3));
        let mut job = NewJob::new(kind, self.bytes())
            .id(self.id())
            .queue(QUEUES[self.random.usize(..QUEUES.len())])
            .tags(
                (0..self.random.usize(..3)).map(|_| format!("t{}", self.random.u8(..4))).collect::<Vec<_>>(),
            )
            .priority(self.random.i16(-1..=1))
            .crash_limit(self.random.u32(1..4));
        if self.random.u8(..4) == 0 {
            job = job.run_after(Duration::from_micros(self.random.u64(..20_000)));
        }
        if self.random.u8(..5) == 0 {
            job = job.expires_after(Duration::from_micros(self.random.u64(1..40_000)));
        }
        if self.random.u8(..4) == 0 {
            job = job.unique(KEYS[self.random.usize(..KEYS.len())]);
        }
        if self.random.u8(..4) == 0 {
            job = job.meta("note", "n".repeat(self.random.usize(..60))).max_attempts(3);
        }
        job
    }

    /// A job that takes a lot of room, and is cancelled before it is ever claimed.
    fn large(&mut self) -> Step {
        let payload = vec![self.random.u8(..); self.random.usize(15_000..45_000)];
        let job = NewJob::new(LARGE, payload).id(self.id()).queue("bulk").run_after(Duration::from_hours(1));
        Step::Insert(Box::new(job))
    }

    fn change(&mut self, jobs: &[Job]) -> Step {
        // Held jobs first: otherwise most of what happens would be refused.
        let held: Vec<&Job> = jobs.iter().filter(|job| job.status.phase() == Phase::Held).collect();
        let job = match (held.is_empty() || self.random.u8(..3) == 0, jobs.is_empty()) {
            (_, true) => return Step::Promote(1),
            (true, false) => &jobs[self.random.usize(..jobs.len())],
            (false, false) => held[self.random.usize(..held.len())],
        };
        let event = self.event(job.status);
        Step::Change(job.id, event)
    }

    fn event(&mut self, status: Status) -> Event {
        let message = "m".repeat(self.random.usize(..80));
        match (status.phase(), self.random.u8(..10)) {
            _ if status == Status::Cancelling => {
                Event::AcknowledgeCancel { was_executing: self.random.bool(), message }
            }
            (Phase::Held, 0..4) => Event::Complete { output: Output::from(self.bytes()) },
            (Phase::Held, 4) => Event::Complete { output: Output::none() },
            (Phase::Held, 5) => {
                let failure = Failure::new("no luck").retry_after(Duration::from_micros(500));
                Event::FailRetry { failure, random: self.random.u64(..) }
            }
            (Phase::Held, 6) => Event::LoseWorker,
            (Phase::Held, 7) => Event::Cancel,
            (Phase::Held, 8) => Event::Release,
            (Phase::Held, _) => Event::Suspend { until: self.now.plus(Duration::from_micros(3_000)) },
            (Phase::Ready, 0..3) => Event::Pause,
            (Phase::Ready, 3..6) => Event::Cancel,
            (Phase::Ready, _) => Event::Stop { message },
            (Phase::Parked, _) => Event::Resume,
            (Phase::Final, 0..5) => Event::Retry,
            (Phase::Final, _) => Event::Complete { output: Output::from(self.bytes()) },
        }
    }
}

/// The kind of the jobs that take a lot of room.
const LARGE: &str = "large";

/// Every large job is cancelled and deleted.
fn ebb(jobs: &[Job]) -> Vec<Step> {
    let large: Vec<JobId> = jobs.iter().filter(|job| job.kind.as_str() == LARGE).map(|job| job.id).collect();
    let cancel = large.iter().map(|id| Step::Change(*id, Event::Cancel));
    cancel.chain([Step::Delete(large.clone())]).collect()
}

fn jobs(model: &MemoryStore) -> Vec<Job> {
    let everything = Query { filter: Filter::everything(), after: None, limit: 1_000, detail: Detail::State };
    let snapshot = model.reader().snapshot();
    snapshot.and_then(|snapshot| snapshot.select(&everything)).map(|page| page.jobs).unwrap_or_default()
}
