//! When what was committed is made to survive a loss of power.

use std::sync::Arc;
use std::time::Duration;

use crate::{Clock, Invalid};

/// When a store syncs its commits to the disk, and so what is lost of what was acknowledged.
///
/// "The end" is that of the process at any instant: a crash, a kill. "A power cut" stands for the end of the system as
/// well.
///
/// | policy | store | lost by the end | lost by a power cut |
/// |---|---|---|---|
/// | [`EveryCommit`](Self::EveryCommit) | redb, SQLite | nothing | nothing |
/// | [`Interval`](Self::Interval) | redb | what was acknowledged since the last sync | the same |
/// | [`Interval`](Self::Interval) | SQLite | nothing | what was acknowledged since the last sync |
/// | [`Os`](Self::Os) | SQLite | nothing | what was acknowledged since the last checkpoint, at most |
/// | [`Os`](Self::Os) | redb | refused | refused |
///
/// What is left is always the store as it was after one of its commits: of two that were acknowledged the later one is
/// never there without the earlier, and nothing is half there. Closing the store syncs everything.
///
/// What is lost is lost in every respect. A job whose enqueue is lost was never there, one whose completion is lost runs
/// again, and a claim that is lost is made again under the same attempt number: under a weaker policy than
/// [`EveryCommit`](Self::EveryCommit), what calls, events and attempts said since the last sync may come to be otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Each commit is synced before the calls in it are answered. The only policy under which an acknowledged call is
    /// durable, and the default.
    #[default]
    EveryCommit,
    /// Commits are answered unsynced, and synced together at the latest so long after the first of them: with the next
    /// commit, or in a sync of their own when nothing is asked. Longer only by the time that the sync itself takes, and in a
    /// redb database of the application's, by what is left of a write transaction of its own. More than zero.
    ///
    /// A sync that fails ends the handle, with [`Applied::Unknown`](crate::Applied::Unknown): what was acknowledged since the
    /// last one may be lost.
    Interval(Duration),
    /// The operating system writes to the disk when it sees fit, and SQLite when it moves its log into its file. Not for
    /// redb, which uses pages of its last synced state again once the next is written, and so would lose the file.
    Os,
}

impl SyncPolicy {
    /// Refuses what no store can do.
    ///
    /// # Errors
    /// [`Invalid`] naming `sync` for an interval of zero.
    pub fn check(self) -> Result<Self, Invalid> {
        match self {
            SyncPolicy::Interval(Duration::ZERO) => Err(Invalid::new(
                "sync",
                "the interval must be more than zero; EveryCommit syncs each commit",
            )),
            policy => Ok(policy),
        }
    }
}

/// What a store that follows a [`SyncPolicy`] has to sync, and when. For those who write a store.
#[derive(Clone, Debug)]
pub struct SyncTimer {
    policy: SyncPolicy,
    clock: Arc<dyn Clock>,
    /// When the first commit was made that is to be synced and is not.
    since: Option<Duration>,
}

impl SyncTimer {
    /// That of a store in which all is synced. Only the monotonic time of `clock` matters.
    pub fn new(policy: SyncPolicy, clock: Arc<dyn Clock>) -> Self {
        SyncTimer { policy, clock, since: None }
    }

    /// Whether a commit that is made now is to be synced itself.
    pub fn takes_commit(&self) -> bool {
        match self.policy {
            SyncPolicy::EveryCommit => true,
            SyncPolicy::Interval(_) => self.is_due(),
            SyncPolicy::Os => false,
        }
    }

    /// A commit was made, and not synced.
    pub fn committed(&mut self) {
        if let SyncPolicy::Interval(_) = self.policy {
            self.since.get_or_insert_with(|| self.clock.monotonic());
        }
    }

    /// Everything that was committed is synced.
    pub fn synced(&mut self) {
        self.since = None;
    }

    /// Whether there is something to sync, now or later.
    pub fn is_behind(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// How long there is time; `None` when there is nothing to sync.
    pub fn left(&self) -> Option<Duration> {
        match (self.policy, self.since) {
            (SyncPolicy::Interval(span), Some(since)) => {
                Some(span.saturating_sub(self.clock.monotonic().saturating_sub(since)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, Timestamp};

    const SECOND: Duration = Duration::from_secs(1);

    fn timer(policy: SyncPolicy) -> (Arc<ManualClock>, SyncTimer) {
        let clock = ManualClock::new(Timestamp::from_micros(0));
        (Arc::clone(&clock), SyncTimer::new(policy, clock))
    }

    #[test]
    fn the_default_syncs_each_commit() {
        let (clock, mut timer) = timer(SyncPolicy::default());
        assert!(timer.takes_commit());
        timer.committed();
        clock.advance(SECOND);
        assert!(timer.takes_commit() && !timer.is_behind() && timer.left().is_none());
    }

    #[test]
    fn an_interval_runs_from_the_first_commit_that_is_not_synced() {
        let (clock, mut timer) = timer(SyncPolicy::Interval(3 * SECOND));
        clock.advance(9 * SECOND);
        assert!(!timer.takes_commit(), "nothing waits yet");
        timer.committed();
        clock.advance(2 * SECOND);
        timer.committed();
        assert_eq!(timer.left(), Some(SECOND));
        assert!(timer.is_behind() && !timer.is_due());
        clock.advance(SECOND);
        assert!(timer.is_due() && timer.takes_commit());
        clock.advance(9 * SECOND);
        assert_eq!(timer.left(), Some(Duration::ZERO));
        timer.synced();
        assert!(!timer.is_behind() && !timer.is_due() && !timer.takes_commit());
    }

    #[test]
    fn os_never_syncs() {
        let (clock, mut timer) = timer(SyncPolicy::Os);
        timer.committed();
        clock.advance(SECOND);
        assert!(!timer.takes_commit() && !timer.is_behind() && timer.left().is_none());
    }

    #[test]
    fn an_interval_of_zero_is_refused() {
        let error = SyncPolicy::Interval(Duration::ZERO).check().unwrap_err();
        assert_eq!(error.argument, "sync");
        for policy in [SyncPolicy::EveryCommit, SyncPolicy::Os, SyncPolicy::Interval(Duration::MAX)] {
            assert_eq!(policy.check(), Ok(policy));
        }
    }
}
