use std::path::Path;

use poolqueue_core::{BackendError, Embedded, EmbeddedOptions, Profile, delegate_backend};

use crate::{SqliteOptions, SqliteStore};

/// A queue in one SQLite file. See [`SqliteStore`].
#[derive(Debug)]
pub struct SqliteBackend(Embedded<SqliteStore>);

impl SqliteBackend {
    /// Opens or creates the file at `path` with the default options. Blocks while the file is opened.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::open_with(path, SqliteOptions::default(), EmbeddedOptions::default())
    }

    /// Opens or creates the file at `path`. Blocks while the file is opened.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        store: SqliteOptions,
        options: EmbeddedOptions,
    ) -> Result<Self, BackendError> {
        let profile = Profile { engine: "sqlite", durable: true, exclusive: true };
        Ok(SqliteBackend(Embedded::start(SqliteStore::open(path, store)?, profile, options)?))
    }
}

delegate_backend!(for SqliteBackend, this => this.0);
