//! The parts of a job and the values beside the jobs, as the writer and the readers read them.

use std::collections::BTreeMap;

use poolqueue_core::{BackendError, Body, Counts, HistoryEntry, JobId, Status};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::codec::{
    BodyRow, Columns, EntryRow, Flaw, Names, OutcomeRow, Stored, read_u64, seal_of_counts, seal_of_holder,
    seal_of_meta, seal_of_record, stored_u64,
};
use crate::site::Site;
use crate::sql::Sql;

/// The one row of a statement, read by `read`; `what` names it.
fn one<T>(
    conn: &Connection,
    site: &Site,
    sql: &str,
    parameter: impl rusqlite::ToSql,
    what: impl Fn() -> String,
    read: impl FnOnce(&Row<'_>) -> Result<T, Flaw>,
) -> Result<Option<T>, BackendError> {
    let found = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([parameter], |row| Ok(read(row))).optional())
        .map_err(|error| site.engine(&format!("read {}", what()), error))?;
    found.transpose().map_err(|flaw| site.flaw(what(), flaw))
}

fn job_key(stored: &Stored, site: &Site) -> Result<i64, BackendError> {
    stored_u64(stored.state.sequence)
        .map_err(|flaw| site.flaw(format_args!("the state of job {}", stored.state.id), flaw))
}

/// What a job carries.
pub(crate) fn body(conn: &Connection, sql: &Sql, site: &Site, stored: &Stored) -> Result<Body, BackendError> {
    let id = stored.state.id;
    let what = || format!("the body of job {id}");
    let found = one(conn, site, &sql.read_body, job_key(stored, site)?, what, |row| BodyRow::read(id, row))?;
    found.ok_or_else(|| site.corrupted(format_args!("the body of job {id} is missing")))
}

/// What a job left behind, if it did.
pub(crate) fn outcome(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    stored: &Stored,
) -> Result<Option<OutcomeRow>, BackendError> {
    let (id, Some(attempt)) = (stored.state.id, stored.extra.outcome) else { return Ok(None) };
    let what = || format!("the outcome of job {id}");
    let read = |row: &Row<'_>| OutcomeRow::read(id, attempt, row);
    match one(conn, site, &sql.read_outcome, job_key(stored, site)?, what, read)? {
        Some(outcome) => Ok(Some(outcome)),
        None => Err(site.corrupted(format_args!("the outcome of job {id} is missing"))),
    }
}

/// The history of a job, oldest first.
pub(crate) fn history(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    stored: &Stored,
    names: &mut Names,
) -> Result<Vec<HistoryEntry>, BackendError> {
    let (id, extra) = (stored.state.id, stored.extra);
    let engine = |error| site.engine("read history", error);
    let flawed = |flaw| site.flaw(format_args!("the history of job {id}"), flaw);
    let mut statement = conn.prepare_cached(&sql.read_history).map_err(engine)?;
    let mut rows = statement.query([job_key(stored, site)?]).map_err(engine)?;
    let mut entries = Vec::new();
    let mut number = extra.history_first;
    while let Some(row) = rows.next().map_err(engine)? {
        entries.push(EntryRow::read(id, number, row, names).map_err(flawed)?);
        number = number.saturating_add(1);
    }
    if number != extra.history_next {
        let next = extra.history_next;
        return Err(flawed(Flaw(format!("it ends before entry {number} instead of {next}"))));
    }
    Ok(entries)
}

/// The job that holds a unique key. Columns: holder, seal.
pub(crate) fn holder(queue: &str, name: &str, columns: &mut Columns<'_>) -> Result<JobId, Flaw> {
    let holder = columns.blob()?;
    if columns.int()? != seal_of_holder(queue, name, holder) {
        return Err(Flaw::seal());
    }
    let bytes = holder.try_into().map_err(|_| Flaw::new("the id does not have 16 bytes"))?;
    Ok(JobId::from_bytes(bytes))
}

/// A record's version and value. Columns: version, value, seal.
pub(crate) fn record_value(name: &str, columns: &mut Columns<'_>) -> Result<(u64, Vec<u8>), Flaw> {
    let (version, value) = (columns.int()?, columns.blob()?);
    if columns.int()? != seal_of_record(name, version, value) {
        return Err(Flaw::seal());
    }
    Ok((read_u64(version)?, value.to_vec()))
}

/// A record, if there is one.
pub(crate) fn record(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    name: &str,
) -> Result<Option<(u64, Vec<u8>)>, BackendError> {
    let what = || format!("the record {name:?}");
    one(conn, site, &sql.read_record, name, what, |row| record_value(name, &mut Columns::of(row)))
}

/// A number kept beside the jobs, if there is one.
pub(crate) fn meta(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    name: &str,
) -> Result<Option<u64>, BackendError> {
    let what = || format!("the {name}");
    one(conn, site, &sql.read_meta, name, what, |row| {
        let mut columns = Columns::of(row);
        let (value, seal) = (columns.int()?, columns.int()?);
        if seal == seal_of_meta(name, value) { read_u64(value) } else { Err(Flaw::seal()) }
    })
}

/// For each status how many jobs have it, and the sum of their retries.
pub(crate) fn counts(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
) -> Result<BTreeMap<Status, (i64, i64)>, BackendError> {
    let engine = |error| site.engine("read the counts", error);
    let mut statement = conn.prepare_cached(&sql.read_counts).map_err(engine)?;
    let mut rows = statement.query([]).map_err(engine)?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next().map_err(engine)? {
        let (status, of_status) = count_row(row).map_err(|flaw| site.flaw("a counter", flaw))?;
        counts.insert(status, of_status);
    }
    Ok(counts)
}

fn count_row(row: &Row<'_>) -> Result<(Status, (i64, i64)), Flaw> {
    let mut columns = Columns::of(row);
    let (status, jobs, retries) = (columns.text()?, columns.int()?, columns.int()?);
    if columns.int()? != seal_of_counts(status, jobs, retries) {
        return Err(Flaw::seal());
    }
    Ok((status.parse()?, (jobs, retries)))
}

/// The counts of the statuses that `takes` accepts.
pub(crate) fn all_counts(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    takes: impl Fn(Status) -> bool,
) -> Result<Counts, BackendError> {
    let mut counts = Counts::default();
    for (status, (jobs, retries)) in self::counts(conn, sql, site)?.into_iter().filter(|one| takes(one.0)) {
        let flawed = |flaw| site.flaw("a counter", flaw);
        counts.set(status, read_u64(jobs).map_err(flawed)?);
        counts.retries = counts.retries.saturating_add(read_u64(retries).map_err(flawed)?);
    }
    Ok(counts)
}
