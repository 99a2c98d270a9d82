//! Zombies: workers whose job was given to somebody else meanwhile, and who do not know it. Whatever they report is
//! refused as stale, whatever has become of the job since, and changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    Attempt, Backend, Batch, BoxFuture, Change, Counts, EmbeddedOptions, Error, Failure, Filter,
    HistoryEntry, Job, JobId, Lease, Output, Receipt, Rejected, Status, Target,
};

use crate::model::FaultyFixture;
use crate::proof::Proof;
use crate::suite::support::{Scene, fresh, next};
use crate::{Fixture, run};

/// Jobs whose zombies report at once.
const AT_ONCE: usize = 8;
/// Rounds on one store.
const ROUNDS: usize = 40;
/// Zombies among which a planted fault has to show.
const WITH_PLANT: u64 = 40;
/// How often a long run says how far it is.
const NEWS: Duration = Duration::from_secs(10);

/// Has this many attempts reported late on stores of `F`, then some on stores with planted faults.
///
/// # Panics
/// When one was not refused or changed something, with the seed.
pub fn prove<F: Fixture>(what: &'static str, attempts: u64, seed: u64) -> Proof {
    let mut proof = Proof { row: "R8", what, tried: 0, failed: 0, seed, planted: 0, caught: 0 };
    let mut random = Rng::with_seed(seed);
    let (begun, mut told) = (Instant::now(), Instant::now());
    while proof.tried < attempts {
        match on_one_store::<F>(&mut random, attempts - proof.tried) {
            Ok(tried) => proof.tried += tried,
            Err(wrong) => panic!("{what}, again with POOLQUEUE_SEED={seed}: {wrong}"),
        }
        if told.elapsed() > NEWS {
            told = Instant::now();
            eprintln!("{what}: {} of {attempts} attempts, {:?}", proof.tried, begun.elapsed());
        }
    }
    let planted = [
        // Its place in the list of faults: a lease is taken for the bare id.
        on_one_store::<FaultyFixture<F, 1>>(&mut random, WITH_PLANT),
        on_one_store::<TwoFaced<F>>(&mut random, WITH_PLANT),
    ];
    for outcome in planted {
        proof.planted += 1;
        match outcome {
            Err(wrong) if wrong.starts_with("a late") || wrong.starts_with("zombies") => proof.caught += 1,
            other => eprintln!("{what}: a planted fault was not caught: {other:?}"),
        }
    }
    proof
}

fn on_one_store<F: Fixture>(random: &mut Rng, attempts: u64) -> Result<u64, String> {
    let mut random = random.fork();
    let mut outcome = Ok(0);
    run(async {
        let scene = Scene::<F>::new().await;
        let mut tried = 0;
        for _ in 0..ROUNDS {
            match round(&scene, &mut random).await {
                Ok(more) => tried += more,
                Err(wrong) => {
                    outcome = Err(wrong);
                    return;
                }
            }
            if tried >= attempts {
                break;
            }
        }
        outcome = scene.verify().await.map(|_| tried).map_err(|error| error.to_string());
        scene.queue.close().await.expect("the queue closes");
    });
    outcome
}

/// One job, the leases of it that are lost, and the one that is not.
struct Haunted {
    id: JobId,
    zombies: Vec<poolqueue::ClaimedJob>,
    living: Lease,
}

async fn round<F: Fixture>(scene: &Scene<F>, random: &mut Rng) -> Result<u64, String> {
    let mut haunted = Vec::new();
    for _ in 0..AT_ONCE {
        let mut job =
            haunt(scene, random).await.map_err(|error| format!("a job cannot be haunted: {error}"))?;
        move_on(scene, &mut job, random).await.map_err(|error| format!("a job cannot move on: {error}"))?;
        haunted.push(job);
    }
    let ids: Vec<JobId> = haunted.iter().map(|job| job.id).collect();
    let before = Seen::of(scene, &ids).await;
    let mut reports = Vec::new();
    for job in &haunted {
        for zombie in &job.zombies {
            reports.push(report(scene, zombie, job.living.attempt, random.fork()));
        }
    }
    let tried = reports.len() as u64;
    for outcome in all(reports).await {
        outcome?;
    }
    for (job, seen) in haunted.iter().zip(&before.jobs) {
        if seen.as_ref().is_some_and(|seen| seen.status == Status::Completed) {
            repeat(scene, job.living).await?;
        }
    }
    let after = Seen::of(scene, &ids).await;
    if before != after {
        return Err(format!("zombies changed something:\n  before: {before:?}\n  after: {after:?}"));
    }
    Ok(tried)
}

