//! A store whose file is in memory, recorded, and lost with the power.
#![allow(dead_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use poolqueue_core::{BackendError, Store};
use poolqueue_redb::storage::Storage;
use poolqueue_redb::{RedbOptions, RedbStore};
use poolqueue_testkit_fault::crash::{Disk, Image, Loss};
use poolqueue_testkit_fault::trace::{FileId, Op};

/// The one file of a record, and its name.
const FILE: FileId = FileId(0);
const NAME: &str = "jobs.redb";

/// How far ahead of the pages in use the file is filled: little, so that it happens often.
const PREALLOCATE: u64 = 64 << 10;
/// More than a file here has.
const CACHE: usize = 4 << 20;

/// A file in memory. Copies are the same file.
#[derive(Clone, Debug)]
pub struct Floating(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    image: Image,
    ops: Option<Vec<Op>>,
    off: bool,
}

impl Floating {
    pub fn new(image: Image) -> Self {
        Floating(Arc::new(Mutex::new(State { image, ops: None, off: false })))
    }

    /// One that is recorded from the beginning.
    pub fn recorded(image: Image) -> Self {
        Floating(Arc::new(Mutex::new(State { image, ops: Some(Vec::new()), off: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics with it")
    }

    /// As long as there is power.
    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.off { Err(io::Error::other("the power is off")) } else { Ok(state) }
    }

    /// Notes that the store has answered for the so-and-so-manieth time.
    pub fn mark(&self, number: u64) {
        if let Some(ops) = &mut self.state().ops {
            ops.push(Op::Mark(number));
        }
    }

    /// How many operations were recorded up to now.
    pub fn operations(&self) -> usize {
        self.state().ops.as_ref().map_or(0, Vec::len)
    }

    /// How many syncs were recorded up to now.
    pub fn syncs(&self) -> usize {
        let syncs = |ops: &Vec<Op>| ops.iter().filter(|op| matches!(op, Op::Sync { .. })).count();
        self.state().ops.as_ref().map_or(0, syncs)
    }

    /// The file as it is now.
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// What was recorded.
    pub fn take(&self) -> Vec<Op> {
        self.state().ops.take().unwrap_or_default()
    }

    /// From now on nothing is read or written: what closing would do is of no interest.
    pub fn off(&self) {
        self.state().off = true;
    }
}

impl Storage for Floating {
    fn len(&self) -> io::Result<u64> {
        Ok(self.powered()?.image.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.powered()?.image.read(offset, out);
        if there { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.powered()?;
        state.image.set_len(len);
        if let Some(ops) = &mut state.ops {
            ops.push(Op::SetLen { file: FILE, len });
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(ops) = &mut self.powered()?.ops {
            ops.push(Op::Sync { file: FILE });
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.powered()?;
        state.image.write(offset, data);
        if let Some(ops) = &mut state.ops {
            ops.push(Op::Write { file: FILE, offset, data: data.to_vec() });
        }
        Ok(())
    }
}

/// A disk that has had this file for long.
pub fn disk_with(image: Image) -> Disk {
    Disk::default().with_file(FILE, NAME, image)
}

/// The file, as a power loss left it.
pub fn file_of(loss: &Loss) -> Image {
    loss.files[Path::new(NAME)].clone()
}

/// A place where stores are opened. The file that is there is one that was not closed, as after a power loss; it has the
/// locks and stands for the others, which are in memory, and is never written to.
pub struct Place {
    directory: tempfile::TempDir,
    new: Image,
}

impl Place {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("there is room for a file");
        let path = directory.path().join(NAME);
        let mut store = RedbStore::open(&path, RedbOptions::default()).expect("a new store is made");
        let unclosed = std::fs::read(&path).expect("its file can be read");
        store.close().expect("it is closed");
        let new = Image::from(std::fs::read(&path).expect("its file can be read"));
        std::fs::write(path, unclosed).expect("its file can be written");
        Place { directory, new }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    /// The file of a new store.
    pub fn new_file(&self) -> Image {
        self.new.clone()
    }

    pub fn open(&self, file: &Floating) -> Result<RedbStore, BackendError> {
        self.open_with(file, RedbOptions::default())
    }

    pub fn open_with(&self, file: &Floating, options: RedbOptions) -> Result<RedbStore, BackendError> {
        let file = file.clone();
        let options = options
            .with_cache_bytes(CACHE)
            .with_preallocate_step(PREALLOCATE)
            .with_storage_wrap(Arc::new(move |_, _| Box::new(file.clone())));
        RedbStore::open(self.path(), options)
    }
}

/// The same for redb itself, without the store around it.
impl redb::StorageBackend for Floating {
    fn len(&self) -> io::Result<u64> {
        Storage::len(self)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Storage::read(self, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Storage::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Storage::sync_data(self)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Storage::write(self, offset, data)
    }
}
