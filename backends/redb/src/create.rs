//! Making a new file.
//!
//! redb cannot open a file whose creation was cut short by a power loss. So a new store is built under
//! another name, made durable, and then given its name in one step that fails if the name is taken: whoever
//! looks sees no file or a whole one, and of several creators one wins and the others open what it made.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use poolqueue_core::{BackendError, BackendErrorKind};
use redb::{Database, Durability};

use crate::database::{self, Opening};
use crate::format;
use crate::options::RedbOptions;
use crate::site::Site;

/// Attempts to find a temporary name that nobody has left behind.
const NAMES_MAX: u32 = 1000;

/// What became of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// It has its name.
    New,
    /// There was a file of that name, which was left as it is.
    Taken,
}

/// Makes a new file at the path, unless there is one by now: then that one is left as it is. `fill` writes what is in
/// it, and closes it.
pub(crate) fn create(
    site: &Site,
    options: &RedbOptions,
    fill: impl FnOnce(Database, &Site) -> Result<(), BackendError>,
) -> Result<Published, BackendError> {
    let (file, temporary) = temporary_file(site)?;
    let temporary = site.at(temporary);
    let result = build(&temporary, file, options, fill).and_then(|()| publish(temporary.path(), site));
    // Whatever happened, the temporary name has served: the file has its own by now or is not wanted.
    let removed = fs::remove_file(temporary.path());
    let published = result?;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(temporary.io("remove the temporary file", error));
        }
        _ => {}
    }
    sync_directory(directory(site.path()), site)?;
    Ok(published)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A new file beside the path. Its name holds the process id and a counter; one that a dead process left
/// under the same name is passed over, never touched.
fn temporary_file(site: &Site) -> Result<(File, PathBuf), BackendError> {
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
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let doing = format!("create it: the directory {} does not exist", directory(path).display());
                return Err(site.io(&doing, error));
            }
            Err(error) => return Err(site.io("create it", error)),
        }
    }
    Err(site.error(BackendErrorKind::Io, "cannot create it: too many temporary files beside it"))
}

/// Fills the temporary file and makes it durable.
fn build(
    site: &Site,
    file: File,
    options: &RedbOptions,
    fill: impl FnOnce(Database, &Site) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let sync = file.try_clone().map_err(|error| site.io("open it twice", error))?;
    let (db, _) = database::open(file, site, options, Opening { check: false, hold: false })?;
    site.guard("create the store", || fill(db, site))?;
    sync.sync_all().map_err(|error| site.io("sync the new file", error))
}

/// Fills a new file with a store without jobs.
pub(crate) fn write_store(db: Database, site: &Site) -> Result<(), BackendError> {
    write_format(&db, site)?;
    db.close().map_err(|error| site.engine("close the new file", error))
}

/// Makes the tables.
pub(crate) fn write_format(db: &Database, site: &Site) -> Result<(), BackendError> {
    let mut txn = db.begin_write().map_err(|error| site.engine("begin the first transaction", error))?;
    txn.set_durability(Durability::Immediate).map_err(|error| site.engine("ask for durability", error))?;
    format::upgrade(&txn, 0, site)?;
    txn.commit().map_err(|error| site.engine("commit the first transaction", error))
}

/// Gives the finished file its name, unless the name is taken.
fn publish(temporary: &Path, site: &Site) -> Result<Published, BackendError> {
    match fs::hard_link(temporary, site.path()) {
        Ok(()) => Ok(Published::New),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::Taken),
        // A file system without hard links (FAT, some network shares). std has no rename that fails on an
        // existing name; between the look and the rename another creator's file can be replaced, which by
        // then is whole but unused unless it was opened in those microseconds.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            if fs::symlink_metadata(site.path()).is_ok() {
                return Ok(Published::Taken);
            }
            fs::rename(temporary, site.path())
                .map_err(|error| site.io("give the new file its name", error))?;
            Ok(Published::New)
        }
        Err(error) => Err(site.io("give the new file its name", error)),
    }
}

/// Makes the name of a file durable that is there already, whoever gave it the name.
pub(crate) fn sync_directory_of(site: &Site) -> Result<(), BackendError> {
    let path = fs::canonicalize(site.path()).map_err(|error| site.io("find its directory", error))?;
    sync_directory(directory(&path), site)
}

fn sync_directory(directory: &Path, site: &Site) -> Result<(), BackendError> {
    if cfg!(unix) {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| site.io(&format!("sync the directory {}", directory.display()), error))?;
    }
    Ok(())
}