/// Enqueues a job and has some attempts of it lost, each in some way; the next one is with somebody who lives.
async fn haunt<F: Fixture>(scene: &Scene<F>, random: &mut Rng) -> Result<Haunted, Error> {
    let job = fresh().crash_limit(u32::MAX).backoff(poolqueue_core::Backoff::None);
    let id = scene.add(job).await;
    let kind = scene.job(id).await.kind;
    let mut zombies = Vec::new();
    for nth in 0..random.usize(1..4) {
        let assignee = format!("zombie-{nth}-of-{id}");
        let stream = scene.queue.stream(&assignee).kinds([kind.as_str()]).capacity(1);
        let mut stream = stream.open().await?;
        let zombie = next(&mut stream).await.remove(0);
        stream.drain();
        match random.u8(..7) {
            0 => drop(scene.queue.lose_worker(&assignee).await?),
            1 => drop(scene.queue.release(&zombie).await?),
            2 => drop(scene.queue.fail_retry(&zombie, "lost").await?),
            3 => stream.close().await?,
            4 => drop(scene.change(zombie.lease(), Event::LoseWorker).await?),
            5 => drop(scene.change(zombie.lease(), Event::Undelivered).await?),
            _ => drop(scene.change(zombie.lease(), Event::Suspend { until: scene.now() }).await?),
        }
        zombies.push(zombie);
    }
    let living = scene.take(id, "living").await.lease();
    Ok(Haunted { id, zombies, living })
}

