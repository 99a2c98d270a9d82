//! What the stress programs share: their arguments, their clock, and how they open a store.
//!
//! `stress-child` runs a seeded random mix of calls and prints a line before and after each; `stress-dump` prints what a
//! store holds. Together they let a queue be tested as a black box: killed, cut off, damaged, and compared with what it
//! had acknowledged. The format of the lines is described in `docs/stress.md`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::memory::{MemoryBackend, MemoryStore};
use poolqueue_core::{
    Backend, BackendError, Clock, EmbeddedOptions, JobId, Snapshot, SystemClock, Timestamp,
};

/// What went wrong in a stress program.
pub type StressError = Box<dyn std::error::Error + Send + Sync>;

/// For each id, whether the index in memory lists the job as ready (now or later), and as held.
pub type Membership<'a> = &'a dyn Fn(&[JobId]) -> Result<Vec<(bool, bool)>, BackendError>;

/// The arguments of both programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Arguments {
    /// Which store: `redb`, `memory` or, with its feature, `sqlite`.
    pub backend: String,
    /// Where it is.
    pub path: PathBuf,
    /// Where the random choices start.
    pub seed: u64,
    /// Calls to make.
    pub ops: u64,
    /// Tasks that claim jobs and report outcomes.
    pub workers: usize,
    /// Tasks that enqueue, cancel, delete and clean up.
    pub callers: usize,
    /// A file that holds the microseconds to add to the machine's clock, read at each look at the clock.
    pub clock_file: Option<PathBuf>,
}

impl Arguments {
    /// Reads the program's arguments.
    ///
    /// # Errors
    /// Says which argument is unknown, missing or not a number.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, StressError> {
        let mut parsed = Arguments {
            backend: String::new(),
            path: PathBuf::new(),
            seed: 1,
            ops: 1_000,
            workers: 1,
            callers: 1,
            clock_file: None,
        };
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--backend" => parsed.backend = value,
                "--path" => parsed.path = value.into(),
                "--seed" => parsed.seed = number(&name, &value)?,
                "--ops" => parsed.ops = number(&name, &value)?,
                "--workers" => parsed.workers = number(&name, &value)?,
                "--callers" => parsed.callers = number(&name, &value)?,
                "--clock-file" => parsed.clock_file = Some(value.into()),
                other => return Err(format!("there is no argument {other}").into()),
            }
        }
        if parsed.backend.is_empty() {
            return Err("--backend is missing: redb, sqlite or memory".into());
        }
        Ok(parsed)
    }

    /// What the backend is told: the clock, above all.
    pub fn options(&self) -> EmbeddedOptions {
        match &self.clock_file {
            Some(file) => EmbeddedOptions::default().clock(Arc::new(FileClock::new(file.clone()))),
            None => EmbeddedOptions::default(),
        }
    }

    /// Opens the store as the queue's backend.
    ///
    /// # Errors
    /// An unknown backend, or what the store reports.
    pub fn open(&self) -> Result<Arc<dyn Backend>, StressError> {
        match self.backend.as_str() {
            "memory" => Ok(Arc::new(MemoryBackend::open(MemoryStore::default(), self.options())?)),
            #[cfg(feature = "redb")]
            "redb" => {
                let options = poolqueue_redb::RedbOptions::default();
                Ok(Arc::new(poolqueue_redb::RedbBackend::open_with(&self.path, options, self.options())?))
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let options = poolqueue_sqlite::SqliteOptions::default();
                Ok(Arc::new(poolqueue_sqlite::SqliteBackend::open_with(&self.path, options, self.options())?))
            }
            other => Err(no_such_backend(other)),
        }
    }

    /// Opens the store for reading, without rescuing anything, and hands it to `read`.
    ///
    /// # Errors
    /// An unknown backend, or what the store or `read` reports.
    pub fn inspect(
        &self,
        read: impl FnOnce(&dyn Snapshot, Membership<'_>) -> Result<(), StressError>,
    ) -> Result<(), StressError> {
        use poolqueue_core::{Reader, Store};
        match self.backend.as_str() {
            "memory" => {
                let store = MemoryStore::default();
                read(&store.reader().snapshot()?, &|ids| Ok(store.membership(ids)))
            }
            #[cfg(feature = "redb")]
            "redb" => {
                self.must_exist()?;
                let options = poolqueue_redb::RedbOptions::default();
                let mut store = poolqueue_redb::RedbStore::open(&self.path, options)?;
                read(&store.reader().snapshot()?, &|ids| Ok(store.membership(ids)))?;
                Ok(store.close()?)
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                self.must_exist()?;
                let options = poolqueue_sqlite::SqliteOptions::default();
                let mut store = poolqueue_sqlite::SqliteStore::open(&self.path, options)?;
                read(&store.reader().snapshot()?, &|ids| store.membership(ids))?;
                Ok(store.close()?)
            }
            other => Err(no_such_backend(other)),
        }
    }

    /// Opening makes a missing file; a dump of what is not there is a mistake.
    #[cfg(any(feature = "redb", feature = "sqlite"))]
    fn must_exist(&self) -> Result<(), StressError> {
        std::fs::metadata(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(())
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, StressError>
where
    T::Err: fmt::Display,
{
    value.parse().map_err(|error| format!("{name} {value:?}: {error}").into())
}

fn no_such_backend(name: &str) -> StressError {
    format!("there is no backend {name:?} in this build").into()
}

/// The machine's clock and as many microseconds as a file says. A file that cannot be read counts as 0.
#[derive(Debug)]
pub struct FileClock {
    machine: SystemClock,
    file: PathBuf,
}

impl FileClock {
    /// A clock that is off by what `file` says.
    pub fn new(file: PathBuf) -> Self {
        FileClock { machine: SystemClock::default(), file }
    }
}

impl Clock for FileClock {
    fn now(&self) -> Timestamp {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let offset: i64 = text.trim().parse().unwrap_or(0);
        Timestamp::from_micros(self.machine.now().as_micros().saturating_add(offset))
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Option<Duration> {
        // The file may change at any time: look again soon.
        Some(deadline.since(self.now()).min(Duration::from_millis(10)))
    }
}

/// 64 bits that tell payloads apart: FNV-1a.
pub fn payload_hash(payload: &[u8]) -> u64 {
    payload
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
