use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::{Clock, SyncPolicy, SystemClock};

use crate::format;
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
    /// background afterwards. One that was left open by a crash is also written once more, since after a sync that failed
    /// the system shows pages that it never writes. Default 64 MiB; `u64::MAX` is for files of any size, 0 for none.
    pub check_on_open_max_bytes: u64,
    /// What the names of the tables begin with: up to 64 ASCII letters, digits and `_`, the first no digit. Default
    /// `poolqueue_`. Queues with different prefixes live side by side in one database; a queue is found again only
    /// under the prefix it was made with.
    pub table_prefix: String,
    /// How long a call waits for a write transaction of the application's to end, before it fails as `Busy` and
    /// nothing of it is applied. Default 5 s. Only for databases that are the application's: nobody else writes to a
    /// file that the store opened by itself.
    pub busy_timeout: Duration,
    /// When commits are synced, and so what is lost of what was acknowledged: see [`SyncPolicy`]. Default
    /// [`EveryCommit`](SyncPolicy::EveryCommit). [`Interval`](SyncPolicy::Interval) makes commits of
    /// [`Durability::None`](redb::Durability::None), which are in the memory of the process until one of
    /// [`Durability::Immediate`](redb::Durability::Immediate); meanwhile no page of the last synced state is used again, so
    /// the file grows by what is rewritten in an interval. [`Os`](SyncPolicy::Os) is refused.
    pub sync: SyncPolicy,
    /// Where the time of an interval comes from.
    pub(crate) clock: Arc<dyn Clock>,
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
            table_prefix: format::PREFIX.to_owned(),
            busy_timeout: Duration::from_secs(5),
            sync: SyncPolicy::EveryCommit,
            clock: Arc::new(SystemClock::default()),
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

    /// Sets [`table_prefix`](Self::table_prefix). Checked when the store is opened.
    #[must_use]
    pub fn with_table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.table_prefix = prefix.into();
        self
    }

    /// Sets [`busy_timeout`](Self::busy_timeout).
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets [`sync`](Self::sync). Checked when the store is opened.
    #[must_use]
    pub fn with_sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Measures intervals by this clock. A backend does so by the clock of its
    /// [`EmbeddedOptions`](poolqueue_core::EmbeddedOptions).
    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
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
            .field("table_prefix", &self.table_prefix)
            .field("busy_timeout", &self.busy_timeout)
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}
