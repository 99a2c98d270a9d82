//! What is read from a damaged store and written to a new one.
//!
//! A store that can be damaged reads what is left of it and hands it to a [`Rescue`]; [`refill`] is the one that writes
//! it to a new, empty store, and puts down what was lost. The two need not be of the same kind.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;

use crate::lifecycle::JobState;
use crate::{
    BackendError, Body, HistoryEntry, JobId, LastError, Output, QueueName, Store, Txn, UniqueKey, Verdict,
};

/// Looks at parts of a table, to find what stands between two damaged places.
const PROBES: usize = 512;
/// Jobs and records written in one transaction.
const PARTS: usize = 1_000;
/// Bytes written in one transaction, about.
const BYTES: usize = 16 << 20;
/// Losses that are listed; more are counted.
const LOSSES: usize = 10_000;

/// A job as it was found. All of it passed its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where it stands.
    pub state: JobState,
    /// What it carries.
    pub body: Body,
    /// What it left behind.
    pub output: Output,
    /// The last thing that went wrong with it.
    pub error: Option<LastError>,
    /// The newest entries of its history, oldest first and without a gap.
    pub history: Vec<HistoryEntry>,
    /// How many entries before those are gone: cut earlier, or lost.
    pub cut: u64,
}

impl Saved {
    /// How many steps it has made.
    fn steps(&self) -> u64 {
        self.cut.saturating_add(self.history.len() as u64)
    }

    fn bytes(&self) -> usize {
        const PER_ENTRY: usize = 64;
        let output = self.output.value().map_or(0, |(bytes, _)| bytes.len());
        self.body.payload.len() + output + self.history.len() * PER_ENTRY
    }
}

/// What sort of thing could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostPart {
    /// A whole job.
    Job,
    /// The output and the last error of a job that was saved.
    Outcome,
    /// The older part of the history of a job that was saved.
    History,
    /// The hold of a job that was saved on its unique key: another job has it.
    UniqueKey,
    /// A record, by its key.
    Record(String),
    /// A part of the store in which nobody can say what there was.
    Unknown,
}

/// Something that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// What it was.
    pub part: LostPart,
    /// The job it was of, if that is known.
    pub job: Option<JobId>,
    /// What was found instead.
    pub reason: String,
}

impl Lost {
    /// A loss.
    pub fn new(part: LostPart, job: Option<JobId>, reason: impl Into<String>) -> Self {
        Lost { part, job, reason: reason.into() }
    }
}

impl Lost {
    /// What a job whose outcome is lost has in place of it: no output, and a last error that says why. Without it, an output
    /// that is lost and one that never was would look the same.
    pub fn in_place_of_outcome(&self) -> (Output, Option<LastError>) {
        let message = format!("salvaged without its output and last error: {}", self.reason);
        (Output::none(), Some(LastError { message, kind: None }))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.part, self.job) {
            (LostPart::Job, Some(id)) => write!(f, "job {id}")?,
            (LostPart::Job, None) => f.write_str("a job")?,
            (LostPart::Outcome, Some(id)) => write!(f, "the output and the last error of job {id}")?,
            (LostPart::History, Some(id)) => write!(f, "the older history of job {id}")?,
            (LostPart::UniqueKey, Some(id)) => write!(f, "the unique key of job {id}")?,
            (LostPart::Record(key), _) => write!(f, "the record {key:?}")?,
            _ => f.write_str("something")?,
        }
        write!(f, ": {}", self.reason)
    }
}

/// What was saved from a damaged store, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Jobs in the new store.
    pub jobs: u64,
    /// Records in the new store.
    pub records: u64,
    /// What was lost, 10,000 entries at most.
    pub lost: Vec<Lost>,
    /// How many losses are not listed any more.
    pub lost_unlisted: u64,
}

impl Salvaged {
    /// Whether nothing is known to be lost.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty()
    }

    /// The jobs that are known to be lost whole.
    pub fn lost_jobs(&self) -> impl Iterator<Item = JobId> {
        self.lost.iter().filter(|lost| lost.part == LostPart::Job).filter_map(|lost| lost.job)
    }

    fn note(&mut self, lost: Lost) {
        if self.lost.len() < LOSSES {
            self.lost.push(lost);
        } else {
            self.lost_unlisted = self.lost_unlisted.saturating_add(1);
        }
    }
}

/// Takes what is found in a damaged store, in any order.
pub trait Rescue {
    /// A job.
    ///
    /// # Errors
    /// What the new store reports. Nothing more is to be handed over then.
    fn job(&mut self, job: Saved) -> Result<(), BackendError>;

    /// A record and its version.
    ///
    /// # Errors
    /// As [`Rescue::job`].
    fn record(&mut self, key: &str, version: u64, value: &[u8]) -> Result<(), BackendError>;

    /// Something that cannot be read.
    fn lost(&mut self, lost: Lost);
}

/// Writes what `source` finds to `store`, which is empty and which nobody else uses yet.
///
/// Of what is handed over twice the first stays: a job with the id of another, or with its place in the order of enqueues,
/// is put down as lost, and so is the unique key that another job holds. Only a damaged store has such.
///
/// # Errors
/// The error of `source`, or of the store. The store holds a part then, and is to be thrown away.
pub fn refill<S: Store>(
    store: &mut S,
    source: &mut dyn FnMut(&mut dyn Rescue) -> Result<(), BackendError>,
) -> Result<Salvaged, BackendError> {
    let mut refill = Refill {
        store,
        jobs: Vec::new(),
        records: Vec::new(),
        bytes: 0,
        ids: HashSet::new(),
        sequences: HashSet::new(),
        keys: HashSet::new(),
        salvaged: Salvaged::default(),
    };
    source(&mut refill)?;
    refill.flush()?;
    Ok(refill.salvaged)
}

