//! Storage that fails: nothing acknowledged is lost, nothing half-done is left, and reopening works.

mod support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use poolqueue_core::{
    Applied, BackendError, BackendErrorKind, Filter, JobId, Reader, Snapshot, Status, Store, Verdict,
};
use poolqueue_redb::storage::Storage;
use poolqueue_redb::{RedbOptions, RedbStore};
use support::{Rig, apply, claim, complete, id, insert, job};

/// What goes wrong, and when.
#[derive(Debug)]
struct Faults {
    /// Operations until the fault; negative when there is none to come.
    countdown: AtomicI64,
    /// Whether it stays.
    for_ever: bool,
    kind: io::ErrorKind,
    /// The only operation that fails; `None` is any.
    only: Option<&'static str>,
    /// Operations so far.
    seen: AtomicU64,
    log: Mutex<Vec<&'static str>>,
}

impl Faults {
    fn none() -> Arc<Self> {
        Self::new(io::ErrorKind::Other, false)
    }

    fn new(kind: io::ErrorKind, for_ever: bool) -> Arc<Self> {
        Arc::new(Self::of(kind, for_ever, None))
    }

    fn of_syncs() -> Arc<Self> {
        Arc::new(Self::of(io::ErrorKind::Other, false, Some("sync")))
    }

    fn of(kind: io::ErrorKind, for_ever: bool, only: Option<&'static str>) -> Self {
        let (countdown, seen) = (AtomicI64::new(-1), AtomicU64::new(0));
        Faults { countdown, for_ever, kind, only, seen, log: Mutex::default() }
    }

