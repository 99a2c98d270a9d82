//! What else can become of a job: it fails and is tried again, is stopped, is cancelled, is given up, is retried.
//!
//! Run with `cargo run --example 02_retry_stop_cancel`.

use std::time::Duration;

use poolqueue::{Backoff, Failure, JobStream, NewJob, PoolQueue, Rejected, Select, Status};

/// The next job of a stream that holds one at a time.
async fn next(jobs: &mut JobStream) -> Result<poolqueue::ClaimedJob, Box<dyn std::error::Error>> {
    let batch = jobs.next().await.ok_or("the stream has ended")??;
    Ok(batch.into_iter().next().ok_or("a batch is never empty")?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let queue = PoolQueue::open(dir.path().join("jobs.redb")).await?;
    let mut jobs = queue.stream("worker-1").capacity(1).open().await?;

    // Fails once, then works. The delay is the job's own backoff; a failure can name another.
    let backoff = Backoff::fixed(Duration::from_millis(20));
    let flaky = queue.enqueue(NewJob::new("flaky", b"").max_attempts(3).backoff(backoff)).await?;
    let job = next(&mut jobs).await?;
    assert_eq!(queue.fail_retry(&job, "connection refused").await?, Status::FailedRetry);
    let again = next(&mut jobs).await?;
    assert_eq!((again.attempt.0, again.failures), (2, 1));

    // The first worker wakes up late: its lease is of an older attempt, so it changes nothing.
    let late = queue.complete(&job, b"too late").await.expect_err("a stale lease was accepted");
    assert!(matches!(late.rejected(), Some(Rejected::StaleAttempt { .. })));
    queue.complete(&again, b"ok").await?;

    // Given up: the attempts are spent, or the failure says there is no point in another.
    let hopeless = queue.enqueue(NewJob::new("hopeless", b"")).await?;
    let job = next(&mut jobs).await?;
    assert_eq!(queue.fail_retry(&job, Failure::new("no such user").no_retry()).await?, Status::Dead);

    // Cancelled before it started, and cancelled while it runs: the worker is told and has the last word.
    let later = queue.enqueue(NewJob::new("report", b"").run_after(Duration::from_secs(3600))).await?;
    let running = queue.enqueue(NewJob::new("video", b"")).await?;
    let job = next(&mut jobs).await?;
    let cancelled = queue.cancel(Select::ids([later, running])).await?;
    assert_eq!(cancelled.cancelled.len(), 2);
    job.cancelled().await;
    assert_eq!(queue.acknowledge_cancel(&job, true).await?, Status::Stopped);

    // An operator has another go at everything that was given up.
    assert_eq!(queue.retry(Select::all().status(Status::Dead)).await?.changed, [hopeless]);
    let job = next(&mut jobs).await?;
    queue.stop(&job, "the user has left").await?;

    for (id, expected) in [
        (flaky, Status::Completed),
        (hopeless, Status::Stopped),
        (later, Status::Unscheduled),
        (running, Status::Stopped),
    ] {
        let job = queue.get(id).await?.ok_or("the job is gone")?;
        assert_eq!(job.status, expected);
        println!("{} {}: {}", job.kind, job.id, job.status);
        for step in queue.history(id).await?.entries {
            println!("    {} {} → {} (attempt {})", step.event, step.from, step.to, step.attempt);
        }
    }
    queue.close().await?;
    Ok(())
}
