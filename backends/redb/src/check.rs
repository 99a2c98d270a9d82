//! Reading a large file in the background after it was opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use poolqueue_core::BackendError;

use crate::shared::Shared;
use crate::verify;

/// The thread that reads everything once. Dropping it stops the thread and waits for its end, a few
/// hundred rows at most.
#[derive(Debug)]
pub(crate) struct Checker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, BackendError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let site = shared.site().clone();
        let run = move || {
            match shared.exact_view().and_then(|view| verify::verify(&view, shared.site(), &stopped)) {
                Ok(Some(_)) => shared.note_verified(),
                // Stopped, closed, or not readable just now: it stays unverified.
                Ok(None) => {}
                Err(error) => shared.note(&error),
            }
        };
        let thread = std::thread::Builder::new()
            .name("poolqueue-check".into())
            .spawn(run)
            .map_err(|error| site.io("start the thread that checks it", error))?;
        Ok(Checker { stop, thread: Some(thread) })
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever it panicked of was reported where it ran.
            let _ = thread.join();
        }
    }
}
