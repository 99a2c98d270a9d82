use poolqueue_core::{Filter, Invalid, JobId, Kind, QueueName, Status, StatusSet, Tags};

use crate::Result;

/// Names jobs for an action or a list.
///
/// Jobs named by id or by tags (a job named by either is in), then narrowed, all of them, by kind, queue and status.
///
/// ```
/// use poolqueue::{Select, Status};
///
/// let failed_mails = Select::tags(["mail"]).status(Status::FailedRetry);
/// let everything = Select::all();
/// # let _ = (failed_mails, everything);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a selection does nothing by itself"]
pub struct Select {
    all: bool,
    ids: Option<Vec<JobId>>,
    tags: Option<Tags>,
    kinds: Vec<String>,
    queues: Vec<String>,
    statuses: Option<StatusSet>,
}

impl Select {
    /// Without any criterion. Everything to [`stats`](crate::PoolQueue::stats) and lists, refused by actions.
    pub fn new() -> Self {
        Select::default()
    }

    /// Every job.
    pub fn all() -> Self {
        Select { all: true, ..Select::default() }
    }

    /// The job with this id.
    pub fn id(id: JobId) -> Self {
        Select::ids([id])
    }

    /// The jobs with these ids.
    pub fn ids(ids: impl IntoIterator<Item = JobId>) -> Self {
        Select::default().or_ids(ids)
    }

    /// The jobs that have all of these tags. No tags at all is no criterion.
    pub fn tags<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Self {
        Select::matching(Tags::all(tags))
    }

    /// The jobs whose tags match.
    pub fn matching(tags: Tags) -> Self {
        Select { tags: Some(tags), ..Select::default() }
    }

    /// And the jobs with these ids, whatever their tags.
    pub fn or_ids(mut self, ids: impl IntoIterator<Item = JobId>) -> Self {
        self.ids.get_or_insert_default().extend(ids);
        self
    }

    /// Only jobs of this kind; repeated, of any of them.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Only jobs of this queue; repeated, of any of them.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Only jobs of this status; repeated, of any of them.
    pub fn status(mut self, status: Status) -> Self {
        self.statuses = Some(self.statuses.unwrap_or_default().with(status));
        self
    }

    /// The ids named one by one.
    pub(super) fn named_ids(&self) -> &[JobId] {
        self.ids.as_deref().unwrap_or_default()
    }

    /// The filter for a read: no criterion is every job.
    pub(super) fn for_reading(&self) -> Result<Filter> {
        let tags = self.tags.as_ref().map(Tags::checked).transpose()?.filter(|tags| !tags.is_empty());
        let kinds = self.kinds.iter().map(Kind::new).collect::<std::result::Result<Vec<_>, _>>()?;
        let queues = self.queues.iter().map(QueueName::new).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(Filter {
            ids: self.ids.clone(),
            tags,
            kinds: (!kinds.is_empty()).then_some(kinds),
            queues: (!queues.is_empty()).then_some(queues),
            statuses: self.statuses,
            assignee: None,
            finalized_before: None,
        })
    }

    /// The filter for an action: no criterion is refused.
    pub(super) fn for_action(&self) -> Result<Filter> {
        let filter = self.for_reading()?;
        if filter.is_everything() && !self.all {
            return Err(Invalid::new("select", "has no criterion; everything is Select::all()").into());
        }
        Ok(filter)
    }
}

impl From<JobId> for Select {
    fn from(id: JobId) -> Self {
        Select::id(id)
    }
}
