//! Making a new file.
//!
//! A new store is built under another name, made durable, and then given its name in one step that fails if the
//! name is taken: whoever looks sees no file or a whole one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use poolqueue_core::{BackendError, BackendErrorKind};

use crate::database;
use crate::lock::directory;
use crate::options::SqliteOptions;
use crate::schema;
use crate::settings::{self, Role};
use crate::site::Site;
use crate::sql::Sql;

/// Attempts to find a temporary name that nobody has left behind.
const NAMES_MAX: u32 = 1000;

const LOG_STAYED: &str = "cannot create the store: its write-ahead log could not be moved into the file";

/// Makes a new store at the path, unless there is a file by now: then that one is left as it is.
pub(crate) fn create(site: &Site, options: &SqliteOptions, sql: &Sql) -> Result<(), BackendError> {
    make(site, |temporary| build(temporary, options, sql)).map(|_| ())
}

/// Makes a file of another name by `build`, which is given its site, and then gives it its own. Whether it got it:
/// not when the name was taken meanwhile, and then that file is left as it is.
pub(crate) fn make(
    site: &Site,
    build: impl FnOnce(&Site) -> Result<(), BackendError>,
) -> Result<bool, BackendError> {
    if let Some(log) = log_of_another(site) {
        // Whoever made the file meanwhile linked it before its log came.
        if fs::symlink_metadata(site.path()).is_ok() {
            return sync_directory(site).map(|()| false);
        }
        let what = format!(
            "cannot be made: {} lies there, which SQLite would take for its own; it is what another file of this \
             name has left",
            log.display()
        );
        return Err(site.error(BackendErrorKind::Invalid, what));
    }
    let temporary = Site::new(temporary_file(site)?);
    let result = build(&temporary).and_then(|()| publish(temporary.path(), site));
    // Whatever happened, the temporary name has served: the file has its own by now or is not wanted.
    for leftover in ["-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(temporary.beside(leftover));
    }
    let removed = fs::remove_file(temporary.path());
    let named = result?;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(temporary.io("remove the temporary file", error));
        }
        _ => {}
    }
    sync_directory(site)?;
    Ok(named)
}

/// A log in the place where SQLite would look for that of the new file, and apply it.
fn log_of_another(site: &Site) -> Option<PathBuf> {
    let logs = ["-wal", "-journal"].map(|suffix| site.beside(suffix));
    // An empty one says nothing.
    logs.into_iter().find(|log| fs::symlink_metadata(log).is_ok_and(|metadata| metadata.len() > 0))
}

/// A new file beside the path. Its name holds the process id and a counter; one that a dead process left
/// under the same name is passed over, never touched.
fn temporary_file(site: &Site) -> Result<PathBuf, BackendError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let path = site.path();
    let Some(name) = path.file_name() else {
        return Err(site.error(BackendErrorKind::Invalid, "does not name a file"));
    };
    for _ in 0..NAMES_MAX {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{number}.new", std::process::id()));
        let temporary = directory(path).join(temporary);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&temporary) {
            Ok(_) => return Ok(temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if !directory(path).exists() => {
                let doing = format!("create it: the directory {} does not exist", directory(path).display());
                return Err(site.io(&doing, error));
            }
            Err(error) => return Err(site.io("create it", error)),
        }
    }
    Err(site.error(BackendErrorKind::Io, "cannot create it: too many temporary files beside it"))
}

/// Fills the temporary file and makes it durable.
pub(crate) fn build(temporary: &Site, options: &SqliteOptions, sql: &Sql) -> Result<(), BackendError> {
    let engine = |error| temporary.engine("create the store", error);
    let mut conn = database::connect(temporary, Role::Writer, options)?;
    settings::apply(&conn, Role::Writer, temporary, options)?;
    schema::migrate(&mut conn, poolqueue_migrations::SQLITE, sql, temporary)?;
    let busy: i64 =
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(engine)?;
    conn.close().map_err(|(_, error)| engine(error))?;
    if busy != 0 {
        return Err(temporary.error(BackendErrorKind::Io, LOG_STAYED));
    }
    has_no_log(temporary)?;
    sync_file(temporary)
}

/// Refuses a new file that is not all there is of it.
pub(crate) fn has_no_log(temporary: &Site) -> Result<(), BackendError> {
    match fs::symlink_metadata(temporary.beside("-wal")) {
        Ok(_) => Err(temporary.error(BackendErrorKind::Io, LOG_STAYED)),
        Err(_) => Ok(()),
    }
}

/// Makes a new file durable. No connection is open on it, so a handle of our own takes no lock away.
pub(crate) fn sync_file(site: &Site) -> Result<(), BackendError> {
    File::open(site.path())
        .and_then(|file| file.sync_all())
        .map_err(|error| site.io("sync the new file", error))
}

/// Gives the finished file its name, unless the name is taken. Whether it did.
fn publish(temporary: &Path, site: &Site) -> Result<bool, BackendError> {
    match fs::hard_link(temporary, site.path()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without hard links (FAT, some network shares). std has no rename that fails on an
        // existing name: of several creators one goes first.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            let _turn = take_turn(site)?;
            if fs::symlink_metadata(site.path()).is_ok() {
                return Ok(false);
            }
            fs::rename(temporary, site.path())
                .map(|()| true)
                .map_err(|error| site.io("give the new file its name", error))
        }
        Err(error) => Err(site.io("give the new file its name", error)),
    }
}

/// Waits until no other creator is between looking for the name and giving it. The lock file stays.
fn take_turn(site: &Site) -> Result<File, BackendError> {
    let path = site.beside("-poolqueue-create");
    let taken = OpenOptions::new().write(true).create(true).truncate(false).open(path).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    taken.map_err(|error| site.io("wait for another creator", error))
}

/// Makes the new name durable.
fn sync_directory(site: &Site) -> Result<(), BackendError> {
    if cfg!(unix) {
        let directory = directory(site.path());
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| site.io(&format!("sync the directory {}", directory.display()), error))?;
    }
    Ok(())
}
