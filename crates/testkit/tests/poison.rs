//! R10: jobs that are poison to whoever works on them, beside 31 that are not. One that kills its process ends `Dead` at
//! its crash limit, alone; one that never comes back ends there too, when it has lost its lease as often; the others are
//! done, and are not kept from it by those that block.
#![cfg(any(feature = "redb", feature = "sqlite"))]

#[allow(dead_code)]
#[path = "poison/child.rs"]
mod child;
mod stores;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use child::{LEASE, Poison, open};
use poolqueue::{FailureKind, Job, NewJob, Query, Select, Status};
use poolqueue_testkit::proof::{self, Proof};
use tokio::task::JoinSet;

/// Jobs that are done at once, if they are let.
const INNOCENT: usize = 31;
/// After how many attempts a killer is given up.
const CRASH_LIMIT: u32 = 3;
/// How often a process may die, or how long all may take, before that is a fault.
const DEATHS_MAX: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for the faults that are planted.
const PATIENCE_IF_PLANTED: Duration = Duration::from_secs(6);

/// What is tried.
#[derive(Clone, Copy, Debug)]
struct Case {
    scheme: &'static str,
    poison: Poison,
    processes: usize,
    crash_limit: u32,
    /// Whether a worker that says nothing loses its job.
    leases: bool,
    patience: Duration,
}

impl Case {
    fn blocks(&self) -> bool {
        matches!(self.poison, Poison::Loop | Poison::Sleep)
    }

    /// How many jobs a process holds. All, where it is killed with what it holds; few, where the others have to come past
    /// one that blocks.
    fn capacity(&self) -> usize {
        if self.blocks() { 4 } else { INNOCENT + 1 }
    }
}

