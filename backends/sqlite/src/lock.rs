//! The lock that keeps a second opener out.
//!
//! It is a file of its own beside the database: closing any handle of the database file would drop the
//! locks that SQLite holds on it in the same process (POSIX), so nothing but SQLite ever opens that one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use poolqueue_core::{BackendError, BackendErrorKind};

use crate::site::Site;

/// Ends with the process that holds it, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock of the file at the path, which need not exist.
///
/// # Errors
/// `AlreadyOpen` at once when someone has it; `Io` when there is no place for it.
pub(crate) fn take(site: &Site) -> Result<Lock, BackendError> {
    let path = lock_path(site)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| site.io(&format!("make the lock file {}", path.display()), error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            Err(site.error(BackendErrorKind::AlreadyOpen, "is already open, here or in another process"))
        }
        Err(TryLockError::Error(error)) => Err(site.io("lock it", error)),
    }
}

/// The same for every name of the file.
fn lock_path(site: &Site) -> Result<PathBuf, BackendError> {
    let real = match fs::canonicalize(site.path()) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (parent, name) = (directory(site.path()), site.path().file_name());
            let Some(name) = name else {
                return Err(site.error(BackendErrorKind::Invalid, "does not name a file"));
            };
            let parent = fs::canonicalize(parent).map_err(|error| {
                let doing = format!("create it: the directory {} does not exist", parent.display());
                site.io(&doing, error)
            })?;
            parent.join(name)
        }
        Err(error) => return Err(site.io("look at it", error)),
    };
    let mut name = real.into_os_string();
    name.push("-poolqueue-lock");
    Ok(name.into())
}

/// The directory that a path's file is in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
