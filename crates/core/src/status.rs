use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

macro_rules! named_enum {
    (
        $(#[$meta:meta])* $name:ident, $what:literal {
            $( $(#[$vmeta:meta])* $variant:ident = $text:literal ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $( $(#[$vmeta])* $variant ),* }

        impl $name {
            /// Every value, in the order of their stored codes (the first is 0).
            pub const ALL: &'static [$name] = &[ $( $name::$variant ),* ];

            /// The name used on the wire, in SQL and in logs.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $text ),* }
            }

            /// The stored code: the position in [`Self::ALL`]. It never changes for a value.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value with this stored code, if there is one.
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str() == text)
                    .ok_or_else(|| Invalid::new($what, format!("there is no {} named {text:?}", $what)))
            }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// Where a job stands. See `docs/state_machine.md` for what leads from one to another.
    Status, "status" {
        /// Never claimed; due at its `run_at`.
        InitialPending = "initial_pending",
        /// Failed; due again at its `run_at`.
        FailedRetry = "failed_retry",
        /// Its worker was lost, or it was handed back; due again.
        UnknownRetry = "unknown_retry",
        /// Suspended itself; due at its timer, or when something wakes it.
        Waiting = "waiting",
        /// Claimed by a worker.
        Running = "running",
        /// Claimed, a cancel was requested and the worker has not answered yet.
        Cancelling = "cancelling",
        /// Set aside by an operator; remembers the status it returns to.
        Paused = "paused",
        /// Done.
        Completed = "completed",
        /// Stopped after it had been started.
        Stopped = "stopped",
        /// Cancelled before it was ever started.
        Unscheduled = "unscheduled",
        /// Cancelled, and whether its worker was still at it is not known.
        UnknownStopped = "unknown_stopped",
        /// Given up.
        Dead = "dead",
    }
}

named_enum! {
    /// What a status means for slots and indexes.
    Phase, "phase" {
        /// May be claimed, now or later.
        Ready = "ready",
        /// Takes a slot of its assignee.
        Held = "held",
        /// Set aside.
        Parked = "parked",
        /// Over.
        Final = "final",
    }
}

named_enum! {
    /// What can happen to a job: the columns of the life-cycle table.
    EventKind, "event" {
        /// A worker takes the job.
        Claim = "claim",
        /// The worker reports success.
        Complete = "complete",
        /// The worker reports a failure that may be tried again.
        FailRetry = "fail_retry",
        /// The job is stopped for good.
        Stop = "stop",
        /// The job is stopped for good and the stop counts as a retry.
        StopFailed = "stop_failed",
        /// The job is stopped for good and its worker's state is unknown.
        UnknownStop = "unknown_stop",
        /// Someone asks for the job not to run.
        Cancel = "cancel",
        /// The worker is gone.
        LoseWorker = "lose_worker",
        /// The worker hands the job back; nothing is counted.
        Release = "release",
        /// The job suspends itself until a time or a signal.
        Suspend = "suspend",
        /// The job was not started by its deadline.
        Expire = "expire",
        /// An operator sets the job aside.
        Pause = "pause",
        /// An operator puts a paused job back.
        Resume = "resume",
        /// An operator starts an ended job anew.
        Retry = "retry",
    }
}

impl Status {
    /// The phase this status belongs to.
    pub const fn phase(self) -> Phase {
        match self {
            Status::InitialPending | Status::FailedRetry | Status::UnknownRetry | Status::Waiting => {
                Phase::Ready
            }
            Status::Running | Status::Cancelling => Phase::Held,
            Status::Paused => Phase::Parked,
            Status::Completed
            | Status::Stopped
            | Status::Unscheduled
            | Status::UnknownStopped
            | Status::Dead => Phase::Final,
        }
    }

    /// Whether the job is over.
    pub const fn is_final(self) -> bool {
        matches!(self.phase(), Phase::Final)
    }
}

/// A set of statuses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StatusSet(u16);

impl StatusSet {
    /// No status.
    pub const EMPTY: StatusSet = StatusSet(0);
    /// Every status.
    pub const ALL: StatusSet = StatusSet((1 << Status::ALL.len()) - 1);

    /// The statuses of one phase.
    pub const fn of_phase(phase: Phase) -> Self {
        let mut set = StatusSet::EMPTY;
        let mut at = 0;
        while at < Status::ALL.len() {
            if Status::ALL[at].phase() as u8 == phase as u8 {
                set = set.with(Status::ALL[at]);
            }
            at += 1;
        }
        set
    }

    /// This set and `status`.
    #[must_use]
    pub const fn with(self, status: Status) -> Self {
        StatusSet(self.0 | 1 << status as u8)
    }

    /// Whether `status` is in the set.
    pub const fn contains(self, status: Status) -> bool {
        self.0 & (1 << status as u8) != 0
    }

    /// Whether every status of this set is in `other`.
    pub const fn is_subset(self, other: StatusSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the set holds no status.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The statuses of the set, in the order of [`Status::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Status> {
        Status::ALL.iter().copied().filter(move |status| self.contains(*status))
    }
}

impl FromIterator<Status> for StatusSet {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        statuses.into_iter().fold(StatusSet::EMPTY, StatusSet::with)
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_phase_and_its_code_and_name_lead_back_to_it() {
        let mut seen = StatusSet::EMPTY;
        for phase in Phase::ALL {
            for status in StatusSet::of_phase(*phase).iter() {
                assert!(!seen.contains(status), "{status} is in two phases");
                seen = seen.with(status);
            }
        }
        assert_eq!(seen, StatusSet::ALL);
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(*status));
            assert_eq!(status.as_str().parse::<Status>().ok(), Some(*status));
        }
        assert_eq!(Status::from_code(12), None);
        assert!("running ".parse::<Status>().is_err());
    }
}
