//! What holds for the types of the public interface, whatever they do.

use std::error::Error as StdError;

use poolqueue::backend::Backend;
use poolqueue::*;

fn send_sync<T: Send + Sync + 'static>() {}
fn send<T: Send>(_: &T) {}

#[test]
fn handles_and_values_go_from_thread_to_thread() {
    send_sync::<PoolQueue>();
    send_sync::<JobStream>();
    send_sync::<ClaimedJob>();
    send_sync::<EventStream>();
    send_sync::<Builder>();
    send_sync::<StreamBuilder>();
    send_sync::<NewJob>();
    send_sync::<Job>();
    send_sync::<Error>();
    send_sync::<Box<dyn Backend>>();
    send_sync::<MemoryBackend>();
    #[cfg(feature = "redb")]
    send_sync::<RedbBackend>();
}

#[tokio::test]
async fn every_future_can_be_spawned() {
    let queue = PoolQueue::open("memory:").await.unwrap();
    let id = queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    let mut stream = queue.stream("worker").open().await.unwrap();
    let batch = stream.next().await.unwrap().unwrap();
    let job = &batch[0];
    send(&PoolQueue::open("memory:"));
    send(&queue.enqueue(NewJob::new("kind", b"")));
    send(&queue.enqueue_all([NewJob::new("kind", b"")]));
    send(&queue.complete(job, b"done"));
    send(&queue.complete_all(batch.iter().map(|job| (job, ()))));
    send(&queue.fail_retry(job.lease(), "no"));
    send(&queue.cancel(Select::id(id)));
    send(&queue.delete(id));
    send(&queue.retain(&Retention::new()));
    send(&queue.list(Query::new(Select::all())));
    send(&queue.explain(id));
    send(&queue.close());
    send(&job.cancelled());
    send(&stream.next());
}

#[tokio::test]
async fn errors_say_what_sort_they_are_and_whether_anything_was_applied() {
    let queue = PoolQueue::open("memory:").await.unwrap();
    let missing = JobId::from_bytes([1; 16]);
    let rejected = queue.complete(missing, ()).await.unwrap_err();
    assert_eq!(rejected.kind(), ErrorKind::Rejected);
    assert_eq!(rejected.rejected(), Some(&Rejected::NotFound { id: missing }));
    let invalid = queue.enqueue(NewJob::new("", b"")).await.unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::Invalid);
    let too_large = queue.enqueue(NewJob::new("kind", vec![0; 2 << 20])).await.unwrap_err();
    assert_eq!(too_large.kind(), ErrorKind::TooLarge);
    for error in [rejected, invalid, too_large] {
        assert_eq!(error.applied(), Applied::No);
        assert!(!error.is_retryable());
        let boxed: Box<dyn StdError + Send + Sync> = error.into();
        assert!(!boxed.to_string().is_empty() && !boxed.to_string().ends_with('.'));
    }
}

#[test]
fn a_queue_outside_of_a_runtime_is_an_error_and_no_panic() {
    let mut opening = Box::pin(PoolQueue::open("memory:"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(opened) = opening.as_mut().poll(&mut context) else { panic!("it waits") };
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Invalid);
}

/// The handles are dropped after the runtime they belong to: nothing panics and nothing hangs.
#[test]
fn handles_may_outlive_their_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (queue, stream) = runtime.block_on(async {
        let queue = PoolQueue::open("memory:").await.unwrap();
        queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
        let mut stream = queue.stream("worker").open().await.unwrap();
        stream.next().await.unwrap().unwrap();
        (queue, stream)
    });
    drop(runtime);
    drop(stream);
    drop(queue);
}
