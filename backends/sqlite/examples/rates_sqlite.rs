//! Durable enqueues and a drain over this store, beside a raw log: rounds take turns, medians are compared. Not run
//! in CI: the figures are of the machine.
//!
//! `cargo run --release -p poolqueue-sqlite --example rates_sqlite -- [jobs] [rounds]`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolqueue::backend::EmbeddedOptions;
use poolqueue::{NewJob, PoolQueue};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CALLERS: u64 = 64;

async fn open(path: &Path) -> Result<PoolQueue, Failure> {
    let backend = SqliteBackend::open_with(path, SqliteOptions::default(), EmbeddedOptions::default())?;
    Ok(PoolQueue::new(backend).await?)
}

/// `jobs` enqueues by 64 callers, each awaiting its own.
async fn enqueue(queue: &PoolQueue, jobs: u64) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let queue = queue.clone();
        callers.spawn(async move {
            for _ in 0..jobs / CALLERS {
                queue.enqueue(NewJob::new("kind", vec![7; 256])).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}

/// 4 streams of 16; each completion is awaited singly, `jobs` in all.
async fn drain(queue: &PoolQueue, jobs: u64) -> Result<Duration, Failure> {
    let start = Instant::now();
    let left = Arc::new(std::sync::atomic::AtomicI64::new(i64::try_from(jobs)?));
    let mut streams = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (queue, left) = (queue.clone(), Arc::clone(&left));
        streams.spawn(async move {
            let mut stream = queue.stream(format!("worker-{number}")).capacity(16).open().await?;
            let mut work = tokio::task::JoinSet::new();
            while left.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                let next = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
                let Ok(Some(batch)) = next else { continue };
                for job in batch? {
                    let (queue, left) = (queue.clone(), Arc::clone(&left));
                    work.spawn(async move {
                        let done = queue.complete(&job, b"done").await;
                        left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        done
                    });
                }
                while let Some(done) = work.try_join_next() {
                    done??;
                }
            }
            Ok::<(), Failure>(())
        });
    }
    while left.load(std::sync::atomic::Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = start.elapsed();
    while let Some(done) = streams.join_next().await {
        done??;
    }
    Ok(took)
}

/// The same bytes in groups of 64, appended to a file filled with zeroes, a sync for each group.
fn raw_log(path: &Path, jobs: u64) -> Result<Duration, Failure> {
    let record = [7u8; 64 * 300];
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let groups = usize::try_from(jobs / 64)?;
    file.write_all(&vec![0; record.len() * groups])?;
    file.sync_all()?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    let start = Instant::now();
    for _ in 0..groups {
        file.write_all(&record)?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let jobs: u64 = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let jobs = jobs / CALLERS * CALLERS;
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        let directory = tempfile::tempdir()?;
        let raw = raw_log(&directory.path().join("raw.log"), jobs)?;
        let (enqueued, drained, batch) = runtime.block_on(async {
            let queue = open(&directory.path().join("jobs.db")).await?;
            let enqueued = enqueue(&queue, jobs).await?;
            let drained = drain(&queue, jobs).await?;
            let start = Instant::now();
            for _ in 0..jobs / 1_000 {
                queue.enqueue_all((0..1_000).map(|_| NewJob::new("kind", vec![7; 256]))).await?;
            }
            let batch = start.elapsed();
            queue.close().await?;
            Ok::<_, Failure>((enqueued, drained, batch))
        })?;
        for (rates, span) in rates.iter_mut().zip([raw, enqueued, drained, batch]) {
            rates.push(jobs as f64 / span.as_secs_f64());
        }
        println!("raw {raw:?}, enqueue {enqueued:?}, drain {drained:?}, batches {batch:?}");
    }
    let [raw, enqueued, drained, batch] = rates.map(median);
    println!("{jobs} jobs of 256 B, WAL, synchronous=FULL, medians of {rounds} rounds");
    println!("raw log, groups of 64   {raw:>9.0}/s ({:.0?} a sync)", Duration::from_secs_f64(64.0 / raw));
    for (what, rate) in
        [("enqueue, 64 callers", enqueued), ("drain, 4 streams of 16", drained), ("batches of 1000", batch)]
    {
        println!("{what:<23} {rate:>9.0}/s, {:.2} of the raw log", rate / raw);
    }
    Ok(())
}
