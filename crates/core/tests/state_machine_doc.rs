//! Writes `docs/state_machine.md` from the life cycle, and fails when the file is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::lifecycle::{
    Admission, Event, JobState, KeyChange, Transition, consequences, decide, table_as_markdown,
};
use poolqueue_core::{
    AssigneeId, Attempt, Backoff, EventKind, Failure, JobId, Kind, Labels, Output, Phase, Priority,
    QueueName, Start, Status, StatusSet, TagSet, Timestamp, UniqueKey,
};

const INTRO: &str = "\
# The life cycle of a job

<!-- Generated from crates/core/src/lifecycle by its test docs_state_machine_is_current. Do not edit:
     POOLQUEUE_BLESS=1 cargo test -p poolqueue-core --test state_machine_doc -->

A job is in one status at a time, and only the events below lead from one to another. Each step is one
transaction: status, counters, times, indexes and history change together or not at all. A job that has left
`initial_pending` never returns to it, except that `paused` gives back the status it took.

Statuses fall into four phases. What a step means for slots, claims and unique keys follows from the phases it
leads between; what it counts, from the event:

- **ready**: waits for its time or for a worker.
- **held**: a worker has it; a slot of that worker's stream is taken exactly as long.
- **parked**: set aside by an operator; cannot be claimed.
- **final**: over; only a late completion or an operator's retry leads on.
";

const TABLE_NOTES: &str = "
A blank cell is a rejection that names the job, its status and the event; the job stays as it is. Beyond the
table:

- `claim` asks for a job that is due, `expire` for one whose deadline has passed.
- `fail_retry` leads to `dead` instead when the failures reach `max_attempts` or the failure says \"do not
  retry\"; `lose_worker` from `running` when the workers lost in a row reach `crash_limit`.
- The end of a stream is `fail_retry` for the `running` jobs it holds, due again at once, never `dead` and not
  counted as a failure, and `unknown_stop` for its `cancelling` ones.
- Acknowledging a cancel is `stop` when the worker was at work on the job and `unknown_stop` when it was not,
  both from `cancelling` only.
- `cancel` of a `cancelling` job and `pause` of a `paused` one are accepted and change nothing.
- Whoever names the job by a lease must hold its current attempt: any other lease is stale, whatever the
  status. The same report by the same lease, while its outcome stands, is told that it is already applied.
- A late answer from `unknown_retry` and a late completion from `unknown_stopped` are accepted, by bare id or by
  the last lease.
";

