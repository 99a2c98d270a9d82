use super::*;

/// `(attempt, failures, retry_count, crashes)`
type Figures = (u32, u32, u32, u32);

fn figures(job: &JobState) -> Figures {
    (job.attempt.0, job.failures, job.retry_count, job.crashes)
}

/// A job of this status whose figures are (4, 3, 5, 2).
fn counted(status: Status) -> JobState {
    let job = JobState { attempt: Attempt(4), failures: 3, retry_count: 5, crashes: 2, ..job(status) };
    assert_eq!(figures(&job), (4, 3, 5, 2));
    job
}

#[test]
fn each_event_moves_its_own_counters_and_no_others() {
    use EventKind as E;
    use Status as S;
    let cases: [(Status, Event, Figures); 24] = [
        (S::InitialPending, event(E::Claim), (5, 3, 5, 2)),
        (S::InitialPending, event(E::Cancel), (4, 3, 5, 2)),
        (S::InitialPending, event(E::Expire), (4, 3, 5, 2)),
        (S::UnknownRetry, event(E::Claim), (5, 3, 5, 2)),
        (S::UnknownRetry, event(E::Complete), (4, 3, 5, 0)),
        (S::UnknownRetry, event(E::FailRetry), (4, 4, 6, 0)),
        (S::UnknownRetry, event(E::Stop), (4, 3, 5, 2)),
        (S::Running, event(E::Complete), (4, 3, 5, 0)),
        (S::Running, event(E::FailRetry), (4, 4, 6, 0)),
        (S::Running, stream_ended(), (4, 3, 6, 0)),
        (S::Running, event(E::Stop), (4, 3, 5, 2)),
        (S::Running, event(E::Cancel), (4, 3, 5, 2)),
        (S::Running, event(E::LoseWorker), (4, 3, 5, 3)),
        (S::Running, event(E::Release), (4, 3, 5, 0)),
        (S::Running, event(E::Suspend), (4, 3, 5, 0)),
        (S::Cancelling, event(E::StopFailed), (4, 3, 6, 2)),
        (S::Cancelling, event(E::LoseWorker), (4, 3, 5, 3)),
        (S::Cancelling, stream_ended(), (4, 3, 5, 2)),
        (S::Cancelling, acknowledge(true), (4, 3, 5, 2)),
        (S::UnknownStopped, event(E::Complete), (4, 3, 5, 0)),
        (S::Dead, event(E::Retry), (4, 0, 5, 0)),
        (S::UnknownStopped, event(E::Retry), (4, 0, 5, 0)),
        (S::FailedRetry, event(E::Pause), (4, 3, 5, 2)),
        (S::Paused, event(E::Resume), (4, 3, 5, 2)),
    ];
    for (status, event, expected) in cases {
        let found = figures(&step(&counted(status), &event, 3_000).after);
        assert_eq!(found, expected, "{status} and {event:?}");
    }
}

#[test]
fn counters_at_their_end_stay_there() {
    let full = JobState { failures: u32::MAX, retry_count: u32::MAX, ..job(Status::Running) };
    assert_eq!(figures(&step(&full, &event(EventKind::FailRetry), 3_000).after), (1, u32::MAX, u32::MAX, 0));
    let crashing = JobState { crashes: u32::MAX, crash_limit: u32::MAX, ..job(Status::Running) };
    assert_eq!(step(&crashing, &Event::LoseWorker, 3_000).after.status, Status::Dead);
}

#[test]
fn a_job_is_dead_when_its_failures_reach_max_attempts_or_the_failure_says_so() {
    let cases = [
        (None, 0, Failure::new("no"), Status::FailedRetry),
        (None, u32::MAX - 1, Failure::new("no"), Status::FailedRetry),
        (None, 0, Failure::new("no").no_retry(), Status::Dead),
        (Some(1), 0, Failure::new("no"), Status::Dead),
        (Some(3), 1, Failure::new("no"), Status::FailedRetry),
        (Some(3), 2, Failure::new("no"), Status::Dead),
        (Some(3), 7, Failure::new("no"), Status::Dead),
        (Some(3), 0, Failure::new("no").no_retry(), Status::Dead),
        (Some(1), 0, Failure::new("no").retry_after(Duration::from_secs(1)), Status::Dead),
    ];
    for from in [Status::Running, Status::UnknownRetry] {
        for (max_attempts, failures, failure, expected) in &cases {
            let job = JobState { max_attempts: *max_attempts, failures: *failures, ..job(from) };
            let found = step(&job, &fail(failure.clone()), 3_000).after;
            assert_eq!(found.status, *expected, "{from}, {failures} of {max_attempts:?}, {failure:?}");
            assert_eq!(found.last_retry_at, Some(at(3_000)));
        }
    }
}

