//! Syncing the write-ahead log at an interval.
//!
//! SQLite itself syncs the log at each commit, or else only when it moves pages to the file, and not even then while a reader
//! keeps it from moving any. So the log is synced as a file. That is enough: with its frames on the disk everything
//! committed is, and what was moved out of it before was synced on the way. SQLite keeps its locks on other files, so none is
//! lost with the handle that is opened here.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::{Applied, BackendError, SyncPolicy, SyncTimer};

use crate::options::SqliteOptions;
use crate::site::Site;

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    policy: SyncPolicy,
    timer: SyncTimer,
    /// Only under an interval, and while the store is open.
    file: Option<File>,
}

impl Log {
    pub(crate) fn new(options: &SqliteOptions) -> Self {
        let timer = SyncTimer::new(options.sync, Arc::clone(&options.clock));
        Log { policy: options.sync, timer, file: None }
    }

    /// A connection to the database was opened: from now on its log is there, and stays the same file.
    pub(crate) fn open(&mut self, site: &Site) -> Result<(), BackendError> {
        if let SyncPolicy::Interval(_) = self.policy {
            let opened = path(site).and_then(|path| OpenOptions::new().read(true).write(true).open(path));
            self.file = Some(opened.map_err(|error| site.io("open its log", error))?);
        }
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    /// Something was committed.
    pub(crate) fn committed(&mut self) {
        self.timer.committed();
    }

    /// Whether it is time to sync.
    pub(crate) fn is_due(&self) -> bool {
        self.timer.is_due()
    }

    /// How long there is time; `None` when there is nothing to sync.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.timer.left()
    }

    /// Syncs what was committed, if there is anything.
    ///
    /// # Errors
    /// What the system reported. It is not known then what of that lasts.
    pub(crate) fn sync(&mut self, site: &Site) -> Result<(), BackendError> {
        let Some(file) = self.file.as_ref().filter(|_| self.timer.is_behind()) else { return Ok(()) };
        file.sync_data().map_err(|error| site.io("sync its log", error).with_applied(Applied::Unknown))?;
        self.timer.synced();
        Ok(())
    }
}

/// Where the log is: beside the file itself, not beside a link to it.
fn path(site: &Site) -> std::io::Result<PathBuf> {
    let mut path = OsString::from(fs::canonicalize(site.path())?);
    path.push("-wal");
    Ok(PathBuf::from(path))
}
