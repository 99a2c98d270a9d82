//! Where the store of a soak is, how it is opened, and what its live data is.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use poolqueue_core::{Backend, EmbeddedOptions};

use crate::stress::StressError;

/// What engines may keep of the file in memory: less than the file, so that it is full when the warm-up is over.
#[cfg(any(feature = "redb", feature = "sqlite"))]
const CACHE_BYTES: usize = 4 << 20;

/// A store and where it is.
#[derive(Clone, Debug)]
pub struct Place {
    backend: String,
    path: PathBuf,
}

impl Place {
    /// A store of this backend, `redb` or `sqlite`, at `path`.
    pub fn new(backend: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Place { backend: backend.into(), path: path.into() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where SQLite has its write-ahead log.
    pub fn wal(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// Another place beside this one.
    pub fn sibling(&self, ending: &str) -> Self {
        Place { backend: self.backend.clone(), path: self.beside(ending) }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(ending);
        name.into()
    }

    /// Opens the store with its default settings, but a small cache.
    ///
    /// # Errors
    /// An unknown backend, or what the store reports.
    pub fn open(&self, options: EmbeddedOptions) -> Result<Arc<dyn Backend>, StressError> {
        match self.backend.as_str() {
            #[cfg(feature = "redb")]
            "redb" => Ok(Arc::new(poolqueue_redb::RedbBackend::open_with(
                &self.path,
                poolqueue_redb::RedbOptions::default().with_cache_bytes(CACHE_BYTES),
                options,
            )?)),
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Arc::new(poolqueue_sqlite::SqliteBackend::open_with(
                &self.path,
                poolqueue_sqlite::SqliteOptions::default().cache_bytes(CACHE_BYTES),
                options,
            )?)),
            other => Err(self.unknown(other, &options)),
        }
    }

    fn unknown(&self, backend: &str, _options: &EmbeddedOptions) -> StressError {
        format!("there is no backend {backend:?} in this build").into()
    }

    /// The length of the closed file without its free pages, by the engine's own means. The file is changed.
    ///
    /// # Errors
    /// What the engine reports.
    pub fn compact(&self) -> Result<u64, StressError> {
        match self.backend.as_str() {
            #[cfg(feature = "redb")]
            "redb" => {
                let mut db = poolqueue_redb::redb::Database::open(&self.path)?;
                while db.compact()? {}
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => poolqueue_sqlite::rusqlite::Connection::open(&self.path)?.execute_batch("VACUUM")?,
            _ => {}
        }
        Ok(fs::metadata(&self.path)?.len())
    }

    /// Removes the store and what stands beside it.
    ///
    /// # Errors
    /// What the system reports.
    pub fn remove(&self) -> Result<(), StressError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