/// What becomes of the job while the zombies sleep.
async fn move_on<F: Fixture>(scene: &Scene<F>, job: &mut Haunted, random: &mut Rng) -> Result<(), Error> {
    let (queue, living) = (&scene.queue, job.living);
    match random.u8(..10) {
        0 => drop(queue.cancel(job.id).await?),
        1 => drop(queue.complete(living, b"output").await?),
        2 => drop(queue.fail_retry(living, "once more").await?),
        3 => drop(queue.fail_retry(living, Failure::new("hopeless").no_retry()).await?),
        4 => drop(queue.stop(living, "enough").await?),
        5 => drop(queue.unknown_stop(living, "gone").await?),
        6 => drop(scene.change(living, Event::Suspend { until: poolqueue_core::Timestamp::NEVER }).await?),
        7 => {
            queue.release(living).await?;
            queue.pause(job.id).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Reports everything there is to report, in every way there is.
async fn report<F: Fixture>(
    scene: &Scene<F>,
    zombie: &poolqueue::ClaimedJob,
    current: Attempt,
    mut random: Rng,
) -> Result<(), String> {
    let lease = zombie.lease();
    let Lease { id, attempt: given } = lease;
    let stale = Rejected::StaleAttempt { id, given, current };
    let refused = |what: &str, found: Option<&Rejected>| match found {
        Some(found) if *found == stale => Ok(()),
        other => Err(format!("a late {what} of attempt {given} of job {id} was answered {other:?}")),
    };
    let mut events = events(&mut random);
    random.shuffle(&mut events);
    let change =
        |event: &Event| Change { target: Target::Lease(lease), only_from: None, event: event.clone() };
    let one_by_one = events.split_off(events.len() / 2);
    for event in &one_by_one {
        let receipt = scene.commit(Batch { changes: vec![change(event)], ..Batch::default() }).await;
        refused(&format!("{event:?}"), receipt.changes[0].as_ref().err())?;
    }
    let receipt =
        scene.commit(Batch { changes: events.iter().map(change).collect(), ..Batch::default() }).await;
    for (event, answer) in events.iter().zip(&receipt.changes) {
        refused(&format!("{event:?}"), answer.as_ref().err())?;
    }
    let queue = &scene.queue;
    let verbs: [(&str, Result<Status, Error>); 7] = [
        ("complete", queue.complete(zombie, b"late").await),
        ("fail_retry", queue.fail_retry(zombie, "late").await),
        ("stop", queue.stop(zombie, "late").await),
        ("stop_failed", queue.stop_failed(zombie, "late").await),
        ("unknown_stop", queue.unknown_stop(zombie, "late").await),
        ("acknowledge_cancel", queue.acknowledge_cancel(zombie, random.bool()).await),
        ("release", queue.release(zombie).await),
    ];
    for (verb, answer) in verbs {
        let rejected = match &answer {
            Err(Error::Rejected(rejected)) => Some(rejected),
            _ => None,
        };
        refused(verb, rejected)?;
    }
    if zombie.heartbeat().is_ok() || !zombie.is_cancelled() {
        return Err(format!("attempt {given} of job {id} may beat, and nobody tells its worker"));
    }
    Ok(())
}

/// The holder of the last attempt says again what it said: that is no news, and no change.
async fn repeat<F: Fixture>(scene: &Scene<F>, lease: Lease) -> Result<(), String> {
    match scene.queue.complete(lease, b"another output").await {
        Err(Error::Rejected(Rejected::AlreadyApplied { id, .. })) if id == lease.id => Ok(()),
        other => Err(format!("a late repetition by {lease:?} was answered {other:?}")),
    }
}

/// Everything a worker, or the queue in its name, may say of a lease.
fn events(random: &mut Rng) -> Vec<Event> {
    let message = || "late".to_owned();
    vec![
        Event::Complete { output: Output::from(b"late") },
        Event::FailRetry { failure: Failure::new("late"), random: random.u64(..) },
        Event::FailRetry { failure: Failure::new("late").no_retry(), random: 0 },
        Event::StreamEnded { message: message() },
        Event::Stop { message: message() },
        Event::StopFailed { message: message() },
        Event::UnknownStop { message: message() },
        Event::AcknowledgeCancel { was_executing: true, message: message() },
        Event::AcknowledgeCancel { was_executing: false, message: message() },
        Event::Suspend { until: poolqueue_core::Timestamp::NEVER },
        Event::LoseWorker,
        Event::Release,
        Event::Undelivered,
        Event::Cancel,
        Event::Pause,
        Event::Resume,
        Event::Retry,
    ]
}

/// Everything there is to see of some jobs, and of the store.
#[derive(Debug, PartialEq)]
struct Seen {
    jobs: Vec<Option<Job>>,
    histories: Vec<Option<(Vec<HistoryEntry>, u64)>>,
    counts: Counts,
    held: Vec<(JobId, Attempt)>,
    health: usize,
}

impl Seen {
    async fn of<F: Fixture>(scene: &Scene<F>, ids: &[JobId]) -> Self {
        let reads = "the store reads";
        let mut histories = Vec::new();
        for id in ids {
            histories.push(scene.backend.history(*id).await.expect(reads));
        }
        let held = scene.backend.held().await.expect(reads);
        let mut held: Vec<_> = held.iter().map(|lease| (lease.id, lease.attempt)).collect();
        held.sort_unstable();
        Seen {
            jobs: scene.backend.get(ids.to_vec()).await.expect(reads),
            histories,
            counts: scene.backend.count(Filter::everything()).await.expect(reads),
            held,
            health: scene.queue.health().held,
        }
    }
}

/// Waits for all of these at once.
async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A store that says no to a stale completion and makes it all the same.
struct TwoFaced<F>(F);

impl<F: Fixture> Fixture for TwoFaced<F> {
    const DURABLE: bool = F::DURABLE;

    fn new() -> Self {
        TwoFaced(F::new())
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        Arc::new(SaysNo { inner: self.0.open(options).await })
    }
}

#[derive(Debug)]
struct SaysNo {
    inner: Arc<dyn Backend>,
}

impl Backend for SaysNo {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        Box::pin(async move {
            let receipt = self.inner.commit(batch.clone()).await?;
            for (mut change, answer) in batch.changes.into_iter().zip(&receipt.changes) {
                let stale = matches!(answer, Err(Rejected::StaleAttempt { .. }));
                if stale && matches!(change.event, Event::Complete { .. }) {
                    change.target = Target::Id(change.target.id());
                    self.inner.commit(Batch { changes: vec![change], ..Batch::default() }).await?;
                }
            }
            Ok(receipt)
        })
    }

    crate::pass_on!(claim get select history the_rest);
}
