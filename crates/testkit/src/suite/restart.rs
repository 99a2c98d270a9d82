//! What a store that was closed and opened again still knows. Stores that keep nothing pass by having nothing to show.

use std::sync::Arc;

use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{Batch, RecordPut};
use poolqueue::{Backoff, Error, EventKind, Failure, Job, Query, Rejected, Select, Status};

use super::stats::{counts_are_a_recount, random_step};
use super::support::*;
use crate::Fixture;

/// A scene with one job of each status.
async fn one_of_each<F: Fixture>() -> Option<Scene<F>> {
    if !F::DURABLE {
        return None;
    }
    let scene = Scene::<F>::new().await;
    for status in Status::ALL {
        let job = fresh()
            .tags(["t", status.as_str()])
            .meta("status", status.as_str())
            .priority(3)
            .max_attempts(9)
            .timeout(HOUR)
            .backoff(Backoff::fixed(SECOND));
        scene.bring(job, *status).await;
    }
    Some(scene)
}

async fn everything<F: Fixture>(scene: &Scene<F>) -> Vec<Job> {
    scene.list(Query::new(Select::new()).limit(10_000)).await.unwrap().jobs
}

pub async fn jobs_survive_with_all_they_carry<F: Fixture>() {
    let Some(scene) = one_of_each::<F>().await else { return };
    let held = Select::new().status(Status::Running).status(Status::Cancelling);
    let held = scene.list(Query::new(held)).await.unwrap().jobs;
    let before = everything(&scene).await;
    let scene = scene.restart().await;
    let after = everything(&scene).await;
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        if held.iter().all(|job| job.id != before.id) {
            assert_eq!(before, after);
        }
    }
    scene.verify().await.unwrap();
}

pub async fn histories_survive<F: Fixture>() {
    let Some(scene) = one_of_each::<F>().await else { return };
    let mut before = Vec::new();
    for job in everything(&scene).await {
        before.push((job.id, scene.history(job.id).await.unwrap().entries));
    }
    let scene = scene.restart().await;
    for (id, before) in before {
        let after = scene.history(id).await.unwrap();
        assert_eq!((&after.entries[..before.len()], after.cut), (&before[..], 0));
    }
}

pub async fn counters_survive<F: Fixture>() {
    let Some(scene) = one_of_each::<F>().await else { return };
    scene.reset_running().await.unwrap();
    let before = scene.stats(Select::new()).await.unwrap();
    let by_tag = scene.stats(Select::tags(["t", "completed"])).await.unwrap();
    assert_eq!(by_tag.completed, 1);
    let scene = scene.restart().await;
    assert_eq!(scene.stats(Select::new()).await.unwrap(), before);
    assert_eq!(scene.stats(Select::tags(["t", "completed"])).await.unwrap(), by_tag);
    counts_are_a_recount(&scene, Select::new()).await;
}

pub async fn closed_queue_hands_back_what_its_streams_held<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(2)).await;
    let mut stream = scene.stream("w", 2).await;
    next_jobs(&mut stream, 2).await;
    scene.cancel(ids[1]).await.unwrap();
    let scene = scene.restart().await;
    let job = scene.job(ids[0]).await;
    assert_eq!((job.status, job.crashes, job.retry_count), (Status::FailedRetry, 0, 1));
    assert_eq!(scene.status(ids[1]).await, Status::UnknownStopped);
}

pub async fn held_jobs_are_due_again_at_once_after_a_crash<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let running = scene.bring(fresh(), Status::Running).await;
    let cancelling = scene.bring(fresh(), Status::Cancelling).await;
    let scene = scene.crash().await;
    let job = scene.job(running.id).await;
    assert_eq!((job.status, job.crashes, job.attempt), (Status::UnknownRetry, 1, running.attempt));
    assert_eq!(scene.status(cancelling.id).await, Status::UnknownStopped);
    assert_eq!(scene.backend.held().await.unwrap(), []);
    assert_eq!(scene.history(running.id).await.unwrap().entries.last().unwrap().event, EventKind::LoseWorker);
    assert_eq!(scene.take(running.id, "w").await.attempt.0, 2);
}

pub async fn more_held_jobs_than_one_slice_are_rescued<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let ids_added = scene.add_all(plain_jobs(2_500)).await;
    assert_eq!(scene.claim(2_500).await.len(), 2_500);
    let scene = scene.crash().await;
    assert_eq!(scene.stats(Select::new()).await.unwrap().failed, 2_500);
    assert_eq!(ids(&scene.claim(2_500).await), ids_added);
}

