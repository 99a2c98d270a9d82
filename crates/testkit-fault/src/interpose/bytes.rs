//! Functions that take a descriptor: reading, writing, lengths, syncs.

use std::ffi::{c_int, c_uint, c_void};
use std::slice;
use std::sync::Arc;

use libc::{iovec, off64_t, size_t, ssize_t};

use super::system::{answered, position, read_back, stat};
use super::{Answer, answer, system};
use crate::faults::Operation;
use crate::trace::{FileId, Op};
use crate::watch::{self, Meeting, Watch};

/// All of them, for the linker.
pub(super) const HOOKS: [*const (); 24] = [
    read as *const (),
    pread as *const (),
    pread64 as *const (),
    readv as *const (),
    write as *const (),
    pwrite as *const (),
    pwrite64 as *const (),
    writev as *const (),
    pwritev as *const (),
    pwritev64 as *const (),
    pwritev2 as *const (),
    pwritev64v2 as *const (),
    ftruncate as *const (),
    ftruncate64 as *const (),
    fallocate as *const (),
    fallocate64 as *const (),
    posix_fallocate as *const (),
    posix_fallocate64 as *const (),
    fsync as *const (),
    fdatasync as *const (),
    copy_file_range as *const (),
    sendfile as *const (),
    sendfile64 as *const (),
    preadv as *const (),
];

/// The watched file of a descriptor.
fn watched(fd: c_int) -> Option<(Arc<Watch>, FileId)> {
    if !watch::any() {
        return None;
    }
    watch::of_file(stat(fd)?.inode)
}

/// Asks whether a read is to fail.
fn meet_read(fd: c_int) -> Result<(), c_int> {
    match watched(fd) {
        Some((watch, file)) => watch.lock().meet(Operation::Read, |state| state.name(file)).map(drop),
        None => Ok(()),
    }
}

/// Writes where the descriptor stands, or at an offset.
///
/// # Safety
/// `data` has `len` bytes, as for `write`.
unsafe fn write_bytes(fd: c_int, data: *const c_void, len: size_t, offset: Option<off64_t>) -> Answer {
    let write = |len: size_t| match offset {
        // SAFETY: the caller says so, and `len` is at most what the caller said.
        Some(offset) => answered(unsafe { libc::syscall(libc::SYS_pwrite64, fd, data, len, offset) }),
        // SAFETY: as above.
        None => answered(unsafe { libc::syscall(libc::SYS_write, fd, data, len) }),
    };
    let Some((watch, file)) = watched(fd) else { return write(len) };
    let mut state = watch.lock();
    let written = match state.meet(Operation::Write, |state| state.name(file))? {
        Meeting::Go => write(len)?,
        Meeting::Short => write(len.div_ceil(2))?,
    };
    if state.is_recording() && written > 0 {
        let at = offset.unwrap_or_else(|| position(fd) - written);
        // SAFETY: so many bytes are there, since the system has just read them.
        let data = unsafe { slice::from_raw_parts(data.cast::<u8>(), usize::try_from(written).unwrap_or(0)) };
        state.record(|| Op::Write { file, offset: at.cast_unsigned(), data: data.to_vec() });
    }
    Ok(written)
}

/// Writes several pieces as one.
///
/// # Safety
/// As for `writev`.
unsafe fn write_pieces(fd: c_int, pieces: *const iovec, count: c_int, offset: Option<off64_t>) -> Answer {
    let known = watched(fd).is_some();
    match (known, offset) {
        // SAFETY: the caller says so.
        (false, None) => answered(unsafe { libc::syscall(libc::SYS_writev, fd, pieces, count) }),
        (false, Some(at)) => {
            // SAFETY: as above; the offset comes in two halves, of which a register of 64 bits needs one.
            answered(unsafe { libc::syscall(libc::SYS_pwritev, fd, pieces, count, at, 0) })
        }
        (true, _) => {
            // SAFETY: so many pieces are there, each as long as it says.
            let whole = unsafe {
                let pieces = slice::from_raw_parts(pieces, usize::try_from(count).unwrap_or(0));
                let bytes = pieces.iter().filter(|piece| piece.iov_len > 0);
                bytes
                    .flat_map(|piece| slice::from_raw_parts(piece.iov_base.cast::<u8>(), piece.iov_len))
                    .copied()
            };
            let whole: Vec<u8> = whole.collect();
            // SAFETY: it has that many bytes.
            unsafe { write_bytes(fd, whole.as_ptr().cast(), whole.len(), offset) }
        }
    }
}

pub(super) fn set_length(fd: c_int, len: off64_t) -> Answer {
    // SAFETY: takes numbers.
    let truncate = || answered(unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) });
    let Some((watch, file)) = watched(fd) else { return truncate() };
    let mut state = watch.lock();
    state.meet(Operation::Truncate, |state| state.name(file))?;
    let done = truncate()?;
    state.record(|| Op::SetLen { file, len: len.cast_unsigned() });
    Ok(done)
}

fn allocate(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> Answer {
    // SAFETY: takes numbers.
    let allocate = || answered(unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) });
    let Some((watch, file)) = watched(fd) else { return allocate() };
    if mode != 0 {
        // Nobody here asks for it; rather that than a wrong record.
        return Err(libc::EOPNOTSUPP);
    }
    let mut state = watch.lock();
    state.meet(Operation::Truncate, |state| state.name(file))?;
    let before = stat(fd).map_or(0, |found| found.len);
    let done = allocate()?;
    let after = stat(fd).map_or(0, |found| found.len);
    if after > before {
        state.record(|| Op::SetLen { file, len: after.cast_unsigned() });
    }
    Ok(done)
}

