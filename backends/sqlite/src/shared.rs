//! What the writer and the readers share: the statements, the readers' connections, and what is known of damage.

use std::borrow::Cow;
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use poolqueue_core::{BackendError, BackendErrorKind, Health, SyncPolicy, Verification};
use rusqlite::Connection;

use crate::database;
use crate::options::SqliteOptions;
use crate::site::Site;
use crate::sql::Sql;

/// When an answered call is durable, in this engine's words.
fn durability(policy: SyncPolicy) -> Cow<'static, str> {
    match policy {
        SyncPolicy::Interval(span) => format!(
            "WAL, synchronous=NORMAL, log synced every {span:?}: a power cut loses what was answered since"
        )
        .into(),
        SyncPolicy::Os => {
            "WAL, synchronous=NORMAL: a power cut loses what was answered since the last checkpoint".into()
        }
        _ => "WAL, synchronous=FULL: synced before it is answered".into(),
    }
}

/// See the module. Readers hold it; connections come and go with closing and reopening.
#[derive(Debug)]
pub(crate) struct Shared {
    site: Site,
    options: SqliteOptions,
    sql: Sql,
    pool: Mutex<Pool>,
    condition: Mutex<Condition>,
    /// The number of the handle that this is, once it has one.
    handle: AtomicI64,
}

#[derive(Debug, Default)]
struct Pool {
    /// Whether the store is open.
    open: bool,
    /// How often it was opened: a connection of an earlier time is not used again.
    generation: u64,
    /// The file as SQLite names it.
    file: Option<Vec<u8>>,
    idle: Vec<Connection>,
}

#[derive(Debug, Default)]
struct Condition {
    verification: Verification,
    damage: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks protect is whole at every step, also when the thread that held one panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(site: Site, options: SqliteOptions, sql: Sql) -> Self {
        let (pool, condition, handle) = (Mutex::default(), Mutex::default(), AtomicI64::new(0));
        Shared { site, options, sql, pool, condition, handle }
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn options(&self) -> &SqliteOptions {
        &self.options
    }

    pub(crate) fn sql(&self) -> &Sql {
        &self.sql
    }

    pub(crate) fn handle(&self) -> i64 {
        self.handle.load(Ordering::Relaxed)
    }

    pub(crate) fn set_handle(&self, number: i64) {
        self.handle.store(number, Ordering::Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.pool).open
    }

    /// The file as SQLite names it.
    pub(crate) fn file(&self) -> Option<Vec<u8>> {
        lock(&self.pool).file.clone()
    }

    /// The store is open: readers may come.
    pub(crate) fn install(&self, conn: &Connection) {
        let mut pool = lock(&self.pool);
        pool.open = true;
        pool.file = database::file_of(conn);
        pool.generation += 1;
        pool.idle.clear();
        *lock(&self.condition) = Condition::default();
    }

    /// The store is closed: readers are refused, and idle connections end.
    pub(crate) fn remove(&self) {
        let mut pool = lock(&self.pool);
        pool.open = false;
        pool.file = None;
        pool.idle.clear();
    }

    /// A connection for a reader, and when the store was opened.
    pub(crate) fn borrow(&self) -> Result<(Connection, u64), BackendError> {
        let generation = {
            let mut pool = lock(&self.pool);
            if !pool.open {
                return Err(BackendError::closed());
            }
            if let Some(conn) = pool.idle.pop() {
                return Ok((conn, pool.generation));
            }
            pool.generation
        };
        Ok((database::connect_reader(&self.site, &self.options)?, generation))
    }

    /// Keeps a reader's connection for the next one, if it is wanted.
    pub(crate) fn give_back(&self, conn: Connection, generation: u64) {
        let mut pool = lock(&self.pool);
        if pool.open && pool.generation == generation && pool.idle.len() < self.options.idle_readers {
            pool.idle.push(conn);
        }
    }

    /// Remembers damage for [`health`](Self::health), and hands the error on.
    pub(crate) fn noted<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    /// Remembers damage. The first one stays.
    pub(crate) fn note(&self, error: &BackendError) {
        if error.kind() == BackendErrorKind::Corrupted {
            let mut condition = lock(&self.condition);
            condition.verification = Verification::Damaged;
            condition.damage.get_or_insert_with(|| error.to_string());
        }
    }

    /// Every row was read, and fits.
    pub(crate) fn note_verified(&self) {
        let mut condition = lock(&self.condition);
        if condition.verification != Verification::Damaged {
            condition.verification = Verification::Verified;
        }
    }

    pub(crate) fn health(&self) -> Health {
        let condition = lock(&self.condition);
        let length = |path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut health = Health::default();
        health.verification = condition.verification;
        health.damage = condition.damage.clone();
        health.file_bytes =
            length(self.site.path().to_owned()).saturating_add(length(self.site.beside("-wal")));
        health.durability = durability(self.options.sync);
        health
    }
}
