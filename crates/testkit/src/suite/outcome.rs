//! What a reported outcome does beyond the table: fences, late answers, messages, counters and stamps.

use std::time::Duration;

use poolqueue::backend::lifecycle::Event;
use poolqueue::{Backoff, EventKind, Failure, FailureKind, Job, Lease, NewJob, Output, Rejected, Status};

use super::support::*;
use crate::Fixture;

pub async fn completed_job_rejects_stop<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Completed).await;
    let refused = rejected(scene.stop(job.id, "too late").await);
    let expected = Rejected::Illegal { id: job.id, status: Status::Completed, event: EventKind::Stop };
    assert_eq!(refused, expected);
    assert_eq!(scene.job(job.id).await, job);
}

pub async fn completion_keeps_the_output_and_frees_the_slot<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(2)).await;
    let mut stream = scene.stream("w", 1).await;
    let first = next(&mut stream).await;
    assert_eq!(stream.held(), 1);
    assert_eq!(scene.complete(&first[0], b"result").await.unwrap(), Status::Completed);
    assert_eq!(scene.job(first[0].id).await.output.as_deref(), Some(&b"result"[..]));
    assert_ne!(next(&mut stream).await[0].id, first[0].id);
}

pub async fn empty_output_and_none_are_told_apart<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let outputs =
        [(Output::from(()), None), (Output::from(""), Some(vec![])), (Output::from("x"), Some(vec![b'x']))];
    for (output, expected) in outputs {
        let job = scene.bring(fresh(), Status::Running).await;
        scene.complete(job.lease(), output).await.unwrap();
        assert_eq!(scene.job(job.id).await.output, expected);
    }
}

pub async fn late_completion_of_a_lost_job_is_accepted_by_id_and_by_its_last_lease<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for by_lease in [false, true] {
        let job = scene.bring(fresh(), Status::Running).await;
        scene.lose_worker(job.assignee.as_deref().unwrap()).await.unwrap();
        assert_eq!(scene.status(job.id).await, Status::UnknownRetry);
        let done = match by_lease {
            true => scene.complete(job.lease(), b"late").await,
            false => scene.complete(job.id, b"late").await,
        };
        assert_eq!(done.unwrap(), Status::Completed);
        assert!(scene.claim_for("w", 1, of_kind(&job.kind)).await.is_empty(), "it is not claimed again");
    }
}

pub async fn late_completion_of_an_unknown_stopped_job_moves_its_end<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::UnknownStopped).await;
    scene.advance(SECOND).await;
    assert_eq!(scene.complete(job.lease(), b"late").await.unwrap(), Status::Completed);
    let after = scene.job(job.id).await;
    assert_eq!(after.finalized_at, Some(at(scene.now())));
    assert!(after.finalized_at > job.finalized_at);
    assert_eq!(after.output.as_deref(), Some(&b"late"[..]));
}

pub async fn late_completion_of_a_dead_or_paused_job_is_illegal<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let dead = scene.bring(fresh(), Status::Dead).await;
    let paused = scene.bring(fresh(), Status::UnknownRetry).await;
    scene.pause(paused.id).await.unwrap();
    for (job, status) in [(dead, Status::Dead), (paused, Status::Paused)] {
        let refused = rejected(scene.complete(job.lease(), b"late").await);
        assert_eq!(refused, Rejected::Illegal { id: job.id, status, event: EventKind::Complete });
    }
}

pub async fn lease_of_an_older_attempt_is_stale_whatever_the_status<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let reached = [
        Status::FailedRetry,
        Status::UnknownRetry,
        Status::Waiting,
        Status::Running,
        Status::Cancelling,
        Status::Completed,
        Status::Stopped,
        Status::UnknownStopped,
        Status::Dead,
    ];
    for status in reached {
        let job = scene.bring(fresh(), status).await;
        let given = poolqueue::Attempt(job.attempt.0 - 1);
        let old = Lease { id: job.id, attempt: given };
        let stale = Rejected::StaleAttempt { id: job.id, given, current: job.attempt };
        assert_eq!(rejected(scene.complete(old, b"").await), stale, "{status}");
        assert_eq!(rejected(scene.fail_retry(old, "no").await), stale, "{status}");
        assert_eq!(rejected(scene.stop(old, "").await), stale, "{status}");
        assert_eq!(rejected(scene.stop_failed(old, "").await), stale, "{status}");
        assert_eq!(rejected(scene.unknown_stop(old, "").await), stale, "{status}");
        assert_eq!(rejected(scene.acknowledge_cancel(old, true).await), stale, "{status}");
        assert_eq!(rejected(scene.release(old).await), stale, "{status}");
        assert_eq!(scene.job(job.id).await, job, "{status}");
    }
}

