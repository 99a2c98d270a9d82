use std::collections::BTreeMap;

use crate::lifecycle::JobState;
use crate::{
    AssigneeId, Invalid, Job, JobId, Kind, Labels, QueueName, Status, StatusSet, Tag, TagSet, Timestamp,
};

/// Which tag sets are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Every one of these must be there.
    pub(crate) all: Vec<String>,
    /// At least one of these must be there, unless there are none.
    pub(crate) any: Vec<String>,
    /// None of these may be there.
    pub(crate) none: Vec<String>,
}

fn texts<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Vec<String> {
    tags.into_iter().map(Into::into).collect()
}

impl Tags {
    /// Jobs that have all of these tags.
    pub fn all<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Self {
        Tags { all: texts(tags), ..Tags::default() }
    }

    /// And that have at least one of these tags.
    #[must_use]
    pub fn any<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.any.extend(texts(tags));
        self
    }

    /// And that have none of these tags.
    #[must_use]
    pub fn none<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.none.extend(texts(tags));
        self
    }

    /// The filter with its tags checked.
    ///
    /// # Errors
    /// [`Invalid`] when one of them cannot be a tag.
    pub fn checked(&self) -> Result<TagFilter, Invalid> {
        let set = |tags: &[String]| tags.iter().map(Tag::new).collect::<Result<TagSet, Invalid>>();
        Ok(TagFilter { all: set(&self.all)?, any: set(&self.any)?, none: set(&self.none)? })
    }
}

/// Which tag sets match. Empty parts ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TagFilter {
    /// Every one of these must be there.
    pub all: TagSet,
    /// At least one of these must be there.
    pub any: TagSet,
    /// None of these may be there.
    pub none: TagSet,
}

impl TagFilter {
    /// Whether `tags` match.
    pub fn matches(&self, tags: &TagSet) -> bool {
        self.all.iter().all(|tag| tags.contains(tag))
            && (self.any.is_empty() || self.any.iter().any(|tag| tags.contains(tag)))
            && !self.none.iter().any(|tag| tags.contains(tag))
    }

    /// Whether every tag set matches.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty() && self.none.is_empty()
    }
}

/// Which jobs a claim may take, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClaimFilter {
    /// The queues, taken in turn; `None` is every queue.
    pub queues: Option<Vec<QueueName>>,
    /// The kinds; `None` is every kind.
    pub kinds: Option<Vec<Kind>>,
    /// The tags.
    pub tags: TagFilter,
}

impl ClaimFilter {
    /// Whether jobs with these labels may be taken.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.takes_queue(&labels.queue) && self.matches_within_queue(&labels.kind, &labels.tags)
    }

    /// Whether jobs of this queue may be taken.
    pub fn takes_queue(&self, queue: &QueueName) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.contains(queue))
    }

    /// Whether jobs of this kind and with these tags may be taken, whatever their queue.
    pub fn matches_within_queue(&self, kind: &Kind, tags: &TagSet) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind)) && self.tags.matches(tags)
    }
}

/// Which jobs a read or a bulk action is about.
///
/// The jobs named by id or by tags (either will do), narrowed by everything else. With neither ids nor tags it
/// starts from every job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Jobs with these ids.
    pub ids: Option<Vec<JobId>>,
    /// Jobs with these tags.
    pub tags: Option<TagFilter>,
    /// Only these kinds.
    pub kinds: Option<Vec<Kind>>,
    /// Only these queues.
    pub queues: Option<Vec<QueueName>>,
    /// Only these statuses.
    pub statuses: Option<StatusSet>,
    /// Only jobs that this assignee holds or held last.
    pub assignee: Option<AssigneeId>,
    /// Only jobs that ended before this time.
    pub finalized_before: Option<Timestamp>,
}

impl Filter {
    /// The filter of every job.
    pub fn everything() -> Self {
        Filter::default()
    }

    /// Jobs of these statuses.
    pub fn with_statuses(statuses: StatusSet) -> Self {
        Filter { statuses: Some(statuses), ..Filter::default() }
    }

    /// Whether the filter is about every job.
    pub fn is_everything(&self) -> bool {
        *self == Filter::default()
    }

    /// The only jobs that can match, when the filter names them all by id.
    pub fn only_ids(&self) -> Option<&[JobId]> {
        if self.tags.is_none() { self.ids.as_deref() } else { None }
    }

    /// Whether jobs of this status can match.
    pub fn takes_status(&self, status: Status) -> bool {
        self.statuses.is_none_or(|statuses| statuses.contains(status))
    }

    /// Whether `job` matches.
    pub fn matches(&self, job: &JobState) -> bool {
        let named = match (&self.ids, &self.tags) {
            (None, None) => true,
            (ids, tags) => {
                ids.as_ref().is_some_and(|ids| ids.contains(&job.id))
                    || tags.as_ref().is_some_and(|tags| tags.matches(&job.labels.tags))
            }
        };
        named
            && self.takes_status(job.status)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&job.labels.kind))
            && self.queues.as_ref().is_none_or(|queues| queues.contains(&job.labels.queue))
            && self.assignee.as_ref().is_none_or(|assignee| job.assignee.as_ref() == Some(assignee))
            && self.finalized_before.is_none_or(|limit| job.finalized_at.is_some_and(|at| at < limit))
    }
}

/// How much of each job a query returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What the state holds. What the body and the outcome hold is left empty: payload, content type, metadata,
    /// timeout, last error, output.
    State,
    /// Everything.
    Full,
}

/// Where a page ends: hand it in to get the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(pub JobId);

/// One page of a list of jobs, in ascending order of id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which jobs.
    pub filter: Filter,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// How many jobs at most.
    pub limit: usize,
    /// How much of each job.
    pub detail: Detail,
}

/// One page of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The jobs, in ascending order of id.
    pub jobs: Vec<Job>,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<Cursor>,
}

/// How many jobs there are of each status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_status: BTreeMap<Status, u64>,
    /// The sum of the jobs' `retry_count`.
    pub retries: u64,
}

impl Counts {
    /// How many jobs have this status.
    pub fn of(&self, status: Status) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }

    /// How many jobs there are.
    pub fn total(&self) -> u64 {
        self.by_status.values().sum()
    }

    /// Counts one more job.
    pub fn add(&mut self, job: &JobState) {
        *self.by_status.entry(job.status).or_default() += 1;
        self.retries = self.retries.saturating_add(u64::from(job.retry_count));
    }

    /// Counts one job less. A job that was never counted is ignored.
    pub fn remove(&mut self, job: &JobState) {
        if let Some(count) = self.by_status.get_mut(&job.status) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_status.remove(&job.status);
            }
        }
        self.retries = self.retries.saturating_sub(u64::from(job.retry_count));
    }

    /// Sets the number of jobs of one status.
    pub fn set(&mut self, status: Status, count: u64) {
        if count == 0 {
            self.by_status.remove(&status);
        } else {
            self.by_status.insert(status, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[&str]) -> TagSet {
        tags.iter().filter_map(|t| Tag::new(t).ok()).collect()
    }

    #[test]
    fn tag_filters_ask_for_all_any_and_none() {
        let filter = Tags::all(["a"]).any(["b", "c"]).none(["x"]).checked().unwrap();
        let cases = [
            (&["a", "b"][..], true),
            (&["a", "c", "z"], true),
            (&["a"], false),
            (&["b"], false),
            (&["a", "b", "x"], false),
        ];
        for (given, expected) in cases {
            assert_eq!(filter.matches(&tags(given)), expected, "{given:?}");
        }
        assert!(TagFilter::default().matches(&tags(&[])));
        assert!(Tags::all([""]).checked().is_err());
    }
}