/// Starts a process that works until nothing is left, or it is killed.
fn start(case: &Case, url: &str, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::process_does_what_the_jobs_say"])
        .env("POOLQUEUE_TEST_POISON", url)
        .env("POOLQUEUE_TEST_POISON_WORKER", format!("worker-{number}"))
        .env("POOLQUEUE_TEST_POISON_LEASES", case.leases.to_string())
        .env("POOLQUEUE_TEST_POISON_CAPACITY", case.capacity().to_string())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts each of the processes again whenever it has died, until all have come to their end. How often one died.
fn run(case: &Case, url: &str) -> Result<usize, String> {
    let begun = Instant::now();
    let mut deaths = 0;
    let mut running: Vec<Option<Child>> =
        (0..case.processes).map(|nth| Some(start(case, url, nth))).collect();
    let outcome = loop {
        for (nth, slot) in running.iter_mut().enumerate() {
            let Some(ended) = slot.as_mut().and_then(|child| child.try_wait().unwrap()) else { continue };
            *slot = None;
            if !ended.success() {
                deaths += 1;
                *slot = Some(start(case, url, nth));
            }
        }
        if running.iter().all(Option::is_none) {
            break Ok(deaths);
        }
        if deaths > DEATHS_MAX {
            break Err(format!("{deaths} processes have died, and it goes on"));
        }
        if begun.elapsed() > case.patience {
            break Err(format!("not over after {:?}", case.patience));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    for mut child in running.into_iter().flatten() {
        let _ = child.kill();
        let _ = child.wait();
    }
    outcome
}

/// Enqueues the jobs, has them worked on, and says what is wrong with what became of them.
async fn try_case(case: &Case) -> Result<(), String> {
    let dir = stores::directory();
    let url = url(case.scheme, &dir.path().join("jobs"));
    let queue = open(&url).await;
    // It is among them: whoever is claimed with it is held when it strikes.
    let job = |nth| {
        let kind = if nth == 7 { case.poison.name() } else { "innocent" };
        NewJob::new(kind, b"").crash_limit(if nth == 7 { case.crash_limit } else { CRASH_LIMIT })
    };
    queue.enqueue_all((0..=INNOCENT).map(job)).await.unwrap();
    queue.close().await.unwrap();

    let deaths = {
        let (case, url) = (*case, url.clone());
        tokio::task::spawn_blocking(move || run(&case, &url)).await.unwrap()?
    };
    let queue = open(&url).await;
    let jobs = queue.list(Query::new(Select::all()).limit(100)).await.unwrap().jobs;
    queue.verify().await.map_err(|error| error.to_string())?;
    queue.close().await.unwrap();
    let (poison, innocent): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.kind != "innocent");
    if (poison.len(), innocent.len()) != (1, INNOCENT) {
        return Err(format!("there are {} jobs", jobs.len()));
    }
    if let Some(job) = innocent.iter().find(|job| job.status != Status::Completed) {
        return Err(format!("an innocent job is {}: {job:?}", job.status));
    }
    ended_rightly(case, poison[0], deaths)?;
    in_time(case, poison[0], &innocent)
}

fn ended_rightly(case: &Case, poison: &Job, deaths: usize) -> Result<(), String> {
    let limit = CRASH_LIMIT as usize;
    let (expected_deaths, crashes, kind) = match case.poison {
        Poison::Panic | Poison::PanicInDrop => (0, 0, FailureKind::Panic),
        Poison::Loop | Poison::Sleep => (0, CRASH_LIMIT, FailureKind::Crashed),
        _ => (limit, CRASH_LIMIT, FailureKind::Crashed),
    };
    let error = poison.last_error.as_ref().and_then(|error| error.kind);
    let found = (poison.status, poison.crashes, error, deaths);
    let expected = (Status::Dead, crashes, Some(kind), expected_deaths);
    if found != expected {
        return Err(format!("{:?}: {found:?} where {expected:?} is right: {poison:?}", case.poison));
    }
    Ok(())
}

/// Those beside a job that blocks a thread are not kept waiting for longer than two leases.
fn in_time(case: &Case, poison: &Job, innocent: &[&Job]) -> Result<(), String> {
    if !case.blocks() {
        return Ok(());
    }
    let struck = poison.started_at.ok_or("the poison was never started")?;
    let last = innocent.iter().filter_map(|job| job.finalized_at).max().ok_or("nothing was done")?;
    let delay = (last - struck).to_std().unwrap_or_default();
    eprintln!("{case:?}: the last innocent job was done after {delay:?}");
    if delay > 2 * LEASE {
        return Err(format!("the others were kept waiting for {delay:?}"));
    }
    Ok(())
}

fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

async fn poison_harms_nobody_else(name: &str, what: &'static str, scheme: &'static str, processes: &[usize]) {
    let per_round = Poison::ALL.len() * processes.len() * (INNOCENT + 1);
    let figure = proof::figure(name, per_round as u64);
    let mut proof = Proof { row: "R10", what, tried: 0, failed: 0, seed: 0, planted: 0, caught: 0 };
    let usual = Case {
        scheme,
        poison: Poison::Abort,
        processes: 1,
        crash_limit: CRASH_LIMIT,
        leases: true,
        patience: PATIENCE,
    };
    let case = |(poison, processes)| Case { poison, processes, ..usual };
    let all = Poison::ALL.iter().flat_map(|poison| processes.iter().map(|processes| (*poison, *processes)));
    while proof.tried < figure {
        let (blocking, killing): (Vec<Case>, Vec<Case>) = all.clone().map(case).partition(Case::blocks);
        // Those that are lost only by the clock need not wait for each other.
        let mut waiting = JoinSet::new();
        for case in blocking {
            waiting.spawn(async move { (case, try_case(&case).await) });
        }
        let mut tried = Vec::new();
        for case in killing {
            tried.push((case, try_case(&case).await));
        }
        tried.extend(waiting.join_all().await);
        for (case, outcome) in tried {
            outcome.unwrap_or_else(|wrong| panic!("{case:?}: {wrong}"));
            proof.tried += INNOCENT as u64 + 1;
        }
    }
    let patience = PATIENCE_IF_PLANTED;
    let planted = [
        Case { crash_limit: u32::MAX, ..usual },
        Case { crash_limit: 1, ..usual },
        Case { poison: Poison::Sleep, leases: false, patience, ..usual },
    ];
    for case in planted {
        proof.planted += 1;
        match try_case(&case).await {
            Ok(()) => eprintln!("{case:?} was not caught"),
            Err(_) => proof.caught += 1,
        }
    }
    proof.print();
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn poison_ends_alone_and_the_others_are_done_redb() {
    poison_harms_nobody_else("R10_REDB", "jobs beside poison, redb", "redb", &[1]).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn poison_ends_alone_and_the_others_are_done_sqlite() {
    poison_harms_nobody_else("R10_SQLITE", "jobs beside poison, SQLite", "sqlite", &[1, 2]).await;
}
