//! Lost workers, and the jobs that may be the reason.

use poolqueue::{EventKind, FailureKind, Status};

use super::support::*;
use crate::Fixture;

pub async fn job_of_a_lost_worker_is_due_again_and_counts_a_crash<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids_added = scene.add_all(plain_jobs(3)).await;
    let lost = scene.claim_for("lost", 2, Default::default()).await;
    let kept = scene.claim_for("kept", 1, Default::default()).await;
    let changed = scene.lose_worker("lost").await.unwrap();
    assert_eq!((changed.changed, changed.skipped), (ids(&lost), vec![]));
    for job in &lost {
        let after = scene.job(job.id).await;
        assert_eq!((after.status, after.crashes, after.failures), (Status::UnknownRetry, 1, 0));
        assert_eq!(after.last_error.unwrap().kind, Some(FailureKind::Crashed));
        assert_eq!(after.run_at, job.run_at, "it keeps its place");
    }
    assert_eq!(scene.status(kept[0].id).await, Status::Running);
    assert_eq!(ids(&scene.claim(2).await), ids_added[..2]);
}

pub async fn cancelled_job_of_a_lost_worker_is_unknown_stopped<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Cancelling).await;
    scene.lose_worker(job.assignee.as_deref().unwrap()).await.unwrap();
    assert_eq!(scene.status(job.id).await, Status::UnknownStopped);
}

/// A claim that still stands with the store when its worker is given up must not be served any more.
pub async fn lost_worker_s_streams_end_and_get_nothing_more<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for _ in 0..20 {
        let id = scene.add(fresh()).await;
        let mut lost = scene.stream("lost", 2).await;
        let mut other = scene.queue.stream("other").queue("elsewhere").open().await.unwrap();
        let batch = next(&mut lost).await;
        scene.lose_worker("lost").await.unwrap();
        assert!(soon(lost.next()).await.is_none());
        soon(batch[0].cancelled()).await;
        let job = scene.job(id).await;
        assert_eq!((job.status, job.attempt.0, job.crashes), (Status::UnknownRetry, 1, 1));
        let elsewhere = scene.add(plain().queue("elsewhere")).await;
        assert_eq!(claimed_ids(&next(&mut other).await), [elsewhere], "the streams of others go on");
        other.close().await.unwrap();
        scene.cancel(poolqueue::Select::ids([id, elsewhere])).await.unwrap();
    }
}

pub async fn lost_worker_s_jobs_go_to_the_streams_of_others<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(3)).await;
    let mut lost = scene.stream("lost", 3).await;
    next_jobs(&mut lost, 3).await;
    let mut other = scene.stream("other", 3).await;
    scene.lose_worker("lost").await.unwrap();
    let again = next_jobs(&mut other, 3).await;
    assert_eq!(claimed_ids(&again), ids);
    assert!(again.iter().all(|job| job.crashes == 1 && job.attempt.0 == 2));
}

pub async fn losing_a_worker_that_holds_nothing_changes_nothing<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let over = scene.bring(fresh(), Status::Completed).await;
    let worker = over.assignee.as_deref().unwrap();
    assert_eq!(scene.lose_worker(worker).await.unwrap(), Default::default());
    assert_eq!(scene.lose_worker("nobody").await.unwrap(), Default::default());
    assert_eq!(invalid(scene.lose_worker("").await), "assignee");
    assert_eq!(scene.job(over.id).await, over);
}

pub async fn reset_makes_every_held_job_due_and_streams_go_on<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let running = scene.bring(fresh().queue("elsewhere"), Status::Running).await.id;
    let cancelling = scene.bring(fresh().queue("elsewhere"), Status::Cancelling).await.id;
    let streamed = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    let batch = next(&mut stream).await;
    let changed = scene.reset_running().await.unwrap();
    assert_eq!(sorted(changed.changed), sorted(vec![running, cancelling, streamed]));
    assert_eq!(scene.statuses(&[running, cancelling]).await, [Status::UnknownRetry, Status::UnknownStopped]);
    let again = next(&mut stream).await;
    assert_eq!((again[0].id, again[0].attempt.0, again[0].crashes), (streamed, 2, 1));
    soon(batch[0].cancelled()).await;
}

