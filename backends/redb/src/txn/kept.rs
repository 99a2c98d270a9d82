//! What a transaction keeps beside its tables.

use poolqueue_core::{BackendError, JobId, Status};

use super::RedbTxn;
use crate::codec::{COMMITS, FINALS, Names, SEQUENCE, StoredCommits, StoredSequence, StoredTally};
use crate::index::{Index, Seat, Step};
use crate::memory::{Memory, Sequence};
use crate::tally::Tally;

/// Sequences reserved at once.
const SEQUENCE_BLOCK: u64 = 1 << 16;

/// In whose transaction the tables are written.
pub(super) enum Kept<'t> {
    /// The writer's: what it keeps in memory changes with the tables.
    Writer { memory: &'t mut Memory, finals_before: Tally },
    /// The application's: the writer's memory is out of reach, so the transaction works from tables alone, and the
    /// writer makes up for it when it learns of the commit.
    Application(Aside),
}

/// What a transaction of the application's writes at its end.
#[derive(Default)]
pub(super) struct Aside {
    names: Names,
    /// The next number in the order of enqueues, once one was asked for.
    sequence: Option<u64>,
    /// The changes to the counters of jobs that are over.
    finals: Vec<(Step, Status, u32)>,
}

impl Kept<'_> {
    pub(super) fn writer(memory: &mut Memory) -> Kept<'_> {
        let finals_before = memory.index.figures().finals;
        Kept::Writer { memory, finals_before }
    }

    pub(super) fn names(&mut self) -> &mut Names {
        match self {
            Kept::Writer { memory, .. } => &mut memory.names,
            Kept::Application(aside) => &mut aside.names,
        }
    }

    /// The index; `None` where there is none, and nobody to claim or to promote.
    pub(super) fn index(&mut self) -> Option<&mut Index> {
        match self {
            Kept::Writer { memory, .. } => Some(&mut memory.index),
            Kept::Application(_) => None,
        }
    }

    /// Whether a job of this id may be stored.
    pub(super) fn may_have(&self, id: JobId) -> bool {
        match self {
            Kept::Writer { memory, .. } => memory.ceiling.is_some_and(|ceiling| id <= ceiling),
            Kept::Application(_) => true,
        }
    }

    /// A job is stored that was not.
    pub(super) fn admit(&mut self, seat: Seat) {
        if let Kept::Writer { memory, .. } = self {
            memory.ceiling = memory.ceiling.max(Some(seat.id));
        }
        self.change(Step::Take, seat);
    }

    pub(super) fn change(&mut self, step: Step, seat: Seat) {
        match (self, step) {
            (Kept::Writer { memory, .. }, Step::Take) => memory.index.take(seat),
            (Kept::Writer { memory, .. }, Step::Leave) => memory.index.leave(seat),
            (Kept::Application(aside), _) if seat.status.is_final() => {
                aside.finals.push((step, seat.status, seat.retries));
            }
            (Kept::Application(_), _) => {}
        }
    }
}

