//! R8: whoever reports for an attempt that is over is refused, and changes nothing.

mod stores;

use poolqueue_testkit::zombies::prove;
use poolqueue_testkit::{Fixture, MemoryFixture, proof};

/// Attempts in a debug build.
const FEW: u64 = 150;

fn refuses<F: Fixture>(name: &str, what: &'static str) {
    prove::<F>(what, proof::figure(name, FEW), proof::seed()).print();
}

#[test]
fn zombies_are_refused_and_change_nothing_memory() {
    refuses::<MemoryFixture>("R8_MEMORY", "attempts that report late, memory");
}

#[cfg(feature = "redb")]
#[test]
fn zombies_are_refused_and_change_nothing_redb() {
    refuses::<stores::RedbFixture>("R8_REDB", "attempts that report late, redb");
}

#[cfg(feature = "sqlite")]
#[test]
fn zombies_are_refused_and_change_nothing_sqlite() {
    refuses::<stores::SqliteFixture>("R8_SQLITE", "attempts that report late, SQLite");
}
