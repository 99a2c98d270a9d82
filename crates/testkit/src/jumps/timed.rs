//! Jobs that wait for a time, as the rules have them.

use std::collections::BTreeMap;
use std::time::Duration;

use poolqueue_core::{JobId, Status, Timestamp};

/// One job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) status: Status,
    pub(super) attempt: u32,
    pub(super) run_at: Timestamp,
    pub(super) due: bool,
    pub(super) expires_at: Option<Timestamp>,
}

/// All of them, and the time by which they are judged.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) jobs: BTreeMap<JobId, Timed>,
    /// The store's time, and the monotonic one at which it was that.
    pub(super) now: Timestamp,
    monotonic: Duration,
}

impl Expected {
    pub(super) fn new(now: Timestamp, monotonic: Duration) -> Self {
        Expected { jobs: BTreeMap::new(), now, monotonic }
    }

    /// What follows from the clock. A store that was opened anew knows of no earlier time.
    pub(super) fn see(&mut self, clock: Timestamp, monotonic: Duration, opened: bool) {
        let passed = monotonic.saturating_sub(self.monotonic);
        let at_half_pace = self.now.plus(passed / 2);
        self.now = if opened { clock } else { clock.max(at_half_pace) };
        self.monotonic = monotonic;
        for job in self.jobs.values_mut() {
            job.due |= job.run_at <= self.now;
            let waits = job.status == Status::InitialPending;
            if waits && job.expires_at.is_some_and(|deadline| deadline <= self.now) {
                job.status = Status::Dead;
            }
        }
    }

    pub(super) fn insert(&mut self, id: JobId, delay: Duration, expires_after: Option<Duration>) {
        let run_at = self.now.plus(delay);
        let expires_at = expires_after.map(|span| self.now.plus(span));
        let (status, due) = (Status::InitialPending, run_at <= self.now);
        self.jobs.insert(id, Timed { status, attempt: 0, run_at, due, expires_at });
    }

    /// The jobs that a claim has to be given.
    pub(super) fn claimable(&self) -> Vec<JobId> {
        let ready = |job: &Timed| job.due && job.status != Status::Dead;
        self.jobs.iter().filter(|(_, job)| ready(job)).map(|(id, _)| *id).collect()
    }

    /// A claimed job is set down again with this status, and is due after `delay`; `None` leaves it its place.
    pub(super) fn set_down(&mut self, id: JobId, status: Status, delay: Option<Duration>) {
        let now = self.now;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.status = status;
            job.attempt += 1;
            if let Some(delay) = delay {
                job.run_at = now.plus(delay);
                job.due = job.run_at <= now;
            }
        }
    }
}
