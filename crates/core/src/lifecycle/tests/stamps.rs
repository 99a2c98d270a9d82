use super::*;

/// Every step that any job can make, the ones that counters turn to `Dead` included.
fn all_steps() -> Vec<Transition> {
    let last_crash = JobState { crash_limit: 1, ..job(Status::Running) };
    let jobs = one_of_each().into_iter().chain([last_crash]);
    let plain = EventKind::ALL.iter().map(|kind| event(*kind));
    let special =
        [fail(Failure::new("no").no_retry()), stream_ended(), acknowledge(true), acknowledge(false)];
    let events: Vec<Event> = plain.chain(special).collect();
    let verdicts = jobs.flat_map(|job| {
        let verdict = |event: &Event| decide(&job, event, None, at(3_000)).ok();
        events.iter().filter_map(verdict).collect::<Vec<_>>()
    });
    verdicts.collect()
}

#[test]
fn slots_and_claims_follow_from_the_two_phases() {
    let mut seen = std::collections::BTreeSet::new();
    for step in all_steps() {
        let phases = (step.before.phase(), step.after.phase());
        let (took, freed, ready) = match phases {
            (Phase::Ready, Phase::Held) => (true, false, false),
            (Phase::Held, Phase::Ready) => (false, true, true),
            (Phase::Held, Phase::Final) => (false, true, false),
            (Phase::Ready, Phase::Ready) | (Phase::Parked | Phase::Final, Phase::Ready) => {
                (false, false, true)
            }
            _ => (false, false, false),
        };
        let found = (step.took_slot(), step.freed_slot(), step.became_ready());
        assert_eq!(found, (took, freed, ready), "{} to {}", step.before.status, step.after.status);
        let cancel_requested = step.event == EventKind::Cancel && !step.is_noop() && phases.1 == Phase::Held;
        assert_eq!(step.requested_cancel(), cancel_requested);
        seen.insert(phases);
    }
    use Phase::{Final, Held, Parked, Ready};
    let expected = [
        (Ready, Ready),
        (Ready, Held),
        (Ready, Parked),
        (Ready, Final),
        (Held, Ready),
        (Held, Held),
        (Held, Final),
        (Parked, Ready),
        (Parked, Parked),
        (Parked, Final),
        (Final, Ready),
        (Final, Final),
    ];
    assert_eq!(seen, expected.into());
}

#[test]
fn every_final_status_has_the_time_of_its_end_and_no_other_status_has_one() {
    let mut finals = StatusSet::EMPTY;
    for step in all_steps() {
        let expected = step.after.status.is_final().then_some(at(3_000));
        assert_eq!(step.after.finalized_at, expected, "{} to {}", step.before.status, step.after.status);
        if expected.is_some() {
            finals = finals.with(step.after.status);
        }
    }
    assert_eq!(finals, StatusSet::of_phase(Phase::Final));
}

#[test]
fn a_late_completion_moves_the_end() {
    let ended = job(Status::UnknownStopped);
    assert_eq!(ended.finalized_at, Some(at(2_001)));
    let late = step(&ended, &event(EventKind::Complete), 9_000).after;
    assert_eq!(late, JobState { status: Status::Completed, finalized_at: Some(at(9_000)), ..ended });
}

#[test]
fn a_retry_starts_the_job_anew_and_keeps_what_it_went_through() {
    for status in [Status::Dead, Status::Stopped, Status::Unscheduled, Status::UnknownStopped] {
        let ended = JobState { failures: 3, crashes: 2, retry_count: 5, run_at: at(77), ..job(status) };
        let retried = step(&ended, &Event::Retry, 9_000);
        assert_eq!(retried.error, None, "the last error is kept");
        assert_eq!(
            retried.after,
            JobState {
                status: Status::FailedRetry,
                finalized_at: None,
                failures: 0,
                crashes: 0,
                run_at: at(9_000),
                due: true,
                ..ended
            }
        );
    }
}

