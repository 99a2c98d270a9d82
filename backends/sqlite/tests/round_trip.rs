//! What goes in comes out, in the same process and in the next.

mod support;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{Attempt, Cursor, Detail, JobId, Reader, Store, Timestamp};
use poolqueue_core::{
    Backoff, ContentType, Counts, FailureKind, Filter, Lease, NewJob, Phase, Query, Snapshot, Status,
    StatusSet, Tags, Verification,
};
use std::time::Duration;
use support::{Rig, apply_kept, at, claim, complete, fail, id, job};

fn full_job(number: u64) -> NewJob {
    NewJob::json("kind:a/b", &["payload"])
        .id(id(number))
        .queue("mail")
        .tags(["b", "a", "ü"])
        .meta("key", "value")
        .meta("empty", "")
        .priority(-7)
        .run_after(Duration::from_micros(3))
        .max_attempts(4)
        .crash_limit(2)
        .backoff(Backoff::exponential(Duration::from_nanos(1_500), Duration::from_secs(60)))
        .timeout(Duration::from_millis(1))
        .unique("only one")
        .expires_after(Duration::from_secs(1))
}

#[test]
fn a_job_with_everything_comes_back_as_it_was_in_the_next_process() {
    let mut rig = Rig::default();
    rig.insert([full_job(1)], 1_000);
    let before = rig.get(id(1)).unwrap();
    assert_eq!(before.queue, "mail");
    assert_eq!(before.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["a", "b", "ü"]);
    assert_eq!(before.content_type, ContentType::Json);
    let state = rig.run(|txn| txn.load(id(1))).unwrap();
    rig.verify();
    let mut rig = rig.restart();
    assert_eq!(rig.get(id(1)), Some(before));
    assert_eq!(rig.run(|txn| txn.load(id(1))).unwrap(), state);
    rig.verify();
}

#[test]
fn a_life_with_failures_and_an_output_is_kept_with_its_history() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 10);
    assert_eq!(rig.ready(9), [id(1)]);
    rig.apply(id(1), claim(), 20);
    assert_eq!(rig.ready(9), []);
    assert_eq!(rig.snapshot().held().unwrap(), [Lease { id: id(1), attempt: Attempt(1) }]);
    rig.apply(id(1), fail("no luck"), 30);
    rig.apply(id(1), claim(), 40);
    rig.apply(id(1), complete("done"), 50);
    let rig = rig.restart();
    let kept = rig.get(id(1)).unwrap();
    assert_eq!(kept.status, Status::Completed);
    assert_eq!((kept.attempt, kept.failures, kept.retry_count), (Attempt(2), 1, 1));
    assert_eq!(kept.output.as_deref(), Some(b"done".as_slice()));
    let error = kept.last_error.unwrap();
    assert_eq!((error.message.as_str(), error.kind), ("no luck", Some(FailureKind::Error)));
    let (history, dropped) = rig.history(id(1));
    assert_eq!(dropped, 0);
    let steps: Vec<(i64, Status)> = history.iter().map(|entry| (entry.at.as_micros(), entry.to)).collect();
    use Status::{Completed, FailedRetry, Running};
    assert_eq!(steps, [(20, Running), (30, FailedRetry), (40, Running), (50, Completed)]);
    assert_eq!(history[1].message.as_deref(), Some("no luck"));
    assert_eq!(rig.snapshot().held().unwrap(), []);
    rig.verify();
}

#[test]
fn an_empty_output_and_none_are_told_apart_and_a_late_one_replaces() {
    let mut rig = Rig::default();
    rig.insert((1..=3).map(job), 10);
    for (number, output) in [(1, poolqueue_core::Output::none()), (2, "".into()), (3, "first".into())] {
        rig.apply(id(number), claim(), 20);
        rig.apply(id(number), Event::Complete { output }, 30);
    }
    let output = |rig: &Rig, number| rig.get(id(number)).unwrap().output;
    assert_eq!(output(&rig, 1), None);
    assert_eq!(output(&rig, 2), Some(Vec::new()));
    rig.insert([job(4)], 40);
    rig.apply(id(4), claim(), 50);
    rig.apply(id(4), Event::UnknownStop { message: "gone".into() }, 60);
    rig.apply(id(4), complete("late"), 70);
    let late = rig.get(id(4)).unwrap();
    assert_eq!(late.output.as_deref(), Some(b"late".as_slice()));
    assert_eq!(late.last_error.unwrap().message, "gone");
    rig.verify();
}

