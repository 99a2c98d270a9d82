//! A job's whole way, enqueue, delivery and completion, on the store in memory: what the writer, its inbox, the slots and the
//! streams cost when nothing is written to a disk.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use poolqueue::{JobStream, NewJob, PoolQueue};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

/// Jobs of one pass.
const JOBS: u64 = 1_024;

fn job() -> NewJob {
    NewJob::new("bench", vec![b'x'; 256]).tag("tenant:42")
}

/// A queue whose streams complete what they are given, each job by itself.
struct Working {
    runtime: Handle,
    queue: PoolQueue,
    completed: mpsc::UnboundedReceiver<()>,
}

impl Working {
    /// With so many streams of 16 jobs.
    async fn start(streams: usize) -> Self {
        let queue = PoolQueue::open("memory:").await.expect("memory is always there");
        let (done, completed) = mpsc::unbounded_channel();
        for number in 0..streams {
            let stream = queue.stream(format!("worker-{number}")).open().await.expect("the queue is open");
            tokio::spawn(work(queue.clone(), stream, done.clone()));
        }
        Working { runtime: Handle::current(), queue, completed }
    }

    /// Enqueues one job after the other, each once the last one is completed.
    async fn one_by_one(&mut self) {
        for _ in 0..JOBS {
            self.queue.enqueue(job()).await.expect("the queue is open");
            self.completed.recv().await;
        }
    }

    /// So many callers at once enqueue one job after the other.
    async fn called(&mut self, callers: u64) {
        for _ in 0..callers {
            let queue = self.queue.clone();
            tokio::spawn(async move {
                for _ in 0..JOBS / callers {
                    queue.enqueue(job()).await.expect("the queue is open");
                }
            });
        }
        self.drained().await;
    }

    /// Enqueues all jobs in one call.
    async fn drain(&mut self) {
        self.queue.enqueue_all((0..JOBS).map(|_| job())).await.expect("the queue is open");
        self.drained().await;
    }

    async fn drained(&mut self) {
        for _ in 0..JOBS {
            self.completed.recv().await;
        }
    }
}

/// Ends the streams, and the tasks with them.
impl Drop for Working {
    fn drop(&mut self) {
        self.runtime.block_on(self.queue.close()).expect("nothing can fail in memory");
    }
}

async fn work(queue: PoolQueue, mut stream: JobStream, done: mpsc::UnboundedSender<()>) {
    while let Some(Ok(batch)) = stream.next().await {
        for job in batch {
            let (queue, done) = (queue.clone(), done.clone());
            tokio::spawn(async move {
                if queue.complete(&job, ()).await.is_ok() {
                    // Nobody listens once the pass is over.
                    let _ = done.send(());
                }
            });
        }
    }
}

fn passes(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(JOBS));
    let mut measure = |name: &str, streams: usize, pass: fn(&Runtime, &mut Working)| {
        group.bench_function(name, |bench| {
            let started = || runtime.block_on(Working::start(streams));
            // The queue ends outside what is measured.
            let passed = |mut working| {
                pass(&runtime, &mut working);
                working
            };
            bench.iter_batched(started, passed, BatchSize::PerIteration);
        });
    };
    measure("one job at a time", 1, |runtime, working| runtime.block_on(working.one_by_one()));
    measure("64 callers, 4 streams of 16", 4, |runtime, working| runtime.block_on(working.called(64)));
    measure("drain, 4 streams of 16", 4, |runtime, working| runtime.block_on(working.drain()));
    group.finish();
}

fn brief() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
}

criterion_group! { name = benches; config = brief(); targets = passes }
criterion_main!(benches);