#[test]
fn a_claim_stamps_its_time_and_only_the_first_one_the_start() {
    let first = step(&new_job(), &event(EventKind::Claim), 3_000).after;
    assert_eq!((first.started_at, first.assigned_at), (Some(at(3_000)), Some(at(3_000))));
    assert_eq!(first.assignee.as_deref(), Some("worker"));
    let failed = step(&first, &event(EventKind::FailRetry), 4_000).after;
    assert_eq!(failed.last_retry_at, Some(at(4_000)));
    assert_eq!((&failed.assignee, failed.assigned_at), (&first.assignee, first.assigned_at), "for history");
    let other = Event::Claim { assignee: AssigneeId::new("other").unwrap() };
    let second = step(&failed, &other, 5_000).after;
    assert_eq!((second.started_at, second.assigned_at), (Some(at(3_000)), Some(at(5_000))));
    assert_eq!(second.assignee.as_deref(), Some("other"));
}

#[test]
fn only_a_failure_stamps_the_last_retry() {
    for step in all_steps().iter().filter(|step| !step.is_noop()) {
        let expected = match step.event {
            EventKind::FailRetry => Some(at(3_000)),
            _ => step.before.last_retry_at,
        };
        assert_eq!(step.after.last_retry_at, expected, "{} by {}", step.before.status, step.event);
    }
}

#[test]
fn a_failed_job_moves_in_the_order_to_where_its_delay_puts_it() {
    let second = Duration::from_secs(1);
    let backoff = Backoff::Exponential { first: second, ceiling: 60 * second, jitter: false };
    let jittery = Backoff::exponential(second, 60 * second);
    let failure = || Failure::new("no");
    let cases = [
        (Backoff::None, 0, failure(), 0, 0),
        (backoff, 0, failure(), 0, 1_000_000),
        (backoff, 3, failure(), 0, 8_000_000),
        (jittery, 3, failure(), u64::MAX / 2 + 1, 4_000_000),
        (backoff, 3, failure().retry_after(5 * second), 0, 5_000_000),
        (backoff, 3, failure().retry_after(Duration::ZERO), 0, 0),
    ];
    for from in [Status::Running, Status::UnknownRetry] {
        for (backoff, failures, failure, random, delay) in &cases {
            let job = JobState { backoff: *backoff, failures: *failures, ..job(from) };
            let event = Event::FailRetry { failure: failure.clone(), random: *random };
            let failed = step(&job, &event, 3_000);
            assert_eq!(failed.after.run_at, at(3_000 + delay), "{backoff:?} after {failures} failures");
            assert_eq!(failed.after.due, *delay == 0);
            assert_eq!(failed.became_ready(), *delay == 0);
        }
    }
}

#[test]
fn a_lost_released_or_resumed_job_keeps_its_place_in_the_order() {
    let running = JobState { run_at: at(-5), sequence: 9, ..job(Status::Running) };
    let waiting = JobState { run_at: at(-5), sequence: 9, ..paused(Status::FailedRetry) };
    for (job, event) in [(&running, Event::LoseWorker), (&running, Event::Release), (&waiting, Event::Resume)]
    {
        let back = step(job, &event, 3_000).after;
        assert_eq!(back.order_key(), (Priority::NORMAL, at(-5), 9), "{event:?}");
    }
}

#[test]
fn a_due_job_stays_due_when_the_clock_goes_back() {
    let long_ago = -1_000_000_000;
    for (job, event) in [
        (job(Status::Running), Event::LoseWorker),
        (job(Status::Running), Event::Release),
        (paused(Status::InitialPending), Event::Resume),
        (paused(Status::FailedRetry), Event::Resume),
    ] {
        assert!(job.due && job.run_at > at(long_ago));
        let back = step(&job, &event, long_ago);
        assert!(back.after.is_claimable() && back.became_ready(), "{event:?}");
        assert!(decide(&back.after, &self::event(EventKind::Claim), None, at(long_ago)).is_ok());
    }
}

