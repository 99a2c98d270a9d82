//! A model of a stream's pump, for shuttle, as `crates/core/tests/shuttle` has them of the writer:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test -p poolqueue --release --no-default-features --lib model
//! ```

use std::future::poll_fn;
use std::sync::Arc;

use poolqueue_core::memory::{MemoryBackend, MemoryStore};
use poolqueue_core::{
    AssigneeId, Backend, Batch, ClaimFilter, EmbeddedOptions, Insert, Job, JobId, Limits, ManualClock,
    NewJob, Planted, Reader, Snapshot, Store, Timestamp,
};
use poolqueue_testkit::proof::figure;
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::thread;
use tokio::sync::watch;

use super::pump::{Pumped, run};
use super::stream::StreamCore;
use super::streams::Streams;
use tries::{Model, prove};

#[path = "../../crates/core/tests/shuttle/tries.rs"]
mod tries;

#[test]
fn every_job_of_a_stream_is_read_or_handed_back_in_every_interleaving() {
    let models: [(&str, Model); 2] = [("a stream that is read", read), ("a stream that ends", ended)];
    let faults: [(Planted, Model); 2] = [(Planted::LostWakeUp, read), (Planted::KeptJobs, ended)];
    prove("R11", "pump of a stream, interleavings", figure("R11_PUMP", 2_000), &models, &faults);
}

/// A backend, a stream on it and its pump.
struct Rig {
    backend: Arc<dyn Backend>,
    stored: MemoryStore,
    stream: Arc<StreamCore>,
    pump: JoinHandle<()>,
    /// Kept: a pump ends when nobody can reopen any more.
    _reopened: watch::Sender<u64>,
}

impl Rig {
    fn new(capacity: usize) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_900_000_000_000_000));
        let (stored, options) = (MemoryStore::new(), EmbeddedOptions::default().clock(clock));
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::open(stored.clone(), options).unwrap());
        let assignee = AssigneeId::new("w").unwrap();
        let stream = Arc::new(StreamCore::new(assignee, ClaimFilter::default(), capacity, None).unwrap());
        let (reopened, changes) = watch::channel(0);
        let pump = spawn(run(Arc::clone(&backend), Pumped(Arc::clone(&stream)), changes));
        Rig { backend, stored, stream, pump, _reopened: reopened }
    }

    /// Enqueues a job on a thread of its own.
    fn enqueue(&self, n: u8) -> thread::JoinHandle<()> {
        let backend = Arc::clone(&self.backend);
        thread::spawn(move || assert!(block_on(backend.commit(add(n))).unwrap().is_complete()))
    }

    /// Ends all threads, and checks what they leave.
    fn end(self) {
        block_on(self.pump).unwrap();
        drop(self.backend);
        self.stored.reader().snapshot().unwrap().verify().unwrap();
    }
}

fn add(n: u8) -> Batch {
    let id = JobId::from_bytes([n; 16]);
    let insert: Insert = NewJob::new("kind", vec![n]).id(id).into_insert(&Limits::default(), || id).unwrap();
    Batch { inserts: vec![insert], ..Batch::default() }
}

fn next(stream: &StreamCore) -> Option<Vec<Job>> {
    block_on(poll_fn(|context| stream.mailbox.poll_take(context))).map(Result::unwrap)
}

/// Two jobs come while the stream is read: both are read, then it is drained and says so.
fn read() {
    let rig = Rig::new(2);
    let enqueued = [rig.enqueue(1), rig.enqueue(2)];
    let mut jobs = Vec::new();
    while jobs.len() < 2 {
        jobs.extend(next(&rig.stream).expect("it is open"));
    }
    rig.stream.stop_claiming();
    assert!(next(&rig.stream).is_none(), "there are more jobs than were enqueued");
    enqueued.into_iter().for_each(|enqueued| enqueued.join().unwrap());
    rig.end();
}

/// A stream ends while jobs come. Afterwards it holds none, and neither does the store.
fn ended() {
    let rig = Rig::new(2);
    let enqueued = [rig.enqueue(1), rig.enqueue(2)];
    let streams = Streams::default();
    streams.add(&rig.stream).unwrap();
    block_on(streams.end(&*rig.backend, &rig.stream)).unwrap();
    assert_eq!(rig.stream.slots.held(), [], "it has ended and holds jobs");
    enqueued.into_iter().for_each(|enqueued| enqueued.join().unwrap());
    while next(&rig.stream).is_some() {}
    block_on(rig.backend.commit(Batch::default())).unwrap();
    let held = rig.stored.reader().snapshot().unwrap().held().unwrap();
    assert_eq!(held, [], "jobs are held by a stream that has ended");
    rig.end();
}
