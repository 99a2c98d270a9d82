//! Both stores and their clock: each action is done to both, and the answers are compared.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{Backend, Batch, Change, ClaimFilter, Detail, EmbeddedOptions, ManualClock};
use poolqueue::{Attempt, BackendError, EventKind, JobId, Lease, Limits, Status, Target, Timestamp};
use tokio::runtime::Runtime;

use super::action::{Action, Asked, By, What};
use super::draw;
use super::side::{Heard, START, Side};
use crate::{Fixture, MemoryFixture};

/// A store that answers later than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What differs, for people.
type Difference = String;

pub(super) struct World<F> {
    runtime: Arc<Runtime>,
    clock: Arc<ManualClock>,
    options: EmbeddedOptions,
    memory: MemoryFixture,
    fixture: F,
    /// `None` only while the stores are opened again.
    sides: Option<Sides>,
    /// Which events happened to jobs of which statuses.
    pub(super) transitions: BTreeSet<(Status, EventKind)>,
}

struct Sides {
    memory: Side,
    other: Side,
}

impl<F: Fixture> World<F> {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let clock = ManualClock::new(START);
        let mut limits = Limits::default();
        // Small enough to be passed.
        limits.history_entries = 12;
        limits.error_bytes = 40;
        let mut world = World {
            runtime: Arc::new(runtime.expect("the runtime starts")),
            options: EmbeddedOptions::default().clock(clock.clone()).limits(limits),
            clock,
            memory: MemoryFixture::new(),
            fixture: F::new(),
            sides: None,
            transitions: BTreeSet::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let runtime = Arc::clone(&self.runtime);
        let (memory, other) = runtime.block_on(async {
            (self.memory.open(self.options.clone()).await, self.fixture.open(self.options.clone()).await)
        });
        self.sides = Some(Sides { memory: Side::new(memory), other: Side::new(other) });
    }

    /// Does one action to both stores.
    pub(super) fn step(&mut self, action: &Action) -> Result<(), Difference> {
        let runtime = Arc::clone(&self.runtime);
        if let Action::Reopen = action {
            runtime.block_on(in_time(self.sides().compare_everything()))?;
            runtime.block_on(in_time(self.close()))?;
            self.open();
            runtime.block_on(in_time(self.rescue()))?;
        } else {
            runtime.block_on(in_time(self.act(action)))?;
        }
        let Sides { memory, other } = self.sides();
        same("what the streams hold", &memory.slots(), &other.slots())?;
        let heard = memory.heard();
        same("what an observer heard", &heard, &other.heard())?;
        for heard in heard {
            if let Heard::Changed(_, event, from, ..) = heard {
                self.transitions.insert((from, event));
            }
        }
        Ok(())
    }

    /// Compares everything the stores hold.
    pub(super) fn end(&mut self) -> Result<(), Difference> {
        let runtime = Arc::clone(&self.runtime);
        runtime.block_on(in_time(self.sides().compare_everything()))
    }

    fn sides(&self) -> &Sides {
        self.sides.as_ref().expect("the stores are open")
    }

    async fn act(&self, action: &Action) -> Result<(), Difference> {
        let Sides { memory, other } = self.sides();
        match action {
            Action::Commit { inserts, changes, deletes, records, require_all } => {
                let batch = Batch {
                    inserts: inserts.clone(),
                    changes: self.changes(changes).await?,
                    deletes: deletes.clone(),
                    records: records.clone(),
                    require_all: *require_all,
                };
                self.commit(batch).await
            }
            Action::Claim(claims) => {
                let claims = &if F::TURNS { claims.clone() } else { of_one_queue_each(claims) };
                let (expected, found) = (memory.claim(claims).await, other.claim(claims).await);
                same("what was claimed", &expected.map_err(answer)?, &found.map_err(answer)?)
            }
            Action::Read { filter, limit } => {
                let expected = memory.read(filter, *limit, Detail::Full).await.map_err(answer)?;
                let found = other.read(filter, *limit, Detail::Full).await.map_err(answer)?;
                same("the pages of a list", &expected.0, &found.0)?;
                same("what was counted", &expected.1, &found.1)
            }
            Action::Advance(span) => {
                self.clock.advance(*span);
                self.settle().await
            }
            Action::Jump(seconds) => {
                let now = self.options.clock.now();
                self.clock.jump(Timestamp::from_micros(now.as_micros() + seconds * 1_000_000));
                self.settle().await
            }
            Action::Capacity { stream, places } => {
                memory.set_capacity(*stream, *places);
                other.set_capacity(*stream, *places);
                self.settle().await
            }
            Action::Reopen => Ok(()),
        }
    }

