//! Functions that take a name: opening and making files, giving and removing names.

use std::ffi::{c_char, c_int, c_uint};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libc::{AT_FDCWD, mode_t, off64_t};

use super::system::{answered, real_name, stat};
use super::{Answer, answer, bytes};
use crate::faults::Operation;
use crate::trace::Op;
use crate::watch::{self, State, Watch};

/// All of them, for the linker.
pub(super) const HOOKS: [*const (); 16] = [
    open as *const (),
    open64 as *const (),
    openat as *const (),
    openat64 as *const (),
    creat as *const (),
    creat64 as *const (),
    truncate as *const (),
    truncate64 as *const (),
    link as *const (),
    linkat as *const (),
    rename as *const (),
    renameat as *const (),
    renameat2 as *const (),
    unlink as *const (),
    unlinkat as *const (),
    remove as *const (),
];

/// The watch in whose directory a name is, and the name.
///
/// # Safety
/// `path` is a string that ends with a zero.
unsafe fn watched(directory: c_int, path: *const c_char) -> Option<(Arc<Watch>, PathBuf)> {
    if !watch::any() {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { real_name(directory, path) }?;
    watch::of_name(&name).map(|watch| (watch, name))
}

fn is_there(name: &Path) -> bool {
    std::fs::symlink_metadata(name).is_ok()
}

/// # Safety
/// As for `openat`.
unsafe fn open_name(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> Answer {
    // SAFETY: handed on as it came.
    let open = || answered(unsafe { libc::syscall(libc::SYS_openat, directory, path, flags, mode) });
    // SAFETY: as above.
    let Some((watch, name)) = (unsafe { watched(directory, path) }) else {
        let fd = open()?;
        // Only a new file can have the inode of one that is gone.
        if watch::any()
            && flags & libc::O_CREAT != 0
            && let Some(found) = stat(descriptor(fd))
        {
            watch::forget(found.inode);
        }
        return Ok(fd);
    };
    let mut state = watch.lock();
    let makes = flags & libc::O_CREAT != 0 && !is_there(&name);
    let operation = if makes { Operation::Create } else { Operation::Open };
    state.meet(operation, |_| name.clone())?;
    let fd = open()?;
    note_opened(&watch, &mut state, descriptor(fd), flags, makes, name);
    Ok(fd)
}

fn descriptor(fd: i64) -> c_int {
    c_int::try_from(fd).unwrap_or(-1)
}

fn note_opened(watch: &Arc<Watch>, state: &mut State, fd: c_int, flags: c_int, makes: bool, name: PathBuf) {
    let Some(found) = stat(fd).filter(|found| !found.is_directory) else { return };
    if makes {
        let file = watch.add(state, found.inode, &name);
        state.record(|| Op::Create { file, path: name });
    } else {
        let file = watch.number(state, found.inode, &name);
        if flags & libc::O_TRUNC != 0 {
            state.record(|| Op::SetLen { file, len: 0 });
        }
    }
}

/// # Safety
/// As for `truncate`.
unsafe fn set_length(path: *const c_char, len: off64_t) -> Answer {
    // By a descriptor, so that there is one place where lengths are set.
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: handed on as it came.
    let fd = answered(unsafe { libc::syscall(libc::SYS_openat, AT_FDCWD, path, flags, 0) })?;
    let done = bytes::set_length(descriptor(fd), len);
    // SAFETY: it was opened above, and nobody else knows of it.
    unsafe { libc::syscall(libc::SYS_close, fd) };
    done
}

/// # Safety
/// As for `linkat`.
unsafe fn link_name(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
    flags: c_int,
) -> Answer {
    // SAFETY: handed on as it came.
    let link = || answered(unsafe { libc::syscall(libc::SYS_linkat, from_at, from, to_at, to, flags) });
    // SAFETY: as above.
    let Some((watch, name)) = (unsafe { watched(to_at, to) }) else { return link() };
    let mut state = watch.lock();
    state.meet(Operation::Link, |_| name.clone())?;
    let done = link()?;
    if let Ok(metadata) = std::fs::metadata(&name) {
        let file = watch.number(&mut state, watch::inode(&metadata), &name);
        state.record(|| Op::Link { file, path: name });
    }
    Ok(done)
}

/// # Safety
/// As for `renameat2`.
unsafe fn change_name(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
    flags: c_uint,
) -> Answer {
    // SAFETY: handed on as it came.
    let rename = || answered(unsafe { libc::syscall(libc::SYS_renameat2, from_at, from, to_at, to, flags) });
    // SAFETY: as above.
    let (before, after) = unsafe { (watched(from_at, from), watched(to_at, to)) };
    match (before, after) {
        (None, None) => rename(),
        (Some((watch, former)), Some((other, name)))
            if Arc::ptr_eq(&watch, &other) && flags & libc::RENAME_EXCHANGE == 0 =>
        {
            let mut state = watch.lock();
            state.meet(Operation::Link, |_| name.clone())?;
            let done = rename()?;
            state.record(|| Op::Rename { from: former, to: name });
            Ok(done)
        }
        // Nobody here does it; rather that than a wrong record.
        _ => Err(libc::EXDEV),
    }
}

/// # Safety
/// As for `unlinkat`.
unsafe fn remove_name(directory: c_int, path: *const c_char, flags: c_int) -> Answer {
    // SAFETY: handed on as it came.
    let unlink = || answered(unsafe { libc::syscall(libc::SYS_unlinkat, directory, path, flags) });
    // SAFETY: as above.
    let known = if flags & libc::AT_REMOVEDIR == 0 { unsafe { watched(directory, path) } } else { None };
    let Some((watch, name)) = known else { return unlink() };
    let mut state = watch.lock();
    if !is_there(&name) {
        // Looking for what is not there removes nothing.
        return unlink();
    }
    state.meet(Operation::Remove, |_| name.clone())?;
    let done = unlink()?;
    state.record(|| Op::Remove { path: name });
    Ok(done)
}

/// The mode is the first of the variadic arguments, and comes in the register in which the third or fourth of a fixed
/// list does; when it is not given, it is not looked at.
///
/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { open_name(AT_FDCWD, path, flags, mode) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { open_name(AT_FDCWD, path, flags, mode) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { open_name(directory, path, flags, mode) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { open_name(directory, path, flags, mode) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    // SAFETY: handed on as it came.
    answer(unsafe { open_name(AT_FDCWD, path, flags, mode) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn creat64(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    unsafe { creat(path, mode) }
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn truncate(path: *const c_char, len: off64_t) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { set_length(path, len) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn truncate64(path: *const c_char, len: off64_t) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { set_length(path, len) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { link_name(AT_FDCWD, from, AT_FDCWD, to, 0) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { link_name(from_at, from, to_at, to, flags) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { change_name(AT_FDCWD, from, AT_FDCWD, to, 0) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(from_at: c_int, from: *const c_char, to_at: c_int, to: *const c_char) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { change_name(from_at, from, to_at, to, 0) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { change_name(from_at, from, to_at, to, flags) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { remove_name(AT_FDCWD, path, 0) }) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: handed on as it came.
    answer(unsafe { remove_name(directory, path, flags) }) as c_int
}

/// A file's name, or an empty directory.
///
/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    // SAFETY: handed on as it came.
    let removed = match unsafe { remove_name(AT_FDCWD, path, 0) } {
        // SAFETY: as above.
        Err(libc::EISDIR) => unsafe { remove_name(AT_FDCWD, path, libc::AT_REMOVEDIR) },
        removed => removed,
    };
    answer(removed) as c_int
}