#[test]
fn a_finished_job_that_is_retried_moves_back_and_keeps_its_outcome() {
    let mut rig = Rig::default();
    rig.insert([job(1).unique("key")], 10);
    rig.apply(id(1), Event::Cancel, 20);
    assert_eq!(rig.counts().of(Status::Unscheduled), 1);
    rig.apply(id(1), Event::Retry, 30);
    assert_eq!(rig.ready(1), [id(1)]);
    rig.apply(id(1), claim(), 40);
    rig.apply(id(1), Event::Stop { message: "stopped".into() }, 50);
    rig.apply(id(1), Event::Retry, 60);
    rig.verify();
    let mut rig = rig.restart();
    assert_eq!(rig.get(id(1)).unwrap().last_error.unwrap().message, "stopped");
    assert_eq!(rig.ready(1), [id(1)]);
    rig.verify();
}

#[test]
fn history_longer_than_its_row_is_spilled_and_read_back_in_order() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    for round in 0..60 {
        rig.apply(id(1), claim(), 2 * round);
        rig.apply(id(1), fail(&format!("failure {round}")), 2 * round + 1);
    }
    rig.verify();
    let rig = rig.restart();
    let (history, dropped) = rig.history(id(1));
    assert_eq!((history.len(), dropped), (120, 0));
    assert!(history.iter().map(|entry| entry.at.as_micros()).eq(0..120));
    assert_eq!(history[119].message.as_deref(), Some("failure 59"));
    rig.verify();
}

#[test]
fn no_more_history_is_kept_than_was_asked_for_and_the_rest_is_counted() {
    for most in [0, 1, 5, 16, 17, 40, 100] {
        let mut rig = Rig::default();
        rig.insert([job(1)], 0);
        for now in 0..90 {
            let message = if now % 7 == 1 { "x".repeat(1500) } else { "short".to_owned() };
            let event = if now % 2 == 0 { claim() } else { fail(&message) };
            rig.run(|txn| apply_kept(txn, id(1), &event, now, most));
            let (history, dropped) = rig.history(id(1));
            let made = usize::try_from(now).unwrap() + 1;
            assert_eq!(history.len(), made.min(most), "of {most} after {made}");
            assert_eq!(dropped, made.saturating_sub(most) as u64);
            let first = made - history.len();
            assert!(history.iter().map(|entry| entry.at.as_micros()).eq(first as i64..made as i64));
        }
        rig.verify();
        // Asking for less later cuts what is there already.
        rig.run(|txn| apply_kept(txn, id(1), &claim(), 1000, 2));
        let (history, dropped) = rig.history(id(1));
        assert_eq!(history.len() as u64 + dropped, 91);
        assert!(history.len() <= 2);
        rig.verify();
    }
}

#[test]
fn a_deleted_job_leaves_nothing_behind() {
    let mut rig = Rig::default();
    rig.insert([job(1).unique("key"), job(2)], 0);
    for round in 0..30 {
        rig.apply(id(1), claim(), round);
        rig.apply(id(1), fail("again"), round);
    }
    rig.apply(id(1), claim(), 98);
    rig.apply(id(1), complete("done"), 99);
    let state = rig.run(|txn| txn.load(id(1))).unwrap();
    rig.run(|txn| txn.delete(&state));
    assert_eq!(rig.get(id(1)), None);
    assert_eq!(rig.snapshot().history(id(1)).unwrap(), None);
    assert_eq!(rig.counts().total(), 1);
    assert_eq!(rig.counts().retries, 0);
    rig.verify();
    let mut rig = rig.restart();
    assert_eq!(rig.get(id(1)), None);
    assert_eq!(rig.ready(9), [id(2)]);
    rig.verify();
}

