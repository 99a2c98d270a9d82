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

/// How often a lock is tried that may be held by someone who only looks.
const ATTEMPTS: u32 = 20;
/// For how long such a look is waited.
const LOOK: Duration = Duration::from_millis(1);

/// What the names of the lock files of one store begin with: the same for every name of its database.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    base: OsString,
}

/// Ends with the process that holds it, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
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
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(LOOK);
            }
            let made = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file =
                made.map_err(|error| site.io(&format!("make the lock file {}", path.display()), error))?;
            match file.try_lock() {
                // Whoever took this handle for gone may have removed the file meanwhile.
                Ok(()) if self.is_free(number) => {}
                Ok(()) => return Ok(Lock { _file: file }),
                // Perhaps only someone who looks whether it is free.
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(site.io(&format!("lock the file {}", path.display()), error));
                }
            }
        }
        let what = format!("another handle has the lock file {}", path.display());
        Err(site.error(BackendErrorKind::AlreadyOpen, what))
    }

    /// Whether the handle with this number is gone for certain, or its file is not the one it has locked.
    pub(crate) fn is_free(&self, number: i64) -> bool {
        match File::open(self.path(number)) {
            // Shared, so that of several who look each sees it.
            Ok(file) => file.try_lock_shared().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether any handle of the store lives.
    pub(crate) fn any_is_held(&self, site: &Site) -> Result<bool, BackendError> {
        let base = Path::new(&self.base);
        let prefix = base.file_name().unwrap_or_default().as_encoded_bytes();
        let entries =
            fs::read_dir(directory(base)).map_err(|error| site.io("look for its handles", error))?;
        for entry in entries {
            let name = entry.map_err(|error| site.io("look for its handles", error))?.file_name();
            let number =
                name.as_encoded_bytes().strip_prefix(prefix).and_then(|rest| str::from_utf8(rest).ok());
            if number.and_then(|text| text.parse().ok()).is_some_and(|number| !self.is_free(number)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the file of a handle that is gone, unless somebody has it again.
    pub(crate) fn remove(&self, number: i64) {
        let path = self.path(number);
        // It would only lie about.
        if let Ok(file) = File::open(&path)
            && file.try_lock_shared().is_ok()
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// The directory that a path's file is in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
