use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Job, Jobs};

/// Statuses that nothing the children do leads on from.
const FINAL: [&str; 4] = ["completed", "stopped", "unscheduled", "dead"];

/// What the lines of the children say.
#[derive(Default)]
pub struct Acknowledged {
    /// Jobs someone tried to enqueue.
    tried: BTreeSet<String>,
    pub enqueued: BTreeSet<String>,
    /// Jobs whose end was acknowledged, and how they ended.
    pub ended: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    /// Jobs that a call without an answer may have deleted.
    perhaps_deleted: BTreeSet<String>,
    /// Jobs that a call without an answer may have completed.
    perhaps_completed: BTreeSet<String>,
    /// A cleanup without an answer may have deleted any completed job.
    cleanup_in_flight: bool,
    /// Attempts that were given to a worker.
    claimed: BTreeSet<(String, u32)>,
    /// Attempts with an outcome.
    answered: BTreeSet<(String, u32)>,
    /// What cannot be, whatever the store holds.
    impossible: Vec<String>,
    pub answers: usize,
}

/// The jobs that a line names, each with its attempt: what follows word, sequence and op.
pub fn names(line: &str) -> impl Iterator<Item = (&str, u32)> {
    let mut words = line.split(' ').skip(3);
    std::iter::from_fn(move || Some((words.next()?, words.next()?.parse().unwrap())))
}

/// Whether a child says that the store failed it. That a job says no is part of the mix.
pub fn is_trouble(line: &str) -> bool {
    line.starts_with("err ") && !line.ends_with(" Rejected")
}

fn ids<'a>(line: &'a str) -> impl Iterator<Item = String> + 'a {
    names(line).map(|(id, _)| id.to_owned())
}

