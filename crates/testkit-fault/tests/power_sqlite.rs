//! Scoreboard R1 and R2: the power is lost at any point of a life in an SQLite file, and once more while it is opened.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::fs;

use poolqueue_core::Store;
use poolqueue_sqlite::SqliteStore;
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::{Proof, figure, seed};
use poolqueue_testkit_fault::Recording;
use poolqueue_testkit_fault::crash::{Disk, Loss, Losses, without_syncs};
use poolqueue_testkit_fault::trace::Op;
use support::place;
use support::power::{
    Bench, LOSSES_MAX, Progress, THREADS, TRANSACTIONS, caught, disk_with, lasting, options, options_of,
};

const NAME: &str = "jobs.db";
/// After so many the store is closed and opened again.
const SITTING: u64 = 35;
/// After each so-manieth operation the shared memory is left behind, with garbage in it.
const GARBAGE: usize = 8;
/// Losses of one opening.
const AGAIN: u64 = 40;

/// A life, and what it did to its files.
struct Course {
    life: Life,
    ops: Vec<Op>,
}

impl Course {
    fn lead(seed: u64, transactions: u64) -> Self {
        let place = place();
        let path = place.path().join(NAME);
        let recording = Recording::start(place.path()).unwrap();
        let mut life = Life::new(seed);
        let options = options_of(seed);
        let mut store = SqliteStore::open(&path, options.clone()).unwrap();
        for number in 1..=transactions {
            let acknowledged = life.go_on(&mut store).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            recording.mark(acknowledged);
            if number % SITTING == 0 {
                store.close().unwrap();
                store = SqliteStore::open(&path, options.clone()).unwrap();
            }
        }
        store.close().unwrap();
        Course { life, ops: lasting(recording.finish()) }
    }

    /// Opens what a loss has left, and says how many transactions are in it.
    fn check(&self, bench: &Bench, loss: &Loss) -> Result<u64, String> {
        bench.lay(&loss.files);
        if loss.cut.is_multiple_of(GARBAGE) {
            // Of memory that was shared through a file anything may be left.
            let random = loss.files.len().wrapping_mul(loss.cut).to_le_bytes();
            fs::write(bench.file("jobs.db-shm"), random.repeat(4096)).unwrap();
        }
        self.open(bench, loss.marks).map_err(|what| format!("{loss}: {what}"))
    }

    fn open(&self, bench: &Bench, acknowledged: u64) -> Result<u64, String> {
        caught(|| {
            let opened = SqliteStore::open(bench.file(NAME), options());
            let mut store = opened.map_err(|error| format!("it cannot be opened: {error}"))?;
            self.life.check(&mut store, acknowledged)
        })
    }

    /// The same, and then the power is lost while this is opened, worked with once, and closed.
    fn check_again(&self, bench: &Bench, loss: &Loss, count: &impl Fn()) -> Result<(), String> {
        let held = self.check(bench, loss)?;
        bench.lay(&loss.files);
        let (found, ops) = caught(|| self.go_on(bench, held)).map_err(|what| format!("{loss}: {what}"))?;
        let other = Bench::new();
        for second in Losses::new(disk_with(&found), &ops, AGAIN, loss.cut as u64) {
            let acknowledged = if second.marks == 0 { held } else { held + 1 };
            other.lay(&second.files);
            self.open(&other, acknowledged).map_err(|what| format!("{loss}; again {second}: {what}"))?;
            count();
        }
        Ok(())
    }

    /// Opens the store, does the next transaction and closes it: what was there before, and what was done.
    fn go_on(&self, bench: &Bench, held: u64) -> Result<(Vec<Op>, Vec<Op>), String> {
        let recording = Recording::start(bench.path()).map_err(|error| error.to_string())?;
        let found = recording.len();
        let said = |error: poolqueue_core::BackendError| error.to_string();
        let mut store = SqliteStore::open(bench.file(NAME), options()).map_err(said)?;
        if held < self.life.acknowledged() {
            self.life.again(&mut store, held)?;
            recording.mark(1);
        }
        store.close().map_err(said)?;
        let mut ops = recording.finish();
        let done = ops.split_off(found);
        Ok((ops, lasting(done)))
    }
}