struct Refill<'a, S> {
    store: &'a mut S,
    /// What the next transaction writes.
    jobs: Vec<Saved>,
    records: Vec<(String, u64, Vec<u8>)>,
    bytes: usize,
    /// What is taken already.
    ids: HashSet<JobId>,
    sequences: HashSet<u64>,
    keys: HashSet<(QueueName, UniqueKey)>,
    salvaged: Salvaged,
}

impl<S: Store> Refill<'_, S> {
    fn flush(&mut self) -> Result<(), BackendError> {
        let (jobs, records) = (std::mem::take(&mut self.jobs), std::mem::take(&mut self.records));
        self.bytes = 0;
        if jobs.is_empty() && records.is_empty() {
            return Ok(());
        }
        self.store.transact(&mut |txn| {
            jobs.iter().try_for_each(|job| restore(txn, job))?;
            records
                .iter()
                .try_for_each(|(key, version, value)| txn.put_record(key, Some((*version, value))))?;
            Ok(Verdict::Commit)
        })?;
        self.salvaged.jobs += jobs.len() as u64;
        self.salvaged.records += records.len() as u64;
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<(), BackendError> {
        let full = self.jobs.len() + self.records.len() >= PARTS || self.bytes >= BYTES;
        if full { self.flush() } else { Ok(()) }
    }
}

impl<S: Store> Rescue for Refill<'_, S> {
    fn job(&mut self, mut job: Saved) -> Result<(), BackendError> {
        let id = job.state.id;
        if !self.ids.insert(id) {
            let reason = format!("it was found again after {} steps", job.steps());
            self.lost(Lost::new(LostPart::Unknown, Some(id), reason));
            return Ok(());
        }
        if !self.sequences.insert(job.state.sequence) {
            let reason = format!("another job is the {}. that was enqueued, too", job.state.sequence);
            self.lost(Lost::new(LostPart::Job, Some(id), reason));
            return Ok(());
        }
        if let Some(key) = job.state.unique_key.clone().filter(|_| !job.state.status.is_final())
            && !self.keys.insert((job.state.labels.queue.clone(), key.clone()))
        {
            job.state.unique_key = None;
            self.lost(Lost::new(LostPart::UniqueKey, Some(id), format!("another job holds {key:?}")));
        }
        self.bytes += job.bytes();
        self.jobs.push(job);
        self.flush_if_full()
    }

    fn record(&mut self, key: &str, version: u64, value: &[u8]) -> Result<(), BackendError> {
        self.bytes += value.len();
        self.records.push((key.to_owned(), version, value.to_vec()));
        self.flush_if_full()
    }

    fn lost(&mut self, lost: Lost) {
        self.salvaged.note(lost);
    }
}

fn restore(txn: &mut dyn Txn, job: &Saved) -> Result<(), BackendError> {
    let state = &job.state;
    if let Some(key) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) {
        txn.set_key_holder(&state.labels.queue, key, Some(state.id))?;
    }
    txn.restore(job)
}

/// Goes through the keys of a range, backwards where it is told so, and gives each to its last argument.
pub type Walk<'a> =
    dyn FnMut(RangeInclusive<u128>, bool, &mut dyn FnMut(u128)) -> Result<(), BackendError> + 'a;

/// The keys of a table of which some pages cannot be read, and what stood in the way, if anything did.
///
/// An error of `walk` says why it came no further. What is neither reached from the one end nor from the other is halved, a
/// bounded number of times.
pub fn keys_around(
    range: RangeInclusive<u128>,
    walk: &mut Walk<'_>,
) -> (BTreeSet<u128>, Option<BackendError>) {
    let (mut found, mut damage) = (BTreeSet::new(), None);
    let mut gaps = VecDeque::from([(*range.start(), *range.end())]);
    let mut probes = 0;
    while let Some((mut low, mut high)) = gaps.pop_front() {
        if probes >= PROBES {
            break;
        }
        probes += 1;
        let Err(error) = upwards(&mut low, high, walk, &mut found) else { continue };
        damage.get_or_insert(error);
        if low > high || backwards(low, &mut high, walk, &mut found).is_ok() || low >= high {
            continue;
        }
        let middle = low + (high - low) / 2;
        gaps.extend([(low, middle), (middle + 1, high)]);
    }
    (found, damage)
}

/// Moves `low` past the keys that are found. Keys that do not ascend are no table's any more: nothing after the first is
/// believed.
fn upwards(
    low: &mut u128,
    high: u128,
    walk: &mut Walk<'_>,
    found: &mut BTreeSet<u128>,
) -> Result<(), BackendError> {
    let mut disorder = false;
    let result = walk(*low..=high, false, &mut |key| {
        disorder |= key < *low || key > high;
        if !disorder {
            found.insert(key);
            *low = key.saturating_add(1);
        }
    });
    if disorder { result.and(Err(out_of_order())) } else { result }
}

/// As [`upwards`], from the other end.
fn backwards(
    low: u128,
    high: &mut u128,
    walk: &mut Walk<'_>,
    found: &mut BTreeSet<u128>,
) -> Result<(), BackendError> {
    let mut disorder = false;
    let result = walk(low..=*high, true, &mut |key| {
        disorder |= key > *high || key < low;
        if !disorder {
            found.insert(key);
            *high = key.saturating_sub(1);
        }
    });
    if disorder { result.and(Err(out_of_order())) } else { result }
}

fn out_of_order() -> BackendError {
    BackendError::corrupted("its keys are out of order")
}

#[cfg(test)]
mod tests;
