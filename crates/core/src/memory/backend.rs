use crate::{BackendError, Embedded, EmbeddedOptions, Profile};

use super::MemoryStore;

/// A queue's data in memory, gone with the process. See [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryBackend(Embedded<MemoryStore>);

impl MemoryBackend {
    /// An empty store.
    ///
    /// # Errors
    /// `Io` when the writer thread cannot be started.
    pub fn new() -> Result<Self, BackendError> {
        Self::open(MemoryStore::default(), EmbeddedOptions::default())
    }

    /// A backend on this store, which may hold data of an earlier backend on a clone of it.
    ///
    /// # Errors
    /// As [`MemoryBackend::new`].
    pub fn open(store: MemoryStore, options: EmbeddedOptions) -> Result<Self, BackendError> {
        let profile = Profile { engine: "memory", durable: false, exclusive: true };
        Ok(MemoryBackend(Embedded::start(store, profile, options)?))
    }
}

crate::delegate_backend!(for MemoryBackend, this => this.0);
