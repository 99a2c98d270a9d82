//! Drives a store as the writer of `Embedded` does: load, decide, store.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use poolqueue_core::lifecycle::{Event, JobState, KeyChange, Transition, consequences, decide};
use poolqueue_core::{
    AssigneeId, BackendError, ClaimFilter, Counts, Failure, Filter, HistoryEntry, Job, JobId, Limits, NewJob,
    Output, QueueName, Reader, Snapshot, Store, Timestamp, Txn, Verdict,
};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};

pub const HISTORY_MAX: usize = 1000;

/// A directory with a store in it.
pub struct Rig {
    pub directory: tempfile::TempDir,
    pub store: SqliteStore,
}

pub fn id(number: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub fn job(number: u64) -> NewJob {
    NewJob::new("kind", format!("payload {number}").into_bytes()).id(id(number))
}

pub fn claim() -> Event {
    Event::Claim { assignee: AssigneeId::new("worker").unwrap() }
}

pub fn complete(output: &str) -> Event {
    Event::Complete { output: output.into() }
}

pub fn fail(message: &str) -> Event {
    Event::FailRetry { failure: Failure::new(message), random: 0 }
}

pub fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, options()).unwrap()
}

pub fn try_open(path: &Path) -> Result<SqliteStore, BackendError> {
    SqliteStore::open(path, options())
}

/// The names in a directory, sorted.
pub fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Without the long write-ahead log that each store would fill.
pub fn options() -> SqliteOptions {
    SqliteOptions::default().wal_grow_bytes(0)
}

impl Default for Rig {
    fn default() -> Self {
        Rig::with(options())
    }
}

impl Rig {
    pub fn with(options: SqliteOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("jobs.db"), options).unwrap();
        Rig { directory, store }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("jobs.db")
    }

    /// Closes the store and opens it again, as another process would.
    pub fn restart(self) -> Self {
        let Rig { directory, mut store } = self;
        store.close().unwrap();
        drop(store);
        let store = open(&directory.path().join("jobs.db"));
        Rig { directory, store }
    }

    /// Runs `call` in a transaction of its own.
    pub fn run<T>(&mut self, call: impl FnMut(&mut dyn Txn) -> Result<T, BackendError>) -> T {
        self.try_run(call).unwrap()
    }

    pub fn try_run<T>(
        &mut self,
        mut call: impl FnMut(&mut dyn Txn) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let mut result = None;
        self.store.transact(&mut |txn| {
            result = Some(call(txn)?);
            Ok(Verdict::Commit)
        })?;
        Ok(result.unwrap())
    }

    pub fn insert(&mut self, jobs: impl IntoIterator<Item = NewJob>, now: i64) {
        let jobs: Vec<NewJob> = jobs.into_iter().collect();
        self.run(|txn| jobs.iter().try_for_each(|job| insert(txn, job.clone(), now).map(|_| ())));
    }

    pub fn apply(&mut self, id: JobId, event: Event, now: i64) -> Transition {
        self.run(|txn| apply(txn, id, &event, now))
    }

    pub fn ready(&mut self, limit: usize) -> Vec<JobId> {
        self.run(|txn| {
            let states = txn.ready(&QueueName::default(), &ClaimFilter::default(), limit)?;
            Ok(states.iter().map(|state| state.id).collect())
        })
    }

    pub fn snapshot(&self) -> <<SqliteStore as Store>::Reader as Reader>::Snapshot {
        self.store.reader().snapshot().unwrap()
    }

    pub fn get(&self, id: JobId) -> Option<Job> {
        self.snapshot().get(&[id]).unwrap().remove(0)
    }

    pub fn counts(&self) -> Counts {
        self.snapshot().count(&Filter::everything()).unwrap()
    }

    pub fn history(&self, id: JobId) -> (Vec<HistoryEntry>, u64) {
        self.snapshot().history(id).unwrap().unwrap()
    }

    pub fn verify(&self) {
        let verified = self.snapshot().verify().unwrap();
        assert_eq!(verified.counts, self.counts());
    }
}

pub fn insert(txn: &mut dyn Txn, job: NewJob, now: i64) -> Result<JobState, BackendError> {
    let insert = job.into_insert(&Limits::default(), || id(u64::MAX)).unwrap();
    let state = JobState::admit(&insert.admission, txn.next_sequence()?, at(now));
    if let Some(key) = &state.unique_key {
        txn.set_key_holder(&state.labels.queue, key, Some(state.id))?;
    }
    txn.insert(&state, &insert.body)?;
    Ok(state)
}

pub fn apply(txn: &mut dyn Txn, id: JobId, event: &Event, now: i64) -> Result<Transition, BackendError> {
    apply_kept(txn, id, event, now, HISTORY_MAX)
}

pub fn apply_kept(
    txn: &mut dyn Txn,
    id: JobId,
    event: &Event,
    now: i64,
    history_max: usize,
) -> Result<Transition, BackendError> {
    let state = txn.load(id)?.expect("the job exists");
    let transition = decide(&state, event, None, at(now)).expect("the step is allowed");
    let output: Option<&Output> = match event {
        Event::Complete { output } => Some(output),
        _ => None,
    };
    if let Some(key) = &state.unique_key {
        match consequences(&transition).unique_key {
            KeyChange::Keep => {}
            KeyChange::Take => txn.set_key_holder(&state.labels.queue, key, Some(id))?,
            KeyChange::Release => txn.set_key_holder(&state.labels.queue, key, None)?,
        }
    }
    txn.store(&transition, output, history_max)?;
    Ok(transition)
}
