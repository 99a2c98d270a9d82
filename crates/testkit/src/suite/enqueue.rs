//! What is accepted, what comes back of it, and what is refused with nothing applied.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use poolqueue::{ContentType, JobId, NewJob, Rejected, Select, Status};

use super::support::*;
use crate::Fixture;

pub async fn job_comes_back_as_it_was_enqueued<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let run_at = START.plus(HOUR);
    let new = NewJob::new("mail/send:v2", b"\x00\xffbytes".to_vec())
        .queue("outgoing")
        .meta("user", "7")
        .meta("note", "ü\n")
        .priority(-7)
        .run_at(at(run_at))
        .max_attempts(5)
        .timeout(90 * SECOND)
        .expires_after(2 * HOUR);
    let job = scene.job(scene.add(new).await).await;
    assert_eq!((&*job.kind, &*job.queue, job.status), ("mail/send:v2", "outgoing", Status::InitialPending));
    assert_eq!((job.payload.as_slice(), job.content_type), (&b"\x00\xffbytes"[..], ContentType::Bytes));
    let metadata = [("note", "ü\n"), ("user", "7")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(job.metadata, BTreeMap::from(metadata));
    assert_eq!((job.priority.0, job.max_attempts, job.timeout), (-7, Some(5), Some(90 * SECOND)));
    assert_eq!((job.run_at, job.expires_at), (Some(at(run_at)), Some(at(START.plus(2 * HOUR)))));
    assert_eq!((job.attempt.0, job.failures, job.retry_count, job.crashes), (0, 0, 0, 0));
    assert_eq!((job.created_at, job.started_at, job.finalized_at), (at(START), None, None));
    assert_eq!((job.assignee, job.last_error, job.output), (None, None, None));
    assert_eq!(scene.history(job.id).await.unwrap().entries, []);
}

pub async fn bare_job_has_the_defaults<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.job(scene.add(NewJob::new("k", b"")).await).await;
    assert_eq!((&*job.queue, job.priority.0, job.payload.len()), ("default", 0, 0));
    assert_eq!((job.max_attempts, job.timeout, job.expires_at), (None, None, None));
    assert_eq!(job.run_at, Some(at(START)), "it is due at once");
    assert!(job.tags.is_empty() && job.metadata.is_empty());
}

pub async fn ids_come_back_in_the_order_of_the_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let own = nth_id(7);
    let jobs = (0..50).map(|n| NewJob::new("k", vec![n]));
    let jobs = jobs.enumerate().map(|(n, job)| if n == 20 { job.id(own) } else { job });
    let ids = scene.add_all(jobs).await;
    assert_eq!(ids[20], own);
    let back = scene.get_all(ids.iter().copied()).await.unwrap();
    let payloads: Vec<u8> = back.into_iter().map(|job| job.unwrap().payload[0]).collect();
    assert_eq!(payloads, (0..50).collect::<Vec<u8>>());
}

pub async fn generated_ids_grow_and_are_unique<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut all = scene.add_all(plain_jobs(500)).await;
    for _ in 0..20 {
        all.push(scene.add(plain()).await);
    }
    assert!(all.is_sorted_by(|one, other| one < other));
}

pub async fn duplicate_id_is_refused_and_changes_nothing<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in [Status::InitialPending, Status::Running, Status::Completed] {
        let job = scene.bring(fresh(), status).await;
        let again = fresh().id(job.id).tag("another");
        assert_eq!(rejected(scene.enqueue(again).await), Rejected::Duplicate { id: job.id });
        assert_eq!(scene.job(job.id).await, job);
    }
}

pub async fn duplicate_id_within_a_batch_refuses_the_whole_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = nth_id(1);
    let batch = [plain().id(nth_id(2)), plain().id(id), plain(), plain().id(id)];
    assert_eq!(rejected(scene.enqueue_all(batch).await), Rejected::Duplicate { id });
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 0);
}

