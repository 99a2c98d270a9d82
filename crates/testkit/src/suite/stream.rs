//! Streams: capacity, refilling, fair shares, queues and kinds, batches, and what their end hands back.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use poolqueue::{
    ClaimedJob, EventKind, Failure, FailureKind, JobStream, NewJob, Rejected, Select, Status, Tags,
};

use super::support::*;
use crate::Fixture;

pub async fn stream_never_holds_more_than_its_capacity<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(40)).await;
    let mut stream = scene.stream("w", 3).await;
    let mut seen = HashSet::new();
    while seen.len() < 40 {
        let batch = next(&mut stream).await;
        assert!(!batch.is_empty() && batch.len() <= 3, "a batch of {}", batch.len());
        let stats = scene.stats(Select::new()).await.unwrap();
        assert!(stats.running <= 3 && stream.held() <= 3, "{} run", stats.running);
        for job in &batch {
            assert!(seen.insert(job.id), "a job came twice");
            scene.complete(job, ()).await.unwrap();
        }
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap().completed, 40);
}

pub async fn stream_claims_up_to_its_capacity_whether_or_not_anyone_reads<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let ids = scene.add_all(plain_jobs(5)).await;
    let stream = scene.stream("w", 4).await;
    for id in &ids[..4] {
        until_changed(&mut events, *id, EventKind::Claim).await;
    }
    assert_eq!(stream.held(), 4);
    assert_eq!(scene.status(ids[4]).await, Status::InitialPending);
}

pub async fn every_way_to_end_a_job_makes_room_for_the_next<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let count = 9;
    scene.add_all(plain_jobs(count)).await;
    let mut stream = scene.stream("w", 1).await;
    for nth in 0..count {
        let batch = next(&mut stream).await;
        let job = &batch[0];
        let ended = match nth {
            0 => scene.complete(job, ()).await,
            1 => scene.fail_retry(job, Failure::new("no").no_retry()).await,
            2 => scene.stop(job, "").await,
            3 => scene.unknown_stop(job, "").await,
            4 => scene.fail_retry(job, Failure::new("no").retry_after(HOUR)).await,
            5 => scene.complete(job.id, ()).await,
            _ => {
                scene.cancel(job.id).await.unwrap();
                match nth {
                    6 => scene.stop_failed(job, "").await,
                    7 => scene.acknowledge_cancel(job, false).await,
                    _ => scene.release(job).await,
                }
            }
        };
        ended.unwrap();
    }
    assert_eq!(stream.held(), 0);
}

pub async fn cancel_request_makes_no_room_until_it_is_answered<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(2)).await;
    let mut stream = scene.stream("w", 1).await;
    let first = next(&mut stream).await;
    scene.cancel(ids[0]).await.unwrap();
    scene.settle().await;
    assert_eq!((stream.held(), scene.status(ids[1]).await), (1, Status::InitialPending));
    scene.acknowledge_cancel(&first[0], true).await.unwrap();
    assert_eq!(next(&mut stream).await[0].id, ids[1]);
}

pub async fn waiting_stream_gets_a_job_that_is_enqueued_later<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut stream = scene.stream("w", 2).await;
    for _ in 0..20 {
        let id = scene.add(plain()).await;
        let batch = next(&mut stream).await;
        assert_eq!(claimed_ids(&batch), [id]);
        scene.complete(&batch[0], ()).await.unwrap();
    }
}

pub async fn raised_capacity_is_filled_at_once<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(10)).await;
    let mut stream = scene.stream("w", 2).await;
    next_jobs(&mut stream, 2).await;
    stream.set_capacity(7).unwrap();
    assert_eq!(stream.capacity(), 7);
    let more = next_jobs(&mut stream, 5).await;
    assert_eq!(claimed_ids(&more), ids[2..7]);
    assert_eq!(stream.held(), 7);
}

pub async fn lowered_capacity_takes_nothing_away_and_claims_nothing_until_there_is_room<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(6)).await;
    let mut stream = scene.stream("w", 4).await;
    let held = next_jobs(&mut stream, 4).await;
    stream.set_capacity(2).unwrap();
    for (job, left) in held.iter().zip([3, 2]) {
        scene.complete(job, ()).await.unwrap();
        scene.settle().await;
        assert_eq!(stream.held(), left, "nothing is claimed yet");
    }
    scene.complete(&held[2], ()).await.unwrap();
    assert_eq!(claimed_ids(&next(&mut stream).await), [ids[4]]);
    assert_eq!(stream.held(), 2);
    assert!(!held[3].is_cancelled());
}

