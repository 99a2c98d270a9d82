//! A job's way through the writer and the store, a group at a time.

use std::mem;
use std::path::Path;

use bench_compare::Res;
use poolqueue_core::lifecycle::Event;
use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{
    Backend, Batch, Change, Claim, ClaimFilter, Insert, Job, QueueName, Receipt, Slots, Store, Target,
};
use poolqueue_redb::{RedbOptions, RedbStore};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};

use crate::gate::{self, Gate};
use crate::jobs;

/// Callers that enqueue in one group.
pub const CALLERS: usize = 64;
/// Jobs that a stream holds.
pub const SLOTS: usize = 16;
/// Jobs that wait before a drain, however long it is.
const WAITING: u64 = 4_000;
/// Of those, jobs in one call.
const BATCH: u64 = 1_000;

/// A store.
pub trait Engine {
    /// Its name.
    const NAME: &'static str;

    /// How it is used.
    type Store: Store;

    /// A new one in an empty directory.
    fn open(dir: &Path) -> Res<Self::Store>;
}

pub struct Redb;

impl Engine for Redb {
    const NAME: &'static str = "redb";
    type Store = RedbStore;

    fn open(dir: &Path) -> Res<RedbStore> {
        Ok(RedbStore::open(dir.join("jobs.redb"), RedbOptions::default())?)
    }
}

pub struct Sqlite;

impl Engine for Sqlite {
    const NAME: &'static str = "sqlite";
    type Store = SqliteStore;

    fn open(dir: &Path) -> Res<SqliteStore> {
        Ok(SqliteStore::open(dir.join("jobs.db"), SqliteOptions::default())?)
    }
}

pub struct Memory;

impl Engine for Memory {
    const NAME: &'static str = "memory";
    type Store = MemoryStore;

    fn open(_: &Path) -> Res<MemoryStore> {
        Ok(MemoryStore::new())
    }
}

/// So many groups of [`CALLERS`] new jobs.
pub fn enqueue<E: Engine>(dir: &Path, groups: u64) -> Res<()> {
    let queue = Queue::start::<E>(dir)?;
    let callers = CALLERS as u64;
    for group in 0..groups {
        let first = group * callers;
        let batches = (first..first + callers).map(|number| Ok(inserting(vec![jobs::insert(number)?])));
        queue.write(batches.collect::<Res<_>>()?)?;
    }
    queue.leave();
    Ok(())
}

/// So many groups in which [`SLOTS`] jobs are completed and as many claimed.
pub fn drain<E: Engine>(dir: &Path, groups: u64) -> Res<()> {
    let queue = Queue::start::<E>(dir)?;
    for first in (0..WAITING).step_by(BATCH as usize) {
        let inserts = (first..first + BATCH).map(jobs::insert).collect::<Res<_>>()?;
        queue.write(vec![inserting(inserts)])?;
    }
    let claim = Claim {
        assignee: jobs::worker()?,
        filter: ClaimFilter { queues: Some(vec![QueueName::new("default")?]), ..ClaimFilter::default() },
        slots: Slots::new(SLOTS),
        wait: true,
    };
    let mut held = queue.refill(&claim, &[])?;
    for _ in 0..groups {
        held = queue.refill(&claim, &held)?;
    }
    queue.leave();
    Ok(())
}

fn inserting(inserts: Vec<Insert>) -> Batch {
    Batch { inserts, ..Batch::default() }
}

fn completing(job: &Job) -> Batch {
    let event = Event::Complete { output: ().into() };
    let change = Change { target: Target::Lease(job.lease()), only_from: None, event };
    Batch { changes: vec![change], ..Batch::default() }
}

/// A backend and the gate before its writer.
struct Queue {
    backend: Box<dyn Backend>,
    gate: Gate,
}

impl Queue {
    fn start<E: Engine>(dir: &Path) -> Res<Self> {
        let (backend, gate) = gate::start(E::open(dir)?, E::NAME)?;
        Ok(Queue { backend: Box::new(backend), gate })
    }

    /// Writes the batches of as many callers in one group.
    fn write(&self, batches: Vec<Batch>) -> Res<()> {
        let mut calls: Vec<_> = batches.into_iter().map(|batch| self.backend.commit(batch)).collect();
        gate::ask(&mut calls)?;
        self.gate.open()?;
        all_done(&gate::answers(calls)?)
    }

    /// Completes the jobs that are held, each by itself, and has their slots filled in the same group.
    fn refill(&self, claim: &Claim, held: &[Job]) -> Res<Vec<Job>> {
        let mut completions: Vec<_> = held.iter().map(|job| self.backend.commit(completing(job))).collect();
        let mut claims = vec![self.backend.claim(vec![claim.clone()])];
        gate::ask(&mut completions)?;
        gate::ask(&mut claims)?;
        self.gate.open()?;
        all_done(&gate::answers(completions)?)?;
        let claimed: Vec<Job> = gate::answers(claims)?.into_iter().flatten().flatten().collect();
        if claimed.len() != SLOTS {
            return Err(format!("{} jobs were claimed, not {SLOTS}", claimed.len()).into());
        }
        Ok(claimed)
    }

    /// The process ends without closing the store: what that costs depends on how much was done.
    fn leave(self) {
        mem::forget(self);
    }
}

fn all_done(receipts: &[Receipt]) -> Res<()> {
    if receipts.iter().all(Receipt::is_complete) { Ok(()) } else { Err("a job said no".into()) }
}