pub async fn lease_of_an_attempt_that_has_not_been_is_stale<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    let future = Lease { id: job.id, attempt: poolqueue::Attempt(job.attempt.0 + 1) };
    assert!(matches!(rejected(scene.complete(future, ()).await), Rejected::StaleAttempt { .. }));
}

pub async fn worker_whose_job_was_claimed_again_is_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let first = scene.bring(fresh(), Status::Running).await;
    scene.lose_worker(first.assignee.as_deref().unwrap()).await.unwrap();
    let second = scene.take(first.id, "second").await;
    assert_eq!(second.attempt.0, first.attempt.0 + 1);
    assert!(matches!(rejected(scene.complete(first.lease(), b"first").await), Rejected::StaleAttempt { .. }));
    scene.complete(second.lease(), b"second").await.unwrap();
    assert_eq!(scene.job(first.id).await.output.as_deref(), Some(&b"second"[..]));
}

pub async fn repeated_completion_is_already_applied_and_the_first_output_stays<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    scene.complete(job.lease(), b"first").await.unwrap();
    let refused = rejected(scene.complete(job.lease(), b"second").await);
    let expected =
        Rejected::AlreadyApplied { id: job.id, status: Status::Completed, event: EventKind::Complete };
    assert_eq!(refused, expected);
    assert_eq!(scene.job(job.id).await.output.as_deref(), Some(&b"first"[..]));
}

/// A worker whose job someone else completed by its bare id must not be told that its own output is stored.
pub async fn what_was_reported_by_id_is_no_repetition_by_the_lease<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    scene.complete(job.id, b"by id").await.unwrap();
    let refused = rejected(scene.complete(job.lease(), b"by the lease").await);
    assert!(matches!(refused, Rejected::Illegal { status: Status::Completed, .. }));
    assert_eq!(scene.job(job.id).await.output.as_deref(), Some(&b"by id"[..]));
}

pub async fn completing_twice_by_id_is_illegal<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Completed).await;
    assert!(matches!(rejected(scene.complete(job.id, ()).await), Rejected::Illegal { .. }));
}

pub async fn every_verb_on_an_unknown_id_is_not_found<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = nth_id(404);
    let missing = Rejected::NotFound { id };
    assert_eq!(rejected(scene.complete(id, ()).await), missing);
    assert_eq!(rejected(scene.fail_retry(id, "no").await), missing);
    assert_eq!(rejected(scene.stop(id, "").await), missing);
    assert_eq!(rejected(scene.stop_failed(id, "").await), missing);
    assert_eq!(rejected(scene.unknown_stop(id, "").await), missing);
    assert_eq!(rejected(scene.acknowledge_cancel(id, false).await), missing);
    assert_eq!(rejected(scene.release(id).await), missing);
}

pub async fn acknowledged_cancel_is_stopped_or_unknown_stopped_and_frees_the_slot<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for (was_executing, expected) in [(true, Status::Stopped), (false, Status::UnknownStopped)] {
        let id = scene.add(plain()).await;
        let mut stream = scene.stream("w", 1).await;
        let batch = next(&mut stream).await;
        scene.cancel(id).await.unwrap();
        assert_eq!(stream.held(), 1, "a cancelled job keeps its slot until it is answered");
        assert_eq!(scene.acknowledge_cancel(&batch[0], was_executing).await.unwrap(), expected);
        assert_eq!(stream.held(), 0);
    }
}

pub async fn acknowledging_needs_a_cancel_request<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for was_executing in [true, false] {
        let job = scene.bring(fresh(), Status::Running).await;
        let refused = rejected(scene.acknowledge_cancel(job.lease(), was_executing).await);
        assert!(matches!(refused, Rejected::Illegal { status: Status::Running, .. }), "{refused:?}");
    }
}

pub async fn batch_is_judged_job_by_job_in_its_order<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let running = scene.bring(fresh(), Status::Running).await;
    let pending = scene.bring(fresh(), Status::InitialPending).await;
    let missing = nth_id(404);
    let verdicts =
        scene.complete_all([(pending.id, b"a"), (running.id, b"b"), (missing, b"c"), (running.id, b"d")]);
    let verdicts = verdicts.await.unwrap();
    assert!(matches!(verdicts[0], Err(Rejected::Illegal { status: Status::InitialPending, .. })));
    assert_eq!(verdicts[1], Ok(Status::Completed));
    assert_eq!(verdicts[2], Err(Rejected::NotFound { id: missing }));
    assert!(matches!(verdicts[3], Err(Rejected::Illegal { status: Status::Completed, .. })));
    assert_eq!(scene.job(running.id).await.output.as_deref(), Some(&b"b"[..]));
    assert_eq!(scene.job(pending.id).await, pending);
}

