//! Places where stores live, opened as backends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use poolqueue_core::memory::{MemoryBackend, MemoryStore};
use poolqueue_core::{Backend, BackendError, Clock, EmbeddedOptions};
use poolqueue_redb::{RedbBackend, RedbOptions};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Memory,
    Redb,
    Sqlite,
}

/// Where one store lives.
pub struct Site {
    pub engine: Engine,
    directory: PathBuf,
    memory: MemoryStore,
    clock: Arc<dyn Clock>,
}

type BackupTo = Box<dyn Fn(&Path) -> Result<(), BackendError> + Send>;

/// An open store, and how to copy it.
pub struct Opened {
    pub backend: Arc<dyn Backend>,
    pub backup_to: BackupTo,
}

/// Small, so that the file grows, and its log is moved, often.
pub fn sqlite_options() -> SqliteOptions {
    SqliteOptions::default()
        .wal_grow_bytes(1 << 16)
        .wal_autocheckpoint(30)
        .journal_size_limit(100_000)
        .cache_bytes(1 << 20)
}

pub fn redb_options() -> RedbOptions {
    RedbOptions::default().with_preallocate_step(1 << 16).with_cache_bytes(1 << 20)
}

impl Site {
    pub fn new(engine: Engine, directory: &Path, clock: Arc<dyn Clock>) -> Self {
        Site { engine, directory: directory.to_owned(), memory: MemoryStore::new(), clock }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join("jobs")
    }

    pub fn backup_path(&self) -> PathBuf {
        self.directory.join("copy")
    }

    pub fn open(&self) -> Result<Opened, BackendError> {
        self.open_at(&self.path())
    }

    pub fn open_at(&self, path: &Path) -> Result<Opened, BackendError> {
        let options = EmbeddedOptions::default().clock(Arc::clone(&self.clock));
        let opened: (Arc<dyn Backend>, BackupTo) = match self.engine {
            Engine::Memory => {
                (Arc::new(MemoryBackend::open(self.memory.clone(), options)?), Box::new(|_| Ok(())))
            }
            Engine::Redb => {
                let backend = RedbBackend::open_with(path, redb_options(), options)?;
                let own = backend.clone();
                (Arc::new(backend), Box::new(move |path| own.backup_to(path)))
            }
            Engine::Sqlite => {
                let backend = SqliteBackend::open_with(path, sqlite_options(), options)?;
                let own = backend.clone();
                (Arc::new(backend), Box::new(move |path| own.backup_to(path)))
            }
        };
        Ok(Opened { backend: opened.0, backup_to: opened.1 })
    }
}
