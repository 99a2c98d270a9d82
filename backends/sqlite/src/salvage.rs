//! Reading what is left of a damaged file, without changing it; and making a new file of what was read.
//!
//! SQLite changes a file by opening it: it moves the write-ahead log into it, and removes the log. So it is given a copy of
//! both, and reads around the pages of the copy that it cannot use.

mod read;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use poolqueue_core::salvage::Rescue;
use poolqueue_core::{BackendError, BackendErrorKind, Reader, Snapshot, Store};
use rusqlite::Connection;

use crate::create;
use crate::database;
use crate::lock::Locks;
use crate::options::SqliteOptions;
use crate::schema::{self, Owner};
use crate::settings::Role;
use crate::site::Site;
use crate::sql::{Sql, check_prefix};
use crate::store::SqliteStore;

/// What every SQLite file starts with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

impl SqliteStore {
    /// Hands what can be read of the damaged file at `path` and its write-ahead log to `rescue`: every job whose state and
    /// body fit their seals, with what fits of its outcome and its history, and every record. Both are copied to the
    /// directory `scratch` for the time, read there, and not changed.
    ///
    /// - A job whose output and last error are damaged is handed over without them; its last error says so.
    /// - A job whose history is damaged is handed over with the entries after the damage.
    /// - Of a damaged log, SQLite reads the commits before the damage.
    ///
    /// # Errors
    /// `Corrupted` when no table can be read; `AlreadyOpen` when a process has the queue open; `Invalid` when it is a
    /// directory, not a SQLite file or another program's; `NewerFormat`; `Full` when there is no room for the copy; `Io`;
    /// and what `rescue` returns.
    pub fn read_damaged(
        path: impl AsRef<Path>,
        options: &SqliteOptions,
        scratch: impl AsRef<Path>,
        rescue: &mut dyn Rescue,
    ) -> Result<(), BackendError> {
        let site = site_of(path.as_ref(), options)?;
        check_file(&site)?;
        if Locks::of(&site, &options.table_prefix)?.any_is_held(&site)? {
            let what = "is open, here or in another process: it has to be closed first";
            return Err(site.error(BackendErrorKind::AlreadyOpen, what));
        }
        let sql = Sql::new(&options.table_prefix);
        let copy = Copy::of(&site, scratch.as_ref())?;
        let conn = copy.open(&site, options, &sql)?;
        site.guard("read what is left", || read::everything(&conn, &sql, &site, rescue))
    }

    /// Makes a new file at `path` with what `fill` writes to its store. It is there whole or not at all: it has another name
    /// until everything in it has been read back and synced.
    ///
    /// # Errors
    /// `Invalid` when there is something at `path` already; that of `fill`; `Full`, `Io`. Then nothing is at `path` that
    /// was not there before.
    pub fn create_filled<T>(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        fill: impl FnOnce(&mut SqliteStore) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let site = site_of(path.as_ref(), &options)?;
        let exists = || site.error(BackendErrorKind::Invalid, "exists already; it was not changed");
        if fs::symlink_metadata(site.path()).is_ok() {
            return Err(exists());
        }
        let mut filled = None;
        let named = create::make(&site, |temporary| {
            create::build(temporary, &options, &Sql::new(&options.table_prefix))?;
            // A long log is for those who go on writing.
            let mut store = SqliteStore::open(temporary.path(), options.clone().wal_grow_bytes(0))?;
            filled = Some(fill(&mut store)?);
            store.reader().snapshot()?.verify()?;
            let (handle, locks) = (store.shared().handle(), Locks::of(temporary, &options.table_prefix)?);
            store.close()?;
            // It stays for the jobs that are held, and would under the temporary name.
            locks.remove(handle);
            create::has_no_log(temporary)?;
            create::sync_file(temporary)
        })?;
        filled.filter(|_| named).ok_or_else(exists)
    }
}

/// The site of a file, absolute.
fn site_of(path: &Path, options: &SqliteOptions) -> Result<Site, BackendError> {
    let given = Site::new(PathBuf::from(path));
    check_prefix(&options.table_prefix, &given)?;
    Ok(Site::new(std::path::absolute(path).map_err(|error| given.io("find its directory", error))?))
}

/// Tells a file of another sort from a damaged one.
fn check_file(site: &Site) -> Result<(), BackendError> {
    database::check_sort(site)?;
    let mut start = Vec::with_capacity(MAGIC.len());
    fs::File::open(site.path())
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start))
        .map_err(|error| site.io("read it", error))?;
    if start != MAGIC {
        return Err(site.error(BackendErrorKind::Invalid, "is not a SQLite file; it was not changed"));
    }
    Ok(())
}

/// A copy of a file and its log, which goes when this does.
struct Copy(Site);

impl Copy {
    fn of(site: &Site, scratch: &Path) -> Result<Self, BackendError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".poolqueue-salvage.{}-{number}.copy", std::process::id());
        let copy = Copy(Site::new(scratch.join(name)));
        let failed = |error| copy.0.io(&format!("copy {} to it", site.path().display()), error);
        fs::copy(site.path(), copy.0.path()).map_err(failed)?;
        match fs::copy(site.beside("-wal"), copy.0.beside("-wal")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.map_err(failed)?),
        }
        Ok(copy)
    }

    /// A connection to it that takes what it finds. What is wrong is said of the file it is a copy of.
    fn open(&self, site: &Site, options: &SqliteOptions, sql: &Sql) -> Result<Connection, BackendError> {
        let engine = |error| site.engine("read it, so that nothing of it can be saved", error);
        let conn = database::connect(&self.0, Role::Writer, options)?;
        // A table that cannot be understood must not keep the others from being read.
        conn.execute_batch(
            "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA writable_schema = ON",
        )
        .map_err(engine)?;
        match schema::owner(&conn, poolqueue_migrations::SQLITE, sql, site) {
            Ok(Owner::Foreign) => {
                let what =
                    format!("is a SQLite file without tables named {}…: another program's", sql.prefix);
                return Err(site.error(BackendErrorKind::Invalid, what));
            }
            // Only the version is lost: the rows have their seals.
            Err(error) if error.kind() != BackendErrorKind::Corrupted => return Err(error),
            _ => {}
        }
        conn.prepare(&sql.load).map_err(engine)?;
        Ok(conn)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(self.0.beside(suffix));
        }
    }
}