/// What the document says of a status.
fn meaning(status: Status) -> &'static str {
    match status {
        Status::InitialPending => "never claimed; due at its `run_at`",
        Status::FailedRetry => "failed; due again at its `run_at`",
        Status::UnknownRetry => "its worker was lost, or it was handed back; due again",
        Status::Waiting => "suspended itself; due at its timer, or when something wakes it",
        Status::Running => "claimed by a worker",
        Status::Cancelling => "a cancel was requested and the worker has not answered yet",
        Status::Paused => "set aside by an operator; remembers the status it returns to",
        Status::Completed => "done",
        Status::Stopped => "stopped, or cancelled after it had run",
        Status::Unscheduled => "cancelled before it ever ran",
        Status::UnknownStopped => "stopped, and whether its worker still works on it is not known",
        Status::Dead => "given up: attempts, crashes or time are spent",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Ready => "ready",
        Phase::Held => "held",
        Phase::Parked => "parked",
        Phase::Final => "final",
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// A job of this status in which every value that a step may change differs from what it would become.
fn job(status: Status, remembered: Option<Status>) -> JobState {
    let admission = Admission {
        id: JobId::from_bytes([7; 16]),
        labels: Arc::new(Labels {
            queue: QueueName::default(),
            kind: Kind::new("kind").unwrap(),
            tags: TagSet::default(),
        }),
        unique_key: UniqueKey::new("key").ok(),
        priority: Priority::NORMAL,
        start: Start::Now,
        max_attempts: None,
        crash_limit: 9,
        backoff: Backoff::None,
        expires_after: Some(Duration::from_micros(5)),
    };
    let claimed = remembered.unwrap_or(status) != Status::InitialPending;
    JobState {
        status,
        resumes_to: remembered,
        attempt: Attempt(u32::from(claimed)),
        failures: 1,
        retry_count: 1,
        crashes: 1,
        started_at: claimed.then_some(at(20)),
        assigned_at: claimed.then_some(at(20)),
        finalized_at: status.is_final().then_some(at(30)),
        ..JobState::admit(&admission, 1, at(10))
    }
}

fn jobs() -> Vec<JobState> {
    let unpaused = Status::ALL.iter().filter(|status| **status != Status::Paused);
    let paused = StatusSet::of_phase(Phase::Ready).iter().map(|status| job(Status::Paused, Some(status)));
    let last_crash = JobState { crash_limit: 1, ..job(Status::Running, None) };
    unpaused.map(|status| job(*status, None)).chain(paused).chain([last_crash]).collect()
}

/// The events of one column. The end of a stream is left to the notes.
fn events(kind: EventKind) -> Vec<Event> {
    let message = String::new();
    let fail = |failure| Event::FailRetry { failure, random: 0 };
    match kind {
        EventKind::Claim => vec![Event::Claim { assignee: AssigneeId::new("worker").unwrap() }],
        EventKind::Complete => vec![Event::Complete { output: Output::none() }],
        EventKind::FailRetry => vec![fail("no".into()), fail(Failure::new("no").no_retry())],
        EventKind::Stop => vec![Event::Stop { message }],
        EventKind::StopFailed => vec![Event::StopFailed { message }],
        EventKind::UnknownStop => vec![Event::UnknownStop { message }],
        EventKind::Cancel => vec![Event::Cancel],
        EventKind::LoseWorker => vec![Event::LoseWorker],
        EventKind::Release => vec![Event::Release],
        EventKind::Suspend => vec![Event::Suspend { until: at(40) }],
        EventKind::Expire => vec![Event::Expire],
        EventKind::Pause => vec![Event::Pause],
        EventKind::Resume => vec![Event::Resume],
        EventKind::Retry => vec![Event::Retry],
    }
}

/// The values of the job that a step changed, by their names, with the counters' direction.
fn changed(step: &Transition) -> BTreeSet<&'static str> {
    let (before, after) = (&step.before, &step.after);
    let cleared = after.finalized_at.is_none();
    let counter = |before: u32, after: u32, up, zero| match after {
        _ if after == before => None,
        0 => Some(zero),
        _ => Some(up),
    };
    let differs = |differs: bool, name| differs.then_some(name);
    let names = [
        counter(before.attempt.0, after.attempt.0, "`attempt` + 1", ""),
        counter(before.failures, after.failures, "`failures` + 1", "`failures` = 0"),
        counter(before.retry_count, after.retry_count, "`retry_count` + 1", ""),
        counter(before.crashes, after.crashes, "`crashes` + 1", "`crashes` = 0"),
        differs(before.run_at != after.run_at, "`run_at`"),
        differs(before.assignee != after.assignee, "`assignee`"),
        differs(before.started_at != after.started_at, "`started_at` if none"),
        differs(before.assigned_at != after.assigned_at, "`assigned_at`"),
        differs(before.last_retry_at != after.last_retry_at, "`last_retry_at`"),
        differs(
            before.finalized_at != after.finalized_at,
            if cleared { "`finalized_at` cleared" } else { "`finalized_at`" },
        ),
    ];
    names.into_iter().flatten().collect()
}

/// One row of the table of effects.
#[derive(Default)]
struct Effects {
    slot: BTreeSet<&'static str>,
    claims: BTreeSet<&'static str>,
    key: BTreeSet<&'static str>,
    changed: BTreeMap<EventKind, BTreeSet<&'static str>>,
}

