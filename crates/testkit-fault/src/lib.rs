//! Files under suspicion: what a store does to them is recorded, power losses are replayed from the record, and
//! single operations are made to fail.
//!
//! An executable that links this crate calls its `open`, `pwrite`, `fsync`, … instead of the C library's: Rust's standard
//! library does, and with it redb, and so does SQLite, whose C code is compiled into the same executable. They ask the
//! system for what they were asked for. For files in a directory under a [`Recording`] or under [`Faults`] they write
//! down what was done, or fail as planned; for all others they cost one load of an atomic.
//!
//! Linux only, since it stands on the C library's names and the system's calls; `trace` and `crash` are for everyone.

pub mod crash;
#[cfg(target_os = "linux")]
mod faults;
// The one place in the project that holds `unsafe`: it stands between a process and the system's own calls.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod interpose;
#[cfg(target_os = "linux")]
mod recording;
pub mod trace;
#[cfg(target_os = "linux")]
mod watch;

#[cfg(target_os = "linux")]
pub use faults::{Failure, Faults, Hit, Operation, Plan};
#[cfg(target_os = "linux")]
pub use recording::Recording;