pub async fn one_job_has_one_winner_among_many_streams<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut streams = Vec::new();
    for nth in 0..8 {
        streams.push(scene.stream(&format!("w{nth}"), 5).await);
    }
    for _ in 0..20 {
        let id = scene.add(plain()).await;
        let (winner, batch) = soon(first_batch(&mut streams)).await;
        assert_eq!(claimed_ids(&batch), [id]);
        let held: Vec<usize> = streams.iter().map(JobStream::held).collect();
        assert_eq!((held[winner], held.iter().sum::<usize>()), (1, 1));
        assert_eq!(scene.job(id).await.attempt.0, 1);
        scene.complete(&batch[0], ()).await.unwrap();
    }
}

/// The next batch of any of the streams, and whose it is.
async fn first_batch(streams: &mut [JobStream]) -> (usize, Vec<ClaimedJob>) {
    let poll = |context: &mut Context<'_>| {
        for (nth, stream) in streams.iter_mut().enumerate() {
            if let Poll::Ready(batch) = Pin::new(stream).poll_next(context) {
                return Poll::Ready((nth, batch.expect("the stream goes on").expect("the store works")));
            }
        }
        Poll::Pending
    };
    std::future::poll_fn(poll).await
}

pub async fn stream_of_the_default_queue_leaves_other_queues_alone<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let other = scene.add(plain().queue("other")).await;
    let own = scene.add(plain()).await;
    let mut stream = scene.stream("w", 10).await;
    assert_eq!(claimed_ids(&next(&mut stream).await), [own]);
    assert_eq!(scene.status(other).await, Status::InitialPending);
}

pub async fn several_queues_are_served_in_turn<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let queues = ["a", "b", "c"];
    for queue in queues {
        scene.add_all((0..30).map(|_| plain().queue(queue))).await;
    }
    let builder = scene.queue.stream("w").queue("a").queue("b").queue("c").queue("a");
    let mut stream = builder.capacity(1).open().await.unwrap();
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let batch = next(&mut stream).await;
        *counts.entry(batch[0].queue.to_string()).or_insert(0) += 1;
        scene.complete(&batch[0], ()).await.unwrap();
    }
    assert_eq!(counts, queues.map(|queue| (queue.to_owned(), 10)).into());
}

pub async fn busy_queue_does_not_crowd_out_the_others<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all((0..200).map(|_| plain().queue("busy").priority(-100))).await;
    let quiet = scene.add_all((0..2).map(|_| plain().queue("quiet"))).await;
    let mut stream = scene.queue.stream("w").all_queues().capacity(8).open().await.unwrap();
    let batch = next_jobs(&mut stream, 8).await;
    let claimed: HashSet<_> = batch.iter().map(|job| job.id).collect();
    assert!(quiet.iter().all(|id| claimed.contains(id)));
}

pub async fn stream_of_all_queues_takes_every_queue<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all((0..100).map(|n| plain().queue(format!("q{n}")))).await;
    let mut stream = scene.queue.stream("w").all_queues().capacity(100).open().await.unwrap();
    let claimed = next_jobs(&mut stream, 100).await;
    assert_eq!(sorted(claimed_ids(&claimed)), sorted(ids));
    let new = scene.add(plain().queue("new")).await;
    scene.complete(&claimed[0], ()).await.unwrap();
    assert_eq!(claimed_ids(&next(&mut stream).await), [new]);
}

pub async fn stream_takes_only_the_kinds_it_names<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let kinds = ["a", "b", "c", "ab"].map(|kind| NewJob::new(kind, b""));
    let ids = scene.add_all(kinds).await;
    let mut stream = scene.queue.stream("w").kinds(["a", "c"]).open().await.unwrap();
    assert_eq!(claimed_ids(&next_jobs(&mut stream, 2).await), [ids[0], ids[2]]);
    assert_eq!(scene.statuses(&[ids[1], ids[3]]).await, [Status::InitialPending; 2]);
}

pub async fn unhandled_kinds_do_not_block_a_handled_one<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all((0..3_000).map(|_| plain().priority(-1))).await;
    let wanted = scene.add(NewJob::new("wanted", b"")).await;
    let mut stream = scene.queue.stream("w").kinds(["wanted"]).capacity(1).open().await.unwrap();
    assert_eq!(claimed_ids(&next(&mut stream).await), [wanted]);
}

