//! Which version the tables have, and the steps to the one this program knows.

use std::collections::BTreeMap;

use poolqueue_core::{BackendError, BackendErrorKind};
use poolqueue_migrations::{Migration, pending};
use rusqlite::{Connection, OptionalExtension, params};

use crate::codec::{Flaw, seal_of_meta};
use crate::site::Site;
use crate::sql::Sql;

/// The name under which the version is kept. The application's own `user_version` is not touched.
const SCHEMA: &str = "schema";

/// Whose a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It has tables of ours, of this version.
    Ours(u32),
    /// It has none.
    Foreign,
}

/// Whose the database is.
///
/// # Errors
/// `NewerFormat` when a newer version of this crate wrote it; `Corrupted` when its version cannot be read.
pub(crate) fn owner(
    conn: &Connection,
    steps: &[Migration],
    sql: &Sql,
    site: &Site,
) -> Result<Owner, BackendError> {
    let engine = |error| site.engine("look for the tables", error);
    let exists = conn
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [format!("{}meta", sql.prefix)],
            |_| Ok(()),
        )
        .optional()
        .map_err(engine)?;
    if exists.is_none() {
        return Ok(Owner::Foreign);
    }
    let version: Option<(i64, i64)> = conn
        .query_row(&sql.read_meta, [SCHEMA], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(|error| site.engine("read the version of the tables", error))?;
    let Some((value, seal)) = version else {
        return Err(site.corrupted("the version of the tables is missing"));
    };
    let flawed = |flaw| site.flaw("the version of the tables", flaw);
    let version = u32::try_from(value).map_err(|_| flawed(Flaw(format!("there is no version {value}"))))?;
    // Before the seal: a later version may seal in another way.
    pending(steps, version).map_err(|newer| site.error(BackendErrorKind::NewerFormat, newer))?;
    if seal != seal_of_meta(SCHEMA, value) {
        return Err(flawed(Flaw::seal()));
    }
    Ok(Owner::Ours(version))
}

/// Brings the tables to the last of `steps`. Each step is one transaction: a crash leaves the version before it or
/// the one after it.
///
/// # Errors
/// As [`owner`], and what SQLite reports.
pub(crate) fn migrate(
    conn: &mut Connection,
    steps: &[Migration],
    sql: &Sql,
    site: &Site,
) -> Result<(), BackendError> {
    loop {
        let engine = |error| site.engine("bring the tables to this version", error);
        let txn = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(engine)?;
        // Asked inside: another process may have taken the step meanwhile.
        let version = match owner(&txn, steps, sql, site)? {
            Owner::Ours(version) => version,
            Owner::Foreign => 0,
        };
        let left = pending(steps, version).map_err(|e| site.error(BackendErrorKind::NewerFormat, e))?;
        let Some(step) = left.first() else { return Ok(()) };
        txn.execute_batch(&step.with_prefix(&sql.prefix)).map_err(engine)?;
        let value = i64::from(step.version);
        txn.execute(&sql.put_meta, params![SCHEMA, value, seal_of_meta(SCHEMA, value)]).map_err(engine)?;
        txn.commit().map_err(engine)?;
    }
}

/// Compares what the tables, indexes and views were made with to what `steps` make them with.
///
/// # Errors
/// `Corrupted` naming the first that is another or is missing; what SQLite reports.
pub(crate) fn check(
    conn: &Connection,
    steps: &[Migration],
    sql: &Sql,
    site: &Site,
) -> Result<(), BackendError> {
    let engine = |error| site.engine("compare how the tables were made", error);
    let fresh = Connection::open_in_memory().map_err(engine)?;
    for step in steps {
        fresh.execute_batch(&step.with_prefix(&sql.prefix)).map_err(engine)?;
    }
    let (found, expected) = (made_with(conn, sql).map_err(engine)?, made_with(&fresh, sql).map_err(engine)?);
    match expected.iter().find(|(name, text)| found.get(*name) != Some(*text)) {
        Some((name, _)) => {
            let has =
                if found.contains_key(name) { "is not made as this version makes it" } else { "is missing" };
            Err(site.corrupted(format_args!("{name} {has}")))
        }
        None => Ok(()),
    }
}

/// By their names, the statements with which tables, indexes and views were made.
fn made_with(conn: &Connection, sql: &Sql) -> rusqlite::Result<BTreeMap<String, String>> {
    conn.prepare(&sql.made_with)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

#[cfg(test)]
mod tests;
