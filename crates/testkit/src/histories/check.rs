//! What has to hold for a history.

use std::collections::BTreeSet;

use poolqueue_core::lifecycle::Transition;
use poolqueue_core::{Attempt, Change, Counts, EventKind, JobId, Lease, Status};

use super::race::{History, is_left};
use super::record::{Op, Part};
use super::search::{Found, search};

/// Says what is wrong.
pub(super) fn check(history: &History) -> Result<(), String> {
    for id in &history.jobs {
        once(history, *id)?;
        entries(history, *id)?;
    }
    explained(history)?;
    let claimed: BTreeSet<(JobId, Attempt)> = claims(history).collect();
    for Lease { id, attempt } in &history.held {
        if !claimed.contains(&(*id, *attempt)) {
            return Err(format!("attempt {attempt} of job {id} is held and nobody was given it"));
        }
    }
    if let Some(job) = history.last.iter().flatten().find(|job| is_left(job)) {
        return Err(format!("nobody is given job {}, which is {}", job.id, job.status));
    }
    counts(history)
}

/// For each job there is an order of the calls.
pub(super) fn explained(history: &History) -> Result<(), String> {
    history.jobs.iter().try_for_each(|id| in_an_order(history, *id))
}

fn claims(history: &History) -> impl Iterator<Item = (JobId, Attempt)> {
    let parts = history.ops.iter().flat_map(|op| &op.parts);
    parts.filter_map(|part| match part {
        Part::Claimed(_, job) => Some((job.id, job.attempt)),
        _ => None,
    })
}

/// No attempt is given to two. A job that was deleted and enqueued again begins anew, and is left to the search.
fn once(history: &History, id: JobId) -> Result<(), String> {
    let mut parts = history.ops.iter().flat_map(|op| &op.parts);
    if parts.any(|part| matches!(part, Part::Delete(_, Ok(deleted)) if *deleted == id)) {
        return Ok(());
    }
    let mut given = BTreeSet::new();
    for (_, attempt) in claims(history).filter(|(of, _)| *of == id) {
        if !given.insert(attempt) {
            return Err(format!("attempt {attempt} of job {id} was given to two\n{}", told(history, id)));
        }
    }
    Ok(())
}

/// There is an order in which every answer about the job is right.
fn in_an_order(history: &History, id: JobId) -> Result<(), String> {
    let concerns = |part: &Part| part.id().is_none_or(|of| of == id);
    match search(&history.ops, concerns) {
        Found::Order => Ok(()),
        Found::None { fitting } => {
            let told = told(history, id);
            Err(format!("there is no order of the calls on job {id}: at most {fitting} fit\n{told}"))
        }
        Found::TooMany => Err(format!("the calls on job {id} are too many to judge\n{}", told(history, id))),
    }
}

/// What the store remembers of the job is one step after the other, from its enqueue to where it stands.
fn entries(history: &History, id: JobId) -> Result<(), String> {
    let last = history.last.iter().flatten().find(|job| job.id == id);
    let entries = history.entries.get(&id).map(Vec::as_slice).unwrap_or_default();
    let (mut status, mut attempt) = (Status::InitialPending, Attempt(0));
    for entry in entries {
        let claimed = u32::from(entry.event == EventKind::Claim);
        if entry.from != status || entry.attempt.0 != attempt.0 + claimed {
            return Err(format!("the history of job {id} has a gap: {entries:?}"));
        }
        (status, attempt) = (entry.to, entry.attempt);
    }
    match last {
        Some(job) if (job.status, job.attempt) != (status, attempt) => {
            Err(format!("the history of job {id} does not lead to where it stands: {entries:?}"))
        }
        None if !entries.is_empty() => Err(format!("job {id} is gone and its history is not")),
        _ => Ok(()),
    }
}

fn counts(history: &History) -> Result<(), String> {
    let by_status = |counts: &Counts| Status::ALL.iter().map(|status| counts.of(*status)).collect::<Vec<_>>();
    let of = |status: &Status| history.last.iter().flatten().filter(|job| job.status == *status).count();
    let expected: Vec<u64> = Status::ALL.iter().map(|status| of(status) as u64).collect();
    let retries: u32 = history.last.iter().flatten().map(|job| job.retry_count).sum();
    if by_status(&history.counts) != expected || history.counts.retries != u64::from(retries) {
        return Err(format!("{:?} is counted where {expected:?} are there", history.counts));
    }
    Ok(())
}

/// The calls on a job, for people.
fn told(history: &History, id: JobId) -> String {
    let mut text = String::new();
    for op in &history.ops {
        let of_the_job = |part: &&Part| part.id().is_none_or(|of| of == id);
        let parts: Vec<String> = op.parts.iter().filter(of_the_job).map(tell).collect();
        if !parts.is_empty() {
            let Op { begin, end, .. } = op;
            let end = end.map_or_else(|| "never".to_owned(), |end| end.to_string());
            text += &format!("  {begin}..{end}: {}\n", parts.join("; "));
        }
    }
    text
}

fn tell(part: &Part) -> String {
    let step = |step: &Transition| {
        format!("{} to {} at attempt {}", step.before.status, step.after.status, step.after.attempt)
    };
    match part {
        Part::Insert(_, Ok(_)) => "enqueued".to_owned(),
        Part::Insert(_, Err(rejected)) => format!("enqueued: {rejected}"),
        Part::Change(Change { target, event, .. }, answer) => match answer {
            Ok(transition) => format!("{target:?} {event:?}: {}", step(transition)),
            Err(rejected) => format!("{target:?} {event:?}: {rejected}"),
        },
        Part::Delete(_, answer) => format!("deleted: {answer:?}"),
        Part::Claimed(who, job) => format!("{who} was given attempt {}", job.attempt),
        Part::Read(_, _, Some(job)) => format!("read: {} at attempt {}", job.status, job.attempt),
        Part::Read(_, _, None) => "read: nothing".to_owned(),
        Part::Withdrawn(who, _) => format!("a claim of {who} was withdrawn"),
    }
}
