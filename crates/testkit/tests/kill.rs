//! Kills a process under load again and again, and compares what the store holds with what it had acknowledged.
#![cfg(feature = "redb")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the lines of the children say.
#[derive(Default)]
struct Acknowledged {
    /// Jobs someone tried to enqueue.
    tried: BTreeSet<String>,
    enqueued: BTreeSet<String>,
    /// Jobs whose end was acknowledged, and how they ended.
    ended: BTreeMap<String, &'static str>,
    deleted: BTreeSet<String>,
    /// Jobs that a call without an answer may have deleted.
    perhaps_deleted: BTreeSet<String>,
    /// A cleanup without an answer may have deleted any completed job.
    cleanup_in_flight: bool,
    completed_twice: usize,
    answers: usize,
}

impl Acknowledged {
    /// Takes in the lines of one child, which was killed after the last of them.
    fn take(&mut self, lines: &[String]) {
        let mut in_flight: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let (Some(word), Some(sequence)) = (words.next(), words.next()) else { continue };
            let op = words.next().unwrap_or_default();
            let ids: Vec<&str> = words.step_by(2).collect();
            match word {
                "try" => {
                    if op == "enqueue" {
                        self.tried.extend(ids.iter().map(|id| id.to_string()));
                    }
                    in_flight.insert(sequence, (op, ids));
                }
                "ok" => {
                    in_flight.remove(sequence);
                    self.acknowledge(op, &ids);
                }
                _ => drop(in_flight.remove(sequence)),
            }
        }
        for (op, ids) in in_flight.into_values() {
            self.cleanup_in_flight |= op == "cleanup";
            if op == "delete" {
                self.perhaps_deleted.extend(ids.iter().map(|id| id.to_string()));
            }
        }
    }

    fn acknowledge(&mut self, op: &str, ids: &[&str]) {
        self.answers += 1;
        let ids = ids.iter().map(|id| id.to_string());
        match op {
            "enqueue" => self.enqueued.extend(ids),
            "delete" | "cleanup" => self.deleted.extend(ids),
            "complete" => {
                for id in ids {
                    self.completed_twice += usize::from(self.ended.insert(id, "completed").is_some());
                }
            }
            "stop" | "acknowledge" => self.ended.extend(ids.map(|id| (id, "stopped"))),
            _ => {}
        }
    }

    /// Settles what was in flight by what the store holds: from now on it must stay so.
    fn settle(&mut self, statuses: &BTreeMap<String, String>) {
        let gone = self.enqueued.iter().filter(|id| !statuses.contains_key(*id));
        self.deleted.extend(gone.cloned());
        self.cleanup_in_flight = false;
        self.perhaps_deleted.clear();
    }

    /// Everything that is wrong with what a store holds.
    fn compare(&self, statuses: &BTreeMap<String, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        for id in &self.enqueued {
            let excused = self.deleted.contains(id)
                || self.perhaps_deleted.contains(id)
                || (self.cleanup_in_flight && self.ended.get(id).is_none_or(|end| *end == "completed"));
            if !excused && !statuses.contains_key(id) {
                wrong.push(format!("{id} was acknowledged and is missing"));
            }
        }
        for (id, status) in statuses {
            if !self.tried.contains(id) {
                wrong.push(format!("{id} was never enqueued"));
            }
            if self.deleted.contains(id) {
                wrong.push(format!("{id} was deleted and is there"));
            }
            if self.ended.get(id).is_some_and(|end| end != status) {
                wrong.push(format!("{id} is {status}, its end as {} was acknowledged", self.ended[id]));
            }
        }
        if self.completed_twice > 0 {
            wrong.push(format!("{} jobs were completed twice", self.completed_twice));
        }
        wrong
    }
}

/// Runs a child on the file and kills it after `enough` lines.
fn run_and_kill(path: &Path, seed: usize, enough: usize) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stress-child"))
        .args(["--backend", "redb", "--workers", "3", "--callers", "5", "--ops", "1000000"])
        .args(["--seed", &seed.to_string()])
        .arg("--path")
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.len() == enough {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && lines.len() >= enough, "the child ended by itself: {status}");
    lines
}

fn dump(path: &Path) -> BTreeMap<String, String> {
    let dump = Command::new(env!("CARGO_BIN_EXE_stress-dump"))
        .args(["--backend", "redb", "--path"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert_eq!(text.lines().last(), Some("verify ok"));
    let jobs = text.lines().filter(|line| !line.starts_with("counts ") && !line.starts_with("verify "));
    jobs.map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|job| (job[0].to_owned(), job[1].to_owned()))
        .collect()
}

#[test]
fn no_acknowledged_job_is_lost_by_kill_9() {
    let rounds = std::env::var("POOLQUEUE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stress.redb");
    let mut acknowledged = Acknowledged::default();
    let mut statuses = BTreeMap::new();
    for round in 0..rounds {
        let lines = run_and_kill(&path, round, 50 + (round * 397) % 1_500);
        acknowledged.take(&lines);
        statuses = dump(&path);
        let wrong = acknowledged.compare(&statuses);
        assert!(wrong.is_empty(), "round {round}: {wrong:#?}");
        acknowledged.settle(&statuses);
    }
    println!(
        "kill -9: tried {rounds}, failed 0; {} calls acknowledged, {} jobs",
        acknowledged.answers,
        statuses.len()
    );
    assert!(
        acknowledged.enqueued.len() > rounds && acknowledged.ended.len() > rounds,
        "the children did too little"
    );

    // The same comparison finds what it is there to find.
    let lost = acknowledged.enqueued.iter().find(|id| statuses.contains_key(*id)).unwrap().clone();
    let status = statuses.remove(&lost).unwrap();
    assert!(
        acknowledged.compare(&statuses).iter().any(|wrong| wrong.contains("missing"))
            || acknowledged.cleanup_in_flight
    );
    statuses.insert(lost, status);
    statuses.insert("someone else's".to_owned(), "running".to_owned());
    assert!(acknowledged.compare(&statuses).iter().any(|wrong| wrong.contains("never enqueued")));
}