pub async fn duplicate_against_the_store_refuses_the_whole_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let batch = [plain().id(nth_id(2)), plain().id(id), plain()];
    assert_eq!(rejected(scene.enqueue_all(batch).await), Rejected::Duplicate { id });
    assert_eq!(scene.get(nth_id(2)).await.unwrap(), None);
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 1);
}

pub async fn one_bad_job_keeps_the_whole_batch_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(invalid(scene.enqueue_all([plain(), NewJob::new("", b""), plain()]).await), "kind");
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 0);
}

pub async fn empty_batch_is_no_error<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(scene.enqueue_all(Vec::<NewJob>::new()).await.unwrap(), Vec::<JobId>::new());
}

pub async fn id_of_a_deleted_job_may_be_used_again<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Completed).await;
    scene.delete(job.id).await.unwrap();
    assert_eq!(scene.add(fresh().id(job.id)).await, job.id);
    let again = scene.job(job.id).await;
    assert_eq!((again.status, again.attempt.0, again.output), (Status::InitialPending, 0, None));
    assert_eq!(scene.history(job.id).await.unwrap().entries, [], "nothing of the first is left");
}

pub async fn tags_come_back_sorted_and_without_duplicates<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().tag("b").tags(["ä", "a", "b", "B"]).tag("a")).await;
    let tags = scene.job(id).await.tags;
    assert_eq!(tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["B", "a", "b", "ä"]);
}

pub async fn last_value_of_a_metadata_key_stays<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().meta("k", "1").meta("empty", "").meta("k", "2")).await;
    let metadata = scene.job(id).await.metadata;
    assert_eq!((metadata["k"].as_str(), metadata["empty"].as_str(), metadata.len()), ("2", "", 2));
}

pub async fn json_and_arguments_say_how_to_read_them<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let json = scene.job(scene.add(NewJob::json("k", &vec!["a", "b"])).await).await;
    assert_eq!((json.content_type, json.payload.as_slice()), (ContentType::Json, &br#"["a","b"]"#[..]));
    let args = scene.job(scene.add(NewJob::args("k", (2, "x"))).await).await;
    assert_eq!((args.content_type, args.payload.as_slice()), (ContentType::Args, &br#"[2,"x"]"#[..]));
}

pub async fn value_that_does_not_serialise_is_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let tuple_keys = BTreeMap::from([((1, 2), 3)]);
    assert_eq!(invalid(scene.enqueue(NewJob::json("k", &tuple_keys)).await), "payload");
    assert_eq!(invalid(scene.enqueue(NewJob::args("k", 7)).await), "payload");
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 0);
}

pub async fn bad_names_are_refused_by_the_name_of_the_argument<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let long = "x".repeat(65);
    for bad in ["", "a b", "a\0", "ü", long.as_str()] {
        assert_eq!(invalid(scene.enqueue(NewJob::new(bad, b"")).await), "kind", "{bad:?}");
        assert_eq!(invalid(scene.enqueue(plain().queue(bad)).await), "queue", "{bad:?}");
    }
    assert_eq!(invalid(scene.enqueue(plain().queue("a/b")).await), "queue");
    assert_eq!(invalid(scene.enqueue(plain().tag("")).await), "tag");
    assert_eq!(invalid(scene.enqueue(plain().unique("")).await), "unique");
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 0);
}

pub async fn zeros_are_refused_by_the_name_of_the_argument<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(invalid(scene.enqueue(plain().max_attempts(0)).await), "max_attempts");
    assert_eq!(invalid(scene.enqueue(plain().crash_limit(0)).await), "crash_limit");
    assert_eq!(invalid(scene.enqueue(plain().timeout(Duration::ZERO)).await), "timeout");
    assert_eq!(invalid(scene.enqueue(plain().expires_after(Duration::ZERO)).await), "expires_after");
    assert_eq!(invalid(scene.enqueue(plain().run_after(Duration::MAX)).await), "run_after");
}