impl RedbTxn<'_> {
    /// The first number of the order of enqueues that was never reserved.
    fn unreserved(&mut self) -> Result<u64, BackendError> {
        let stored = self.read_meta::<StoredSequence>(SEQUENCE, "the sequence")?;
        Ok(stored.map_or(Sequence::default().reserved, |stored| stored.reserved))
    }

    pub(super) fn take_sequence(&mut self) -> Result<u64, BackendError> {
        let known = match &self.kept {
            Kept::Application(aside) => aside.sequence.map(|next| Sequence { next, reserved: u64::MAX }),
            Kept::Writer { memory, .. } => Some(memory.sequence),
        };
        let mut sequence = match known {
            Some(sequence) if sequence.next < sequence.reserved => sequence,
            // Transactions of the application's may have reserved more than is known here.
            known => {
                let next = self.unreserved()?.max(known.map_or(0, |sequence| sequence.next));
                Sequence { next, reserved: next }
            }
        };
        if sequence.next >= sequence.reserved && matches!(self.kept, Kept::Writer { .. }) {
            sequence.reserved = sequence.next.saturating_add(SEQUENCE_BLOCK);
            self.put_meta(SEQUENCE, &StoredSequence { reserved: sequence.reserved })?;
        }
        let taken = sequence.next;
        sequence.next = taken.saturating_add(1);
        match &mut self.kept {
            Kept::Writer { memory, .. } => memory.sequence = sequence,
            Kept::Application(aside) => aside.sequence = Some(sequence.next),
        }
        Ok(taken)
    }

    /// Goes on behind a number that a job was found to have.
    pub(super) fn pass_sequence(&mut self, taken: u64) -> Result<(), BackendError> {
        let Kept::Writer { memory, .. } = &mut self.kept else { return Ok(()) };
        let next = memory.sequence.next.max(taken.saturating_add(1));
        let reserved = memory.sequence.reserved.max(next);
        let more = reserved > memory.sequence.reserved;
        memory.sequence = Sequence { next, reserved };
        if more { self.put_meta(SEQUENCE, &StoredSequence { reserved }) } else { Ok(()) }
    }

    /// Goes on behind the numbers that transactions of the application's took.
    pub(super) fn follow_sequence(&mut self) -> Result<(), BackendError> {
        let next = self.unreserved()?;
        if let Kept::Writer { memory, .. } = &mut self.kept {
            memory.sequence = Sequence { next, reserved: next };
        }
        Ok(())
    }

    /// Gives back the sequences that were reserved and not given out.
    pub(crate) fn settle_sequence(&mut self) -> Result<(), BackendError> {
        let Kept::Writer { memory, .. } = &self.kept else { return Ok(()) };
        let Sequence { next, reserved } = memory.sequence;
        // More are reserved by others: theirs are not given back.
        if next < reserved && self.unreserved()? == reserved {
            self.put_meta(SEQUENCE, &StoredSequence { reserved: next })?;
            if let Kept::Writer { memory, .. } = &mut self.kept {
                memory.sequence.reserved = next;
            }
        }
        Ok(())
    }

    /// Writes what is written once in a transaction.
    pub(crate) fn finish(&mut self) -> Result<(), BackendError> {
        self.write_totals()?;
        if let Kept::Writer { memory, .. } = &mut self.kept {
            memory.scratch = std::mem::take(&mut self.scratch).kept();
            if self.shared.application().is_some() {
                // Others write, too.
                memory.scratch.rows.forget();
            }
        }
        Ok(())
    }

    fn write_totals(&mut self) -> Result<(), BackendError> {
        let (steps, sequence) = match &mut self.kept {
            Kept::Writer { memory, finals_before } => {
                let finals = memory.index.figures().finals;
                let counted = finals != *finals_before;
                let shares = self.shared.application().is_some();
                memory.commits = memory.commits.wrapping_add(shares.into());
                let commits = StoredCommits { count: memory.commits };
                if counted {
                    self.put_meta(FINALS, &StoredTally::of(&finals))?;
                }
                if shares {
                    self.put_meta(COMMITS, &commits)?;
                }
                return Ok(());
            }
            Kept::Application(aside) => (std::mem::take(&mut aside.finals), aside.sequence.take()),
        };
        if let Some(reserved) = sequence {
            self.put_meta(SEQUENCE, &StoredSequence { reserved })?;
        }
        if !steps.is_empty() {
            let mut finals = self.finals()?;
            for (step, status, retries) in steps {
                match step {
                    Step::Take => finals.add(status, retries),
                    Step::Leave => finals.remove(status, retries),
                }
            }
            self.put_meta(FINALS, &StoredTally::of(&finals))?;
        }
        Ok(())
    }

    /// The stored counters of jobs that are over.
    fn finals(&mut self) -> Result<Tally, BackendError> {
        let stored = self.read_meta::<StoredTally>(FINALS, "the counters of finished jobs")?;
        let tally = stored.map_or(Ok(Tally::default()), |stored| stored.tally());
        tally.map_err(|flaw| self.site().flaw("the counters of finished jobs", flaw))
    }
}
