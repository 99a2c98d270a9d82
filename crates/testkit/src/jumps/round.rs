//! One store under a clock that jumps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use poolqueue::{ClaimedJob, EventStream, JobStream, NewJob};
use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    ClaimFilter, Clock, EmbeddedOptions, EventKind, Failure, JobId, ManualClock, QueueName, Status, Timestamp,
};

use super::Time;
use super::planted::OneTime;
use super::timed::Expected;
use crate::Fixture;
use crate::suite::support::{START, Scene, next, until_changed};

/// How long a holder may be silent. Shorter than a sweeper has to be late to be lenient.
const LEASE: Duration = Duration::from_secs(5);
/// The longest step of both clocks: sweeps are never late.
const STEP_MS: u64 = 4_000;
/// Jobs under a lease.
const LEASED: usize = 6;
const YEAR: u64 = 31_557_600;
/// How far the clock may be off.
const FAR: i64 = 40 * YEAR as i64 * 1_000_000;

/// A job under a lease, and what it has been through.
struct Leased {
    job: ClaimedJob,
    beat: Duration,
    crashes: u32,
}

/// What is open on the store.
struct Open {
    events: EventStream,
    stream: JobStream,
    /// Its job is lost in every sweep after a step, so that it is known that there was one.
    _canaries: JobStream,
}

pub(super) struct Round<F> {
    /// `None` only while the store is opened again.
    scene: Option<Scene<F>>,
    open: Option<Open>,
    time: Time,
    random: Rng,
    canary: JobId,
    leased: BTreeMap<JobId, Leased>,
    timed: Expected,
}

impl<F: Fixture> Round<F> {
    pub(super) async fn new(time: Time, random: Rng) -> Self {
        let clock = ManualClock::new(START);
        let given: Arc<dyn Clock> =
            if time == Time::Planted { Arc::new(OneTime(clock.clone())) } else { clock.clone() };
        let options = EmbeddedOptions::default().clock(given);
        let scene = Scene::open(F::new(), clock, options).await;
        let job = |queue: &str| NewJob::new("kind", b"").queue(queue).crash_limit(u32::MAX);
        let canary = scene.add(job("canaries")).await;
        scene.add_all((0..LEASED).map(|_| job("leased"))).await;
        let timed = Expected::new(START, Duration::ZERO);
        let leased = BTreeMap::new();
        let mut round = Round { scene: Some(scene), open: None, time, random, canary, leased, timed };
        round.open_streams().await;
        round
    }

    pub(super) async fn run(mut self, jumps: u64) -> Result<(), String> {
        for _ in 0..jumps {
            let reopens = self.time == Time::Jumps && self.random.u8(..12) == 0;
            if reopens {
                self.reopen().await;
            } else {
                self.jump();
                self.see(false).await;
            }
            self.compare().await?;
            self.enqueue().await;
            self.beat();
            self.pass().await?;
            if self.random.u8(..3) == 0 {
                self.claim().await?;
            }
            self.compare().await?;
        }
        self.finish().await
    }

    fn scene(&self) -> &Scene<F> {
        self.scene.as_ref().expect("the store is open")
    }

    fn open(&mut self) -> &mut Open {
        self.open.as_mut().expect("the streams are open")
    }

    /// The time as the sweeper has it.
    fn monotonic(&self) -> Duration {
        self.scene().clock.monotonic()
    }

    /// Opens the streams, which get the jobs that nobody holds now.
    async fn open_streams(&mut self) {
        let scene = self.scene();
        let mut events = scene.events();
        let canaries = scene.queue.stream("canary").queue("canaries").manual_lease(Duration::from_millis(1));
        let canaries = canaries.capacity(1).open().await.expect("the stream opens");
        until_changed(&mut events, self.canary, EventKind::Claim).await;
        let stream = scene.queue.stream("holder").queue("leased").manual_lease(LEASE).capacity(LEASED);
        let stream = stream.open().await.expect("the stream opens");
        self.open = Some(Open { events, stream, _canaries: canaries });
        self.receive(LEASED).await;
    }

