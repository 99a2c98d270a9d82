use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};
use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::{Attempt, Committed, EventKind, JobId, Kind, Observer, QueueName, Status};
use tokio::sync::broadcast;

/// Something that happened to a job, told after it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobEvent {
    /// A job was enqueued.
    Enqueued {
        /// The job.
        id: JobId,
        /// What sort of work it is.
        kind: Kind,
        /// The queue it waits in.
        queue: QueueName,
    },
    /// A job made a step.
    Changed {
        /// The job.
        id: JobId,
        /// What sort of work it is.
        kind: Kind,
        /// The queue it waits in.
        queue: QueueName,
        /// What happened.
        event: EventKind,
        /// The status before.
        from: Status,
        /// The status after.
        to: Status,
        /// The attempt after.
        attempt: Attempt,
        /// When the store applied it.
        at: DateTime<Utc>,
    },
    /// A job was deleted.
    Deleted {
        /// The job.
        id: JobId,
    },
    /// Another process changed something in the same store, or a transaction of the application's did. Which jobs is not
    /// told; what `enqueue_in` and `complete_in` of this process's own backend did is told
    /// besides, as what it was.
    Elsewhere,
    /// The reader was too slow: this many events were left out here.
    Missed {
        /// How many.
        events: u64,
    },
}

impl JobEvent {
    fn enqueued(job: &JobState) -> Self {
        JobEvent::Enqueued { id: job.id, kind: job.labels.kind.clone(), queue: job.labels.queue.clone() }
    }

    fn changed(step: &Transition) -> Self {
        JobEvent::Changed {
            id: step.after.id,
            kind: step.after.labels.kind.clone(),
            queue: step.after.labels.queue.clone(),
            event: step.event,
            from: step.before.status,
            to: step.after.status,
            attempt: step.after.attempt,
            at: step.at.to_datetime().unwrap_or_default(),
        }
    }
}

/// Turns commits into events for whoever listens, until the queue is closed.
#[derive(Debug)]
pub(crate) struct EventSource {
    sender: RwLock<Option<broadcast::Sender<JobEvent>>>,
}

impl EventSource {
    pub(crate) fn new(capacity: usize) -> Self {
        EventSource { sender: RwLock::new(Some(broadcast::Sender::new(capacity))) }
    }

    pub(crate) fn subscribe(&self) -> EventStream {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        // A receiver whose sender is gone ends at once.
        let receiver = sender.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe);
        EventStream { receiver }
    }

    fn send(&self, events: impl Iterator<Item = JobEvent>) {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref().filter(|sender| sender.receiver_count() > 0) else { return };
        for event in events {
            // Fails only when the last listener has just gone.
            let _ = sender.send(event);
        }
    }

    /// Ends every stream after the events it has not read yet.
    pub(crate) fn close(&self) {
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Observer for EventSource {
    fn elsewhere(&self) {
        self.send(std::iter::once(JobEvent::Elsewhere));
    }

    fn committed(&self, what: Committed<'_>) {
        let inserted = what.inserted.iter().map(JobEvent::enqueued);
        let changed = what.transitions.iter().map(JobEvent::changed);
        let deleted = what.deleted.iter().map(|id| JobEvent::Deleted { id: *id });
        self.send(inserted.chain(changed).chain(deleted));
    }
}

/// What happens to jobs, in the order of commits. See [`PoolQueue::events`](crate::PoolQueue::events).
#[derive(Debug)]
pub struct EventStream {
    receiver: broadcast::Receiver<JobEvent>,
}

impl EventStream {
    /// The next event; `None` when the queue was closed or all its clones are gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<JobEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(events)) => Some(JobEvent::Missed { events }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
