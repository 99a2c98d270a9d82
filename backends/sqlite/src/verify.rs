//! Reading everything, and whether it goes together.

use std::collections::HashMap;

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{BackendError, Counts, JobId, Verified};
use rusqlite::{Connection, params};

use crate::codec::{Columns, Flaw, Names, Stored, StoredRow, stored_u64};
use crate::reader::parts;
use crate::schema;
use crate::site::Site;
use crate::sql::Sql;

/// The tables of which SQLite checks that their indexes hold what the rows say.
const TABLES: [&str; 10] = [
    "meta",
    "jobs",
    "ready_tags",
    "bodies",
    "outcomes",
    "history",
    "unique_keys",
    "records",
    "counts",
    "reseals",
];

/// The indexes of jobs that list only some, in the order in which [`Sql::count_listed`] counts them.
const PARTIAL: [&str; 6] =
    ["jobs_ready", "jobs_future", "jobs_deadline", "jobs_held", "jobs_held_suspect", "jobs_finalized"];

/// Reads every row of every table and compares: the tables are made as this version makes them; SQLite's own check of
/// tables and indexes; each row fits its seal; every job has a body, and an outcome, history and tags as its state
/// says, and nothing else has; unique keys and unfinished jobs name each other; the counts are what the rows say.
///
/// # Errors
/// `Corrupted` naming the first difference.
pub(crate) fn verify(conn: &Connection, sql: &Sql, site: &Site) -> Result<Verified, BackendError> {
    schema::check(conn, poolqueue_migrations::SQLITE, sql, site)?;
    let mut walk = Walk::new(conn, sql, site);
    walk.jobs()?;
    walk.nothing_is_left()?;
    walk.keys()?;
    walk.records()?;
    walk.counters()?;
    check_partial_indexes(conn, sql, site)?;
    // Last, because it names pages instead of jobs.
    check_pages(conn, sql, site)?;
    Ok(Verified::new(walk.jobs, walk.entries, walk.counts))
}

fn check_pages(conn: &Connection, sql: &Sql, site: &Site) -> Result<(), BackendError> {
    let engine = |error| site.engine("check the tables", error);
    // Only the check of a whole file looks at its free pages, and it would blame the queue for an application's tables.
    let others = "SELECT count(*) FROM sqlite_schema WHERE substr(tbl_name, 1, ?1) <> ?2";
    let others: i64 = conn
        .query_row(others, params![sql.prefix.len() as i64, sql.prefix], |row| row.get(0))
        .map_err(engine)?;
    let whole: Option<String> = match others {
        0 => Some(conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(engine)?),
        _ => None,
    };
    if whole.as_deref() == Some("ok") {
        return Ok(());
    }
    check_tables(conn, sql, site)?;
    // It is in none of the tables.
    whole.map_or(Ok(()), |found| Err(site.corrupted(format_args!("its pages: {found}"))))
}

/// One table after the other, so that the damaged one is named.
fn check_tables(conn: &Connection, sql: &Sql, site: &Site) -> Result<(), BackendError> {
    let engine = |error| site.engine("check the tables", error);
    for table in TABLES {
        let check = format!("PRAGMA integrity_check('{}{table}')", sql.prefix);
        let found: String = conn.query_row(&check, [], |row| row.get(0)).map_err(engine)?;
        if found != "ok" {
            return Err(site.corrupted(format_args!("the table {}{table}: {found}", sql.prefix)));
        }
    }
    Ok(())
}

/// No index lists a job that it should not list.
fn check_partial_indexes(conn: &Connection, sql: &Sql, site: &Site) -> Result<(), BackendError> {
    let counted = |statement: &str| {
        conn.query_row(statement, [], |row| {
            (0..PARTIAL.len()).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<i64>>>()
        })
        .map_err(|error| site.engine("count what the indexes list", error))
    };
    let (listed, listable) = (counted(&sql.count_listed)?, counted(&sql.count_listable)?);
    for ((index, listed), listable) in PARTIAL.into_iter().zip(listed).zip(listable) {
        if listed != listable {
            let index = format!("{}{index}", sql.prefix);
            return Err(
                site.corrupted(format_args!("the index {index} lists {listed} jobs, and should {listable}"))
            );
        }
    }
    Ok(())
}

struct Walk<'a> {
    conn: &'a Connection,
    sql: &'a Sql,
    site: &'a Site,
    names: Names,
    counts: Counts,
    jobs: u64,
    entries: u64,
    outcomes: u64,
    postings: u64,
    sequence_max: u64,
    /// The unique keys that unfinished jobs have.
    keys: HashMap<(String, String), JobId>,
}

impl<'a> Walk<'a> {
    fn new(conn: &'a Connection, sql: &'a Sql, site: &'a Site) -> Self {
        Walk {
            conn,
            sql,
            site,
            names: Names::default(),
            counts: Counts::default(),
            jobs: 0,
            entries: 0,
            outcomes: 0,
            postings: 0,
            sequence_max: 0,
            keys: HashMap::new(),
        }
    }

    fn jobs(&mut self) -> Result<(), BackendError> {
        let site = self.site;
        let engine = |error| site.engine("read the jobs", error);
        let mut statement = self.conn.prepare_cached(&self.sql.walk).map_err(engine)?;
        let mut rows = statement.query([]).map_err(engine)?;
        while let Some(row) = rows.next().map_err(engine)? {
            let row = StoredRow::read(row).map_err(|flaw| site.flaw("the state of a job", flaw))?;
            let id = row.id().map_err(|flaw| site.flaw("the state of a job", flaw))?;
            let stored = row
                .checked(&mut self.names)
                .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
            self.job(&stored)?;
        }
        Ok(())
    }