pub async fn jobs_claimed_since_the_last_read_come_in_one_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let mut stream = scene.stream("w", 10).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(scene.add(plain()).await);
        until_changed(&mut events, ids[ids.len() - 1], EventKind::Claim).await;
    }
    // The claim that got the fifth was made when the other four had been delivered.
    let mut came = next(&mut stream).await;
    assert!(came.len() >= 4, "a batch of {}", came.len());
    came.extend(next_jobs(&mut stream, 5 - came.len()).await);
    assert_eq!(claimed_ids(&came), ids);
}

pub async fn stream_reads_as_a_stream_of_futures_too<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    let first = soon(std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context))).await;
    assert_eq!(claimed_ids(&first.unwrap().unwrap()), [id]);
    scene.close().await.unwrap();
    let last = soon(std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context))).await;
    assert!(last.is_none());
}

pub async fn dropped_read_loses_no_job<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut stream = scene.stream("w", 100).await;
    let (mut came, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..100 {
        // Asked for and given up: before the job comes, while it comes, or when it has come.
        if round % 2 == 0 {
            ids.insert(scene.add(plain()).await);
        }
        if let Some(batch) = begin(&mut Box::pin(stream.next())).await {
            came.extend(claimed_ids(&batch.expect("the stream goes on").expect("the store works")));
        }
    }
    while came.len() < ids.len() {
        came.extend(claimed_ids(&next(&mut stream).await));
    }
    assert_eq!(came, ids);
}

pub async fn job_that_someone_else_answered_before_it_was_read_is_left_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let ids = scene.add_all(plain_jobs(3)).await;
    let mut stream = scene.stream("w", 3).await;
    until_changed(&mut events, ids[2], EventKind::Claim).await;
    scene.complete(ids[1], b"by someone else").await.unwrap();
    let batch = next_jobs(&mut stream, 2).await;
    assert_eq!(claimed_ids(&batch), [ids[0], ids[2]]);
}

pub async fn job_taken_away_before_it_was_read_comes_once_and_with_its_new_attempt<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 3).await;
    for _ in 0..4 {
        until_changed(&mut events, id, EventKind::Claim).await;
        scene.release(id).await.unwrap();
    }
    until_changed(&mut events, id, EventKind::Claim).await;
    let batch = next(&mut stream).await;
    assert_eq!((batch.len(), batch[0].id, batch[0].attempt.0), (1, id, 5));
    scene.complete(&batch[0], ()).await.unwrap();
    assert_eq!(stream.held(), 0);
}

pub async fn drained_stream_delivers_what_it_holds_and_ends<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    let ids = scene.add_all(plain_jobs(5)).await;
    let mut stream = scene.stream("w", 3).await;
    until_changed(&mut events, ids[2], EventKind::Claim).await;
    let first = next(&mut stream).await;
    stream.drain();
    let mut came = claimed_ids(&first);
    while let Some(batch) = soon(stream.next()).await {
        came.extend(claimed_ids(&batch.unwrap()));
    }
    assert_eq!(came, ids[..3]);
    assert_eq!(stream.held(), 3, "what is held stays held");
    for id in came {
        assert_eq!(scene.complete(id, ()).await.unwrap(), Status::Completed);
    }
    assert_eq!(scene.statuses(&ids[3..]).await, [Status::InitialPending; 2]);
}

/// A claim that still stands with the store when its stream is drained must not be served any more.
pub async fn drained_stream_claims_no_more<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for _ in 0..30 {
        let mut stream = scene.stream("w", 2).await;
        let first = scene.add(plain()).await;
        let batch = next(&mut stream).await;
        assert_eq!(claimed_ids(&batch), [first]);
        stream.drain();
        let later = scene.add(plain()).await;
        scene.complete(&batch[0], ()).await.unwrap();
        assert!(soon(stream.next()).await.is_none());
        let job = scene.job(later).await;
        assert_eq!((job.status, job.attempt.0), (Status::InitialPending, 0));
        scene.cancel(later).await.unwrap();
    }
}

