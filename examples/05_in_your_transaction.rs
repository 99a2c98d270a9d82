//! An order and the job that ships it, written in one transaction of the application's own: never one without the other,
//! and each order shipped exactly once.
//!
//! The shop takes orders (a row and a job), and its worker ships them (a row and the job's completion). It is killed
//! without warning again and again, wherever it happens to be; each time the file is looked at.
//!
//! Run with `cargo run --example 05_in_your_transaction --features sqlite`. `POOLQUEUE_QUICK=1` kills it less often.

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use poolqueue::rusqlite::{Connection, Transaction, TransactionBehavior::Immediate};
use poolqueue::{NewJob, PoolQueue, Query, Select, SqliteBackend, Status};

const KILLS: u64 = 300;
const KILLS_QUICK: u64 = 25;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return run_shop(Path::new(&path)).await;
    }
    let kills = if std::env::var_os("POOLQUEUE_QUICK").is_some() { KILLS_QUICK } else { KILLS };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("shop.db");
    let shop = Connection::open(&path)?;
    shop.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL);
         CREATE TABLE shipments (of_order INTEGER NOT NULL);",
    )?;
    for kill in 0..kills {
        run_and_kill(&path, Duration::from_micros(kill * 7_919 % 20_000))?;
        let (orders, shipments) = look(&path, &shop).await?;
        if kill % 25 == 24 {
            println!(
                "{:>3} kills: {orders} orders, each with its job; {shipments} shipped, each once",
                kill + 1
            );
        }
    }
    let (orders, shipments) = look(&path, &shop).await?;
    assert!(orders > kills as usize && shipments > 0, "the shop did nothing");
    Ok(())
}

/// What is in the file after a kill goes together.
async fn look(path: &Path, shop: &Connection) -> Result<(usize, usize), Box<dyn Error>> {
    let ids = |sql: &str| -> Result<Vec<i64>, poolqueue::rusqlite::Error> {
        shop.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let orders: HashSet<i64> = ids("SELECT id FROM orders")?.into_iter().collect();
    let shipments = ids("SELECT of_order FROM shipments")?;
    let queue = PoolQueue::new(open(path)?).await?;
    let (mut with_job, mut shipped) = (HashSet::new(), HashSet::new());
    let mut query = Query::new(Select::all()).limit(1_000);
    loop {
        let page = queue.list(query.clone()).await?;
        for job in &page.jobs {
            let order: i64 = serde_json::from_slice(&job.payload)?;
            assert!(with_job.insert(order), "order {order} has two jobs");
            if job.status == Status::Completed {
                shipped.insert(order);
            }
        }
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    assert_eq!(orders, with_job, "an order without a job, or a job without an order");
    let once: HashSet<i64> = shipments.iter().copied().collect();
    assert_eq!(once.len(), shipments.len(), "an order was shipped twice");
    assert_eq!(once, shipped, "a shipment without its job's completion, or the other way round");
    queue.close().await?;
    Ok((orders.len(), shipments.len()))
}

/// Takes an order and ships one, for ever.
async fn run_shop(path: &Path) -> Result<(), Box<dyn Error>> {
    let backend = open(path)?;
    let queue = PoolQueue::new(backend.clone()).await?;
    let mut shop = backend.connect()?;
    let mut jobs = queue.stream("shipping").capacity(1).open().await?;
    println!("open");
    loop {
        let order = shop.transaction_with_behavior(Immediate)?;
        take_order(&backend, &order)?;
        order.commit()?;

        let Some(batch) = jobs.next().await else { return Ok(()) };
        for job in batch? {
            let order: i64 = serde_json::from_slice(&job.payload)?;
            let shipment = shop.transaction_with_behavior(Immediate)?;
            shipment.execute("INSERT INTO shipments (of_order) VALUES (?1)", [order])?;
            backend.complete_in(&shipment, job.lease(), "shipped")?;
            shipment.commit()?;
        }
    }
}

/// A row of the application's, and the job that belongs to it.
fn take_order(backend: &SqliteBackend, txn: &Transaction<'_>) -> Result<(), Box<dyn Error>> {
    txn.execute("INSERT INTO orders (item) VALUES ('tea')", [])?;
    let order = txn.last_insert_rowid();
    backend.enqueue_in(txn, [NewJob::json("ship", &order)])?;
    Ok(())
}

/// The shop's file has tables of its own: the queue's are added with its consent.
fn open(path: &Path) -> Result<SqliteBackend, poolqueue::BackendError> {
    let options = poolqueue::SqliteOptions::default().share_with_application(true).wal_grow_bytes(0);
    SqliteBackend::open_with(path, options, Default::default())
}

/// Lets the shop work for so long, then kills it.
fn run_and_kill(path: &Path, after: Duration) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).arg(path).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let opened = BufReader::new(output).lines().next().transpose()?;
    assert_eq!(opened.as_deref(), Some("open"));
    sleep(after);
    child.kill()?;
    child.wait()?;
    Ok(())
}
