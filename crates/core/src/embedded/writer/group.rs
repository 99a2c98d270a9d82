//! What is written in one transaction.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use foldhash::HashMap;
use tokio::sync::oneshot;

use crate::embedded::apply::{Done, Failed, apply, apply_own};
use crate::embedded::elsewhere::{Learnt, readable};
use crate::embedded::inbox::{Answered, Command, Inbox, Returned};
use crate::embedded::standing::Standing;
use crate::lifecycle::Event;
use crate::{BackendError, Batch, Lease, Receipt, Slots, Timestamp, Txn, Wake};

/// A batch and who asked for it.
type Asked = (Batch, oneshot::Sender<Answered>);

/// One group, while it is written.
#[derive(Default)]
pub(in crate::embedded) struct Group {
    /// Batches not applied yet.
    batches: VecDeque<Asked>,
    /// Jobs whose claimer has gone.
    returned: Vec<Returned>,
    /// How many of those were handed back so far.
    handed_back: usize,
    /// The batches applied so far, and the one at which the group failed.
    applied: Vec<Asked>,
    receipts: Vec<Result<Receipt, BackendError>>,
    pub(in crate::embedded) done: Done,
    pub(in crate::embedded) learnt: Learnt,
    pub(super) claimed: HashMap<Lease, Arc<Slots>>,
    pub(super) next_timer: Option<Timestamp>,
    pub(super) unfinished: bool,
}

impl Group {
    /// A group that hands back jobs.
    pub(super) fn returning(returned: Vec<Returned>) -> Self {
        Group { returned, ..Group::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.returned.is_empty()
    }

    /// Batches asked for, applied or not.
    pub(super) fn len(&self) -> usize {
        self.batches.len() + self.applied.len()
    }

    /// Jobs that are handed back because their claimer has gone.
    pub(super) fn returned(&self) -> &[Returned] {
        &self.returned
    }

    pub(super) fn take_returned(&mut self) -> Vec<Returned> {
        std::mem::take(&mut self.returned)
    }

    pub(super) fn hand_back(&mut self, jobs: impl IntoIterator<Item = Returned>) {
        self.returned.extend(jobs);
    }

    /// Takes in a command; hands back one that is about the store as a whole.
    pub(super) fn admit(
        &mut self,
        command: Command,
        standing: &mut Vec<Standing>,
        inbox: &Arc<Inbox>,
    ) -> Option<Command> {
        match command {
            Command::Commit { batch, answer } => self.batches.push_back((batch, answer)),
            Command::Claim { claims, answer } => {
                let wake: Weak<dyn Wake> = Arc::downgrade(&(Arc::clone(inbox) as Arc<dyn Wake>));
                claims.iter().for_each(|claim| claim.slots.set_claimer(Weak::clone(&wake)));
                standing.push(Standing::new(claims, answer));
            }
            Command::Return { jobs } => self.returned.extend(jobs),
            Command::Reopen { .. } | Command::Close { .. } => return Some(command),
        }
        None
    }

    /// Applies what was taken in and not applied yet.
    pub(super) fn apply(
        &mut self,
        txn: &mut dyn Txn,
        now: Timestamp,
        history_max: usize,
    ) -> Result<(), BackendError> {
        while let Some(returned) = self.returned.get(self.handed_back).copied() {
            let job = readable(txn.load(returned.lease.id))?.flatten();
            if let Some(job) = job.filter(|job| returned.is_of(job)) {
                apply_own(txn, &job, &Event::Undelivered, now, history_max, &mut self.done)?;
            }
            self.handed_back += 1;
        }
        let Group { batches, applied, receipts, done, .. } = self;
        while let Some(asked) = batches.pop_front() {
            // First of all, so that everyone has an answer whatever happens here.
            let (batch, _) = applied.push_mut(asked);
            receipts.push(match apply(txn, batch, now, history_max, done) {
                Ok(receipt) => Ok(receipt),
                Err(Failed::Batch(error)) => Err(error),
                Err(Failed::Group(error)) => return Err(error),
            });
        }
        Ok(())
    }

    /// Tells everyone what became of their batches.
    pub(super) fn answer(&mut self) {
        for (outcome, (batch, answer)) in self.receipts.drain(..).zip(self.applied.drain(..)) {
            // A caller who has gone does not want to know.
            let _ = answer.send(Answered { outcome, batch });
        }
    }

    /// Tells everyone that the group failed.
    pub(super) fn refuse(&mut self, error: &BackendError) {
        for (batch, answer) in self.applied.drain(..).chain(self.batches.drain(..)) {
            let _ = answer.send(Answered { outcome: Err(error.clone()), batch });
        }
    }
}
