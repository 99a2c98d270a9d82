//! The C library's functions that read and change files, by their names, so that everything in the executable that calls
//! them comes here.
//!
//! Each does by a raw system call what the C library's does, so nothing of it comes back here. `close`, `dup`, `lseek` and
//! the locks are left alone: files are known by their inodes. So is `sync_file_range`, which promises nothing.

mod bytes;
mod names;
mod system;

use std::ffi::c_int;

/// An answer of the system: what the C library would return, or the number of the error.
type Answer = Result<i64, c_int>;

/// Sees to it that the linker takes the functions into the executable.
pub(crate) fn keep() {
    std::hint::black_box((bytes::HOOKS, names::HOOKS));
}

/// Returns as the C library does: -1, and the number of the error where it belongs.
fn answer(result: Answer) -> i64 {
    result.unwrap_or_else(|error| {
        system::set_error(error);
        -1
    })
}
