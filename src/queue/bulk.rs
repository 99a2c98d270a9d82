//! Actions of operators on many jobs.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    AssigneeId, Batch, Change, Delete, Detail, Filter, Invalid, JobId, Query, Rejected, Status, StatusSet,
    Target,
};

use super::{PoolQueue, SLICE, Select};
use crate::Result;

/// What became of a [`PoolQueue::cancel`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cancelled {
    /// Jobs that will not run, or whose workers were asked to stop.
    pub cancelled: Vec<JobId>,
    /// Jobs that do not exist or are over.
    pub unknown: Vec<JobId>,
}

/// What became of an action on many jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Jobs that were changed.
    pub changed: Vec<JobId>,
    /// Jobs whose status does not allow it, or that do not exist.
    pub skipped: Vec<JobId>,
}

/// How long jobs that are over are kept, by status.
///
/// ```
/// use std::time::Duration;
/// use poolqueue::{Retention, Status};
///
/// let day = Duration::from_secs(86_400);
/// let retention = Retention::new().keep(Status::Completed, day).keep(Status::Dead, 30 * day);
/// # let _ = retention;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    by_status: BTreeMap<Status, Duration>,
}

impl Retention {
    /// Keeps everything.
    pub fn new() -> Self {
        Retention::default()
    }

    /// Keeps jobs of this final status for `span` after their end, more than zero.
    #[must_use]
    pub fn keep(mut self, status: Status, span: Duration) -> Self {
        self.by_status.insert(status, span);
        self
    }
}

