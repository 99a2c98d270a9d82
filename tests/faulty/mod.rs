//! A queue in memory whose store fails, hangs and is overtaken when it is told to.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use poolqueue::backend::{
    Backend, Batch, BoxFuture, Capabilities, Claim, Counts, EmbeddedOptions, Filter, Health, ManualClock,
    Observer, Page, Query, Receipt, Verified,
};
use poolqueue::{
    BackendError, BackendErrorKind, Builder, ClaimedJob, HistoryEntry, Job, JobId, JobStream, Lease,
    MemoryBackend, NewJob, PoolQueue, Result, Timestamp,
};
use poolqueue_core::memory::MemoryStore;
use tokio::sync::watch;

/// How long an answer that has to come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often leases are looked at, by a clock that is moved by hand.
pub const SWEEP: Duration = Duration::from_secs(5);

type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What a [`Faulty`] store is told, and what it has seen.
#[derive(Default)]
pub struct Script {
    plan: Mutex<Plan>,
    /// Calls of `commit` that were answered with an error, or left hanging.
    failed: watch::Sender<u64>,
    claims: watch::Sender<u64>,
}

#[derive(Default)]
struct Plan {
    refuse: Option<BackendError>,
    hang: bool,
    /// Every batch that touches this job is refused.
    damaged: Option<JobId>,
    /// What the next claim is answered.
    claim: Option<BackendError>,
    /// Done between the next read of a page and its answer.
    after_select: Option<Hook>,
    /// Done before the store is closed.
    before_close: Option<Hook>,
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }

    /// Refuses every change from now on, or none.
    pub fn refuse(&self, kind: Option<BackendErrorKind>) {
        self.lock().refuse = kind.map(|kind| BackendError::new(kind, "told to"));
    }

    /// Leaves every change without an answer from now on, not even handed to the store.
    pub fn hang(&self, hang: bool) {
        self.lock().hang = hang;
    }

    /// Refuses every batch that changes this job from now on.
    pub fn damage(&self, job: JobId) {
        self.lock().damaged = Some(job);
    }

    pub fn fail_next_claim(&self, kind: BackendErrorKind) {
        self.lock().claim = Some(BackendError::new(kind, "told to"));
    }

    pub fn after_select(&self, hook: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.lock().after_select = Some(Box::new(hook));
    }

    pub fn before_close(&self, hook: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.lock().before_close = Some(Box::new(hook));
    }

    /// Returns when as many changes were refused or left hanging.
    pub async fn failed(&self, count: u64) {
        soon(self.failed.subscribe().wait_for(|failed| *failed >= count)).await.unwrap();
    }

    /// Returns when as many claims were asked for.
    pub async fn claims(&self, count: u64) {
        soon(self.claims.subscribe().wait_for(|claims| *claims >= count)).await.unwrap();
    }
}

/// A store in memory that does as it is told.
#[derive(Debug)]
pub struct Faulty {
    inner: MemoryBackend,
    script: Arc<Script>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Backend for Faulty {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        let (refuse, hang) = {
            let plan = self.script.lock();
            let damaged = batch.changes.iter().any(|change| Some(change.target.id()) == plan.damaged);
            let damage = damaged.then(|| BackendError::corrupted("the job is damaged"));
            (plan.refuse.clone().or(damage), plan.hang)
        };
        if refuse.is_some() || hang {
            self.script.failed.send_modify(|failed| *failed += 1);
        }
        match refuse {
            _ if hang => Box::pin(std::future::pending()),
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.inner.commit(batch),
        }
    }

    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>> {
        self.script.claims.send_modify(|count| *count += 1);
        match self.script.lock().claim.take() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.inner.claim(claims),
        }
    }

    fn select(&self, query: Query) -> BoxFuture<'_, Page> {
        Box::pin(async move {
            let page = self.inner.select(query).await;
            let hook = self.script.lock().after_select.take();
            if let Some(hook) = hook {
                hook().await?;
            }
            page
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let hook = self.script.lock().before_close.take();
            if let Some(hook) = hook {
                hook().await?;
            }
            self.inner.close().await
        })
    }

    fn get(&self, ids: Vec<JobId>) -> BoxFuture<'_, Vec<Option<Job>>> {
        self.inner.get(ids)
    }

    fn count(&self, filter: Filter) -> BoxFuture<'_, Counts> {
        self.inner.count(filter)
    }

    fn history(&self, id: JobId) -> BoxFuture<'_, Option<(Vec<HistoryEntry>, u64)>> {
        self.inner.history(id)
    }

    fn held(&self) -> BoxFuture<'_, Vec<Lease>> {
        self.inner.held()
    }

    fn record(&self, key: String) -> BoxFuture<'_, Option<(u64, Vec<u8>)>> {
        self.inner.record(key)
    }

    fn verify(&self) -> BoxFuture<'_, Verified> {
        self.inner.verify()
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn reopen(&self) -> BoxFuture<'_, ()> {
        self.inner.reopen()
    }
}

/// A queue on a store that does as it is told, by a clock that is moved by hand. Reads like the queue.
pub struct Scene {
    pub queue: PoolQueue,
    pub script: Arc<Script>,
    pub clock: Arc<ManualClock>,
    pub backend: Arc<dyn Backend>,
    /// Another handle on what is stored.
    pub stored: MemoryStore,
}

impl std::ops::Deref for Scene {
    type Target = PoolQueue;

    fn deref(&self) -> &PoolQueue {
        &self.queue
    }
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(options: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_900_000_000_000_000));
        let stored = MemoryStore::new();
        let inner =
            MemoryBackend::open(stored.clone(), EmbeddedOptions::default().clock(clock.clone())).unwrap();
        let script = Arc::<Script>::default();
        let backend: Arc<dyn Backend> = Arc::new(Faulty { inner, script: Arc::clone(&script) });
        let queue = options(PoolQueue::builder(Arc::clone(&backend))).open().await.unwrap();
        Scene { queue, script, clock, backend, stored }
    }

    pub async fn add(&self, job: NewJob) -> JobId {
        self.queue.enqueue(job).await.unwrap()
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.queue.get(id).await.unwrap().unwrap()
    }

    pub async fn stream(&self, assignee: &str, capacity: usize) -> JobStream {
        self.queue.stream(assignee).capacity(capacity).open().await.unwrap()
    }

    /// Lets the leases be looked at once more.
    pub fn sweep(&self) {
        self.clock.advance(SWEEP);
    }
}

pub fn job() -> NewJob {
    NewJob::new("kind", b"")
}

/// The next batch of a stream that has not ended.
#[track_caller]
pub fn next(stream: &mut JobStream) -> impl Future<Output = Vec<ClaimedJob>> {
    let batch = soon(stream.next());
    async move { batch.await.expect("the stream goes on").expect("the store works") }
}

/// Waits for what has to come. How long is no part of any behaviour; the bound ends a test that hangs.
#[track_caller]
pub fn soon<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let asked = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, what).await {
            Ok(came) => came,
            Err(_) => panic!("nothing came within {PATIENCE:?}, awaited at {asked}"),
        }
    }
}

/// Polls `future` once: what it asks for is asked, and it goes on waiting.
pub async fn begin<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// A result of the crate's own, for hooks.
pub fn done<T>(result: Result<T>) {
    result.map(drop).unwrap();
}
