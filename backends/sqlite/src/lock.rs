//! The locks that tell who is alive.
//!
//! Each open handle holds a lock on a file of its own beside the database, which ends with its process however that
//! ends. They are files of their own because closing any handle of the database file would drop the locks that SQLite
//! holds on it in the same process (POSIX), so nothing but SQLite ever opens that one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use poolqueue_core::{BackendError, BackendErrorKind};

use crate::site::Site;

/// How often, and how long between, a lock is tried that nobody should have.
const TRIES: u32 = 20;
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// What the names of the lock files of one store begin with: the same for every name of its database.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    base: OsString,
}

/// Ends with the process that holds it, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Locks {
    /// The locks of the store with this prefix in the database at the path, which exists.
    pub(crate) fn of(site: &Site, prefix: &str) -> Result<Self, BackendError> {
        let real = fs::canonicalize(site.path()).map_err(|error| site.io("look at it", error))?;
        let mut base = real.into_os_string();
        base.push(format!("-{prefix}handle-"));
        Ok(Locks { base })
    }

    fn path(&self, number: i64) -> PathBuf {
        let mut name = self.base.clone();
        name.push(number.to_string());
        name.into()
    }

    /// Takes the lock of the handle with this number.
    ///
    /// # Errors
    /// `AlreadyOpen` when someone has it; `Io` when there is no place for it.
    pub(crate) fn take(&self, site: &Site, number: i64) -> Result<Lock, BackendError> {
        let path = self.path(number);
        let made = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = made.map_err(|error| site.io(&format!("make the lock file {}", path.display()), error))?;
        // Whoever looks whether it is free has it for a moment.
        let mut locked = file.try_lock();
        for _ in 0..TRIES {
            let Err(TryLockError::WouldBlock) = locked else { break };
            std::thread::sleep(TRY_AGAIN);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => Ok(Lock { _file: file, path }),
            Err(TryLockError::WouldBlock) => {
                let what = format!("another handle has the lock file {}", path.display());
                Err(site.error(BackendErrorKind::AlreadyOpen, what))
            }
            Err(TryLockError::Error(error)) => {
                Err(site.io(&format!("lock the file {}", path.display()), error))
            }
        }
    }

    /// Whether the handle with this number is gone for certain.
    pub(crate) fn is_free(&self, number: i64) -> bool {
        match File::open(self.path(number)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the file of a handle that is gone.
    pub(crate) fn remove(&self, number: i64) {
        // It would only lie about.
        let _ = fs::remove_file(self.path(number));
    }
}

impl Lock {
    /// Whether the file still has its name: if not, others take this handle for gone.
    pub(crate) fn is_in_place(&self) -> bool {
        self.path.exists()
    }
}

/// The directory that a path's file is in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