pub async fn job_that_ends_its_process_each_time_is_dead_at_its_crash_limit<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let mut scene = Scene::<F>::new().await;
    let id = scene.add(fresh()).await;
    for nth in 1..=3 {
        scene.take(id, "w").await;
        scene = scene.crash().await;
        let job = scene.job(id).await;
        assert_eq!(job.status, if nth < 3 { Status::UnknownRetry } else { Status::Dead });
        assert_eq!((job.crashes, job.attempt.0), (nth, nth));
    }
    scene.verify().await.unwrap();
}

pub async fn suspects_are_still_claimed_alone_after_a_restart<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let suspects = scene.add_all((0..2).map(|_| plain().crash_limit(2))).await;
    scene.claim(2).await;
    let scene = scene.crash().await;
    assert_eq!(ids(&scene.claim(2).await), suspects[..1]);
}

pub async fn worker_that_outlived_the_restart_may_complete_late_until_its_job_is_claimed_again<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let completed = scene.bring(fresh(), Status::Running).await;
    let claimed = scene.bring(fresh(), Status::Running).await;
    let scene = scene.crash().await;
    assert_eq!(scene.complete(completed.lease(), b"late").await.unwrap(), Status::Completed);
    scene.take(claimed.id, "w").await;
    let refused = rejected(scene.complete(claimed.lease(), b"late").await);
    assert!(matches!(refused, Rejected::StaleAttempt { .. }));
}

pub async fn order_of_claims_survives_and_new_jobs_come_last<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let mut scene = Scene::<F>::new().await;
    let mut expected = Vec::new();
    for _ in 0..4 {
        expected.extend(scene.add_all(plain_jobs(3)).await);
        scene = scene.restart().await;
    }
    let urgent = scene.add(plain().priority(-1)).await;
    expected.insert(0, urgent);
    let claimed = scene.claim(100).await;
    assert_eq!(ids(&claimed), expected);
    let mut sequences: Vec<u64> = claimed.iter().map(|job| job.sequence).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), expected.len(), "no place in the order is given twice");
}

pub async fn released_job_has_its_place_after_a_restart<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let ids_added = scene.add_all(plain_jobs(4)).await;
    let claimed = scene.claim(2).await;
    scene.advance(HOUR).await;
    scene.release(claimed[0].lease()).await.unwrap();
    let scene = scene.crash().await;
    assert_eq!(ids(&scene.claim(10).await), ids_added);
}

pub async fn delayed_job_becomes_due_while_the_store_is_closed<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let soon_due = scene.add(plain().run_after(SECOND)).await;
    let later = scene.add(plain().run_after(HOUR)).await;
    scene.clock.advance(SECOND);
    let scene = scene.restart().await;
    assert_eq!(ids(&scene.claim(10).await), [soon_due]);
    scene.advance(HOUR).await;
    assert_eq!(ids(&scene.claim(10).await), [later]);
}

pub async fn being_due_survives_a_clock_that_went_back<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let at_once = scene.add(plain()).await;
    let delayed = scene.add(plain().run_after(SECOND)).await;
    scene.advance(SECOND).await;
    scene.clock.jump(START.minus(24 * HOUR));
    let scene = scene.restart().await;
    assert_eq!(ids(&scene.claim(10).await), [at_once, delayed]);
}

pub async fn job_handed_back_by_a_clock_that_went_back_stays_due<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let ids_added = scene.add_all((0..3).map(|_| plain().run_after(SECOND))).await;
    scene.advance(SECOND).await;
    scene.clock.jump(START.minus(24 * HOUR));
    let scene = scene.restart().await;
    let claimed = scene.claim(2).await;
    scene.release(claimed[0].lease()).await.unwrap();
    scene.lose_worker("claimer").await.unwrap();
    scene.pause(ids_added[2]).await.unwrap();
    scene.resume(ids_added[2]).await.unwrap();
    assert_eq!(ids(&scene.claim(10).await), ids_added);
}

pub async fn deadline_passes_while_the_store_is_closed<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().expires_after(SECOND)).await;
    scene.clock.advance(SECOND);
    let scene = scene.restart().await;
    assert!(scene.claim(10).await.is_empty());
    scene.settle().await;
    assert_eq!(scene.status(id).await, Status::Dead);
}

pub async fn paused_job_remembers_its_status<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let mut paused = Vec::new();
    for status in [Status::InitialPending, Status::FailedRetry, Status::UnknownRetry, Status::Waiting] {
        let job = scene.bring(fresh(), status).await;
        scene.pause(job.id).await.unwrap();
        paused.push(job);
    }
    let scene = scene.restart().await;
    for job in paused {
        scene.resume(job.id).await.unwrap();
        assert_eq!(scene.job(job.id).await, job);
    }
}

