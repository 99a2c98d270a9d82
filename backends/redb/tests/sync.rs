//! When commits are synced, under each policy, and what is left when they were not.

#[path = "power/disk.rs"]
mod disk;
mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use disk::{Floating, Place, disk_with, file_of};
use poolqueue_core::{
    Applied, Attention, Backend, BackendError, BackendErrorKind, EmbeddedOptions, Filter, Invalid,
    ManualClock, Reader, Snapshot, Store, SyncPolicy, Timestamp, Verdict,
};
use poolqueue_redb::storage::Storage;
use poolqueue_redb::{RedbBackend, RedbOptions, RedbStore};
use poolqueue_testkit_fault::crash::{Image, least};
use support::{Rig, insert, job};

const SECOND: Duration = Duration::from_secs(1);
/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn add(store: &mut RedbStore, number: u64) -> Result<(), BackendError> {
    store.transact(&mut |txn| insert(txn, job(number), 0).map(|_| Verdict::Commit))
}

fn jobs(store: &RedbStore) -> u64 {
    store.reader().snapshot().unwrap().count(&Filter::everything()).unwrap().total()
}

/// A store whose file is in memory and whose time stands still.
struct Still {
    _place: Place,
    before: Image,
    file: Floating,
    clock: Arc<ManualClock>,
    store: RedbStore,
}

impl Still {
    fn new(policy: SyncPolicy) -> Self {
        let (place, clock) = (Place::new(), ManualClock::new(Timestamp::from_micros(0)));
        let before = place.new_file();
        let file = Floating::recorded(before.clone());
        let options = RedbOptions::default().with_sync(policy).with_clock(clock.clone());
        let store = place.open_with(&file, options).unwrap();
        Still { _place: place, before, file, clock, store }
    }

    /// How many syncs `work` makes.
    fn syncs(&mut self, work: impl FnOnce(&mut RedbStore)) -> usize {
        let before = self.file.syncs();
        work(&mut self.store);
        self.file.syncs() - before
    }

    fn watch(&self) -> Option<Duration> {
        self.store.watch(Attention::default())
    }

    /// How many jobs a file has that was left like this.
    fn jobs_in(&self, image: Image) -> u64 {
        let (place, file) = (Place::new(), Floating::new(image));
        let store = place.open(&file).unwrap();
        let verified = store.reader().snapshot().unwrap().verify().unwrap();
        assert_eq!(verified.jobs, jobs(&store));
        file.off();
        verified.jobs
    }

    /// How many jobs are left when the power is lost now, and nothing is kept that need not be.
    fn jobs_after_a_power_cut(self) -> u64 {
        let ops = self.file.take();
        self.jobs_in(file_of(&least(disk_with(self.before.clone()), &ops)))
    }
}

#[test]
fn by_default_each_commit_is_synced() {
    assert_eq!(RedbOptions::default().sync, SyncPolicy::EveryCommit);
    let mut still = Still::new(SyncPolicy::default());
    for number in 1..=3 {
        assert!(still.syncs(|store| add(store, number).unwrap()) > 0);
        assert_eq!(still.watch(), None);
    }
    assert_eq!(still.jobs_after_a_power_cut(), 3);
}

#[test]
fn under_an_interval_nothing_is_synced_before_it_is_over_and_then_all_with_the_next_commit() {
    let mut still = Still::new(SyncPolicy::Interval(SECOND));
    assert_eq!(still.watch(), None);
    assert_eq!(still.syncs(|store| add(store, 1).unwrap()), 0);
    still.clock.advance(SECOND / 2);
    assert_eq!(still.syncs(|store| add(store, 2).unwrap()), 0);
    assert_eq!(still.watch(), Some(SECOND / 2));
    assert_eq!(jobs(&still.store), 2, "what is committed is seen, synced or not");
    assert_eq!(still.jobs_in(still.file.image()), 0, "it is in the memory of the process");
    still.clock.advance(SECOND / 2);
    assert!(still.syncs(|store| add(store, 3).unwrap()) > 0);
    assert_eq!(still.watch(), None);
    assert_eq!(still.syncs(|store| add(store, 4).unwrap()), 0, "a new interval has begun");
    assert_eq!(still.jobs_in(still.file.image()), 3);
    assert_eq!(still.jobs_after_a_power_cut(), 3);
}

