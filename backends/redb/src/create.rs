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

/// Makes a new store at the path, unless there is a file by now: then that one is left as it is.
pub(crate) fn create(site: &Site, options: &RedbOptions) -> Result<(), BackendError> {
    let (file, temporary) = temporary_file(site)?;
    let result = build(&temporary, file, options).and_then(|()| publish(&temporary, site));
    // Whatever happened, the temporary name has served: the file has its own by now or is not wanted.
    let removed = fs::remove_file(&temporary);
    result?;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Site::new(temporary).io("remove the temporary file", error));
        }
        _ => {}
    }
    sync_directory(site)
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
fn build(temporary: &Path, file: File, options: &RedbOptions) -> Result<(), BackendError> {
    let site = Site::new(temporary.to_owned());
    let sync = file.try_clone().map_err(|error| site.io("open it twice", error))?;
    let db = database::open(file, &site, options, Opening { check: false })?;
    site.guard("create the store", || write_format(db, &site))?;
    sync.sync_all().map_err(|error| site.io("sync the new file", error))
}

fn write_format(db: Database, site: &Site) -> Result<(), BackendError> {
    let mut txn = db.begin_write().map_err(|error| site.engine("begin the first transaction", error))?;
    txn.set_durability(Durability::Immediate).map_err(|error| site.engine("ask for durability", error))?;
    format::upgrade(&txn, 0, site)?;
    txn.commit().map_err(|error| site.engine("commit the first transaction", error))?;
    db.close().map_err(|error| site.engine("close the new file", error))
}

/// Gives the finished file its name, unless the name is taken.
fn publish(temporary: &Path, site: &Site) -> Result<(), BackendError> {
    match fs::hard_link(temporary, site.path()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without hard links (FAT, some network shares). std has no rename that fails on an
        // existing name; between the look and the rename another creator's file can be replaced, which by
        // then is whole but unused unless it was opened in those microseconds.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            if fs::symlink_metadata(site.path()).is_ok() {
                return Ok(());
            }
            fs::rename(temporary, site.path()).map_err(|error| site.io("give the new file its name", error))
        }
        Err(error) => Err(site.io("give the new file its name", error)),
    }
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
