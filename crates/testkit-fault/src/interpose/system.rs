//! The system itself, without the C library between.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Answer;
use crate::watch::Inode;

/// Whatever a raw system call returned.
pub(super) fn answered(returned: c_long) -> Answer {
    if returned >= 0 { Ok(returned) } else { Err(error()) }
}

fn error() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

pub(super) fn set_error(error: c_int) {
    // SAFETY: the address is that of this thread's own variable, which lives as long as the thread.
    unsafe { *libc::__errno_location() = error }
}

/// What a descriptor stands for.
pub(super) struct Stat {
    pub(super) inode: Inode,
    pub(super) is_directory: bool,
    pub(super) len: i64,
}

/// `None` when the descriptor is of neither a file nor a directory.
pub(super) fn stat(fd: c_int) -> Option<Stat> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the system writes a `stat` to where there is room for one.
    let returned = unsafe { libc::fstat(fd, found.as_mut_ptr()) };
    if returned != 0 {
        return None;
    }
    // SAFETY: it was written, since the call went well.
    let found = unsafe { found.assume_init() };
    let (kind, inode) = (found.st_mode & libc::S_IFMT, (found.st_dev, found.st_ino));
    let is_directory = kind == libc::S_IFDIR;
    (is_directory || kind == libc::S_IFREG).then_some(Stat { inode, is_directory, len: found.st_size })
}

/// The name of what a descriptor stands for.
pub(super) fn name_of(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// The name in its directory, links on the way to it followed; the last part is not. `None` when there is no such
/// directory.
///
/// # Safety
/// `path` is a string that ends with a zero.
pub(super) unsafe fn real_name(directory: c_int, path: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller says so.
    let given = Path::new(std::ffi::OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    let whole = if given.is_absolute() || directory == libc::AT_FDCWD {
        given.to_owned()
    } else {
        name_of(directory)?.join(given)
    };
    let Some(last) = whole.file_name() else { return std::fs::canonicalize(&whole).ok() };
    let parent = match whole.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Some(std::fs::canonicalize(parent).ok()?.join(last))
}

/// Where a descriptor stands.
pub(super) fn position(fd: c_int) -> i64 {
    // SAFETY: takes and returns numbers.
    unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) }
}

/// Reads back what is in a file, by its descriptor's own name, since the descriptor may be one that only writes.
pub(super) fn read_back(fd: c_int, offset: i64, len: usize) -> Vec<u8> {
    let Ok(name) = CString::new(format!("/proc/self/fd/{fd}")) else { return Vec::new() };
    // SAFETY: the name ends with a zero. A raw call: the caller holds what `open` would ask for.
    let opened = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), libc::O_RDONLY) };
    let Some(source) = c_int::try_from(opened).ok().filter(|source| *source >= 0) else { return Vec::new() };
    let mut bytes = vec![0_u8; len];
    let mut done = 0;
    while done < len {
        let room: *mut c_void = bytes[done..].as_mut_ptr().cast();
        // SAFETY: the room begins there and is as long as is said.
        let read = unsafe {
            libc::syscall(
                libc::SYS_pread64,
                source,
                room,
                len - done,
                offset.saturating_add_unsigned(done as u64),
            )
        };
        match usize::try_from(read) {
            Ok(read) if read > 0 => done += read,
            _ => break,
        }
    }
    // SAFETY: it was opened above, and nobody else knows of it.
    unsafe { libc::syscall(libc::SYS_close, source) };
    bytes.truncate(done);
    bytes
}
