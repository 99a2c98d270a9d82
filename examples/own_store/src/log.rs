//! The file: a header, then one frame for each transaction.
//!
//! ```text
//! header: "POOLQLOG", version (u32), CRC-32 of both
//! frame:  length of the entries (u64), CRC-32 of the frame's place and the length, CRC-32 of the entries, entries
//! ```
//!
//! The last frame may be torn: its transaction was never answered, and it is cut off when the log is opened. A bad
//! frame with a whole one behind it is no torn one: that is damage, and nothing is changed. Damage to the very last
//! frame of a log that was not closed cannot be told from a torn one; `close` writes an empty frame against that.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use poolqueue_core::{Applied, BackendError, BackendErrorKind};

use crate::entry::Entry;
use crate::rows::Rows;

const MAGIC: &[u8; 8] = b"POOLQLOG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const FRAME_BYTES: usize = 16;

/// The file, open for appending.
pub struct Log {
    path: PathBuf,
    file: File,
    /// Where the next frame goes.
    end: u64,
    /// Set when it is not known what is in the file: only opening it again tells.
    broken: bool,
}

impl Log {
    /// Opens the log and reads its rows; makes it if it is not there.
    ///
    /// With `anew` the log is written anew under another name first. A log that is mostly history of jobs that are gone
    /// is, too, so that opening takes as long as there are jobs and not as long as there ever were.
    pub fn open(path: &Path, anew: bool) -> Result<(Log, Rows), BackendError> {
        if !path.try_exists().map_err(|error| failed(path, "looked for", error))? {
            write_anew(path, &Rows::default())?;
        }
        let mut read = read(path)?;
        if anew || read.entries > 1_000 + 4 * read.rows.len() {
            match write_anew(path, &read.rows) {
                Ok(end) => read.end = end,
                // It was only to save room, and there is none: the log is as it was.
                Err(error) if !anew && error.kind() == BackendErrorKind::Full => {}
                Err(error) => return Err(error),
            }
        }
        let open = || {
            let mut file = File::options().read(true).write(true).open(path)?;
            file.set_len(read.end)?;
            // What was read may still be on its way to the disk. Nobody may rely on it before it is there.
            file.sync_all()?;
            sync_folder(path)?;
            file.seek(SeekFrom::Start(read.end))?;
            Ok(file)
        };
        let file = open().map_err(|error| failed(path, "opened", error))?;
        Ok((Log { path: path.to_owned(), file, end: read.end, broken: false }, read.rows))
    }

    /// Appends a frame and makes it durable.
    pub fn append(&mut self, entries: &[u8]) -> Result<(), BackendError> {
        if self.broken {
            return Err(BackendError::new(
                BackendErrorKind::Io,
                "an earlier write failed: open the log again",
            ));
        }
        let head = frame_head(self.end, entries);
        let written = self.file.write_all(&head).and_then(|()| self.file.write_all(entries));
        if let Err(error) = written {
            // The disk is full, most likely. Without what was written of the frame, the log can go on.
            let cut = self.file.set_len(self.end).and_then(|()| self.file.seek(SeekFrom::Start(self.end)));
            self.broken = cut.is_err();
            let applied = if self.broken { Applied::Unknown } else { Applied::No };
            return Err(failed(&self.path, "written", error).with_applied(applied));
        }
        if let Err(error) = self.file.sync_data() {
            // A second sync may succeed and mean nothing: the kernel has given up on those pages.
            self.broken = true;
            return Err(failed(&self.path, "synced", error).with_applied(Applied::Unknown));
        }
        self.end += (head.len() + entries.len()) as u64;
        Ok(())
    }
}

/// Takes the lock of the log, which lasts as long as the file returned is open. It is on a file of its own, because
/// the log itself may be replaced.
pub fn lock(path: &Path) -> Result<File, BackendError> {
    let lock_path = beside(path, "lock");
    let open = File::options().create(true).truncate(false).write(true).open(&lock_path);
    let file = open.map_err(|error| failed(&lock_path, "opened", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("{} is already open, here or in another process", path.display());
            Err(BackendError::new(BackendErrorKind::AlreadyOpen, message))
        }
        Err(TryLockError::Error(error)) => Err(failed(&lock_path, "locked", error)),
    }
}

