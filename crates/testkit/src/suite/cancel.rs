//! Asking for jobs not to run.

use poolqueue::{EventKind, Failure, Rejected, Select, Status};

use super::support::*;
use crate::Fixture;

pub async fn cancelled_pending_job_is_unscheduled_and_never_runs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    assert_eq!(scene.cancel(id).await.unwrap().cancelled, [id]);
    let job = scene.job(id).await;
    assert_eq!((job.status, job.finalized_at), (Status::Unscheduled, Some(at(scene.now()))));
    assert!(scene.claim(1).await.is_empty());
}

pub async fn cancelled_job_that_was_tried_before_is_stopped<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in [Status::FailedRetry, Status::UnknownRetry, Status::Waiting] {
        let job = scene.bring(fresh(), status).await;
        scene.cancel(job.id).await.unwrap();
        assert_eq!(scene.status(job.id).await, Status::Stopped);
    }
    assert!(scene.claim(10).await.is_empty());
}

pub async fn cancel_takes_ids_tags_and_their_union<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let tagged = scene.add_all((0..3).map(|_| plain().tags(["a", "b"]))).await;
    let half = scene.add(plain().tag("a")).await;
    let named = scene.add_all(plain_jobs(2)).await;
    let select = Select::tags(["b", "a"]).or_ids([named[1], tagged[0]]);
    let cancelled = scene.cancel(select).await.unwrap();
    let expected = [tagged.clone(), vec![named[1]]].concat();
    assert_eq!((sorted(cancelled.cancelled), cancelled.unknown), (sorted(expected), vec![]));
    assert_eq!(scene.statuses(&[half, named[0]]).await, [Status::InitialPending; 2]);
    assert_eq!(scene.stats(Select::new()).await.unwrap().stopped, 4);
}

pub async fn cancel_is_narrowed_by_kind_queue_and_status<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let tagged = |kind: &str, queue: &str| poolqueue::NewJob::new(kind, b"").queue(queue).tag("t");
    let jobs = [tagged("a", "x"), tagged("b", "x"), tagged("a", "y"), tagged("a", "x")];
    let ids = scene.add_all(jobs).await;
    scene.pause(ids[3]).await.unwrap();
    let select = Select::tags(["t"]).or_ids([ids[1]]).kind("a").queue("x").status(Status::InitialPending);
    let cancelled = scene.cancel(select).await.unwrap();
    assert_eq!((cancelled.cancelled, cancelled.unknown), (vec![ids[0]], vec![ids[1]]));
    let expected = [Status::Unscheduled, Status::InitialPending, Status::InitialPending, Status::Paused];
    assert_eq!(scene.statuses(&ids).await, expected);
}

pub async fn job_cancelled_twice_while_it_runs_is_listed_as_cancelled_both_times<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    for _ in 0..2 {
        let cancelled = scene.cancel(job.id).await.unwrap();
        assert_eq!((cancelled.cancelled, cancelled.unknown), (vec![job.id], vec![]));
        assert_eq!(scene.status(job.id).await, Status::Cancelling);
    }
    assert_eq!(scene.history(job.id).await.unwrap().entries.len(), 2, "the second leaves no entry");
}

pub async fn ids_that_do_not_exist_and_jobs_that_are_over_are_unknown<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let over = scene.bring(fresh().tag("t"), Status::Completed).await.id;
    let live = scene.add(plain().tag("t")).await;
    let cancelled = scene.cancel(Select::tags(["t"]).or_ids([nth_id(404), over])).await.unwrap();
    assert_eq!(cancelled.cancelled, [live]);
    assert_eq!(sorted(cancelled.unknown), sorted(vec![nth_id(404), over]));
    assert_eq!(scene.status(over).await, Status::Completed);
}

pub async fn worker_of_a_cancelled_job_is_told<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(2)).await;
    let mut stream = scene.stream("w", 2).await;
    let batch = next_jobs(&mut stream, 2).await;
    scene.cancel(ids[0]).await.unwrap();
    soon(batch[0].cancelled()).await;
    assert!(batch[0].is_cancelled() && !batch[1].is_cancelled());
    assert_eq!(scene.acknowledge_cancel(&batch[0], true).await.unwrap(), Status::Stopped);
}

pub async fn job_cancelled_before_it_was_delivered_says_so<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    until_changed(&mut events, id, EventKind::Claim).await;
    scene.cancel(id).await.unwrap();
    let batch = next(&mut stream).await;
    assert!(batch[0].is_cancelled());
    assert_eq!(scene.acknowledge_cancel(&batch[0], false).await.unwrap(), Status::UnknownStopped);
}

pub async fn worker_has_the_last_word_on_a_cancelled_job<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Cancelling).await;
    assert_eq!(scene.complete(job.lease(), b"done after all").await.unwrap(), Status::Completed);
    assert_eq!(scene.job(job.id).await.output.as_deref(), Some(&b"done after all"[..]));
}

pub async fn cancelled_job_cannot_fail_only_stop<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Cancelling).await;
    let refused = rejected(scene.fail_retry(job.lease(), Failure::new("no")).await);
    assert!(matches!(refused, Rejected::Illegal { status: Status::Cancelling, .. }));
    assert_eq!(scene.stop_failed(job.lease(), "no").await.unwrap(), Status::Stopped);
}

pub async fn cancelled_paused_job_ends_as_from_the_status_it_remembers<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let cases = [
        (Status::InitialPending, Status::Unscheduled),
        (Status::FailedRetry, Status::Stopped),
        (Status::UnknownRetry, Status::Stopped),
        (Status::Waiting, Status::Stopped),
    ];
    for (remembered, expected) in cases {
        let id = scene.bring(fresh(), remembered).await.id;
        scene.pause(id).await.unwrap();
        scene.cancel(id).await.unwrap();
        assert_eq!(scene.status(id).await, expected);
        assert_eq!(scene.resume(id).await.unwrap().skipped, [id]);
    }
}

pub async fn cancelled_job_of_an_ended_stream_is_unknown_stopped<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    next(&mut stream).await;
    scene.cancel(id).await.unwrap();
    stream.close().await.unwrap();
    let job = scene.job(id).await;
    assert_eq!((job.status, job.retry_count), (Status::UnknownStopped, 0));
}

pub async fn cancelled_jobs_give_their_unique_keys_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().unique("key")).await;
    scene.cancel(id).await.unwrap();
    scene.add(plain().unique("key")).await;
    scene.verify().await.unwrap();
}

pub async fn more_jobs_than_one_page_are_all_cancelled<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all((0..2_500).map(|_| plain().tag("t"))).await;
    let cancelled = scene.cancel(Select::tags(["t"])).await.unwrap();
    assert_eq!((sorted(cancelled.cancelled), cancelled.unknown), (ids, vec![]));
    assert_eq!(scene.stats(Select::new()).await.unwrap().stopped, 2_500);
}
