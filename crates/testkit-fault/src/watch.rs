//! Which files are watched, and for whom.

use std::collections::HashMap;
use std::ffi::c_int;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::faults::{Hit, Operation, Plan};
use crate::trace::{FileId, Op};

/// How many directories are watched. When none is, this is all that a call is asked.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static WATCHES: RwLock<Vec<Arc<Watch>>> = RwLock::new(Vec::new());
/// Files in watched directories. Kept by inode, not by descriptor: a descriptor can be duplicated unseen.
static FILES: RwLock<Option<HashMap<Inode, Known>>> = RwLock::new(None);

/// Device and number.
pub(crate) type Inode = (u64, u64);

#[derive(Clone)]
struct Known {
    watch: Arc<Watch>,
    file: FileId,
}

/// A directory whose files are recorded, or fail, or both.
pub(crate) struct Watch {
    root: PathBuf,
    state: Mutex<State>,
}

/// Held while the system does what was asked, so that the record has the order in which it happened.
#[derive(Default)]
pub(crate) struct State {
    /// The first name of each file, by its number.
    names: Vec<PathBuf>,
    recording: Option<Vec<Op>>,
    faults: Option<Planned>,
}

/// What is to fail, and what has happened.
#[derive(Default)]
pub(crate) struct Planned {
    pub(crate) plan: Option<Plan>,
    pub(crate) seen: [u64; Operation::ALL.len()],
    pub(crate) hits: Vec<Hit>,
}

/// What is to become of an operation that does not simply fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    Go,
    /// Only a part is to be written.
    Short,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether anything is watched at all.
#[inline]
pub(crate) fn any() -> bool {
    COUNT.load(Ordering::Acquire) != 0
}

/// The watch of this directory: a new one, unless it has one.
pub(crate) fn of_directory(directory: &Path) -> io::Result<Arc<Watch>> {
    crate::interpose::keep();
    let root = fs::canonicalize(directory)?;
    let mut watches = WATCHES.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(watch) = watches.iter().find(|watch| watch.root == root) {
        return Ok(Arc::clone(watch));
    }
    assert!(
        watches.iter().all(|watch| !watch.root.starts_with(&root) && !root.starts_with(&watch.root)),
        "a directory in a watched one is watched with it"
    );
    let watch = Arc::new(Watch { root, state: Mutex::default() });
    for entry in fs::read_dir(&watch.root)? {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() {
            watch.add(&mut lock(&watch.state), inode(&metadata), &path);
        }
    }
    watches.push(Arc::clone(&watch));
    COUNT.store(watches.len(), Ordering::Release);
    Ok(watch)
}

pub(crate) fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// The watch in whose directory the name is.
pub(crate) fn of_name(name: &Path) -> Option<Arc<Watch>> {
    let watches = WATCHES.read().unwrap_or_else(PoisonError::into_inner);
    watches.iter().find(|watch| name.starts_with(&watch.root)).cloned()
}

/// The watch of a file that was made or opened in its directory.
pub(crate) fn of_file(inode: Inode) -> Option<(Arc<Watch>, FileId)> {
    let files = FILES.read().unwrap_or_else(PoisonError::into_inner);
    files.as_ref()?.get(&inode).map(|known| (Arc::clone(&known.watch), known.file))
}

/// A file outside of all watched directories has this inode: whoever had it before is gone.
pub(crate) fn forget(inode: Inode) {
    // Mostly there is nothing to forget, and then others need not wait.
    if of_file(inode).is_some()
        && let Some(files) = &mut *FILES.write().unwrap_or_else(PoisonError::into_inner)
    {
        files.remove(&inode);
    }
}

impl Watch {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives a file a number.
    pub(crate) fn add(self: &Arc<Self>, state: &mut State, inode: Inode, name: &Path) -> FileId {
        let file = FileId(u32::try_from(state.names.len()).unwrap_or(u32::MAX));
        state.names.push(name.to_owned());
        let known = Known { watch: Arc::clone(self), file };
        let mut files = FILES.write().unwrap_or_else(PoisonError::into_inner);
        files.get_or_insert_default().insert(inode, known);
        file
    }

    /// The number of a file in this directory, which it may not have had so far.
    pub(crate) fn number(self: &Arc<Self>, state: &mut State, inode: Inode, name: &Path) -> FileId {
        match of_file(inode) {
            Some((watch, file)) if Arc::ptr_eq(&watch, self) => file,
            _ => self.add(state, inode, name),
        }
    }

    /// Ends the watch if nobody wants anything of it any more.
    pub(crate) fn leave(self: &Arc<Self>) {
        // In the order in which a new watch takes them.
        let mut watches = WATCHES.write().unwrap_or_else(PoisonError::into_inner);
        let state = lock(&self.state);
        if state.recording.is_some() || state.faults.is_some() {
            return;
        }
        watches.retain(|watch| !Arc::ptr_eq(watch, self));
        COUNT.store(watches.len(), Ordering::Release);
        if let Some(files) = &mut *FILES.write().unwrap_or_else(PoisonError::into_inner) {
            files.retain(|_, known| !Arc::ptr_eq(&known.watch, self));
        }
    }
}

impl State {
    pub(crate) fn recording(&mut self) -> &mut Option<Vec<Op>> {
        &mut self.recording
    }

    pub(crate) fn faults(&mut self) -> &mut Option<Planned> {
        &mut self.faults
    }

    pub(crate) fn name(&self, file: FileId) -> PathBuf {
        self.names.get(file.0 as usize).cloned().unwrap_or_default()
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    pub(crate) fn record(&mut self, op: impl FnOnce() -> Op) {
        if let Some(ops) = &mut self.recording {
            ops.push(op());
        }
    }

    /// Asks whether an operation is to fail: `Err` has the system's number of the error.
    pub(crate) fn meet(
        &mut self,
        operation: Operation,
        name: impl FnOnce(&Self) -> PathBuf,
    ) -> Result<Meeting, c_int> {
        let Some(planned) = &mut self.faults else { return Ok(Meeting::Go) };
        let Some(answer) = planned.meet(operation) else { return Ok(Meeting::Go) };
        let path = name(self);
        if let Some(planned) = &mut self.faults {
            planned.hits.push(Hit { operation, path });
        }
        answer
    }
}
