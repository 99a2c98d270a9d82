//! Many callers at once: one winner each, nothing lost, nothing torn.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use poolqueue::backend::ClaimFilter;
use poolqueue::{Error, Failure, JobId, Lease, Rejected, Select, Status};
use tokio::task::JoinSet;

use super::stats::counts_are_a_recount;
use super::support::*;
use crate::Fixture;

const CALLERS: usize = 16;

/// Runs `task` [`CALLERS`] times at once and collects what they return.
async fn at_once<F, T, Fut>(scene: &Arc<Scene<F>>, task: impl Fn(Arc<Scene<F>>, usize) -> Fut) -> Vec<T>
where
    F: Fixture,
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for nth in 0..CALLERS {
        tasks.spawn(task(Arc::clone(scene), nth));
    }
    tasks.join_all().await
}

pub async fn racing_enqueues_of_one_id_have_one_winner<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    for round in 0..20 {
        let id = nth_id(round);
        let won = at_once(&scene, move |scene, _| async move { scene.enqueue(plain().id(id)).await.is_ok() });
        assert_eq!(won.await.into_iter().filter(|won| *won).count(), 1);
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 20);
}

pub async fn racing_enqueues_of_one_unique_key_have_one_winner<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    for round in 0..20 {
        let answers = at_once(&scene, move |scene, _| async move {
            scene.enqueue(plain().unique(format!("key-{round}"))).await
        });
        let answers = answers.await;
        let winner: Vec<JobId> = answers.iter().filter_map(|answer| answer.as_ref().ok()).copied().collect();
        assert_eq!(winner.len(), 1);
        for answer in answers.into_iter().filter(Result::is_err) {
            assert_eq!(rejected(answer), Rejected::Duplicate { id: winner[0] });
        }
    }
}

pub async fn racing_completions_have_one_winner_whose_output_stays<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    for _ in 0..20 {
        let lease = scene.bring(fresh(), Status::Running).await.lease();
        let answers = at_once(&scene, move |scene, nth| async move {
            scene.complete(lease, nth.to_string()).await.map(|_| nth)
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        let output = won.into_iter().flatten().next().unwrap().to_string();
        assert_eq!(scene.job(lease.id).await.output, Some(output.into_bytes()));
        for answer in lost {
            assert!(matches!(rejected(answer), Rejected::AlreadyApplied { .. }));
        }
    }
}

pub async fn racing_cancels_and_completions_agree_on_one_end<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    for _ in 0..30 {
        let lease = scene.bring(fresh(), Status::Running).await.lease();
        let completed = at_once(&scene, move |scene, nth| async move {
            match nth % 2 {
                0 => scene.cancel(lease.id).await.map(|_| false),
                _ => scene.complete(lease, ()).await.map(|_| true),
            }
        });
        let won = completed.await.into_iter().filter(|answer| matches!(answer, Ok(true))).count();
        assert_eq!((won, scene.status(lease.id).await), (1, Status::Completed));
    }
}

pub async fn racing_claims_never_share_a_job<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    scene.add_all(plain_jobs(1_000)).await;
    let claimed = at_once(&scene, |scene, nth| async move {
        let mut own = Vec::new();
        loop {
            let jobs = scene.claim_for(&format!("w{nth}"), 7, ClaimFilter::default()).await;
            if jobs.is_empty() {
                return own;
            }
            own.extend(ids(&jobs));
        }
    });
    let all = sorted(claimed.await.concat());
    assert_eq!(all.len(), 1_000);
    assert!(all.is_sorted_by(|one, other| one < other), "a job was claimed twice");
}

