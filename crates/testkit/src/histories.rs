//! Concurrent histories: many workers race for a few jobs of one store, and every call, its answer and when both were
//! is recorded. Then each job is judged by itself: is there an order of the calls in which the pure life cycle
//! ([`decide`](poolqueue_core::lifecycle::decide)) gives exactly the answers that were given, one after the other, with
//! no call before another that had ended when it began? If not, two workers were told things that cannot both be true.
//!
//! The judgement is a search for such an order: `search`. What is recorded is what passes between the queue and its
//! backend (`record`), so the queue's verbs and streams are recorded as well as plain calls. The clock stands still,
//! so that an answer has to be equal to the model's down to the last stamp.

mod altered;
mod check;
mod planted;
mod race;
mod record;
mod register;
mod search;

use std::sync::Arc;
use std::time::{Duration, Instant};

use poolqueue_core::{Backend, EmbeddedOptions, ManualClock, Timestamp};
use tokio::runtime::Runtime;

pub use planted::{PLANTS, Plant};

use crate::Fixture;
use crate::proof::Proof;
use race::{Arena, History};
use record::Part;

/// What the clock shows all the time.
const NOW: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);
/// Histories of one store, then a new one is made.
const PER_STORE: u64 = 50;
/// Histories recorded with a planted fault, at most: it has to be seen in one of them.
const PER_PLANT: u64 = 60;
/// Histories that are altered afterwards.
const ALTERED: u64 = 20;
/// Threads that race.
const THREADS: usize = 4;
/// How often a long run says how far it is.
const NEWS: Duration = Duration::from_secs(10);

/// Records `histories` on stores of `F`, each opened by so many handles, and judges them. Then the same check is run on
/// stores with planted faults and on recorded answers that were altered.
///
/// # Panics
/// When a history cannot be explained, with the seed and what was recorded of the job.
pub fn prove<F: Fixture>(what: &'static str, handles: usize, histories: u64, seed: u64) -> Proof {
    let runtime = runtime();
    let mut proof = Proof { row: "R7", what, tried: 0, failed: 0, seed, planted: 0, caught: 0 };
    let mut raced = Raced::default();
    let (begun, mut told) = (Instant::now(), Instant::now());
    while proof.tried < histories {
        let some = PER_STORE.min(histories - proof.tried);
        match on_one_store::<F>(&runtime, handles, None, proof.tried, some, seed) {
            Ok(more) => raced.add(&more),
            Err(wrong) => panic!("{what}, again with POOLQUEUE_SEED={seed}: {wrong}"),
        }
        proof.tried += some;
        if told.elapsed() > NEWS {
            told = Instant::now();
            eprintln!("{what}: {} of {histories} histories, {:?}", proof.tried, begun.elapsed());
        }
    }
    eprintln!("{what}: {raced:?} in {:?}", begun.elapsed());
    assert!(raced.at_once * 2 > raced.calls, "the workers of {what} did not race: {raced:?}");
    for plant in PLANTS {
        proof.planted += 1;
        match on_one_store::<F>(&runtime, handles, Some(plant), 0, PER_PLANT, seed) {
            Ok(_) => eprintln!("{what}: {plant:?} was not caught"),
            Err(_) => proof.caught += 1,
        }
    }
    let (planted, caught) = runtime.block_on(alter::<F>(handles, seed));
    proof.planted += planted;
    proof.caught += caught;
    proof
}

/// How much of a race the histories were.
#[derive(Debug, Default)]
struct Raced {
    calls: usize,
    /// Calls during which another one began or ended.
    at_once: usize,
    claims: usize,
    /// Changes that were made.
    steps: usize,
    refused: usize,
    withdrawn: usize,
}

impl Raced {
    fn of(history: &History) -> Self {
        let mut raced = Raced::default();
        for op in &history.ops {
            let Some(end) = op.end else {
                raced.withdrawn += 1;
                continue;
            };
            raced.calls += 1;
            raced.at_once += usize::from(end > op.begin + 1);
            for part in &op.parts {
                match part {
                    Part::Claimed(..) => raced.claims += 1,
                    Part::Change(_, Ok(_)) => raced.steps += 1,
                    Part::Change(_, Err(_)) => raced.refused += 1,
                    _ => {}
                }
            }
        }
        raced
    }

    fn add(&mut self, more: &Raced) {
        self.calls += more.calls;
        self.at_once += more.at_once;
        self.claims += more.claims;
        self.steps += more.steps;
        self.refused += more.refused;
        self.withdrawn += more.withdrawn;
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_time().build();
    runtime.expect("the runtime starts")
}

/// Records and judges histories `first..first + count` on a store of their own.
fn on_one_store<F: Fixture>(
    runtime: &Runtime,
    handles: usize,
    plant: Option<Plant>,
    first: u64,
    count: u64,
    seed: u64,
) -> Result<Raced, String> {
    let mut raced = Raced::default();
    runtime.block_on(async {
        let fixture = F::new();
        let arena = open(&fixture, handles, plant).await;
        for nth in first..first + count {
            let recorded = arena.race(seed, nth).await.map_err(|wrong| format!("history {nth}: {wrong}"))?;
            check::check(&recorded).map_err(|wrong| format!("history {nth}: {wrong}"))?;
            raced.add(&Raced::of(&recorded));
        }
        arena.close().await?;
        Ok(raced)
    })
}

/// Alters answers of recorded histories. How many were altered, and in how many of them that was seen.
async fn alter<F: Fixture>(handles: usize, seed: u64) -> (u64, u64) {
    let fixture = F::new();
    let arena = open(&fixture, handles, None).await;
    let (mut planted, mut caught) = (0, 0);
    for nth in 0..ALTERED {
        let recorded = arena.race(seed.rotate_left(32), nth).await.unwrap_or_else(|wrong| panic!("{wrong}"));
        for (what, altered) in altered::alterations(&recorded) {
            planted += 1;
            match check::explained(&altered) {
                Ok(()) => eprintln!("{what} was not caught"),
                Err(_) => caught += 1,
            }
        }
    }
    arena.close().await.unwrap_or_else(|wrong| panic!("{wrong}"));
    (planted, caught)
}

async fn open<F: Fixture>(fixture: &F, handles: usize, plant: Option<Plant>) -> Arena {
    let options = EmbeddedOptions::default().clock(ManualClock::new(NOW));
    let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
    for _ in 0..handles.max(1) {
        let backend = fixture.open(options.clone()).await;
        backends.push(match plant {
            Some(plant) => plant.planted_in(backend),
            None => backend,
        });
    }
    Arena::new(backends).await
}

#[cfg(test)]
mod tests;
