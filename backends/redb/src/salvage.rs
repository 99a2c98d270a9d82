//! Reading what is left of a damaged file, without changing it; and making a new file of what was read.
//!
//! redb opens only what is whole. So it is given the file through an overlay that keeps what redb writes in memory, first
//! as it is, for redb to recover from a crash, and when redb refuses that, with a header that says there is nothing to
//! recover: then it reads whatever pages the tables still lead to, and every call is guarded.

mod overlay;
mod read;

use std::path::Path;
use std::sync::Arc;

use poolqueue_core::salvage::Rescue;
use poolqueue_core::{BackendError, BackendErrorKind, Reader, Snapshot, Store};
use redb::{Database, ReadTransaction, ReadableDatabase};

use crate::create::{self, Published};
use crate::database;
use crate::format;
use crate::options::RedbOptions;
use crate::reader::table;
use crate::shared::Shared;
use crate::site::Site;
use crate::store::{self, RedbStore};
use overlay::{Header, Overlay, Private};

/// The cache of a reader that reads each page about once.
const CACHE_BYTES: usize = 8 << 20;

impl RedbStore {
    /// Hands what can be read of the damaged file at `path` to `rescue`: every job whose state and body pass their
    /// checksums, with what passes of its outcome and its history, and every record. The file is locked, but not
    /// changed.
    ///
    /// - A job whose output and last error are damaged is handed over without them; its last error says so.
    /// - A job whose history is damaged is handed over with the entries after the damage.
    /// - What a file holds of a commit that a crash cut short does not count, and redb goes back to the commit before;
    ///   so it does when the pages of the last commit before a crash are damaged.
    ///
    /// # Errors
    /// `Corrupted` when no table can be read; `AlreadyOpen` when the file is in use; `Invalid` when it is a directory, not
    /// a redb file or another program's; `NewerFormat`; `Io`; and what `rescue` returns.
    pub fn read_damaged(
        path: impl AsRef<Path>,
        options: &RedbOptions,
        rescue: &mut dyn Rescue,
    ) -> Result<(), BackendError> {
        let site = store::site_of(path.as_ref(), options)?;
        let file = database::find_to_read(&site)?;
        let opened = Opened::of(file, &site)?;
        read::everything(&opened.txn, &site, rescue)
    }

    /// Makes a new file at `path` with what `fill` writes to its store. It is there whole or not at all: it has another name
    /// until everything in it has been read back and synced.
    ///
    /// # Errors
    /// `Invalid` when there is something at `path` already; that of `fill`; `Full`, `Io`. Then nothing is at `path` that
    /// was not there before.
    pub fn create_filled<T>(
        path: impl AsRef<Path>,
        options: RedbOptions,
        fill: impl FnOnce(&mut RedbStore) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let site = store::site_of(path.as_ref(), &options)?;
        let exists = || site.error(BackendErrorKind::Invalid, "exists already; it was not changed");
        if std::fs::symlink_metadata(site.path()).is_ok() {
            return Err(exists());
        }
        let mut filled = None;
        let published = create::create(&site, &options, |db, temporary| {
            create::write_format(&db, temporary)?;
            let mut store = RedbStore::of_new(db, Shared::new(temporary.clone(), None), options.clone())?;
            filled = Some(fill(&mut store)?);
            store.reader().snapshot()?.verify()?;
            store.close()
        })?;
        match (published, filled) {
            (Published::New, Some(filled)) => Ok(filled),
            _ => Err(exists()),
        }
    }
}

/// A damaged file, opened one way or the other.
struct Opened {
    txn: ReadTransaction,
    /// What the transaction reads from.
    _db: Box<dyn std::any::Any>,
}

impl Opened {
    fn of(file: std::fs::File, site: &Site) -> Result<Self, BackendError> {
        let overlay = Arc::new(Overlay::new(file, site)?);
        let first = match Self::recovered(&overlay, site) {
            Ok(opened) => return opened.checked(site),
            Err(error) => error,
        };
        // What the recovery wrote is not what was found.
        let header = Header::read(&overlay).map_err(|error| site.io("read its header", error))?;
        for slot in header.slots() {
            overlay.reset(header.calm(slot)).map_err(|error| site.io("look at it", error))?;
            match Self::unrecovered(&overlay, site).and_then(|opened| opened.checked(site)) {
                Ok(opened) => return Ok(opened),
                Err(error) if error.kind() == BackendErrorKind::Corrupted => {}
                Err(error) => return Err(error),
            }
        }
        let what = format_args!("redb can read none of its tables, so nothing of it can be saved: {first}");
        Err(site.corrupted(what).with_source(first))
    }

    /// As redb opens a file after a crash, with all of it checked.
    fn recovered(overlay: &Arc<Overlay>, site: &Site) -> Result<Self, BackendError> {
        site.guard("open the database", || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            let db = builder
                .create_with_backend(Private(Arc::clone(overlay)))
                .map_err(|error| site.engine("open the database", error))?;
            let txn = db.begin_read().map_err(|error| site.engine("begin to read", error))?;
            Ok(Opened { txn, _db: Box::new(db) })
        })
    }

    /// As redb opens a file beside another process that writes to it: nothing is checked before it is read.
    fn unrecovered(overlay: &Arc<Overlay>, site: &Site) -> Result<Self, BackendError> {
        site.guard("open the database", || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(redb::ConcurrencyMode::SingleWriter);
            let db = builder
                .open_read_only_with_backend(Private(Arc::clone(overlay)))
                .map_err(|error| site.engine("open the database", error))?;
            let txn = db.begin_read().map_err(|error| site.engine("begin to read", error))?;
            Ok(Opened { txn, _db: Box::new(db) })
        })
    }

    /// The same, when it is a queue of ours.
    fn checked(self, site: &Site) -> Result<Self, BackendError> {
        let format = site.guard("read the format", || {
            let meta = table(&self.txn, site.layout().meta(), site)?;
            let meta = meta.ok_or_else(|| database::foreign(site))?;
            format::read(&meta, site)
        });
        match format {
            // Only the number is lost, and the rows have their own.
            Err(error) if error.kind() != BackendErrorKind::Corrupted => Err(error),
            _ if read::has_jobs(&self.txn, site) => Ok(self),
            Err(error) => Err(error),
            Ok(_) => Err(site.corrupted("its jobs cannot be read")),
        }
    }
}
