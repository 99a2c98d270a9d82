//! What is done to the files of a directory, written down.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::trace::Op;
use crate::watch::{self, Inode, State, Watch};

/// Everything that this process does to the files below one directory, in order.
///
/// Only what succeeded is recorded, with the bytes that were really written. What is written through a memory map is
/// not seen: SQLite's `-shm`, which it never relies upon after a loss of power, is the only such file here.
#[must_use = "nothing is recorded once this is dropped"]
pub struct Recording {
    watch: Arc<Watch>,
}

impl Recording {
    /// Begins to record. Files that are there already stand at the beginning of the trace, as if they had been written
    /// and made durable.
    ///
    /// # Errors
    /// What the system says of the directory.
    ///
    /// # Panics
    /// When it is being recorded already, or a directory above or below it is watched.
    pub fn start(directory: impl AsRef<Path>) -> io::Result<Self> {
        let watch = watch::of_directory(directory.as_ref())?;
        // Not under the lock, which reading asks for.
        let found = found_in(watch.root())?;
        let mut state = watch.lock();
        assert!(!state.is_recording(), "this directory is recorded already");
        let ops = as_found(&watch, &mut state, found);
        *state.recording() = Some(ops);
        drop(state);
        Ok(Recording { watch })
    }

    /// Notes that whoever drives the store was answered.
    pub fn mark(&self, number: u64) {
        self.watch.lock().record(|| Op::Mark(number));
    }

    /// How many operations were recorded so far.
    pub fn len(&self) -> usize {
        self.watch.lock().recording().as_ref().map_or(0, Vec::len)
    }

    /// Whether nothing was recorded so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends it.
    pub fn finish(self) -> Vec<Op> {
        let ops = self.watch.lock().recording().take();
        ops.unwrap_or_default()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        *self.watch.lock().recording() = None;
        self.watch.leave();
    }
}

/// A file that is there when the recording begins.
struct Found {
    path: PathBuf,
    inode: Inode,
    data: Vec<u8>,
}

fn found_in(directory: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() {
            found.push(Found { inode: watch::inode(&metadata), data: fs::read(&path)?, path });
        }
    }
    Ok(found)
}

/// The operations that would have led to what is there.
fn as_found(watch: &Arc<Watch>, state: &mut State, found: Vec<Found>) -> Vec<Op> {
    let (mut ops, mut known) = (Vec::new(), HashSet::new());
    for Found { path, inode, data } in found {
        let file = watch.number(state, inode, &path);
        if known.insert(file) {
            ops.push(Op::Create { file, path });
            ops.push(Op::Write { file, offset: 0, data });
            ops.push(Op::Sync { file });
        } else {
            ops.push(Op::Link { file, path });
        }
    }
    if !ops.is_empty() {
        ops.push(Op::SyncDirectory { path: watch.root().to_owned() });
    }
    ops
}