    fn arm(&self, after: i64) {
        self.countdown.store(after, Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.arm(-1);
    }

    fn step(&self, what: &'static str) -> io::Result<()> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        let left = self.countdown.load(Ordering::SeqCst);
        if left < 0 || self.only.is_some_and(|only| only != what) {
            return Ok(());
        }
        if left == 0 {
            self.log.lock().unwrap().push(what);
            if !self.for_ever {
                self.disarm();
            }
            return Err(self.kind.into());
        }
        self.countdown.store(left - 1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Debug)]
struct Failing {
    inner: Box<dyn Storage>,
    faults: Arc<Faults>,
}

impl Storage for Failing {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.step("set_len")?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.step("sync")?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.step("write")?;
        self.inner.write(offset, data)
    }
}

fn options(faults: &Arc<Faults>) -> RedbOptions {
    let faults = Arc::clone(faults);
    RedbOptions::default().with_storage_wrap(Arc::new(move |_: &Path, inner| {
        Box::new(Failing { inner, faults: Arc::clone(&faults) })
    }))
}

#[test]
fn a_failed_sync_is_unknown_rolls_the_memory_back_and_ends_the_store_until_it_is_reopened() {
    let faults = Faults::of_syncs();
    let mut rig = Rig::with(options(&faults));
    rig.insert((1..=3).map(job), 0);
    let (reader, held) = (rig.store.reader(), [(true, false); 3]);
    let ids = [id(1), id(2), id(3)];
    faults.arm(0);
    let failed = rig.try_run(|txn| apply(txn, id(1), &claim(), 1)).unwrap_err();
    assert_eq!((failed.kind(), failed.applied()), (BackendErrorKind::Io, Applied::Unknown), "{failed}");
    assert!(failed.to_string().contains("jobs.redb"));
    assert_eq!(rig.store.membership(&ids), held, "the index was not rolled back");
    assert_eq!(reader.snapshot().unwrap().held().unwrap(), []);
    // The fault is gone, but what is on the disk is not known: nothing is written, and no sync tried again.
    let before = faults.seen.load(Ordering::SeqCst);
    let refused = rig.try_run(|txn| txn.load(id(1))).unwrap_err();
    assert_eq!((refused.kind(), refused.applied()), (BackendErrorKind::Closed, Applied::No));
    assert_eq!(faults.seen.load(Ordering::SeqCst), before);
    rig.store.reopen().unwrap();
    let status = rig.get(id(1)).unwrap().status;
    assert!(matches!(status, Status::InitialPending | Status::Running));
    assert_eq!(reader.snapshot().unwrap().count(&Filter::everything()).unwrap().total(), 3);
    rig.verify();
    if status == Status::InitialPending {
        rig.apply(id(1), claim(), 2);
    }
    rig.apply(id(1), complete("done"), 3);
    rig.verify();
}

#[test]
fn a_rolled_back_or_failed_group_leaves_nothing_in_memory() {
    let mut rig = Rig::default();
    rig.insert((1..=4).map(job), 0);
    rig.apply(id(4), claim(), 0);
    let shape = |rig: &mut Rig| {
        let ids: Vec<JobId> = (1..=9).map(id).collect();
        (rig.ready(99), rig.store.membership(&ids), rig.counts(), rig.snapshot().held().unwrap())
    };
    let before = shape(&mut rig);
    let change = |txn: &mut dyn poolqueue_core::Txn| -> Result<(), BackendError> {
        insert(txn, job(5), 1)?;
        apply(txn, id(1), &claim(), 1)?;
        apply(txn, id(4), &complete("x"), 1)?;
        txn.put_record("r", Some((1, b"v")))
    };
    rig.store.transact(&mut |txn| change(txn).map(|()| Verdict::Rollback)).unwrap();
    assert_eq!(shape(&mut rig), before);
    let error = rig.store.transact(&mut |txn| {
        change(txn)?;
        Err(BackendError::new(BackendErrorKind::Full, "made up"))
    });
    assert_eq!(error.unwrap_err().kind(), BackendErrorKind::Full);
    assert_eq!(shape(&mut rig), before);
    let panicked = rig.store.transact(&mut |txn| {
        change(txn)?;
        panic!("made up");
    });
    let panicked = panicked.unwrap_err();
    assert_eq!((panicked.kind(), panicked.applied()), (BackendErrorKind::Corrupted, Applied::No));
    assert!(panicked.to_string().contains("made up"), "{panicked}");
    assert_eq!(shape(&mut rig), before);
    assert_eq!(rig.snapshot().record("r").unwrap(), None);
    rig.insert([job(5)], 2);
    rig.verify();
    rig.restart().verify();
}

/// Runs until the fault: which jobs were acknowledged as inserted and as completed, and the error.
fn work(rig: &mut Rig, acknowledged: &mut Vec<(u64, Status)>) -> Result<(), BackendError> {
    for number in 1..=12 {
        // Large enough that the file has to grow on the way.
        let jobs: Vec<_> = (0..3).map(|n| job(number * 10 + n).meta("fill", "x".repeat(9000))).collect();
        rig.try_run(|txn| jobs.iter().try_for_each(|job| insert(txn, job.clone(), 0).map(|_| ())))?;
        acknowledged.extend((0..3).map(|n| (number * 10 + n, Status::InitialPending)));
        rig.try_run(|txn| apply(txn, id(number * 10), &claim(), 1))?;
        acknowledged.push((number * 10, Status::Running));
        rig.try_run(|txn| apply(txn, id(number * 10), &complete("done"), 2))?;
        acknowledged.push((number * 10, Status::Completed));
    }
    Ok(())
}

fn rank(status: Status) -> u8 {
    match status {
        Status::InitialPending => 0,
        Status::Running => 1,
        _ => 2,
    }
}

#[test]
fn whatever_operation_fails_nothing_acknowledged_is_lost_and_reopening_works() {
    let count = {
        let faults = Faults::none();
        let mut rig = Rig::with(options(&faults));
        let before = faults.seen.load(Ordering::SeqCst);
        work(&mut rig, &mut Vec::new()).unwrap();
        i64::try_from(faults.seen.load(Ordering::SeqCst) - before).unwrap()
    };
    let mut hit = std::collections::BTreeSet::new();
    for (kind, for_ever) in [(io::ErrorKind::Other, false), (io::ErrorKind::StorageFull, true)] {
        for nth in (0..count).step_by(usize::try_from(count / 60).unwrap().max(1)) {
            let faults = Faults::new(kind, for_ever);
            let mut rig = Rig::with(options(&faults));
            faults.arm(nth);
            let mut acknowledged = Vec::new();
            let Err(error) = work(&mut rig, &mut acknowledged) else { continue };
            hit.extend(faults.log.lock().unwrap().iter().copied());
            let expected = if kind == io::ErrorKind::StorageFull {
                BackendErrorKind::Full
            } else {
                BackendErrorKind::Io
            };
            assert_eq!(error.kind(), expected, "operation {nth}: {error}");
            faults.disarm();
            rig.store.reopen().unwrap();
            rig.verify();
            for (number, status) in acknowledged {
                let found = rig.get(id(number)).unwrap_or_else(|| panic!("job {number} was lost"));
                assert!(rank(found.status) >= rank(status), "job {number} went back to {}", found.status);
            }
            // It works again.
            rig.insert([job(1000)], 9);
            rig.verify();
        }
    }
    assert!(hit.contains("write") && hit.contains("sync"), "only {hit:?} failed");
}

#[test]
fn a_creation_that_fails_at_any_point_leaves_nothing() {
    let mut failures = 0;
    for nth in 0.. {
        let faults = Faults::new(io::ErrorKind::StorageFull, false);
        faults.arm(nth);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.redb");
        match RedbStore::open(&path, options(&faults)) {
            // The file may be there already when what failed is its first opening: then it is whole.
            Err(error) => {
                failures += 1;
                assert_eq!(error.kind(), BackendErrorKind::Full, "operation {nth}: {error}");
                let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
                assert!(left.len() <= 1 && (left.is_empty() || path.exists()), "{left:?}");
                let store = RedbStore::open(&path, RedbOptions::default()).unwrap();
                store.reader().snapshot().unwrap().verify().unwrap();
            }
            Ok(_) => break,
        }
    }
    assert!(failures > 5);
}

/// Panics where a damaged file would make redb panic.
#[derive(Debug)]
struct Panicking(Box<dyn Storage>, Arc<AtomicI64>);

impl Storage for Panicking {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.1.fetch_sub(1, Ordering::SeqCst) == 0 {
            panic!("the engine panicked");
        }
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[test]
fn a_panic_of_the_engine_is_an_error_and_reopening_works() {
    let fuse = Arc::new(AtomicI64::new(i64::MAX));
    let own = Arc::clone(&fuse);
    let wrap = move |_: &Path, inner| -> Box<dyn Storage> { Box::new(Panicking(inner, Arc::clone(&own))) };
    let mut rig = Rig::with(RedbOptions::default().with_storage_wrap(Arc::new(wrap)));
    rig.insert([job(1)], 0);
    fuse.store(0, Ordering::SeqCst);
    let error = rig.try_run(|txn| apply(txn, id(1), &claim(), 1)).unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Corrupted, Applied::Unknown));
    assert!(error.to_string().contains("the engine panicked"), "{error}");
    fuse.store(i64::MAX, Ordering::SeqCst);
    rig.store.reopen().unwrap();
    assert!(rig.get(id(1)).is_some());
    rig.verify();
    rig.insert([job(2)], 2);
    rig.verify();
}