pub async fn closed_stream_hands_back_what_it_holds<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(4)).await;
    let mut stream = scene.stream("w", 3).await;
    let batch = next_jobs(&mut stream, 3).await;
    scene.complete(&batch[0], ()).await.unwrap();
    scene.cancel(ids[1]).await.unwrap();
    next_jobs(&mut stream, 1).await;
    stream.close().await.unwrap();
    let expected = [Status::Completed, Status::UnknownStopped, Status::FailedRetry, Status::FailedRetry];
    assert_eq!(scene.statuses(&ids).await, expected);
    for id in &ids[2..] {
        let job = scene.job(*id).await;
        assert_eq!((job.attempt.0, job.retry_count, job.failures, job.crashes), (1, 1, 0, 0));
        let error = job.last_error.unwrap();
        assert_eq!((error.message.as_str(), error.kind), ("stream ended", Some(FailureKind::StreamEnded)));
        assert_eq!(job.run_at, Some(at(scene.now())), "it is due at once");
    }
    assert!(batch.iter().all(ClaimedJob::is_cancelled), "its workers are told");
}

pub async fn end_of_a_stream_never_makes_a_job_dead<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().max_attempts(1)).await;
    for nth in 1..=3 {
        let mut stream = scene.stream("w", 1).await;
        assert_eq!(next(&mut stream).await[0].attempt.0, nth);
        stream.close().await.unwrap();
        let job = scene.job(id).await;
        assert_eq!((job.status, job.failures, job.retry_count), (Status::FailedRetry, 0, nth));
    }
}

pub async fn dropped_stream_hands_its_jobs_to_the_next<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(3)).await;
    let mut first = scene.stream("w1", 3).await;
    let held = next_jobs(&mut first, 3).await;
    let mut second = scene.stream("w2", 3).await;
    drop(first);
    let again = next_jobs(&mut second, 3).await;
    assert_eq!(sorted(claimed_ids(&again)), ids);
    for (old, new) in held.iter().zip(&again) {
        assert_eq!((new.attempt.0, new.assignee.as_deref()), (2, Some("w2")));
        soon(old.cancelled()).await;
        assert!(matches!(rejected(scene.complete(old, ()).await), Rejected::StaleAttempt { .. }));
    }
}

pub async fn end_of_a_stream_leaves_attempts_of_others_alone<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut first = scene.stream("w1", 1).await;
    next(&mut first).await;
    first.drain();
    assert_eq!(scene.release(id).await.unwrap(), Status::UnknownRetry);
    let mut second = scene.stream("w2", 1).await;
    let again = next(&mut second).await;
    first.close().await.unwrap();
    assert_eq!(scene.status(id).await, Status::Running);
    assert!(!again[0].is_cancelled());
    scene.complete(&again[0], ()).await.unwrap();
}

pub async fn one_assignee_may_have_several_streams<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(2)).await;
    let mut first = scene.stream("w", 1).await;
    let mut second = scene.stream("w", 1).await;
    let came = [claimed_ids(&next(&mut first).await), claimed_ids(&next(&mut second).await)].concat();
    assert_eq!(sorted(came), ids);
    first.close().await.unwrap();
    assert_eq!(second.held(), 1, "the end of one is not the end of the other");
}

pub async fn bad_stream_arguments_are_refused_by_name<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let builder = || scene.queue.stream("w");
    assert_eq!(invalid(scene.queue.stream("").open().await), "assignee");
    assert_eq!(invalid(builder().capacity(0).open().await), "capacity");
    assert_eq!(invalid(builder().queue("a b").open().await), "queue");
    assert_eq!(invalid(builder().kinds(["a b"]).open().await), "kind");
    assert_eq!(invalid(builder().kinds(Vec::<String>::new()).open().await), "kinds");
    assert_eq!(invalid(builder().tags([""]).open().await), "tag");
    assert_eq!(invalid(builder().filter(Tags::default().none(["\n"])).open().await), "tag");
    assert_eq!(invalid(builder().manual_lease(Duration::ZERO).open().await), "manual_lease");
    assert_eq!(invalid(builder().open().await.unwrap().set_capacity(0)), "capacity");
}

pub async fn claimed_job_reads_like_the_stored_one<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain().tags(["x", "a"]).meta("k", "v").priority(3)).await;
    let mut stream = scene.stream("w", 1).await;
    let batch = next(&mut stream).await;
    assert_eq!(*batch[0].job(), scene.job(id).await);
    assert_eq!((batch[0].status, batch[0].attempt.0), (Status::Running, 1));
    assert_eq!(batch[0].lease(), scene.job(id).await.lease());
}

pub async fn health_counts_streams_and_what_they_hold<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(2)).await;
    let mut stream = scene.stream("w", 5).await;
    next_jobs(&mut stream, 2).await;
    let health = scene.health();
    assert_eq!((health.streams, health.held, health.is_ok()), (1, 2, true));
    stream.close().await.unwrap();
    assert_eq!((scene.health().streams, scene.health().held), (0, 0));
}
