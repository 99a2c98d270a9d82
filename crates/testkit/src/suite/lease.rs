//! Leases: who is silent loses its jobs, and nobody else does.

use std::time::Duration;

use poolqueue::{ClaimedJob, EventKind, EventStream, JobId, JobStream, NewJob, Rejected, Status};

use super::support::*;
use crate::Fixture;

/// How often leases are looked at, unless the builder says otherwise.
const SWEEP: Duration = Duration::from_secs(5);

/// A job that is lost in every sweep, so that a test knows that there was one.
struct Canary {
    id: JobId,
    events: EventStream,
    /// Claims the job again each time.
    _stream: JobStream,
}

impl Canary {
    async fn new<F: Fixture>(scene: &Scene<F>) -> Self {
        let mut events = scene.events();
        let canary = NewJob::new("canary", b"").queue("canaries").crash_limit(u32::MAX);
        let id = scene.add(canary).await;
        let stream = scene.queue.stream("canary").queue("canaries").manual_lease(SWEEP);
        let stream = stream.capacity(1).open().await.expect("the stream opens");
        until_changed(&mut events, id, EventKind::Claim).await;
        Canary { id, events, _stream: stream }
    }

    /// Lets one sweep interval pass and returns when the sweep has been made.
    async fn sweep<F: Fixture>(&mut self, scene: &Scene<F>) {
        scene.clock.advance(SWEEP);
        self.swept().await;
    }

    async fn swept(&mut self) {
        until_changed(&mut self.events, self.id, EventKind::LoseWorker).await;
        until_changed(&mut self.events, self.id, EventKind::Claim).await;
    }

    /// Lets intervals pass until a sweep finds that it is not late.
    async fn sweep_in_time<F: Fixture>(&mut self, scene: &Scene<F>) {
        for _ in 0..200 {
            scene.clock.advance(SWEEP);
            if tokio::time::timeout(Duration::from_millis(100), self.swept()).await.is_ok() {
                return;
            }
        }
        panic!("no sweep found the silent canary");
    }
}

/// A job held by a stream whose caller beats for it.
async fn leased<F: Fixture>(scene: &Scene<F>, lease: Duration) -> (JobStream, ClaimedJob) {
    scene.add(plain()).await;
    let stream = scene.queue.stream("w").manual_lease(lease).capacity(1);
    let mut stream = stream.open().await.expect("the stream opens");
    let job = next(&mut stream).await.remove(0);
    (stream, job)
}

pub async fn silent_job_is_taken_away_when_its_lease_is_over<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (mut stream, job) = leased(&scene, 6 * SWEEP).await;
    let mut canary = Canary::new(&scene).await;
    for _ in 0..5 {
        canary.sweep(&scene).await;
        assert_eq!(scene.status(job.id).await, Status::Running, "not before the lease is over");
    }
    canary.sweep(&scene).await;
    let again = next(&mut stream).await;
    assert_eq!((again[0].id, again[0].attempt.0, again[0].crashes), (job.id, 2, 1));
    assert!(job.is_cancelled(), "its worker is told");
}

pub async fn heartbeat_keeps_a_job<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (stream, job) = leased(&scene, 2 * SWEEP).await;
    let mut canary = Canary::new(&scene).await;
    for _ in 0..20 {
        canary.sweep(&scene).await;
        job.heartbeat().unwrap();
    }
    assert_eq!(scene.job(job.id).await.attempt.0, 1);
    assert_eq!((stream.held(), job.is_cancelled()), (1, false));
    scene.complete(&job, ()).await.unwrap();
}

pub async fn lost_lease_refuses_heartbeats_and_outcomes<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (mut stream, job) = leased(&scene, SWEEP).await;
    let mut canary = Canary::new(&scene).await;
    canary.sweep(&scene).await;
    next(&mut stream).await;
    assert!(matches!(rejected(job.heartbeat()), Rejected::StaleAttempt { .. }));
    assert!(matches!(rejected(scene.complete(&job, ()).await), Rejected::StaleAttempt { .. }));
}

pub async fn answered_job_has_no_lease_any_more<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (_stream, job) = leased(&scene, SWEEP).await;
    let mut canary = Canary::new(&scene).await;
    scene.complete(&job, ()).await.unwrap();
    assert!(matches!(rejected(job.heartbeat()), Rejected::StaleAttempt { .. }));
    canary.sweep(&scene).await;
    assert_eq!(scene.status(job.id).await, Status::Completed);
}

pub async fn lost_job_may_still_be_completed_until_it_is_claimed_again<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (stream, job) = leased(&scene, SWEEP).await;
    let mut events = scene.events();
    stream.drain();
    scene.clock.advance(SWEEP);
    until_changed(&mut events, job.id, EventKind::LoseWorker).await;
    assert_eq!(scene.status(job.id).await, Status::UnknownRetry);
    assert_eq!(scene.complete(&job, b"late").await.unwrap(), Status::Completed);
}

pub async fn stream_that_beats_by_itself_keeps_its_jobs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    let job = next(&mut stream).await.remove(0);
    let mut canary = Canary::new(&scene).await;
    for _ in 0..30 {
        canary.sweep(&scene).await;
    }
    assert_eq!((scene.job(id).await.attempt.0, job.is_cancelled()), (1, false));
}

pub async fn clock_that_jumps_ends_no_lease<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (_stream, job) = leased(&scene, 3 * SWEEP).await;
    let mut canary = Canary::new(&scene).await;
    for jump in [START.plus(24 * 3_650 * HOUR), START.minus(24 * 3_650 * HOUR)] {
        scene.clock.jump(jump);
        canary.sweep(&scene).await;
        assert_eq!(scene.job(job.id).await.attempt.0, 1);
    }
    job.heartbeat().unwrap();
}

pub async fn late_sweeper_gives_fresh_leases_first<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (_stream, job) = leased(&scene, HOUR).await;
    let mut canary = Canary::new(&scene).await;
    // The machine slept: nobody could beat, and nobody could listen.
    scene.clock.advance(24 * HOUR);
    canary.sweep_in_time(&scene).await;
    assert_eq!(scene.job(job.id).await.attempt.0, 1);
    assert!(!job.is_cancelled());
    job.heartbeat().unwrap();
}

pub async fn leases_lost_too_often_end_the_job<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().crash_limit(2)).await;
    let mut stream = scene.queue.stream("w").manual_lease(SWEEP).capacity(1).open().await.unwrap();
    next(&mut stream).await;
    let mut events = scene.events();
    scene.clock.advance(SWEEP);
    assert_eq!(next(&mut stream).await[0].crashes, 1);
    scene.clock.advance(SWEEP);
    for _ in 0..2 {
        until_changed(&mut events, id, EventKind::LoseWorker).await;
    }
    assert_eq!(scene.status(id).await, Status::Dead);
    assert_eq!(stream.held(), 0);
}

pub async fn cancelled_job_whose_lease_is_lost_is_unknown_stopped<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let (_stream, job) = leased(&scene, SWEEP).await;
    let mut events = scene.events();
    scene.cancel(job.id).await.unwrap();
    scene.clock.advance(SWEEP);
    until_changed(&mut events, job.id, EventKind::LoseWorker).await;
    assert_eq!(scene.status(job.id).await, Status::UnknownStopped);
}
