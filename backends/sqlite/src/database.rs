//! Opening the file: what is at the path, is it ours, is it free.

use std::fs;
use std::io;
use std::path::Path;

use poolqueue_core::{BackendError, BackendErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::busy;
use crate::create;
use crate::options::SqliteOptions;
use crate::schema::{self, Owner};
use crate::settings::{self, Role};
use crate::site::Site;
use crate::sql::Sql;

/// Opens the store at the path; makes one first when there is none.
pub(crate) fn open_or_create(
    site: &Site,
    options: &SqliteOptions,
    sql: &Sql,
) -> Result<Connection, BackendError> {
    settings::check_version(site)?;
    match fs::metadata(site.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A file that is there by now was made by someone else meanwhile.
            if fs::symlink_metadata(site.path()).is_ok_and(|metadata| metadata.is_symlink()) {
                return Err(site.io("open it: it is a link to nothing", error));
            }
            create::create(site, options, sql)?;
            open_existing(site, options, sql)
        }
        _ => open_existing(site, options, sql),
    }
}

/// Opens the store at the path, which must exist. Its log stays as it is when the connection is closed before
/// [`keep_log`] is taken back.
pub(crate) fn open_existing(
    site: &Site,
    options: &SqliteOptions,
    sql: &Sql,
) -> Result<Connection, BackendError> {
    check_sort(site)?;
    let mut conn = identified(site, options, sql)?;
    settings::apply(&conn, Role::Writer, site, options)?;
    schema::migrate(&mut conn, poolqueue_migrations::SQLITE, sql, site)?;
    Ok(conn)
}

/// Refuses what is no file, or an empty one.
pub(crate) fn check_sort(site: &Site) -> Result<(), BackendError> {
    let metadata = fs::metadata(site.path()).map_err(|error| site.io("look at it", error))?;
    if metadata.is_dir() {
        return Err(site.error(BackendErrorKind::Invalid, "is a directory, not a file"));
    }
    if !metadata.is_file() {
        return Err(site.error(BackendErrorKind::Invalid, "is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(site.corrupted("is empty: an empty file is not a queue, and was not made one"));
    }
    Ok(())
}

/// A connection to a file that is ours, or may become ours.
fn identified(site: &Site, options: &SqliteOptions, sql: &Sql) -> Result<Connection, BackendError> {
    // Without a log there is nothing to keep, and one that is made for the look goes with the connection.
    let has_log = length(site.beside("-wal")) > 0;
    let conn = connect(site, Role::Writer, options)?;
    keep_log(&conn, site, has_log)?;
    let read_only = conn.is_readonly(rusqlite::MAIN_DB).map_err(|error| site.engine("look at it", error))?;
    if read_only {
        let what = "cannot open it for reading and writing: it may only be read";
        return Err(site.error(BackendErrorKind::Io, what));
    }
    let tables: rusqlite::Result<i64> =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
    if let Err(error) = tables {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
            let what = "is not a SQLite file; it was not changed";
            return Err(site.error(BackendErrorKind::Invalid, what).with_source(error));
        }
        return Err(site.engine("read it", error));
    }
    check_length(&conn, site)?;
    let owner = schema::owner(&conn, poolqueue_migrations::SQLITE, sql, site)?;
    if owner == Owner::Foreign && !options.share_with_application {
        let what = format!(
            "is a SQLite file without tables named {}…: another program's; \
             SqliteOptions::share_with_application(true) adds them to it",
            sql.prefix
        );
        return Err(site.error(BackendErrorKind::Invalid, what));
    }
    Ok(conn)
}

/// How many bytes a file has; none when it is not there.
fn length(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Refuses a file that ends before its last page. While the log holds pages, the file may be shorter.
fn check_length(conn: &Connection, site: &Site) -> Result<(), BackendError> {
    let engine = |error| site.engine("read it", error);
    let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(engine)?;
    let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(engine)?;
    let (expected, found) = (pages.saturating_mul(page), length(site.path()));
    if length(site.beside("-wal")) == 0 && u64::try_from(expected).is_ok_and(|expected| found < expected) {
        return Err(site.corrupted(format_args!("is cut short: it has {found} of {expected} bytes")));
    }
    Ok(())
}

/// Whether closing this connection, the last one, leaves the write-ahead log alone. Otherwise SQLite moves it into the file,
/// which nobody has asked for while it is not known whether the file is opened at all.
pub(crate) fn keep_log(conn: &Connection, site: &Site, keep: bool) -> Result<(), BackendError> {
    let set = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
    set.map(|_| ()).map_err(|error| site.engine("keep its log", error))
}

/// A connection without settings, but it waits for others.
pub(crate) fn connect(site: &Site, role: Role, options: &SqliteOptions) -> Result<Connection, BackendError> {
    let access = match role {
        Role::Writer | Role::Application => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let mut conn = Connection::open_with_flags(site.path(), access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| site.engine("open it", error))?;
    busy::wait_for_others(&mut conn, options.busy_timeout)
        .map_err(|error| site.engine("set the busy handler", error))?;
    Ok(conn)
}

/// The file of a connection as SQLite names it, byte by byte; `None` when it has none.
pub(crate) fn file_of(conn: &Connection) -> Option<Vec<u8>> {
    if let Some(path) = conn.path() {
        return Some(path.as_bytes().to_vec()).filter(|path| !path.is_empty());
    }
    // A name that is no text.
    let read = |row: &rusqlite::Row<'_>| Ok(row.get_ref(2)?.as_bytes_or_null()?.map(<[u8]>::to_vec));
    let main = "SELECT * FROM pragma_database_list WHERE name = 'main'";
    conn.query_row(main, [], read).ok().flatten().filter(|path| !path.is_empty())
}

/// A connection for a reader.
pub(crate) fn connect_reader(site: &Site, options: &SqliteOptions) -> Result<Connection, BackendError> {
    let conn = connect(site, Role::Reader, options)?;
    settings::apply(&conn, Role::Reader, site, options)?;
    Ok(conn)
}

/// Fills the write-ahead log with what is rolled back at once: the log has its length from then on, and the
/// database is as it was.
pub(crate) fn grow_wal(
    conn: &Connection,
    site: &Site,
    options: &SqliteOptions,
    sql: &Sql,
) -> Result<(), BackendError> {
    let length = length(site.beside("-wal"));
    let wanted = options.wal_grow_bytes.min(512 << 20);
    if wanted == 0 || length >= wanted as u64 {
        return Ok(());
    }
    // A small cache makes SQLite write pages to the log before the commit that never comes.
    let grow = format!(
        "PRAGMA cache_size = 16;
         BEGIN IMMEDIATE;
         CREATE TABLE {prefix}grow (filler BLOB);
         INSERT INTO {prefix}grow VALUES (zeroblob({wanted}));
         ROLLBACK;
         PRAGMA cache_size = {cache};",
        prefix = sql.prefix,
        cache = settings::cache_setting(Role::Writer, options),
    );
    conn.execute_batch(&grow).map_err(|error| {
        if !conn.is_autocommit() {
            // Its error would be that of the statement before it.
            let _ = conn.execute_batch("ROLLBACK");
        }
        site.engine("grow the write-ahead log", error)
    })
}
