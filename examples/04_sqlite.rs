//! The same queue in an SQLite file: beside the application's own tables, and readable with any SQL tool.
//!
//! Run with `cargo run --example 04_sqlite --features sqlite`.

use std::time::Duration;

use poolqueue::rusqlite::Connection;
use poolqueue::{NewJob, PoolQueue, SqliteBackend};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("jobs.db");

    // `PoolQueue::open("sqlite:jobs.db")` does as well; a backend of its own can do more than a queue asks of it.
    let backend = SqliteBackend::open(&path)?;
    let queue = PoolQueue::new(backend.clone()).await?;
    let welcome = queue.enqueue(NewJob::json("mail", &"ada@example.org").tag("welcome")).await?;
    queue.enqueue(NewJob::json("mail", &"bob@example.org").run_after(Duration::from_secs(86_400))).await?;

    let mut jobs = queue.stream("mailer").open().await?;
    if let Some(batch) = jobs.next().await {
        for job in batch? {
            queue.complete(&job, "sent").await?;
        }
    }

    // While the queue is open, any SQL tool may look at it. Times and ids are in words in this view.
    let reader = Connection::open(&path)?;
    let look = "SELECT kind, status, payload, run_at, output FROM poolqueue_jobs_readable ORDER BY sequence";
    let mut statement = reader.prepare(look)?;
    let rows = statement.query_map([], |row| {
        let (kind, status, payload): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (run_at, output): (String, Option<String>) = (row.get(3)?, row.get(4)?);
        Ok((kind, status, payload, run_at, output.unwrap_or_default()))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    for (kind, status, payload, run_at, output) in &rows {
        println!("{kind:<6} {status:<16} {payload:<20} due {run_at}  {output}");
    }
    let statuses: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
    assert_eq!(statuses, ["completed", "initial_pending"]);

    // A copy of the whole file, made while the queue goes on. It is a queue of its own.
    let copy = dir.path().join("backup.db");
    backend.backup_to(&copy)?;
    let restored = PoolQueue::open(format!("sqlite:{}", copy.display())).await?;
    assert_eq!(restored.verify().await?, 2);
    assert_eq!(restored.get(welcome).await?.and_then(|job| job.output).as_deref(), Some(&b"sent"[..]));

    restored.close().await?;
    queue.close().await?;
    Ok(())
}
