//! Pausing, resuming, retrying and deleting, and what a selection means.

use poolqueue::{NewJob, Rejected, Select, Status};

use super::support::*;
use crate::Fixture;

pub async fn paused_job_is_not_claimed_until_it_is_resumed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut changed = scene.pause(id).await.unwrap();
    assert_eq!((changed.changed, changed.skipped), (vec![id], vec![]));
    assert!(scene.claim(1).await.is_empty());
    changed = scene.resume(id).await.unwrap();
    assert_eq!((changed.changed, changed.skipped), (vec![id], vec![]));
    assert_eq!(ids(&scene.claim(1).await), [id]);
}

pub async fn resumed_job_goes_to_a_waiting_stream<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    scene.pause(id).await.unwrap();
    let mut stream = scene.stream("w", 1).await;
    scene.resume(id).await.unwrap();
    assert_eq!(claimed_ids(&next(&mut stream).await), [id]);
}

pub async fn resumed_job_has_the_status_it_had<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in [Status::InitialPending, Status::FailedRetry, Status::UnknownRetry, Status::Waiting] {
        let before = scene.bring(fresh(), status).await;
        scene.pause(before.id).await.unwrap();
        assert_eq!(scene.status(before.id).await, Status::Paused);
        scene.resume(before.id).await.unwrap();
        assert_eq!(scene.job(before.id).await, before);
    }
}

pub async fn pausing_twice_still_remembers_the_first_status<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.bring(fresh(), Status::FailedRetry).await.id;
    for _ in 0..2 {
        assert_eq!(scene.pause(id).await.unwrap().changed, [id]);
    }
    scene.resume(id).await.unwrap();
    assert_eq!(scene.status(id).await, Status::FailedRetry);
}

pub async fn running_and_ended_jobs_are_skipped_by_pause_and_resume<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let running = scene.bring(fresh(), Status::Running).await.id;
    let over = scene.bring(fresh(), Status::Completed).await.id;
    let select = || Select::ids([running, over, nth_id(404)]);
    let skipped = sorted(vec![running, over, nth_id(404)]);
    assert_eq!(sorted(scene.pause(select()).await.unwrap().skipped), skipped);
    assert_eq!(sorted(scene.resume(select()).await.unwrap().skipped), skipped);
    assert_eq!(scene.statuses(&[running, over]).await, [Status::Running, Status::Completed]);
}

pub async fn retry_starts_an_ended_job_anew<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in [Status::Dead, Status::Stopped, Status::Unscheduled, Status::UnknownStopped] {
        let before = scene.bring(fresh().max_attempts(1).run_at(at(START)), status).await;
        scene.advance(SECOND).await;
        assert_eq!(scene.retry(before.id).await.unwrap().changed, [before.id]);
        let after = scene.job(before.id).await;
        assert_eq!((after.status, after.failures, after.crashes), (Status::FailedRetry, 0, 0));
        assert_eq!((after.finalized_at, after.run_at), (None, Some(at(scene.now()))));
        assert_eq!((after.attempt, after.retry_count), (before.attempt, before.retry_count));
        assert_eq!((after.last_error, after.last_retry_at), (before.last_error, before.last_retry_at));
        assert_eq!(scene.take(before.id, "w").await.attempt.0, before.attempt.0 + 1);
    }
}

pub async fn completed_and_unfinished_jobs_are_skipped_by_retry<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in [Status::Completed, Status::InitialPending, Status::Running, Status::Paused] {
        let job = scene.bring(fresh(), status).await;
        assert_eq!(scene.retry(job.id).await.unwrap().skipped, [job.id]);
        assert_eq!(scene.job(job.id).await, job);
    }
}

pub async fn retried_job_goes_to_a_waiting_stream<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    scene.cancel(id).await.unwrap();
    let mut stream = scene.stream("w", 1).await;
    scene.retry(Select::all().status(Status::Unscheduled)).await.unwrap();
    assert_eq!(claimed_ids(&next(&mut stream).await), [id]);
}

pub async fn selection_without_a_criterion_is_refused_by_every_action<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let empty = || [Select::new(), Select::tags(Vec::<String>::new())];
    for select in empty() {
        assert_eq!(invalid(scene.cancel(select.clone()).await), "select");
        assert_eq!(invalid(scene.pause(select.clone()).await), "select");
        assert_eq!(invalid(scene.resume(select.clone()).await), "select");
        assert_eq!(invalid(scene.retry(select.clone()).await), "select");
        assert_eq!(invalid(scene.delete(select).await), "select");
    }
    assert_eq!(scene.status(id).await, Status::InitialPending);
}