pub async fn unique_keys_survive<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let holder = scene.add(plain().unique("held")).await;
    scene.bring(fresh().unique("free"), Status::Completed).await;
    let scene = scene.restart().await;
    assert_eq!(rejected(scene.enqueue(plain().unique("held")).await), Rejected::Duplicate { id: holder });
    scene.add(plain().unique("free")).await;
    scene.verify().await.unwrap();
}

pub async fn deleted_jobs_stay_deleted<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Completed).await;
    scene.delete(job.id).await.unwrap();
    let scene = scene.restart().await;
    assert_eq!(scene.get(job.id).await.unwrap(), None);
    assert_eq!(scene.verify().await.unwrap(), 0);
    scene.add(fresh().id(job.id)).await;
}

pub async fn records_survive_with_their_versions<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let put = |value: Option<&[u8]>| {
        let record = RecordPut { key: "k".to_owned(), expected: None, value: value.map(<[u8]>::to_vec) };
        Batch { records: vec![record], ..Batch::default() }
    };
    scene.commit(put(Some(b"one"))).await;
    scene.commit(put(Some(b"two"))).await;
    let scene = scene.restart().await;
    assert_eq!(scene.backend.record("k".to_owned()).await.unwrap(), Some((2, b"two".to_vec())));
    scene.commit(put(None)).await;
    let scene = scene.restart().await;
    assert_eq!(scene.backend.record("k".to_owned()).await.unwrap(), None);
}

pub async fn repeated_verb_is_still_recognised_after_a_restart<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Completed).await;
    let scene = scene.restart().await;
    let refused = rejected(scene.complete(job.lease(), b"again").await);
    assert!(matches!(refused, Rejected::AlreadyApplied { .. }));
    assert_eq!(scene.job(job.id).await, job);
}

pub async fn waiting_job_survives_with_its_timer<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let timed = scene.bring(fresh(), Status::Running).await;
    let signalled = scene.bring(fresh(), Status::Running).await;
    let until = scene.now().plus(HOUR);
    scene.change(timed.lease(), Event::Suspend { until }).await.unwrap();
    scene.change(signalled.lease(), Event::Suspend { until: poolqueue::Timestamp::NEVER }).await.unwrap();
    let scene = scene.restart().await;
    assert!(scene.claim(10).await.is_empty());
    scene.advance(1_000 * 24 * HOUR).await;
    assert_eq!(ids(&scene.claim(10).await), [timed.id]);
    let job = scene.job(signalled.id).await;
    assert_eq!((job.status, job.run_at), (Status::Waiting, None));
}

pub async fn random_work_survives_crashes<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let mut scene = Scene::<F>::new().await;
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5 {
        for _ in 0..60 {
            random_step(&scene, &mut random).await;
        }
        scene.reset_running().await.unwrap();
        let before = everything(&scene).await;
        scene = scene.crash().await;
        assert_eq!(everything(&scene).await, before);
        counts_are_a_recount(&scene, Select::new()).await;
        assert_eq!(scene.verify().await.unwrap(), before.len() as u64);
    }
}

pub async fn queue_that_was_only_dropped_may_be_opened_again<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::FailedRetry).await;
    let Scene { queue, backend, clock, options, fixture } = scene;
    let clone = queue.clone();
    drop((queue, backend));
    drop(clone);
    let backend = fixture.open(options.clone()).await;
    let queue = poolqueue::PoolQueue::new(backend.clone()).await.unwrap();
    let scene = Scene { queue, backend, clock, options, fixture };
    assert_eq!(scene.job(job.id).await, job);
}

pub async fn queue_dropped_with_its_streams_lets_go_of_the_store<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    let batch = next(&mut stream).await;
    let Scene { queue, backend, options, fixture, .. } = scene;
    let gone = Arc::downgrade(&backend);
    drop((queue, backend, batch));
    drop(stream);
    // The jobs are handed back in the background, and then the store is closed; until then it is taken.
    let fixture = Arc::new(fixture);
    let opening = async {
        while gone.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        loop {
            let (fixture, options) = (Arc::clone(&fixture), options.clone());
            if let Ok(backend) = tokio::spawn(async move { fixture.open(options).await }).await {
                return backend;
            }
        }
    };
    let backend = soon(opening).await;
    let job = backend.get(vec![id]).await.unwrap().remove(0).unwrap();
    assert_eq!((job.status, job.retry_count, job.crashes), (Status::FailedRetry, 1, 0));
}

pub async fn failed_calls_leave_no_trace_behind<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Completed).await;
    assert!(matches!(scene.enqueue_all([plain(), plain().id(job.id)]).await, Err(Error::Rejected(_))));
    assert!(scene.fail_retry(job.id, Failure::new("no")).await.is_err());
    let scene = scene.restart().await;
    assert_eq!(everything(&scene).await, [job]);
    assert_eq!(scene.verify().await.unwrap(), 1);
}