#[test]
fn when_nothing_is_asked_the_writer_s_nap_ends_in_the_sync() {
    let mut still = Still::new(SyncPolicy::Interval(SECOND));
    add(&mut still.store, 1).unwrap();
    assert_eq!(still.syncs(|store| assert!(!store.stirred(Attention::default()))), 0, "it is too early");
    still.clock.advance(SECOND);
    assert_eq!(still.watch(), Some(Duration::ZERO));
    assert!(still.syncs(|store| assert!(!store.stirred(Attention::default()))) > 0);
    assert_eq!(still.watch(), None);
    still.clock.advance(SECOND);
    assert_eq!(still.syncs(|store| assert!(!store.stirred(Attention::default()))), 0, "nothing is left");
    assert_eq!(still.jobs_after_a_power_cut(), 1);
}

#[test]
fn closing_and_reopening_sync_what_is_left() {
    for end in [RedbStore::close, RedbStore::reopen] {
        let mut still = Still::new(SyncPolicy::Interval(SECOND));
        add(&mut still.store, 1).unwrap();
        assert!(still.syncs(|store| end(store).unwrap()) > 0);
        assert_eq!(still.jobs_after_a_power_cut(), 1);
    }
}

#[test]
fn policies_that_redb_cannot_follow_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    for (policy, named) in [(SyncPolicy::Os, "Interval"), (SyncPolicy::Interval(Duration::ZERO), "zero")] {
        let options = RedbOptions::default().with_sync(policy);
        let db = Arc::new(RedbBackend::create_database(directory.path().join("app.redb")).unwrap());
        let refused = [
            RedbStore::open(&path, options.clone()).unwrap_err(),
            RedbBackend::with_database_options(db, options, EmbeddedOptions::default()).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), BackendErrorKind::Invalid);
            let cause = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Invalid>());
            assert_eq!(cause.map(|invalid| invalid.argument), Some("sync"));
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(!path.exists(), "nothing was made");
    }
}

#[test]
fn health_and_capabilities_say_what_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        (SyncPolicy::EveryCommit, true, "before it is answered"),
        (SyncPolicy::Interval(SECOND), false, "every 1s"),
    ];
    for (policy, durable, said) in cases {
        let options = RedbOptions::default().with_sync(policy);
        let path = directory.path().join("jobs.redb");
        let backend = RedbBackend::open_with(path, options, EmbeddedOptions::default()).unwrap();
        assert_eq!(backend.capabilities().durable, durable);
        let health = backend.health();
        assert!(health.durability.contains(said), "{}", health.durability);
    }
}

/// Storage whose syncs are told, and fail when they are to.
#[derive(Debug)]
struct Told {
    inner: Box<dyn Storage>,
    told: Sender<()>,
    fails: Arc<AtomicBool>,
}

impl Storage for Told {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("made up"));
        }
        let synced = self.inner.sync_data();
        // Nobody may be listening any more.
        let _ = self.told.send(());
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

/// Options under an interval of a second, the clock it goes by, who hears of syncs, and whether they fail.
fn told() -> (RedbOptions, Arc<ManualClock>, Receiver<()>, Arc<AtomicBool>) {
    let (told, syncs) = channel();
    let (clock, fails) = (ManualClock::new(Timestamp::from_micros(0)), Arc::new(AtomicBool::new(false)));
    let failing = Arc::clone(&fails);
    let options = RedbOptions::default()
        .with_sync(SyncPolicy::Interval(SECOND))
        .with_clock(clock.clone())
        .with_storage_wrap(Arc::new(move |_, inner| {
            Box::new(Told { inner, told: told.clone(), fails: Arc::clone(&failing) })
        }));
    (options, clock, syncs, fails)
}

