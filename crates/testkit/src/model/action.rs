use std::time::Duration;

use poolqueue::JobId;
use poolqueue::StatusSet;
use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{ClaimFilter, Delete, Filter, Insert, RecordPut};

/// Something done to both stores.
#[derive(Clone, Debug)]
pub enum Action {
    /// One batch.
    Commit {
        /// New jobs.
        inserts: Vec<Insert>,
        /// Changes.
        changes: Vec<Asked>,
        /// Deletions.
        deletes: Vec<Delete>,
        /// Records.
        records: Vec<RecordPut>,
        /// Whether one rejection leaves the whole batch unapplied.
        require_all: bool,
    },
    /// One call with several claims that do not wait: for each the number of its stream and its filter.
    Claim(Vec<(usize, ClaimFilter)>),
    /// A list, read in pages of this size, and its count.
    Read {
        /// What is listed.
        filter: Filter,
        /// Jobs on a page.
        limit: usize,
    },
    /// Time passes.
    Advance(Duration),
    /// The time of day is set this many seconds forward or back.
    Jump(i64),
    /// A stream gets another capacity.
    Capacity {
        /// The stream.
        stream: usize,
        /// Its places from now on.
        places: usize,
    },
    /// The store is closed and opened again, and the jobs that were held lose their workers.
    Reopen,
}

/// A change that is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The job.
    pub id: JobId,
    /// How the job is named.
    pub by: By,
    /// The statuses it is only asked for.
    pub only_from: Option<StatusSet>,
    /// What is to happen.
    pub what: What,
}

/// How a job is named.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// By its bare id.
    Id,
    /// By the lease of the attempt this many before its current one.
    Lease(u32),
}

/// What is to happen to a job.
#[derive(Clone, Debug)]
pub enum What {
    /// This.
    Event(Event),
    /// A suspension of this length; `None` is for ever.
    Suspend(Option<Duration>),
}
