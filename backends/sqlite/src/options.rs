use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::{Clock, SyncPolicy, SystemClock};

/// How a [`SqliteStore`](crate::SqliteStore) is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// What the names of tables, indexes and views begin with: up to 32 letters, digits and `_`, the first one
    /// no digit. Default `poolqueue_`.
    pub table_prefix: String,
    /// Whether the tables may be added to a file that another application made. Default no: such a file is
    /// refused.
    pub share_with_application: bool,
    /// After how long without a sign of life another process that still holds jobs is taken to hang, so that its jobs
    /// are given back; those of a process that has ended are given back at once. At least 1 s. Default 30 s.
    pub handle_lease: Duration,
    /// How long a transaction waits for another writer of the file before it fails with
    /// [`Busy`](poolqueue_core::BackendErrorKind::Busy). Default 5 s.
    pub busy_timeout: Duration,
    /// Memory SQLite may use to cache pages of the writer, in bytes; a reader gets a quarter. Default 64 MiB.
    pub cache_bytes: usize,
    /// To what size the write-ahead log is grown once at open, in bytes, so that a commit seldom has to allocate
    /// blocks. Default 16 MiB; 0 turns it off.
    pub wal_grow_bytes: usize,
    /// Pages in the write-ahead log after which a commit moves them to the file. Default 2,000 (8 MiB).
    pub wal_autocheckpoint: u32,
    /// To what size the write-ahead log is cut when it was longer, in bytes. Default 64 MiB.
    pub journal_size_limit: u64,
    /// Connections kept open for readers; there may be more while more read at once. Default 4.
    pub idle_readers: usize,
    /// When commits are synced, and so what a loss of power takes of what was acknowledged: see [`SyncPolicy`]. Default
    /// [`EveryCommit`](SyncPolicy::EveryCommit), which is `synchronous=FULL`. Under the others `synchronous` is `NORMAL`, and
    /// under [`Interval`](SyncPolicy::Interval) the write-ahead log is synced besides.
    ///
    /// Each handle of a file follows a policy of its own, for its own commits; a sync by any of them is one of all that was
    /// committed before. Connections of the application's are set as the application likes.
    pub sync: SyncPolicy,
    /// Where the time of an interval comes from.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        SqliteOptions {
            table_prefix: "poolqueue_".to_owned(),
            share_with_application: false,
            handle_lease: Duration::from_secs(30),
            busy_timeout: Duration::from_secs(5),
            cache_bytes: 64 * MIB,
            wal_grow_bytes: 16 * MIB,
            wal_autocheckpoint: 2_000,
            journal_size_limit: 64 * MIB as u64,
            idle_readers: 4,
            sync: SyncPolicy::EveryCommit,
            clock: Arc::new(SystemClock::default()),
        }
    }
}

impl SqliteOptions {
    /// Sets [`table_prefix`](Self::table_prefix).
    #[must_use]
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.table_prefix = prefix.into();
        self
    }

    /// Sets [`share_with_application`](Self::share_with_application).
    #[must_use]
    pub fn share_with_application(mut self, share: bool) -> Self {
        self.share_with_application = share;
        self
    }

    /// Sets [`handle_lease`](Self::handle_lease).
    #[must_use]
    pub fn handle_lease(mut self, span: Duration) -> Self {
        self.handle_lease = span;
        self
    }

    /// Sets [`busy_timeout`](Self::busy_timeout).
    #[must_use]
    pub fn busy_timeout(mut self, span: Duration) -> Self {
        self.busy_timeout = span;
        self
    }

    /// Sets [`cache_bytes`](Self::cache_bytes).
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets [`wal_grow_bytes`](Self::wal_grow_bytes).
    #[must_use]
    pub fn wal_grow_bytes(mut self, bytes: usize) -> Self {
        self.wal_grow_bytes = bytes;
        self
    }

    /// Sets [`wal_autocheckpoint`](Self::wal_autocheckpoint).
    #[must_use]
    pub fn wal_autocheckpoint(mut self, pages: u32) -> Self {
        self.wal_autocheckpoint = pages;
        self
    }

    /// Sets [`journal_size_limit`](Self::journal_size_limit).
    #[must_use]
    pub fn journal_size_limit(mut self, bytes: u64) -> Self {
        self.journal_size_limit = bytes;
        self
    }

    /// Sets [`idle_readers`](Self::idle_readers).
    #[must_use]
    pub fn idle_readers(mut self, connections: usize) -> Self {
        self.idle_readers = connections;
        self
    }

    /// Sets [`sync`](Self::sync). Checked when the store is opened.
    #[must_use]
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Measures intervals by this clock. A backend does so by the clock of its
    /// [`EmbeddedOptions`](poolqueue_core::EmbeddedOptions).
    #[doc(hidden)]
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}