#[test]
fn unique_keys_and_records_are_kept() {
    let mut rig = Rig::default();
    rig.insert([job(1).unique("key")], 0);
    rig.run(|txn| txn.put_record("schedule/a", Some((3, b"value"))));
    rig.run(|txn| txn.put_record("schedule/b", Some((1, b""))));
    rig.run(|txn| txn.put_record("schedule/b", None));
    let mut rig = rig.restart();
    let (queue, key) = (Default::default(), poolqueue_core::UniqueKey::new("key").unwrap());
    assert_eq!(rig.run(|txn| txn.key_holder(&queue, &key)), Some(id(1)));
    assert_eq!(rig.run(|txn| txn.record_version("schedule/a")), 3);
    assert_eq!(rig.run(|txn| txn.record_version("schedule/b")), 0);
    assert_eq!(rig.snapshot().record("schedule/a").unwrap(), Some((3, b"value".to_vec())));
    assert_eq!(rig.snapshot().record("schedule/b").unwrap(), None);
    rig.verify();
}

#[test]
fn jobs_become_due_at_their_time_and_stay_due() {
    let mut rig = Rig::default();
    let later = |number: u64, span| job(number).run_after(Duration::from_micros(span));
    rig.insert([later(1, 30), later(2, 10), later(3, 20), job(4)], 100);
    assert_eq!(rig.ready(9), [id(4)]);
    assert_eq!(rig.run(|txn| txn.next_timer()), Some(at(110)));
    assert_eq!(rig.run(|txn| txn.promote(at(109), 9)), 0);
    assert_eq!(rig.run(|txn| txn.promote(at(120), 1)), 1);
    assert_eq!(rig.ready(9), [id(4), id(2)]);
    assert_eq!(rig.run(|txn| txn.promote(at(120), 9)), 1);
    let mut rig = rig.restart();
    assert_eq!(rig.ready(9), [id(4), id(2), id(3)]);
    assert_eq!(rig.run(|txn| txn.next_timer()), Some(at(130)));
    rig.verify();
}

#[test]
fn deadlines_are_found_and_a_job_without_a_due_time_has_no_timer() {
    let mut rig = Rig::default();
    let (soon, late) = (Duration::from_micros(50), Duration::from_secs(1));
    rig.insert([job(1), job(2).expires_after(soon), job(3).expires_after(late)], 100);
    rig.apply(id(1), claim(), 110);
    rig.apply(id(1), Event::Suspend { until: Timestamp::NEVER }, 120);
    assert_eq!(rig.run(|txn| txn.next_timer()), Some(at(150)));
    let expired = rig.run(|txn| txn.expired(at(150), 9));
    assert_eq!(expired.iter().map(|state| state.id).collect::<Vec<_>>(), [id(2)]);
    rig.apply(id(2), Event::Expire, 150);
    rig.apply(id(3), claim(), 160);
    assert_eq!(rig.run(|txn| txn.next_timer()), None);
    rig.verify();
}

#[test]
fn sequences_are_never_given_out_twice() {
    let mut rig = Rig::default();
    let next = |rig: &mut Rig| rig.run(|txn| txn.next_sequence());
    rig.insert([job(1)], 0);
    assert_eq!(next(&mut rig), 2);
    rig.insert([job(2)], 0);
    let last = rig.get(id(2)).unwrap().sequence;
    let mut rig = rig.restart();
    assert_eq!(next(&mut rig), last + 1);
    // One that was given out and not kept is free again; nobody has seen it.
    let rolled_back = rig.store.transact(&mut |txn| {
        assert_eq!(txn.next_sequence()?, last + 2);
        Ok(poolqueue_core::Verdict::Rollback)
    });
    assert!(rolled_back.is_ok());
    assert_eq!(next(&mut rig), last + 2);
    // The sequence of a deleted job is not given out again.
    rig.insert([job(3)], 0);
    let last = rig.get(id(3)).unwrap().sequence;
    let state = rig.run(|txn| txn.load(id(3))).unwrap();
    rig.run(|txn| txn.delete(&state));
    assert_eq!(next(&mut rig), last + 1);
}

