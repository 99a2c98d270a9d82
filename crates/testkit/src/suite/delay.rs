//! Jobs whose time has not come, and jobs whose time is over.

use poolqueue::{EventKind, Failure, FailureKind, Select, Status};

use super::support::*;
use crate::Fixture;

pub async fn delayed_job_is_due_when_its_time_comes_and_not_before<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().run_after(HOUR)).await;
    scene.advance(HOUR - SECOND).await;
    assert!(scene.claim(1).await.is_empty());
    scene.advance(SECOND).await;
    assert_eq!(ids(&scene.claim(1).await), [id]);
}

pub async fn waiting_stream_is_woken_when_a_job_becomes_due<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut stream = scene.stream("w", 10).await;
    let later = scene.add(plain().run_at(at(START.plus(2 * HOUR)))).await;
    let sooner = scene.add(plain().run_at(at(START.plus(HOUR)))).await;
    assert_eq!(stream.held(), 0);
    scene.clock.advance(HOUR);
    assert_eq!(claimed_ids(&next(&mut stream).await), [sooner]);
    scene.clock.advance(HOUR);
    assert_eq!(claimed_ids(&next(&mut stream).await), [later]);
}

pub async fn being_due_is_not_withdrawn_when_the_clock_goes_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let delayed = scene.add(plain().run_after(SECOND)).await;
    let at_once = scene.add(plain()).await;
    scene.advance(SECOND).await;
    scene.clock.jump(START.minus(24 * HOUR));
    scene.settle().await;
    assert_eq!(ids(&scene.claim(2).await), [at_once, delayed]);
}

pub async fn job_without_a_start_time_is_due_whatever_the_clock_says_later<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.clock.jump(START.minus(24 * HOUR));
    let id = scene.add(plain()).await;
    assert_eq!(ids(&scene.claim(1).await), [id]);
}

pub async fn failed_job_is_due_at_once_although_the_clock_went_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let claimed = scene.claim(1).await;
    scene.clock.jump(START.minus(24 * HOUR));
    scene.fail_retry(claimed[0].lease(), "no").await.unwrap();
    assert_eq!(ids(&scene.claim(1).await), [id]);
}

pub async fn clock_that_jumps_forward_makes_jobs_due<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let years = 24 * 365 * HOUR;
    let ids_due = scene.add_all([plain().run_after(HOUR), plain().run_after(years)]).await;
    let never = scene.add(plain().run_at("9999-12-31T00:00:00Z".parse().unwrap())).await;
    scene.clock.jump(START.plus(10 * years));
    scene.settle().await;
    assert_eq!(ids(&scene.claim(10).await), ids_due);
    assert_eq!(scene.status(never).await, Status::InitialPending);
}

pub async fn stamps_never_go_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(fresh()).await;
    for step in 0..6u32 {
        let back = START.minus(step * HOUR);
        scene.clock.jump(if step % 2 == 0 { back } else { START.plus(step * HOUR) });
        let claimed = scene.take(id, "w").await;
        scene.release(claimed.lease()).await.unwrap();
    }
    let history = scene.history(id).await.unwrap().entries;
    assert!(history.is_sorted_by_key(|entry| entry.at), "{history:?}");
}

pub async fn paused_job_becomes_due_meanwhile<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().run_after(SECOND)).await;
    scene.pause(id).await.unwrap();
    scene.advance(HOUR).await;
    assert!(scene.claim(1).await.is_empty());
    scene.resume(id).await.unwrap();
    assert_eq!(ids(&scene.claim(1).await), [id]);
}

pub async fn resumed_job_that_is_not_due_goes_on_waiting<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().run_after(HOUR)).await;
    scene.pause(id).await.unwrap();
    scene.resume(id).await.unwrap();
    assert!(scene.claim(1).await.is_empty());
    scene.advance(HOUR).await;
    assert_eq!(ids(&scene.claim(1).await), [id]);
}

