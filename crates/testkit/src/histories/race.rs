//! The race: workers of several sorts on a few jobs, and the rest when all of them are done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use poolqueue::PoolQueue;
use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    AssigneeId, Attempt, Backend, Backoff, Batch, Change, Claim, ClaimFilter, Counts, Error, Failure, Filter,
    HistoryEntry, Job, JobId, Lease, NewJob, Output, Phase, QueueName, Slots, Status, Target,
};
use tokio::task::JoinSet;

use super::NOW;
use super::record::{Log, Op, Recorded};

/// Calls of all workers together, about.
const CALLS: usize = 72;
/// How long a stream is listened to. Nothing depends on whether something came.
const LISTEN: Duration = Duration::from_millis(2);
/// How long a history may take: a call without an answer is a fault, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A history and what was there when all was over.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// Every call.
    pub(super) ops: Vec<Op>,
    /// The jobs that were raced for.
    pub(super) jobs: Vec<JobId>,
    /// What was held when the workers were done.
    pub(super) held: Vec<Lease>,
    /// The jobs when the workers were done and everybody was served.
    pub(super) last: Vec<Option<Job>>,
    /// What the store remembers of each job.
    pub(super) entries: BTreeMap<JobId, Vec<HistoryEntry>>,
    /// What the store counts.
    pub(super) counts: Counts,
}

/// One handle of the store.
#[derive(Clone)]
struct Handle {
    backend: Arc<Recorded>,
    queue: PoolQueue,
}

/// A store, opened by one or several handles.
pub(super) struct Arena {
    handles: Vec<Handle>,
    log: Arc<Log>,
}

impl Arena {
    pub(super) async fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        let log = Arc::<Log>::default();
        let mut handles = Vec::new();
        for inner in backends {
            let backend = Arc::new(Recorded { inner, log: Arc::clone(&log) });
            let queue = PoolQueue::new(Arc::clone(&backend)).await.expect("the queue opens");
            handles.push(Handle { backend, queue });
        }
        Arena { handles, log }
    }

    /// Records the history with this number.
    pub(super) async fn race(&self, seed: u64, nth: u64) -> Result<History, String> {
        let race = self.race_to_the_end(seed, nth);
        tokio::time::timeout(PATIENCE, race).await.map_err(|_| format!("not over after {PATIENCE:?}"))?
    }

    async fn race_to_the_end(&self, seed: u64, nth: u64) -> Result<History, String> {
        let _of_the_one_before = self.log.take()?;
        let mut random = Rng::with_seed(seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let course = Arc::new(Course::new(nth, random.u8(1..4)));
        let workers = random.usize(4..=16);
        let mut tasks = JoinSet::new();
        for number in 0..workers {
            let handle = self.handles[number % self.handles.len()].clone();
            let worker = Worker { number, workers, handle, course: course.clone(), random: random.fork() };
            tasks.spawn(worker.work(CALLS.div_ceil(workers)));
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|panic| format!("a worker panicked: {panic}"))??;
        }
        self.rest(&course).await
    }

    /// Serves everybody who is left, then looks at everything.
    async fn rest(&self, course: &Course) -> Result<History, String> {
        for handle in &self.handles {
            // Whatever was withdrawn has been given back before this is answered.
            failed(handle.backend.commit(Batch::default()).await)?;
        }
        let first = &self.handles[0].backend;
        failed(first.get(course.jobs.clone()).await)?;
        let ours = |lease: &Lease| course.jobs.contains(&lease.id);
        let held: Vec<Lease> = failed(first.held().await)?.into_iter().filter(ours).collect();
        let release = |lease: &Lease| change(Target::Lease(*lease), Event::Release);
        let changes = held.iter().map(release).collect();
        failed(first.commit(Batch { changes, ..Batch::default() }).await)?;
        let resume = |id: &JobId| change(Target::Id(*id), Event::Resume);
        let changes = course.jobs.iter().map(resume).collect();
        failed(first.commit(Batch { changes, ..Batch::default() }).await)?;
        self.serve(course).await?;

        let last = failed(first.get(course.jobs.clone()).await)?;
        let mut entries = BTreeMap::new();
        for id in &course.jobs {
            entries.extend(failed(first.history(*id).await)?.map(|(entries, _)| (*id, entries)));
        }
        let filter = Filter { queues: Some(vec![course.queue.clone()]), ..Filter::everything() };
        let counts = failed(first.count(filter).await)?;
        Ok(History { ops: self.log.take()?, jobs: course.jobs.clone(), held, last, entries, counts })
    }

    /// Claims and completes until nothing is claimed any more, by each handle in turn.
    async fn serve(&self, course: &Course) -> Result<(), String> {
        // As often as a claim may find nothing because the job just completed is the last of its sort.
        for handle in self.handles.iter().cycle() {
            let claim = course.claim("the last", 8);
            let jobs = failed(handle.backend.claim(vec![claim]).await)?.concat();
            if jobs.is_empty() {
                return Ok(());
            }
            let complete = |job: &Job| change(Target::Lease(job.lease()), complete(&[7]));
            let changes = jobs.iter().map(complete).collect();
            failed(handle.backend.commit(Batch { changes, ..Batch::default() }).await)?;
        }
        Ok(())
    }

    pub(super) async fn close(&self) -> Result<(), String> {
        let verified = self.handles[0].backend.verify().await;
        verified.map_err(|error| format!("it does not verify: {error}"))?;
        for handle in &self.handles {
            handle.queue.close().await.map_err(|error| format!("it does not close: {error}"))?;
        }
        Ok(())
    }
}

