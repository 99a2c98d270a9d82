use poolqueue_core::{Counts, Status};

/// Jobs and their retries by status: what [`Counts`] is made of, in a form that is copied for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    jobs: [u64; Status::ALL.len()],
    retries: [u64; Status::ALL.len()],
}

impl Tally {
    pub(crate) fn of(&self, status: Status) -> (u64, u64) {
        let at = usize::from(status.code());
        let read = |numbers: &[u64]| numbers.get(at).copied().unwrap_or(0);
        (read(&self.jobs), read(&self.retries))
    }

    pub(crate) fn set(&mut self, status: Status, jobs: u64, retries: u64) {
        let at = usize::from(status.code());
        if let (Some(own_jobs), Some(own_retries)) = (self.jobs.get_mut(at), self.retries.get_mut(at)) {
            *own_jobs = jobs;
            *own_retries = retries;
        }
    }

    pub(crate) fn add(&mut self, status: Status, retries: u32) {
        let (jobs, sum) = self.of(status);
        self.set(status, jobs.saturating_add(1), sum.saturating_add(retries.into()));
    }

    pub(crate) fn remove(&mut self, status: Status, retries: u32) {
        let (jobs, sum) = self.of(status);
        self.set(status, jobs.saturating_sub(1), sum.saturating_sub(retries.into()));
    }

    /// Both tallies as one.
    pub(crate) fn plus(&self, other: &Tally) -> Tally {
        let mut sum = *self;
        for status in Status::ALL {
            let ((jobs, retries), (more_jobs, more_retries)) = (self.of(*status), other.of(*status));
            sum.set(*status, jobs.saturating_add(more_jobs), retries.saturating_add(more_retries));
        }
        sum
    }

    /// The counts of the statuses that `takes` picks.
    pub(crate) fn counts(&self, takes: impl Fn(Status) -> bool) -> Counts {
        let mut counts = Counts::default();
        for status in Status::ALL.iter().copied().filter(|status| takes(*status)) {
            let (jobs, retries) = self.of(status);
            counts.set(status, jobs);
            counts.retries = counts.retries.saturating_add(retries);
        }
        counts
    }
}