pub async fn failed_job_waits_for_its_delay<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    let first = next(&mut stream).await;
    scene.fail_retry(&first[0], Failure::new("no").retry_after(HOUR)).await.unwrap();
    scene.advance(HOUR - SECOND).await;
    assert_eq!((stream.held(), scene.status(id).await), (0, Status::FailedRetry));
    scene.clock.advance(SECOND);
    assert_eq!(next(&mut stream).await[0].attempt.0, 2);
}

pub async fn delayed_job_may_be_cancelled_and_deleted<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().run_after(SECOND)).await;
    scene.cancel(id).await.unwrap();
    scene.delete(id).await.unwrap();
    scene.advance(HOUR).await;
    assert!(scene.claim(1).await.is_empty());
    scene.verify().await.unwrap();
}

pub async fn many_jobs_become_due_at_one_time<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all((0..2_500).map(|_| plain().run_after(HOUR))).await;
    let mut stream = scene.stream("w", 3_000).await;
    scene.clock.advance(HOUR);
    let claimed = next_jobs(&mut stream, 2_500).await;
    assert!(claimed.is_sorted_by_key(|job| job.sequence));
    assert_eq!(scene.stats(Select::new()).await.unwrap().running, 2_500);
}

pub async fn job_not_started_by_its_deadline_is_dead_and_says_so<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let id = scene.add(plain().expires_after(HOUR)).await;
    scene.advance(HOUR - SECOND).await;
    assert_eq!(scene.status(id).await, Status::InitialPending);
    scene.clock.advance(SECOND);
    until_changed(&mut events, id, EventKind::Expire).await;
    let job = scene.job(id).await;
    assert_eq!((job.status, job.finalized_at), (Status::Dead, Some(at(scene.now()))));
    assert_eq!(job.last_error.unwrap().kind, Some(FailureKind::Expired));
    assert_eq!((job.attempt.0, job.failures, job.retry_count), (0, 0, 0));
    assert!(scene.claim(1).await.is_empty());
}

pub async fn expired_job_is_never_handed_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let expiring = scene.add(plain().expires_after(SECOND).priority(-1)).await;
    scene.clock.advance(SECOND);
    let lasting = scene.add(plain()).await;
    assert_eq!(ids(&scene.claim(2).await), [lasting]);
    assert_eq!(scene.status(expiring).await, Status::Dead);
}

pub async fn delayed_job_expires_before_it_is_due<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().run_after(2 * HOUR).expires_after(HOUR)).await;
    scene.advance(HOUR).await;
    assert_eq!(scene.status(id).await, Status::Dead);
    scene.advance(HOUR).await;
    assert!(scene.claim(1).await.is_empty());
    scene.verify().await.unwrap();
}

pub async fn started_job_has_no_deadline_any_more<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(fresh().expires_after(HOUR)).await;
    let claimed = scene.take(id, "w").await;
    scene.advance(2 * HOUR).await;
    assert_eq!(scene.status(id).await, Status::Running);
    scene.fail_retry(claimed.lease(), "no").await.unwrap();
    scene.advance(2 * HOUR).await;
    assert_eq!(scene.take(id, "w").await.attempt.0, 2);
}

pub async fn job_paused_before_its_start_expires_and_one_paused_later_does_not<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let never_started = scene.bring(fresh().expires_after(HOUR), Status::Paused).await.id;
    let started = scene.bring(fresh().expires_after(HOUR), Status::FailedRetry).await.id;
    scene.pause(started).await.unwrap();
    scene.advance(HOUR).await;
    assert_eq!(scene.statuses(&[never_started, started]).await, [Status::Dead, Status::Paused]);
}

pub async fn expired_job_gives_its_unique_key_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add(plain().unique("key").expires_after(SECOND)).await;
    scene.advance(SECOND).await;
    scene.add(plain().unique("key")).await;
    scene.verify().await.unwrap();
}

pub async fn expired_job_may_be_retried_and_does_not_expire_again<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().expires_after(SECOND)).await;
    scene.advance(SECOND).await;
    assert_eq!(scene.retry(id).await.unwrap().changed, [id]);
    scene.advance(HOUR).await;
    assert_eq!(ids(&scene.claim(1).await), [id]);
}