pub async fn every_batch_verb_does_what_its_single_one_does<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut leases = Vec::new();
    for _ in 0..7 {
        leases.push(scene.bring(fresh(), Status::Running).await.lease());
    }
    scene.cancel(poolqueue::Select::ids(leases[5..].iter().map(|lease| lease.id))).await.unwrap();
    let verdicts = [
        scene.complete_all([(leases[0], "out")]).await.unwrap(),
        scene.fail_retry_all([(leases[1], "no")]).await.unwrap(),
        scene.stop_all([(leases[2], "enough")]).await.unwrap(),
        scene.unknown_stop_all([(leases[3], "where?")]).await.unwrap(),
        scene.stop_failed_all([(leases[4], "not cancelled")]).await.unwrap(),
        scene.acknowledge_cancel_all([(leases[5], true)]).await.unwrap(),
        scene.acknowledge_cancel_all([(leases[6], false)]).await.unwrap(),
    ];
    let refused =
        Rejected::Illegal { id: leases[4].id, status: Status::Running, event: EventKind::StopFailed };
    let expected = [
        Ok(Status::Completed),
        Ok(Status::FailedRetry),
        Ok(Status::Stopped),
        Ok(Status::UnknownStopped),
        Err(refused),
        Ok(Status::Stopped),
        Ok(Status::UnknownStopped),
    ];
    assert_eq!(verdicts.concat(), expected);
    assert_eq!(scene.complete_all(Vec::<(Lease, ())>::new()).await.unwrap(), []);
}

pub async fn failure_keeps_its_message_and_its_kind<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for kind in FailureKind::ALL {
        let job = scene.bring(fresh(), Status::Running).await;
        scene.fail_retry(job.lease(), Failure::new("disk on fire").kind(*kind)).await.unwrap();
        let error = scene.job(job.id).await.last_error.unwrap();
        assert_eq!((error.message.as_str(), error.kind), ("disk on fire", Some(*kind)));
        let history = scene.history(job.id).await.unwrap().entries;
        assert_eq!(history.last().unwrap().message.as_deref(), Some("disk on fire"));
    }
}

pub async fn failure_without_a_message_is_invalid_and_fails_a_whole_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let one = scene.bring(fresh(), Status::Running).await;
    let other = scene.bring(fresh(), Status::Running).await;
    assert_eq!(invalid(scene.fail_retry(one.lease(), "").await), "failure");
    let batch = [(one.lease(), "a reason"), (other.lease(), "")];
    assert_eq!(invalid(scene.fail_retry_all(batch).await), "failure");
    assert_eq!((scene.job(one.id).await, scene.job(other.id).await), (one, other));
}

pub async fn message_of_a_stop_is_kept_and_an_empty_one_keeps_the_last<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::FailedRetry).await;
    let again = scene.take(job.id, "w").await;
    scene.stop(again.lease(), "").await.unwrap();
    assert_eq!(scene.job(job.id).await.last_error, job.last_error);
    let other = scene.bring(fresh(), Status::Running).await;
    scene.unknown_stop(other.lease(), "lost sight").await.unwrap();
    let error = scene.job(other.id).await.last_error.unwrap();
    assert_eq!((error.message.as_str(), error.kind), ("lost sight", None));
}

pub async fn failures_count_up_to_max_attempts_and_then_the_job_is_dead<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(fresh().max_attempts(3)).await;
    for nth in 1..=3 {
        let job = scene.take(id, "w").await;
        let status = scene.fail_retry(job.lease(), "no").await.unwrap();
        let after = scene.job(id).await;
        assert_eq!((after.failures, after.retry_count, after.attempt.0), (nth, nth, nth));
        assert_eq!(status, if nth < 3 { Status::FailedRetry } else { Status::Dead });
        assert_eq!(after.last_retry_at, Some(at(scene.now())));
    }
    assert!(scene.job(id).await.finalized_at.is_some());
}

pub async fn failure_that_says_so_ends_the_job_at_once<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    let failure = Failure::new("never again").no_retry();
    assert_eq!(scene.fail_retry(job.lease(), failure).await.unwrap(), Status::Dead);
    assert_eq!(scene.job(job.id).await.failures, 1);
}

pub async fn failed_job_is_due_after_its_backoff_unless_the_failure_says_when<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let minute = 60 * SECOND;
    let cases: [(NewJob, Failure, Duration); 4] = [
        (fresh(), Failure::new("no"), Duration::ZERO),
        (fresh().backoff(Backoff::fixed(minute)), Failure::new("no"), minute),
        (fresh().backoff(Backoff::linear(SECOND, minute)), Failure::new("no"), SECOND),
        (fresh().backoff(Backoff::fixed(minute)), Failure::new("no").retry_after(SECOND), SECOND),
    ];
    for (job, failure, delay) in cases {
        let id = scene.add(job).await;
        let claimed = scene.take(id, "w").await;
        scene.fail_retry(claimed.lease(), failure).await.unwrap();
        assert_eq!(scene.job(id).await.run_at, Some(at(scene.now().plus(delay))));
    }
}

