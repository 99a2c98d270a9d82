//! Finding jobs by a filter, in ascending order of their ids.

use std::collections::BTreeSet;
use std::ops::Bound;

use poolqueue_core::{
    BackendError, Cursor, Detail, Filter, Job, JobId, Output, Page, Phase, Query, Status, StatusSet,
    Timestamp,
};
use rusqlite::{Connection, Row, params};

use crate::codec::{Stored, StoredRow};

use super::SqliteSnapshot;

/// Jobs that are looked up one by one rather than found by reading all.
const FEW: u32 = 2_000;
/// The place of the column `status` in a row of jobs.
const STATUS: usize = 12;

/// One page.
pub(super) fn page(
    snapshot: &SqliteSnapshot,
    conn: &Connection,
    query: &Query,
) -> Result<Page, BackendError> {
    let mut page = Page { jobs: Vec::new(), next: None };
    if query.limit == 0 {
        return Ok(page);
    }
    each(snapshot, conn, &query.filter, query.after, |stored| {
        // One more match than fits is what tells the last page from the others.
        if page.jobs.len() == query.limit {
            page.next = page.jobs.last().map(|job: &Job| Cursor(job.id));
            return Ok(false);
        }
        page.jobs.push(match query.detail {
            Detail::Full => snapshot.full(conn, &stored)?,
            Detail::State => Job::assemble(&stored.state, None, Output::none(), None),
        });
        Ok(true)
    })?;
    Ok(page)
}

/// Calls `each` with every job that matches and comes after `after`, until it answers `false`.
pub(super) fn each(
    snapshot: &SqliteSnapshot,
    conn: &Connection,
    filter: &Filter,
    after: Option<Cursor>,
    mut each: impl FnMut(Stored) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    if let Some(ids) = filter.only_ids() {
        // Each of these is named by its id: looking it up in the list once more would cost a factor.
        let narrowed = Filter { ids: None, ..filter.clone() };
        return each_of(snapshot, conn, &narrowed, after, ids.iter().copied().collect(), each);
    }
    let held = StatusSet::of_phase(Phase::Held);
    if filter.statuses.is_some_and(|statuses| statuses.is_subset(held)) {
        return each_held(snapshot, conn, after, |stored| {
            if filter.matches(&stored.state) { each(stored) } else { Ok(true) }
        });
    }
    if let Some(limit) = filter.finalized_before {
        // What a sweeper asks again and again: mostly there are few, or none. Many are found as well by reading all.
        let ended = few_ended(conn, &snapshot.sql().finalized, limit);
        let ended = ended.map_err(|error| snapshot.site().engine("look for jobs that ended", error))?;
        if let Some(ids) = ended {
            return each_of(snapshot, conn, filter, after, ids, each);
        }
    }
    let takes = |row: &Row<'_>| {
        // Most rows that do not match can be told by their status, without the rest being read.
        let status = row.get_ref(STATUS).ok().and_then(|value| value.as_str().ok()?.parse::<Status>().ok());
        status.is_none_or(|status| filter.takes_status(status))
    };
    rows(snapshot, conn, &snapshot.sql().list, after, takes, |stored| {
        if filter.matches(&stored.state) { each(stored) } else { Ok(true) }
    })
}

/// The jobs that ended before a time; `None` when there are many.
fn few_ended(conn: &Connection, sql: &str, before: Timestamp) -> rusqlite::Result<Option<BTreeSet<JobId>>> {
    let mut statement = conn.prepare_cached(sql)?;
    let id = |row: &Row<'_>| row.get(0).map(JobId::from_bytes);
    let rows = statement.query_map(params![before.as_micros(), FEW + 1], id)?;
    let ids = rows.collect::<rusqlite::Result<BTreeSet<JobId>>>()?;
    Ok((ids.len() <= FEW as usize).then_some(ids))
}

/// As [`each`], among the jobs that are held.
pub(super) fn each_held(
    snapshot: &SqliteSnapshot,
    conn: &Connection,
    after: Option<Cursor>,
    each: impl FnMut(Stored) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    rows(snapshot, conn, &snapshot.sql().held, after, |_| true, each)
}

/// As [`each`], among the jobs with these ids.
fn each_of(
    snapshot: &SqliteSnapshot,
    conn: &Connection,
    filter: &Filter,
    after: Option<Cursor>,
    ids: BTreeSet<JobId>,
    mut each: impl FnMut(Stored) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    let from = after.map_or(Bound::Unbounded, |Cursor(id)| Bound::Excluded(id));
    for id in ids.range((from, Bound::Unbounded)) {
        if let Some(stored) = snapshot.find(conn, *id)?
            && filter.matches(&stored.state)
            && !each(stored)?
        {
            break;
        }
    }
    Ok(())
}

/// Calls `each` with the rows of a statement whose parameter is the id they come after.
fn rows(
    snapshot: &SqliteSnapshot,
    conn: &Connection,
    sql: &str,
    after: Option<Cursor>,
    takes: impl Fn(&Row<'_>) -> bool,
    mut each: impl FnMut(Stored) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    let site = snapshot.site();
    let engine = |error| site.engine("list jobs", error);
    let mut statement = conn.prepare_cached(sql).map_err(engine)?;
    // No id is before the empty one.
    let after: &[u8] = match &after {
        Some(Cursor(id)) => id.as_bytes(),
        None => &[],
    };
    let mut rows = statement.query([after]).map_err(engine)?;
    while let Some(row) = rows.next().map_err(engine)? {
        if !takes(row) {
            continue;
        }
        let stored = read(snapshot, row)?;
        if !each(stored)? {
            break;
        }
    }
    Ok(())
}

fn read(snapshot: &SqliteSnapshot, row: &Row<'_>) -> Result<Stored, BackendError> {
    let site = snapshot.site();
    let stored = StoredRow::read(row).map_err(|flaw| site.flaw("the state of a job", flaw))?;
    stored.stored(&mut snapshot.names.borrow_mut()).map_err(|flaw| match stored.id() {
        Ok(id) => site.flaw(format_args!("the state of job {id}"), flaw),
        Err(_) => site.flaw("the state of a job", flaw),
    })
}
