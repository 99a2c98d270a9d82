//! Several handles on one file that do everything at random, come and go: each job is done once, and in the end all of
//! it fits together.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use poolqueue::{JobEvent, JobId, NewJob, PoolQueue, Select, Status};
use poolqueue_core::EmbeddedOptions;
use poolqueue_sqlite::{SqliteBackend, SqliteOptions};
use rusqlite::TransactionBehavior;

#[derive(Default)]
struct World {
    /// Jobs of which it was said that they are stored.
    stored: Mutex<HashSet<JobId>>,
    /// Jobs of transactions that were rolled back.
    undone: Mutex<HashSet<JobId>>,
    /// How often each was completed by a call that returned Ok.
    done: Mutex<HashMap<JobId, u32>>,
    cancelled: Mutex<HashSet<JobId>>,
    deliveries: AtomicU64,
    stop: AtomicBool,
    calm: AtomicBool,
}

fn open(path: &Path) -> SqliteBackend {
    let options = SqliteOptions::default().wal_grow_bytes(0);
    SqliteBackend::open_with(path, options, EmbeddedOptions::default()).unwrap()
}

/// One life of a handle.
async fn live(path: &Path, world: &Arc<World>, random: &mut fastrand::Rng, name: String) {
    let backend = open(path);
    let queue = PoolQueue::new(backend.clone()).await.unwrap();
    let capacity = random.usize(1..5);
    let mut stream = queue.stream(name.clone()).capacity(capacity).open().await.unwrap();
    let mut events = queue.events();
    let mut conn = backend.connect().unwrap();
    conn.execute_batch("CREATE TABLE IF NOT EXISTS orders (job BLOB)").unwrap();
    let until = Instant::now() + Duration::from_millis(random.u64(300..1_500));
    let mut told = HashSet::new();
    while Instant::now() < until && !world.stop.load(Ordering::Relaxed) || world.calm.load(Ordering::Relaxed)
    {
        let calm = world.calm.load(Ordering::Relaxed);
        if calm && world.stop.load(Ordering::Relaxed) {
            break;
        }
        let what = if calm { 9 } else { random.u32(0..14) };
        match what {
            0 | 1 => {
                let id = queue.enqueue(NewJob::new("kind", b"x").crash_limit(1000)).await.unwrap();
                world.stored.lock().unwrap().insert(id);
            }
            2 => {
                let delay = Duration::from_millis(random.u64(0..40));
                let jobs = (0..3).map(|_| NewJob::new("kind", b"y").crash_limit(1000).run_after(delay));
                let ids = queue.enqueue_all(jobs).await.unwrap();
                world.stored.lock().unwrap().extend(ids);
            }
            3 | 4 => {
                let commit = random.bool();
                let ids = {
                    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                    let staged =
                        backend.enqueue_in(&txn, [NewJob::new("kind", b"z").crash_limit(1000)]).unwrap();
                    txn.execute("INSERT INTO orders VALUES (x'00')", []).unwrap();
                    if commit {
                        txn.commit().unwrap()
                    } else {
                        txn.rollback().unwrap()
                    }
                    if random.bool() {
                        staged.wake()
                    }
                    staged.into_ids()
                };
                if commit { &world.stored } else { &world.undone }.lock().unwrap().extend(ids);
            }
            5 if random.u32(0..4) == 0 => {
                let of = format!("handle-{}", random.u32(0..3));
                queue.lose_worker(of).await.unwrap();
            }
            6 => {
                let id = world.stored.lock().unwrap().iter().nth(random.usize(0..20)).copied();
                if let Some(id) = id {
                    let _ = queue.cancel(Select::id(id)).await.unwrap();
                    world.cancelled.lock().unwrap().insert(id);
                }
            }
            _ => {
                assert!(stream.held() <= capacity, "{} of {capacity} places", stream.held());
                let Ok(batch) = tokio::time::timeout(Duration::from_millis(5), stream.next()).await else {
                    continue;
                };
                let Some(batch) = batch else {
                    // Lost with its worker's name.
                    stream = queue.stream(name.clone()).capacity(capacity).open().await.unwrap();
                    continue;
                };
                for job in batch.unwrap() {
                    world.deliveries.fetch_add(1, Ordering::Relaxed);
                    let ended = if job.is_cancelled() {
                        let _ = queue.acknowledge_cancel(&job, true).await;
                        false
                    } else if random.bool() {
                        queue.complete(&job, b"").await.is_ok()
                    } else {
                        let commit = random.bool();
                        let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                        match backend.complete_in(&txn, job.lease(), "") {
                            Ok(_) if commit => {
                                txn.commit().unwrap();
                                true
                            }
                            Ok(_) => {
                                txn.rollback().unwrap();
                                queue.complete(&job, b"").await.is_ok()
                            }
                            Err(_) => {
                                drop(txn);
                                false
                            }
                        }
                    };
                    if ended {
                        *world.done.lock().unwrap().entry(job.id).or_default() += 1;
                    }
                }
            }
        }
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
            if let JobEvent::Enqueued { id, .. } = event {
                assert!(told.insert(id), "told twice");
                assert!(!world.undone.lock().unwrap().contains(&id), "told of what never was");
            }
        }
    }
    drop(conn);
    match random.u32(0..3) {
        0 => queue.close().await.unwrap(),
        1 => {
            drop(stream);
            drop(queue);
            drop(backend)
        }
        _ => {
            drop(queue);
            drop(backend);
            drop(stream)
        }
    }
}

