//! A copy of the file while the queue runs.

use std::fs;
use std::path::Path;

use poolqueue_core::{BackendError, BackendErrorKind, Reader};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use crate::create;
use crate::database;
use crate::options::SqliteOptions;
use crate::reader::SqliteReader;
use crate::settings::Role;
use crate::site::Site;

/// Pages copied before another thread is let in: about a megabyte.
const PAGES_PER_STEP: i32 = 256;

/// Copies the store as it is now to `target`, where nothing may be.
pub(crate) fn backup(reader: &SqliteReader, target: &Path) -> Result<(), BackendError> {
    let given = Site::new(target.to_owned());
    if target.as_os_str().is_empty() || target.as_os_str() == ":memory:" {
        return Err(given.error(BackendErrorKind::Invalid, "is no file: a backup needs a path of its own"));
    }
    let absolute = std::path::absolute(target).map_err(|error| given.io("find its directory", error))?;
    let site = Site::new(absolute);
    if fs::symlink_metadata(site.path()).is_ok() {
        return Err(exists(&site));
    }
    // Its read transaction is what is copied: the commits of the meantime are not in it.
    let snapshot = reader.snapshot()?;
    let named =
        create::make(&site, |temporary| copy(snapshot.conn()?, temporary, reader.shared().options()))?;
    if named { Ok(()) } else { Err(exists(&site)) }
}

fn exists(site: &Site) -> BackendError {
    site.error(BackendErrorKind::Invalid, "exists already: a backup replaces nothing")
}

/// Copies all pages into the empty temporary file and makes it durable.
fn copy(from: &Connection, temporary: &Site, options: &SqliteOptions) -> Result<(), BackendError> {
    let engine = |error| temporary.engine("write the backup", error);
    let mut to = database::connect(temporary, Role::Writer, options)?;
    // Nobody opens the file before it is whole and synced: nothing in it needs to be undone.
    to.pragma_update(None, "journal_mode", "OFF").map_err(engine)?;
    to.pragma_update(None, "synchronous", "OFF").map_err(engine)?;
    {
        let backup = Backup::new(from, &mut to).map_err(engine)?;
        loop {
            match backup.step(PAGES_PER_STEP).map_err(engine)? {
                StepResult::Done => break,
                StepResult::More => std::thread::yield_now(),
                // The source is in a read transaction already, and nobody else knows of the target.
                _ => return Err(engine(busy())),
            }
        }
    }
    to.close().map_err(|(_, error)| engine(error))?;
    create::sync_file(temporary)
}

fn busy() -> rusqlite::Error {
    let code =
        rusqlite::ffi::Error { code: ErrorCode::DatabaseBusy, extended_code: rusqlite::ffi::SQLITE_BUSY };
    rusqlite::Error::SqliteFailure(code, None)
}