pub async fn every_time_that_can_be_written_comes_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let times = [
        "1969-12-31T23:59:59.999999Z",
        "0001-01-01T00:00:00Z",
        "-0044-03-15T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    let mut times: Vec<DateTime<Utc>> = times.iter().map(|text| text.parse().unwrap()).collect();
    times.extend([DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC]);
    for time in times {
        let id = scene.add(plain().run_at(time)).await;
        let back = scene.job(id).await.run_at.unwrap();
        assert_eq!(back.timestamp_micros(), time.timestamp_micros());
    }
}

pub async fn run_at_in_the_past_is_kept_and_due<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let now = scene.add(plain()).await;
    let past = START.minus(HOUR);
    let late = scene.add(plain().run_at(at(past))).await;
    assert_eq!(scene.job(late).await.run_at, Some(at(past)));
    assert_eq!(ids(&scene.claim(2).await), [late, now]);
}

pub async fn run_after_counts_from_the_store_s_clock<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.advance(HOUR).await;
    let id = scene.add(plain().run_after(SECOND)).await;
    let job = scene.job(id).await;
    assert_eq!((job.created_at, job.run_at), (at(START.plus(HOUR)), Some(at(START.plus(HOUR + SECOND)))));
}

pub async fn unique_key_is_taken_until_its_job_is_over<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let unfinished = [
        Status::InitialPending,
        Status::Running,
        Status::FailedRetry,
        Status::UnknownRetry,
        Status::Waiting,
        Status::Cancelling,
        Status::Paused,
    ];
    for (nth, status) in unfinished.into_iter().enumerate() {
        let key = format!("key-{nth}");
        let holder = scene.bring(fresh().unique(&key), status).await;
        assert_eq!(
            rejected(scene.enqueue(plain().unique(&key)).await),
            Rejected::Duplicate { id: holder.id }
        );
    }
    let over =
        [Status::Completed, Status::Stopped, Status::Unscheduled, Status::UnknownStopped, Status::Dead];
    for status in over {
        scene.bring(fresh().unique("over"), status).await;
    }
    scene.add(plain().unique("over")).await;
    scene.verify().await.unwrap();
}

pub async fn unique_keys_of_different_queues_do_not_meet<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add(plain().queue("a").unique("key")).await;
    scene.add(plain().queue("b").unique("key")).await;
    assert!(matches!(
        rejected(scene.enqueue(plain().queue("b").unique("key")).await),
        Rejected::Duplicate { .. }
    ));
}

pub async fn unique_key_twice_in_a_batch_refuses_the_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let batch = [plain().id(nth_id(1)).unique("key"), plain().unique("key")];
    assert_eq!(rejected(scene.enqueue_all(batch).await), Rejected::Duplicate { id: nth_id(1) });
    scene.add(plain().unique("key")).await;
}

pub async fn refused_batch_gives_its_unique_keys_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let taken = scene.add(plain()).await;
    let batch = [plain().unique("key"), plain().id(taken)];
    assert_eq!(rejected(scene.enqueue_all(batch).await), Rejected::Duplicate { id: taken });
    scene.add(plain().unique("key")).await;
    scene.verify().await.unwrap();
}

pub async fn retry_takes_the_unique_key_again_or_is_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let first = scene.bring(fresh().unique("key"), Status::Dead).await;
    let second = scene.bring(fresh().unique("key"), Status::Running).await;
    assert_eq!(scene.retry(first.id).await.unwrap().skipped, [first.id]);
    assert_eq!(scene.job(first.id).await, first);
    scene.complete(second.lease(), ()).await.unwrap();
    assert_eq!(scene.retry(first.id).await.unwrap().changed, [first.id]);
    assert_eq!(rejected(scene.enqueue(plain().unique("key")).await), Rejected::Duplicate { id: first.id });
}

pub async fn full_batch_goes_in_one_step<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(10_000)).await;
    assert_eq!(ids.len(), 10_000);
    let jobs = [ids[0], ids[5_000], ids[9_999]];
    for job in scene.get_all(jobs).await.unwrap() {
        assert_eq!(job.unwrap().created_at, at(START));
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap().pending, 10_000);
}
