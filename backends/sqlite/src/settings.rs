//! What every connection is set to. Each setting is read back: SQLite ignores what it does not know or cannot do.

use poolqueue_core::{BackendError, BackendErrorKind};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::options::SqliteOptions;
use crate::site::Site;

/// The oldest SQLite that is used: before it, two connections could damage a write-ahead log.
const VERSION_MIN: i32 = 3_051_003;
/// Statements kept prepared by a connection.
const STATEMENTS_KEPT: usize = 96;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
    /// Whatever the application does with it, durable as the queue's.
    Application,
}

/// Refuses an SQLite that is too old.
pub(crate) fn check_version(site: &Site) -> Result<(), BackendError> {
    let found = rusqlite::version_number();
    if found >= VERSION_MIN {
        return Ok(());
    }
    let what = format!("SQLite {} is linked, 3.51.3 or later is needed", rusqlite::version());
    Err(site.error(BackendErrorKind::Invalid, what))
}

/// Sets the connection up.
///
/// # Errors
/// `Invalid` naming the setting that did not take.
pub(crate) fn apply(
    conn: &Connection,
    role: Role,
    site: &Site,
    options: &SqliteOptions,
) -> Result<(), BackendError> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    stable_plans(conn, site)?;
    if role == Role::Application {
        set(conn, site, "synchronous", "FULL", "2")?;
        set(conn, site, "fullfsync", "ON", "1")?;
        return set(conn, site, "foreign_keys", "ON", "1");
    }
    if role == Role::Writer {
        set(conn, site, "journal_mode", "WAL", "wal")?;
        let pages = options.wal_autocheckpoint.to_string();
        set(conn, site, "wal_autocheckpoint", &pages, &pages)?;
        let limit = options.journal_size_limit.min(i64::MAX.unsigned_abs()).to_string();
        set(conn, site, "journal_size_limit", &limit, &limit)?;
    } else {
        check(conn, site, "journal_mode", "wal")?;
        set(conn, site, "query_only", "ON", "1")?;
    }
    set(conn, site, "synchronous", "FULL", "2")?;
    set(conn, site, "fullfsync", "ON", "1")?;
    set(conn, site, "checkpoint_fullfsync", "ON", "1")?;
    set(conn, site, "foreign_keys", "ON", "1")?;
    set(conn, site, "cell_size_check", "ON", "1")?;
    set(conn, site, "trusted_schema", "OFF", "0")?;
    set(conn, site, "temp_store", "MEMORY", "2")?;
    let cache = cache_setting(role, options);
    set(conn, site, "cache_size", &cache, &cache)
}

/// Leaves the sync of a commit to whoever follows a weaker policy. A checkpoint still syncs the log before it moves pages, and
/// the file before the log is begun anew: what is lost with the power is lost from the end.
pub(crate) fn leave_commits_unsynced(conn: &Connection, site: &Site) -> Result<(), BackendError> {
    set(conn, site, "synchronous", "NORMAL", "1")
}

/// Plans that do not depend on the values bound: those that tests pin are those that run, and a statement is not
/// prepared again for each value.
fn stable_plans(conn: &Connection, site: &Site) -> Result<(), BackendError> {
    let taken = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
    match taken.map_err(|error| site.engine("ask for stable plans", error))? {
        true => Ok(()),
        false => {
            let what = "the setting ENABLE_QPSG did not take";
            Err(site.error(BackendErrorKind::Invalid, what))
        }
    }
}

/// The size of the page cache; negative is in KiB.
pub(crate) fn cache_setting(role: Role, options: &SqliteOptions) -> String {
    let share = if role == Role::Writer { 1 } else { 4 };
    let kib = (options.cache_bytes / share / 1024).clamp(64, 1 << 30);
    format!("-{kib}")
}

fn set(conn: &Connection, site: &Site, name: &str, value: &str, expected: &str) -> Result<(), BackendError> {
    let doing = format!("set {name} to {value}");
    let run = || -> rusqlite::Result<()> {
        let mut statement = conn.prepare(&format!("PRAGMA {name} = {value}"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    run().map_err(|error| site.engine(&doing, error))?;
    check(conn, site, name, expected)
}

/// Reads a setting back.
pub(crate) fn check(conn: &Connection, site: &Site, name: &str, expected: &str) -> Result<(), BackendError> {
    let found = read(conn, name).map_err(|error| site.engine(&format!("read the setting {name}"), error))?;
    if found == expected {
        return Ok(());
    }
    let why = match name {
        "journal_mode" => "; the file system may not support a write-ahead log",
        _ => "",
    };
    let what = format!("the setting {name} did not take: it is {found}, not {expected}{why}");
    Err(site.error(BackendErrorKind::Invalid, what))
}

/// A setting as text.
pub(crate) fn read(conn: &Connection, name: &str) -> rusqlite::Result<String> {
    use rusqlite::types::Value;
    let value = conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, Value>(0))?;
    Ok(match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    })
}

#[cfg(test)]
mod tests;