impl Effects {
    fn add(&mut self, step: &Transition) {
        self.slot.insert(match (step.took_slot(), step.freed_slot(), step.after.phase()) {
            (true, _, _) => "taken",
            (_, true, _) => "**freed**",
            (_, _, Phase::Held) => "kept",
            _ => "",
        });
        let listed = (step.before.is_claimable(), step.after.is_claimable());
        self.claims.insert(match (listed, step.became_ready()) {
            ((true, true), true) => "moved",
            ((false, true), true) => "listed, wakes streams",
            ((true, false), _) => "taken off",
            _ => "",
        });
        self.key.insert(match consequences(step).unique_key {
            KeyChange::Keep => "",
            KeyChange::Take => "taken",
            KeyChange::Release => "given up",
        });
        self.changed.entry(step.event).or_default().extend(changed(step));
    }

    /// What all events of the row change, and then what each changes besides.
    fn changes(&self) -> String {
        let mut sets = self.changed.values();
        let first = sets.next().cloned().unwrap_or_default();
        let common = sets.fold(first, |common, set| common.intersection(set).copied().collect());
        let mut parts = vec![joined(&common)];
        for (event, set) in &self.changed {
            let own: BTreeSet<&str> = set.difference(&common).copied().collect();
            if !own.is_empty() {
                parts.push(format!("{event}: {}", joined(&own)));
            }
        }
        parts.retain(|part| !part.is_empty());
        parts.join("; ")
    }
}

fn joined(names: &BTreeSet<&'static str>) -> String {
    let names: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    names.join(", ")
}

fn effects() -> BTreeMap<(Phase, Phase), Effects> {
    let mut rows: BTreeMap<(Phase, Phase), Effects> = BTreeMap::new();
    for job in jobs() {
        for event in EventKind::ALL.iter().flat_map(|kind| events(*kind)) {
            if let Ok(step) = decide(&job, &event, None, at(50)) {
                rows.entry((step.before.phase(), step.after.phase())).or_default().add(&step);
            }
        }
    }
    rows
}

fn document() -> String {
    let mut out = INTRO.to_owned();
    out.push_str("\n## Statuses\n\n| status | phase | meaning |\n|---|---|---|\n");
    for status in Status::ALL {
        let _ = writeln!(out, "| `{status}` | {} | {} |", phase_name(status.phase()), meaning(*status));
    }
    let _ = write!(out, "\n## Steps\n\n{}{TABLE_NOTES}", table_as_markdown());
    out.push_str("\n## Effects\n\n| phases | by | slot | claims | unique key | changes |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for ((from, to), row) in effects() {
        let events: Vec<&str> = row.changed.keys().map(|event| event.as_str()).collect();
        let phases = format!("{} → {}", phase_name(from), phase_name(to));
        let (slot, claims, key) = (joined(&row.slot), joined(&row.claims), joined(&row.key));
        let (events, changes) = (events.join(", "), row.changes());
        let _ = writeln!(out, "| {phases} | {events} | {slot} | {claims} | {key} | {changes} |");
    }
    out.push_str(EFFECT_NOTES);
    out
}

const EFFECT_NOTES: &str = "
\"claims\" is the index of due jobs. A job that is not yet due enters it when its time has come; having become
due is a stored fact that a clock going back does not withdraw. A job whose worker was lost, or that was handed
back or resumed, keeps its place in the order `(priority, run_at, sequence)`; a failed one takes the place of
its new `run_at`. `assignee` and `assigned_at` are kept after the end, for history.
";

#[test]
fn docs_state_machine_is_current() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let path = docs.join("state_machine.md");
    let current = document();
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    match fs::read_to_string(&path) {
        Ok(found) => assert!(
            found.replace("\r\n", "\n") == current,
            "docs/state_machine.md is stale; POOLQUEUE_BLESS=1 cargo test -p poolqueue-core --test \
             state_machine_doc writes it anew"
        ),
        // The published crate comes without it.
        Err(error) => println!("not compared: {} cannot be read: {error}", path.display()),
    }
}

#[test]
fn the_slot_follows_from_the_phases_alone() {
    for (phases, row) in effects() {
        assert_eq!(row.slot.len(), 1, "{phases:?}: {:?}", row.slot);
    }
}
