//! Scoreboard R4: any operation on the files fails, once or from there on, and what was acknowledged is there.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;
#[path = "faults/trial.rs"]
mod trial;

use std::collections::BTreeMap;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use poolqueue_testkit::proof::{Proof, figure, seed};
use poolqueue_testkit_fault::{Failure, Faults, Operation, Plan};
use support::life::{self, Call, Driver, Everything};
use support::site::Engine;
use trial::{Met, Planted, Trial};

/// What is done to a queue in its life, the first and the last calls apart.
const CALLS: usize = 24;
/// So many failures say enough.
const FAILURES_MAX: usize = 8;
/// How often each fault of the harness is planted, and on how many lives at most.
const CONTROLS: usize = 4;
const CONTROL_LIVES: u64 = 10;
/// Whoever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// What changes files, or has to do with changing them.
fn changes() -> Vec<Operation> {
    Operation::ALL.into_iter().filter(|operation| *operation != Operation::Read).collect()
}

/// The ways in which an operation fails.
fn kinds() -> Vec<(Vec<Operation>, Failure, bool)> {
    let mut kinds = Vec::new();
    for lasting in [false, true] {
        for error in [libc::EIO, libc::ENOSPC] {
            kinds.push((changes(), Failure::Error(error), lasting));
        }
        for failure in [Failure::Short, Failure::ShortThen(libc::ENOSPC)] {
            kinds.push((vec![Operation::Write], failure, lasting));
        }
        kinds.push((vec![Operation::Read], Failure::Error(libc::EIO), lasting));
    }
    kinds
}

/// How often each operation is done when none fails.
fn count(engine: Engine, life: &[Call]) -> BTreeMap<Operation, u64> {
    let place = support::place();
    let faults = Faults::in_directory(place.path()).unwrap();
    runtime().block_on(async {
        let mut driver = Driver::new(engine, place.path());
        for call in life {
            driver.call(call).await.unwrap();
        }
    });
    Operation::ALL.into_iter().map(|operation| (operation, faults.seen(&[operation]))).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// One life, and every failure that it can meet.
struct Course {
    engine: Engine,
    seed: u64,
    life: Arc<Vec<Call>>,
    states: Arc<Vec<Everything>>,
    plans: Vec<Plan>,
}

impl Course {
    fn new(engine: Engine, seed: u64) -> Self {
        let life = life::draw(seed, CALLS);
        let states = runtime().block_on(life::reference(&life));
        let counts = count(engine, &life);
        let mut plans = Vec::new();
        for (operations, failure, lasting) in kinds() {
            let of_these: u64 = operations.iter().map(|operation| counts[operation]).sum();
            let plan = |after| Plan { operations: operations.clone(), after, failure, lasting };
            plans.extend((0..of_these).map(plan));
        }
        Course { engine, seed, life: Arc::new(life), states: Arc::new(states), plans }
    }

    fn trial(&self, number: usize, planted: Planted) -> Trial {
        Trial {
            engine: self.engine,
            life: Arc::clone(&self.life),
            states: Arc::clone(&self.states),
            plan: self.plans[number].clone(),
            in_place: number.is_multiple_of(2),
            planted,
        }
    }

    /// Runs one trial, and waits for it only so long.
    fn run(&self, number: usize, planted: Planted) -> Result<Met, String> {
        let trial = self.trial(number, planted);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || sender.send(runtime().block_on(trial.run())));
        let outcome: Result<Met, String> = match receiver.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => Err("hangs".to_owned()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let text = thread.join().err().map(|panic| text_of(&*panic)).unwrap_or_default();
                Err(format!("panics: {text}"))
            }
        };
        outcome.map_err(|what| {
            let Course { engine, seed, .. } = self;
            let plan = &self.plans[number];
            format!("{engine:?}, POOLQUEUE_SEED={seed}, trial {number} ({plan:?}), {planted:?}: {what}")
        })
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Counts panics of all threads, those of the tests themselves apart: those of an engine are caught on their way.
fn panics() -> &'static AtomicU64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|at| at.file().contains("testkit-fault")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            former(info);
        }));
    });
    &PANICS
}

/// So many of `all`, evenly.
fn evenly(all: usize, wanted: u64) -> impl Iterator<Item = usize> {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(all);
    (0..wanted).map(move |number| number * all / wanted)
}

