//! Batches and records as the backend takes them: one transaction, all or each on its own.

use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{Batch, Change, Delete, Detail, Filter, Query, RecordConflict, RecordPut, Slots};
use poolqueue::{
    AssigneeId, BackendErrorKind, EventKind, JobId, Output, Rejected, Status, StatusSet, Target,
};

use super::support::*;
use crate::Fixture;

fn put(key: &str, expected: Option<u64>, value: Option<&str>) -> RecordPut {
    RecordPut { key: key.to_owned(), expected, value: value.map(|value| value.as_bytes().to_vec()) }
}

fn records(records: impl Into<Vec<RecordPut>>) -> Batch {
    Batch { records: records.into(), ..Batch::default() }
}

fn conflict(key: &str, found: u64) -> RecordConflict {
    RecordConflict { key: key.to_owned(), found }
}

fn change(id: JobId, event: Event) -> Change {
    Change { target: Target::Id(id), only_from: None, event }
}

fn delete(id: JobId) -> Delete {
    Delete { id, only_from: None }
}

async fn record<F: Fixture>(scene: &Scene<F>, key: &str) -> Option<(u64, String)> {
    let stored = scene.backend.record(key.to_owned()).await.unwrap();
    stored.map(|(version, value)| (version, String::from_utf8(value).unwrap()))
}

pub async fn record_is_written_only_at_the_version_it_is_expected_at<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(record(&scene, "k").await, None);
    let steps = [
        (put("k", Some(1), Some("x")), Err(conflict("k", 0)), None),
        (put("k", Some(0), Some("a")), Ok(1), Some((1, "a"))),
        (put("k", Some(0), Some("b")), Err(conflict("k", 1)), Some((1, "a"))),
        (put("k", Some(1), Some("b")), Ok(2), Some((2, "b"))),
        (put("k", None, Some("")), Ok(3), Some((3, ""))),
        (put("k", Some(2), None), Err(conflict("k", 3)), Some((3, ""))),
        (put("k", Some(3), None), Ok(0), None),
        (put("k", Some(0), Some("again")), Ok(1), Some((1, "again"))),
    ];
    for (put, verdict, value) in steps {
        let receipt = scene.commit(records([put.clone()])).await;
        assert_eq!(receipt.records, [verdict], "{put:?}");
        assert_eq!(record(&scene, "k").await, value.map(|(version, text)| (version, text.to_owned())));
    }
}

pub async fn parts_of_a_batch_see_the_records_written_before_them<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let batch = [put("k", Some(0), Some("a")), put("k", Some(1), Some("b")), put("k", Some(1), Some("c"))];
    let receipt = scene.commit(records(batch)).await;
    assert_eq!(receipt.records, [Ok(1), Ok(2), Err(conflict("k", 2))]);
    assert!(receipt.applied);
    assert_eq!(record(&scene, "k").await, Some((2, "b".to_owned())));
}

pub async fn record_conflict_keeps_an_all_or_nothing_batch_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let running = scene.bring(fresh(), Status::Running).await;
    let over = scene.bring(fresh(), Status::Completed).await;
    scene.commit(records([put("other", None, Some("old"))])).await;
    let batch = Batch {
        inserts: vec![insert(plain(), nth_id(1))],
        changes: vec![change(running.id, Event::Complete { output: Output::none() })],
        deletes: vec![delete(over.id)],
        records: vec![put("other", None, Some("new")), put("k", Some(7), Some("x"))],
        require_all: true,
    };
    let receipt = scene.commit(batch).await;
    assert!(!receipt.applied);
    assert_eq!(receipt.inserts, [Err(Rejected::NotApplied)]);
    assert_eq!(receipt.changes, [Err(Rejected::NotApplied)]);
    assert_eq!(receipt.deletes, [Err(Rejected::NotApplied)]);
    assert_eq!(receipt.records[1], Err(conflict("k", 0)));
    assert_eq!(scene.get(nth_id(1)).await.unwrap(), None);
    assert_eq!((scene.job(running.id).await, scene.job(over.id).await), (running, over));
    assert_eq!(record(&scene, "other").await, Some((1, "old".to_owned())));
}

pub async fn one_rejection_keeps_an_all_or_nothing_batch_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let over = scene.bring(fresh(), Status::Completed).await;
    let illegal = Rejected::Illegal { id: over.id, status: Status::Completed, event: EventKind::Stop };
    let batch = Batch {
        inserts: vec![insert(plain().unique("key"), nth_id(1))],
        changes: vec![
            change(nth_id(1), Event::Cancel),
            change(over.id, Event::Stop { message: String::new() }),
        ],
        records: vec![put("k", Some(0), Some("x"))],
        require_all: true,
        ..Batch::default()
    };
    let receipt = scene.commit(batch).await;
    assert!(!receipt.applied);
    assert_eq!(receipt.first_rejection(), Some(&illegal));
    assert_eq!(receipt.changes, [Err(Rejected::NotApplied), Err(illegal)]);
    assert_eq!(scene.get(nth_id(1)).await.unwrap(), None);
    assert_eq!(record(&scene, "k").await, None);
    scene.add(plain().unique("key")).await;
    scene.verify().await.unwrap();
}

