//! Scoreboard R4: a sync that fails forgets. The system takes what was written for written, shows it to whoever reads, and
//! never writes it again. What is acknowledged after `reopen()` must not stand on it when the power is lost.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{BackendError, Detail, Filter, Query, Reader, Snapshot, Store};
use poolqueue_redb::RedbStore;
use poolqueue_sqlite::SqliteStore;
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::{Proof, figure, seed};
use poolqueue_testkit_fault::crash::{Disk, Losses, without_syncs};
use poolqueue_testkit_fault::trace::{FileId, Op};
use poolqueue_testkit_fault::{Failure, Faults, Operation, Plan, Recording};
use support::place;
use support::power::{Bench, Progress, caught, lasting};
use support::site::{redb_options, sqlite_options};

const NAME: &str = "jobs";
const TRANSACTIONS: u64 = 24;
/// Losses of one course, about; those before the failure are of no interest.
const LOSSES: u64 = 200;
/// What the system writes whole and forgets whole.
const PAGE: u64 = 4096;

type Answer<T> = Result<T, String>;

fn told(error: BackendError) -> String {
    error.to_string()
}

/// A course with one failed sync in it.
struct Course {
    ops: Vec<Op>,
    failed_at: usize,
    /// The file whose sync failed.
    file: FileId,
    /// What was in the store after each acknowledged transaction.
    states: BTreeMap<u64, String>,
}

/// How a store is used again after the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// By its handle, which knows of the failure.
    Reopened,
    /// By one that does not.
    OpenedAnew,
}

impl Again {
    const ALL: [Again; 2] = [Again::Reopened, Again::OpenedAnew];
}

/// Leads a life again, a sync failing after so many; `None` when none was left to fail.
fn lead<S: Store>(
    open: fn(&Path) -> Result<S, BackendError>,
    life: &Life,
    after: u64,
    again: Again,
) -> Answer<Option<Course>> {
    let place = place();
    let recording = Recording::start(place.path()).map_err(|error| error.to_string())?;
    let mut store = open(&place.path().join(NAME)).map_err(told)?;
    let faults = Faults::in_directory(place.path()).map_err(|error| error.to_string())?;
    let (operations, failure) = (vec![Operation::Sync], Failure::Error(libc::EIO));
    faults.arm(Plan { operations, after, failure, lasting: false });
    let (mut held, mut failed_at) = (0, None);
    let mut states = BTreeMap::from([(0, content(&mut store)?)]);
    while held < life.acknowledged() {
        match life.again(&mut store, held) {
            Ok(now) => held = now,
            Err(error) if failed_at.is_some() => return Err(format!("after reopen(): {error}")),
            Err(_) => {
                failed_at = Some(recording.len());
                if again == Again::Reopened {
                    store.reopen().map_err(|error| format!("reopen(): {error}"))?;
                } else {
                    let _ = store.close();
                    store = open(&place.path().join(NAME)).map_err(told)?;
                }
                held = life.check(&mut store, held)?;
            }
        }
        states.insert(held, content(&mut store)?);
        recording.mark(held);
    }
    let (until, hits) = (recording.len(), faults.hits());
    drop(faults);
    store.close().map_err(told)?;
    let mut ops = recording.finish();
    // What closing does is of no interest: the power is lost before.
    ops.truncate(until);
    let (Some(failed_at), Some(hit)) = (failed_at, hits.first()) else { return Ok(None) };
    let named = |op: &Op| match op {
        Op::Create { file, path } if *path == hit.path => Some(*file),
        _ => None,
    };
    let file = ops[..failed_at].iter().rev().find_map(named);
    Ok(file.map(|file| Course { ops, failed_at, file, states }))
}

/// All that is in a store, which is whole.
fn content(store: &mut impl Store) -> Answer<String> {
    let query = Query { filter: Filter::everything(), after: None, limit: 1_000, detail: Detail::Full };
    let snapshot = store.reader().snapshot().map_err(told)?;
    snapshot.verify().map_err(told)?;
    let jobs = snapshot.select(&query).map_err(told)?.jobs;
    let histories =
        jobs.iter().map(|job| snapshot.history(job.id)).collect::<Result<Vec<_>, _>>().map_err(told)?;
    Ok(format!("{jobs:?} {histories:?}"))
}

impl Course {
    /// What the disk gets to see: not the pages whose sync failed, until they are written to again.
    fn forgetting(&self) -> Vec<Op> {
        let synced = self.ops[..self.failed_at].iter().rposition(|op| *op == Op::Sync { file: self.file });
        let synced = synced.map_or(0, |at| at + 1);
        let mut seen = Vec::new();
        let mut forgotten = BTreeSet::new();
        let mut kept = Vec::new();
        for (at, op) in self.ops.iter().enumerate() {
            match op {
                Op::Write { file, offset, data } if *file == self.file => {
                    let end = offset + data.len() as u64;
                    let grew = end > seen.len() as u64;
                    write(&mut seen, *offset, data);
                    let pages = offset / PAGE..=end.saturating_sub(1) / PAGE;
                    if (synced..self.failed_at).contains(&at) {
                        forgotten.extend(pages);
                        if grew {
                            kept.push(Op::SetLen { file: *file, len: end });
                        }
                    } else {
                        let whole = pages.filter(|page| forgotten.remove(page)).collect::<Vec<_>>();
                        let from = whole.first().map_or(*offset, |page| *offset.min(&(page * PAGE)));
                        let to = whole.last().map_or(end, |page| end.max((page + 1) * PAGE));
                        let to = to.min(seen.len() as u64);
                        let data =
                            seen[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()].to_vec();
                        kept.push(Op::Write { file: *file, offset: from, data });
                    }
                }
                Op::SetLen { file, len } if *file == self.file => {
                    seen.resize(usize::try_from(*len).unwrap(), 0);
                    kept.push(op.clone());
                }
                _ => kept.push(op.clone()),
            }
        }
        kept
    }