fn failed<T>(answer: Result<T, poolqueue_core::BackendError>) -> Result<T, String> {
    answer.map_err(|error| format!("a call failed: {error} ({:?})", error.kind()))
}

fn change(target: Target, event: Event) -> Change {
    Change { target, only_from: None, event }
}

fn complete(output: &[u8]) -> Event {
    Event::Complete { output: Output::from(output) }
}

/// What one history is about.
struct Course {
    queue: QueueName,
    jobs: Vec<JobId>,
    /// Every lease that anybody was given.
    leases: Mutex<Vec<Lease>>,
}

impl Course {
    fn new(nth: u64, jobs: u8) -> Self {
        let queue = QueueName::new(format!("course-{nth}")).expect("a valid name");
        let id = |job: u8| JobId::from_bytes(((u128::from(nth) << 8) | u128::from(job)).to_be_bytes());
        Course { queue, jobs: (0..jobs).map(id).collect(), leases: Mutex::default() }
    }

    fn claim(&self, assignee: &str, places: usize) -> Claim {
        Claim {
            assignee: AssigneeId::new(assignee).expect("a valid name"),
            filter: ClaimFilter { queues: Some(vec![self.queue.clone()]), ..ClaimFilter::default() },
            slots: Slots::new(places),
            wait: false,
        }
    }

    fn given(&self, leases: impl Iterator<Item = Lease>) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).extend(leases);
    }

    /// One of the leases that were given last; before the first, one that will be.
    fn lease(&self, random: &mut Rng) -> Lease {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        match &leases[leases.len().saturating_sub(3)..] {
            [] => Lease { id: self.jobs[0], attempt: Attempt(1) },
            recent => recent[random.usize(..recent.len())],
        }
    }

    /// The same job each time it is enqueued: for one of them two crashes are the end, for one two failures.
    fn job(&self, nth: usize) -> NewJob {
        let job = NewJob::new("kind", vec![nth as u8]).id(self.jobs[nth]).queue(self.queue.as_str());
        let job = job.backoff(Backoff::None).crash_limit(if nth == 1 { 2 } else { u32::MAX });
        if nth == 2 { job.max_attempts(2) } else { job }
    }
}

struct Worker {
    number: usize,
    workers: usize,
    handle: Handle,
    course: Arc<Course>,
    random: Rng,
}

impl Worker {
    async fn work(mut self, calls: usize) -> Result<(), String> {
        for _ in 0..calls {
            match self.call().await {
                Ok(()) | Err(Error::Rejected(_)) => {}
                Err(error) => return Err(format!("a call failed: {error}")),
            }
        }
        Ok(())
    }

