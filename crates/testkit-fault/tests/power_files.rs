//! Scoreboard R1: the power is lost while a store's file is made, by two at once, and while it is copied.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Barrier;

use poolqueue_core::{Backend, BackendError, BackendErrorKind, EmbeddedOptions, Store};
use poolqueue_redb::{RedbBackend, RedbStore};
use poolqueue_sqlite::{SqliteBackend, SqliteOptions, SqliteStore};
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::{Proof, figure, seed};
use poolqueue_testkit_fault::Recording;
use poolqueue_testkit_fault::crash::{Disk, Loss, Losses, without_syncs};
use poolqueue_testkit_fault::trace::{FileId, Op};
use support::power::{Bench, Progress, THREADS, caught, lasting};
use support::site::redb_options;
use support::{place, replay};

const NAME: &str = "jobs";
const COPY: &str = "copy";
/// Transactions before the copy is made, and after.
const BEFORE: u64 = 5;
const AFTER: u64 = 3;
/// What a mark says beside the number of transactions: the file was made, the copy was.
const MADE: u64 = 1 << 32;
const COPIED: u64 = 1 << 33;
/// Losses of one course; then comes another one, whose two creators meet otherwise.
const LOSSES: u64 = 400;

/// What this row needs of an engine.
trait Engine: Sync {
    type Store: Store;
    const ROW: &'static str;
    fn open(path: &Path) -> Result<Self::Store, BackendError>;
    /// Opens the file, copies it and closes it.
    fn copy(from: &Path, to: &Path) -> Result<(), BackendError>;
}

struct Redb;

impl Engine for Redb {
    type Store = RedbStore;
    const ROW: &'static str = "files made and copied, redb";

    fn open(path: &Path) -> Result<RedbStore, BackendError> {
        RedbStore::open(path, redb_options())
    }

    fn copy(from: &Path, to: &Path) -> Result<(), BackendError> {
        let backend = RedbBackend::open_with(from, redb_options(), EmbeddedOptions::default())?;
        backend.backup_to(to)?;
        close(&backend)
    }
}

struct Sqlite;

fn sqlite_options() -> SqliteOptions {
    support::site::sqlite_options().wal_grow_bytes(0)
}

impl Engine for Sqlite {
    type Store = SqliteStore;
    const ROW: &'static str = "files made and copied, sqlite";

    fn open(path: &Path) -> Result<SqliteStore, BackendError> {
        SqliteStore::open(path, sqlite_options())
    }

    fn copy(from: &Path, to: &Path) -> Result<(), BackendError> {
        let backend = SqliteBackend::open_with(from, sqlite_options(), EmbeddedOptions::default())?;
        backend.backup_to(to)?;
        close(&backend)
    }
}

fn close(backend: &dyn Backend) -> Result<(), BackendError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(backend.close())
}

/// Two open what is not there yet, one works with it, and it is copied.
struct Course {
    life: Life,
    ops: Vec<Op>,
}

impl Course {
    fn lead<E: Engine>(seed: u64) -> Self {
        let place = place();
        let (path, copy) = (place.path().join(NAME), place.path().join(COPY));
        let recording = Recording::start(place.path()).unwrap();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    let mut store = make::<E>(&path);
                    recording.mark(MADE);
                    store.close().unwrap();
                });
            }
        });
        let mut life = Life::new(seed);
        work::<E>(&path, &mut life, BEFORE, |number| recording.mark(MADE | number));
        E::copy(&path, &copy).unwrap();
        recording.mark(MADE | COPIED | BEFORE);
        work::<E>(&path, &mut life, BEFORE + AFTER, |number| recording.mark(MADE | COPIED | number));
        Course { life, ops: lasting(recording.finish()) }
    }

    /// Opens what a loss has left.
    fn check<E: Engine>(&self, bench: &Bench, loss: &Loss) -> Result<(), String> {
        bench.lay(&loss.files);
        caught(|| self.open::<E>(bench, loss.marks)).map_err(|what| format!("{loss}: {what}"))
    }

    fn open<E: Engine>(&self, bench: &Bench, marks: u64) -> Result<(), String> {
        let (path, copy) = (bench.file(NAME), bench.file(COPY));
        let told = |error: BackendError| format!("it cannot be opened: {error}");
        if marks & MADE != 0 && !path.exists() {
            return Err("the file was made and is not there".to_owned());
        }
        if marks & COPIED != 0 && !copy.exists() {
            return Err("the copy was made and is not there".to_owned());
        }
        if copy.exists() {
            let mut store = E::open(&copy).map_err(|error| format!("the copy: {}", told(error)))?;
            self.life.check_exactly(&mut store, BEFORE).map_err(|what| format!("the copy: {what}"))?;
        }
        let mut store = E::open(&path).map_err(told)?;
        self.life.check(&mut store, marks & !(MADE | COPIED)).map(drop)
    }
}

