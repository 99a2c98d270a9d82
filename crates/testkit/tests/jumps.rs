//! R9: a clock that jumps ends no lease, loses no job and holds none up.

mod stores;

use poolqueue_testkit::jumps::prove;
use poolqueue_testkit::{Fixture, MemoryFixture, proof};

/// Jumps in a debug build. Together more than 1,000.
const FEW: u64 = 350;

fn harmless<F: Fixture>(name: &str, what: &'static str) {
    prove::<F>(what, proof::figure(name, FEW), proof::seed()).print();
}

#[test]
fn jumps_of_the_clock_do_no_harm_memory() {
    harmless::<MemoryFixture>("R9_MEMORY", "jumps of the clock, memory");
}

#[cfg(feature = "redb")]
#[test]
fn jumps_of_the_clock_do_no_harm_redb() {
    harmless::<stores::RedbFixture>("R9_REDB", "jumps of the clock, redb");
}

#[cfg(feature = "sqlite")]
#[test]
fn jumps_of_the_clock_do_no_harm_sqlite() {
    harmless::<stores::SqliteFixture>("R9_SQLITE", "jumps of the clock, SQLite");
}
