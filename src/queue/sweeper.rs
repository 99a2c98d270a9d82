//! The thread that beats for streams and finds lost leases.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{Backend, BackendError, BackendErrorKind, Clock, Lease, Wake};
use tokio::runtime::Handle;

use super::stream::StreamCore;
use super::streams::{Streams, apply_to_all, start};

/// A thread of its own, so that a blocked runtime starves nobody's lease.
pub(super) struct Sweeper {
    bell: Arc<Bell>,
}

/// Wakes the thread before its time.
#[derive(Default)]
struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    rung: bool,
    stopped: bool,
}

impl Bell {
    /// Sleeps until `interval` is over or someone rings. False when it is over for good.
    fn wait(&self, interval: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut Rung| !state.rung && !state.stopped;
        let (mut state, _) =
            self.changed.wait_timeout_while(state, interval, idle).unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.stopped
    }

    fn set(&self, set: impl FnOnce(&mut Rung)) {
        set(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.set(|state| state.rung = true);
    }
}

impl Sweeper {
    pub(super) fn start(
        streams: Arc<Streams>,
        backend: Weak<dyn Backend>,
        interval: Duration,
        runtime: Handle,
    ) -> Result<Self, BackendError> {
        let bell = Arc::new(Bell::default());
        let Some(clock) = backend.upgrade().map(|backend| Arc::clone(&backend.capabilities().clock)) else {
            return Err(BackendError::closed());
        };
        let wake: Arc<dyn Wake> = bell.clone();
        clock.subscribe(Arc::downgrade(&wake));
        let mut sweep = Sweep { streams, backend, runtime, interval, last: clock.monotonic(), clock };
        let thread_bell = Arc::clone(&bell);
        std::thread::Builder::new()
            .name("poolqueue-leases".to_owned())
            .spawn(move || {
                while thread_bell.wait(interval) {
                    sweep.run();
                }
            })
            .map_err(|error| {
                BackendError::new(BackendErrorKind::Io, "the lease thread could not be started")
                    .with_source(error)
            })?;
        Ok(Sweeper { bell })
    }

    pub(super) fn stop(&self) {
        self.bell.set(|state| state.stopped = true);
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeper").finish_non_exhaustive()
    }
}

struct Sweep {
    streams: Arc<Streams>,
    backend: Weak<dyn Backend>,
    runtime: Handle,
    interval: Duration,
    /// When the last sweep was, on the monotonic clock.
    last: Duration,
    clock: Arc<dyn Clock>,
}

impl Sweep {
    fn run(&mut self) {
        let now = self.clock.monotonic();
        // Whoever slept, stopped in a debugger or starved was not listening: it cannot know who was silent.
        let late = now.saturating_sub(self.last) > self.interval.saturating_mul(2);
        self.last = now;
        let mut lost: Vec<Lease> = Vec::new();
        for stream in self.streams.open() {
            match stream.manual_lease {
                Some(lease) if !late => lost.extend(stream.slots.silent(lease, now)),
                _ => stream.slots.beat_all(now),
            }
        }
        let mut ended = self.streams.ended();
        ended.retain(|stream| !self.streams.forget(stream));
        if lost.is_empty() && ended.is_empty() {
            return;
        }
        let Some(backend) = self.backend.upgrade() else { return };
        let streams = Arc::clone(&self.streams);
        start(&self.runtime, async move {
            lose(&*backend, &lost).await;
            hand_back(&*backend, &streams, &ended).await;
        });
    }
}

/// Takes jobs away whose holders are silent. What the store does not take is looked at again by the next sweep.
async fn lose(backend: &dyn Backend, lost: &[Lease]) {
    if lost.is_empty() {
        return;
    }
    tracing::warn!(jobs = lost.len(), "leases ran out, their jobs are due again");
    if let Err(error) = apply_to_all(backend, lost, &Event::LoseWorker).await {
        tracing::warn!(%error, "jobs with lost leases could not be given back");
    }
}

/// Hands back the jobs of streams that have ended and could not do it themselves.
async fn hand_back(backend: &dyn Backend, streams: &Streams, ended: &[Arc<StreamCore>]) {
    for stream in ended {
        if let Err(error) = streams.end(backend, stream).await {
            tracing::warn!(assignee = %stream.assignee, %error, "the jobs of an ended stream are handed back later");
        }
    }
}