#[test]
fn a_pause_keeps_everything_and_a_resumed_job_is_due_when_its_time_came_meanwhile() {
    for remembered in rememberable() {
        let before = job(remembered);
        let after = after(before.clone(), &[EventKind::Pause, EventKind::Resume]);
        assert_eq!(after, before);
    }
    let future = JobState { due: false, run_at: at(5_000), ..new_job() };
    let paused = step(&future, &Event::Pause, 3_000);
    assert!(!paused.after.is_claimable());
    let early = step(&paused.after, &Event::Resume, 4_999);
    assert!(!early.after.due && !early.became_ready());
    let late = step(&paused.after, &Event::Resume, 5_000);
    assert!(late.after.is_claimable() && late.became_ready());
}

#[test]
fn a_suspended_job_is_due_at_its_timer_and_not_before() {
    let cases = [(at(2_999), true), (at(3_000), true), (at(3_001), false), (Timestamp::NEVER, false)];
    for (until, due) in cases {
        let suspended = step(&job(Status::Running), &Event::Suspend { until }, 3_000);
        assert_eq!((suspended.after.run_at, suspended.after.due), (until, due));
        assert!(suspended.freed_slot());
        assert!(suspended.after.promoted().is_claimable());
    }
    let cancelled = job(Status::Cancelling);
    let stopped = step(&cancelled, &Event::Suspend { until: at(9_000) }, 3_000).after;
    assert_eq!((stopped.status, stopped.run_at), (Status::Stopped, cancelled.run_at));
}

#[test]
fn a_new_job_is_due_by_its_start_and_a_start_in_the_past_is_kept() {
    let micros = Duration::from_micros;
    let cases = [
        (Start::Now, BIRTH, true),
        (Start::At(at(-9)), at(-9), true),
        (Start::At(BIRTH), BIRTH, true),
        (Start::At(at(1_001)), at(1_001), false),
        (Start::After(Duration::ZERO), BIRTH, true),
        (Start::After(micros(1)), at(1_001), false),
        (Start::At(Timestamp::NEVER), Timestamp::NEVER, false),
    ];
    for (start, run_at, due) in cases {
        let job = JobState::admit(&Admission { start, ..admission() }, 1, BIRTH);
        assert_eq!((job.run_at, job.due, job.is_claimable()), (run_at, due, due), "{start:?}");
        assert_eq!((job.status, job.attempt), (Status::InitialPending, Attempt(0)));
    }
    let careless = JobState::admit(&Admission { crash_limit: 0, ..admission() }, 1, BIRTH);
    assert_eq!(careless.crash_limit, 1);
}

#[test]
fn the_order_is_by_priority_then_due_time_then_sequence() {
    let place = |priority, run_at, sequence| {
        JobState { priority: Priority(priority), run_at: at(run_at), sequence, ..new_job() }.order_key()
    };
    let ordered =
        [place(-1, 9, 9), place(0, -5, 9), place(0, 1, 1), place(0, 1, 2), place(0, 2, 1), place(1, 0, 0)];
    assert!(ordered.is_sorted() && ordered.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_key_is_held_exactly_while_its_job_is_not_over() {
    for step in all_steps() {
        assert_eq!(consequences(&step).unique_key, KeyChange::Keep, "a job without a key");
        let key = UniqueKey::new("key").ok();
        let with_key = Transition {
            before: JobState { unique_key: key.clone(), ..step.before },
            after: JobState { unique_key: key, ..step.after },
            ..step
        };
        let expected = match (with_key.before.finalized_at, with_key.after.finalized_at) {
            (None, Some(_)) => KeyChange::Release,
            (Some(_), None) => KeyChange::Take,
            _ => KeyChange::Keep,
        };
        let case = format!("{} to {}", with_key.before.status, with_key.after.status);
        assert_eq!(consequences(&with_key).unique_key, expected, "{case}");
    }
}
