use poolqueue_core::{BackendError, JobId};
use redb::{Database, ReadableDatabase, ReadableTable};

use crate::codec::{
    COMMITS, FINALS, Names, Owner, Part, SEQUENCE, StoredCommits, StoredSequence, StoredState, StoredTally,
    unseal,
};
use crate::index::{Index, Loader};
use crate::site::Site;
use crate::tally::Tally;
use crate::txn::Scratch;

/// What the writer keeps in memory. All of it goes back with a transaction that was not committed.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) index: Index,
    pub(crate) names: Names,
    pub(crate) sequence: Sequence,
    /// As it was after the last committed transaction.
    committed_sequence: Sequence,
    /// Groups committed in a database of the application's, with the one under way, and without it.
    pub(crate) commits: u64,
    committed_commits: u64,
    /// No stored id is greater; `None` when there are none. New ids mostly are, and need not be looked for.
    pub(crate) ceiling: Option<JobId>,
    /// Up to which staged change the transaction under way knows what became of it.
    pub(crate) resolved: Option<u64>,
    /// Rows and buffers for the next transaction. One that is not committed takes them with it.
    pub(crate) scratch: Scratch,
}

/// The order of enqueues. Numbers are given out of blocks that were reserved in the file before, so that the
/// file is written once in a block, and a number that a job had, over or not, is never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) next: u64,
    /// Numbers below this one may be given out.
    pub(crate) reserved: u64,
}

impl Default for Sequence {
    fn default() -> Self {
        Sequence { next: 1, reserved: 1 }
    }
}

impl Memory {
    /// Reads the unfinished jobs.
    pub(crate) fn load(db: &Database, site: &Site) -> Result<Self, BackendError> {
        let engine = |error: redb::Error| site.engine("read the unfinished jobs", error);
        let txn = db.begin_read().map_err(|error| engine(error.into()))?;
        let mut memory = Memory::default();
        let live = txn.open_table(site.layout().live()).map_err(|error| engine(error.into()))?;
        let mut loader = Loader::default();
        for row in live.iter().map_err(|error| engine(error.into()))? {
            let (key, value) = row.map_err(|error| engine(error.into()))?;
            let id = JobId::from_bytes(*key.value());
            let state = unseal::<StoredState<'_>>(Owner::new(Part::State, key.value()), value.value())
                .and_then(|stored| stored.state(id, &mut memory.names, false))
                .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
            loader.add(&state);
        }
        let done = txn.open_table(site.layout().done()).map_err(|error| engine(error.into()))?;
        for table in [&live, &done] {
            if let Some((key, _)) = table.last().map_err(|error| engine(error.into()))? {
                memory.ceiling = memory.ceiling.max(Some(JobId::from_bytes(*key.value())));
            }
        }
        let meta = txn.open_table(site.layout().meta()).map_err(|error| engine(error.into()))?;
        let mut finals = Tally::default();
        if let Some(row) = meta.get(FINALS).map_err(|error| engine(error.into()))? {
            finals = unseal::<StoredTally>(Owner::new(Part::Meta, FINALS.as_bytes()), row.value())
                .and_then(|stored| stored.tally())
                .map_err(|flaw| site.flaw("the counters of finished jobs", flaw))?;
        }
        if let Some(row) = meta.get(SEQUENCE).map_err(|error| engine(error.into()))? {
            let stored: StoredSequence = unseal(Owner::new(Part::Meta, SEQUENCE.as_bytes()), row.value())
                .map_err(|flaw| site.flaw("the sequence", flaw))?;
            memory.sequence = Sequence { next: stored.reserved, reserved: stored.reserved };
            memory.committed_sequence = memory.sequence;
        }
        if let Some(row) = meta.get(COMMITS).map_err(|error| engine(error.into()))? {
            let stored: StoredCommits = unseal(Owner::new(Part::Meta, COMMITS.as_bytes()), row.value())
                .map_err(|flaw| site.flaw("the number of commits", flaw))?;
            memory.commits = stored.count;
            memory.committed_commits = stored.count;
        }
        memory.index = loader.finish(finals);
        Ok(memory)
    }

    /// Keeps what the transaction changed.
    pub(crate) fn commit(&mut self) {
        self.index.commit();
        self.committed_sequence = self.sequence;
        self.committed_commits = self.commits;
        self.resolved = None;
    }

    /// Takes back what the transaction changed. The ceiling may stay too high: that only costs a look.
    pub(crate) fn rollback(&mut self) {
        self.index.rollback();
        self.sequence = self.committed_sequence;
        self.commits = self.committed_commits;
        self.resolved = None;
    }
}
