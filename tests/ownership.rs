//! No claimed job is without an owner: whatever fails, hangs, is dropped or ends, its jobs come back.

mod faulty;

use faulty::*;
use poolqueue::{BackendErrorKind, Error, MemoryBackend, PoolQueue, Status};

/// The jobs of a dropped stream were running for ever when the store could not take them back at that moment.
#[tokio::test]
async fn dropped_stream_hands_its_jobs_back_when_the_disk_has_room_again() {
    let scene = Scene::new().await;
    let id = scene.add(job()).await;
    let mut first = scene.stream("w1", 1).await;
    next(&mut first).await;
    scene.script.refuse(Some(BackendErrorKind::Full));
    drop(first);
    scene.script.failed(1).await;
    scene.script.refuse(None);
    let mut second = scene.stream("w2", 1).await;
    scene.sweep();
    assert_eq!(next(&mut second).await[0].id, id);
    assert_eq!(scene.health().streams, 1);
}

#[tokio::test]
async fn closed_stream_hands_its_jobs_back_when_the_queue_is_reopened() {
    let scene = Scene::new().await;
    let id = scene.add(job()).await;
    let mut first = scene.stream("w1", 1).await;
    next(&mut first).await;
    scene.script.refuse(Some(BackendErrorKind::Closed));
    let error = soon(first.close()).await.unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Closed));
    scene.script.refuse(None);
    scene.reopen().await.unwrap();
    let mut second = scene.stream("w2", 1).await;
    assert_eq!(next(&mut second).await[0].id, id);
}

/// The future had taken the stream off the list of open ones and was dropped before it had handed anything back.
#[tokio::test]
async fn stream_whose_close_was_given_up_hands_its_jobs_back() {
    let scene = Scene::new().await;
    let id = scene.add(job()).await;
    let mut first = scene.stream("w1", 1).await;
    next(&mut first).await;
    scene.script.hang(true);
    let mut closing = Box::pin(first.close());
    assert!(begin(&mut closing).await.is_none());
    scene.script.failed(1).await;
    scene.script.hang(false);
    drop(closing);
    let mut second = scene.stream("w2", 1).await;
    assert_eq!(next(&mut second).await[0].id, id);
}

#[tokio::test]
async fn jobs_of_a_worker_that_could_not_be_given_up_come_back_with_the_end_of_its_stream() {
    let scene = Scene::new().await;
    let id = scene.add(job()).await;
    let mut first = scene.stream("w1", 1).await;
    next(&mut first).await;
    scene.script.refuse(Some(BackendErrorKind::Full));
    assert!(scene.lose_worker("w1").await.unwrap_err().is_retryable());
    scene.script.refuse(None);
    drop(first);
    let mut second = scene.stream("w2", 1).await;
    assert_eq!(next(&mut second).await[0].id, id);
}

/// A worker is given up by the attempts it holds. By the bare ids, whoever got its jobs meanwhile lost them, too.
#[tokio::test]
async fn giving_a_worker_up_leaves_those_alone_who_got_its_jobs_meanwhile() {
    let scene = Scene::new().await;
    let id = scene.add(job()).await;
    let mut first = scene.stream("w1", 1).await;
    next(&mut first).await;
    let mut second = scene.stream("w2", 1).await;
    let (queue, taken) = (scene.queue.clone(), tokio::sync::oneshot::channel());
    let (send, taken) = taken;
    scene.script.after_select(move || {
        Box::pin(async move {
            done(queue.release(id).await);
            let _ = send.send(next(&mut second).await.remove(0));
            std::mem::forget(second);
            Ok(())
        })
    });
    let changed = scene.lose_worker("w1").await.unwrap();
    let again = taken.await.unwrap();
    assert_eq!((changed.changed, changed.skipped), (vec![], vec![id]));
    assert_eq!((scene.job(id).await.status, again.is_cancelled()), (Status::Running, false));
    scene.complete(&again, ()).await.unwrap();
}

/// One damaged job kept all others of its slice with a stream that was gone, and a queue from being opened.
#[tokio::test]
async fn damaged_job_does_not_keep_the_others_held() {
    let scene = Scene::new().await;
    let (damaged, good) = (scene.add(job()).await, scene.add(job()).await);
    let mut first = scene.stream("w1", 2).await;
    let held = next(&mut first).await.len();
    assert_eq!(held + if held < 2 { next(&mut first).await.len() } else { 0 }, 2);
    scene.script.damage(damaged);
    drop(first);
    let mut second = scene.stream("w2", 2).await;
    assert_eq!(next(&mut second).await[0].id, good);
    std::mem::forget(second);
    let again = PoolQueue::new(std::sync::Arc::clone(&scene.backend)).await.unwrap();
    let statuses = [damaged, good].map(|id| again.get(id));
    let [damaged, good] = statuses;
    assert_eq!(damaged.await.unwrap().unwrap().status, Status::Running);
    assert_eq!(good.await.unwrap().unwrap().crashes, 1);
}

/// A stream opened while the queue was being closed never ended, and its jobs counted a crash at the next start.
#[tokio::test]
async fn no_stream_opens_while_the_queue_closes() {
    let scene = Scene::new().await;
    let queue = scene.queue.clone();
    let (send, opened) = tokio::sync::oneshot::channel();
    scene.script.before_close(move || {
        Box::pin(async move {
            let _ = send.send(queue.stream("late").open().await);
            Ok(())
        })
    });
    scene.close().await.unwrap();
    let error = opened.await.unwrap().unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Closed));
}

/// With the runtime went the task that was to hand the jobs back: they counted a crash at the next start.
#[test]
fn jobs_of_a_stream_dropped_with_its_runtime_are_handed_back() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let scene = first.block_on(Scene::new());
    let id = first.block_on(scene.add(job()));
    let mut stream = first.block_on(scene.stream("w", 1));
    first.block_on(next(&mut stream));
    first.spawn(async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    drop(first);
    let stored = scene.stored.clone();
    drop(scene);
    let second = runtime();
    second.block_on(async {
        let queue = PoolQueue::new(MemoryBackend::open(stored, Default::default()).unwrap()).await.unwrap();
        let job = queue.get(id).await.unwrap().unwrap();
        assert_eq!((job.status, job.retry_count, job.crashes), (Status::FailedRetry, 1, 0));
    });
}

/// The close waited for a task of a runtime that nobody drove.
#[test]
fn stream_of_a_runtime_that_stands_still_can_be_closed() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (idle, busy) = (runtime(), runtime());
    let scene = idle.block_on(Scene::new());
    let id = idle.block_on(scene.add(job()));
    let mut stream = idle.block_on(scene.stream("w", 1));
    idle.block_on(next(&mut stream));
    busy.block_on(async {
        soon(stream.close()).await.unwrap();
        assert_eq!(scene.job(id).await.status, Status::FailedRetry);
        soon(scene.close()).await.unwrap();
    });
}

/// The stream looked like one that had ended.
#[test]
fn stream_works_in_the_runtime_it_is_opened_in() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let scene = first.block_on(Scene::new());
    drop(first);
    runtime().block_on(async {
        let mut stream = scene.stream("w", 1).await;
        let id = scene.add(job()).await;
        let batch = next(&mut stream).await;
        assert_eq!(batch[0].id, id);
        stream.close().await.unwrap();
        assert!(matches!(scene.complete(&batch[0], ()).await, Err(Error::Rejected(_)) | Ok(_)));
    });
}