    /// Takes in as many jobs that the stream is given.
    async fn receive(&mut self, count: usize) {
        let beat = self.monotonic();
        let mut left = count;
        while left > 0 {
            let batch = next(&mut self.open().stream).await;
            left = left.saturating_sub(batch.len());
            for job in batch {
                let crashes = job.crashes;
                self.leased.insert(job.id, Leased { job, beat, crashes });
            }
        }
    }

    /// Sets the time of day, forward or back.
    fn jump(&mut self) {
        let to = self.elsewhere(self.scene().clock.now());
        self.scene().clock.jump(to);
    }

    fn elsewhere(&mut self, now: Timestamp) -> Timestamp {
        if self.time == Time::Planted {
            return now.plus(LEASE + Duration::from_secs(1));
        }
        // Seconds as often as years.
        let most = [2, 10, 60, 3_600, 86_400, YEAR, 10 * YEAR][self.random.usize(..7)];
        let micros = 1_000_000 * self.random.u64(1..=most) as i64;
        let by = if self.random.bool() { micros } else { -micros };
        let offset = (now.as_micros() - START.as_micros() + by).clamp(-FAR, FAR);
        Timestamp::from_micros(START.as_micros() + offset)
    }

    /// Returns when the store has seen the clock.
    async fn see(&mut self, opened: bool) {
        self.scene().settle().await;
        let (now, monotonic) = (self.scene().clock.now(), self.monotonic());
        self.timed.see(now, monotonic, opened);
    }

    /// Lets some time pass, in which leases run out.
    async fn pass(&mut self) -> Result<(), String> {
        let span = Duration::from_millis(self.random.u64(1..STEP_MS / 2) * 2);
        self.scene().clock.advance(span);
        let canary = self.canary;
        let events = &mut self.open().events;
        until_changed(events, canary, EventKind::LoseWorker).await;
        until_changed(events, canary, EventKind::Claim).await;
        self.see(false).await;
        let now = self.monotonic();
        let lost = self.leased.values().filter(|leased| now.saturating_sub(leased.beat) >= LEASE);
        let lost: Vec<JobId> = lost.map(|leased| leased.job.id).collect();
        for id in &lost {
            let leased = &self.leased[id];
            if !leased.job.is_cancelled() {
                return Err(format!("the lease of job {id} should be over and is not"));
            }
        }
        self.receive(lost.len()).await;
        Ok(())
    }

    /// Some holders say that they are alive.
    fn beat(&mut self) {
        let now = self.monotonic();
        for leased in self.leased.values_mut() {
            if self.random.u8(..3) > 0 && leased.job.heartbeat().is_ok() {
                leased.beat = now;
            }
        }
    }

    fn delay(&mut self) -> Duration {
        let most = [1, 5, 60, 86_400, YEAR, 10 * YEAR][self.random.usize(..6)];
        Duration::from_secs(self.random.u64(..=most))
    }

    async fn enqueue(&mut self) {
        let delay = self.delay();
        let expires = (self.random.u8(..4) == 0).then(|| self.delay() + Duration::from_secs(1));
        let mut job = NewJob::new("kind", b"").queue("timed").run_after(delay).crash_limit(u32::MAX);
        job = expires.into_iter().fold(job, NewJob::expires_after);
        let id = self.scene().add(job).await;
        self.timed.insert(id, delay, expires);
    }

