//! A program that is killed in the middle of its work, three times, and loses nothing.
//!
//! The parent starts itself as a child that works through the queue, and kills it without warning. Then it opens the
//! file and finds every job: the acknowledged ones completed, the others ready again.
//!
//! Run with `cargo run --example 03_crash_and_resume`.

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use poolqueue::{EventKind, JobId, NewJob, PoolQueue, Query, Select};

const JOBS: usize = 200;
const KILLS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return work(Path::new(&path), usize::MAX).await.map(|_| ());
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("jobs.redb");
    let queue = PoolQueue::open(&path).await?;
    let ids = queue.enqueue_all((0..JOBS).map(|n| NewJob::json("square", &n))).await?;
    queue.close().await?;

    let mut acknowledged = HashSet::new();
    for kill in 1..=KILLS {
        acknowledged.extend(run_and_kill(&path, 20 * kill)?);
        println!("kill {kill}: {} of {JOBS} jobs acknowledged so far", acknowledged.len());
    }

    // Jobs that were running when the child died are ready again as soon as the file is open.
    let queue = PoolQueue::open(&path).await?;
    let rescued = queue.stats(Select::new()).await?;
    println!("after the last kill: {} completed, {} to be tried again", rescued.completed, rescued.failed);
    assert!(rescued.completed >= acknowledged.len() as u64, "an acknowledged completion was lost");
    queue.close().await?;
    let left = work(&path, JOBS).await?;

    let queue = PoolQueue::open(&path).await?;
    let jobs = queue.list(Query::new(Select::all()).limit(JOBS + 1)).await?.jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<JobId>>(), ids, "a job was lost or invented");
    let mut started_again = 0;
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(job.output.as_deref(), Some((n * n).to_string().as_bytes()));
        let history = queue.history(job.id).await?;
        let completions = history.entries.iter().filter(|step| step.event == EventKind::Complete).count();
        assert_eq!(completions, 1, "job {} was completed more than once", job.id);
        started_again += usize::from(job.attempt.0 > 1);
    }
    println!(
        "the last run did {left}; all {JOBS} are done, each completed once, {started_again} started more than once"
    );
    queue.close().await?;
    Ok(())
}

/// Works until the queue is empty or `most` jobs are done, printing the id of each acknowledged completion.
async fn work(path: &Path, most: usize) -> Result<usize, Box<dyn Error>> {
    let queue = PoolQueue::open(path).await?;
    let mut left = queue.stats(Select::new()).await?;
    let mut jobs = queue.stream("worker").capacity(8).open().await?;
    let mut done = 0;
    while left.completed < left.total && done < most {
        let Some(batch) = jobs.next().await else { break };
        for job in batch? {
            let n: usize = serde_json::from_slice(&job.payload)?;
            queue.complete(&job, (n * n).to_string()).await?;
            println!("{}", job.id);
            done += 1;
            left.completed += 1;
        }
    }
    queue.close().await?;
    Ok(done)
}

/// Lets a child work until it has acknowledged `enough` jobs, then kills it. Returns what it acknowledged.
fn run_and_kill(path: &Path, enough: usize) -> Result<Vec<JobId>, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).arg(path).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let mut acknowledged = Vec::new();
    for line in BufReader::new(output).lines() {
        acknowledged.push(line?.parse()?);
        if acknowledged.len() == enough {
            child.kill()?;
        }
    }
    child.wait()?;
    Ok(acknowledged)
}
