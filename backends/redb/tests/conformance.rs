//! Every behaviour that a backend must have, on redb files, and random batches compared with the store in memory.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ::redb::Database;
use poolqueue_core::{Backend, EmbeddedOptions};
use poolqueue_redb::{RedbBackend, RedbOptions};
use poolqueue_testkit::{Behind, Fixture, conformance, model_test};
use tempfile::TempDir;

/// A file in a directory of its own.
struct RedbFixture {
    directory: TempDir,
}

impl RedbFixture {
    fn path(&self) -> PathBuf {
        self.directory.path().join("jobs.redb")
    }
}

impl Fixture for RedbFixture {
    const DURABLE: bool = true;

    fn new() -> Self {
        RedbFixture { directory: TempDir::new().expect("a temporary directory") }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        let backend = RedbBackend::open_with(self.path(), RedbOptions::default(), options);
        Arc::new(backend.expect("the file opens"))
    }
}

/// The same file as the application's own, opened once.
struct ApplicationFixture {
    file: RedbFixture,
    db: OnceLock<Arc<Database>>,
}

impl Fixture for ApplicationFixture {
    const DURABLE: bool = true;

    fn new() -> Self {
        ApplicationFixture { file: RedbFixture::new(), db: OnceLock::new() }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        let create = || Arc::new(RedbBackend::create_database(self.file.path()).expect("the file opens"));
        let db = Arc::clone(self.db.get_or_init(create));
        let backend = RedbBackend::with_database_options(db, RedbOptions::default(), options);
        Arc::new(backend.expect("the queue opens"))
    }
}

mod redb_file {
    use super::*;

    conformance!(RedbFixture);
    model_test!(RedbFixture, 120, 200);
}

mod redb_behind_another_arc {
    use super::*;

    conformance!(Behind<RedbFixture>);
}

mod redb_of_the_application {
    use super::*;

    conformance!(ApplicationFixture);
}