impl Acknowledged {
    /// Takes in the lines of one child, which was dead after the last of them. The lines of children that lived at the
    /// same time may be taken in any order.
    pub fn take(&mut self, lines: &[String]) {
        let mut in_flight: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let (Some(word), Some(sequence)) = (words.next(), words.next()) else { continue };
            let op = words.next().unwrap_or_default();
            match word {
                "try" => {
                    if op == "enqueue" {
                        self.tried.extend(ids(line));
                    }
                    in_flight.insert(sequence, (op, line));
                }
                "ok" => {
                    in_flight.remove(sequence);
                    self.acknowledge(op, line);
                }
                _ => drop(in_flight.remove(sequence)),
            }
        }
        for (op, line) in in_flight.into_values() {
            match op {
                "cleanup" => self.cleanup_in_flight = true,
                "delete" => self.perhaps_deleted.extend(ids(line)),
                "complete" => self.perhaps_completed.extend(ids(line)),
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self, op: &str, line: &str) {
        self.answers += 1;
        match op {
            "enqueue" => self.enqueued.extend(ids(line)),
            "delete" | "cleanup" => self.deleted.extend(ids(line)),
            "claim" => self.once(line, "claimed", |this| &mut this.claimed),
            "complete" => self.end(line, "completed"),
            "stop" | "acknowledge" => self.end(line, "stopped"),
            "fail_retry" => self.once(line, "answered", |this| &mut this.answered),
            _ => {}
        }
    }

    /// An attempt is claimed once, and answered once.
    fn once(&mut self, line: &str, what: &str, among: fn(&mut Self) -> &mut BTreeSet<(String, u32)>) {
        for (id, attempt) in names(line) {
            if !among(self).insert((id.to_owned(), attempt)) {
                self.impossible.push(format!("attempt {attempt} of {id} was {what} twice"));
            }
        }
    }

    fn end(&mut self, line: &str, how: &str) {
        self.once(line, "answered", |this| &mut this.answered);
        for id in ids(line) {
            if let Some(before) = self.ended.insert(id.clone(), how.to_owned()) {
                self.impossible.push(format!("{id} ended twice, as {before} and as {how}"));
            }
        }
    }

    /// Settles what was in flight by what the store holds: from now on it must stay so.
    pub fn settle(&mut self, jobs: &Jobs) {
        let gone = self.enqueued.iter().filter(|id| !jobs.contains_key(*id));
        self.deleted.extend(gone.cloned());
        self.enqueued.extend(jobs.keys().cloned());
        for (id, job) in jobs.iter().filter(|(_, job)| FINAL.contains(&job.status.as_str())) {
            self.ended.entry(id.clone()).or_insert_with(|| job.status.clone());
        }
        self.cleanup_in_flight = false;
        self.perhaps_deleted.clear();
        self.perhaps_completed.clear();
    }

    /// Everything that is wrong with what a store holds.
    pub fn compare(&self, jobs: &Jobs) -> Vec<String> {
        let mut wrong = self.impossible.clone();
        for id in &self.enqueued {
            let completed = self.ended.get(id).map(String::as_str) == Some("completed");
            let excused = self.deleted.contains(id)
                || self.perhaps_deleted.contains(id)
                || (self.cleanup_in_flight && (completed || self.perhaps_completed.contains(id)));
            if !excused && !jobs.contains_key(id) {
                wrong.push(format!("{id} was acknowledged and is missing"));
            }
        }
        for (id, Job { status, attempt }) in jobs {
            if !self.tried.contains(id) {
                wrong.push(format!("{id} was never enqueued"));
            }
            if self.deleted.contains(id) {
                wrong.push(format!("{id} was deleted and is there"));
            }
            if self.ended.get(id).is_some_and(|end| end != status) {
                wrong.push(format!("{id} is {status}, its end as {} was acknowledged", self.ended[id]));
            }
            let given = self.claimed.range((id.clone(), attempt + 1)..=(id.clone(), u32::MAX)).next();
            if let Some((_, later)) = given {
                wrong.push(format!("{id} is at attempt {attempt}, a worker was given attempt {later}"));
            }
        }
        wrong
    }

    /// Plants faults of every sort that the comparison is there to find: how many, and how many of them it found.
    /// `jobs` is what was settled last.
    pub fn plant_faults(mut self, jobs: &Jobs) -> (u64, u64) {
        let (planted, caught) = (Cell::new(0), Cell::new(0));
        let found = |this: &Self, jobs: &Jobs, what: &str| {
            let wrong = this.compare(jobs);
            planted.set(planted.get() + 1);
            match wrong.len() == 1 && wrong[0].contains(what) {
                true => caught.set(caught.get() + 1),
                false => eprintln!("planted {what:?} and found {wrong:#?}"),
            }
        };
        let with = |id: &str, status: &str, attempt| {
            let mut planted = jobs.clone();
            planted.insert(id.to_owned(), Job { status: status.to_owned(), attempt });
            planted
        };
        assert_eq!(self.compare(jobs), Vec::<String>::new());

        let mut without = jobs.clone();
        without.remove(self.enqueued.iter().find(|id| jobs.contains_key(*id)).unwrap());
        found(&self, &without, "missing");
        found(&self, &with("someone else's", "running", 1), "never enqueued");
        let answered = |(id, attempt): &&(String, u32)| {
            self.ended.contains_key(id) && jobs.get(id).is_some_and(|job| job.attempt == *attempt)
        };
        let (done, attempt) = self.answered.iter().find(answered).unwrap().clone();
        let status = &jobs[&done].status;
        found(&self, &with(&done, "unknown_retry", attempt), "its end as");
        found(&self, &with(&done, status, attempt - 1), "a worker was given");
        let deleted = self.deleted.first().unwrap();
        let end = self.ended.get(deleted).map_or("unknown_retry", String::as_str);
        found(&self, &with(deleted, end, u32::MAX - 1), "was deleted");

        let mut found_in = |line: String, what| {
            self.take(&[line]);
            found(&self, jobs, what);
            self.impossible.clear();
        };
        found_in(format!("ok 1 claim {done} {attempt}"), "was claimed twice");
        found_in(format!("ok 1 fail_retry {done} {attempt}"), "was answered twice");
        let end = if status == "completed" { "complete" } else { "stop" };
        found_in(format!("ok 1 {end} {done} {}", u32::MAX), "ended twice");
        assert!(
            is_trouble("err 7 Unavailable") && !is_trouble("err 7 Rejected") && !is_trouble("ok 7 delete")
        );
        (planted.get(), caught.get())
    }
}
