use std::fmt::Write as _;

use crate::{EventKind, Status, StatusSet};

/// The status that `event` leads to from `from`; `None` where the life cycle has no such step.
///
/// [`Status::Paused`] is the one status whose steps depend on more than itself, on the status it remembers:
/// see [`next_paused`]. Here it answers only what holds for all of them.
///
/// Three steps may end in [`Status::Dead`] instead, by a counter that [`decide`](super::decide) looks at:
/// `FailRetry` when the attempts are spent or the failure gives up, and `LoseWorker` at the crash limit.
pub const fn next(from: Status, event: EventKind) -> Option<Status> {
    use EventKind as E;
    use Status as S;
    let to = match (from, event) {
        (S::InitialPending, E::Claim) => S::Running,
        (S::InitialPending, E::Cancel) => S::Unscheduled,
        (S::InitialPending, E::Expire) => S::Dead,
        (S::InitialPending, E::Pause) => S::Paused,

        (S::FailedRetry | S::UnknownRetry | S::Waiting, E::Claim) => S::Running,
        (S::FailedRetry | S::UnknownRetry | S::Waiting, E::Cancel) => S::Stopped,
        (S::FailedRetry | S::UnknownRetry | S::Waiting, E::Pause) => S::Paused,

        // Late answers: the worker was given up, and did answer after all.
        (S::UnknownRetry, E::Complete) => S::Completed,
        (S::UnknownRetry, E::FailRetry) => S::FailedRetry,
        (S::UnknownRetry, E::Stop) => S::Stopped,
        (S::UnknownRetry, E::UnknownStop) => S::UnknownStopped,

        (S::Running, E::Complete) => S::Completed,
        (S::Running, E::FailRetry) => S::FailedRetry,
        (S::Running, E::Stop) => S::Stopped,
        (S::Running, E::UnknownStop) => S::UnknownStopped,
        (S::Running, E::Cancel) => S::Cancelling,
        (S::Running, E::LoseWorker | E::Release) => S::UnknownRetry,
        (S::Running, E::Suspend) => S::Waiting,

        (S::Cancelling, E::Complete) => S::Completed,
        (S::Cancelling, E::Stop | E::StopFailed | E::Release | E::Suspend) => S::Stopped,
        (S::Cancelling, E::UnknownStop | E::LoseWorker) => S::UnknownStopped,
        (S::Cancelling, E::Cancel) => S::Cancelling,

        (S::Paused, E::Pause) => S::Paused,

        (S::UnknownStopped, E::Complete) => S::Completed,
        (S::UnknownStopped | S::Dead | S::Stopped | S::Unscheduled, E::Retry) => S::FailedRetry,
        _ => return None,
    };
    Some(to)
}

/// The status that `event` leads to from [`Status::Paused`] when the job remembers `remembered`.
///
/// Resuming gives the remembered status back; cancelling and expiring do what they do there.
pub const fn next_paused(remembered: Status, event: EventKind) -> Option<Status> {
    match event {
        EventKind::Pause => Some(Status::Paused),
        EventKind::Resume => Some(remembered),
        EventKind::Cancel | EventKind::Expire => next(remembered, event),
        _ => None,
    }
}

/// The statuses from which `event` may happen: the table read backwards, for guards in SQL.
///
/// [`Status::Paused`] is in it when some remembered status allows the event.
pub const fn sources(event: EventKind) -> StatusSet {
    let mut set = StatusSet::EMPTY;
    let mut at = 0;
    while at < Status::ALL.len() {
        let status = Status::ALL[at];
        let from_pause = next_paused(status, event).is_some() && !status.is_final();
        if next(status, event).is_some() {
            set = set.with(status);
        }
        if from_pause {
            set = set.with(Status::Paused);
        }
        at += 1;
    }
    set
}

/// The table as `docs/state_machine.md` shows it.
pub fn table_as_markdown() -> String {
    let mut out = String::from("| from \\ event |");
    for event in EventKind::ALL {
        let _ = write!(out, " {event} |");
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(EventKind::ALL.len()));
    out.push('\n');
    for from in Status::ALL {
        let _ = write!(out, "| `{from}` |");
        for event in EventKind::ALL {
            let cell = match (from, event) {
                (Status::Paused, EventKind::Resume) => "the remembered status".to_owned(),
                (Status::Paused, EventKind::Cancel | EventKind::Expire) => {
                    "as from the remembered status".to_owned()
                }
                _ => next(*from, *event).map(|to| format!("`{to}`")).unwrap_or_default(),
            };
            let _ = write!(out, " {cell} |");
        }
        out.push('\n');
    }
    out
}