pub async fn no_ids_at_all_select_nothing<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let none = || Select::ids(Vec::new());
    assert_eq!(scene.cancel(none()).await.unwrap(), Default::default());
    assert_eq!(scene.pause(none()).await.unwrap(), Default::default());
    assert_eq!(scene.delete(none()).await.unwrap(), []);
    assert_eq!(scene.status(id).await, Status::InitialPending);
}

pub async fn everything_is_asked_for_by_name<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(5)).await;
    assert_eq!(scene.pause(Select::all()).await.unwrap().changed, ids);
    assert_eq!(scene.resume(Select::all().status(Status::Paused)).await.unwrap().changed, ids);
    assert_eq!(scene.cancel(Select::all()).await.unwrap().cancelled, ids);
    assert_eq!(scene.delete(Select::all()).await.unwrap(), ids);
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 0);
}

pub async fn selection_that_matches_nothing_is_no_error<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add(plain().tag("a")).await;
    let nothing = || Select::tags(["b"]);
    assert_eq!(scene.cancel(nothing()).await.unwrap(), Default::default());
    assert_eq!(scene.pause(nothing()).await.unwrap(), Default::default());
    assert_eq!(scene.delete(nothing()).await.unwrap(), []);
}

pub async fn bad_names_in_a_selection_are_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(invalid(scene.cancel(Select::tags([""])).await), "tag");
    assert_eq!(invalid(scene.pause(Select::all().kind("a b")).await), "kind");
    assert_eq!(invalid(scene.delete(Select::all().queue("a/b")).await), "queue");
}

pub async fn deleted_job_is_gone_with_all_that_was_kept_of_it<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in
        [Status::Completed, Status::Stopped, Status::Unscheduled, Status::UnknownStopped, Status::Dead]
    {
        let job = scene.bring(fresh().tag("t").unique("key"), status).await;
        assert_eq!(scene.delete(job.id).await.unwrap(), [job.id]);
        assert_eq!(scene.get(job.id).await.unwrap(), None);
        let missing = Rejected::NotFound { id: job.id };
        assert_eq!(rejected(scene.history(job.id).await), missing);
        assert_eq!(rejected(scene.complete(job.id, ()).await), missing);
        assert_eq!(scene.retry(job.id).await.unwrap().skipped, [job.id]);
        assert_eq!(scene.stats(Select::tags(["t"])).await.unwrap(), Default::default());
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap(), Default::default());
    assert_eq!(scene.verify().await.unwrap(), 0);
}

pub async fn unfinished_job_is_not_deleted_and_keeps_the_whole_call_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let unfinished = [
        Status::InitialPending,
        Status::FailedRetry,
        Status::UnknownRetry,
        Status::Waiting,
        Status::Running,
        Status::Cancelling,
        Status::Paused,
    ];
    let over = scene.bring(fresh(), Status::Completed).await.id;
    for status in unfinished {
        let id = scene.bring(fresh(), status).await.id;
        let refused = rejected(scene.delete(Select::ids([over, id])).await);
        assert_eq!(refused, Rejected::NotFinal { id, status });
        assert_eq!(scene.statuses(&[over, id]).await, [Status::Completed, status]);
    }
}

pub async fn id_that_does_not_exist_keeps_the_whole_delete_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let over = scene.bring(fresh(), Status::Completed).await.id;
    let refused = rejected(scene.delete(Select::ids([over, nth_id(404)])).await);
    assert_eq!(refused, Rejected::NotFound { id: nth_id(404) });
    assert_eq!(scene.status(over).await, Status::Completed);
}

pub async fn delete_by_tags_takes_exactly_the_matching_jobs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids =
        scene.add_all([&["a"][..], &["a", "b"], &["b"]].map(|tags| plain().tags(tags.iter().copied()))).await;
    scene.cancel(Select::all()).await.unwrap();
    assert_eq!(scene.delete(Select::tags(["a"])).await.unwrap(), ids[..2]);
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 1);
}

pub async fn delete_narrowed_by_status_leaves_the_others<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let dead = scene.bring(fresh().tag("t"), Status::Dead).await.id;
    let live = scene.bring(fresh().tag("t"), Status::InitialPending).await.id;
    assert_eq!(scene.delete(Select::tags(["t"]).status(Status::Dead)).await.unwrap(), [dead]);
    assert_eq!(scene.status(live).await, Status::InitialPending);
}

pub async fn delete_of_more_than_a_batch_is_too_large_and_deletes_nothing<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.batch_jobs = 10).await;
    for _ in 0..2 {
        scene.add_all((0..10).map(|_| NewJob::new("k", b""))).await;
    }
    scene.cancel(Select::all()).await.unwrap();
    assert!(too_large(scene.delete(Select::all()).await).contains("retain"));
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 20);
}
