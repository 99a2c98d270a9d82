//! A backend in a model: its store takes its time between a commit and its return, and fails when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::memory::{MemoryReader, MemoryStore};
use poolqueue_core::{
    Applied, AssigneeId, Attempt, Backend, BackendError, BackendErrorKind, Batch, Change, Claim, ClaimFilter,
    Committed, Embedded, EmbeddedOptions, Job, JobId, Limits, ManualClock, NewJob, Observer, Output, Profile,
    Reader, Receipt, Slots, Snapshot, Start, Status, Store, Target, Timestamp, Txn, Verdict, WriterOptions,
};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};

/// The jobs of a model: 1 … 6.
const JOBS: u8 = 6;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Rolled back, and known to be.
    Full,
    /// The sync failed, and the group is there.
    UnknownApplied,
    /// The sync failed, and the group is not there.
    UnknownLost,
}

impl Fault {
    fn error(self) -> BackendError {
        match self {
            Fault::Full => BackendError::new(BackendErrorKind::Full, "no room"),
            _ => BackendError::new(BackendErrorKind::Io, "the sync failed").with_applied(Applied::Unknown),
        }
    }
}

/// What the store has made durable. Its locks are the system's: nobody is interrupted while holding one.
#[derive(Debug, Default)]
pub struct Synced {
    jobs: Mutex<BTreeMap<JobId, (Status, Attempt)>>,
    /// What becomes of the next commits; without an entry they succeed.
    faults: Mutex<VecDeque<Option<Fault>>>,
}

impl Synced {
    /// Where a job stands on stable storage.
    pub fn job(&self, id: JobId) -> Option<(Status, Attempt)> {
        lock(&self.jobs).get(&id).copied()
    }

    fn note(&self, stored: &MemoryReader) {
        let ids: Vec<JobId> = (1..=JOBS).map(id).collect();
        let jobs = stored.snapshot().unwrap().get(&ids).unwrap();
        let jobs = jobs.into_iter().flatten().map(|job| (job.id, (job.status, job.attempt)));
        *lock(&self.jobs) = jobs.collect();
    }
}

/// Nobody is told of what is not durable.
impl Observer for Synced {
    fn committed(&self, what: Committed<'_>) {
        for inserted in what.inserted {
            assert!(self.job(inserted.id).is_some(), "told of job {} before the commit", inserted.id);
        }
        for step in what.transitions {
            let (_, attempt) = self.job(step.after.id).expect("told of a step of a job that is not there");
            assert!(attempt >= step.after.attempt, "told of a step before the commit");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct ModelStore {
    inner: MemoryStore,
    synced: Arc<Synced>,
}

impl Store for ModelStore {
    type Reader = MemoryReader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        let (mut fault, mut wrote) = (None, false);
        self.inner.transact(&mut |txn| {
            let verdict = group(txn)?;
            wrote = verdict == Verdict::Commit;
            if wrote {
                fault = lock(&self.synced.faults).pop_front().flatten();
            }
            match fault {
                Some(Fault::Full | Fault::UnknownLost) => Ok(Verdict::Rollback),
                Some(Fault::UnknownApplied) | None => Ok(verdict),
            }
        })?;
        // Everyone else may be quick while the disk is slow.
        thread::yield_now();
        if wrote {
            self.synced.note(&self.inner.reader());
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn reader(&self) -> MemoryReader {
        self.inner.reader()
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        self.inner.reopen()
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.inner.close()
    }
}

pub struct Rig {
    pub backend: Arc<Embedded<ModelStore>>,
    pub synced: Arc<Synced>,
    pub clock: Arc<ManualClock>,
    /// Another handle on what is stored.
    stored: MemoryStore,
}

impl Rig {
    /// A backend with a writer of any kind.
    pub fn new() -> Self {
        Self::with_faults([])
    }

    pub fn with_faults(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let mut writer = WriterOptions::default();
        writer.linger = *any_of(&[Duration::ZERO, Duration::from_micros(50)]);
        writer.group_commands = *any_of(&[1, 1_024]);
        writer.queue_capacity = *any_of(&[1, 16_384]);
        let clock = ManualClock::new(Timestamp::from_micros(1_900_000_000_000_000));
        let options = EmbeddedOptions::default().clock(clock.clone()).writer(writer);
        let (stored, synced) = (MemoryStore::new(), Arc::<Synced>::default());
        lock(&synced.faults).extend(faults);
        let store = ModelStore { inner: stored.clone(), synced: Arc::clone(&synced) };
        let profile = Profile { engine: "model", durable: true, exclusive: true };
        let backend = Arc::new(Embedded::start(store, profile, options).unwrap());
        backend.observe(synced.clone());
        Rig { backend, synced, clock, stored }
    }

    /// Runs `task` on a thread of its own.
    pub fn start<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Embedded<ModelStore>) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let backend = Arc::clone(&self.backend);
        thread::spawn(move || task(&backend))
    }

    /// The job as it is stored, whoever has been told of it.
    pub fn stored(&self, n: u8) -> Option<Job> {
        self.stored.reader().snapshot().unwrap().get(&[id(n)]).unwrap().remove(0)
    }

    /// Ends the writer, and checks what it leaves.
    pub fn end(self) {
        drop(self.backend);
        self.stored.reader().snapshot().unwrap().verify().unwrap();
    }
}

/// One of these, drawn for this run of the model.
pub fn any_of<T>(choices: &[T]) -> &T {
    &choices[thread_rng().gen_range(0..choices.len())]
}

pub fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

pub fn add(jobs: &[u8]) -> Batch {
    add_at(jobs, Start::Now)
}

pub fn add_at(jobs: &[u8], start: Start) -> Batch {
    let insert = |n: &u8| {
        let job = NewJob::new("kind", vec![*n]).id(id(*n));
        let mut insert = job.into_insert(&Limits::default(), || id(*n)).unwrap();
        insert.admission.start = start;
        insert
    };
    Batch { inserts: jobs.iter().map(insert).collect(), ..Batch::default() }
}

pub fn complete(target: impl Into<Target>) -> Batch {
    let event = Event::Complete { output: Output::none() };
    let change = Change { target: target.into(), only_from: None, event };
    Batch { changes: vec![change], ..Batch::default() }
}

/// A claim of anything that waits for it.
pub fn any(slots: &Arc<Slots>) -> Claim {
    let assignee = AssigneeId::new("w").unwrap();
    Claim { assignee, filter: ClaimFilter::default(), slots: Arc::clone(slots), wait: true }
}

/// A claim of anything there is now.
pub fn at_once(slots: &Arc<Slots>) -> Claim {
    Claim { wait: false, ..any(slots) }
}

pub fn commit(backend: &impl Backend, batch: Batch) -> Result<Receipt, BackendError> {
    block_on(backend.commit(batch))
}

pub fn claim(backend: &impl Backend, claim: Claim) -> Result<Vec<Job>, BackendError> {
    block_on(backend.claim(vec![claim])).map(|jobs| jobs.concat())
}
