//! What can be asked of a queue.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use poolqueue_core::{
    AssigneeId, Counts, Cursor, Detail, Filter, HistoryEntry, Invalid, Job, JobId, Phase, Rejected, Status,
    StatusSet,
};

use super::stream::StreamCore;
use super::{Answer, PoolQueue, Select};
use crate::Result;

/// Jobs on a page, at most.
const PAGE_MAX: usize = 10_000;

/// A list to be read page by page, in ascending order of id (which, for generated ids, is the order of enqueues).
#[derive(Clone, Debug)]
#[must_use = "a query does nothing by itself"]
pub struct Query {
    select: Select,
    after: Option<Cursor>,
    limit: usize,
}

impl Query {
    /// The jobs of this selection; without any criterion, all jobs. Pages of 100.
    pub fn new(select: impl Into<Select>) -> Self {
        Query { select: select.into(), after: None, limit: 100 }
    }

    /// Goes on where a page ended.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Jobs on a page, 1 to 10,000. Default 100.
    pub fn limit(mut self, jobs: usize) -> Self {
        self.limit = jobs;
        self
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The jobs, in ascending order of id.
    pub jobs: Vec<Job>,
    /// Where the next page starts; `None` when this was the last.
    pub next: Option<Cursor>,
}

/// How many jobs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// All jobs.
    pub total: u64,
    /// Never claimed.
    pub pending: u64,
    /// Running.
    pub running: u64,
    /// Asked to stop and not yet answered.
    pub cancelling: u64,
    /// Waiting for a time or a signal.
    pub waiting: u64,
    /// Set aside.
    pub paused: u64,
    /// To be tried again, after a failure or a lost worker.
    pub failed: u64,
    /// Done.
    pub completed: u64,
    /// Stopped, before or after they were started, or with their worker unknown.
    pub stopped: u64,
    /// Given up.
    pub dead: u64,
    /// The sum of the jobs' retry counts.
    pub total_retries: u64,
}

impl From<&Counts> for Stats {
    fn from(counts: &Counts) -> Self {
        let of = |status| counts.of(status);
        Stats {
            total: counts.total(),
            pending: of(Status::InitialPending),
            running: of(Status::Running),
            cancelling: of(Status::Cancelling),
            waiting: of(Status::Waiting),
            paused: of(Status::Paused),
            failed: of(Status::FailedRetry) + of(Status::UnknownRetry),
            completed: of(Status::Completed),
            stopped: of(Status::Stopped) + of(Status::Unscheduled) + of(Status::UnknownStopped),
            dead: of(Status::Dead),
            total_retries: counts.retries,
        }
    }
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// One entry for each step, oldest first.
    pub entries: Vec<HistoryEntry>,
    /// Older entries that were cut.
    pub cut: u64,
}

/// Why a job is not running, or that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Explanation {
    /// It is running, or asked to stop.
    Held {
        /// By whom.
        assignee: Option<AssigneeId>,
        /// Whether it was asked to stop.
        cancelling: bool,
    },
    /// It is over.
    Over {
        /// How it ended.
        status: Status,
    },
    /// It was set aside.
    Paused,
    /// Its time has not come.
    NotDue {
        /// When it comes; `None` when it waits for something else than a time.
        run_at: Option<DateTime<Utc>>,
    },
    /// It is due, and no open stream of this handle would take it.
    NoStream,
    /// It is due, and every stream that would take it is full.
    StreamsFull {
        /// Streams that would take it.
        streams: usize,
        /// Jobs that are ready or waiting in its queue, itself included.
        waiting: u64,
    },
    /// It is due, and a stream has room: it is about to be claimed, or waits for a job that may end its process.
    Due {
        /// Streams that would take it.
        streams: usize,
    },
}

/// Reads see everything that was acknowledged before they began, and do not wait for the writer.
impl PoolQueue {
    /// A job, if there is one with this id.
    ///
    /// # Errors
    /// [`BackendErrorKind::Corrupted`](crate::BackendErrorKind::Corrupted) naming the job whose record is damaged; what
    /// the store reports.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>> {
        Ok(self.inner.backend.get(vec![id]).await?.into_iter().next().flatten())
    }

    /// Jobs by id, in the order of the ids; `None` for those that do not exist.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_all(&self, ids: impl IntoIterator<Item = JobId>) -> Answer<'_, Vec<Option<Job>>> {
        let ids = ids.into_iter().collect();
        Box::pin(async move { Ok(self.inner.backend.get(ids).await?) })
    }

    /// One page of a list.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a limit outside 1 to 10,000 or a name that cannot be; otherwise as
    /// [`get`](Self::get).
    pub async fn list(&self, query: Query) -> Result<Page> {
        if query.limit == 0 || query.limit > PAGE_MAX {
            return Err(Invalid::new("limit", format!("must be 1 to {PAGE_MAX}")).into());
        }
        let filter = query.select.for_reading()?;
        let query =
            poolqueue_core::Query { filter, after: query.after, limit: query.limit, detail: Detail::Full };
        let page = self.inner.backend.select(query).await?;
        Ok(Page { jobs: page.jobs, next: page.next })
    }

    /// How many jobs there are of each status; without any criterion, of all jobs, and then at no cost.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn stats(&self, select: impl Into<Select>) -> Result<Stats> {
        let filter = select.into().for_reading()?;
        Ok(Stats::from(&self.inner.backend.count(filter).await?))
    }

    /// What happened to a job.
    ///
    /// # Errors
    /// [`Rejected::NotFound`]; otherwise as [`get`](Self::get).
    pub async fn history(&self, id: JobId) -> Result<History> {
        match self.inner.backend.history(id).await? {
            Some((entries, cut)) => Ok(History { entries, cut }),
            None => Err(Rejected::NotFound { id }.into()),
        }
    }

    /// Why a job is not running. A snapshot: it may be running by the time the answer is read.
    ///
    /// # Errors
    /// [`Rejected::NotFound`]; otherwise as [`get`](Self::get).
    pub async fn explain(&self, id: JobId) -> Result<Explanation> {
        let Some(job) = self.get(id).await? else { return Err(Rejected::NotFound { id }.into()) };
        match job.status.phase() {
            Phase::Held => {
                let cancelling = job.status == Status::Cancelling;
                Ok(Explanation::Held { assignee: job.assignee, cancelling })
            }
            Phase::Parked => Ok(Explanation::Paused),
            Phase::Final => Ok(Explanation::Over { status: job.status }),
            Phase::Ready => self.explain_ready(&job).await,
        }
    }

    async fn explain_ready(&self, job: &Job) -> Result<Explanation> {
        let now = self.now().to_datetime();
        if job.run_at.is_none() || job.run_at > now {
            return Ok(Explanation::NotDue { run_at: job.run_at });
        }
        let labels = job.labels();
        let streams = self.inner.streams.open();
        let takes =
            |stream: &&Arc<StreamCore>| !stream.stopped().is_cancelled() && stream.filter.matches(&labels);
        let takers: Vec<_> = streams.iter().filter(takes).collect();
        if takers.is_empty() {
            return Ok(Explanation::NoStream);
        }
        if takers.iter().any(|stream| stream.slots.free() > 0) {
            return Ok(Explanation::Due { streams: takers.len() });
        }
        let filter = Filter {
            queues: Some(vec![job.queue.clone()]),
            ..Filter::with_statuses(StatusSet::of_phase(Phase::Ready))
        };
        let waiting = self.inner.backend.count(filter).await?.total();
        Ok(Explanation::StreamsFull { streams: takers.len(), waiting })
    }
}