#[test]
fn a_sync_that_fails_ends_the_store_whether_it_is_a_commit_s_or_a_nap_s() {
    for in_a_nap in [false, true] {
        let (options, clock, _syncs, fails) = told();
        let mut rig = Rig::with(options);
        rig.insert([job(1)], 0);
        clock.advance(SECOND);
        fails.store(true, Ordering::SeqCst);
        if in_a_nap {
            assert!(rig.store.stirred(Attention::default()), "the next transaction has something to tell");
            assert!(rig.store.stirred(Attention::default()));
        }
        let failed = rig.try_run(|txn| insert(txn, job(2), 0)).unwrap_err();
        assert_eq!((failed.kind(), failed.applied()), (BackendErrorKind::Io, Applied::Unknown), "{failed}");
        assert!(failed.ends_handle());
        let refused = rig.try_run(|txn| insert(txn, job(3), 0)).unwrap_err();
        assert_eq!((refused.kind(), refused.applied()), (BackendErrorKind::Closed, Applied::No));
        fails.store(false, Ordering::SeqCst);
        rig.store.reopen().unwrap();
        rig.verify();
        let left = jobs(&rig.store);
        // As after the last sync, or with all that was to be synced: nothing between.
        assert!(left == 0 || left == if in_a_nap { 1 } else { 2 }, "{left}");
        rig.insert([job(4)], 0);
        rig.verify();
    }
}

#[test]
fn closing_after_a_nap_s_sync_has_failed_says_so() {
    let (options, clock, _syncs, fails) = told();
    let mut rig = Rig::with(options);
    rig.insert([job(1)], 0);
    clock.advance(SECOND);
    fails.store(true, Ordering::SeqCst);
    assert!(rig.store.stirred(Attention::default()));
    fails.store(false, Ordering::SeqCst);
    let failed = rig.store.close().unwrap_err();
    assert_eq!(failed.applied(), Applied::Unknown, "{failed}");
}

/// A handle that an error did not end is reopened only when what it has acknowledged is synced, or its caller was told.
#[test]
fn reopening_tells_of_what_it_could_not_sync() {
    let (options, _clock, _syncs, fails) = told();
    let mut rig = Rig::with(options);
    rig.insert([job(1)], 0);
    fails.store(true, Ordering::SeqCst);
    let failed = rig.store.reopen().unwrap_err();
    assert_eq!(failed.applied(), Applied::Unknown, "{failed}");
    fails.store(false, Ordering::SeqCst);
    rig.store.reopen().unwrap();
    rig.verify();
}

fn heard(syncs: &Receiver<()>) {
    syncs.recv_timeout(PATIENCE).expect("the writer syncs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_has_nothing_to_do_syncs_when_it_is_time() {
    let directory = tempfile::tempdir().unwrap();
    let (options, clock, syncs, _) = told();
    let backend = RedbBackend::open_with(
        directory.path().join("jobs.redb"),
        options,
        EmbeddedOptions::default().clock(clock.clone()),
    );
    let queue = poolqueue::PoolQueue::new(backend.unwrap()).await.unwrap();
    while syncs.try_recv().is_ok() {}
    queue.enqueue(job(1)).await.unwrap();
    assert!(syncs.try_recv().is_err(), "it was answered unsynced");
    clock.advance(SECOND);
    heard(&syncs);
    queue.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_syncs_what_is_in_a_database_of_the_application_s() {
    let place = Place::new();
    let before = place.new_file();
    let file = Floating::recorded(before.clone());
    let db = Arc::new(redb::Database::builder().create_with_backend(file.clone()).unwrap());
    let options = RedbOptions::default().with_sync(SyncPolicy::Interval(SECOND)).with_busy_timeout(PATIENCE);
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let embedded = EmbeddedOptions::default().clock(clock);
    let backend = RedbBackend::with_database_options(Arc::clone(&db), options, embedded).unwrap();
    let queue = poolqueue::PoolQueue::new(backend).await.unwrap();
    let synced = file.syncs();
    queue.enqueue(job(1)).await.unwrap();
    assert_eq!(file.syncs(), synced);
    let hold = db.begin_write().unwrap();
    let closing = tokio::spawn(async move { queue.close().await });
    tokio::task::yield_now().await;
    hold.abort().unwrap();
    closing.await.unwrap().unwrap();
    let ops = file.take();
    file.off();
    let left = Floating::new(file_of(&least(disk_with(before), &ops)));
    let store = place.open(&left).unwrap();
    assert_eq!(jobs(&store), 1);
    left.off();
}
