//! The model test on the store in memory itself, and on stores with planted faults, each of which it has to catch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use poolqueue::backend::lifecycle::{Event, next, sources};
use poolqueue::backend::{
    Backend, Batch, BoxFuture, Capabilities, Claim, Counts, EmbeddedOptions, Filter, Health, Observer, Page,
    Query, Receipt, Verified,
};
use poolqueue::{EventKind, HistoryEntry, Job, JobId, Lease, Output, Status, Target};
use poolqueue_testkit::{Behind, Fixture, MemoryFixture, model, model_test};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
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

const FAULTS: [Fault; 9] = [
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

/// A store in memory with the fault at place `FAULT` of [`FAULTS`].
struct FaultyFixture<const FAULT: usize> {
    memory: MemoryFixture,
    opened: AtomicU32,
}

impl<const FAULT: usize> Fixture for FaultyFixture<FAULT> {
    const DURABLE: bool = true;

    fn new() -> Self {
        FaultyFixture { memory: MemoryFixture::new(), opened: AtomicU32::new(0) }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        let fault = FAULTS[FAULT];
        let again = self.opened.fetch_add(1, Ordering::SeqCst) > 0;
        let inner = if again && fault == Fault::Forgotten {
            MemoryFixture::new().open(options).await
        } else {
            self.memory.open(options).await
        };
        Arc::new(Faulty { inner, fault, completions: AtomicU32::new(0) })
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

    fn get(&self, ids: Vec<JobId>) -> BoxFuture<'_, Vec<Option<Job>>> {
        self.inner.get(ids)
    }

    fn select(&self, query: Query) -> BoxFuture<'_, Page> {
        self.inner.select(query)
    }

    fn count(&self, filter: Filter) -> BoxFuture<'_, Counts> {
        self.inner.count(filter)
    }

    fn held(&self) -> BoxFuture<'_, Vec<Lease>> {
        self.inner.held()
    }

    fn record(&self, key: String) -> BoxFuture<'_, Option<(u64, Vec<u8>)>> {
        self.inner.record(key)
    }

    fn verify(&self) -> BoxFuture<'_, Verified> {
        self.inner.verify()
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn reopen(&self) -> BoxFuture<'_, ()> {
        self.inner.reopen()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// Whatever is planted is found, in a sequence that was made short.
fn catches<const FAULT: usize>() {
    let fault = FAULTS[FAULT];
    match model::compare::<FaultyFixture<FAULT>>(200, 60) {
        Ok(tried) => panic!("{fault:?} was not caught: {tried}"),
        Err(difference) => {
            let actions = difference.actions.len();
            println!("{fault:?} was caught by {actions} actions: {difference}");
            assert!(actions <= 20, "{fault:?} takes {actions} actions to show");
        }
    }
}

#[test]
fn a_lost_output_is_caught() {
    catches::<0>();
}

#[test]
fn an_ignored_fence_is_caught() {
    catches::<1>();
}

#[test]
fn claims_in_the_wrong_order_are_caught() {
    catches::<2>();
}

#[test]
fn an_ignored_all_or_nothing_is_caught() {
    catches::<3>();
}

#[test]
fn an_ignored_record_version_is_caught() {
    catches::<4>();
}

#[test]
fn an_ignored_guard_is_caught() {
    catches::<5>();
}

#[test]
fn a_deletion_that_is_not_made_is_caught() {
    catches::<6>();
}

#[test]
fn a_missing_history_entry_is_caught() {
    catches::<7>();
}

#[test]
fn a_store_that_forgets_at_its_close_is_caught() {
    catches::<8>();
}

/// What is never drawn is never compared.
#[test]
fn random_batches_make_every_step_of_the_life_cycle() {
    let tried = model::compare::<MemoryFixture>(150, 200).unwrap_or_else(|difference| panic!("{difference}"));
    let mut missing = Vec::new();
    for from in Status::ALL {
        for event in EventKind::ALL {
            let allowed = match from {
                Status::Paused => sources(*event).contains(Status::Paused),
                from => next(*from, *event).is_some(),
            };
            // Cancelling and pausing again change nothing, so nobody hears of it.
            let repeats = matches!(
                (from, event),
                (Status::Cancelling, EventKind::Cancel) | (Status::Paused, EventKind::Pause)
            );
            if allowed && !repeats && !tried.transitions.contains(&(*from, *event)) {
                missing.push((*from, *event));
            }
        }
    }
    assert_eq!(missing, [], "{tried}");
}

model_test!(Behind<MemoryFixture>, 120, 200);
