//! A new store from what is left of a damaged one.

use std::ffi::OsStr;
#[cfg(any(feature = "redb", feature = "sqlite"))]
use std::path::Path;
use std::path::PathBuf;

#[cfg(any(feature = "redb", feature = "sqlite"))]
use poolqueue_core::salvage::{Rescue, refill};
use poolqueue_core::{BackendError, BackendErrorKind, Invalid};

pub use poolqueue_core::salvage::{Lost, LostPart, Salvaged};

use crate::Result;
use crate::queue::{named, unknown};

/// Reads what is left of a damaged store and writes it to a new one: the way on when [`PoolQueue::open`] says
/// [`Corrupted`](BackendErrorKind::Corrupted). Both are named as for `open`, and may be of different kinds.
///
/// The damaged file is only read: not one byte of it, nor of an SQLite write-ahead log beside it, is changed. The new store
/// has its name only when it is whole, has been read back, and is on stable storage.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> poolqueue::Result<()> {
/// # #[cfg(feature = "redb")] {
/// # let dir = tempfile::tempdir().unwrap();
/// # let (damaged, rescued) = (dir.path().join("jobs.redb"), dir.path().join("rescued.redb"));
/// # let queue = poolqueue::PoolQueue::open(&damaged).await?;
/// # queue.enqueue(poolqueue::NewJob::new("thumbnail", b"cat.png")).await?;
/// # queue.close().await?;
/// let salvaged = poolqueue::salvage(&damaged, &rescued).await?;
/// println!("{} jobs and {} records", salvaged.jobs, salvaged.records);
/// for lost in &salvaged.lost {
///     println!("lost: {lost}");
/// }
/// let queue = poolqueue::PoolQueue::open(&rescued).await?;
/// # assert_eq!((salvaged.jobs, salvaged.is_complete()), (1, true));
/// # queue.close().await?;
/// # } Ok(())
/// # }
/// ```
///
/// # What is saved
///
/// A job is saved when its state and its body pass their checksums, and keeps everything: id, status, attempt, payload,
/// output, history, tags, unique key, metadata, times and its place in the order of enqueues. A job that was held is
/// due again, as after a crash, when the new store is opened.
///
/// Nothing is made up to fill a gap, and nothing is lost silently. [`Salvaged::lost`] says what could not be saved, by id
/// where the id can still be read, and why:
///
/// - A job whose state or body is damaged is lost whole.
/// - A job whose output and last error are damaged is saved without them. Its last error says so, since an output that
///   is lost is not the same as none.
/// - A job whose history is damaged is saved with the entries after the damage; the others count as cut.
/// - [`LostPart::Unknown`] stands for a part of the file in which nobody can say any more what there was.
///
/// A page that is whole but old, since the disk has lost a later write to it, passes its checksums: SQLite has none over
/// its pages. Then a job may be saved as it once was. In a redb file that is found and counts as damage.
///
/// # Errors
/// In each case the damaged file is as it was, and no new one was made.
///
/// - [`Invalid`](crate::Error::Invalid) for a name that names no file, a store that keeps nothing, or one that this build
///   does not have.
/// - [`BackendErrorKind::Invalid`] when there is something at `to` already, or when `from` is something else than a
///   queue's file.
/// - [`BackendErrorKind::AlreadyOpen`] when the damaged file is in use. Close the queue first, in every process.
/// - [`BackendErrorKind::Corrupted`] when so much is damaged that not even the tables can be found.
/// - [`BackendErrorKind::NewerFormat`], [`BackendErrorKind::Full`], [`BackendErrorKind::Io`].
///
/// # Cancel safety
/// Dropping the future does not stop the work.
///
/// [`PoolQueue::open`]: crate::PoolQueue::open
pub async fn salvage(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<Salvaged> {
    let (from, to) = (Place::of("from", from.as_ref())?, Place::of("to", to.as_ref())?);
    let working = tokio::runtime::Handle::try_current()
        .map_err(|error| BackendError::from(Invalid::new("runtime", error.to_string())))?
        .spawn_blocking(move || fill(&from, &to));
    let salvaged = working.await.map_err(|error| {
        BackendError::new(BackendErrorKind::Closed, "salvaging did not finish").with_source(error)
    })?;
    Ok(salvaged?)
}

/// A file of a kind.
enum Place {
    #[cfg(feature = "redb")]
    Redb(PathBuf),
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
}

impl Place {
    fn of(argument: &'static str, location: &OsStr) -> Result<Self> {
        let (scheme, rest) = named(location);
        let path = PathBuf::from(rest);
        if scheme != "memory" && rest.is_empty() {
            return Err(Invalid::new(argument, "names no file").into());
        }
        match scheme {
            "memory" => Err(Invalid::new(argument, "the store in memory has no file").into()),
            #[cfg(feature = "redb")]
            "redb" => Ok(Place::Redb(path)),
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Place::Sqlite(path)),
            other => {
                let _ = path;
                Err(unknown(other))
            }
        }
    }

    /// Hands over what is left. `scratch` is a directory with room for a copy.
    #[cfg(any(feature = "redb", feature = "sqlite"))]
    fn read(&self, scratch: &Path, rescue: &mut dyn Rescue) -> std::result::Result<(), BackendError> {
        let _ = scratch;
        match *self {
            #[cfg(feature = "redb")]
            Place::Redb(ref path) => {
                poolqueue_redb::RedbStore::read_damaged(path, &crate::RedbOptions::default(), rescue)
            }
            #[cfg(feature = "sqlite")]
            Place::Sqlite(ref path) => poolqueue_sqlite::SqliteStore::read_damaged(
                path,
                &crate::SqliteOptions::default(),
                scratch,
                rescue,
            ),
        }
    }
}

fn fill(from: &Place, to: &Place) -> std::result::Result<Salvaged, BackendError> {
    let _ = from;
    match *to {
        #[cfg(feature = "redb")]
        Place::Redb(ref path) => {
            poolqueue_redb::RedbStore::create_filled(path, crate::RedbOptions::default(), |store| {
                refill(store, &mut |rescue| from.read(directory(path), rescue))
            })
        }
        #[cfg(feature = "sqlite")]
        Place::Sqlite(ref path) => {
            poolqueue_sqlite::SqliteStore::create_filled(path, crate::SqliteOptions::default(), |store| {
                refill(store, &mut |rescue| from.read(directory(path), rescue))
            })
        }
    }
}

/// The directory that a path's file is in.
#[cfg(any(feature = "redb", feature = "sqlite"))]
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
