//! Counters, and that they are what a recount makes.

use poolqueue::backend::lifecycle::Event;
use poolqueue::{Failure, Job, Query, Select, Stats, Status, Target};

use super::support::*;
use crate::Fixture;

/// The counters as they follow from a list of jobs.
pub(super) fn recount(jobs: &[Job]) -> Vec<u64> {
    let of = |statuses: &[Status]| jobs.iter().filter(|job| statuses.contains(&job.status)).count() as u64;
    vec![
        jobs.len() as u64,
        of(&[Status::InitialPending]),
        of(&[Status::Running]),
        of(&[Status::Cancelling]),
        of(&[Status::Waiting]),
        of(&[Status::Paused]),
        of(&[Status::FailedRetry, Status::UnknownRetry]),
        of(&[Status::Completed]),
        of(&[Status::Stopped, Status::Unscheduled, Status::UnknownStopped]),
        of(&[Status::Dead]),
        jobs.iter().map(|job| u64::from(job.retry_count)).sum(),
    ]
}

fn counted(stats: &Stats) -> Vec<u64> {
    vec![
        stats.total,
        stats.pending,
        stats.running,
        stats.cancelling,
        stats.waiting,
        stats.paused,
        stats.failed,
        stats.completed,
        stats.stopped,
        stats.dead,
        stats.total_retries,
    ]
}

/// Compares the counters of a selection with a recount of its list.
pub(super) async fn counts_are_a_recount<F: Fixture>(scene: &Scene<F>, select: Select) {
    let page = scene.list(Query::new(select.clone()).limit(10_000)).await.unwrap();
    assert!(page.next.is_none());
    let stats = scene.stats(select.clone()).await.unwrap();
    assert_eq!(counted(&stats), recount(&page.jobs), "{select:?}");
}

pub async fn every_status_is_counted_where_it_belongs<F: Fixture>() {
    for status in Status::ALL {
        let scene = Scene::<F>::new().await;
        scene.bring(fresh(), *status).await;
        counts_are_a_recount(&scene, Select::new()).await;
        let stats = scene.stats(Select::new()).await.unwrap();
        assert_eq!(counted(&stats)[..10].iter().sum::<u64>(), 2, "{status} is in the total and once more");
    }
}

pub async fn empty_store_counts_nothing<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(scene.stats(Select::new()).await.unwrap(), Stats::default());
    assert_eq!(scene.verify().await.unwrap(), 0);
}

pub async fn selection_without_a_criterion_counts_everything<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in Status::ALL {
        scene.bring(fresh(), *status).await;
    }
    let all = scene.stats(Select::all()).await.unwrap();
    assert_eq!(all.total as usize, Status::ALL.len());
    assert_eq!(scene.stats(Select::new()).await.unwrap(), all);
    assert_eq!(scene.stats(Select::tags(Vec::<String>::new())).await.unwrap(), all);
}

pub async fn selections_count_what_they_list<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for (nth, status) in Status::ALL.iter().enumerate() {
        let job = fresh().queue(["x", "y"][nth % 2]).tag(["a", "b", "c"][nth % 3]);
        scene.bring(job, *status).await;
    }
    let one = scene.add(plain()).await;
    let selections = [
        Select::tags(["a"]),
        Select::tags(["a", "b"]),
        Select::new().queue("x"),
        Select::new().kind("plain"),
        Select::tags(["c"]).or_ids([one]).status(Status::InitialPending).status(Status::Dead),
        Select::id(one),
    ];
    for select in selections {
        counts_are_a_recount(&scene, select).await;
    }
    assert_eq!(invalid(scene.stats(Select::new().kind("a b")).await), "kind");
}

pub async fn total_of_retries_is_the_sum_over_all_jobs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = [scene.add(fresh().tag("t")).await, scene.add(fresh()).await];
    for (id, failures) in ids.iter().zip([3, 2]) {
        for _ in 0..failures {
            let job = scene.take(*id, "w").await;
            scene.fail_retry(job.lease(), "no").await.unwrap();
        }
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap().total_retries, 5);
    assert_eq!(scene.stats(Select::tags(["t"])).await.unwrap().total_retries, 3);
    scene.cancel(ids[0]).await.unwrap();
    scene.delete(ids[0]).await.unwrap();
    assert_eq!(scene.stats(Select::new()).await.unwrap().total_retries, 2);
}

pub async fn counters_equal_a_recount_after_random_work<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut random = fastrand::Rng::with_seed(2026);
    for step in 0..400 {
        random_step(&scene, &mut random).await;
        if step % 40 == 0 {
            counts_are_a_recount(&scene, Select::new()).await;
            counts_are_a_recount(&scene, Select::tags(["t1"])).await;
        }
    }
    let total = scene.stats(Select::new()).await.unwrap().total;
    assert_eq!(scene.verify().await.unwrap(), total);
    counts_are_a_recount(&scene, Select::new()).await;
}

/// One call of a random verb on random jobs; whether they allow it does not matter.
pub(super) async fn random_step<F: Fixture>(scene: &Scene<F>, random: &mut fastrand::Rng) {
    let jobs = scene.list(Query::new(Select::new()).limit(10_000)).await.unwrap().jobs;
    let picked = random.choice(&jobs).map(|job| job.lease());
    let (Some(lease), true) = (picked, random.u8(..) >= 50) else {
        let tag = format!("t{}", random.u8(..3));
        let job = plain().tag(tag).run_after(random.u32(..20) * SECOND).max_attempts(random.u32(1..4));
        scene.add_all((0..random.usize(1..4)).map(|_| job.clone())).await;
        return;
    };
    let target = if random.bool() { Target::Lease(lease) } else { Target::Id(lease.id) };
    let delay = random.u32(..9) * SECOND;
    match random.u8(..16) {
        0..4 => drop(scene.claim(random.usize(1..6)).await),
        4 | 5 => drop(scene.complete(target, b"out").await),
        6 | 7 => drop(scene.fail_retry(target, Failure::new("no").retry_after(delay)).await),
        8 => drop(scene.stop(target, "enough").await),
        9 => drop(scene.cancel(lease.id).await),
        10 => drop(scene.pause(lease.id).await),
        11 => drop(scene.resume(lease.id).await),
        12 => drop(scene.retry(lease.id).await),
        13 => drop(scene.delete(lease.id).await),
        14 => drop(scene.change(target, Event::Suspend { until: scene.now().plus(delay) }).await),
        _ => match random.bool() {
            true => scene.advance(3 * SECOND).await,
            false => drop(scene.lose_worker("claimer").await),
        },
    }
}