/// What a log holds.
pub struct Read {
    pub rows: Rows,
    /// Where its last whole frame ends.
    end: u64,
    entries: usize,
}

/// Reads a log without changing it.
pub fn read(path: &Path) -> Result<Read, BackendError> {
    let bytes = fs::read(path).map_err(|error| failed(path, "read", error))?;
    check_header(path, &bytes)?;
    let (mut rows, mut at, mut count) = (Rows::default(), HEADER_BYTES, 0);
    while at < bytes.len() {
        let Some(mut entries) = frame_at(&bytes, at) else {
            if (at + 1..bytes.len()).any(|later| frame_at(&bytes, later).is_some()) {
                let what = format!("{}: the transaction at byte {at} is damaged", path.display());
                return Err(BackendError::corrupted(what));
            }
            break;
        };
        at += FRAME_BYTES + entries.len();
        while !entries.is_empty() {
            drop(rows.apply(Entry::read_from(&mut entries)?)?);
            count += 1;
        }
    }
    Ok(Read { rows, end: at as u64, entries: count })
}

/// Writes a log of these rows under another name, makes it durable, and only then gives it its own name. Returns where
/// it ends. After an error the log is as it was.
fn write_anew(path: &Path, rows: &Rows) -> Result<u64, BackendError> {
    let temporary = beside(path, "new");
    let write = || {
        let mut file = BufWriter::new(File::create(&temporary)?);
        file.write_all(&header())?;
        let (mut at, mut entries) = (HEADER_BYTES as u64, Vec::new());
        for entry in rows.entries() {
            entries.clear();
            entry.write_to(&mut entries).map_err(io::Error::other)?;
            file.write_all(&frame_head(at, &entries))?;
            file.write_all(&entries)?;
            at += (FRAME_BYTES + entries.len()) as u64;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&temporary, path)?;
        Ok(at)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(&temporary, "written", error)
    })
}

/// Makes a file's name durable: it is a line in its folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}

fn header() -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn check_header(path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    let name = path.display();
    if !bytes.starts_with(MAGIC) {
        let message = format!("{name} is not a log of this store, and was not changed");
        return Err(BackendError::new(BackendErrorKind::Invalid, message));
    }
    let whole = u32_at(bytes, 12).is_some_and(|crc| crc == crc32fast::hash(&bytes[..12]));
    match u32_at(bytes, 8).filter(|_| whole) {
        Some(VERSION) => Ok(()),
        Some(version) => {
            let message = format!("{name} has format {version}, this store reads format {VERSION}");
            Err(BackendError::new(BackendErrorKind::NewerFormat, message))
        }
        None => Err(BackendError::corrupted(format!("{name}: the header is damaged"))),
    }
}

/// What precedes a frame's entries. Its own checksum covers its place, so that a payload that holds a frame is not
/// taken for one.
fn frame_head(at: u64, entries: &[u8]) -> Vec<u8> {
    let length = (entries.len() as u64).to_le_bytes();
    let head_crc = crc32fast::hash(&[at.to_le_bytes(), length].concat());
    [&length[..], &head_crc.to_le_bytes(), &crc32fast::hash(entries).to_le_bytes()].concat()
}

/// The entries of the whole frame at `at`, if there is one.
fn frame_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + FRAME_BYTES)?;
    let length = u64::from_le_bytes(*head.first_chunk()?);
    if u32_at(head, 8)? != crc32fast::hash(&[(at as u64).to_le_bytes(), length.to_le_bytes()].concat()) {
        return None;
    }
    let from = at + FRAME_BYTES;
    let entries = bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)?;
    (u32_at(head, 12)? == crc32fast::hash(entries)).then_some(entries)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

/// The name of a file that goes with the log.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

fn failed(path: &Path, what: &str, error: io::Error) -> BackendError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BackendErrorKind::Full,
        _ => BackendErrorKind::Io,
    };
    BackendError::new(kind, format!("{} could not be {what}", path.display())).with_source(error)
}