    fn job(&mut self, stored: &Stored) -> Result<(), BackendError> {
        let state = &stored.state;
        parts::body(self.conn, self.sql, self.site, stored)?;
        if parts::outcome(self.conn, self.sql, self.site, stored)?.is_some() {
            self.outcomes += 1;
        }
        let history = parts::history(self.conn, self.sql, self.site, stored, &mut self.names)?;
        self.entries += history.len() as u64;
        self.postings(state)?;
        if let Some(key) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) {
            let key = (state.labels.queue.to_string(), key.to_string());
            if let Some(other) = self.keys.insert(key.clone(), state.id) {
                let id = state.id;
                let what = format!("job {id} and job {other} have the unique key {:?}", key.1);
                return Err(self.site.corrupted(what));
            }
        }
        self.sequence_max = self.sequence_max.max(state.sequence);
        self.jobs += 1;
        self.counts.add(state);
        Ok(())
    }

    fn postings(&mut self, state: &JobState) -> Result<(), BackendError> {
        if !state.is_claimable() || state.labels.tags.is_empty() {
            return Ok(());
        }
        let (id, site) = (state.id, self.site);
        let engine = |error| site.engine("read the tags of due jobs", error);
        let (priority, run_at, sequence) = state.order_key();
        let sequence = stored_u64(sequence).map_err(|flaw| site.flaw("the sequence", flaw))?;
        let mut statement = self.conn.prepare_cached(&self.sql.has_tag).map_err(engine)?;
        for tag in state.labels.tags.iter() {
            let queue = state.labels.queue.as_str();
            let place = params![queue, tag.as_str(), priority.0, run_at.as_micros(), sequence];
            if !statement.exists(place).map_err(engine)? {
                return Err(site.corrupted(format_args!("job {id} is not listed under its tag {tag:?}")));
            }
            self.postings += 1;
        }
        Ok(())
    }

    /// What is read by the jobs is all there is.
    fn nothing_is_left(&self) -> Result<(), BackendError> {
        let found = self.conn.query_row(&self.sql.count_rows, [], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        });
        let found: [i64; 4] = found.map_err(|error| self.site.engine("count the rows", error))?;
        let expected = [self.jobs, self.outcomes, self.entries, self.postings];
        let what = ["bodies", "outcomes", "history", "ready_tags"];
        for ((table, found), expected) in what.into_iter().zip(found).zip(expected) {
            if u64::try_from(found) != Ok(expected) {
                let table = format!("{}{table}", self.sql.prefix);
                let what = format!("{table} has {found} rows, the jobs account for {expected}");
                return Err(self.site.corrupted(what));
            }
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<(), BackendError> {
        let site = self.site;
        let engine = |error| site.engine("read the unique keys", error);
        let flawed = |flaw| site.flaw("a unique key", flaw);
        let mut statement = self.conn.prepare_cached(&self.sql.walk_keys).map_err(engine)?;
        let mut rows = statement.query([]).map_err(engine)?;
        while let Some(row) = rows.next().map_err(engine)? {
            let mut columns = Columns::of(row);
            let queue = columns.text().map_err(flawed)?;
            let name = columns.text().map_err(flawed)?;
            let holder = parts::holder(queue, name, &mut columns)
                .map_err(|flaw| site.flaw(format_args!("the holder of the unique key {name:?}"), flaw))?;
            if self.keys.remove(&(queue.to_owned(), name.to_owned())) != Some(holder) {
                let what =
                    format!("the unique key {name:?} of queue {queue} is held by {holder}, which is over, ");
                return Err(site.corrupted(what + "has another key or does not exist"));
            }
        }
        match self.keys.iter().next() {
            Some(((_, name), id)) => {
                Err(site.corrupted(format_args!("job {id} does not hold its unique key {name:?}")))
            }
            None => Ok(()),
        }
    }

    fn records(&self) -> Result<(), BackendError> {
        let site = self.site;
        let engine = |error| site.engine("read the records", error);
        let mut statement = self.conn.prepare_cached(&self.sql.walk_records).map_err(engine)?;
        let mut rows = statement.query([]).map_err(engine)?;
        while let Some(row) = rows.next().map_err(engine)? {
            let mut columns = Columns::of(row);
            let name = columns.text().map_err(|flaw| site.flaw("a record", flaw))?;
            parts::record_value(name, &mut columns)
                .map_err(|flaw| site.flaw(format_args!("the record {name:?}"), flaw))?;
        }
        Ok(())
    }

    fn counters(&self) -> Result<(), BackendError> {
        let site = self.site;
        let kept = parts::all_counts(self.conn, self.sql, site, |_| true)?;
        if kept != self.counts {
            let found = &self.counts;
            return Err(site.corrupted(format_args!("the counters are {kept:?}, the jobs make {found:?}")));
        }
        let next = parts::meta(self.conn, self.sql, site, "sequence")?.unwrap_or(1);
        if self.jobs > 0 && self.sequence_max >= next {
            let last = self.sequence_max;
            let flaw = Flaw(format!("a job has {last}, the next one would get {next}"));
            return Err(site.flaw("the sequence", flaw));
        }
        Ok(())
    }
}
