//! What is done to a store beside the queue's own work: copying it, and accepting changes made by hand.

use std::path::Path;
use std::sync::Arc;

use poolqueue_core::{Backend, BackendError, JobId, Reader, Store, Timestamp};

use crate::backup;
use crate::reseal::{self, Resealed};
use crate::{SqliteBackend, SqliteReader, SqliteStore};

impl SqliteReader {
    /// Copies the store, as it is when the call begins, to a new file at `path`, while the queue goes on.
    ///
    /// One read transaction is copied with SQLite's backup interface: commits of the meantime are not in the copy,
    /// and are not held up. The write-ahead log cannot be cut while the copy is made, so it may grow by what is
    /// written meanwhile. The copy is made under another name in the directory of `path`, synced, and only then
    /// given its name: at `path` there is no file or a whole one. What a process that died left behind has a name
    /// that begins with a dot and ends with `.new`, and can be deleted.
    ///
    /// The copy is a store like any other, with the same table prefix, and opens with [`SqliteStore::open`]. All of
    /// the file is copied: tables of an application that shares it are in the copy, too. Jobs that were running
    /// are running in the copy; nobody there holds them, so opening it makes them due again. Do not let both
    /// run the same jobs: a restored copy does again what the original has done since.
    ///
    /// Pages are copied as they are. Whether the original was damaged shows when the copy is verified. Blocks until
    /// the copy is on stable storage.
    ///
    /// # Errors
    /// `Invalid` naming the path when something is there already, even a link to nothing or a write-ahead log
    /// without its file; `Full` when the copy does not fit; `Closed` after closing; otherwise what SQLite or the
    /// system reports. After an error nothing is at `path` that was not there before, unless only the sync of
    /// its directory failed: then the copy is whole, and its name may not survive a loss of power.
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<(), BackendError> {
        let shared = self.shared();
        shared.noted(shared.site().guard("make a backup", || backup::backup(self, path.as_ref())))
    }
}

impl SqliteStore {
    /// As [`SqliteReader::backup_to`].
    ///
    /// # Errors
    /// As [`SqliteReader::backup_to`].
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<(), BackendError> {
        self.reader().backup_to(path)
    }

    /// Accepts what the rows of these jobs say now, at the time `now`: for rows that were changed by hand, which are
    /// [`Corrupted`](poolqueue_core::BackendErrorKind::Corrupted) until then.
    ///
    /// All is done in one transaction on a connection of its own; each job is accepted or refused as a whole, and
    /// a refused one is left untouched. An id that is given twice counts once.
    ///
    /// - Every column must be something the life cycle knows, and must not contradict the rest: a running job has
    ///   an assignee, a paused one a status to resume to, a unique key one unfinished holder, and no attempt is
    ///   lower than one that history tells of. Sizes are not compared with the limits of new jobs.
    /// - What follows from other columns is set: `phase`, `deadline` and `suspect`; `due` by comparing `run_at`
    ///   with `now` (a held job stays due); `finalized_at` to `now` or to nothing, as the status is final or
    ///   not; `resumes_to` and `last_reported` to nothing where the status leaves no room for them; `outcome`,
    ///   `history_first` and `history_next` as the rows are there. So do the job's tags among the due jobs
    ///   and its unique key.
    /// - Entries of the history keep what they say. If one between others is missing, the job is refused.
    /// - A held job stays held, by the same handle, which is told that its job was changed. A job does not come to
    ///   be held by hand: `owner` must name an open handle.
    /// - A due job whose payload was changed may be claimed before it is accepted here, and a claim that finds it
    ///   damaged ends it as dead: pause it before the change, and resume it afterwards.
    /// - The counts by status are counted anew, whatever was given; with no ids at all, that is all that is done.
    /// - Each job that was accepted leaves a row in the table `reseals`, which says what did not fit and what was
    ///   set. So do the counts when they were wrong.
    ///
    /// [`Health::damage`](poolqueue_core::Health::damage) goes on telling of what was found before, until the store
    /// is opened again.
    ///
    /// Reads the tables of jobs, of unique keys and of the tags of due jobs once each; other writers wait
    /// meanwhile. Blocks until it is on stable storage.
    ///
    /// # Errors
    /// `Busy` when another writer did not finish in time; `Closed` after closing; `Full`; otherwise what SQLite
    /// reports. Nothing was changed, unless the error says [`Applied::Unknown`](poolqueue_core::Applied::Unknown):
    /// then all of it was or nothing, and repeating the call is safe.
    pub fn reseal(
        &self,
        ids: impl IntoIterator<Item = JobId>,
        now: Timestamp,
    ) -> Result<Resealed, BackendError> {
        reseal_at(&self.reader(), ids.into_iter().collect(), now)
    }
}

impl SqliteBackend {
    /// As [`SqliteReader::backup_to`]. Blocks: from async code call it in `spawn_blocking`.
    ///
    /// # Errors
    /// As [`SqliteReader::backup_to`].
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<(), BackendError> {
        SqliteReader::new(Arc::clone(self.shared())).backup_to(path)
    }

    /// As [`SqliteStore::reseal`], at the time of the queue's clock. Blocks: from async code call it in
    /// `spawn_blocking`.
    ///
    /// # Errors
    /// As [`SqliteStore::reseal`].
    pub fn reseal(&self, ids: impl IntoIterator<Item = JobId>) -> Result<Resealed, BackendError> {
        let now = self.capabilities().clock.now();
        reseal_at(&SqliteReader::new(Arc::clone(self.shared())), ids.into_iter().collect(), now)
    }
}

fn reseal_at(reader: &SqliteReader, ids: Vec<JobId>, now: Timestamp) -> Result<Resealed, BackendError> {
    // Refused after closing, as every other call is.
    drop(reader.snapshot()?);
    let shared = reader.shared();
    shared.noted(shared.site().guard("reseal jobs", || reseal::reseal(shared, ids, now)))
}
