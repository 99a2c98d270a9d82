//! After the close: every call says so, streams end, and nothing that was asked before is lost.

use std::time::Duration;

use poolqueue::backend::{Batch, ClaimFilter, Slots};
use poolqueue::{BackendErrorKind, Query, Retention, Select, Status};

use super::support::*;
use crate::Fixture;

pub async fn every_verb_after_the_close_says_closed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let lease = scene.bring(fresh(), Status::Running).await.lease();
    let queue = scene.queue.clone();
    scene.close().await.unwrap();
    assert_closed("enqueue", queue.enqueue(plain()).await);
    assert_closed("enqueue_all", queue.enqueue_all([plain()]).await);
    assert_closed("enqueue_all of nothing", queue.enqueue_all(plain_jobs(0)).await);
    assert_closed("complete", queue.complete(lease, ()).await);
    assert_closed("complete_all", queue.complete_all([(lease, ())]).await);
    assert_closed("fail_retry", queue.fail_retry(lease, "no").await);
    assert_closed("fail_retry_all", queue.fail_retry_all([(lease, "no")]).await);
    assert_closed("stop", queue.stop(lease, "").await);
    assert_closed("stop_all", queue.stop_all([(lease, "")]).await);
    assert_closed("stop_failed", queue.stop_failed(lease, "").await);
    assert_closed("stop_failed_all", queue.stop_failed_all([(lease, "")]).await);
    assert_closed("unknown_stop", queue.unknown_stop(lease, "").await);
    assert_closed("unknown_stop_all", queue.unknown_stop_all([(lease, "")]).await);
    assert_closed("acknowledge_cancel", queue.acknowledge_cancel(lease, true).await);
    assert_closed("acknowledge_cancel_all", queue.acknowledge_cancel_all([(lease, true)]).await);
    assert_closed("release", queue.release(lease).await);
    assert_closed("cancel", queue.cancel(lease.id).await);
    assert_closed("pause", queue.pause(lease.id).await);
    assert_closed("resume", queue.resume(lease.id).await);
    assert_closed("retry", queue.retry(lease.id).await);
    assert_closed("delete", queue.delete(lease.id).await);
    assert_closed("lose_worker", queue.lose_worker("w").await);
    assert_closed("reset_running", queue.reset_running().await);
    assert_closed("cleanup", queue.cleanup(Duration::from_secs(1)).await);
    assert_closed("retain", queue.retain(&Retention::new().keep(Status::Dead, HOUR)).await);
    assert_closed("stream", queue.stream("w").open().await);
}

pub async fn every_read_after_the_close_says_closed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let queue = scene.queue.clone();
    scene.close().await.unwrap();
    assert_closed("get", queue.get(id).await);
    assert_closed("get_all", queue.get_all([id]).await);
    assert_closed("list", queue.list(Query::new(Select::new())).await);
    assert_closed("stats", queue.stats(Select::new()).await);
    assert_closed("stats of some", queue.stats(Select::tags(["t"])).await);
    assert_closed("history", queue.history(id).await);
    assert_closed("explain", queue.explain(id).await);
    assert_closed("verify", queue.verify().await);
    assert_closed("reopen", queue.reopen().await);
}

pub async fn backend_calls_after_the_close_say_closed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.close().await.unwrap();
    let backend = &scene.backend;
    let claim = claim_of("w", &Slots::new(1), ClaimFilter::default());
    let kinds = [
        backend.commit(Batch::default()).await.err(),
        backend.claim(vec![claim]).await.err(),
        backend.held().await.err(),
        backend.record("k".to_owned()).await.err(),
        backend.close().await.err(),
    ];
    assert!(kinds.iter().flatten().all(|error| error.kind() == BackendErrorKind::Closed), "{kinds:?}");
    assert_eq!(kinds.iter().flatten().count(), kinds.len());
}

pub async fn second_close_says_closed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.close().await.unwrap();
    assert_closed("close", scene.close().await);
}

pub async fn close_of_one_clone_closes_all<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let clone = scene.queue.clone();
    assert!(clone.health().is_ok());
    scene.close().await.unwrap();
    assert_closed("enqueue", clone.enqueue(plain()).await);
    assert!(!clone.health().is_ok());
    assert!(clone.health().store.closed.is_some());
}

pub async fn streams_end_when_the_queue_is_closed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(3)).await;
    let mut waiting = scene.queue.stream("w").queue("empty").open().await.unwrap();
    let mut working = scene.stream("w", 2).await;
    let batch = next_jobs(&mut working, 2).await;
    scene.close().await.unwrap();
    assert!(soon(waiting.next()).await.is_none());
    assert!(soon(working.next()).await.is_none());
    assert!(soon(working.next()).await.is_none(), "and stay ended");
    for job in &batch {
        soon(job.cancelled()).await;
        assert!(job.heartbeat().is_err());
        assert_closed("complete", scene.complete(job, ()).await);
    }
}

pub async fn read_that_waits_ends_when_the_queue_is_closed<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut stream = scene.stream("w", 2).await;
    let reader = tokio::spawn(async move { stream.next().await.is_none() });
    scene.close().await.unwrap();
    assert!(soon(reader).await.unwrap());
}

pub async fn waiting_claim_is_answered_by_the_close<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots = Slots::new(1);
    let mut claim = claim_of("w", &slots, ClaimFilter::default());
    claim.wait = true;
    let mut claim = scene.backend.claim(vec![claim]);
    assert!(begin(&mut claim).await.is_none());
    scene.close().await.unwrap();
    assert_eq!(soon(claim).await.unwrap_err().kind(), BackendErrorKind::Closed);
}

pub async fn what_was_asked_before_the_close_is_done<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::new().await;
    let mut asked = Vec::new();
    let mut answered = Vec::new();
    for _ in 0..200 {
        let mut enqueue = Box::pin(scene.queue.enqueue(plain()));
        match begin(&mut enqueue).await {
            Some(answer) => answered.push(answer),
            None => asked.push(enqueue),
        }
    }
    scene.close().await.unwrap();
    for enqueue in asked {
        answered.push(soon(enqueue).await);
    }
    let ids: Vec<_> = answered.into_iter().map(|answer| answer.expect("it was asked before")).collect();
    let backend = scene.fixture.open(scene.options.clone()).await;
    let found = backend.get(ids).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 200);
}

pub async fn events_end_with_the_last_clone_of_the_queue<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut events = scene.events();
    scene.add(plain()).await;
    let Scene { queue, backend, .. } = scene;
    queue.close().await.unwrap();
    drop((queue, backend));
    assert!(soon(events.next()).await.is_some());
    assert!(soon(events.next()).await.is_none());
}

pub async fn stream_keeps_the_queue_open_when_all_clones_are_gone<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    let mut stream = scene.stream("w", 1).await;
    let Scene { queue, .. } = scene;
    drop(queue);
    let batch = next(&mut stream).await;
    assert_eq!(claimed_ids(&batch), [id]);
    stream.close().await.unwrap();
}