pub async fn without_all_or_nothing_each_part_stands_on_its_own<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let over = scene.bring(fresh(), Status::Completed).await.id;
    let batch = Batch {
        inserts: vec![insert(plain(), over), insert(plain(), nth_id(1))],
        changes: vec![change(nth_id(404), Event::Cancel), change(nth_id(1), Event::Pause)],
        deletes: vec![delete(nth_id(1)), delete(over)],
        records: vec![put("k", Some(7), Some("x")), put("l", Some(0), Some("y"))],
        require_all: false,
    };
    let receipt = scene.commit(batch).await;
    assert!(receipt.applied);
    assert_eq!(receipt.inserts[0], Err(Rejected::Duplicate { id: over }));
    assert_eq!(receipt.inserts[1].as_ref().unwrap().id, nth_id(1));
    assert_eq!(receipt.changes[0], Err(Rejected::NotFound { id: nth_id(404) }));
    assert_eq!(receipt.changes[1].as_ref().unwrap().after.status, Status::Paused);
    let not_final = Rejected::NotFinal { id: nth_id(1), status: Status::Paused };
    assert_eq!(receipt.deletes, [Err(not_final), Ok(over)]);
    assert_eq!(receipt.records, [Err(conflict("k", 0)), Ok(1)]);
    assert_eq!(scene.status(nth_id(1)).await, Status::Paused);
    assert_eq!(scene.get(over).await.unwrap(), None);
}

pub async fn parts_of_a_batch_see_what_the_parts_before_them_did<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = nth_id(1);
    let batch = Batch {
        inserts: vec![insert(plain(), id), insert(plain(), id)],
        changes: vec![change(id, Event::Pause), change(id, Event::Resume), change(id, Event::Cancel)],
        deletes: vec![delete(id), delete(id)],
        ..Batch::default()
    };
    let receipt = scene.commit(batch).await;
    assert_eq!(receipt.inserts[1], Err(Rejected::Duplicate { id }));
    let steps: Vec<Status> = receipt.changes.iter().flatten().map(|step| step.after.status).collect();
    assert_eq!(steps, [Status::Paused, Status::InitialPending, Status::Unscheduled]);
    assert_eq!(receipt.deletes, [Ok(id), Err(Rejected::NotFound { id })]);
    assert_eq!(scene.get(id).await.unwrap(), None);
    assert_eq!(scene.verify().await.unwrap(), 0);
}

pub async fn several_steps_of_one_job_in_a_batch_all_leave_their_entries<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let lease = scene.bring(fresh(), Status::Running).await.lease();
    let by_lease = |event| Change { target: Target::Lease(lease), only_from: None, event };
    let failure = poolqueue::Failure::new("no");
    let changes = vec![
        by_lease(Event::FailRetry { failure, random: 0 }),
        change(lease.id, Event::Cancel),
        change(lease.id, Event::Retry),
        change(lease.id, Event::Pause),
    ];
    let receipt = scene.commit(Batch { changes, ..Batch::default() }).await;
    assert!(receipt.is_complete(), "{receipt:?}");
    let told: Vec<Status> =
        scene.history(lease.id).await.unwrap().entries.iter().map(|entry| entry.to).collect();
    let expected =
        [Status::Running, Status::FailedRetry, Status::Stopped, Status::FailedRetry, Status::Paused];
    assert_eq!(told, expected);
    scene.verify().await.unwrap();
}

pub async fn unique_key_follows_the_steps_of_a_batch<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let old = scene.add(plain().unique("key")).await;
    let refused = Batch {
        inserts: vec![insert(plain().unique("key"), nth_id(1))],
        changes: vec![change(old, Event::Cancel)],
        ..Batch::default()
    };
    // Inserts are decided before changes, so the key is still taken.
    let receipt = scene.commit(refused).await;
    assert_eq!(receipt.inserts, [Err(Rejected::Duplicate { id: old })]);
    assert_eq!(receipt.changes[0].as_ref().unwrap().after.status, Status::Unscheduled);
    let changes = vec![change(old, Event::Retry), change(old, Event::Cancel)];
    scene.commit(Batch { changes, ..Batch::default() }).await;
    scene.add(plain().unique("key")).await;
    scene.verify().await.unwrap();
}

