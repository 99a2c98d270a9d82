//! Accepting what a person wrote into the rows.

mod beside;
mod job;
mod write;

use std::collections::HashSet;

use poolqueue_core::{Applied, BackendError, JobId, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value};

use crate::codec::{Flaw, Names};
use crate::database;
use crate::settings::{self, Role};
use crate::shared::Shared;
use crate::site::{Site, is_before_commit};
use crate::sql::Sql;
use beside::Beside;
use job::Examined;

/// What [`SqliteStore::reseal`](crate::SqliteStore::reseal) did with each id. Within each list the order is that of the
/// call; no id is in two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// Jobs that were accepted as their rows are now.
    pub resealed: Vec<JobId>,
    /// Jobs whose rows are all as they were sealed: nothing was to be done.
    pub unchanged: Vec<JobId>,
    /// Jobs that were left as they are, each with the reason. It begins with the table and the column:
    /// `jobs.status: …`.
    pub refused: Vec<(JobId, String)>,
    /// Ids for which there is no row.
    pub unknown: Vec<JobId>,
}

/// What ends the examination of a job early.
#[derive(Debug)]
enum Halt {
    /// It cannot be accepted.
    Refused(String),
    /// The store failed.
    Failed(BackendError),
}

impl From<Flaw> for Halt {
    fn from(Flaw(reason): Flaw) -> Self {
        Halt::Refused(reason)
    }
}

impl From<BackendError> for Halt {
    fn from(error: BackendError) -> Self {
        Halt::Failed(error)
    }
}

/// Where a reseal takes place.
struct Place<'a> {
    conn: &'a Connection,
    sql: &'a Sql,
    site: &'a Site,
    now: Timestamp,
}

impl Place<'_> {
    /// A statement with the tables' names in it.
    fn filled(&self, statement: &str) -> String {
        statement.replace("{p}", &self.sql.prefix)
    }

    fn engine(&self, error: rusqlite::Error) -> BackendError {
        self.site.engine("reseal jobs", error)
    }

    /// Runs a statement that writes.
    fn execute(&self, statement: &str, values: impl rusqlite::Params) -> Result<usize, BackendError> {
        self.conn
            .prepare_cached(&self.filled(statement))
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| self.engine(error))
    }

    /// Leaves a row that says what was accepted; no id stands for the counts.
    fn audit(&self, id: Option<JobId>, what: Map<String, Value>) -> Result<(), BackendError> {
        let id = id.as_ref().map(|id| id.as_bytes().as_slice());
        let values = rusqlite::params![id, self.now.as_micros(), Value::Object(what).to_string()];
        self.execute("INSERT INTO {p}reseals (job, at, what) VALUES (?1, ?2, ?3)", values).map(drop)
    }
}

/// See [`SqliteStore::reseal`](crate::SqliteStore::reseal).
pub(crate) fn reseal(shared: &Shared, ids: Vec<JobId>, now: Timestamp) -> Result<Resealed, BackendError> {
    let (site, sql) = (shared.site(), shared.sql());
    let mut conn = database::connect(site, Role::Writer, shared.options())?;
    settings::apply(&conn, Role::Writer, site, shared.options())?;
    let txn = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| site.engine("begin a transaction", error))?;
    let place = Place { conn: &txn, sql, site, now };
    let resealed = jobs(&place, ids)?;
    beside::recount(&place)?;
    txn.commit().map_err(|error| {
        let error = site.engine("commit", error);
        if is_before_commit(&error) { error } else { error.with_applied(Applied::Unknown) }
    })?;
    Ok(resealed)
}

/// Each job is looked at as a whole before anything of it is written.
fn jobs(place: &Place<'_>, ids: Vec<JobId>) -> Result<Resealed, BackendError> {
    let mut seen = HashSet::new();
    let ids: Vec<JobId> = ids.into_iter().filter(|id| seen.insert(*id)).collect();
    let mut resealed = Resealed::default();
    if ids.is_empty() {
        return Ok(resealed);
    }
    let beside = Beside::read(place, &ids)?;
    let mut names = Names::default();
    for id in ids {
        match job::examine(place, &beside, id, &mut names) {
            Ok(Examined::Unknown) => resealed.unknown.push(id),
            Ok(Examined::Fits) => resealed.unchanged.push(id),
            Ok(Examined::Differs(plan)) => {
                write::write(place, &plan)?;
                resealed.resealed.push(id);
            }
            Err(Halt::Refused(reason)) => resealed.refused.push((id, reason)),
            Err(Halt::Failed(error)) => return Err(error),
        }
    }
    Ok(resealed)
}
