use super::*;

/// Everything a worker can report.
fn reports() -> Vec<Event> {
    use EventKind as E;
    let kinds = [E::Complete, E::FailRetry, E::Stop, E::StopFailed, E::UnknownStop, E::Release, E::Suspend];
    let others = [stream_ended(), acknowledge(true), acknowledge(false), Event::LoseWorker, Event::Cancel];
    kinds.map(event).into_iter().chain(others).collect()
}

#[test]
fn a_lease_of_another_attempt_is_stale_whatever_the_status() {
    for mut job in one_of_each() {
        job.attempt = Attempt(2);
        for event in reports() {
            for given in [Attempt(0), Attempt(1), Attempt(3), Attempt(u32::MAX)] {
                let rejected = decide(&job, &event, Some(given), at(3_000)).unwrap_err();
                let stale = Rejected::StaleAttempt { id: job.id, given, current: Attempt(2) };
                assert_eq!(rejected, stale, "{} and {event:?}", job.status);
            }
        }
    }
}

#[test]
fn the_current_lease_does_what_the_bare_id_does() {
    for job in one_of_each() {
        for kind in EventKind::ALL {
            let by_id = decide(&job, &event(*kind), None, at(3_000));
            let by_lease = decide(&job, &event(*kind), Some(job.attempt), at(3_000));
            match by_id {
                Ok(mut expected) => {
                    if !expected.is_noop() {
                        expected.after.last_reported = Some(*kind);
                    }
                    assert_eq!(by_lease, Ok(expected), "{} and {kind}", job.status);
                }
                Err(_) => assert!(by_lease.is_err(), "{} and {kind}", job.status),
            }
        }
    }
}

#[test]
fn the_same_report_by_the_same_lease_is_already_applied_while_its_outcome_stands() {
    use EventKind as E;
    let reported = [
        (Status::Running, event(E::Complete)),
        (Status::Running, event(E::FailRetry)),
        (Status::Running, fail(Failure::new("given up").no_retry())),
        (Status::Running, event(E::Stop)),
        (Status::Running, event(E::UnknownStop)),
        (Status::Running, event(E::Release)),
        (Status::Running, event(E::Suspend)),
        (Status::Running, event(E::LoseWorker)),
        (Status::Running, stream_ended()),
        (Status::Cancelling, event(E::Complete)),
        (Status::Cancelling, event(E::Stop)),
        (Status::Cancelling, event(E::StopFailed)),
        (Status::Cancelling, event(E::Release)),
        (Status::Cancelling, event(E::Suspend)),
        (Status::Cancelling, acknowledge(true)),
        (Status::Cancelling, acknowledge(false)),
        (Status::Cancelling, stream_ended()),
        (Status::UnknownRetry, event(E::Complete)),
        (Status::UnknownRetry, event(E::FailRetry)),
        (Status::UnknownRetry, event(E::Stop)),
        (Status::UnknownRetry, event(E::UnknownStop)),
        (Status::UnknownStopped, event(E::Complete)),
    ];
    for (from, event) in reported {
        let job = job(from);
        let transition = decide(&job, &event, Some(job.attempt), at(3_000)).unwrap();
        let (kind, after) = (transition.event, transition.after);
        let rejected = refusal(&after, &event, 3_001);
        assert_eq!(rejected, already(&after, kind), "{from} and {event:?}");
        let by_id = decide(&after, &event, None, at(3_001)).unwrap_err();
        assert_eq!(by_id, illegal(&after, kind), "a bare id has reported nothing");
    }
}

/// Someone completed the job by its bare id: the worker's own completion was never applied, so it is told no.
#[test]
fn what_was_reported_by_a_bare_id_is_no_repetition_by_the_lease() {
    for kind in [EventKind::Complete, EventKind::FailRetry, EventKind::Stop] {
        let after = step(&job(Status::Running), &event(kind), 3_000).after;
        assert_eq!(refusal(&after, &event(kind), 3_001), illegal(&after, kind), "{kind}");
    }
}

#[test]
fn a_repeated_report_is_illegal_once_its_outcome_is_gone() {
    use EventKind as E;
    let cases: [(&[EventKind], EventKind); 6] = [
        (&[E::Claim, E::FailRetry, E::Cancel], E::FailRetry),
        (&[E::Claim, E::FailRetry, E::Pause], E::FailRetry),
        (&[E::Claim, E::Stop, E::Retry], E::Stop),
        (&[E::Claim, E::UnknownStop, E::Complete], E::UnknownStop),
        (&[E::Claim, E::Suspend, E::Cancel], E::Suspend),
        (&[E::Claim, E::Release, E::FailRetry], E::Release),
    ];
    for (events, repeated) in cases {
        let job = after(new_job(), events);
        assert_eq!(job.attempt, Attempt(1));
        assert_eq!(refusal(&job, &event(repeated), 3_000), illegal(&job, repeated), "{events:?}");
    }
}

#[test]
fn another_report_by_the_same_lease_is_illegal() {
    use EventKind as E;
    let cases = [
        (Status::Completed, E::FailRetry),
        (Status::Completed, E::Stop),
        (Status::Stopped, E::Complete),
        (Status::FailedRetry, E::Complete),
        (Status::Waiting, E::Complete),
    ];
    for (status, kind) in cases {
        let job = job(status);
        assert_eq!(refusal(&job, &event(kind), 3_000), illegal(&job, kind), "{status} and {kind}");
    }
}

#[test]
fn a_late_completion_is_accepted_by_bare_id_or_last_lease_where_the_worker_was_given_up() {
    let complete = event(EventKind::Complete);
    for status in [Status::UnknownRetry, Status::UnknownStopped] {
        let job = job(status);
        for fence in [None, Some(job.attempt)] {
            let late = decide(&job, &complete, fence, at(3_000)).unwrap();
            assert_eq!(late.after.status, Status::Completed, "{status} by {fence:?}");
            assert_eq!(late.after.finalized_at, Some(at(3_000)));
            assert!(!late.took_slot() && !late.freed_slot());
        }
    }
    let claimed_again = after(job(Status::UnknownRetry), &[EventKind::Claim]);
    let rejected = decide(&claimed_again, &complete, Some(Attempt(1)), at(3_000)).unwrap_err();
    assert!(matches!(rejected, Rejected::StaleAttempt { .. }), "{rejected}");
}

#[test]
fn a_late_completion_of_a_paused_or_dead_job_is_illegal() {
    let crashed = after(JobState { crash_limit: 1, ..new_job() }, &[EventKind::Claim, EventKind::LoseWorker]);
    assert_eq!(crashed.status, Status::Dead);
    for job in rememberable().map(paused).chain([job(Status::Dead), crashed]) {
        for fence in [None, Some(job.attempt)] {
            let rejected = decide(&job, &event(EventKind::Complete), fence, at(3_000)).unwrap_err();
            assert_eq!(rejected, illegal(&job, EventKind::Complete), "{} by {fence:?}", job.status);
        }
    }
}
