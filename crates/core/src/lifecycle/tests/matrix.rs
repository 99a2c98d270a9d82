use super::*;

/// The table of DESIGN, part 2, word for word.
const TABLE: &str = "
| from \\ event | Claim | Complete | FailRetry | Stop | StopFailed | UnknownStop | Cancel | LoseWorker | Release | Suspend | Expire | Pause | Resume | Retry |
| InitialPending | Running | | | | | | Unscheduled | | | | Dead | Paused | | |
| FailedRetry | Running | | | | | | Stopped | | | | | Paused | | |
| UnknownRetry | Running | Completed | FailedRetry | Stopped | | UnknownStopped | Stopped | | | | | Paused | | |
| Waiting | Running | | | | | | Stopped | | | | | Paused | | |
| Running | | Completed | FailedRetry | Stopped | | UnknownStopped | Cancelling | UnknownRetry | UnknownRetry | Waiting | | | | |
| Cancelling | | Completed | | Stopped | Stopped | UnknownStopped | Cancelling | UnknownStopped | Stopped | Stopped | | | | |
| Paused | | | | | | | as from its status | | | | as from its status | Paused | its status | |
| UnknownStopped | | Completed | | | | | | | | | | | | FailedRetry |
| Dead, Stopped, Unscheduled | | | | | | | | | | | | | | FailedRetry |
| Completed | | | | | | | | | | | | | | |
";

/// What the table has for a status and an event. Statuses and events are named as in the code.
fn cell(status: Status, event: EventKind) -> &'static str {
    let cells = |line: &'static str| line.split('|').skip(1).map(str::trim);
    let mut lines = TABLE.lines().filter(|line| !line.is_empty());
    let column = lines.next().into_iter().flat_map(cells).position(|name| name == format!("{event:?}"));
    let names_status = |name: &str| name.split(", ").any(|name| name == format!("{status:?}"));
    let mut rows = lines.filter(|line| cells(line).next().is_some_and(names_status));
    let row = rows.next().unwrap_or_else(|| panic!("no row for {status:?}"));
    assert!(rows.next().is_none(), "two rows for {status:?}");
    let column = column.unwrap_or_else(|| panic!("no column for {event:?}"));
    cells(row).nth(column).unwrap_or_else(|| panic!("no cell for {status:?} and {event:?}"))
}

/// The status the table leads to; `remembered` is that of a paused job.
fn expected(status: Status, remembered: Option<Status>, event: EventKind) -> Option<Status> {
    match cell(status, event) {
        "" => None,
        "its status" => remembered,
        "as from its status" => remembered.and_then(|remembered| expected(remembered, None, event)),
        name => Some(*Status::ALL.iter().find(|status| format!("{status:?}") == name).unwrap()),
    }
}

#[test]
fn next_is_the_table_of_the_design() {
    for from in Status::ALL {
        for event in EventKind::ALL {
            assert_eq!(next(*from, *event), expected(*from, None, *event), "{from} and {event}");
        }
    }
    for remembered in rememberable() {
        for event in EventKind::ALL {
            let to = expected(Status::Paused, Some(remembered), *event);
            assert_eq!(next_paused(remembered, *event), to, "paused from {remembered} and {event}");
        }
    }
}

#[test]
fn every_job_follows_the_table_and_says_illegal_where_it_is_blank() {
    for job in one_of_each() {
        for kind in EventKind::ALL {
            let case = format!("{} (remembers {:?}) and {kind}", job.status, job.resumes_to);
            match (expected(job.status, job.resumes_to, *kind), decide(&job, &event(*kind), None, at(3_000)))
            {
                (Some(to), Ok(transition)) => {
                    assert_eq!(transition.after.status, to, "{case}");
                    assert_eq!((&transition.before, transition.event), (&job, *kind), "{case}");
                }
                (None, Err(rejected)) => assert_eq!(rejected, illegal(&job, *kind), "{case}"),
                (to, found) => panic!("{case}: {found:?} instead of {to:?}"),
            }
        }
    }
}

#[test]
fn sources_are_the_table_read_backwards() {
    for kind in EventKind::ALL {
        let jobs = one_of_each().into_iter();
        let accepting = jobs.filter(|job| decide(job, &event(*kind), None, at(3_000)).is_ok());
        assert_eq!(sources(*kind), accepting.map(|job| job.status).collect(), "{kind}");
    }
}