#[test]
fn attempts_without_a_failure_do_not_count_towards_max_attempts() {
    let mut job = JobState { max_attempts: Some(2), ..new_job() };
    for kind in [EventKind::Release, EventKind::Suspend, EventKind::LoseWorker] {
        job = after(job, &[EventKind::Claim, kind]);
    }
    job = after(job, &[EventKind::Claim, EventKind::FailRetry, EventKind::Claim]);
    assert_eq!((job.attempt, job.failures), (Attempt(5), 1));
    assert_eq!(step(&job, &event(EventKind::FailRetry), 3_000).after.status, Status::Dead);
}

#[test]
fn a_job_is_dead_when_its_lost_workers_in_a_row_reach_the_crash_limit() {
    for limit in 1..5 {
        let mut job = JobState { crash_limit: limit, ..new_job() };
        for crash in 1..limit {
            assert!(!job.is_suspect(), "more than one crash below a limit of {limit}");
            job = after(job, &[EventKind::Claim, EventKind::LoseWorker]);
            assert_eq!((job.status, job.crashes), (Status::UnknownRetry, crash));
        }
        assert!(job.is_suspect(), "one crash below a limit of {limit}");
        job = after(job, &[EventKind::Claim, EventKind::LoseWorker]);
        assert_eq!(job.status, Status::Dead, "limit {limit}");
        assert_eq!(job.finalized_at, Some(at(2_001)));
    }
}

#[test]
fn an_answered_attempt_breaks_the_row_of_crashes() {
    let answers = [EventKind::FailRetry, EventKind::Release, EventKind::Suspend].map(event);
    for answer in answers.into_iter().chain([stream_ended()]) {
        let mut job = JobState { crash_limit: 2, ..new_job() };
        for _ in 0..5 {
            job = after(job, &[EventKind::Claim, EventKind::LoseWorker, EventKind::Claim]);
            assert!(job.is_suspect());
            job = step(&job, &answer, 3_000).after;
            assert!(!job.is_suspect() && !job.status.is_final(), "{answer:?}");
        }
    }
}

#[test]
fn a_cancelled_job_whose_worker_is_lost_is_never_dead() {
    let job = JobState { crash_limit: 1, ..job(Status::Cancelling) };
    assert_eq!(step(&job, &Event::LoseWorker, 3_000).after.status, Status::UnknownStopped);
}

#[test]
fn the_end_of_a_stream_is_no_failure_of_its_jobs() {
    let job_at_its_end = JobState {
        max_attempts: Some(1),
        crash_limit: 1,
        backoff: Backoff::fixed(Duration::from_secs(9)),
        ..job(Status::Running)
    };
    let ended = step(&job_at_its_end, &stream_ended(), 3_000);
    assert_eq!(ended.event, EventKind::FailRetry);
    assert_eq!((ended.after.status, ended.after.failures), (Status::FailedRetry, 0));
    assert_eq!((ended.after.run_at, ended.after.due), (at(3_000), true), "due at once");
    let error = ended.error.unwrap();
    assert_eq!((error.message.as_str(), error.kind), ("stream ended", Some(FailureKind::StreamEnded)));

    let cancelled = step(&job(Status::Cancelling), &stream_ended(), 3_000);
    assert_eq!((cancelled.after.status, cancelled.event), (Status::UnknownStopped, EventKind::UnknownStop));

    for job in one_of_each().iter().filter(|job| job.phase() != Phase::Held) {
        let rejected = decide(job, &stream_ended(), None, at(3_000)).unwrap_err();
        assert!(matches!(rejected, Rejected::Illegal { .. }), "a job the stream does not hold: {rejected}");
    }
}

#[test]
fn what_went_wrong_is_kept_and_an_empty_stop_message_is_nothing() {
    use EventKind as E;
    let stop = |message: &str| Event::Stop { message: message.to_owned() };
    let crashed = Some(("the worker was lost", Some(FailureKind::Crashed)));
    let expired = Some(("not started by its deadline", Some(FailureKind::Expired)));
    let panicked = Failure::new("boom").kind(FailureKind::Panic);
    let cases = [
        (Status::Running, fail(panicked), Some(("boom", Some(FailureKind::Panic)))),
        (Status::Running, stop("enough"), Some(("enough", None))),
        (Status::Running, stop(""), None),
        (Status::Cancelling, event(E::StopFailed), Some(("message", None))),
        (Status::Cancelling, acknowledge(false), None),
        (Status::Running, Event::LoseWorker, crashed),
        (Status::Cancelling, Event::LoseWorker, crashed),
        (Status::InitialPending, Event::Expire, expired),
        (Status::Running, event(E::Complete), None),
        (Status::Running, Event::Release, None),
        (Status::Dead, Event::Retry, None),
    ];
    for (status, event, expected) in cases {
        let transition = step(&job(status), &event, 3_000);
        let error = transition.error.as_ref().map(|error| (error.message.as_str(), error.kind));
        assert_eq!(error, expected, "{status} and {event:?}");
        let entry = transition.history();
        assert_eq!(entry.message.as_deref(), expected.map(|(message, _)| message));
        assert_eq!((entry.from, entry.to, entry.at), (status, transition.after.status, at(3_000)));
        assert_eq!((entry.event, entry.attempt), (transition.event, transition.after.attempt));
    }
}
