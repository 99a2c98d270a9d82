//! The streams of a queue, and how they end.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use poolqueue_core::{
    Backend, BackendError, BackendErrorKind, Batch, Change, Lease, Target, lifecycle::Event,
};
use tokio::runtime::Handle;

use super::slice_of;
use super::stream::StreamCore;

/// What is reported for jobs that were held when their stream ended.
const STREAM_ENDED: &str = "stream ended";

/// The streams that are open, and those that have ended and whose jobs the store has not taken back yet.
#[derive(Default)]
pub(super) struct Streams {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listed: HashMap<u64, Arc<StreamCore>>,
    /// The queue is being closed, or was.
    closed: bool,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a stream that opens.
    pub(super) fn add(&self, stream: &Arc<StreamCore>) -> Result<(), BackendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(BackendError::closed());
        }
        state.listed.insert(stream.id, Arc::clone(stream));
        Ok(())
    }

    /// Lets no stream open from now on, and returns those there are.
    pub(super) fn close(&self) -> Vec<Arc<StreamCore>> {
        self.lock().closed = true;
        self.all()
    }

    pub(super) fn all(&self) -> Vec<Arc<StreamCore>> {
        self.lock().listed.values().map(Arc::clone).collect()
    }

    pub(super) fn open(&self) -> Vec<Arc<StreamCore>> {
        self.all().into_iter().filter(|stream| !stream.has_ended()).collect()
    }

    pub(super) fn ended(&self) -> Vec<Arc<StreamCore>> {
        self.all().into_iter().filter(|stream| stream.has_ended()).collect()
    }

    pub(super) fn lists(&self, stream: &StreamCore) -> bool {
        self.lock().listed.contains_key(&stream.id)
    }

    /// Forgets a stream that has ended and holds nothing. False when it holds something.
    pub(super) fn forget(&self, stream: &StreamCore) -> bool {
        let empty = stream.slots.held_count() == 0;
        if empty {
            self.lock().listed.remove(&stream.id);
        }
        empty
    }

    /// Ends a stream: what it still holds goes back. Until the store has taken it the stream stays listed, and the
    /// sweeper and [`reopen`](super::PoolQueue::reopen) try again: no job is left without an owner.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn end(&self, backend: &dyn Backend, stream: &StreamCore) -> Result<(), BackendError> {
        stream.end();
        #[cfg(shuttle)]
        if poolqueue_core::planted(poolqueue_core::Planted::KeptJobs) {
            return Ok(());
        }
        // Before the stream's places were closed a group may have reserved some. It is committed before the first
        // batch of this is, and what it claimed shows in the second look.
        let mut handed_back = hand_back(backend, stream).await;
        if handed_back.is_ok() && stream.slots.held_count() > 0 {
            handed_back = hand_back(backend, stream).await;
        }
        if self.forget(stream) { Ok(()) } else { handed_back }
    }
}

/// Hands back every job the stream holds. Commits a batch even if it holds none.
async fn hand_back(backend: &dyn Backend, stream: &StreamCore) -> Result<(), BackendError> {
    let held = stream.slots.held();
    if held.is_empty() {
        backend.commit(Batch::default()).await?;
    }
    apply_to_all(backend, &held, &Event::StreamEnded { message: STREAM_ENDED.to_owned() }).await
}

/// Applies an event that nobody asked for to these attempts, in slices. A job that says no has been answered in this
/// very moment; one that is damaged is left as it is, and does not keep the others of its slice.
pub(super) async fn apply_to_all(
    backend: &dyn Backend,
    leases: &[Lease],
    event: &Event,
) -> Result<(), BackendError> {
    for slice in leases.chunks(slice_of(backend)) {
        match apply_to(backend, slice, event).await {
            Err(error) if error.kind() == BackendErrorKind::Corrupted => {
                for lease in slice {
                    match apply_to(backend, std::slice::from_ref(lease), event).await {
                        Err(error) if error.kind() == BackendErrorKind::Corrupted => {
                            tracing::error!(job = %lease.id, %error, "a damaged job is left as it is");
                        }
                        applied => applied?,
                    }
                }
            }
            applied => applied?,
        }
    }
    Ok(())
}

async fn apply_to(backend: &dyn Backend, leases: &[Lease], event: &Event) -> Result<(), BackendError> {
    let change =
        |lease: &Lease| Change { target: Target::Lease(*lease), only_from: None, event: event.clone() };
    let changes = leases.iter().map(change).collect();
    backend.commit(Batch { changes, ..Batch::default() }).await.map(drop)
}

/// Runs `task` in the background, but what it does before it waits for the first time here and now: a store inside the
/// process has then been asked for the first batch, and does it even if the runtime is about to be gone.
pub(super) fn start(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    let mut task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
    if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        runtime.spawn(task);
    }
}
