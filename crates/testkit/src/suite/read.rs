//! Lists, histories, explanations and events.

use poolqueue::{EventKind, Explanation, JobEvent, JobId, Query, Rejected, Select, Status};

use super::support::*;
use crate::Fixture;

/// Reads a list page by page.
async fn pages<F: Fixture>(scene: &Scene<F>, select: Select, limit: usize) -> Vec<JobId> {
    let mut all = Vec::new();
    let mut query = Query::new(select.clone()).limit(limit);
    loop {
        let page = scene.list(query).await.unwrap();
        assert!(page.jobs.len() <= limit);
        all.extend(ids(&page.jobs));
        let Some(cursor) = page.next else { return all };
        assert_eq!(page.jobs.len(), limit, "a page that is not the last is full");
        query = Query::new(select.clone()).limit(limit).after(cursor);
    }
}

pub async fn list_pages_through_every_job_once_in_ascending_order<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut expected = scene.add_all(plain_jobs(50)).await;
    expected.extend(scene.add_all((0..7).map(|n| plain().id(nth_id(n)))).await);
    expected.sort_unstable();
    for limit in [1, 7, 56, 57, 58, 10_000] {
        assert_eq!(pages(&scene, Select::new(), limit).await, expected, "pages of {limit}");
    }
}

pub async fn list_holds_exactly_what_is_selected<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let a = scene.add_all((0..5).map(|_| plain().tag("a").queue("x"))).await;
    let b = scene.add_all((0..5).map(|_| plain().tag("b"))).await;
    scene.cancel(a[0]).await.unwrap();
    let cases = [
        (Select::tags(["a"]), a.clone()),
        (Select::tags(["a"]).or_ids([b[3], nth_id(404)]), [&a[..], &b[3..4]].concat()),
        (Select::tags(["a"]).status(Status::Unscheduled), vec![a[0]]),
        (Select::new().queue("x").status(Status::InitialPending), a[1..].to_vec()),
        (Select::ids([b[1], b[0], b[1]]), b[..2].to_vec()),
        (Select::ids([]), vec![]),
        (Select::new().kind("none"), vec![]),
    ];
    for (select, expected) in cases {
        assert_eq!(pages(&scene, select.clone(), 3).await, expected, "{select:?}");
    }
}

pub async fn list_returns_whole_jobs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh().meta("k", "v").tag("t"), Status::Completed).await;
    assert_eq!(scene.list(Query::new(job.id)).await.unwrap().jobs, [job]);
}

pub async fn list_with_a_limit_out_of_range_is_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for limit in [0, 10_001] {
        assert_eq!(invalid(scene.list(Query::new(Select::new()).limit(limit)).await), "limit");
    }
    let bad = Query::new(Select::tags([""]));
    assert_eq!(invalid(scene.list(bad).await), "tag");
}

pub async fn jobs_are_got_in_the_order_of_the_ids<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(3)).await;
    let asked = [ids[2], nth_id(404), ids[0], ids[2]];
    let got = scene.get_all(asked).await.unwrap();
    let got: Vec<Option<JobId>> = got.iter().map(|job| job.as_ref().map(|job| job.id)).collect();
    assert_eq!(got, [Some(ids[2]), None, Some(ids[0]), Some(ids[2])]);
    assert_eq!(scene.get(nth_id(404)).await.unwrap(), None);
    assert_eq!(scene.get_all([]).await.unwrap(), []);
}

pub async fn reads_see_what_was_answered_before_them<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for n in 1..=100 {
        let id = scene.add(plain()).await;
        assert!(scene.get(id).await.unwrap().is_some());
        assert_eq!(scene.stats(Select::new()).await.unwrap().total, n);
    }
}

pub async fn explanation_names_what_a_job_waits_for<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let delayed = scene.add(plain().run_after(HOUR)).await;
    let run_at = Some(at(scene.now().plus(HOUR)));
    assert_eq!(scene.explain(delayed).await.unwrap(), Explanation::NotDue { run_at });
    let due = scene.add_all((0..2).map(|_| plain().queue("q"))).await;
    assert_eq!(scene.explain(due[0]).await.unwrap(), Explanation::NoStream);
    let mut stream = scene.queue.stream("w").queue("q").capacity(1).open().await.unwrap();
    let batch = next(&mut stream).await;
    let held = Explanation::Held { assignee: batch[0].assignee.clone(), cancelling: false };
    assert_eq!(scene.explain(due[0]).await.unwrap(), held);
    let full = Explanation::StreamsFull { streams: 1, waiting: 1 };
    assert_eq!(scene.explain(due[1]).await.unwrap(), full);
    scene.pause(due[1]).await.unwrap();
    assert_eq!(scene.explain(due[1]).await.unwrap(), Explanation::Paused);
    scene.cancel(due[1]).await.unwrap();
    let over = Explanation::Over { status: Status::Unscheduled };
    assert_eq!(scene.explain(due[1]).await.unwrap(), over);
    assert_eq!(rejected(scene.explain(nth_id(404)).await), Rejected::NotFound { id: nth_id(404) });
}

pub async fn history_of_an_unknown_job_is_not_found<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    assert_eq!(rejected(scene.history(nth_id(404)).await), Rejected::NotFound { id: nth_id(404) });
}

pub async fn events_tell_what_was_committed_in_order<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add(plain()).await;
    let mut events = scene.events();
    let id = scene.add(fresh()).await;
    let job = scene.take(id, "w").await;
    scene.complete(job.lease(), ()).await.unwrap();
    rejected(scene.complete(id, ()).await);
    scene.delete(id).await.unwrap();
    let (kind, queue) = (job.kind.clone(), job.queue.clone());
    let changed = |event, from, to| JobEvent::Changed {
        id,
        kind: kind.clone(),
        queue: queue.clone(),
        event,
        from,
        to,
        attempt: job.attempt,
        at: at(START),
    };
    let expected = [
        JobEvent::Enqueued { id, kind: kind.clone(), queue: queue.clone() },
        changed(EventKind::Claim, Status::InitialPending, Status::Running),
        changed(EventKind::Complete, Status::Running, Status::Completed),
        JobEvent::Deleted { id },
    ];
    for event in expected {
        assert_eq!(soon(events.next()).await, Some(event));
    }
}

pub async fn slow_reader_of_events_is_told_how_many_it_missed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let queue = poolqueue::PoolQueue::builder(scene.backend.clone()).event_capacity(4).open().await.unwrap();
    let mut events = queue.events();
    let ids = scene.add_all(plain_jobs(20)).await;
    let mut told = 0;
    while told < 20 {
        match soon(events.next()).await {
            Some(JobEvent::Missed { events }) => told += events,
            Some(JobEvent::Enqueued { id, .. }) => {
                assert_eq!(id, ids[usize::try_from(told).unwrap()]);
                told += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

pub async fn zeros_in_the_builder_are_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let builder = || poolqueue::PoolQueue::builder(scene.backend.clone());
    assert_eq!(invalid(builder().event_capacity(0).open().await), "event_capacity");
    assert_eq!(invalid(builder().sweep_interval(std::time::Duration::ZERO).open().await), "sweep_interval");
}
