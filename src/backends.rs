//! The stores this build has.

pub use poolqueue_core::memory::MemoryBackend;

#[cfg(feature = "redb")]
#[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
pub use poolqueue_redb::{RedbBackend, RedbOptions, redb};

#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use poolqueue_sqlite::{Resealed, SqliteBackend, SqliteOptions, rusqlite};
