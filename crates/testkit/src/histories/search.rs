//! Whether the calls on one job can be put into an order.
//!
//! The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was tried
//! ("Testing for linearizability", 2017): of the calls that may come next, those that began before any other that is
//! left had ended, each is tried, and a set of calls that once led to a job like this one is not tried again. One more
//! thing keeps it short: a call that fits and changes nothing is put first without trying the others, since wherever it
//! stands later, it could as well stand here.

use std::collections::HashMap;

use super::record::{Op, Part};
use super::register::Register;

/// Calls on one job, at most.
pub(super) const CALLS_MAX: usize = 128;
/// Places looked at before the search gives up.
const PLACES_MAX: usize = 2_000_000;

/// One call, as far as it concerns the job.
#[derive(Debug)]
struct Call<'a> {
    begin: u64,
    /// `None`: it may have happened or not.
    end: Option<u64>,
    parts: Vec<&'a Part>,
    /// It gives back what this other call took, if that took anything.
    gives_back: Option<usize>,
}

/// What came of the search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none: at most so many of the calls fit.
    None { fitting: usize },
    /// There are more calls or places than are looked at.
    TooMany,
}

/// Looks for an order of the calls that concern one job. `concerns` says which parts do.
pub(super) fn search(ops: &[Op], concerns: impl Fn(&Part) -> bool) -> Found {
    let calls = calls(ops, concerns);
    if calls.len() > CALLS_MAX {
        return Found::TooMany;
    }
    let required = calls.iter().enumerate().filter(|(_, call)| call.end.is_some());
    let required = required.fold(0, |set, (nth, _)| set | bit(nth));
    let mut search = Search { calls, required, tried: HashMap::new(), places: 0, fitting: 0 };
    match search.from(0, &Register::default()) {
        Some(true) => Found::Order,
        Some(false) => Found::None { fitting: search.fitting },
        None => Found::TooMany,
    }
}

fn calls(ops: &[Op], concerns: impl Fn(&Part) -> bool) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    for op in ops {
        let parts: Vec<&Part> = op.parts.iter().filter(|part| concerns(part)).collect();
        if parts.is_empty() {
            continue;
        }
        if op.end.is_some() {
            calls.push(Call { begin: op.begin, end: op.end, parts, gives_back: None });
            continue;
        }
        for part in parts {
            calls.push(Call { begin: op.begin, end: None, parts: vec![part], gives_back: None });
            let gives_back = Some(calls.len() - 1);
            calls.push(Call { begin: op.begin, end: None, parts: vec![part], gives_back });
        }
    }
    calls
}

struct Search<'a> {
    calls: Vec<Call<'a>>,
    required: u128,
    /// What a job was like after these calls, from where no order was found.
    tried: HashMap<u128, Vec<Register>>,
    places: usize,
    fitting: usize,
}

fn bit(nth: usize) -> u128 {
    1 << nth
}

impl Search<'_> {
    /// Whether the calls that are not in `done` can follow on a job that is like this; `None` when too much was tried.
    fn from(&mut self, mut done: u128, job: &Register) -> Option<bool> {
        loop {
            self.fitting = self.fitting.max((done & self.required).count_ones() as usize);
            if done & self.required == self.required {
                return Some(true);
            }
            match self.next(done).find(|nth| self.changes_nothing(*nth, job)) {
                Some(nth) => done |= bit(nth),
                None => break,
            }
        }
        self.places += 1;
        if self.places > PLACES_MAX {
            return None;
        }
        if self.tried.get(&done).is_some_and(|tried| tried.contains(job)) {
            return Some(false);
        }
        let next: Vec<usize> = self.next(done).collect();
        for nth in next {
            if let Some(after) = self.after(nth, done, job)
                && self.from(done | bit(nth), &after)?
            {
                return Some(true);
            }
        }
        self.tried.entry(done).or_default().push(job.clone());
        Some(false)
    }

    /// The calls that may come next: those that began before any that is left had ended.
    fn next(&self, done: u128) -> impl Iterator<Item = usize> + use<'_> {
        let left = move |nth: &usize| done & bit(*nth) == 0;
        let first_end = (0..self.calls.len()).filter(left).filter_map(|nth| self.calls[nth].end).min();
        let first_end = first_end.unwrap_or(u64::MAX);
        (0..self.calls.len()).filter(left).filter(move |nth| self.calls[*nth].begin < first_end)
    }

    fn changes_nothing(&self, nth: usize, job: &Register) -> bool {
        self.calls[nth].end.is_some() && self.after(nth, 0, job).is_some_and(|after| after == *job)
    }

    fn after(&self, nth: usize, done: u128, job: &Register) -> Option<Register> {
        let call = &self.calls[nth];
        if let Some(taken) = call.gives_back {
            return (done & bit(taken) != 0).then(|| job.given_back(call.parts[0]))?;
        }
        call.parts.iter().try_fold(job.clone(), |job, part| job.after(part))
    }
}
