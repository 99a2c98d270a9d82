//! Stores on real files, and what a trace says of them.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use poolqueue_testkit_fault::trace::{FileId, Op};

pub mod life;
pub mod power;
pub mod site;

/// Files by their names.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The directory that a trace leads to when nothing is lost.
pub fn replay(ops: &[Op]) -> Files {
    let (mut names, mut bytes) = (BTreeMap::new(), HashMap::<FileId, Vec<u8>>::new());
    for op in ops {
        match op {
            Op::Create { file, path } => {
                names.insert(path.clone(), *file);
                bytes.insert(*file, Vec::new());
            }
            Op::Write { file, offset, data } => {
                let (start, file) = (usize::try_from(*offset).unwrap(), bytes.get_mut(file).unwrap());
                file.resize(file.len().max(start + data.len()), 0);
                file[start..start + data.len()].copy_from_slice(data);
            }
            Op::SetLen { file, len } => {
                bytes.get_mut(file).unwrap().resize(usize::try_from(*len).unwrap(), 0);
            }
            Op::Link { file, path } => {
                names.insert(path.clone(), *file);
            }
            Op::Rename { from, to } => {
                let file = names.remove(from).unwrap();
                names.insert(to.clone(), file);
            }
            Op::Remove { path } => {
                names.remove(path).unwrap();
            }
            Op::Sync { .. } | Op::SyncDirectory { .. } | Op::Mark(_) => {}
        }
    }
    names.into_iter().map(|(path, file)| (path, bytes[&file].clone())).collect()
}

/// The directory as it is.
pub fn files(directory: &Path) -> Files {
    let root = std::fs::canonicalize(directory).unwrap();
    let paths = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Where files are in memory, if the machine has such a place.
pub fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(directory) = tempfile::Builder::new().prefix("poolqueue-").tempdir_in(memory)
    {
        return directory;
    }
    tempfile::tempdir().unwrap()
}