    /// The changes with the leases they name.
    async fn changes(&self, asked: &[Asked]) -> Result<Vec<Change>, Difference> {
        let ids = asked.iter().map(|asked| asked.id).collect();
        let jobs = self.sides().memory.backend.get(ids).await.map_err(answer)?;
        let attempts: HashMap<JobId, u32> =
            jobs.iter().flatten().map(|job| (job.id, job.attempt.0)).collect();
        let now = self.options.clock.now();
        let change = |asked: &Asked| {
            let current = attempts.get(&asked.id).copied().unwrap_or(0);
            let target = match asked.by {
                By::Id => Target::Id(asked.id),
                By::Lease(back) => {
                    Target::Lease(Lease { id: asked.id, attempt: Attempt(current.saturating_sub(back)) })
                }
            };
            let event = match &asked.what {
                What::Event(event) => event.clone(),
                What::Suspend(Some(span)) => Event::Suspend { until: now.plus(*span) },
                What::Suspend(None) => Event::Suspend { until: Timestamp::NEVER },
            };
            Change { target, only_from: asked.only_from, event }
        };
        Ok(asked.iter().map(change).collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), Difference> {
        let Sides { memory, other } = self.sides();
        let expected = memory.commit(batch.clone()).await.map_err(answer)?;
        let found = other.commit(batch).await.map_err(answer)?;
        same("the receipts", &expected, &found)
    }

    /// Returns when both stores have seen the clock.
    async fn settle(&self) -> Result<(), Difference> {
        self.commit(Batch::default()).await
    }

    async fn close(&mut self) -> Result<(), Difference> {
        let Some(Sides { memory, other }) = self.sides.take() else { return Ok(()) };
        memory.backend.close().await.map_err(answer)?;
        other.backend.close().await.map_err(answer)
    }

    /// What a queue does first: whoever held a job is gone.
    async fn rescue(&self) -> Result<(), Difference> {
        let Sides { memory, other } = self.sides();
        let alone = other.backend.capabilities().exclusive;
        if alone {
            self.sides().compare_everything().await?;
        }
        let held = memory.held().await.map_err(answer)?;
        let lost = |lease| Change { target: Target::Lease(lease), only_from: None, event: Event::LoseWorker };
        let batch = Batch { changes: held.into_iter().map(lost).collect(), ..Batch::default() };
        if alone {
            return self.commit(batch).await;
        }
        // The other store finds out by itself whose holders are gone, before it answers its first batch.
        memory.commit(batch).await.map_err(answer)?;
        self.settle().await?;
        self.sides().compare_everything().await
    }
}

impl Sides {
    async fn compare_everything(&self) -> Result<(), Difference> {
        let expected = self.memory.everything().await.map_err(answer)?;
        let found = self.other.everything().await.map_err(answer)?;
        for (id, job) in &expected.jobs {
            same("a stored job", &Some(job), &found.jobs.get(id))?;
            same("a history", &expected.histories.get(id), &found.histories.get(id))?;
        }
        same("the held jobs", &expected.held, &found.held)?;
        same("the counts", &expected.counts, &found.counts)?;
        same("the records", &expected.records, &found.records)?;
        same("what a verification read", &expected.verified, &found.verified)?;
        same("everything", &expected, &found)
    }
}

/// The same claims, each of one of its queues.
fn of_one_queue_each(claims: &[(usize, ClaimFilter)]) -> Vec<(usize, ClaimFilter)> {
    let mut claims = claims.to_vec();
    for (stream, filter) in &mut claims {
        let queues = filter.queues.get_or_insert_with(|| draw::queue_names(*stream));
        queues.truncate(1);
    }
    claims
}

/// A call that both stores have to answer was not.
fn answer(error: BackendError) -> Difference {
    format!("a call failed: {error} ({:?})", error.kind())
}

fn same<T: Debug + PartialEq>(what: &str, memory: &T, other: &T) -> Result<(), Difference> {
    if memory == other {
        return Ok(());
    }
    Err(format!("{what} differ:\n  in memory: {memory:?}\n  in the other store: {other:?}"))
}

async fn in_time(step: impl Future<Output = Result<(), Difference>>) -> Result<(), Difference> {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(result) => result,
        Err(_) => Err(format!("a call was not answered within {PATIENCE:?}")),
    }
}