/// Opens the file as soon as nobody else has it.
fn make<E: Engine>(path: &Path) -> E::Store {
    loop {
        match E::open(path) {
            Err(error) if error.kind() == BackendErrorKind::AlreadyOpen => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn work<E: Engine>(path: &Path, life: &mut Life, until: u64, mark: impl Fn(u64)) {
    let mut store = E::open(path).unwrap();
    while life.acknowledged() < until {
        mark(life.go_on(&mut store).unwrap());
    }
    store.close().unwrap();
}

fn prove<E: Engine>(wanted: u64) {
    let seed = seed();
    let progress = Progress::new(E::ROW, wanted);
    let losses = (wanted / THREADS).clamp(1, LOSSES);
    progress.share(|thread| {
        let bench = Bench::new();
        for round in 0.. {
            let seed = seed + thread + round * THREADS;
            let course = Course::lead::<E>(seed);
            for loss in Losses::new(Disk::default(), &course.ops, losses, seed) {
                if progress.is_done() {
                    return;
                }
                progress.count();
                let checked = course.check::<E>(&bench, &loss);
                checked.unwrap_or_else(|what| panic!("POOLQUEUE_SEED={seed}, of {losses} losses {what}"));
            }
        }
    });
    let planted =
        [without_syncs as fn(&[Op]) -> Vec<Op>, without_directory_syncs, replaced_by_a_late_creator];
    let caught = planted.iter().filter(|spoil| finds_losses::<E>(seed, spoil)).count() as u64;
    let (tried, planted) = (progress.tried(), planted.len() as u64);
    Proof { row: "R1", what: E::ROW, tried, failed: 0, seed, planted, caught }.print();
}

fn finds_losses<E: Engine>(seed: u64, spoil: impl Fn(&[Op]) -> Vec<Op>) -> bool {
    let (bench, course) = (Bench::new(), Course::lead::<E>(seed));
    let mut ops = spoil(&course.ops);
    // A long time in which nothing happens, so that many of the losses are at the end.
    let last = course.ops.iter().rfind(|op| matches!(op, Op::Mark(_))).unwrap();
    ops.extend(vec![last.clone(); ops.len()]);
    Losses::new(Disk::default(), &ops, 400, seed).any(|loss| course.check::<E>(&bench, &loss).is_err())
}

fn without_directory_syncs(ops: &[Op]) -> Vec<Op> {
    ops.iter().filter(|op| !matches!(op, Op::SyncDirectory { .. })).cloned().collect()
}

/// One of two creators gives its own file the name that has been given already.
fn replaced_by_a_late_creator(ops: &[Op]) -> Vec<Op> {
    let linked = ops.iter().position(|op| matches!(op, Op::Link { .. })).unwrap();
    let Op::Link { path, .. } = &ops[linked] else { unreachable!() };
    let directory: PathBuf = path.parent().unwrap().to_owned();
    let (file, temporary) = (FileId(u32::MAX), directory.join(".late"));
    let new = replay(&ops[..=linked]).remove(path).unwrap();
    let late = [
        Op::Create { file, path: temporary.clone() },
        Op::Write { file, offset: 0, data: new },
        Op::Sync { file },
        Op::Rename { from: temporary, to: path.clone() },
        Op::SyncDirectory { path: directory },
    ];
    [ops, &late[..]].concat()
}

#[test]
fn redb_files_are_whole_or_not_there_when_the_power_is_lost() {
    prove::<Redb>(figure("R1_FILES_REDB", 100));
}

#[test]
fn sqlite_files_are_whole_or_not_there_when_the_power_is_lost() {
    prove::<Sqlite>(figure("R1_FILES_SQLITE", 100));
}
