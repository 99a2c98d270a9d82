//! Opening the file: what is at the path, is it ours, is it whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Bound;
use std::sync::Arc;

use poolqueue_core::{BackendError, BackendErrorKind};
use redb::backends::FileBackend;
use redb::{Database, ReadOnlyDatabase, ReadableDatabase, StorageBackend, TableError};

use crate::create;
use crate::format;
use crate::options::RedbOptions;
use crate::site::Site;
use crate::storage::{Staged, ZeroFilled};

/// In the byte behind the magic ones, of redb 4: the file has not been closed.
const LEFT_OPEN: u8 = 2;
/// What every redb file starts with.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// Whether redb reads and checks every page first.
    pub(crate) check: bool,
    /// Whether what it writes meanwhile waits until the file is accepted.
    pub(crate) hold: bool,
}

/// A database that is ours, and what is known of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) db: Database,
    /// Whether every page was checked.
    pub(crate) checked: bool,
    /// What was written meanwhile. It waits.
    staged: Arc<Staged>,
    /// Whether what the system shows of the file may be nowhere but in its memory.
    doubtful: bool,
}

impl Opened {
    /// A sync of the file has failed: what was written last may be nowhere but in the system's memory.
    pub(crate) fn after_an_error(self) -> Self {
        Opened { doubtful: true, ..self }
    }

    /// The file is what it should be: does what opening it asks for.
    pub(crate) fn accept(&self, site: &Site) -> Result<(), BackendError> {
        if self.doubtful {
            self.staged.write_again().map_err(|error| site.io("write all of it once more", error))?;
        }
        self.staged.release().map_err(|error| site.io("write to it", error))
    }
}

/// A redb file, before it is a database.
struct Found {
    file: File,
    len: u64,
    /// Whether whoever had it last did not close it.
    left_open: bool,
}

/// Opens the store at the path; makes one first when there is none.
pub(crate) fn open_or_create(site: &Site, options: &RedbOptions) -> Result<Opened, BackendError> {
    match fs::metadata(site.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create::create(site, options, create::write_store)?;
            open_existing(site, options)
        }
        _ => open_existing(site, options),
    }
}

/// Opens the database at the path for the application, whatever is in it; makes a store first when there is no file.
pub(crate) fn open_for_application(site: &Site, options: &RedbOptions) -> Result<Database, BackendError> {
    match fs::metadata(site.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create::create(site, options, create::write_store)?;
        }
        _ => {}
    }
    let opened = open_found(find(site)?, site, options)?;
    opened.accept(site)?;
    Ok(opened.db)
}

/// Opens the store at the path, which must exist. The file is not changed before the caller has accepted it.
pub(crate) fn open_existing(site: &Site, options: &RedbOptions) -> Result<Opened, BackendError> {
    let found = find(site)?;
    refuse_foreign(site)?;
    let opened = open_found(found, site, options)?;
    site.guard("read the format", || prepare(&opened.db, site))?;
    Ok(opened)
}

/// Brings the tables to the format of this version, and forgets what nobody needs any more.
fn prepare(db: &Database, site: &Site) -> Result<(), BackendError> {
    let format = read_format(db, site)?;
    let read = db.begin_read().map_err(|error| site.engine("begin to read", error))?;
    if format == format::FORMAT && !format::has_notes(&read, site)? {
        return Ok(());
    }
    drop(read);
    let txn = db.begin_write().map_err(|error| site.engine("begin the upgrade", error))?;
    format::upgrade(&txn, format, site)?;
    format::empty_inbox(&txn, site)?;
    txn.commit().map_err(|error| site.engine("commit the upgrade", error))
}

/// The redb file at the path.
fn find(site: &Site) -> Result<Found, BackendError> {
    let metadata = look_at(site)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(site.path())
        .map_err(|error| site.io("open it for reading and writing", error))?;
    let left_open = check_start(&mut file, site)?;
    Ok(Found { file, len: metadata.len(), left_open })
}

/// The redb file at the path, which cannot be written to.
pub(crate) fn find_to_read(site: &Site) -> Result<File, BackendError> {
    look_at(site)?;
    let mut file = File::open(site.path()).map_err(|error| site.io("open it for reading", error))?;
    check_start(&mut file, site)?;
    Ok(file)
}

fn look_at(site: &Site) -> Result<fs::Metadata, BackendError> {
    let metadata = fs::metadata(site.path()).map_err(|error| site.io("look at it", error))?;
    if metadata.is_dir() {
        return Err(site.error(BackendErrorKind::Invalid, "is a directory, not a file"));
    }
    if !metadata.is_file() {
        return Err(site.error(BackendErrorKind::Invalid, "is not a regular file"));
    }
    Ok(metadata)
}

