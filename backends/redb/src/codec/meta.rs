use bincode::{BorrowDecode, Encode};
use poolqueue_core::Status;

use super::Flaw;
use crate::tally::Tally;

/// The key of [`StoredFormat`].
pub(crate) const FORMAT: &str = "format";
/// The key of [`StoredSequence`].
pub(crate) const SEQUENCE: &str = "sequence";
/// The key of [`StoredTally`].
pub(crate) const FINALS: &str = "finals";

/// The key of [`StoredCommits`].
pub(crate) const COMMITS: &str = "commits";
/// The key of [`StoredOwner`].
pub(crate) const OWNER: &str = "owner";

/// The version of the file's layout: which tables there are and how they go together.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredFormat {
    pub(crate) version: u32,
}

/// Whoever opened the queue last in a database of the application's: a random name, made anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredOwner {
    pub(crate) id: [u8; 16],
}

/// How many groups the writer has committed in a database of the application's: fewer than it remembers are there when
/// the application has gone back to a savepoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredCommits {
    pub(crate) count: u64,
}

/// Sequences below this one may have been given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredSequence {
    pub(crate) reserved: u64,
}

/// The counters of jobs that are over: status, jobs, sum of their retries.
#[derive(Clone, Debug, Default, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredTally {
    pub(crate) statuses: Vec<(u8, u64, u64)>,
}

impl StoredTally {
    pub(crate) fn of(tally: &Tally) -> Self {
        let row = |status: &Status| {
            let (jobs, retries) = tally.of(*status);
            (jobs > 0 || retries > 0).then_some((status.code(), jobs, retries))
        };
        StoredTally { statuses: Status::ALL.iter().filter_map(row).collect() }
    }

    pub(crate) fn tally(&self) -> Result<Tally, Flaw> {
        let mut tally = Tally::default();
        for (code, jobs, retries) in &self.statuses {
            tally.set(super::state::status(*code)?, *jobs, *retries);
        }
        Ok(tally)
    }
}

/// A record: a small value kept beside the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredRecord<'a> {
    pub(crate) version: u64,
    pub(crate) value: &'a [u8],
}

/// The job that holds a unique key.
#[derive(Clone, Copy, Debug, PartialEq, Encode, BorrowDecode)]
pub(crate) struct StoredHolder {
    pub(crate) id: [u8; 16],
}
