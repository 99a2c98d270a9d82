//! Finding jobs by a filter, in ascending order of their ids.

use std::collections::BTreeSet;
use std::ops::Bound;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    BackendError, Cursor, Detail, Filter, Job, JobId, Output, Page, Phase, Query, StatusSet, TagFilter,
};
use redb::{AccessGuard, Range, ReadOnlyTable};

use super::{RedbSnapshot, Row};
use crate::codec::{Owner, Part, StoredState, unseal};
use crate::format::{Bytes, Id};
use crate::site::Site;

/// One page.
pub(super) fn page(snapshot: &RedbSnapshot, query: &Query) -> Result<Page, BackendError> {
    let mut page = Page { jobs: Vec::new(), next: None };
    if query.limit == 0 {
        return Ok(page);
    }
    let tables = snapshot.job_tables()?;
    each(snapshot, &query.filter, query.after, |row| {
        // One more match than fits is what tells the last page from the others.
        if page.jobs.len() == query.limit {
            page.next = page.jobs.last().map(|job: &Job| Cursor(job.id));
            return Ok(false);
        }
        page.jobs.push(match query.detail {
            Detail::Full => tables.full(&row)?,
            Detail::State => Job::assemble(&row.state, None, Output::none(), None),
        });
        Ok(true)
    })?;
    Ok(page)
}

/// A filter whose ids can be looked up: a list of thousands is not searched for each of thousands of jobs.
struct Wanted<'a> {
    /// The jobs named by id or by tags; `None` is all.
    named: Option<(BTreeSet<JobId>, Option<&'a TagFilter>)>,
    /// Everything else.
    rest: Filter,
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a Filter) -> Self {
        let ids = || filter.ids.iter().flatten().copied().collect();
        let all = filter.ids.is_none() && filter.tags.is_none();
        Wanted {
            named: (!all).then(|| (ids(), filter.tags.as_ref())),
            rest: Filter { ids: None, tags: None, ..filter.clone() },
        }
    }

    fn matches(&self, job: &JobState) -> bool {
        let named = self.named.as_ref().is_none_or(|(ids, tags)| {
            ids.contains(&job.id) || tags.is_some_and(|tags| tags.matches(&job.labels.tags))
        });
        named && self.rest.matches(job)
    }
}

/// Calls `each` with every job that matches and comes after `after`, until it answers `false`.
pub(super) fn each(
    snapshot: &RedbSnapshot,
    filter: &Filter,
    after: Option<Cursor>,
    each: impl FnMut(Row) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    let held = StatusSet::of_phase(Phase::Held);
    let view = &snapshot.view;
    if let Some(ids) = filter.only_ids() {
        return each_of(snapshot, filter, after, ids.iter().copied().collect(), each);
    }
    if filter.statuses.is_some_and(|statuses| statuses.is_subset(held)) {
        let ids = view.held.keys().chain(view.rising.iter()).copied().collect();
        return each_of(snapshot, filter, after, ids, each);
    }
    scan(snapshot, filter, after, each)
}

/// As [`each`], among these ids.
fn each_of(
    snapshot: &RedbSnapshot,
    filter: &Filter,
    after: Option<Cursor>,
    ids: BTreeSet<JobId>,
    mut each: impl FnMut(Row) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    let tables = snapshot.job_tables()?;
    let wanted = Wanted::new(filter);
    let from = after.map_or(Bound::Unbounded, |Cursor(id)| Bound::Excluded(id));
    for id in ids.range((from, Bound::Unbounded)) {
        if let Some(row) = snapshot.row(&tables, *id)?
            && wanted.matches(&row.state)
            && !each(row)?
        {
            break;
        }
    }
    Ok(())
}

type Item = (AccessGuard<'static, Id>, AccessGuard<'static, Bytes>);

/// One table of states, read in order.
pub(crate) struct States<'a> {
    rows: Option<Range<'static, Id, Bytes>>,
    next: Option<(JobId, Item)>,
    site: &'a Site,
}

impl<'a> States<'a> {
    pub(crate) fn after(
        table: Option<&ReadOnlyTable<Id, Bytes>>,
        after: Option<JobId>,
        site: &'a Site,
    ) -> Result<Self, BackendError> {
        let from = match &after {
            Some(id) => Bound::Excluded(id.as_bytes()),
            None => Bound::Unbounded,
        };
        let rows = match table {
            Some(table) => {
                let range = table.range::<&[u8; 16]>((from, Bound::Unbounded));
                Some(range.map_err(|error| site.engine("read states", error))?)
            }
            None => None,
        };
        let mut states = States { rows, next: None, site };
        states.advance()?;
        Ok(states)
    }

    pub(crate) fn id(&self) -> Option<JobId> {
        self.next.as_ref().map(|(id, _)| *id)
    }

    /// The row that was next.
    pub(crate) fn take(&mut self) -> Result<Option<(JobId, Item)>, BackendError> {
        let taken = self.next.take();
        self.advance()?;
        Ok(taken)
    }

    fn advance(&mut self) -> Result<(), BackendError> {
        let Some(item) = self.rows.as_mut().and_then(Iterator::next) else { return Ok(()) };
        let item = item.map_err(|error| self.site.engine("read states", error))?;
        self.next = Some((JobId::from_bytes(*item.0.value()), item));
        Ok(())
    }
}

/// As [`each`], among all jobs: both tables at once, as far as the filter's statuses ask for them.
fn scan(
    snapshot: &RedbSnapshot,
    filter: &Filter,
    after: Option<Cursor>,
    mut each: impl FnMut(Row) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    let site = snapshot.site();
    let tables = snapshot.job_tables()?;
    let wanted = Wanted::new(filter);
    let finals = StatusSet::of_phase(Phase::Final);
    let statuses = filter.statuses.unwrap_or(StatusSet::ALL);
    let wants_live = !statuses.is_subset(finals);
    let wants_done = finals.iter().any(|status| statuses.contains(status));
    let after = after.map(|Cursor(id)| id);
    let mut live = States::after(tables.live.as_ref().filter(|_| wants_live), after, site)?;
    let mut done = States::after(tables.done.as_ref().filter(|_| wants_done), after, site)?;
    loop {
        let is_final = match (live.id(), done.id()) {
            (None, None) => return Ok(()),
            (Some(live), Some(done)) => done < live,
            (live, _) => live.is_none(),
        };
        let rows = if is_final { &mut done } else { &mut live };
        let Some((id, (_, value))) = rows.take()? else { return Ok(()) };
        let stored: StoredState<'_> = unseal(Owner::new(Part::State, id.as_bytes()), value.value())
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        // Most rows that do not match can be told by their status, without the rest being put together.
        if stored.status().is_ok_and(|status| !filter.takes_status(status)) {
            continue;
        }
        let row = snapshot.decode(id, &stored, is_final)?;
        if wanted.matches(&row.state) && !each(row)? {
            return Ok(());
        }
    }
}
