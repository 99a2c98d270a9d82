//! What stands between redb and the file: zero-filling ahead of the pages in use.
//!
//! redb sets the length of its file with `ftruncate`, which leaves a hole; the first write to each page of the
//! hole then allocates blocks and changes the file's metadata within the commit, which on a busy machine costs
//! several times the sync itself. So before a page past the *frontier* is written, zeroes are, up to
//! [`preallocate_step`](crate::RedbOptions::preallocate_step) further on. Zeroes are written, not `fallocate`d:
//! a block that is only reserved is converted, a metadata change again, when it is first written.
//!
//! The length of the file is always the one redb set, so a crash at any instant leaves a file that redb would
//! have left. Zeroes go only where the file was zero before: in what grew since the file was opened, known by
//! its offset, and in what was there before, known by reading it. A zero block that turns out to be in use
//! is thus rewritten with what it holds.

mod staged;

use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;

pub(crate) use staged::Staged;

/// Reads and writes of one file. Not part of the public interface: tests and tools put recorders and fault
/// injectors here.
#[doc(hidden)]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// The length of the file.
    ///
    /// # Errors
    /// What the system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// What the system reports.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `out`.
    ///
    /// # Errors
    /// What the system reports.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Sets the length; what is new is zero.
    ///
    /// # Errors
    /// What the system reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written before durable.
    ///
    /// # Errors
    /// What the system reports.
    fn sync_data(&self) -> io::Result<()>;

    /// Writes all of `data`.
    ///
    /// # Errors
    /// What the system reports.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

/// Puts something around the storage of a file: its path, what is there, what is to be used.
#[doc(hidden)]
pub type Wrap = Arc<dyn Fn(&Path, Box<dyn Storage>) -> Box<dyn Storage> + Send + Sync>;

/// The file itself.
#[derive(Debug)]
struct Plain(Arc<FileBackend>);

impl Storage for Plain {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(&*self.0)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(&*self.0, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        StorageBackend::set_len(&*self.0, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        StorageBackend::sync_data(&*self.0)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        StorageBackend::write(&*self.0, offset, data)
    }
}

/// Where the zeroes end.
#[derive(Debug)]
struct Fill {
    /// The length of the file.
    len: u64,
    /// Blocks before this offset are taken as allocated.
    frontier: u64,
    /// From here to `len` the file is known to be zero wherever the frontier has not passed.
    zero_from: u64,
}

/// The backend handed to redb: locks go to the file, reads and writes to the storage around it.
#[derive(Debug)]
pub(crate) struct ZeroFilled {
    file: Arc<FileBackend>,
    io: Arc<Staged>,
    step: u64,
    fill: Mutex<Fill>,
}

/// The unit in which a file that was there before is looked at for zeroes.
const BLOCK: usize = 4096;
/// The most bytes written or read at once.
const CHUNK: usize = 1 << 20;

impl ZeroFilled {
    /// Around `file`, of whose bytes the first `allocated` are taken to have blocks of their own. Where it is to `hold`,
    /// nothing is written before [`staged`](Self::staged) is released.
    pub(crate) fn new(
        path: &Path,
        file: FileBackend,
        allocated: u64,
        step: u64,
        wrap: Option<&Wrap>,
        hold: bool,
    ) -> io::Result<Self> {
        let file = Arc::new(file);
        let plain: Box<dyn Storage> = Box::new(Plain(Arc::clone(&file)));
        let io = match wrap {
            Some(wrap) => wrap(path, plain),
            None => plain,
        };
        let len = io.len()?;
        let fill = Fill { len, frontier: allocated.min(len), zero_from: len };
        let io = Arc::new(if hold { Staged::holding(io)? } else { Staged::released(io) });
        Ok(ZeroFilled { file, io, step, fill: Mutex::new(fill) })
    }

    /// What holds the writes back.
    pub(crate) fn staged(&self) -> Arc<Staged> {
        Arc::clone(&self.io)
    }

    fn fill(&self) -> MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the frontier past `end`, the end of a page that is about to be written.
    fn advance(&self, fill: &mut Fill, end: u64) -> io::Result<()> {
        if self.step == 0 || end <= fill.frontier {
            return Ok(());
        }
        let distance = end - fill.frontier;
        if distance > self.step.saturating_mul(4) {
            // A page far out, where the allocator found room for a large value. What lies between stays a
            // hole, and what lies past the frontier has to be looked at from now on.
            fill.zero_from = fill.zero_from.max(end.min(fill.len));
            return Ok(());
        }
        let target = end.saturating_add(self.step).min(fill.len);
        let mut at = fill.frontier;
        while at < target {
            let chunk = usize::try_from(target - at).unwrap_or(CHUNK).min(CHUNK);
            if at >= fill.zero_from {
                self.io.write(at, zeroes(chunk))?;
            } else {
                self.rewrite_zero_blocks(at, chunk)?;
            }
            at += chunk as u64;
            fill.frontier = at;
        }
        Ok(())
    }

    /// Writes zeroes where there are zeroes within `len` bytes at `offset`, and nothing anywhere else.
    fn rewrite_zero_blocks(&self, offset: u64, len: usize) -> io::Result<()> {
        let mut buffer = vec![0; len];
        self.io.read(offset, &mut buffer)?;
        let mut at = offset;
        let mut run: Option<(u64, usize)> = None;
        for block in buffer.chunks(BLOCK) {
            if block == zeroes(block.len()) {
                let (start, length) = run.unwrap_or((at, 0));
                run = Some((start, length + block.len()));
            } else if let Some((start, length)) = run.take() {
                self.io.write(start, zeroes(length))?;
            }
            at += block.len() as u64;
        }
        match run {
            Some((start, length)) => self.io.write(start, zeroes(length)),
            None => Ok(()),
        }
    }
}

/// `len` zeroes, at most [`CHUNK`].
fn zeroes(len: usize) -> &'static [u8] {
    static ZEROES: [u8; CHUNK] = [0; CHUNK];
    ZEROES.get(..len).unwrap_or(&ZEROES)
}

impl StorageBackend for ZeroFilled {
    fn len(&self) -> io::Result<u64> {
        self.io.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.io.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut fill = self.fill();
        self.io.set_len(len)?;
        let grew_from = fill.len;
        fill.len = len;
        fill.frontier = fill.frontier.min(len);
        fill.zero_from = fill.zero_from.min(len);
        if len <= grew_from || self.step == 0 {
            return Ok(());
        }
        // No write goes past the old end before the new one is durable: redb does not open a file that ends
        // in the middle of a page, where a torn write of zeroes could otherwise leave it. Growing is rare.
        self.io.sync_data()?;
        self.advance(&mut fill, grew_from.saturating_add(1).min(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.io.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        // Only the writer's thread writes; the lock keeps the frontier and the write together all the same.
        let mut fill = self.fill();
        self.advance(&mut fill, end)?;
        self.io.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        StorageBackend::close(&*self.file)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests;
