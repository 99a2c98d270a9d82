//! Where a stream's jobs wait to be read.

use std::fmt;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use poolqueue_core::{BackendError, Job, Slots};
// The models must see who waits for it: it is held while the slots are asked.
#[cfg(all(test, shuttle))]
use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(all(test, shuttle)))]
use std::sync::{Mutex, MutexGuard};

/// What was claimed for a stream and not read yet.
///
/// It needs no bound of its own: jobs that the stream does not hold any more, having been taken away unread, are thrown
/// out before there are as many of them as of those it holds.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    error: Option<BackendError>,
    ended: bool,
    reader: Option<Waker>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let reader = {
            let mut state = self.lock();
            change(&mut state);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn put(&self, jobs: impl IntoIterator<Item = Job>, slots: &Slots) {
        self.change(|state| {
            // The store goes on: that it had stopped needs no telling any more.
            state.error = None;
            state.jobs.extend(jobs);
            if state.jobs.len() / 2 > slots.held_count() {
                state.jobs.retain(|job| slots.holds(job.lease()));
            }
        });
    }

    /// The store has stopped. Read after the jobs that came before; only the last error is kept.
    pub(super) fn fail(&self, error: BackendError) {
        self.change(|state| state.error = Some(error));
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// Everything that has come since the last read; `None` when nothing more comes.
    pub(super) fn poll_take(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<Job>, BackendError>>> {
        let mut state = self.lock();
        if !state.jobs.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut state.jobs))));
        }
        match state.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None if state.ended => Poll::Ready(None),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("jobs", &self.lock().jobs.len()).finish_non_exhaustive()
    }
}
