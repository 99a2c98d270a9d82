//! Functions that take any bytes at all, and must take none of them badly: no panic, no second of computing, no hundred
//! megabytes of memory.
//!
//! `fuzz/` in the repository gives them to cargo-fuzz, the test `fuzz` feeds them its corpus and what a seeded
//! [`mutate`] makes of it.

mod bounds;
mod files;
mod filters;
mod input;
mod jobs;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use bounds::{Fault, check, check_memory, computed, hush_engines};
pub use input::{Input, mutate};

/// A function that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also that of its directory in the corpus.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// All targets of this build.
pub const TARGETS: &[Target] = &[
    Target { name: "filters", run: filters::filters },
    #[cfg(feature = "redb")]
    Target { name: "redb_records", run: redb::records },
    #[cfg(feature = "redb")]
    Target { name: "redb_files", run: redb::stored_files },
    #[cfg(feature = "sqlite")]
    Target { name: "sqlite_records", run: sqlite::records },
    #[cfg(feature = "sqlite")]
    Target { name: "sqlite_files", run: sqlite::stored_files },
];

/// The target of this name.
///
/// # Panics
/// When there is none in this build.
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
