//! Scoreboard R1 for SQLite under the policies that do not sync each commit: when the power is lost, the file opens and is what
//! it was after one of its commits, and none of those is missing that was synced.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use poolqueue_core::{Attention, ManualClock, Store, SyncPolicy, Timestamp};
use poolqueue_sqlite::SqliteStore;
use poolqueue_testkit::power::{Life, mark, marked};
use poolqueue_testkit::proof::{Proof, figure, seed};
use poolqueue_testkit_fault::Recording;
use poolqueue_testkit_fault::crash::{Disk, Loss, Losses, least, without_syncs};
use poolqueue_testkit_fault::trace::Op;
use support::place;
use support::power::{
    Bench, LOSSES_MAX, Progress, THREADS, TRANSACTIONS, caught, lasting, options, options_of,
};

const NAME: &str = "jobs.db";
const INTERVAL: Duration = Duration::from_secs(1);
/// After so many the interval is over, with nothing asked; …
const NAPS_EVERY: u64 = 7;
/// … after so many while the next one is asked; …
const DUE_EVERY: u64 = 11;
/// … and after so many the store is closed and opened again.
const SITTING: u64 = 35;

/// A life that was led under a policy, and what it did to its files.
struct Course {
    life: Life,
    ops: Vec<Op>,
}

impl Course {
    fn lead(policy: SyncPolicy, seed: u64) -> Self {
        let place = place();
        let path = place.path().join(NAME);
        let recording = Recording::start(place.path()).unwrap();
        let mut life = Life::new(seed);
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let options = options_of(seed).sync(policy).clock(clock.clone());
        let mut store = SqliteStore::open(&path, options.clone()).unwrap();
        let at_an_interval = policy != SyncPolicy::Os;
        let mut synced = 0;
        for number in 1..=TRANSACTIONS {
            let due = at_an_interval && number % DUE_EVERY == 0;
            if due {
                clock.advance(INTERVAL);
            }
            let acknowledged = life.go_on(&mut store).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            if due {
                // Another commit may have followed the one that was due before there was something else than before.
                synced = number - 1;
            }
            recording.mark(mark(synced, acknowledged));
            if number % SITTING == 0 {
                store.close().unwrap();
                store = SqliteStore::open(&path, options.clone()).unwrap();
            } else if at_an_interval && number % NAPS_EVERY == 0 {
                clock.advance(INTERVAL);
                store.stirred(Attention::default());
            } else {
                continue;
            }
            synced = acknowledged;
            recording.mark(mark(synced, acknowledged));
        }
        store.close().unwrap();
        Course { life, ops: lasting(recording.finish()) }
    }

    /// Opens what a loss has left, and says how many acknowledged transactions are not in it.
    fn check(&self, bench: &Bench, loss: &Loss) -> Result<u64, String> {
        let (synced, acknowledged) = marked(loss.marks);
        let held = self.open(bench, loss, |store| self.life.check_up_to(store, synced, acknowledged + 1))?;
        Ok(acknowledged.saturating_sub(held))
    }

    /// The same where nothing acknowledged may be missing.
    fn check_as_if_each_was_synced(&self, bench: &Bench, loss: &Loss) -> Result<u64, String> {
        self.open(bench, loss, |store| self.life.check(store, marked(loss.marks).1))
    }

    fn open(
        &self,
        bench: &Bench,
        loss: &Loss,
        check: impl FnOnce(&mut SqliteStore) -> Result<u64, String>,
    ) -> Result<u64, String> {
        bench.lay(&loss.files);
        let checked = caught(|| {
            let opened = SqliteStore::open(bench.file(NAME), options());
            let mut store = opened.map_err(|error| format!("it cannot be opened: {error}"))?;
            check(&mut store)
        });
        checked.map_err(|what| format!("{loss}: {what}"))
    }
}

/// Tries losses of one life after the other until enough were tried, and faults that have to be found.
fn prove(name: &str, what: &'static str, policy: SyncPolicy) {
    let (seed, wanted) = (seed(), figure(name, 240));
    let losses = (wanted / THREADS).clamp(1, LOSSES_MAX);
    let progress = Progress::new(what, wanted);
    progress.share(|thread| {
        let bench = Bench::new();
        for round in 0.. {
            let seed = seed + thread + round * THREADS;
            let course = Course::lead(policy, seed);
            for loss in Losses::new(Disk::default(), &course.ops, losses, seed) {
                if progress.is_done() {
                    return;
                }
                progress.count();
                course.check(&bench, &loss).unwrap_or_else(|what| panic!("POOLQUEUE_SEED={seed}, {what}"));
            }
        }
    });
    let (course, bench) = (Course::lead(policy, seed), Bench::new());
    let spoilt = without_syncs(&course.ops);
    let found = [
        // The last one loses all there is.
        Losses::new(Disk::default(), &spoilt, 300, seed)
            .chain([least(Disk::default(), &spoilt)])
            .any(|loss| course.check(&bench, &loss).is_err()),
        Losses::new(Disk::default(), &course.ops, 300, seed)
            .any(|loss| course.check_as_if_each_was_synced(&bench, &loss).is_err()),
    ];
    let (planted, caught) = (found.len() as u64, found.iter().filter(|found| **found).count() as u64);
    Proof { row: "R1", what, tried: progress.tried(), failed: 0, seed, planted, caught }.print();
}

#[test]
fn at_an_interval_only_what_was_acknowledged_since_the_last_sync_is_lost_with_the_power() {
    let policy = SyncPolicy::Interval(INTERVAL);
    prove("R1_SQLITE_INTERVAL", "power lost, sqlite synced at an interval", policy);
}

#[test]
fn without_syncs_only_what_was_acknowledged_last_is_lost_with_the_power() {
    prove("R1_SQLITE_OS", "power lost, sqlite synced by the system", SyncPolicy::Os);
}