pub async fn change_is_refused_from_a_status_that_it_does_not_name<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let only_from = Some(StatusSet::EMPTY.with(Status::FailedRetry));
    let guarded = Change { only_from, ..change(id, Event::Cancel) };
    let receipt = scene.commit(Batch { changes: vec![guarded], ..Batch::default() }).await;
    let illegal = Rejected::Illegal { id, status: Status::InitialPending, event: EventKind::Cancel };
    assert_eq!(receipt.changes, [Err(illegal)]);
    scene.cancel(id).await.unwrap();
    let guarded = Delete { only_from, ..delete(id) };
    let receipt = scene.commit(Batch { deletes: vec![guarded], ..Batch::default() }).await;
    assert_eq!(receipt.deletes, [Err(Rejected::NotFinal { id, status: Status::Unscheduled })]);
}

pub async fn empty_batch_is_applied_and_changes_nothing<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for require_all in [false, true] {
        let receipt = scene.commit(Batch { require_all, ..Batch::default() }).await;
        assert!(receipt.applied && receipt.is_complete());
    }
}

pub async fn record_key_past_256_bytes_is_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let longest = "k".repeat(256);
    scene.commit(records([put(&longest, None, Some("v"))])).await;
    assert_eq!(record(&scene, &longest).await, Some((1, "v".to_owned())));
    let too_long = scene.backend.commit(records([put(&"k".repeat(257), None, Some("v"))])).await;
    assert_eq!(too_long.unwrap_err().kind(), BackendErrorKind::TooLarge);
}

pub async fn select_pages_by_id_and_leaves_out_what_was_not_asked_for<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh().meta("k", "v").tag("t"), Status::Completed).await;
    scene.add_all(plain_jobs(4)).await;
    let query = |detail, after| Query { filter: Filter::everything(), after, limit: 3, detail };
    let first = scene.backend.select(query(Detail::Full, None)).await.unwrap();
    let second = scene.backend.select(query(Detail::Full, first.next)).await.unwrap();
    assert_eq!((first.jobs.len(), second.jobs.len(), second.next), (3, 2, None));
    assert_eq!(first.jobs[0], job);
    let state = scene.backend.select(query(Detail::State, None)).await.unwrap().jobs.remove(0);
    assert_eq!((state.status, &state.tags, state.finalized_at), (job.status, &job.tags, job.finalized_at));
    assert_eq!((state.payload.len(), state.metadata.len(), state.output), (0, 0, None));
}

pub async fn counts_are_narrowed_by_assignee_and_by_end<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let early = scene.bring(fresh(), Status::Completed).await;
    scene.advance(HOUR).await;
    scene.bring(fresh(), Status::Completed).await;
    scene.bring(fresh(), Status::Running).await;
    let assignee = AssigneeId::new(early.assignee.as_deref().unwrap()).ok();
    let filter = Filter { assignee, ..Filter::everything() };
    assert_eq!(scene.backend.count(filter).await.unwrap().total(), 1);
    for (limit, expected) in [(START, 0), (START.plus(SECOND), 1), (START.plus(2 * HOUR), 2)] {
        let filter = Filter { finalized_before: Some(limit), ..Filter::everything() };
        assert_eq!(scene.backend.count(filter).await.unwrap().total(), expected);
    }
}

pub async fn verification_counts_what_it_read<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in Status::ALL {
        scene.bring(fresh(), *status).await;
    }
    let mut entries = 0;
    for job in scene.list(poolqueue::Query::new(poolqueue::Select::new())).await.unwrap().jobs {
        entries += scene.history(job.id).await.unwrap().entries.len() as u64;
    }
    let verified = scene.backend.verify().await.unwrap();
    assert_eq!((verified.jobs as usize, verified.history_entries), (Status::ALL.len(), entries));
    assert_eq!(verified.counts, scene.backend.count(Filter::everything()).await.unwrap());
}

pub async fn capabilities_name_the_limits_and_the_clock_that_were_given<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.tags = 3).await;
    let capabilities = scene.backend.capabilities();
    assert_eq!(capabilities.limits.tags, 3);
    assert!(!capabilities.engine.is_empty());
    scene.clock.advance(HOUR);
    assert_eq!(capabilities.clock.now(), START.plus(HOUR));
    assert!(scene.health().is_ok());
}

pub async fn slots_of_a_job_that_another_caller_ends_are_freed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let slots = Slots::new(1);
    let claimed = soon(scene.backend.claim(vec![claim_of("w", &slots, Default::default())])).await.unwrap();
    let lease = claimed[0][0].lease();
    assert!(slots.cancellation(lease).is_some_and(|token| !token.is_cancelled()));
    scene.complete(id, ()).await.unwrap();
    assert_eq!((slots.held_count(), slots.free()), (0, 1));
    assert!(slots.cancellation(lease).is_none());
}
