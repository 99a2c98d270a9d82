//! Every behaviour that a backend must have, on SQLite files.

use std::path::PathBuf;
use std::sync::Arc;

use poolqueue_core::{Backend, EmbeddedOptions};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};
use poolqueue_testkit::{Behind, Fixture, conformance};
use tempfile::TempDir;

/// A file in a directory of its own.
struct SqliteFixture {
    directory: TempDir,
}

impl SqliteFixture {
    fn path(&self) -> PathBuf {
        self.directory.path().join("jobs.db")
    }
}

impl Fixture for SqliteFixture {
    const DURABLE: bool = true;

    fn new() -> Self {
        SqliteFixture { directory: TempDir::new().expect("a temporary directory") }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        let backend =
            SqliteBackend::open_with(self.path(), SqliteOptions::default().wal_grow_bytes(1 << 20), options);
        Arc::new(backend.expect("the file opens"))
    }
}

mod sqlite {
    use super::*;

    conformance!(SqliteFixture);
}

mod sqlite_behind_another_arc {
    use super::*;

    conformance!(Behind<SqliteFixture>);
}
