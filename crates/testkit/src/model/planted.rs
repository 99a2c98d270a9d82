//! Stores with planted faults, each of which the model test has to find.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{Backend, Batch, BoxFuture, Claim, EmbeddedOptions, Receipt};
use poolqueue::{HistoryEntry, Job, JobId, Output, Target};

use crate::Fixture;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Every second completion loses its output.
    OutputLost,
    /// A lease is taken for a bare id.
    FenceIgnored,
    /// The first two jobs of a claim come in the wrong order.
    ClaimsSwapped,
    /// A batch that is to be all or nothing is not.
    RequireAllIgnored,
    /// A record is written whatever its version.
    VersionIgnored,
    /// A change is made whatever statuses it names.
    GuardIgnored,
    /// A job stays although its deletion was answered.
    NotDeleted,
    /// The last entry of a long history is not there.
    HistoryShort,
    /// A store that was closed is empty when it is opened again.
    Forgotten,
}

/// All of them.
pub const FAULTS: [Fault; 9] = [
    Fault::OutputLost,
    Fault::FenceIgnored,
    Fault::ClaimsSwapped,
    Fault::RequireAllIgnored,
    Fault::VersionIgnored,
    Fault::GuardIgnored,
    Fault::NotDeleted,
    Fault::HistoryShort,
    Fault::Forgotten,
];

/// The store of `F` with the fault at place `FAULT` of [`FAULTS`].
#[derive(Debug)]
pub struct FaultyFixture<F, const FAULT: usize> {
    place: F,
    /// What [`Fault::Forgotten`] opens instead.
    empty: F,
    opened: AtomicU32,
}

impl<F: Fixture, const FAULT: usize> Fixture for FaultyFixture<F, FAULT> {
    const DURABLE: bool = true;
    const TURNS: bool = F::TURNS;

    fn new() -> Self {
        FaultyFixture { place: F::new(), empty: F::new(), opened: AtomicU32::new(0) }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        let fault = FAULTS[FAULT];
        let again = self.opened.fetch_add(1, Ordering::SeqCst) > 0;
        let place = if again && fault == Fault::Forgotten { &self.empty } else { &self.place };
        Arc::new(Faulty { inner: place.open(options).await, fault, completions: AtomicU32::new(0) })
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn Backend>,
    fault: Fault,
    completions: AtomicU32,
}

impl Faulty {
    fn spoil(&self, batch: &mut Batch) {
        for change in &mut batch.changes {
            match (self.fault, &mut change.event) {
                (Fault::OutputLost, Event::Complete { output })
                    if self.completions.fetch_add(1, Ordering::SeqCst) % 2 == 1 =>
                {
                    *output = Output::none();
                }
                (Fault::FenceIgnored, _) => change.target = Target::Id(change.target.id()),
                (Fault::GuardIgnored, _) => change.only_from = None,
                _ => {}
            }
        }
        if self.fault == Fault::VersionIgnored {
            batch.records.iter_mut().for_each(|put| put.expected = None);
        }
        batch.require_all &= self.fault != Fault::RequireAllIgnored;
    }

    /// Answers for the deletions of a batch that has nothing else, without making them.
    async fn pretend(&self, batch: &Batch) -> Option<Receipt> {
        let only_deletes = batch.len() == 1 && batch.deletes.len() == 1;
        if self.fault != Fault::NotDeleted || !only_deletes || batch.deletes[0].only_from.is_some() {
            return None;
        }
        let id = batch.deletes[0].id;
        let job = self.inner.get(vec![id]).await.ok()?.into_iter().next().flatten()?;
        job.status.is_final().then(|| Receipt { applied: true, deletes: vec![Ok(id)], ..Receipt::default() })
    }
}

impl Backend for Faulty {
    fn commit(&self, mut batch: Batch) -> BoxFuture<'_, Receipt> {
        self.spoil(&mut batch);
        Box::pin(async move {
            match self.pretend(&batch).await {
                Some(receipt) => Ok(receipt),
                None => self.inner.commit(batch).await,
            }
        })
    }

    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Vec<Vec<Job>>> {
        Box::pin(async move {
            let mut claimed = self.inner.claim(claims).await?;
            for jobs in claimed.iter_mut().filter(|jobs| jobs.len() > 1) {
                if self.fault == Fault::ClaimsSwapped {
                    jobs.swap(0, 1);
                }
            }
            Ok(claimed)
        })
    }

    fn history(&self, id: JobId) -> BoxFuture<'_, Option<(Vec<HistoryEntry>, u64)>> {
        Box::pin(async move {
            let mut history = self.inner.history(id).await?;
            if let Some((entries, _)) = history.as_mut().filter(|(entries, _)| entries.len() > 4)
                && self.fault == Fault::HistoryShort
            {
                entries.pop();
            }
            Ok(history)
        })
    }

    crate::pass_on!(get select the_rest);
}