/// Actions on many jobs go in transactions of at most 250 jobs each, so that no other caller waits for long: a job
/// that changes in between is judged as it is then. Where one of them fails, those before it stay. A selection without
/// any criterion is [`Error::Invalid`](crate::Error::Invalid), never "everything"; one that matches nothing is no error.
impl PoolQueue {
    /// Asks for jobs not to run. Waiting ones end at once; the workers of running ones are told, and have the last word.
    ///
    /// Cancelling twice is no error: the job is listed as cancelled both times.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn cancel(&self, select: impl Into<Select>) -> Result<Cancelled> {
        let Changed { changed, skipped } = self.act(select.into(), Event::Cancel).await?;
        Ok(Cancelled { cancelled: changed, unknown: skipped })
    }

    /// Sets waiting jobs aside until they are resumed.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn pause(&self, select: impl Into<Select>) -> Result<Changed> {
        self.act(select.into(), Event::Pause).await
    }

    /// Puts paused jobs back where they were.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn resume(&self, select: impl Into<Select>) -> Result<Changed> {
        self.act(select.into(), Event::Resume).await
    }

    /// Starts jobs anew that are over and were not completed: they are due at once, their failures forgotten.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn retry(&self, select: impl Into<Select>) -> Result<Changed> {
        self.act(select.into(), Event::Retry).await
    }

    /// Deletes jobs that are over, all or none in one transaction, and returns their ids.
    ///
    /// # Errors
    /// [`Rejected::NotFinal`] when one of them is not over, [`Rejected::NotFound`] when one named by id does not exist,
    /// [`Error::TooLarge`](crate::Error::TooLarge) when they are more than fit one call (10,000 unless set): then
    /// [`retain`](Self::retain) is the way. What the store reports. In each case nothing was deleted.
    pub async fn delete(&self, select: impl Into<Select>) -> Result<Vec<JobId>> {
        let select = select.into();
        let limit = self.capabilities().limits.batch_jobs;
        let filter = select.for_action()?;
        let ids = self.matching(filter, limit.saturating_add(1)).await?;
        if ids.len() > limit {
            return Err(crate::Error::TooLarge(format!(
                "the selection matches more than the {limit} jobs that can be deleted at once; use retain"
            )));
        }
        let found: HashSet<&JobId> = ids.iter().collect();
        let named = select.named_ids().iter().copied();
        let narrowed_out: Vec<JobId> = named.filter(|id| !found.contains(id)).collect();
        let by_id = Filter { ids: Some(narrowed_out.clone()), ..Filter::default() };
        let there: HashSet<JobId> = self.matching(by_id, narrowed_out.len()).await?.into_iter().collect();
        if let Some(id) = narrowed_out.into_iter().find(|id| !there.contains(id)) {
            return Err(Rejected::NotFound { id }.into());
        }
        if ids.is_empty() {
            return Ok(ids);
        }
        let deletes = ids.iter().map(|id| Delete { id: *id, only_from: None }).collect();
        let receipt =
            self.inner.backend.commit(Batch { deletes, require_all: true, ..Batch::default() }).await?;
        match receipt.first_rejection() {
            Some(rejected) => Err(rejected.clone().into()),
            None => Ok(ids),
        }
    }

    /// Gives up a worker: its streams end here and now, and its jobs are due again, keeping their place.
    ///
    /// Each counts as a crash of the job; at the job's crash limit it is given up. A cancelled job ends as
    /// `UnknownStopped`.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an empty assignee; what the store reports.
    pub async fn lose_worker(&self, assignee: impl AsRef<str>) -> Result<Changed> {
        let assignee = AssigneeId::new(assignee)?;
        let mut streams = self.inner.streams.all();
        streams.retain(|stream| stream.assignee == assignee);
        streams.iter().for_each(|stream| stream.stop_claiming());
        let lost = self.lose_held_by(assignee).await;
        for stream in &streams {
            // What was claimed in this very moment, or could not be given up, is handed back by the sweeper.
            stream.end();
            self.inner.streams.forget(stream);
        }
        lost
    }

    async fn lose_held_by(&self, assignee: AssigneeId) -> Result<Changed> {
        // A group may have reserved places before they were closed. It is committed before this, and found below.
        self.inner.backend.commit(Batch::default()).await?;
        let filter = Filter { assignee: Some(assignee), ..held() };
        self.act_on(filter, Vec::new(), Event::LoseWorker).await
    }

    /// Gives up whoever works on any job: all running jobs are due again, as by [`lose_worker`](Self::lose_worker).
    /// Streams go on.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn reset_running(&self) -> Result<Changed> {
        self.act_on(held(), Vec::new(), Event::LoseWorker).await
    }

    /// Deletes jobs that completed more than `ttl` ago, and returns their ids.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a `ttl` of zero; what the store reports.
    pub async fn cleanup(&self, ttl: Duration) -> Result<Vec<JobId>> {
        if ttl.is_zero() {
            return Err(Invalid::new("ttl", "must be more than zero").into());
        }
        self.retain(&Retention::new().keep(Status::Completed, ttl)).await
    }

    /// Deletes jobs that have been over for longer than `retention` keeps them, once, and returns their ids.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a status that is not final or a span of zero; what the store
    /// reports.
    pub async fn retain(&self, retention: &Retention) -> Result<Vec<JobId>> {
        for (status, span) in &retention.by_status {
            if !status.is_final() {
                return Err(Invalid::new("retention", format!("{status} is not a final status")).into());
            }
            if span.is_zero() {
                return Err(Invalid::new(
                    "retention",
                    format!("the span of {status} must be more than zero"),
                )
                .into());
            }
        }
        let mut deleted = Vec::new();
        for (status, span) in &retention.by_status {
            let only = StatusSet::EMPTY.with(*status);
            let filter =
                Filter { finalized_before: Some(self.now().minus(*span)), ..Filter::with_statuses(only) };
            deleted.extend(self.delete_in_slices(filter, only).await?);
        }
        Ok(deleted)
    }

    async fn delete_in_slices(&self, filter: Filter, only: StatusSet) -> Result<Vec<JobId>> {
        let mut deleted = Vec::new();
        let mut after = None;
        loop {
            let query =
                Query { filter: filter.clone(), after, limit: self.inner.slice(), detail: Detail::State };
            let page = self.inner.backend.select(query).await?;
            let delete = |job: &crate::Job| Delete { id: job.id, only_from: Some(only) };
            let deletes: Vec<Delete> = page.jobs.iter().map(delete).collect();
            if !deletes.is_empty() {
                let receipt = self.inner.backend.commit(Batch { deletes, ..Batch::default() }).await?;
                deleted.extend(receipt.deletes.into_iter().flatten());
            }
            after = page.next;
            if after.is_none() {
                return Ok(deleted);
            }
        }
    }

    /// The ids of up to `limit` jobs that match, ascending.
    async fn matching(&self, filter: Filter, limit: usize) -> Result<Vec<JobId>> {
        let mut ids = Vec::new();
        let mut after = None;
        while ids.len() < limit {
            let page_limit = SLICE.min(limit - ids.len());
            let query = Query { filter: filter.clone(), after, limit: page_limit, detail: Detail::State };
            let page = self.inner.backend.select(query).await?;
            ids.extend(page.jobs.iter().map(|job| job.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(ids)
    }

    async fn act(&self, select: Select, event: Event) -> Result<Changed> {
        let filter = select.for_action()?;
        self.act_on(filter, select.named_ids().to_vec(), event).await
    }

    /// Applies `event` to every job that matches, page by page. Ids named one by one that match nothing are listed as
    /// skipped.
    async fn act_on(&self, filter: Filter, named: Vec<JobId>, event: Event) -> Result<Changed> {
        let mut result = Changed::default();
        let mut seen = HashSet::new();
        let mut after = None;
        loop {
            let query = Query { filter: filter.clone(), after, limit: SLICE, detail: Detail::State };
            let page = self.inner.backend.select(query).await?;
            // A worker is given up by the attempts it was seen to hold: whoever holds a job meanwhile keeps it.
            let target = |job: &crate::Job| match event {
                Event::LoseWorker => Target::Lease(job.lease()),
                _ => Target::Id(job.id),
            };
            let change = |job: &crate::Job| Change {
                target: target(job),
                only_from: filter.statuses,
                event: event.clone(),
            };
            let changes = page.jobs.iter().map(change).collect();
            for (id, verdict) in self.inner.change_in_slices(changes).await? {
                seen.insert(id);
                if verdict.is_ok() { result.changed.push(id) } else { result.skipped.push(id) }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        result.skipped.extend(named.into_iter().filter(|id| seen.insert(*id)));
        Ok(result)
    }
}

/// Every job that is held.
fn held() -> Filter {
    Filter::with_statuses(StatusSet::of_phase(poolqueue_core::Phase::Held))
}