    /// Opens what the losses after the failure have left.
    fn check<S: Store>(
        &self,
        open: fn(&Path) -> Result<S, BackendError>,
        bench: &Bench,
        ops: &[Op],
        progress: &Progress,
    ) -> Answer<()> {
        let after = self.ops.len() - self.failed_at;
        for loss in Losses::new(Disk::default(), ops, LOSSES, 1) {
            if loss.cut + after <= ops.len() {
                continue;
            }
            bench.lay(&loss.files);
            progress.count();
            let found = caught(|| content(&mut open(&bench.file(NAME)).map_err(told)?));
            let found = found.map_err(|what| format!("{loss}: {what}"))?;
            // What was acknowledged, or that and the one in flight.
            let mut allowed = self.states.range(loss.marks..).take(2).map(|(_, state)| state);
            if !allowed.any(|state| *state == found) {
                return Err(format!(
                    "{loss}: neither as acknowledged nor as after the transaction in flight"
                ));
            }
        }
        Ok(())
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    bytes.resize(bytes.len().max(offset + data.len()), 0);
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

fn prove<S: Store>(
    open: fn(&Path) -> Result<S, BackendError>,
    name: &str,
    what: &'static str,
    plants: &[Planted<S>],
) {
    let (seed, wanted) = (seed(), figure(name, 300));
    let (progress, bench) = (Progress::new(what, wanted), Bench::new());
    for round in 0.. {
        let life = life(seed + round);
        for after in 0.. {
            let failed =
                |what: String| -> ! { panic!("POOLQUEUE_SEED={}, sync {after}: {what}", seed + round) };
            let course = |again| lead(open, &life, after, again).unwrap_or_else(|what| failed(what));
            let courses: Vec<Course> = Again::ALL.into_iter().filter_map(course).collect();
            if courses.is_empty() {
                break;
            }
            for course in courses {
                let ops = lasting(course.forgetting());
                course.check(open, &bench, &ops, &progress).unwrap_or_else(|what| failed(what));
            }
            if progress.is_done() {
                let caught = plants.iter().filter(|planted| planted.is_caught(seed)).count() as u64;
                let (tried, planted) = (progress.tried(), plants.len() as u64);
                return Proof { row: "R4", what, tried, failed: 0, seed, planted, caught }.print();
            }
        }
    }
}

fn life(seed: u64) -> Life {
    let mut life = Life::new(seed);
    life.go_on_until(&mut MemoryStore::new(), TRANSACTIONS).unwrap();
    life
}

/// A fault that the check must find.
struct Planted<S> {
    open: fn(&Path) -> Result<S, BackendError>,
    again: Again,
    /// Whether a sync after the failed one does anything.
    syncs: bool,
}

impl<S: Store> Planted<S> {
    fn is_caught(&self, seed: u64) -> bool {
        let (life, bench, progress) = (life(seed), Bench::new(), Progress::new("control", 0));
        (0..12).any(|after| {
            let course = match lead(self.open, &life, after, self.again) {
                Ok(course) => course,
                Err(_) => return true,
            };
            course.is_some_and(|course| {
                let ops = lasting(course.forgetting());
                let ops = if self.syncs { ops } else { without_syncs(&ops) };
                course.check(self.open, &bench, &ops, &progress).is_err()
            })
        })
    }
}

#[test]
fn redb_does_not_stand_on_what_a_failed_sync_forgot() {
    let open: fn(&Path) -> Result<RedbStore, BackendError> = |path| RedbStore::open(path, redb_options());
    // As a file is that is too large to be written once more.
    let trusting: fn(&Path) -> Result<RedbStore, BackendError> =
        |path| RedbStore::open(path, redb_options().with_check_on_open_max_bytes(0));
    let plants = [
        Planted { open, again: Again::Reopened, syncs: false },
        Planted { open: trusting, again: Again::OpenedAnew, syncs: true },
    ];
    prove(open, "R4_FORGOTTEN_REDB", "failed syncs forget, redb", &plants);
}

#[test]
fn sqlite_does_not_stand_on_what_a_failed_sync_forgot() {
    let open: fn(&Path) -> Result<SqliteStore, BackendError> =
        |path| SqliteStore::open(path, sqlite_options().wal_grow_bytes(0));
    let plants = [Planted { open, again: Again::Reopened, syncs: false }];
    prove(open, "R4_FORGOTTEN_SQLITE", "failed syncs forget, SQLite", &plants);
}
