//! R7: many workers race for few jobs, and what each was told can be explained by one order of the calls.

mod stores;

use poolqueue_testkit::histories::prove;
use poolqueue_testkit::{Fixture, MemoryFixture, proof};

/// Histories in a debug build. Together 300.
const FEW: u64 = 75;

fn explains<F: Fixture>(name: &str, what: &'static str, handles: usize) {
    prove::<F>(what, handles, proof::figure(name, FEW), proof::seed()).print();
}

#[test]
fn every_history_can_be_explained_memory() {
    explains::<MemoryFixture>("R7_MEMORY", "concurrent histories, memory", 1);
}

#[cfg(feature = "redb")]
#[test]
fn every_history_can_be_explained_redb() {
    explains::<stores::RedbFixture>("R7_REDB", "concurrent histories, redb", 1);
}

#[cfg(feature = "sqlite")]
#[test]
fn every_history_can_be_explained_sqlite() {
    explains::<stores::SqliteFixture>("R7_SQLITE", "concurrent histories, SQLite", 1);
}

#[cfg(feature = "sqlite")]
#[test]
fn every_history_of_two_handles_on_one_file_can_be_explained_sqlite() {
    explains::<stores::SqliteFixture>("R7_SQLITE_TWO", "concurrent histories, SQLite, two handles", 2);
}
