use std::fmt;

use crate::storage::Wrap;

/// How a [`RedbStore`](crate::RedbStore) is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedbOptions {
    /// Memory redb may use to cache pages, in bytes. Default 64 MiB (redb's own default is 1 GiB).
    pub cache_bytes: usize,
    /// How far ahead of the pages in use the file is filled with zeroes, in bytes, so that a commit seldom
    /// has to allocate blocks. Default 16 MiB; 0 turns it off.
    pub preallocate_step: u64,
    /// Files up to this size, in bytes, are read and checked in full when they are opened; larger ones in the
    /// background afterwards. Default 64 MiB; `u64::MAX` checks files of any size, 0 none.
    pub check_on_open_max_bytes: u64,
    /// Test hook: see [`Storage`](crate::storage::Storage).
    pub(crate) wrap: Option<Wrap>,
}

impl Default for RedbOptions {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        RedbOptions {
            cache_bytes: 64 * MIB,
            preallocate_step: 16 * MIB as u64,
            check_on_open_max_bytes: 64 * MIB as u64,
            wrap: None,
        }
    }
}

impl RedbOptions {
    /// Sets [`cache_bytes`](Self::cache_bytes).
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets [`preallocate_step`](Self::preallocate_step).
    #[must_use]
    pub fn with_preallocate_step(mut self, bytes: u64) -> Self {
        self.preallocate_step = bytes;
        self
    }

    /// Sets [`check_on_open_max_bytes`](Self::check_on_open_max_bytes).
    #[must_use]
    pub fn with_check_on_open_max_bytes(mut self, bytes: u64) -> Self {
        self.check_on_open_max_bytes = bytes;
        self
    }

    /// Puts something between redb and each file that is opened: for recorders and fault injectors.
    #[doc(hidden)]
    #[must_use]
    pub fn with_storage_wrap(mut self, wrap: Wrap) -> Self {
        self.wrap = Some(wrap);
        self
    }
}

impl fmt::Debug for RedbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("preallocate_step", &self.preallocate_step)
            .field("check_on_open_max_bytes", &self.check_on_open_max_bytes)
            .finish_non_exhaustive()
    }
}
