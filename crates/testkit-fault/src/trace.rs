//! What was done to files, in order.

use std::path::PathBuf;

/// A file, whatever its names: two openings of one file have one number, a removed file's number is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// One operation that was done, successfully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file was made under this name.
    Create {
        /// The new file.
        file: FileId,
        /// Its name.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// Where to.
        file: FileId,
        /// From this byte on.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// The length was set; what is new is zero.
    SetLen {
        /// Of which file.
        file: FileId,
        /// To so many bytes.
        len: u64,
    },
    /// The file's contents and length were made durable.
    Sync {
        /// Which file.
        file: FileId,
    },
    /// A file got one more name.
    Link {
        /// The file.
        file: FileId,
        /// Its new name.
        path: PathBuf,
    },
    /// A name was changed, in place of whatever had the new one.
    Rename {
        /// The former name.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name was removed.
    Remove {
        /// Which one.
        path: PathBuf,
    },
    /// The names in a directory were made durable.
    SyncDirectory {
        /// Which directory.
        path: PathBuf,
    },
    /// Whoever drives the store was answered for the so-and-so-manieth time.
    Mark(u64),
}
