//! The application and the queue at the same file, in every order that a seed brings about.

#[path = "support/application.rs"]
mod application;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use application::{Rig, check_copy, id, job, open};
use poolqueue::{BackendErrorKind, Error, Lease, NewJob, PoolQueue, Query, Rejected, Select};
use poolqueue_core::{
    AssigneeId, Backend, Claim, ClaimFilter, EmbeddedOptions, JobId, ManualClock, Slots, Timestamp,
};
use poolqueue_redb::{RedbBackend, RedbOptions};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

const INBOX: TableDefinition<'_, u64, ()> = TableDefinition::new("poolqueue_inbox");

#[tokio::test(flavor = "multi_thread")]
async fn going_back_to_a_savepoint_that_the_queue_has_written_after_ends_it() {
    let rig = Rig::new().await;
    rig.queue.enqueue(job(1)).await.unwrap();
    let txn = rig.begin();
    let savepoint = txn.ephemeral_savepoint().unwrap();
    txn.commit().unwrap();
    rig.queue.enqueue(job(2)).await.unwrap();
    let mut txn = rig.begin();
    txn.restore_savepoint(&savepoint).unwrap();
    txn.commit().unwrap();
    let later = rig.queue.enqueue(job(3)).await;
    let error = later.unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Corrupted), "{error}");
    rig.queue.close().await.unwrap();
    // What is there now is what the application went back to.
    let rig = rig.restart_closed().await;
    assert_eq!(rig.verify().await, 1);
    rig.queue.enqueue(job(2)).await.unwrap();
    assert_eq!(rig.verify().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_within_the_transaction_takes_the_jobs_along() {
    let rig = Rig::new().await;
    rig.queue.enqueue(job(1)).await.unwrap();
    let savepoint = {
        let txn = rig.begin();
        let savepoint = txn.ephemeral_savepoint().unwrap();
        txn.commit().unwrap();
        savepoint
    };
    let mut txn = rig.begin();
    drop(rig.backend.enqueue_in(&txn, [job(2)]).unwrap());
    txn.restore_savepoint(&savepoint).unwrap();
    drop(rig.backend.enqueue_in(&txn, [job(2), job(3)]).unwrap());
    txn.commit().unwrap();
    assert_eq!(rig.stats().await.total, 3);
    assert_eq!(rig.verify().await, 3);
    rig.queue.enqueue(job(4)).await.unwrap();
    let rig = rig.restart().await;
    assert_eq!(rig.verify().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_queues_is_opened_by_redb_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own.redb");
    let queue = PoolQueue::new(RedbBackend::open(&path).unwrap()).await.unwrap();
    queue.enqueue_all((1..=50).map(job)).await.unwrap();
    queue.close().await.unwrap();
    drop(queue);
    for round in 0..3 {
        let db = Arc::new(Database::open(&path).unwrap());
        let backend = open(&db, &RedbOptions::default());
        let queue = PoolQueue::new(backend.clone()).await.unwrap();
        assert_eq!(queue.verify().await.unwrap(), 50 + 2 * round);
        let txn = db.begin_write().unwrap();
        drop(backend.enqueue_in(&txn, [job(100 + round)]).unwrap());
        txn.commit().unwrap();
        if round != 1 {
            queue.close().await.unwrap();
        }
        drop((queue, backend, db));
        let queue = PoolQueue::new(RedbBackend::open(&path).unwrap()).await.unwrap();
        queue.enqueue(job(200 + round)).await.unwrap();
        assert_eq!(queue.verify().await.unwrap(), 52 + 2 * round);
        queue.close().await.unwrap();
        drop(queue);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps_do_not_go_back_in_transactions_of_the_applications() {
    let directory = tempfile::tempdir().unwrap();
    let db = Arc::new(RedbBackend::create_database(directory.path().join("app.redb")).unwrap());
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
    let options = EmbeddedOptions::default().clock(Arc::clone(&clock) as _);
    let backend =
        RedbBackend::with_database_options(Arc::clone(&db), RedbOptions::default(), options).unwrap();
    let queue = PoolQueue::new(backend.clone()).await.unwrap();
    queue.enqueue(job(1)).await.unwrap();
    let mut stream = queue.stream("worker").capacity(1).open().await.unwrap();
    let claimed = application::next(&mut stream).await;
    clock.jump(Timestamp::from_micros(500_000_000));
    let txn = db.begin_write().unwrap();
    drop(backend.complete_in(&txn, claimed.lease(), ()).unwrap());
    txn.commit().unwrap();
    let entries = queue.history(id(1)).await.unwrap().entries;
    let stamps: Vec<_> = entries.iter().map(|entry| entry.at).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_threads_use_one_transaction() {
    let rig = Rig::new().await;
    let txn = rig.begin();
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let (rig, txn) = (&rig, &txn);
                scope.spawn(move || {
                    for number in 0..50 {
                        let staged = rig.backend.enqueue_in(txn, [job(1 + thread * 1000 + number)]);
                        staged.map(drop).map_err(|error| error.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    txn.commit().unwrap();
    rig.queue.enqueue(job(9999)).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(rig.verify().await, 201);
}

/// What a job is to the model.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Open,
    Held(Lease),
    Completed,
    Stopped,
}

#[derive(Clone, Debug, Default)]
struct Jobs {
    jobs: BTreeMap<JobId, Model>,
    keys: BTreeMap<u64, JobId>,
}

impl Jobs {
    fn insert(&mut self, number: u64, key: Option<u64>) -> Result<(), JobId> {
        if self.jobs.contains_key(&id(number)) {
            return Err(id(number));
        }
        if let Some(key) = key {
            if let Some(holder) = self.keys.get(&key) {
                return Err(*holder);
            }
            self.keys.insert(key, id(number));
        }
        self.jobs.insert(id(number), Model::Open);
        Ok(())
    }

    fn end(&mut self, id: JobId, model: Model) {
        self.jobs.insert(id, model);
        self.keys.retain(|_, holder| *holder != id);
    }

    fn held(&self) -> Vec<Lease> {
        let lease = |model: &Model| if let Model::Held(lease) = model { Some(*lease) } else { None };
        self.jobs.values().filter_map(lease).collect()
    }

    fn count(&self, model: &Model) -> u64 {
        self.jobs.values().filter(|own| *own == model).count() as u64
    }
}

fn keyed(number: u64, key: Option<u64>) -> NewJob {
    // Each restart is a crash to those that are held.
    let job = job(number).crash_limit(1000);
    match key {
        Some(key) => job.unique(key.to_string()),
        None => job,
    }
}

struct Chaos {
    rig: Option<Rig>,
    slots: Arc<Slots>,
    random: fastrand::Rng,
    jobs: Jobs,
    copies: u32,
}

impl Chaos {
    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }

    fn new_job(&mut self) -> (u64, Option<u64>) {
        (self.random.u64(1..120), self.random.bool().then(|| self.random.u64(0..6)))
    }

    async fn step(&mut self) {
        match self.random.u32(0..100) {
            0..15 => {
                let (number, key) = self.new_job();
                let result = self.rig().queue.enqueue(keyed(number, key)).await;
                same(result.map(drop), self.jobs.insert(number, key));
            }
            15..60 => self.transaction(),
            60..75 => self.claim().await,
            75..80 => {
                let Some(lease) = self.pick() else { return };
                if self.random.bool() {
                    self.rig().queue.release(lease).await.unwrap();
                    self.jobs.jobs.insert(lease.id, Model::Open);
                } else {
                    self.rig().queue.complete(lease, ()).await.unwrap();
                    self.jobs.end(lease.id, Model::Completed);
                }
            }
            80..85 => {
                let open: Vec<JobId> = self
                    .jobs
                    .jobs
                    .iter()
                    .filter(|(_, own)| **own == Model::Open)
                    .map(|(id, _)| *id)
                    .collect();
                let Some(id) = self.random.choice(open) else { return };
                self.rig().queue.cancel(id).await.unwrap();
                self.jobs.end(id, Model::Stopped);
            }
            85..90 => self.check().await,
            90..95 => assert_eq!(self.rig().verify().await, self.jobs.jobs.len() as u64),
            95..97 => {
                self.copies += 1;
                let path = self.rig().path(&format!("copy-{}.redb", self.copies));
                let (backend, to) = (self.rig().backend.clone(), path.clone());
                tokio::task::spawn_blocking(move || backend.backup_to(to)).await.unwrap().unwrap();
                assert_eq!(check_copy(&path).await, self.jobs.jobs.len() as u64);
                std::fs::remove_file(path).unwrap();
            }
            _ => {
                let rig = self.rig.take().unwrap();
                let rig = if self.random.bool() { rig.restart().await } else { rig.restart_closed().await };
                self.rig = Some(rig);
                self.slots = Slots::new(4);
                for lease in self.jobs.held() {
                    self.jobs.jobs.insert(lease.id, Model::Open);
                }
                self.check().await;
            }
        }
    }

    fn pick(&mut self) -> Option<Lease> {
        let held = self.jobs.held();
        self.random.choice(held)
    }

    fn transaction(&mut self) {
        let mut txn = self.rig().begin();
        let savepoint = (self.random.u32(0..6) == 0).then(|| txn.ephemeral_savepoint().unwrap());
        if self.random.u32(0..6) == 0 {
            txn.set_durability(Durability::None).unwrap();
        } else if self.random.u32(0..6) == 0 {
            txn.set_two_phase_commit(true);
        }
        let mut jobs = self.jobs.clone();
        for _ in 0..self.random.u32(1..5) {
            let held = jobs.held();
            if self.random.bool() && !held.is_empty() {
                let lease = held[self.random.usize(0..held.len())];
                drop(self.rig().backend.complete_in(&txn, lease, b"out".to_vec()).unwrap());
                jobs.end(lease.id, Model::Completed);
                assert!(self.rig().backend.complete_in(&txn, lease, ()).is_err());
            } else {
                let news: Vec<_> = (0..self.random.u32(1..4)).map(|_| self.new_job()).collect();
                let mut tried = jobs.clone();
                let model = news.iter().try_for_each(|(number, key)| tried.insert(*number, *key));
                let news = news.iter().map(|(number, key)| keyed(*number, *key));
                let result = self.rig().backend.enqueue_in(&txn, news);
                if result.is_ok() {
                    jobs = tried;
                }
                same(result.map(drop), model);
            }
        }
        if let Some(savepoint) = savepoint
            && self.random.bool()
        {
            txn.restore_savepoint(&savepoint).unwrap();
            jobs = self.jobs.clone();
        }
        match self.random.u32(0..6) {
            0 => txn.abort().unwrap(),
            1 => drop(txn),
            _ => {
                txn.commit().unwrap();
                self.jobs = jobs;
            }
        }
    }

    async fn claim(&mut self) {
        let claim = Claim {
            assignee: AssigneeId::new("worker").unwrap(),
            filter: ClaimFilter::default(),
            slots: Arc::clone(&self.slots),
            wait: false,
        };
        let claimed = self.rig().backend.claim(vec![claim]).await.unwrap().remove(0);
        let free = 4 - self.jobs.held().len() as u64;
        assert_eq!(claimed.len() as u64, free.min(self.jobs.count(&Model::Open)));
        for job in claimed {
            assert_eq!(self.jobs.jobs.get(&job.id), Some(&Model::Open));
            self.jobs.jobs.insert(job.id, Model::Held(job.lease()));
        }
        assert_eq!(self.slots.held_count(), self.jobs.held().len());
    }

    async fn check(&self) {
        let stats = self.rig().stats().await;
        let held = self.jobs.held();
        assert_eq!(stats.total, self.jobs.jobs.len() as u64, "{stats:?}");
        assert_eq!(stats.running, held.len() as u64, "{stats:?}");
        assert_eq!(stats.completed, self.jobs.count(&Model::Completed));
        assert_eq!(stats.stopped, self.jobs.count(&Model::Stopped));
        let mut leases = self.rig().backend.held().await.unwrap();
        leases.sort_by_key(|lease| lease.id);
        assert_eq!(leases, held);
    }
}

fn same(result: Result<(), Error>, model: Result<(), JobId>) {
    let rejected = result.map_err(|error| match error.rejected() {
        Some(Rejected::Duplicate { id }) => *id,
        _ => panic!("{error}"),
    });
    assert_eq!(rejected, model);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_application_does_the_queue_is_what_the_model_says() {
    for seed in 0..8 {
        println!("seed {seed}");
        let rig = Rig::new().await;
        let random = fastrand::Rng::with_seed(seed);
        let mut chaos =
            Chaos { rig: Some(rig), slots: Slots::new(4), random, jobs: Jobs::default(), copies: 0 };
        for _ in 0..150 {
            chaos.step().await;
        }
        chaos.check().await;
        assert_eq!(chaos.rig().verify().await, chaos.jobs.jobs.len() as u64);
        let page = chaos.rig().queue.list(Query::new(Select::all()).limit(1000)).await.unwrap();
        assert_eq!(page.jobs.len(), chaos.jobs.jobs.len());
    }
}

/// Nobody will ever count what was committed: whoever asks for figures is told why, and not to try again.
#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_queue_that_has_ended_are_refused_for_good() {
    let rig = Rig::new().await;
    rig.queue.enqueue(job(1)).await.unwrap();
    let txn = rig.begin();
    drop(rig.backend.enqueue_in(&txn, [job(2)]).unwrap());
    // What a call leaves that failed in the middle.
    txn.open_table(INBOX).unwrap().insert(u64::MAX, ()).unwrap();
    txn.commit().unwrap();
    rig.queue.enqueue(job(3)).await.unwrap_err();
    let began = Instant::now();
    let error = rig.queue.stats(Select::all()).await.unwrap_err();
    assert_ne!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}");
    assert!(!error.is_retryable(), "{error}");
    rig.queue.verify().await.unwrap_err();
    rig.backend.held().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let found = rig.queue.get(id(1)).await.unwrap();
    assert_eq!(found.map(|job| job.id), Some(id(1)), "reading goes on");
    rig.queue.close().await.unwrap();
    let rig = rig.restart_closed().await;
    assert_eq!(rig.verify().await, 2);
}

#[test]
fn a_table_of_the_applications_is_not_taken_for_one_of_the_queues() {
    let inbox = TableDefinition::<u64, &str>::new("inbox");
    let directory = tempfile::tempdir().unwrap();
    let db = Arc::new(Database::create(directory.path().join("app.redb")).unwrap());
    let txn = db.begin_write().unwrap();
    txn.open_table(inbox).unwrap().insert(1, "a letter").unwrap();
    txn.commit().unwrap();
    let unprefixed = RedbOptions::default().with_table_prefix("");
    let opened = RedbBackend::with_database_options(Arc::clone(&db), unprefixed, EmbeddedOptions::default());
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Invalid, "{error}");
    let read = db.begin_read().unwrap();
    assert_eq!(read.list_tables().unwrap().count(), 1);
    let found = read.open_table(inbox).unwrap().get(1).unwrap().map(|row| row.value().to_owned());
    assert_eq!(found.as_deref(), Some("a letter"));
}