pub async fn failed_stop_counts_as_a_retry_and_other_stops_do_not<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut retries = Vec::new();
    for nth in 0..4 {
        let job = scene.bring(fresh(), Status::Cancelling).await;
        let lease = job.lease();
        let stopped = match nth {
            0 => scene.stop(lease, "").await,
            1 => scene.unknown_stop(lease, "").await,
            2 => scene.acknowledge_cancel(lease, true).await,
            _ => scene.stop_failed(lease, "").await,
        };
        stopped.unwrap();
        retries.push(scene.job(job.id).await.retry_count);
    }
    assert_eq!(retries, [0, 0, 0, 1]);
}

pub async fn released_job_has_nothing_counted<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh().max_attempts(1), Status::UnknownRetry).await;
    let counters = |job: &Job| (job.attempt.0, job.failures, job.retry_count, job.crashes);
    assert_eq!(counters(&job), (1, 0, 0, 0));
    assert_eq!(job.last_error, None);
    let again = scene.take(job.id, "w").await;
    assert_eq!(counters(&again), (2, 0, 0, 0));
}

pub async fn answered_attempt_forgets_the_crashes_before_it<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for answer in 0..3 {
        let id = scene.add(fresh()).await;
        scene.take(id, "first").await;
        scene.lose_worker("first").await.unwrap();
        assert_eq!(scene.job(id).await.crashes, 1);
        let lease = scene.take(id, "second").await.lease();
        match answer {
            0 => scene.fail_retry(lease, "no").await.map(drop).unwrap(),
            1 => scene.release(lease).await.map(drop).unwrap(),
            _ => scene.change(lease, Event::Suspend { until: scene.now() }).await.map(drop).unwrap(),
        }
        assert_eq!(scene.job(id).await.crashes, 0);
    }
}

pub async fn suspended_job_is_waiting_until_its_time<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    let until = scene.now().plus(HOUR);
    scene.change(job.lease(), Event::Suspend { until }).await.unwrap();
    assert_eq!(scene.job(job.id).await.run_at, Some(at(until)));
    assert!(scene.claim_for("w", 1, of_kind(&job.kind)).await.is_empty());
    scene.advance(HOUR).await;
    assert_eq!(scene.take(job.id, "w").await.attempt.0, 2);
}

pub async fn assignee_and_times_are_stamped_and_kept_after_the_end<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let created = at(scene.now());
    let id = scene.add(fresh()).await;
    scene.advance(SECOND).await;
    let first = at(scene.now());
    let claimed = scene.take(id, "first").await;
    scene.fail_retry(claimed.lease(), "no").await.unwrap();
    scene.advance(SECOND).await;
    let second = at(scene.now());
    let claimed = scene.take(id, "second").await;
    scene.advance(SECOND).await;
    scene.complete(claimed.lease(), ()).await.unwrap();
    let job = scene.job(id).await;
    assert_eq!(job.created_at, created);
    assert_eq!((job.started_at, job.assigned_at), (Some(first), Some(second)));
    assert_eq!((job.last_retry_at, job.finalized_at), (Some(first), Some(at(scene.now()))));
    assert_eq!(job.assignee.as_deref(), Some("second"));
    assert_eq!(job.last_error.unwrap().message, "no");
}

pub async fn history_tells_every_step_in_order<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(fresh()).await;
    let first = scene.take(id, "first").await;
    scene.fail_retry(first.lease(), "no").await.unwrap();
    scene.pause(id).await.unwrap();
    scene.resume(id).await.unwrap();
    scene.advance(SECOND).await;
    let second = scene.take(id, "second").await;
    scene.complete(second.lease(), ()).await.unwrap();
    let history = scene.history(id).await.unwrap();
    let told: Vec<_> = history.entries.iter().map(|entry| (entry.event, entry.to, entry.attempt.0)).collect();
    let expected = [
        (EventKind::Claim, Status::Running, 1),
        (EventKind::FailRetry, Status::FailedRetry, 1),
        (EventKind::Pause, Status::Paused, 1),
        (EventKind::Resume, Status::FailedRetry, 1),
        (EventKind::Claim, Status::Running, 2),
        (EventKind::Complete, Status::Completed, 2),
    ];
    assert_eq!((told.as_slice(), history.cut), (&expected[..], 0));
    let times: Vec<_> = history.entries.iter().map(|entry| entry.at).collect();
    assert_eq!(times[..4], [START; 4]);
    assert_eq!(times[4..], [START.plus(SECOND); 2]);
    let assignees = history.entries.iter().map(|entry| entry.assignee.as_deref().unwrap());
    assert_eq!(assignees.collect::<Vec<_>>(), ["first", "first", "first", "first", "second", "second"]);
}
