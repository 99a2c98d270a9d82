//! R5: damaged files, many times over. The rule is that of `poolqueue_testkit::damage`.

use std::path::Path;

use poolqueue_core::BackendError;
use poolqueue_core::salvage::{Salvaged, refill};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};
use poolqueue_testkit::damage::{Commits, Sample, Scratch, Subject, prove};

struct Sqlite;

fn options() -> SqliteOptions {
    SqliteOptions::default().wal_grow_bytes(0)
}

impl Subject for Sqlite {
    type Store = SqliteStore;
    const FILES: &'static [&'static str] = &["", "-wal"];

    fn open(&self, path: &Path) -> Result<SqliteStore, BackendError> {
        SqliteStore::open(path, options())
    }

    fn salvage(&self, from: &Path, to: &Path) -> Result<Salvaged, BackendError> {
        let scratch = to.parent().unwrap_or(to);
        SqliteStore::create_filled(to, options(), |store| {
            refill(store, &mut |rescue| SqliteStore::read_damaged(from, &options(), scratch, rescue))
        })
    }
}

/// A write-ahead log ends, for SQLite, where a page of it does not fit its checksum: the commits before are there.
#[test]
fn a_damaged_file_is_read_rightly_or_told_as_damaged_and_what_is_left_of_it_can_be_salvaged() {
    let scratch = Scratch::new();
    let samples = [
        Sample::closed(&Sqlite, scratch.path()),
        Sample::crashed(&Sqlite, scratch.path(), Commits::AllOfLog(1)),
    ];
    prove(&Sqlite, &samples, "damaged files, SQLite", "R5_SQLITE", 100);
}
