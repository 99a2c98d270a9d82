//! What keeps a stream filled: one task that always has a claim standing with the store.

use std::sync::Arc;

use poolqueue_core::{Backend, BackendError, Claim, Job};
use tokio::sync::{mpsc, watch};

use super::stream::StreamCore;

/// What a stream is sent.
pub(super) type Item = Result<Vec<Job>, BackendError>;

/// Claims for `stream` until it stops. The channel needs no bound of its own: it never holds more jobs than the stream
/// has places, and one error.
pub(super) async fn run(
    backend: Arc<dyn Backend>,
    stream: Arc<StreamCore>,
    mut reopened: watch::Receiver<u64>,
    sender: mpsc::UnboundedSender<Item>,
) {
    let ended = stream.stopped().clone();
    while !ended.is_cancelled() {
        reopened.mark_unchanged();
        let claim = Claim {
            assignee: stream.assignee.clone(),
            filter: stream.filter.clone(),
            slots: Arc::clone(&stream.slots),
            wait: true,
        };
        let claimed = tokio::select! {
            biased;
            () = ended.cancelled() => break,
            claimed = backend.claim(vec![claim]) => claimed,
        };
        let failed = claimed.is_err();
        let batches = claimed.map(|claims| claims.into_iter().flatten().collect::<Vec<Job>>());
        if batches.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        if sender.send(batches).is_err() {
            // The stream was dropped in this moment; its end hands back what it holds.
            break;
        }
        if failed {
            tokio::select! {
                () = ended.cancelled() => break,
                changed = reopened.changed() => if changed.is_err() { break },
            }
        }
    }
}
