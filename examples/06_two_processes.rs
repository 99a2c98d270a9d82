//! Two processes on one SQLite file: one enqueues, the other works. How fast does a job wake the other process, and what
//! does waiting cost it?
//!
//! Run with `cargo run --release --example 06_two_processes --features sqlite`. `POOLQUEUE_QUICK=1` takes a few seconds.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use poolqueue::{NewJob, PoolQueue, Select, SqliteBackend};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return work(Path::new(&path)).await;
    }
    let quick = std::env::var_os("POOLQUEUE_QUICK").is_some();
    let (jobs, idle) = if quick { (100, 2) } else { (1_000, 10) };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("jobs.db");
    let queue = PoolQueue::new(SqliteBackend::open(&path)?).await?;
    let mut child = Command::new(std::env::current_exe()?).arg(&path).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stdout.take().ok_or("the child has no output")?).lines();
    let worker: u32 = expect(&mut said, "open ")?.parse()?;

    // Single jobs at odd moments, each into an idle stream of the other process.
    let mut waits = Vec::new();
    for n in 0..jobs {
        tokio::time::sleep(Duration::from_micros(1_000 + n * 7_919 % 20_000)).await;
        queue.enqueue(NewJob::json("ping", &now()?)).await?;
        let enqueued = now()?;
        let got: u64 = expect(&mut said, "got ")?.parse()?;
        waits.push(Duration::from_nanos(got.saturating_sub(enqueued)));
    }
    waits.sort_unstable();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    println!("from enqueue's return to the job in the other process, {jobs} jobs:");
    println!("  p50 {:.2?}  p99 {:.2?}  slowest {:.2?}", at(50), at(99), waits[waits.len() - 1]);

    // Nothing to do: both processes wait, one with an open stream.
    let before = (cpu_time(worker), cpu_time(std::process::id()));
    tokio::time::sleep(Duration::from_secs(idle)).await;
    let after = (cpu_time(worker), cpu_time(std::process::id()));
    let share = |before: Option<Duration>, after: Option<Duration>| {
        before.zip(after).map_or("not measured on this system".to_owned(), |(before, after)| {
            format!("{:.2} % of a core", (after - before).as_secs_f64() / idle as f64 * 100.0)
        })
    };
    println!("idle for {idle} s:");
    println!("  the worker, waiting for jobs: {}", share(before.0, after.0));
    println!("  the other one: {}", share(before.1, after.1));

    let stats = queue.stats(Select::all()).await?;
    assert_eq!((stats.total, stats.completed), (jobs, jobs));
    child.kill()?;
    child.wait()?;
    queue.verify().await?;
    queue.close().await?;
    Ok(())
}

/// Takes jobs and says when each came.
async fn work(path: &Path) -> Result<(), Box<dyn Error>> {
    let queue = PoolQueue::new(SqliteBackend::open(path)?).await?;
    let mut jobs = queue.stream("worker").open().await?;
    println!("open {}", std::process::id());
    while let Some(batch) = jobs.next().await {
        let got = now()?;
        for job in batch? {
            queue.complete(&job, b"").await?;
            println!("got {got}");
        }
    }
    Ok(())
}

/// What the other process says after `word`.
fn expect(said: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<String, Box<dyn Error>> {
    let line = said.next().ok_or("the worker has ended")??;
    Ok(line.strip_prefix(word).ok_or_else(|| format!("the worker said {line:?}"))?.to_owned())
}

/// Nanoseconds by the clock that both processes share.
fn now() -> Result<u64, Box<dyn Error>> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

/// How long a process and all its threads have run on a processor, where the system tells.
fn cpu_time(process: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += Duration::from_nanos(schedstat.split(' ').next()?.parse().ok()?);
    }
    Some(total)
}
