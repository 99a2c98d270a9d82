//! What the benches share: queues in a fresh file, and callers that enqueue side by side.
#![allow(dead_code, missing_docs, reason = "each bench uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use poolqueue::backend::{EmbeddedOptions, WriterOptions};
use poolqueue::{NewJob, PoolQueue, RedbBackend, RedbOptions};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Bytes of a payload, in every bench.
pub const PAYLOAD: [u8; 256] = [b'x'; 256];

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// How commands are grouped.
#[derive(Clone, Copy)]
pub enum Grouping {
    /// As delivered.
    Grouped,
    /// One transaction, and so one sync, for each command.
    OneCommitPerOp,
}

/// A queue on the disk the build directory is on: a directory in memory has no syncs to measure.
pub struct Bench {
    pub queue: PoolQueue,
    pub dir: TempDir,
}

impl Bench {
    pub async fn new(grouping: Grouping) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut writer = WriterOptions::default();
        if let Grouping::OneCommitPerOp = grouping {
            writer.group_commands = 1;
        }
        let options = EmbeddedOptions::default().writer(writer);
        let path = dir.path().join("bench.redb");
        let backend = RedbBackend::open_with(path, RedbOptions::default(), options).expect("a store");
        Bench { queue: PoolQueue::new(backend).await.expect("a queue"), dir }
    }
}

/// Enqueues `jobs` from `callers` tasks, each awaiting its own, and returns how long it took.
pub async fn enqueue(queue: &PoolQueue, jobs: u64, callers: u64) -> Duration {
    let left = Arc::new(AtomicU64::new(jobs));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (queue, left) = (queue.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    queue.enqueue(NewJob::new("bench", PAYLOAD)).await.expect("an enqueue");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
    start.elapsed()
}

/// Fills the queue with `jobs` waiting jobs.
pub async fn fill(queue: &PoolQueue, jobs: u64) {
    let mut left = jobs;
    while left > 0 {
        let slice = left.min(1_000);
        queue.enqueue_all((0..slice).map(|_| NewJob::new("bench", PAYLOAD))).await.expect("a batch");
        left -= slice;
    }
}

/// Drains `jobs` jobs by `streams` streams of `capacity`, each completion acknowledged singly. Returns how long it took.
pub async fn drain(queue: &PoolQueue, jobs: u64, streams: usize, capacity: usize) -> Duration {
    let left = Arc::new(AtomicU64::new(jobs));
    let done = Arc::new(tokio::sync::Notify::new());
    let start = Instant::now();
    let mut open = Vec::new();
    for n in 0..streams {
        let mut stream =
            queue.stream(format!("worker-{n}")).capacity(capacity).open().await.expect("a stream");
        let (queue, left, done) = (queue.clone(), Arc::clone(&left), Arc::clone(&done));
        open.push(tokio::spawn(async move {
            while let Some(batch) = stream.next().await {
                for job in batch.expect("a batch") {
                    let (queue, left, done) = (queue.clone(), Arc::clone(&left), Arc::clone(&done));
                    tokio::spawn(async move {
                        queue.complete(&job, ()).await.expect("a completion");
                        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                            done.notify_one();
                        }
                    });
                }
            }
        }));
    }
    done.notified().await;
    let took = start.elapsed();
    for stream in open {
        stream.abort();
        let _ = stream.await;
    }
    took
}

/// The median time of a 4 KiB write and sync in a zero-filled file: what the disk asks for one commit.
pub fn fsync_probe(dir: &std::path::Path) -> Duration {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::File::create(dir.join("probe")).expect("a file");
    file.write_all(&vec![0; 1 << 20]).and_then(|()| file.sync_all()).expect("a probe");
    let mut times: Vec<Duration> = (0..64u64)
        .map(|n| {
            let start = Instant::now();
            file.seek(SeekFrom::Start(n * 4096)).expect("a seek");
            file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("a sync");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