fn prove(engine: Engine, name: &str, usual: u64, what: &'static str) {
    let (seed, wanted) = (seed(), figure(name, usual));
    let (mut tried, mut said, panicked) = (0, Instant::now(), panics().load(Ordering::Relaxed));
    let (mut met, mut failures) = (BTreeMap::<Met, u64>::new(), Vec::new());
    let mut planted = (0, 0);
    for round in 0.. {
        let course = Course::new(engine, seed + round);
        for number in evenly(course.plans.len(), wanted - tried) {
            tried += 1;
            match course.run(number, Planted::Nothing) {
                Ok(how) => *met.entry(how).or_default() += 1,
                Err(what) => failures.push(what),
            }
            assert!(failures.len() < FAILURES_MAX, "{}", failures.join("\n"));
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                eprintln!("R4 {what}: {tried} of {wanted}, {met:?}");
            }
        }
        if round == 0 {
            planted = control(engine, seed);
        }
        if tried >= wanted {
            break;
        }
    }
    eprintln!("R4 {what}: {met:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(panics().load(Ordering::Relaxed), panicked, "something panicked on the way");
    assert!(met.contains_key(&Met::Refused), "no failure was ever told");
    let (planted, caught) = planted;
    Proof { row: "R4", what, tried, failed: 0, seed, planted, caught }.print();
}

/// The same trials with a harness that takes an error for an acknowledgement, or loses something: how many, and how many
/// of those were caught.
fn control(engine: Engine, seed: u64) -> (u64, u64) {
    let (mut planted, mut caught) = (0, 0);
    for fault in [Planted::Acknowledged, Planted::Lost, Planted::JobLost] {
        // Whether a fault could be planted is known afterwards: of many trials the first few where it was.
        let outcomes = (0..CONTROL_LIVES).flat_map(|life| control_trials(engine, seed + life, fault));
        let outcomes: Vec<bool> = outcomes.take(CONTROLS).collect();
        planted += CONTROLS as u64;
        caught += outcomes.iter().filter(|caught| **caught).count() as u64;
    }
    (planted, caught)
}

/// Of one life, whether the fault was caught in each trial where it could be planted.
fn control_trials(engine: Engine, seed: u64, fault: Planted) -> impl Iterator<Item = bool> {
    let course = Course::new(engine, seed);
    let lasts = |number: &usize| course.plans[*number].lasting && course.plans[*number].operations.len() > 1;
    let lasting: Vec<usize> = (0..course.plans.len()).filter(lasts).collect();
    // The early ones fail while the store is made.
    let trials = evenly(lasting.len(), 200).skip(20).map(move |at| course.run(lasting[at], fault));
    trials.filter(|met| *met != Ok(Met::NotPlanted)).map(move |met| {
        if let Ok(met) = &met {
            eprintln!("{fault:?} was not caught, the trial met {met:?}");
        }
        met.is_err()
    })
}

#[test]
fn redb_loses_nothing_whatever_operation_fails() {
    prove(Engine::Redb, "R4_REDB", 100, "files fail, redb");
}

#[test]
fn sqlite_loses_nothing_whatever_operation_fails() {
    prove(Engine::Sqlite, "R4_SQLITE", 100, "files fail, sqlite");
}

/// A redb file that could not be read once is read no more by the engine until it is reopened, and `reopen()` did nothing
/// since no writing had failed.
#[test]
fn a_queue_whose_file_could_not_be_read_is_reopened() {
    for engine in [Engine::Redb, Engine::Sqlite] {
        let place = support::place();
        runtime().block_on(async {
            let mut driver = Driver::new(engine, place.path());
            let jobs: Vec<_> = (0..20).map(|number| life::job(number, 90_000)).collect();
            for call in [Call::Open, Call::Enqueue(jobs), Call::Restart] {
                driver.call(&call).await.unwrap();
            }
            let faults = Faults::in_directory(place.path()).unwrap();
            let (operations, failure) = (vec![Operation::Read], Failure::Error(libc::EIO));
            faults.arm(Plan { operations, after: 0, failure, lasting: true });
            let error = driver.call(&Call::Read).await.unwrap_err();
            assert!(!faults.hits().is_empty(), "{engine:?}: {error}");
            faults.lift();
            driver.backend().reopen().await.unwrap();
            assert_eq!(life::everything(&*driver.backend()).await.unwrap().jobs.len(), 20, "{engine:?}");
        });
    }
}
