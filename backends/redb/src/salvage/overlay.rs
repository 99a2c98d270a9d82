//! A file that is read and never written: what redb writes stays in memory.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use poolqueue_core::{BackendError, BackendErrorKind};
use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::site::Site;
use crate::storage::{Staged, Storage};

/// The bytes of the header that are looked at.
const HEADER_BYTES: usize = 32;
/// Where the header of redb 4 has what is read here, and how its numbers are kept.
const GOD_BYTE: usize = 9;
/// Regions that are full, and pages of the last one: 32 bits each.
const REGION_COUNTS: usize = 24;
const PRIMARY: u8 = 1;
const RECOVERY_REQUIRED: u8 = 2;
const TWO_PHASE_COMMIT: u8 = 4;
const PRIMARY_UNFLUSHED: u8 = 8;

/// See the module. Locked as a reader locks it, which keeps every writer out.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Arc<FileBackend>,
    staged: Mutex<Arc<Staged>>,
}

/// The file itself, for reading.
#[derive(Debug)]
struct Original(Arc<FileBackend>);

impl Overlay {
    pub(super) fn new(file: File, site: &Site) -> Result<Self, BackendError> {
        let file = FileBackend::new(file).map_err(|error| site.engine("open it", error))?;
        let file = Arc::new(file);
        let taken = file.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded);
        match taken {
            Ok(true) | Err(redb::BackendError::Unsupported) => {}
            Ok(false) => {
                let what = "is open, here or in another process: it has to be closed first";
                return Err(site.error(BackendErrorKind::AlreadyOpen, what));
            }
            Err(error) => {
                return Err(site.error(BackendErrorKind::Io, format_args!("cannot lock it: {error}")));
            }
        }
        let staged = Self::stage(&file).map_err(|error| site.io("look at it", error))?;
        Ok(Overlay { file, staged: Mutex::new(staged) })
    }

    fn stage(file: &Arc<FileBackend>) -> io::Result<Arc<Staged>> {
        Staged::holding(Box::new(Original(Arc::clone(file)))).map(Arc::new)
    }

    fn staged(&self) -> Arc<Staged> {
        Arc::clone(&self.staged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets what was written, but for this at the start.
    pub(super) fn reset(&self, start: [u8; HEADER_BYTES]) -> io::Result<()> {
        let staged = Self::stage(&self.file)?;
        Storage::write(&staged, 0, &start)?;
        *self.staged.lock().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok(())
    }
}

impl Storage for Original {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(&*self.0)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(&*self.0, offset, out)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// The overlay as redb uses it. Nobody else does, so every lock is free.
#[derive(Debug)]
pub(super) struct Private(pub(super) Arc<Overlay>);

impl StorageBackend for Private {
    fn len(&self) -> io::Result<u64> {
        Storage::len(&self.0.staged())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Storage::read(&self.0.staged(), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Storage::set_len(&self.0.staged(), len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Storage::write(&self.0.staged(), offset, data)
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(false)
    }
}

/// The start of a redb file: which of the two places of commits is the current one, and whether there is anything to
/// recover.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header([u8; HEADER_BYTES]);

impl Header {
    pub(super) fn read(overlay: &Overlay) -> io::Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        Storage::read(&Original(Arc::clone(&overlay.file)), 0, &mut bytes)?;
        Ok(Header(bytes))
    }

    /// The two places of commits, the current one first.
    pub(super) fn slots(&self) -> [u8; 2] {
        let primary = self.0.get(GOD_BYTE).copied().unwrap_or_default() & PRIMARY;
        [primary, primary ^ PRIMARY]
    }

    /// The same file, closed in order after the commit in this place, and small: how large it is, nobody asks who only
    /// reads.
    pub(super) fn calm(&self, slot: u8) -> [u8; HEADER_BYTES] {
        let mut bytes = self.0;
        let old = bytes.get(GOD_BYTE).copied().unwrap_or_default();
        let god = (old & !(PRIMARY | RECOVERY_REQUIRED | PRIMARY_UNFLUSHED)) | TWO_PHASE_COMMIT | slot;
        let (god, regions) = ([god], [0, 0, 0, 0, 1, 0, 0, 0]);
        let patch = [(GOD_BYTE, god.as_slice()), (REGION_COUNTS, regions.as_slice())];
        for (at, with) in patch {
            bytes.iter_mut().skip(at).zip(with).for_each(|(to, from)| *to = *from);
        }
        bytes
    }
}