pub async fn job_whose_worker_was_lost_too_often_is_dead<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for (job, limit) in [(fresh(), 3), (fresh().crash_limit(1), 1), (fresh().crash_limit(5), 5)] {
        let id = scene.add(job).await;
        for nth in 1..=limit {
            scene.take(id, "w").await;
            scene.lose_worker("w").await.unwrap();
            let job = scene.job(id).await;
            let expected = if nth < limit { Status::UnknownRetry } else { Status::Dead };
            assert_eq!((job.status, job.crashes), (expected, nth));
        }
        let job = scene.job(id).await;
        assert_eq!(job.last_error.unwrap().kind, Some(FailureKind::Crashed));
        assert!(job.finalized_at.is_some());
    }
}

pub async fn retry_forgets_the_crashes_of_a_dead_job<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(fresh().crash_limit(2)).await;
    for _ in 0..2 {
        scene.take(id, "w").await;
        scene.lose_worker("w").await.unwrap();
    }
    scene.retry(id).await.unwrap();
    assert_eq!(scene.job(id).await.crashes, 0);
    scene.take(id, "w").await;
    scene.lose_worker("w").await.unwrap();
    assert_eq!(scene.status(id).await, Status::UnknownRetry);
}

/// Brings `count` jobs one crash below their limit.
async fn suspects<F: Fixture>(scene: &Scene<F>, count: usize) -> Vec<poolqueue::JobId> {
    let ids = scene.add_all((0..count).map(|_| plain().crash_limit(2))).await;
    assert_eq!(scene.claim_for("lost", count, Default::default()).await.len(), count);
    scene.lose_worker("lost").await.unwrap();
    ids
}

pub async fn job_one_crash_below_its_limit_is_claimed_only_while_no_other_such_job_is_held<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let suspects = suspects(&scene, 3).await;
    let innocent = scene.add_all(plain_jobs(2)).await;
    let first = scene.claim(10).await;
    assert_eq!(ids(&first), [vec![suspects[0]], innocent.clone()].concat(), "one of them, and all others");
    assert!(scene.claim(10).await.is_empty());
    scene.complete(suspects[0], ()).await.unwrap();
    assert_eq!(ids(&scene.claim(10).await), [suspects[1]]);
    scene.fail_retry(suspects[1], "no").await.unwrap();
    let last = ids(&scene.claim(10).await);
    assert_eq!(last, suspects[1..], "an answered attempt clears the second of suspicion");
}

pub async fn job_that_no_crash_is_forgiven_is_claimed_alone_from_the_start<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let brittle = scene.add_all((0..2).map(|_| plain().crash_limit(1))).await;
    let other = scene.add(plain()).await;
    assert_eq!(ids(&scene.claim(10).await), [brittle[0], other]);
    scene.release(brittle[0]).await.unwrap();
    assert_eq!(ids(&scene.claim(10).await), [brittle[0]]);
    scene.complete(brittle[0], ()).await.unwrap();
    assert_eq!(ids(&scene.claim(10).await), [brittle[1]]);
}

pub async fn held_suspect_keeps_others_from_waiting_streams_until_it_is_answered<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let suspects = suspects(&scene, 2).await;
    let mut events = scene.events();
    let mut stream = scene.stream("w", 10).await;
    let first = next(&mut stream).await;
    assert_eq!(claimed_ids(&first), [suspects[0]]);
    scene.complete(&first[0], ()).await.unwrap();
    until_changed(&mut events, suspects[1], EventKind::Claim).await;
    assert_eq!(claimed_ids(&next(&mut stream).await), [suspects[1]]);
}

pub async fn bystanders_survive_a_job_that_kills_its_workers<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let killer = scene.add(plain().priority(-1)).await;
    let innocent = scene.add_all(plain_jobs(6)).await;
    for _ in 0..30 {
        let held = scene.claim(10).await;
        if held.iter().any(|job| job.id == killer) {
            // The process dies, and takes down whatever ran beside the killer.
            scene.lose_worker("claimer").await.unwrap();
        } else {
            for job in held {
                scene.complete(job.lease(), ()).await.unwrap();
            }
        }
    }
    assert_eq!(scene.status(killer).await, Status::Dead);
    assert_eq!(scene.statuses(&innocent).await, vec![Status::Completed; 6]);
}
