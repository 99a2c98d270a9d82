//! What a stream holds and delivers, at its bounds.

mod faulty;

use std::time::Duration;

use faulty::*;
use poolqueue::{BackendErrorKind, Error, EventKind, JobEvent, Select, Status};

/// The error came together with jobs and was lost, so that the reader waited for ever.
#[tokio::test]
async fn error_behind_jobs_is_delivered_after_them() {
    let scene = Scene::new().await;
    let mut stream = scene.stream("w", 2).await;
    scene.script.claims(1).await;
    scene.script.fail_next_claim(BackendErrorKind::Io);
    let id = scene.add(job()).await;
    scene.script.claims(2).await;
    assert_eq!(next(&mut stream).await[0].id, id);
    let error = soon(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Io));
    scene.reopen().await.unwrap();
    let later = scene.add(job()).await;
    assert_eq!(next(&mut stream).await[0].id, later);
}

/// Jobs that were taken away before they were read piled up for as long as nobody read.
#[tokio::test]
async fn batch_holds_no_more_than_the_stream() {
    let scene = Scene::new().await;
    let mut events = scene.events();
    let mut stream = scene.stream("w", 2).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(scene.add(job()).await);
        let id = *ids.last().unwrap();
        soon(async {
            while !matches!(events.next().await, Some(JobEvent::Changed { id: of, event: EventKind::Claim, .. }) if of == id) {}
        })
        .await;
        if ids.len() < 50 {
            assert_eq!(scene.complete(id, ()).await.unwrap(), Status::Completed);
        }
    }
    let batch = next(&mut stream).await;
    assert_eq!(batch.iter().map(|job| job.id).collect::<Vec<_>>(), ids[49..]);
    assert!(!batch[0].is_cancelled());
}

#[tokio::test]
async fn cancelled_job_is_delivered_to_be_answered() {
    let scene = Scene::new().await;
    let id = scene.add(job()).await;
    let mut events = scene.events();
    let mut stream = scene.stream("w", 2).await;
    soon(async { while !matches!(events.next().await, Some(JobEvent::Changed { .. })) {} }).await;
    scene.cancel(id).await.unwrap();
    let batch = next(&mut stream).await;
    assert!(batch[0].is_cancelled());
    assert_eq!(scene.acknowledge_cancel(&batch[0], true).await.unwrap(), Status::Stopped);
}

#[tokio::test]
async fn stream_without_a_bound_takes_everything() {
    let scene = Scene::new().await;
    let mut stream = scene.stream("w", usize::MAX).await;
    let mut other = scene.stream("w", usize::MAX).await;
    for _ in 0..4 {
        scene.add(job()).await;
    }
    let mut came = 0;
    while came < 4 {
        let batch = tokio::select! { batch = next(&mut stream) => batch, batch = next(&mut other) => batch };
        for job in &batch {
            scene.complete(job, ()).await.unwrap();
        }
        came += batch.len();
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap().completed, 4);
}

/// Twice the interval overflowed, and with the thread went every lease.
#[tokio::test]
async fn sweep_interval_without_an_end_is_no_overflow() {
    let scene = Scene::with(|builder| builder.sweep_interval(Duration::MAX)).await;
    let id = scene.add(job()).await;
    let mut stream = scene.queue.stream("w").manual_lease(SWEEP).open().await.unwrap();
    next(&mut stream).await;
    scene.sweep();
    let again = next(&mut stream).await;
    assert_eq!((again[0].id, again[0].crashes), (id, 1));
}

#[tokio::test]
async fn event_capacity_has_a_bound() {
    let builder = |events| {
        poolqueue::PoolQueue::builder(poolqueue::MemoryBackend::new().unwrap()).event_capacity(events)
    };
    for events in [0, 1_000_001, usize::MAX] {
        let refused = builder(events).open().await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(invalid) if invalid.argument == "event_capacity"));
    }
    builder(1).open().await.unwrap();
}

/// Only the first of the ids that the selection did not find was looked for.
#[tokio::test]
async fn deletion_names_a_missing_job_behind_one_that_is_narrowed_out() {
    let scene = Scene::new().await;
    let (there, missing) = (scene.add(job()).await, poolqueue::JobId::from_bytes([9; 16]));
    let select = Select::ids([there, missing]).status(Status::Completed);
    let rejected = scene.delete(select).await.unwrap_err();
    assert_eq!(rejected.rejected(), Some(&poolqueue::Rejected::NotFound { id: missing }));
    assert_eq!(scene.delete(Select::ids([there]).status(Status::Completed)).await.unwrap(), []);
}
