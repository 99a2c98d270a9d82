use std::path::Path;

use poolqueue_core::{BackendError, Embedded, EmbeddedOptions, Profile, delegate_backend};

use crate::{RedbOptions, RedbStore};

/// The default backend: a queue in one redb file. See [`RedbStore`].
#[derive(Debug)]
pub struct RedbBackend(Embedded<RedbStore>);

impl RedbBackend {
    /// Opens or creates the file at `path` with the default options. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::open_with(path, RedbOptions::default(), EmbeddedOptions::default())
    }

    /// Opens or creates the file at `path`. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        store: RedbOptions,
        options: EmbeddedOptions,
    ) -> Result<Self, BackendError> {
        let profile = Profile { engine: "redb", durable: true, exclusive: true };
        Ok(RedbBackend(Embedded::start(RedbStore::open(path, store)?, profile, options)?))
    }
}

delegate_backend!(for RedbBackend, this => this.0);
