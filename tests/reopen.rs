//! After a failed sync: the handle refuses writes until it is reopened in place, and streams live on.

mod faulty;

use std::sync::{Arc, Mutex};

use faulty::{job, next, soon};
use poolqueue::backend::{Embedded, EmbeddedOptions, Profile, Store, Txn, Verdict};
use poolqueue::{Applied, BackendError, BackendErrorKind, ErrorKind, PoolQueue, Rejected, Status};
use poolqueue_core::memory::{MemoryReader, MemoryStore};

/// What becomes of a group whose sync fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Applied,
    Lost,
}

/// A store in memory whose syncs fail for as long as it is told.
struct Unsynced {
    inner: MemoryStore,
    fails: Arc<Mutex<Option<Fate>>>,
}

impl Store for Unsynced {
    type Reader = MemoryReader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        let mut failed = None;
        self.inner.transact(&mut |txn| {
            let verdict = group(txn)?;
            failed = (*self.fails.lock().unwrap()).filter(|_| verdict == Verdict::Commit);
            Ok(if failed == Some(Fate::Lost) { Verdict::Rollback } else { verdict })
        })?;
        let error = BackendError::new(BackendErrorKind::Io, "the sync failed").with_applied(Applied::Unknown);
        if failed.is_some() { Err(error) } else { Ok(()) }
    }

    fn reader(&self) -> MemoryReader {
        self.inner.reader()
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        self.inner.reopen()
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.inner.close()
    }
}

struct Scene {
    queue: PoolQueue,
    fails: Arc<Mutex<Option<Fate>>>,
}

impl Scene {
    async fn new() -> Self {
        let fails = Arc::default();
        let store = Unsynced { inner: MemoryStore::new(), fails: Arc::clone(&fails) };
        let profile = Profile { engine: "unsynced", durable: false, exclusive: true };
        let backend = Embedded::start(store, profile, EmbeddedOptions::default()).unwrap();
        Scene { queue: PoolQueue::new(backend).await.unwrap(), fails }
    }

    fn fail(&self, fate: Option<Fate>) {
        *self.fails.lock().unwrap() = fate;
    }
}

#[tokio::test]
async fn streams_live_through_a_failed_sync() {
    for (fate, held) in [(Fate::Applied, 0), (Fate::Lost, 1)] {
        let scene = Scene::new().await;
        let queue = &scene.queue;
        queue.enqueue(job()).await.unwrap();
        let mut stream = queue.stream("w").capacity(2).open().await.unwrap();
        let batch = next(&mut stream).await;
        scene.fail(Some(fate));
        let error = queue.complete(&batch[0], ()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.applied(), error.is_retryable()),
            (ErrorKind::Storage, Applied::Unknown, false)
        );
        assert_eq!(soon(stream.next()).await.unwrap().unwrap_err().kind(), ErrorKind::Storage);
        assert_eq!(queue.enqueue(job()).await.unwrap_err().backend_kind(), Some(BackendErrorKind::Closed));
        assert!(!queue.health().is_ok());
        scene.fail(None);
        queue.reopen().await.unwrap();
        assert_eq!((queue.health().is_ok(), stream.held()), (true, held));
        let id = queue.enqueue(job()).await.unwrap();
        assert_eq!(next(&mut stream).await[0].id, id);
        let again = queue.complete(&batch[0], ()).await;
        match fate {
            Fate::Lost => assert_eq!(again.unwrap(), Status::Completed),
            Fate::Applied => {
                assert!(matches!(again.unwrap_err().rejected(), Some(Rejected::AlreadyApplied { .. })))
            }
        }
    }
}

/// Its worker was never told: asked again, the cancellation changes nothing, and so told nobody.
#[tokio::test]
async fn worker_hears_of_a_cancellation_whose_outcome_was_unknown() {
    let scene = Scene::new().await;
    let id = scene.queue.enqueue(job()).await.unwrap();
    let mut stream = scene.queue.stream("w").open().await.unwrap();
    let batch = next(&mut stream).await;
    scene.fail(Some(Fate::Applied));
    scene.queue.cancel(id).await.unwrap_err();
    assert!(!batch[0].is_cancelled());
    scene.fail(None);
    scene.queue.reopen().await.unwrap();
    soon(batch[0].cancelled()).await;
    assert_eq!(scene.queue.acknowledge_cancel(&batch[0], true).await.unwrap(), Status::Stopped);
}

/// Nobody was left to hand the job back: it was running for ever.
#[tokio::test]
async fn stream_dropped_while_the_handle_is_ended_hands_its_jobs_back_by_reopening() {
    let scene = Scene::new().await;
    let id = scene.queue.enqueue(job()).await.unwrap();
    let mut stream = scene.queue.stream("w").open().await.unwrap();
    next(&mut stream).await;
    scene.fail(Some(Fate::Lost));
    scene.queue.enqueue(job()).await.unwrap_err();
    drop(stream);
    assert_eq!(scene.queue.reopen().await.map_err(|error| error.kind()), Ok(()));
    let found = scene.queue.get(id).await.unwrap().unwrap();
    assert_eq!((found.status, scene.queue.health().streams), (Status::Running, 0));
    scene.fail(None);
    scene.queue.reopen().await.unwrap();
    let found = scene.queue.get(id).await.unwrap().unwrap();
    assert_eq!((found.status, found.retry_count, scene.queue.health().held), (Status::FailedRetry, 1, 0));
}