fn run(seed: u64, millis: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("jobs.db");
    drop(open(&path));
    let world = Arc::new(World::default());
    let threads: Vec<_> = (0..3)
        .map(|n| {
            let (path, world) = (path.clone(), Arc::clone(&world));
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed * 10 + n);
                while !world.stop.load(Ordering::Relaxed) {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(live(&path, &world, &mut random, format!("handle-{n}")));
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(millis));
    world.calm.store(true, Ordering::Relaxed);
    // What is left is done by whoever is there.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = PoolQueue::new(open(&path)).await.unwrap();
        let since = Instant::now();
        loop {
            let stats = queue.stats(Select::all()).await.unwrap();
            let left = stats.total - stats.completed - stats.stopped - stats.dead;
            if left == 0 {
                break;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "seed {seed}: {left} jobs are stuck: {stats:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.stop.store(true, Ordering::Relaxed);
        let failed = threads.into_iter().map(|thread| thread.join().is_err()).filter(|x| *x).count();
        assert_eq!(failed, 0, "seed {seed}");
        queue.verify().await.unwrap();
        let cancelled = world.cancelled.lock().unwrap().clone();
        let stored = world.stored.lock().unwrap().clone();
        for id in &stored {
            let job = queue.get(*id).await.unwrap().expect("an acknowledged job is there");
            let times = world.done.lock().unwrap().get(id).copied().unwrap_or(0);
            match job.status {
                Status::Completed => assert_eq!(times, 1, "seed {seed}: {job:?}"),
                _ => assert!(times == 0 && (cancelled.contains(id)), "seed {seed}: {times} {job:?}"),
            }
        }
        let undone = world.undone.lock().unwrap().clone();
        for id in &undone {
            assert!(queue.get(*id).await.unwrap().is_none());
        }
        println!(
            "seed {seed}: {} stored, {} deliveries",
            stored.len(),
            world.deliveries.load(Ordering::Relaxed)
        );
        queue.close().await.unwrap();
    });
    let conn = rusqlite::Connection::open(&path).unwrap();
    for table in ["handles", "touched", "applied"] {
        let left: i64 =
            conn.query_row(&format!("SELECT count(*) FROM poolqueue_{table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "seed {seed}: {table}");
    }
}

#[test]
fn handles_that_come_and_go_do_each_job_once() {
    let seed = std::env::var("POOLQUEUE_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let millis =
        std::env::var("POOLQUEUE_CHAOS_MILLIS").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_000);
    run(seed, millis);
}
