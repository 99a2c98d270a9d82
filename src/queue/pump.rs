//! What keeps a stream filled: one task that always has a claim standing with the store.

use std::ops::Deref;
use std::sync::Arc;

use poolqueue_core::{Backend, Claim};
use tokio::sync::watch;

use super::stream::StreamCore;

/// A stream with a pump. Wherever the pump is when it is dropped, the reader hears that nothing more comes.
pub(super) struct Pumped(pub(super) Arc<StreamCore>);

impl Deref for Pumped {
    type Target = StreamCore;

    fn deref(&self) -> &StreamCore {
        &self.0
    }
}

impl Drop for Pumped {
    fn drop(&mut self) {
        self.0.mailbox.end();
    }
}

/// Claims for `stream` until it stops.
pub(super) async fn run(backend: Arc<dyn Backend>, stream: Pumped, mut reopened: watch::Receiver<u64>) {
    while !stream.stopped().is_cancelled() {
        reopened.mark_unchanged();
        let claim = Claim {
            assignee: stream.assignee.clone(),
            filter: stream.filter.clone(),
            slots: Arc::clone(&stream.slots),
            wait: true,
        };
        let claimed = tokio::select! {
            biased;
            () = stream.stopped().cancelled() => break,
            claimed = backend.claim(vec![claim]) => claimed,
        };
        match claimed {
            Ok(claims) => stream.mailbox.put(claims.into_iter().flatten(), &stream.slots),
            // The queue was closed in this very moment, which is no error of the stream.
            Err(_) if stream.stopped().is_cancelled() => break,
            Err(error) => {
                stream.mailbox.fail(error);
                tokio::select! {
                    () = stream.stopped().cancelled() => break,
                    changed = reopened.changed() => if changed.is_err() { break },
                }
            }
        }
    }
}
