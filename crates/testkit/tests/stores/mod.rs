//! The stores that proofs are made of: each in a directory of its own, in memory where the machine has such a place. What
//! is proved with them does not ask whether a sync reaches a disk.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use poolqueue_core::{Backend, EmbeddedOptions};
use poolqueue_testkit::Fixture;
use tempfile::TempDir;

/// A directory that is gone with the handle.
pub fn directory() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = if in_memory.is_dir() { TempDir::new_in(in_memory) } else { TempDir::new() };
    made.or_else(|_| TempDir::new()).expect("a temporary directory")
}

#[cfg(feature = "redb")]
pub struct RedbFixture {
    directory: TempDir,
}

#[cfg(feature = "redb")]
impl Fixture for RedbFixture {
    const DURABLE: bool = true;

    fn new() -> Self {
        RedbFixture { directory: directory() }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        use poolqueue_redb::{RedbBackend, RedbOptions};
        let path = self.directory.path().join("jobs.redb");
        Arc::new(RedbBackend::open_with(path, RedbOptions::default(), options).expect("the file opens"))
    }
}

/// May be opened by several handles at once.
#[cfg(feature = "sqlite")]
pub struct SqliteFixture {
    directory: TempDir,
}

#[cfg(feature = "sqlite")]
impl Fixture for SqliteFixture {
    const DURABLE: bool = true;
    const TURNS: bool = false;

    fn new() -> Self {
        SqliteFixture { directory: directory() }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        use poolqueue_sqlite::{SqliteBackend, SqliteOptions};
        let path = self.directory.path().join("jobs.db");
        let sqlite = SqliteOptions::default().wal_grow_bytes(1 << 20);
        Arc::new(SqliteBackend::open_with(path, sqlite, options).expect("the file opens"))
    }
}
