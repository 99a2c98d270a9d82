//! Recorded histories with one answer altered, so that no order explains them any more.

use poolqueue_core::{Attempt, EventKind, Job, Rejected};

use super::race::History;
use super::record::{Op, Part};

/// The history with each of these alterations that something in it allows, by name.
pub(super) fn alterations(history: &History) -> Vec<(&'static str, History)> {
    let altered = [
        ("an attempt given to two", claimed_twice(history)),
        ("an attempt left out", attempt_skipped(history)),
        ("a step that led nowhere", step_undone(history)),
        ("a step that nobody asked for", step_forgotten(history)),
        ("a read of what was before", stale_read(history)),
        ("an enqueue that never was", enqueue_forgotten(history)),
    ];
    altered.into_iter().filter_map(|(what, history)| Some((what, history?))).collect()
}

/// A claim of which it is certain that it was given out: the job was not enqueued anew later.
fn claimed(history: &History) -> Option<(usize, usize)> {
    let places = history
        .ops
        .iter()
        .enumerate()
        .flat_map(|(op, call)| (0..call.parts.len()).map(move |part| (op, part)));
    places.into_iter().find(|(op, part)| matches!(history.ops[*op].parts[*part], Part::Claimed(..)))
}

/// Another claim is answered with the same attempt a moment later.
fn claimed_twice(history: &History) -> Option<History> {
    let (op, part) = claimed(history)?;
    let mut altered = history.clone();
    let Op { begin, end, parts } = &history.ops[op];
    let Part::Claimed(_, job) = &parts[part] else { return None };
    let who = poolqueue_core::AssigneeId::new("another").ok()?;
    let mut again = job.clone();
    again.assignee = Some(who.clone());
    altered.ops.push(Op { begin: *begin, end: *end, parts: vec![Part::Claimed(who, again)] });
    Some(altered)
}

/// An attempt has a number that is one too high.
fn attempt_skipped(history: &History) -> Option<History> {
    let (op, part) = claimed(history)?;
    let mut altered = history.clone();
    let Part::Claimed(_, job) = &mut altered.ops[op].parts[part] else { return None };
    job.attempt = Attempt(job.attempt.0 + 1);
    Some(altered)
}

/// Steps that were answered, of the sorts that a store never makes by itself.
fn steps(history: &mut History) -> impl Iterator<Item = &mut Part> {
    history.ops.iter_mut().flat_map(|op| &mut op.parts).filter(|part| match part {
        Part::Change(_, Ok(step)) => !step.is_noop() && step.event != EventKind::Release,
        _ => false,
    })
}

/// A call answers that a job made a step, and it is where it was before.
fn step_undone(history: &History) -> Option<History> {
    let mut altered = history.clone();
    if let Part::Change(_, Ok(step)) = steps(&mut altered).last()? {
        step.after = step.before.clone();
    }
    Some(altered)
}

/// A job made a step, and nobody ever said so.
fn step_forgotten(history: &History) -> Option<History> {
    let mut altered = history.clone();
    let part = steps(&mut altered).next()?;
    if let Part::Change(change, _) = part {
        let id = change.target.id();
        *part = Part::Change(change.clone(), Err(Rejected::NotFound { id }));
    }
    Some(altered)
}

/// The last read of a job finds it as an earlier one did.
fn stale_read(history: &History) -> Option<History> {
    let mut altered = history.clone();
    for id in &history.jobs {
        let read = |part: &Part| match part {
            Part::Read(of, _, found) if of == id => Some(found.clone()),
            _ => None,
        };
        let reads: Vec<Option<Job>> = history.ops.iter().flat_map(|op| &op.parts).filter_map(read).collect();
        let last = reads.last()?;
        let Some(before) = reads.iter().find(|found| *found != last && attempt(found) < attempt(last)) else {
            continue;
        };
        let parts = altered.ops.iter_mut().rev().flat_map(|op| op.parts.iter_mut());
        for part in parts {
            if let Part::Read(of, _, found) = part
                && of == id
            {
                *found = before.clone();
                return Some(altered);
            }
        }
    }
    None
}

fn attempt(job: &Option<Job>) -> Option<Attempt> {
    job.as_ref().map(|job| job.attempt)
}

/// Of a job that is there nobody ever said that it was enqueued.
fn enqueue_forgotten(history: &History) -> Option<History> {
    let mut altered = history.clone();
    altered.ops.iter_mut().for_each(|op| op.parts.retain(|part| !matches!(part, Part::Insert(_, Ok(_)))));
    let there = history.last.iter().flatten().next().is_some();
    there.then_some(altered)
}