pub async fn jobs_of_many_producers_are_completed_once_each_by_many_workers<F: Fixture>() {
    const EACH: usize = 60;
    let scene = Arc::new(Scene::<F>::new().await);
    let completed = Arc::new(AtomicUsize::new(0));
    let work = at_once(&scene, |scene, nth| {
        let completed = Arc::clone(&completed);
        async move {
            if nth % 2 == 0 {
                for _ in 0..EACH {
                    scene.add(plain()).await;
                }
                return Vec::new();
            }
            let mut stream = scene.stream(&format!("w{nth}"), 5).await;
            let mut own = Vec::new();
            while completed.load(Ordering::SeqCst) < EACH * CALLERS / 2 {
                // The last jobs may be with others: look again now and then.
                let batch = tokio::time::timeout(20 * SECOND / 1_000, stream.next()).await;
                let Ok(Some(batch)) = batch else { continue };
                for job in batch.unwrap() {
                    // Each job fails its first attempt.
                    if job.attempt.0 == 1 {
                        scene.fail_retry(&job, "the first time").await.unwrap();
                    } else {
                        scene.complete(&job, ()).await.unwrap();
                        own.push(job.id);
                        completed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            own
        }
    });
    let done = sorted(work.await.concat());
    assert_eq!(done.len(), EACH * CALLERS / 2);
    assert!(done.is_sorted_by(|one, other| one < other), "a job was completed twice");
    let stats = scene.stats(Select::new()).await.unwrap();
    assert_eq!((stats.completed, stats.total_retries), (done.len() as u64, done.len() as u64));
    counts_are_a_recount(&scene, Select::new()).await;
    scene.verify().await.unwrap();
}

pub async fn mixed_verbs_of_many_callers_keep_every_history_whole<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    let jobs = scene.add_all(plain_jobs(64)).await;
    let all = Arc::new(jobs.clone());
    let work = at_once(&scene, |scene, nth| {
        let all = Arc::clone(&all);
        let mut random = fastrand::Rng::with_seed(nth as u64);
        async move {
            for _ in 0..60 {
                let id = all[random.usize(..all.len())];
                let answer = match random.u8(..9) {
                    0..3 => {
                        for job in scene.claim_for(&format!("w{nth}"), 2, ClaimFilter::default()).await {
                            report(&scene, job.lease(), &mut random).await;
                        }
                        Ok(())
                    }
                    3 => scene.complete(id, ()).await.map(drop),
                    4 => scene.cancel(id).await.map(drop),
                    5 => scene.pause(id).await.map(drop),
                    6 => scene.resume(id).await.map(drop),
                    7 => scene.retry(id).await.map(drop),
                    _ => scene.release(id).await.map(drop),
                };
                assert!(matches!(answer, Ok(()) | Err(Error::Rejected(_))), "{answer:?}");
            }
        }
    });
    work.await;
    for id in jobs {
        let history = scene.history(id).await.unwrap().entries;
        let mut status = Status::InitialPending;
        let mut claims = 0;
        for entry in &history {
            assert_eq!(entry.from, status, "job {id}: {history:?}");
            claims += u32::from(entry.event == poolqueue::EventKind::Claim);
            assert_eq!(entry.attempt.0, claims, "job {id}: {history:?}");
            status = entry.to;
        }
        assert_eq!(scene.status(id).await, status);
    }
    counts_are_a_recount(&scene, Select::new()).await;
    scene.verify().await.unwrap();
}

/// Some outcome of a claimed job, which another caller may have decided meanwhile.
async fn report<F: Fixture>(scene: &Scene<F>, lease: Lease, random: &mut fastrand::Rng) {
    let answer = match random.u8(..4) {
        0 => scene.complete(lease, b"done").await,
        1 => scene.fail_retry(lease, Failure::new("no")).await,
        2 => scene.stop(lease, "enough").await,
        _ => scene.release(lease).await,
    };
    assert!(matches!(answer, Ok(_) | Err(Error::Rejected(_))), "{answer:?}");
}

pub async fn zombie_workers_are_always_refused<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    let zombies = at_once(&scene, |scene, nth| async move {
        let id = scene.add(fresh().crash_limit(u32::MAX)).await;
        let worker = format!("zombie-{nth}");
        let mut leases = Vec::new();
        for _ in 0..15 {
            leases.push(scene.take(id, &worker).await.lease());
            scene.lose_worker(&worker).await.unwrap();
        }
        let last = scene.take(id, "living").await;
        for lease in leases {
            let stale = |answer| matches!(rejected(answer), Rejected::StaleAttempt { .. });
            assert!(stale(scene.complete(lease, b"zombie").await));
            assert!(stale(scene.fail_retry(lease, "zombie").await));
            assert!(stale(scene.acknowledge_cancel(lease, true).await));
        }
        assert_eq!(scene.job(id).await, last);
        id
    });
    assert_eq!(zombies.await.len(), CALLERS);
}

pub async fn readers_never_see_half_a_batch<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    let seen = at_once(&scene, |scene, nth| async move {
        for _ in 0..30 {
            if nth % 2 == 0 {
                scene.add_all(plain_jobs(10)).await;
            } else {
                let total = scene.stats(Select::new()).await.unwrap().total;
                assert_eq!(total % 10, 0, "{total} jobs");
            }
        }
    });
    seen.await;
    assert_eq!(scene.stats(Select::new()).await.unwrap().total as usize, 30 * 10 * CALLERS / 2);
}

pub async fn streams_that_come_and_go_lose_no_job<F: Fixture>() {
    let scene = Arc::new(Scene::<F>::new().await);
    let jobs = scene.add_all(plain_jobs(200)).await;
    let completed = at_once(&scene, |scene, nth| async move {
        let mut random = fastrand::Rng::with_seed(nth as u64);
        let mut own: Vec<JobId> = Vec::new();
        while scene.stats(Select::new()).await.unwrap().completed < 200 {
            let mut stream = scene.stream(&format!("w{nth}"), 4).await;
            let batch = tokio::time::timeout(20 * SECOND / 1_000, stream.next()).await;
            for job in batch.into_iter().flatten().flat_map(Result::unwrap) {
                if random.bool() && scene.complete(&job, ()).await.is_ok() {
                    own.push(job.id);
                }
            }
            match random.bool() {
                true => stream.close().await.unwrap(),
                false => drop(stream),
            }
        }
        own
    });
    let mut times: HashMap<JobId, usize> = HashMap::new();
    for id in completed.await.into_iter().flatten() {
        *times.entry(id).or_default() += 1;
    }
    assert_eq!(times.len(), jobs.len());
    assert!(times.values().all(|times| *times == 1), "a job was completed twice");
    scene.verify().await.unwrap();
}