/// Calls `check` with losses of one life after the other until enough were tried.
fn prove(
    wanted: u64,
    what: &'static str,
    seed: u64,
    losses: u64,
    check: impl Fn(&Course, &Bench, &Loss, &Progress) -> Result<(), String> + Sync,
) -> u64 {
    let progress = Progress::new(what, wanted);
    let work = |thread: u64| {
        let bench = Bench::new();
        for round in 0.. {
            let seed = seed + thread + round * THREADS;
            let course = Course::lead(seed, TRANSACTIONS);
            for loss in Losses::new(Disk::default(), &course.ops, losses, seed) {
                if progress.is_done() {
                    return;
                }
                check(&course, &bench, &loss, &progress)
                    .unwrap_or_else(|what| panic!("POOLQUEUE_SEED={seed}, of {losses} losses {what}"));
            }
        }
    };
    progress.share(work);
    progress.tried()
}

/// How many of the lives led on a disk of this kind have losses that the check finds: in all, found.
fn control(seed: u64, spoil: impl Fn(&[Op]) -> Vec<Op>) -> (u64, u64) {
    let bench = Bench::new();
    let course = Course::lead(seed, 30);
    let ops = spoil(&course.ops);
    let found =
        Losses::new(Disk::default(), &ops, 300, seed).any(|loss| course.check(&bench, &loss).is_err());
    (1, u64::from(found))
}

/// As with `synchronous=NORMAL`: the log is not synced at a commit, but before and after its pages are moved.
fn only_checkpoints_sync(ops: &[Op]) -> Vec<Op> {
    let mut logs = Vec::new();
    let mut kept = Vec::new();
    for op in ops {
        match op {
            Op::Create { file, path } if path.to_string_lossy().ends_with("-wal") => logs.push(*file),
            Op::Sync { file } if logs.contains(file) => continue,
            _ => {}
        }
        kept.push(op.clone());
    }
    kept
}

fn without_directory_syncs(ops: &[Op]) -> Vec<Op> {
    ops.iter().filter(|op| !matches!(op, Op::SyncDirectory { .. })).cloned().collect()
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let (seed, wanted) = (seed(), figure("R1_SQLITE", 400));
    let losses = (wanted / THREADS).clamp(1, LOSSES_MAX);
    let tried = prove(wanted, "R1 power lost, sqlite", seed, losses, |course, bench, loss, progress| {
        progress.count();
        course.check(bench, loss).map(drop)
    });
    let spoilt = [
        control(seed, without_syncs),
        control(seed, only_checkpoints_sync),
        control(seed, without_directory_syncs),
    ];
    let (planted, caught) = spoilt.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    Proof { row: "R1", what: "power lost, sqlite", tried, failed: 0, seed, planted, caught }.print();
}

#[test]
fn nothing_is_lost_when_the_power_goes_again_while_the_store_is_opened() {
    let (seed, wanted) = (seed(), figure("R2_SQLITE", 240));
    let losses = (wanted / AGAIN / THREADS).clamp(4, LOSSES_MAX);
    let tried =
        prove(wanted, "R2 power lost again, sqlite", seed, losses, |course, bench, loss, progress| {
            course.check_again(bench, loss, &|| progress.count())
        });
    let (planted, caught) = again_without_syncs(seed);
    Proof { row: "R2", what: "power lost again, sqlite", tried, failed: 0, seed, planted, caught }.print();
}

/// What an opening does is lost when nothing of it is synced: the check has to find it.
fn again_without_syncs(seed: u64) -> (u64, u64) {
    let course = Course::lead(seed, 30);
    let bench = Bench::new();
    let losses: Vec<Loss> = Losses::new(Disk::default(), &course.ops, 40, seed).collect();
    let whole =
        losses.iter().rfind(|loss| loss.marks > 20 && loss.marks < 30).expect("some are in the middle");
    let held = course.check(&bench, whole).unwrap();
    bench.lay(&whole.files);
    let (found, ops) = course.go_on(&bench, held).unwrap();
    let caught = Losses::new(disk_with(&found), &without_syncs(&ops), 300, seed).any(|second| {
        bench.lay(&second.files);
        course.open(&bench, held + u64::from(second.marks > 0)).is_err()
    });
    (1, u64::from(caught))
}
