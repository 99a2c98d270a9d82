//! Every behaviour that a poolqueue backend must have.

use std::sync::Arc;

use poolqueue_core::{Backend, EmbeddedOptions};
use poolqueue_testkit::Fixture;
use tempfile::TempDir;

struct LogFixture {
    folder: TempDir,
}

impl Fixture for LogFixture {
    const DURABLE: bool = true;

    fn new() -> Self {
        LogFixture { folder: tempfile::tempdir().expect("a folder for the log") }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        Arc::new(own_store::open(self.folder.path().join("jobs.log"), options).expect("the log opens"))
    }
}

poolqueue_testkit::conformance!(LogFixture);