fn open_found(found: Found, site: &Site, options: &RedbOptions) -> Result<Opened, BackendError> {
    let Found { file, len, left_open } = found;
    // Whoever made the file may not have come to it: from now on things are written that must last.
    create::sync_directory_of(site)?;
    let checked = len <= options.check_on_open_max_bytes;
    let (db, staged) = open(file, site, options, Opening { check: checked, hold: true })?;
    // Why it was left open is not known. After a sync that failed a process ends, and another builds on what is shown.
    Ok(Opened { db, checked, staged, doubtful: left_open && checked })
}

/// Opens a file as a database, whatever is in it.
pub(crate) fn open(
    file: File,
    site: &Site,
    options: &RedbOptions,
    opening: Opening,
) -> Result<(Database, Arc<Staged>), BackendError> {
    let allocated = allocated_bytes(&file).map_err(|error| site.io("look at it", error))?;
    let backend = FileBackend::new(file).map_err(|error| site.engine("open it", error))?;
    let storage = ZeroFilled::new(
        site.path(),
        backend,
        allocated,
        options.preallocate_step,
        options.wrap.as_ref(),
        opening.hold,
    )
    .map_err(|error| site.io("look at it", error))?;
    let staged = storage.staged();
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.set_check_integrity_on_open(opening.check);
    let db = site.guard("open the database", || {
        builder.create_with_backend(storage).map_err(|error| site.engine("open the database", error))
    })?;
    Ok((db, staged))
}

/// How many bytes of the file have blocks of their own, as far as the system tells.
fn allocated_bytes(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(metadata.len().min(metadata.blocks().saturating_mul(512)))
    }
    #[cfg(not(unix))]
    Ok(metadata.len())
}

/// Tells a file of another sort from a damaged one. Whether it was left open.
fn check_start(file: &mut File, site: &Site) -> Result<bool, BackendError> {
    let mut start = Vec::with_capacity(MAGIC.len() + 1);
    file.by_ref()
        .take(MAGIC.len() as u64 + 1)
        .read_to_end(&mut start)
        .and_then(|_| file.seek(SeekFrom::Start(0)))
        .map_err(|error| site.io("read it", error))?;
    if start.is_empty() {
        let what = "is empty: an empty file is not a queue, and was not made one";
        return Err(site.corrupted(what));
    }
    let Some(flags) = start.strip_prefix(&MAGIC) else {
        let what = "is not a redb file; it was not changed";
        return Err(site.error(BackendErrorKind::Invalid, what));
    };
    Ok(flags.first().is_none_or(|flags| flags & LEFT_OPEN != 0))
}

/// Refuses another program's database, and one of a newer format, without changing them, where that can be
/// told without: redb writes to every database that it opens for writing.
fn refuse_foreign(site: &Site) -> Result<(), BackendError> {
    // The first look takes no lock, because two openers that look at the same time must not keep each
    // other out. What it sees may be in the middle of a write, so a refusal is looked at again under a lock.
    if peek(site, false).is_ok() { Ok(()) } else { peek(site, true) }
}

/// An error when the file is certainly not ours. Anything that stands in the way of knowing (a crash to recover
/// from, damage, another opener) is left to the opening proper.
fn peek(site: &Site, lock: bool) -> Result<(), BackendError> {
    let look = || -> Result<Option<ReadOnlyDatabase>, BackendError> {
        let file = File::open(site.path()).map_err(|error| site.io("open it", error))?;
        let backend = FileBackend::new(file).map_err(|error| site.engine("open it", error))?;
        let mut builder = Database::builder();
        builder.set_cache_size(1 << 20);
        let opened = if lock {
            builder.open_read_only_with_backend(backend)
        } else {
            builder.open_read_only_with_backend(Unlocked(backend))
        };
        Ok(opened.ok())
    };
    let verdict = site.guard("look at the database", || match look()? {
        Some(db) => read_format(&db, site).map(|_| ()),
        None => Ok(()),
    });
    match verdict {
        Err(error) if matches!(error.kind(), BackendErrorKind::Invalid | BackendErrorKind::NewerFormat) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The format of a database; `Invalid` when it has no tables of ours.
fn read_format(db: &impl ReadableDatabase, site: &Site) -> Result<u32, BackendError> {
    let txn = db.begin_read().map_err(|error| site.engine("begin to read", error))?;
    match txn.open_table(site.layout().meta()) {
        Ok(meta) => format::read(&meta, site),
        Err(TableError::TableDoesNotExist(_)) => Err(foreign(site)),
        Err(error) => Err(site.engine("open the table of formats", error)),
    }
}

/// The error that says that a database has no tables of ours.
pub(crate) fn foreign(site: &Site) -> BackendError {
    let what = "is a redb database without poolqueue tables: another program's";
    site.error(BackendErrorKind::Invalid, what)
}

/// A file without locks: redb then goes without.
#[derive(Debug)]
struct Unlocked(FileBackend);

impl StorageBackend for Unlocked {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, redb::BackendError> {
        Err(redb::BackendError::Unsupported)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Err(redb::BackendError::Unsupported)
    }
}