#[test]
fn lists_are_in_order_of_ids_page_by_page_whatever_table_a_job_is_in() {
    let mut rig = Rig::default();
    rig.insert((1..=20).map(|n| job(n).tag(if n % 3 == 0 { "three" } else { "other" })), 0);
    for number in [2, 3, 8, 9, 20] {
        rig.apply(id(number), claim(), 1);
        if number != 8 {
            rig.apply(id(number), complete("done"), 2);
        }
    }
    let cases: Vec<(Filter, Vec<u64>)> = vec![
        (Filter::everything(), (1..=20).collect()),
        (Filter::with_statuses(StatusSet::EMPTY.with(Status::Completed)), vec![2, 3, 9, 20]),
        (Filter::with_statuses(StatusSet::of_phase(Phase::Held)), vec![8]),
        (Filter { ids: Some(vec![id(9), id(2), id(2), id(77)]), ..Filter::default() }, vec![2, 9]),
        (
            Filter {
                tags: Some(Tags::all(["three"]).checked().unwrap()),
                ids: Some(vec![id(1)]),
                ..Filter::default()
            },
            vec![1, 3, 6, 9, 12, 15, 18],
        ),
        (Filter { finalized_before: Some(at(2)), ..Filter::default() }, vec![]),
    ];
    for (filter, expected) in cases {
        for limit in [1, 2, 7, 20, 21] {
            let mut seen = Vec::new();
            let mut after: Option<Cursor> = None;
            loop {
                let query = Query { filter: filter.clone(), after, limit, detail: Detail::Full };
                let page = rig.snapshot().select(&query).unwrap();
                seen.extend(page.jobs.iter().map(|job| job.id));
                assert!(page.next.is_none() || page.jobs.len() == limit);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected.iter().copied().map(id).collect::<Vec<JobId>>(), "{filter:?}");
        }
        let counts = rig.snapshot().count(&filter).unwrap();
        assert_eq!(counts.total(), expected.len() as u64, "{filter:?}");
    }
}

#[test]
fn a_state_only_list_leaves_the_body_empty() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    let query = Query { filter: Filter::everything(), after: None, limit: 9, detail: Detail::State };
    let page = rig.snapshot().select(&query).unwrap();
    assert_eq!(page.jobs[0].payload, b"");
    assert_eq!(rig.get(id(1)).unwrap().payload, b"payload 1");
}

#[test]
fn counters_by_status_agree_with_counting() {
    let mut rig = Rig::default();
    rig.insert((1..=6).map(job), 0);
    for number in 1..=4 {
        rig.apply(id(number), claim(), 1);
        rig.apply(id(number), fail("once"), 2);
    }
    rig.apply(id(1), claim(), 3);
    rig.apply(id(1), complete(""), 4);
    let everything = rig.counts();
    assert_eq!((everything.total(), everything.retries), (6, 4));
    let completed = Filter::with_statuses(StatusSet::EMPTY.with(Status::Completed));
    let mut expected = Counts::default();
    expected.set(Status::Completed, 1);
    expected.retries = 1;
    assert_eq!(rig.snapshot().count(&completed).unwrap(), expected);
    let rig = rig.restart();
    assert_eq!(rig.counts(), everything);
}

#[test]
fn a_snapshot_sees_what_was_there_when_it_was_made() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    let before = rig.snapshot();
    rig.apply(id(1), claim(), 1);
    rig.insert([job(2)], 2);
    assert_eq!(before.get(&[id(1), id(2)]).unwrap()[0].as_ref().unwrap().status, Status::InitialPending);
    assert_eq!(before.get(&[id(2)]).unwrap(), [None]);
    assert_eq!(before.count(&Filter::everything()).unwrap().total(), 1);
    assert_eq!(before.held().unwrap(), []);
    let held = Filter::with_statuses(StatusSet::of_phase(Phase::Held));
    assert_eq!(before.count(&Filter { kinds: None, assignee: None, ..held }).unwrap().total(), 0);
}

#[test]
fn closing_ends_reads_and_writes_and_leaves_old_snapshots_harmless() {
    let mut rig = Rig::default();
    rig.insert([job(1)], 0);
    let (reader, old) = (rig.store.reader(), rig.snapshot());
    rig.store.close().unwrap();
    let kind = poolqueue_core::BackendErrorKind::Closed;
    assert_eq!(reader.snapshot().unwrap_err().kind(), kind);
    if let Err(error) = old.get(&[id(1)]) {
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(rig.try_run(|txn| txn.load(id(1))).unwrap_err().kind(), kind);
    rig.store.reopen().unwrap();
    assert!(reader.snapshot().unwrap().get(&[id(1)]).unwrap()[0].is_some());
    assert_eq!(reader.health().verification, Verification::Unverified);
    assert!(rig.run(|txn| txn.load(id(1))).is_some());
}
