//! Storage that fails under a queue in the application's database, and under a copy.

#[path = "support/application.rs"]
mod application;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use application::{ORDERS, id, job, next, open};
use poolqueue::{BackendErrorKind, PoolQueue, Select};
use poolqueue_core::Applied;
use poolqueue_redb::storage::Storage;
use poolqueue_redb::{RedbBackend, RedbOptions};

/// Writes and syncs that fail while the switch is on.
#[derive(Debug)]
struct Failing {
    inner: Box<dyn Storage>,
    switch: Arc<AtomicBool>,
    kind: io::ErrorKind,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.switch.load(Ordering::SeqCst) { Err(self.kind.into()) } else { Ok(()) }
    }
}

impl Storage for Failing {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.inner.write(offset, data)
    }
}

/// Options under which the files that `concerned` names fail while the switch is on.
fn failing(switch: &Arc<AtomicBool>, kind: io::ErrorKind, concerned: fn(&Path) -> bool) -> RedbOptions {
    let switch = Arc::clone(switch);
    RedbOptions::default().with_storage_wrap(Arc::new(move |path, inner| {
        let switch = Arc::clone(&switch);
        if concerned(path) { Box::new(Failing { inner, switch, kind }) } else { inner }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_io_error_the_application_opens_both_anew_and_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.redb");
    let switch = Arc::new(AtomicBool::new(false));
    let options = failing(&switch, io::ErrorKind::Other, |_| true);
    let db = Arc::new(RedbBackend::create_database_with(&path, &options).unwrap());
    let backend = open(&db, &RedbOptions::default());
    let queue = PoolQueue::new(backend.clone()).await.unwrap();
    queue.enqueue(job(1)).await.unwrap();
    let txn = db.begin_write().unwrap();
    drop(backend.enqueue_in(&txn, [job(2)]).unwrap());
    txn.commit().unwrap();
    assert_eq!(queue.stats(Select::all()).await.unwrap().total, 2);
    let txn = db.begin_write().unwrap();
    txn.open_table(ORDERS).unwrap().insert(3, "tea").unwrap();
    drop(backend.enqueue_in(&txn, [job(3)]).unwrap());
    switch.store(true, Ordering::SeqCst);
    txn.commit().unwrap_err();
    let error = queue.enqueue(job(4)).await.unwrap_err();
    assert_ne!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}");
    switch.store(false, Ordering::SeqCst);
    let reopened = queue.reopen().await.unwrap_err();
    assert_eq!(reopened.backend_kind(), Some(BackendErrorKind::Closed), "{reopened}");
    assert_eq!(queue.get(id(2)).await.unwrap().map(|job| job.id), Some(id(2)), "reading goes on");
    drop((queue, backend, db));
    let db = Arc::new(RedbBackend::create_database(&path).unwrap());
    let queue = PoolQueue::new(open(&db, &RedbOptions::default())).await.unwrap();
    let jobs = queue.verify().await.unwrap();
    // Of the commit that failed it is not known whether it happened.
    assert!((2..=3).contains(&jobs), "{jobs}");
    assert!(queue.get(id(4)).await.unwrap().is_none() || error.applied() == Applied::Unknown);
    let mut stream = queue.stream("worker").capacity(1).open().await.unwrap();
    assert_eq!(next(&mut stream).await.id, id(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_written_leaves_nothing_behind_and_the_queue_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let switch = Arc::new(AtomicBool::new(false));
    let is_new = |path: &Path| path.extension().is_some_and(|extension| extension == "new");
    let options = failing(&switch, io::ErrorKind::StorageFull, is_new);
    let backend = RedbBackend::open_with(path("jobs.redb"), options, Default::default()).unwrap();
    let queue = PoolQueue::new(backend.clone()).await.unwrap();
    queue.enqueue(job(1)).await.unwrap();
    switch.store(true, Ordering::SeqCst);
    let error = backend.backup_to(path("backup.redb")).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Full, "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    queue.enqueue(job(2)).await.unwrap();
    switch.store(false, Ordering::SeqCst);
    backend.backup_to(path("backup.redb")).unwrap();
    assert_eq!(application::check_copy(&path("backup.redb")).await, 2);
}
