//! Alone in its process: it counts how often the writer's thread wakes.
#![cfg(target_os = "linux")]

use std::time::Duration;

use poolqueue::NewJob;
use poolqueue_core::{Backend, Batch, EmbeddedOptions};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};
use rusqlite::TransactionBehavior;

fn naps() -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let Ok(comm) = std::fs::read_to_string(task.join("comm")) else { continue };
        if !comm.starts_with("poolqueue-sqlit") {
            continue;
        }
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap();
        sum += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    }
    sum
}

/// What was rolled back is not waited for ever after.
#[tokio::test]
async fn what_was_rolled_back_is_not_waited_for_ever_after() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let here = SqliteBackend::open_with(
        &path,
        SqliteOptions::default().wal_grow_bytes(0),
        EmbeddedOptions::default(),
    )
    .unwrap();
    let mut conn = here.connect().unwrap();
    here.commit(Batch::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let _ = here.enqueue_in(&txn, [NewJob::new("kind", b"")]).unwrap();
    txn.rollback().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = naps();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = naps() - before;
    assert!(after < 100, "{after}");
}