fn sync(fd: c_int, call: i64) -> Answer {
    // SAFETY: takes numbers.
    let sync = || answered(unsafe { libc::syscall(call, fd) });
    if !watch::any() {
        return sync();
    }
    let Some(found) = stat(fd) else { return sync() };
    if found.is_directory {
        let Some(path) = system::name_of(fd) else { return sync() };
        let Some(watch) = watch::of_name(&path) else { return sync() };
        let mut state = watch.lock();
        state.meet(Operation::Sync, |_| path.clone())?;
        let done = sync()?;
        state.record(|| Op::SyncDirectory { path });
        return Ok(done);
    }
    let Some((watch, file)) = watch::of_file(found.inode) else { return sync() };
    let mut state = watch.lock();
    state.meet(Operation::Sync, |state| state.name(file))?;
    let done = sync()?;
    state.record(|| Op::Sync { file });
    Ok(done)
}

/// Has the system write to `to`, by a call that says how many bytes; `at` is where to, when it is not where the descriptor
/// stands.
fn write_unseen(to: c_int, at: Option<off64_t>, call: impl FnOnce() -> Answer) -> Answer {
    let Some((watch, file)) = watched(to) else { return call() };
    let mut state = watch.lock();
    state.meet(Operation::Write, |state| state.name(file))?;
    let written = call()?;
    if state.is_recording() && written > 0 {
        let offset = at.unwrap_or_else(|| position(to) - written);
        let data = read_back(to, offset, usize::try_from(written).unwrap_or(0));
        state.record(|| Op::Write { file, offset: offset.cast_unsigned(), data });
    }
    Ok(written)
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, into: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: handed on as it came.
    let read = || answered(unsafe { libc::syscall(libc::SYS_read, fd, into, len) });
    answer(meet_read(fd).and_then(|()| read())) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, pieces: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: handed on as it came.
    let read = || answered(unsafe { libc::syscall(libc::SYS_readv, fd, pieces, count) });
    answer(meet_read(fd).and_then(|()| read())) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came; the second half of the offset is for registers of 32 bits.
    let read = || answered(unsafe { libc::syscall(libc::SYS_preadv, fd, pieces, count, offset, 0) });
    answer(meet_read(fd).and_then(|()| read())) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, into: *mut c_void, len: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came.
    let read = || answered(unsafe { libc::syscall(libc::SYS_pread64, fd, into, len, offset) });
    answer(meet_read(fd).and_then(|()| read())) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread(fd: c_int, into: *mut c_void, len: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came.
    unsafe { pread64(fd, into, len, offset) }
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_bytes(fd, data, len, None) }) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, data: *const c_void, len: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_bytes(fd, data, len, Some(offset)) }) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, data: *const c_void, len: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_bytes(fd, data, len, Some(offset)) }) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, pieces: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_pieces(fd, pieces, count, None) }) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_pieces(fd, pieces, count, Some(offset)) }) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_pieces(fd, pieces, count, Some(offset)) }) as ssize_t
}

/// The flags, by which a call can ask for what these files are not opened for, are let go. An offset of -1 is where the
/// descriptor stands.
///
/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64v2(
    fd: c_int,
    pieces: *const iovec,
    count: c_int,
    offset: off64_t,
    _flags: c_int,
) -> ssize_t {
    // SAFETY: handed on as it came.
    answer(unsafe { write_pieces(fd, pieces, count, (offset != -1).then_some(offset)) }) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev2(
    fd: c_int,
    pieces: *const iovec,
    count: c_int,
    offset: off64_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: handed on as it came.
    unsafe { pwritev64v2(fd, pieces, count, offset, flags) }
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, len: off64_t) -> c_int {
    answer(set_length(fd, len)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, len: off64_t) -> c_int {
    answer(set_length(fd, len)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fallocate64(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int {
    answer(allocate(fd, mode, offset, len)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fallocate(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int {
    answer(allocate(fd, mode, offset, len)) as c_int
}

/// Unlike the others it returns the number of the error.
#[unsafe(no_mangle)]
extern "C" fn posix_fallocate64(fd: c_int, offset: off64_t, len: off64_t) -> c_int {
    allocate(fd, 0, offset, len).err().unwrap_or(0)
}

/// As the one above.
#[unsafe(no_mangle)]
extern "C" fn posix_fallocate(fd: c_int, offset: off64_t, len: off64_t) -> c_int {
    allocate(fd, 0, offset, len).err().unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    answer(sync(fd, libc::SYS_fsync)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    answer(sync(fd, libc::SYS_fdatasync)) as c_int
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_at: *mut off64_t,
    to: c_int,
    to_at: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: where the caller gave one, it is there.
    let at = unsafe { to_at.as_ref() }.copied();
    let copy = || {
        // SAFETY: handed on as it came.
        answered(unsafe { libc::syscall(libc::SYS_copy_file_range, from, from_at, to, to_at, len, flags) })
    };
    answer(write_unseen(to, at, copy)) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(to: c_int, from: c_int, at: *mut off64_t, len: size_t) -> ssize_t {
    // SAFETY: handed on as it came.
    let send = || answered(unsafe { libc::syscall(libc::SYS_sendfile, to, from, at, len) });
    answer(write_unseen(to, None, send)) as ssize_t
}

/// # Safety
/// As for the function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile(to: c_int, from: c_int, at: *mut off64_t, len: size_t) -> ssize_t {
    // SAFETY: handed on as it came.
    unsafe { sendfile64(to, from, at, len) }
}