    async fn call(&mut self) -> Result<(), Error> {
        let nth = self.random.usize(..self.course.jobs.len());
        let id = self.course.jobs[nth];
        let queue = self.handle.queue.clone();
        match self.random.u8(..40) {
            0..5 => queue.enqueue(self.course.job(nth)).await.map(drop),
            5..14 => self.claim().await,
            14..23 => self.report().await,
            23..26 => self.batch().await,
            26..28 => self.handle.backend.get(self.course.jobs.clone()).await.map(drop).map_err(Error::from),
            28 => queue.cancel(id).await.map(drop),
            29..31 => queue.pause(id).await.map(drop),
            31 => queue.resume(id).await.map(drop),
            32..34 => queue.retry(id).await.map(drop),
            34..37 => queue.delete(id).await.map(drop),
            37 => {
                let other = self.random.usize(..self.workers);
                queue.lose_worker(name(other)).await.map(drop)
            }
            _ => self.listen().await,
        }
    }

    async fn claim(&mut self) -> Result<(), Error> {
        let claim = self.course.claim(&name(self.number), self.random.usize(1..=2));
        let jobs = self.handle.backend.claim(vec![claim]).await?.concat();
        self.course.given(jobs.iter().map(Job::lease));
        Ok(())
    }

    /// An outcome, by a lease that may be another's or an old one, or by the bare id.
    async fn report(&mut self) -> Result<(), Error> {
        let change = self.change();
        self.handle.backend.commit(Batch { changes: vec![change], ..Batch::default() }).await?;
        Ok(())
    }

    /// Several changes in one transaction, perhaps of one job.
    async fn batch(&mut self) -> Result<(), Error> {
        let changes = (0..self.random.usize(2..4)).map(|_| self.change()).collect();
        self.handle.backend.commit(Batch { changes, ..Batch::default() }).await?;
        Ok(())
    }

    fn change(&mut self) -> Change {
        let lease = self.course.lease(&mut self.random);
        let target = if self.random.u8(..6) == 0 { Target::Id(lease.id) } else { Target::Lease(lease) };
        change(target, self.event())
    }

    fn event(&mut self) -> Event {
        let message = || "why".to_owned();
        match self.random.u8(..18) {
            0..3 => complete(&[self.random.u8(..)]),
            3..9 => Event::FailRetry { failure: Failure::new("no"), random: self.random.u64(..) },
            9 => Event::Stop { message: message() },
            10 => Event::StopFailed { message: message() },
            11 => Event::UnknownStop { message: message() },
            12 => Event::AcknowledgeCancel { was_executing: self.random.bool(), message: message() },
            13 => Event::LoseWorker,
            14..16 => Event::Suspend { until: NOW },
            _ => Event::Release,
        }
    }

    /// A stream that comes and goes.
    async fn listen(&mut self) -> Result<(), Error> {
        let queue = &self.handle.queue;
        let stream = queue.stream(name(self.number)).queue(self.course.queue.as_str());
        let mut stream = stream.capacity(self.random.usize(1..=2)).open().await?;
        if let Ok(Some(batch)) = tokio::time::timeout(LISTEN, stream.next()).await {
            let jobs = batch?;
            self.course.given(jobs.iter().map(|job| job.lease()));
            for job in &jobs {
                let answer = match self.random.u8(..4) {
                    0 => queue.complete(job, b"done").await,
                    1 => queue.fail_retry(job, "no").await,
                    2 => queue.release(job).await,
                    _ => Ok(Status::Running),
                };
                if let Err(error) = answer
                    && !matches!(error, Error::Rejected(_))
                {
                    return Err(error);
                }
            }
        }
        stream.close().await
    }
}

/// The name under which a worker works.
fn name(number: usize) -> String {
    format!("worker-{number}")
}

/// Whether a job waits for nobody but a claimer, which everybody who was served cannot have left.
pub(super) fn is_left(job: &Job) -> bool {
    job.status.phase() == Phase::Ready && job.run_at.is_some_and(|at| NOW.to_datetime() >= Some(at))
}