    /// Claims everything that is due, and sets it down again in some way.
    async fn claim(&mut self) -> Result<(), String> {
        let queue = QueueName::new("timed").expect("a valid name");
        let filter = ClaimFilter { queues: Some(vec![queue]), ..ClaimFilter::default() };
        let jobs = self.scene().claim_for("worker", 10_000, filter).await;
        let mut claimed: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        claimed.sort_unstable();
        let expected = self.timed.claimable();
        if claimed != expected {
            return Err(format!("{claimed:?} were claimed at {}, not {expected:?}", self.timed.now));
        }
        for job in jobs {
            let (lease, delay, way) = (job.lease(), self.delay(), self.random.u8(..4));
            let queue = &self.scene().queue;
            let refused = |error: poolqueue::Error| format!("{lease:?} is refused: {error}");
            match way {
                0 => {
                    queue.complete(lease, ()).await.map_err(refused)?;
                    self.timed.jobs.remove(&job.id);
                }
                1 => {
                    let failure = Failure::new("later").retry_after(delay);
                    let status = queue.fail_retry(lease, failure).await.map_err(refused)?;
                    self.timed.set_down(job.id, status, Some(delay));
                }
                2 => {
                    let until = self.timed.now.plus(delay);
                    let step = self.scene().change(lease, Event::Suspend { until }).await;
                    let status = step.map_err(|rejected| refused(rejected.into()))?.after.status;
                    self.timed.set_down(job.id, status, Some(delay));
                }
                _ => {
                    let status = queue.release(lease).await.map_err(refused)?;
                    self.timed.set_down(job.id, status, None);
                }
            }
        }
        Ok(())
    }

    /// Closes the store, in order or under the feet of its holders, and opens it with the clock elsewhere.
    async fn reopen(&mut self) {
        let Some(scene) = self.scene.take() else { return };
        let crash = self.random.bool();
        match crash {
            true => scene.backend.close().await.expect("the store closes"),
            false => scene.queue.close().await.expect("the queue closes"),
        }
        let Scene { queue, backend, clock, options, fixture } = scene;
        self.open = None;
        self.leased.clear();
        drop((queue, backend));
        clock.jump(self.elsewhere(clock.now()));
        self.scene = Some(Scene::open(fixture, clock, options).await);
        self.open_streams().await;
        self.see(true).await;
    }

    /// Each job is where it has to be.
    async fn compare(&mut self) -> Result<(), String> {
        for leased in self.leased.values() {
            let job = self.scene().job(leased.job.id).await;
            let found = (job.status, job.attempt, job.crashes);
            let expected = (Status::Running, leased.job.attempt, leased.crashes);
            if found != expected {
                return Err(format!("the lease of job {} ended early: {found:?}, not {expected:?}", job.id));
            }
        }
        let ids: Vec<JobId> = self.timed.jobs.keys().copied().collect();
        let jobs = self.scene().get_all(ids.iter().copied()).await.map_err(|error| error.to_string())?;
        for (id, job) in ids.iter().zip(jobs) {
            let Some(job) = job else { return Err(format!("job {id} is lost")) };
            let expected = self.timed.jobs[id];
            if (job.status, job.attempt.0) != (expected.status, expected.attempt) {
                let now = self.timed.now;
                return Err(format!("job {id} is {} at {now}, not {expected:?}", job.status));
            }
        }
        Ok(())
    }

    /// Everything comes to an end once its time has come.
    async fn finish(mut self) -> Result<(), String> {
        let last = self.timed.now.max(self.scene().clock.now());
        self.scene().clock.jump(last.plus(Duration::from_secs(20 * YEAR)));
        self.see(false).await;
        self.compare().await?;
        while !self.timed.claimable().is_empty() {
            self.claim().await?;
            let later = self.scene().clock.now().plus(Duration::from_secs(20 * YEAR));
            self.scene().clock.jump(later);
            self.see(false).await;
        }
        if let Some((id, job)) = self.timed.jobs.iter().find(|(_, job)| job.status != Status::Dead) {
            return Err(format!("job {id} is stuck: {job:?}"));
        }
        let scene = self.scene();
        for leased in self.leased.values() {
            let completed = scene.complete(&leased.job, ()).await;
            completed.map_err(|error| format!("a lease that stands is refused: {error}"))?;
        }
        scene.verify().await.map_err(|error| error.to_string())?;
        scene.queue.close().await.map_err(|error| error.to_string())
    }
}
