//! The whole loop: enqueue, have jobs pushed, report what became of them.
//!
//! Run with `cargo run --example 01_enqueue_and_stream`.

use poolqueue::{NewJob, PoolQueue, Priority, Select};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let queue = PoolQueue::open(dir.path().join("jobs.redb")).await?;

    // One job. When this returns, the job is on stable storage.
    let cat = queue.enqueue(NewJob::new("thumbnail", b"cat.png").tag("images")).await?;

    // Many jobs, in one transaction: all of them or none.
    let files = ["dog.png", "owl.png", "fox.png"];
    let others = queue.enqueue_all(files.map(|file| NewJob::new("thumbnail", file).tag("images"))).await?;

    // A job that overtakes the others of its queue, and one that this stream does not want.
    let urgent = NewJob::new("thumbnail", b"now.png").tag("images").priority(Priority::HIGH);
    let urgent = queue.enqueue(urgent).await?;
    let mail = queue.enqueue(NewJob::json("mail", &("ada@example.org", "hello")).tag("mail")).await?;

    // At most two at once; the next is claimed in the same commit that completes one.
    let mut jobs = queue.stream("worker-1").tags(["images"]).capacity(2).open().await?;
    let mut order = Vec::new();
    while order.len() < 5 {
        let Some(batch) = jobs.next().await else { break };
        for job in batch? {
            let name = String::from_utf8_lossy(&job.payload).into_owned();
            println!("worker-1 got {name} (attempt {})", job.attempt);
            queue.complete(&job, format!("small-{name}")).await?;
            order.push(job.id);
        }
    }
    jobs.close().await?;

    assert_eq!(order[0], urgent, "lower priority numbers run first");
    assert_eq!(order[1], cat, "otherwise first in, first out");
    assert_eq!(order[2..], others);
    let done = queue.get(cat).await?.ok_or("the job is gone")?;
    assert_eq!(done.output.as_deref(), Some(&b"small-cat.png"[..]));
    let stats = queue.stats(Select::new()).await?;
    assert_eq!((stats.total, stats.completed, stats.pending), (6, 5, 1));
    println!("why is the mail not sent? {:?}", queue.explain(mail).await?);
    queue.close().await?;
    Ok(())
}
