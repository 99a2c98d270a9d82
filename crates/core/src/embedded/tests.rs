//! The writer, on a store that fails, waits and breaks when it is told to.

use std::panic::Location;

use super::*;
use crate::lifecycle::Transition;
use crate::memory::MemoryStore;
use crate::{
    Applied, AssigneeId, Change, ClaimFilter, EventKind, Failure, Insert, Kind, ManualClock, NewJob, Output,
    Rejected, Slots, Status, Target, Timestamp,
};
use faulty::{Fault, Faults, FaultyStore, full};

mod claims;
mod elsewhere;
mod failures;
mod faulty;
mod groups;
mod time;

/// How long an answer that has to come is waited for: less than the backstop of standing claims.
const PATIENCE: Duration = Duration::from_secs(20);

/// A backend on a store that does as it is told.
struct Rig {
    /// The first to be dropped, so that the backend can be.
    _release: Release,
    backend: Embedded<FaultyStore>,
    faults: Arc<Faults>,
    clock: Arc<ManualClock>,
    /// Another handle on what is stored.
    stored: MemoryStore,
}

/// A test that fails ends: its writer does not wait at the gate for ever.
struct Release(Arc<Faults>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.open_gate();
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(WriterOptions::default())
    }

    fn with(writer: WriterOptions) -> Self {
        Self::started(Timestamp::from_micros(1_900_000_000_000_000), writer)
    }

    fn started(start: Timestamp, writer: WriterOptions) -> Self {
        let clock = ManualClock::new(start);
        Rig { clock: clock.clone(), ..Self::with_clock(writer, clock) }
    }

    /// A rig whose own clock nobody looks at.
    fn with_clock(writer: WriterOptions, clock: Arc<dyn Clock>) -> Self {
        let options = EmbeddedOptions::default().clock(clock).writer(writer);
        let clock = ManualClock::new(Timestamp::NEVER);
        let (stored, faults) = (MemoryStore::new(), Arc::<Faults>::default());
        let store = FaultyStore { inner: stored.clone(), faults: Arc::clone(&faults) };
        let profile = Profile { engine: "faulty", durable: false, exclusive: true };
        let backend = Embedded::start(store, profile, options).unwrap();
        Rig { _release: Release(Arc::clone(&faults)), backend, faults, clock, stored }
    }

    /// Commits a batch that has to be answered.
    #[track_caller]
    fn commit(&self, batch: Batch) -> impl Future<Output = Receipt> {
        let answer = soon(self.backend.commit(batch));
        async move { answer.await.unwrap() }
    }

    /// The answer to a batch that is asked for while the writer is at the gate. It waits in the inbox.
    async fn ask(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        let mut answer = self.backend.commit(batch);
        assert!(begin(&mut answer).await.is_none(), "it was answered at once");
        answer
    }

    /// A claim that stands.
    async fn stand(&self, claim: Claim) -> BoxFuture<'_, Vec<Vec<Job>>> {
        let mut answer = self.backend.claim(vec![claim]);
        assert!(begin(&mut answer).await.is_none(), "it was answered at once");
        self.settle().await;
        assert!(begin(&mut answer).await.is_none(), "it was answered");
        answer
    }

    /// Claims at once.
    #[track_caller]
    fn claim(&self, claim: Claim) -> impl Future<Output = Vec<Job>> {
        let answer = soon(self.backend.claim(vec![claim]));
        async move { answer.await.unwrap().concat() }
    }

    /// Returns when the writer has looked at what it was asked or woken for before.
    async fn settle(&self) {
        self.commit(Batch::default()).await;
    }

    async fn job(&self, n: u8) -> Job {
        self.backend.get(vec![id(n)]).await.unwrap().remove(0).expect("the job is there")
    }

    async fn status(&self, n: u8) -> Status {
        self.job(n).await.status
    }

    /// What happened to a job.
    async fn steps(&self, n: u8) -> Vec<EventKind> {
        let history = self.backend.history(id(n)).await.unwrap().expect("the job is there");
        history.0.iter().map(|entry| entry.event).collect()
    }
}

fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

fn new_job(n: u8) -> NewJob {
    NewJob::new("kind", vec![n]).id(id(n))
}

fn insert(job: NewJob) -> Insert {
    job.into_insert(&Limits::default(), || panic!("it has an id")).unwrap()
}

/// Enqueues these jobs.
fn add(jobs: impl IntoIterator<Item = NewJob>) -> Batch {
    Batch { inserts: jobs.into_iter().map(insert).collect(), ..Batch::default() }
}

/// Enqueues jobs like all others.
fn add_plain(jobs: impl IntoIterator<Item = u8>) -> Batch {
    add(jobs.into_iter().map(new_job))
}

/// Enqueues `count` jobs whose ids do not matter.
fn add_many(count: u32, job: impl Fn() -> NewJob) -> Batch {
    let nth = |n: u32| {
        let mut bytes = [0xff; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        job().id(JobId::from_bytes(bytes))
    };
    add((0..count).map(nth))
}

fn change(target: impl Into<Target>, event: Event) -> Batch {
    let change = Change { target: target.into(), only_from: None, event };
    Batch { changes: vec![change], ..Batch::default() }
}

fn complete(target: impl Into<Target>) -> Batch {
    change(target, Event::Complete { output: Output::none() })
}

fn claim_of(slots: &Arc<Slots>, filter: ClaimFilter) -> Claim {
    Claim { assignee: AssigneeId::new("w").unwrap(), filter, slots: Arc::clone(slots), wait: true }
}

/// A claim of anything that stands.
fn any(slots: &Arc<Slots>) -> Claim {
    claim_of(slots, ClaimFilter::default())
}

/// A claim of anything that does not stand.
fn at_once(slots: &Arc<Slots>) -> Claim {
    Claim { wait: false, ..any(slots) }
}

fn of_kind(slots: &Arc<Slots>, kind: &str) -> Claim {
    claim_of(slots, ClaimFilter { kinds: Some(vec![Kind::new(kind).unwrap()]), ..ClaimFilter::default() })
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Waits for what has to come. How long is no part of any behaviour; the bound ends a test that hangs.
#[track_caller]
fn soon<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let asked = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, what).await {
            Ok(came) => came,
            Err(_) => panic!("nothing came within {PATIENCE:?}, awaited at {asked}"),
        }
    }
}

/// Polls `future` once: what it asks for is asked, and it goes on waiting.
async fn begin<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}