#[test]
fn only_waiting_statuses_can_be_paused_and_so_remembered() {
    let mut expected = StatusSet::of_phase(Phase::Ready);
    assert_eq!(expected, rememberable().collect());
    expected = expected.with(Status::Paused);
    assert_eq!(sources(EventKind::Pause), expected);
}

#[test]
fn unknown_stop_of_a_final_or_never_run_job_is_rejected() {
    let unknown_stop = event(EventKind::UnknownStop);
    let never_run = [Status::InitialPending, Status::Paused].into_iter();
    for status in never_run.chain(StatusSet::of_phase(Phase::Final).iter()) {
        let job = job(status);
        let rejected = decide(&job, &unknown_stop, None, at(3_000)).unwrap_err();
        assert_eq!(rejected, illegal(&job, EventKind::UnknownStop));
    }
}

#[test]
fn cancelling_and_pausing_twice_is_accepted_and_changes_nothing() {
    for (status, kind) in [(Status::Cancelling, EventKind::Cancel), (Status::Paused, EventKind::Pause)] {
        let job = job(status);
        let transition = step(&job, &event(kind), 3_000);
        assert!(transition.is_noop());
        assert_eq!(transition.after, job);
        assert!(!transition.requested_cancel() && !transition.became_ready());
    }
}

#[test]
fn completing_twice_is_an_error() {
    let complete = event(EventKind::Complete);
    let running = job(Status::Running);
    let done = decide(&running, &complete, Some(running.attempt), at(3_000)).unwrap().after;
    let by_id = decide(&done, &complete, None, at(3_000)).unwrap_err();
    assert_eq!(by_id, illegal(&done, EventKind::Complete));
    assert_eq!(refusal(&done, &complete, 3_000), already(&done, EventKind::Complete));
}

#[test]
fn a_cancel_is_acknowledged_only_where_one_was_requested() {
    for (was_executing, kind, to) in
        [(true, EventKind::Stop, Status::Stopped), (false, EventKind::UnknownStop, Status::UnknownStopped)]
    {
        for job in one_of_each() {
            let verdict = decide(&job, &acknowledge(was_executing), None, at(3_000));
            if job.status == Status::Cancelling {
                let transition = verdict.unwrap();
                assert_eq!((transition.after.status, transition.event), (to, kind));
                assert!(transition.freed_slot(), "acknowledged with {was_executing}");
            } else {
                assert_eq!(verdict.unwrap_err(), illegal(&job, kind));
            }
        }
    }
}

#[test]
fn a_job_is_claimed_only_when_due_and_while_it_has_attempts_left_to_count() {
    let claim = event(EventKind::Claim);
    for status in rememberable() {
        let early = JobState { due: false, run_at: at(0), ..job(status) };
        assert_eq!(refusal(&early, &claim, 3_000), illegal(&early, EventKind::Claim), "{status}");
        let last = JobState { attempt: Attempt(u32::MAX - 1), ..job(status) };
        assert_eq!(step(&last, &claim, 3_000).after.attempt, Attempt(u32::MAX));
        let spent = JobState { attempt: Attempt(u32::MAX), ..job(status) };
        assert_eq!(refusal(&spent, &claim, 3_000), illegal(&spent, EventKind::Claim), "{status}");
    }
}

#[test]
fn a_job_expires_only_at_its_deadline_and_only_before_its_first_start() {
    let deadline = BIRTH.plus(Duration::from_micros(500));
    for job in [job(Status::InitialPending), paused(Status::InitialPending)] {
        assert!(job.awaits_deadline());
        assert_eq!(refusal(&job, &Event::Expire, 1_499), illegal(&job, EventKind::Expire));
        let transition = decide(&job, &Event::Expire, None, deadline).unwrap();
        assert_eq!(transition.after.status, Status::Dead);
        assert_eq!(transition.error.unwrap().kind, Some(FailureKind::Expired));
        let patient = JobState { expires_at: None, ..job };
        assert!(!patient.awaits_deadline());
        assert_eq!(refusal(&patient, &Event::Expire, 3_000), illegal(&patient, EventKind::Expire));
    }
    for job in one_of_each().iter().filter(|job| job.attempt > Attempt(0) || job.status.is_final()) {
        assert!(!job.awaits_deadline(), "{}", job.status);
    }
}

#[test]
fn the_generated_table_has_a_row_for_each_status_and_a_column_for_each_event() {
    let table = table_as_markdown();
    assert_eq!(table.lines().count(), 2 + Status::ALL.len());
    assert!(table.lines().all(|line| line.split('|').count() == EventKind::ALL.len() + 3), "{table}");
}
