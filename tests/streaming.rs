//! Streams as a user sees them, on the store in memory.

use poolqueue::{Failure, NewJob, PoolQueue, Select, Status};

async fn queue() -> PoolQueue {
    PoolQueue::open("memory:").await.unwrap()
}

#[tokio::test]
async fn a_job_goes_from_enqueue_to_completion() {
    let queue = queue().await;
    let id = queue.enqueue(NewJob::new("thumbnail", b"cat.png").tag("images")).await.unwrap();
    let mut jobs = queue.stream("worker-1").tags(["images"]).capacity(32).open().await.unwrap();
    let batch = jobs.next().await.unwrap().unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(batch[0].id, id);
    assert_eq!(batch[0].payload, b"cat.png");
    assert_eq!(queue.complete(&batch[0], b"done").await.unwrap(), Status::Completed);
    let job = queue.get(id).await.unwrap().unwrap();
    assert_eq!(job.output.as_deref(), Some(&b"done"[..]));
    assert_eq!(job.attempt.0, 1);
    queue.close().await.unwrap();
    assert!(jobs.next().await.is_none());
    assert!(queue.enqueue(NewJob::new("late", b"")).await.is_err());
}

#[tokio::test]
async fn a_waiting_stream_gets_a_job_enqueued_later_and_refills() {
    let queue = queue().await;
    let mut jobs = queue.stream("w").capacity(2).open().await.unwrap();
    let ids = queue.enqueue_all((0..5).map(|n| NewJob::new("k", vec![n]))).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let batch = jobs.next().await.unwrap().unwrap();
        assert!(batch.len() <= 2 && jobs.held() <= 2);
        for job in batch {
            queue.complete(&job, ()).await.unwrap();
            seen.push(job.id);
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(queue.stats(Select::new()).await.unwrap().completed, 5);
}

#[tokio::test]
async fn a_dropped_stream_hands_its_jobs_to_the_next() {
    let queue = queue().await;
    let id = queue.enqueue(NewJob::new("k", b"")).await.unwrap();
    let mut first = queue.stream("w1").open().await.unwrap();
    let held = first.next().await.unwrap().unwrap();
    first.close().await.unwrap();
    let mut second = queue.stream("w2").open().await.unwrap();
    let again = second.next().await.unwrap().unwrap();
    assert_eq!((again[0].id, again[0].attempt.0, again[0].retry_count, again[0].failures), (id, 2, 1, 0));
    assert!(queue.complete(&held[0], ()).await.is_err());
    assert_eq!(queue.fail_retry(&again[0], Failure::new("no").no_retry()).await.unwrap(), Status::Dead);
}

#[tokio::test]
async fn a_cancelled_job_tells_its_worker() {
    let queue = queue().await;
    let id = queue.enqueue(NewJob::new("k", b"")).await.unwrap();
    let mut jobs = queue.stream("w").open().await.unwrap();
    let batch = jobs.next().await.unwrap().unwrap();
    assert!(!batch[0].is_cancelled());
    assert_eq!(queue.cancel(id).await.unwrap().cancelled, [id]);
    batch[0].cancelled().await;
    assert_eq!(queue.acknowledge_cancel(&batch[0], true).await.unwrap(), Status::Stopped);
    assert_eq!(queue.cancel(id).await.unwrap().unknown, [id]);
}

#[tokio::test]
async fn batch_verbs_and_queries_can_be_awaited_in_a_spawned_task() {
    let queue = queue().await;
    let ids = queue.enqueue_all((0..3).map(|n| NewJob::new("k", vec![n]))).await.unwrap();
    let task = tokio::spawn(async move {
        let mut jobs = queue.stream("w").open().await.unwrap();
        let batch = jobs.next().await.unwrap().unwrap();
        let verdicts = queue.complete_all(batch.iter().map(|job| (job, job.id.to_string()))).await.unwrap();
        let found = queue.get_all(batch.iter().map(|job| job.id)).await.unwrap();
        queue
            .enqueue_all(found.iter().flatten().map(|job| NewJob::new("copy", job.payload.clone())))
            .await
            .unwrap();
        verdicts.into_iter().map(|verdict| verdict.unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(task.await.unwrap(), vec![Status::Completed; ids.len()]);
}

#[tokio::test]
async fn events_come_in_the_order_of_commits_and_end_with_the_queue() {
    let queue = queue().await;
    let mut events = queue.events();
    let id = queue.enqueue(NewJob::new("k", b"")).await.unwrap();
    queue.cancel(id).await.unwrap();
    queue.delete(id).await.unwrap();
    queue.close().await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    use poolqueue::JobEvent as E;
    assert!(matches!(&seen[0], E::Enqueued { id: new, .. } if *new == id), "{seen:?}");
    assert!(matches!(&seen[1], E::Changed { to: Status::Unscheduled, .. }), "{seen:?}");
    assert_eq!(seen[2..], [E::Deleted { id }]);
    assert!(queue.events().next().await.is_none());
}
