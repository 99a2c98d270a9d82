//! Several processes under load on one SQLite file, killed one after another: what the store holds is compared with what
//! all of them had acknowledged.
#![cfg(feature = "sqlite")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::acknowledged::{Acknowledged, names};
use support::child::Child;
use support::{Jobs, Place, dump, prove};

const BACKEND: &str = "sqlite";
const CHILDREN: usize = 3;
/// Rounds in a debug build.
const FEW: u64 = 6;
/// What the children do, by turns. Jobs pile up; workers wait for jobs; one takes jobs, and the others are never idle.
const TASKS: [[&str; CHILDREN]; 3] = [
    ["--workers 2 --callers 3"; CHILDREN],
    ["--workers 4 --callers 2"; CHILDREN],
    ["--workers 0 --callers 1", "--workers 0 --callers 1", "--workers 3 --callers 3"],
];
/// How long others, who look four times in a second, may take to see that one is gone.
const NOTICED: Duration = Duration::from_secs(3);

type Attempts = BTreeSet<(String, u32)>;

/// Whether in this round all that was held by those that died first is to be found given back.
fn leaves_time(round: usize) -> bool {
    round % TASKS.len() == 2
}

/// Starts the children at once and kills them one after another; those that are left go on for a while after each
/// kill. What each had said, in the order of their deaths.
fn run_and_kill(place: &Place, round: usize, random: &mut fastrand::Rng) -> Vec<Vec<String>> {
    let mut start = |tasks: &&str| {
        let arguments = format!("{tasks} --ops 1000000");
        Child::start(BACKEND, place.store(), random.u32(..) as usize, &arguments)
    };
    let mut children: Vec<Child> = TASKS[round % TASKS.len()].iter().map(&mut start).collect();
    let mut said = Vec::new();
    if !leaves_time(round) {
        random.shuffle(&mut children);
        if random.bool() {
            // Before it has opened the store, or just then.
            std::thread::sleep(Duration::from_millis(random.u64(..60)));
            said.extend(children.pop().map(Child::kill));
        }
    }
    while let Some(mut victim) = children.pop() {
        victim.listen(random.usize(1..800), Duration::ZERO);
        said.push(victim.kill());
        let span = if leaves_time(round) && children.len() == 1 { NOTICED } else { Duration::ZERO };
        for survivor in &mut children {
            survivor.listen(random.usize(20..400), span);
        }
    }
    said
}

/// What a child had been given and had not begun to answer when it died.
fn held_by(lines: &[String]) -> Attempts {
    let mut held = Attempts::new();
    for line in lines {
        let attempts = names(line).map(|(id, attempt)| (id.to_owned(), attempt));
        match (line.starts_with("ok "), line.split(' ').nth(2)) {
            (true, Some("claim")) => held.extend(attempts),
            (false, Some("complete" | "fail_retry" | "stop" | "acknowledge")) => {
                for attempt in attempts {
                    held.remove(&attempt);
                }
            }
            _ => {}
        }
    }
    held
}

/// Of the jobs of those that died first, how many were given back by those that died later, and which were not: `jobs`
/// is what the last of them left behind.
fn given_back(said: &[Vec<String>], jobs: &Jobs) -> (usize, Attempts) {
    let held: Attempts = said[..said.len() - 1].iter().flat_map(|lines| held_by(lines)).collect();
    let is_held = |(id, attempt): &(String, u32)| {
        jobs.get(id).is_some_and(|job| job.is_held() && job.attempt == *attempt)
    };
    let (left, given): (Attempts, Attempts) = held.into_iter().partition(is_held);
    (given.len(), left)
}

fn held(jobs: &Jobs) -> usize {
    jobs.values().filter(|job| job.is_held()).count()
}

/// What the store holds, which must agree with what was acknowledged.
fn check(place: &Place, acknowledged: &Acknowledged, when: &str) -> Jobs {
    let jobs = dump(BACKEND, place.store());
    let wrong = acknowledged.compare(&jobs);
    assert!(wrong.is_empty(), "{when}: {wrong:#?}");
    jobs
}

/// So many rounds on one file.
fn kill(rounds: usize, random: &mut fastrand::Rng) -> (u64, u64) {
    let place = Place::new("stress.db");
    let mut acknowledged = Acknowledged::default();
    let mut jobs = Jobs::new();
    let (mut by_survivors, mut by_next) = (0, 0);
    for round in 0..rounds {
        let said = run_and_kill(&place, round, random);
        said.iter().for_each(|lines| acknowledged.take(lines));
        jobs = check(&place, &acknowledged, &format!("round {round}"));
        acknowledged.settle(&jobs);
        let (given, left) = given_back(&said, &jobs);
        let late = leaves_time(round) && !left.is_empty();
        assert!(!late, "survivors did not give back in round {round}: {left:#?}");
        by_survivors += given;
        by_next += held(&jobs);

        // Nobody is left to give back what they held but the next who comes.
        let seed = random.u32(..) as usize;
        let next = Child::start(BACKEND, place.store(), seed, "--workers 0 --callers 1 --ops 20");
        acknowledged.take(&next.finish());
        jobs = check(&place, &acknowledged, &format!("after round {round}"));
        acknowledged.settle(&jobs);
        assert_eq!(held(&jobs), 0, "jobs of the dead are held after round {round}");
        assert_eq!(place.files("handle"), [""; 0], "something is left of the dead after round {round}");
    }
    eprintln!(
        "{rounds} rounds: {} calls acknowledged, {} jobs; {by_survivors} jobs of the dead were given back by survivors, \
         {by_next} by the next process",
        acknowledged.answers,
        jobs.len()
    );
    assert!(
        acknowledged.enqueued.len() > rounds && acknowledged.ended.len() > rounds,
        "the children did too little"
    );
    assert!(rounds < TASKS.len() || (by_survivors > 0 && by_next > 0), "nobody died with jobs");
    acknowledged.plant_faults(&jobs)
}

#[test]
fn no_acknowledged_job_is_lost_or_done_twice_when_processes_on_one_file_are_killed() {
    prove("R3_SQLITE", FEW, "rounds of kill -9 of several processes, SQLite", kill);
}
