//! Whether answers are right.

use poolqueue_core::lifecycle::{Event, decide};
use poolqueue_core::salvage::{LostPart, Salvaged};
use poolqueue_core::{
    AssigneeId, BackendError, BackendErrorKind, ClaimFilter, JobId, Lease, Output, QueueName, Status, Store,
    Txn, Verdict,
};

use super::contents::{Reading, Whole};
use super::{Contents, Mutation, Sample, sample};

/// A job that no sample has.
const NEW: u64 = 1 << 40;

/// What a damaged copy may answer.
pub(super) struct Judge<'a> {
    /// All of it is one of these, when the full check finds nothing.
    whole: &'a [Contents],
    /// What was ever stored.
    ever: &'a [Contents],
    /// Whether pages may be as they once were.
    old: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(sample: &'a Sample, mutation: &Mutation) -> Self {
        let whole = sample.whole(mutation.file);
        Judge { whole, ever: &sample.states, old: mutation.may_be_old() }
    }

    /// Where a single piece may be from.
    fn pieces(&self) -> &'a [Contents] {
        if self.old { self.ever } else { self.whole }
    }

    fn ids(&self) -> Vec<JobId> {
        let mut ids: Vec<JobId> =
            self.ever.iter().flat_map(|contents| contents.jobs.keys().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn keys(&self) -> Vec<&'a str> {
        self.ever.last().map(Contents::keys).unwrap_or_default()
    }

    /// Reads everything from an opened store, works with it, and closes it. Whether the full check found it whole.
    pub(super) fn opened(&self, mut store: impl Store) -> Result<bool, String> {
        let sound = match Reading::of(&store, &self.ids(), &self.keys()) {
            Err(error) => self.refusal(&error).map(|()| false)?,
            Ok(reading) => {
                let sound = reading.verified.is_ok();
                self.reading(reading)?;
                sound
            }
        };
        let worked = work(&mut store, sound, |state| {
            let known = |whole: &Contents| {
                whole.jobs.get(&state.0).is_some_and(|whole| whole.job.attempt.0 == state.1)
            };
            self.pieces().iter().any(known)
        });
        let closed = store.close().map_err(Wrong::Error);
        match worked.and(closed) {
            Ok(()) => Ok(sound),
            Err(Wrong::Answer(what)) => Err(what),
            Err(Wrong::Error(error)) if sound => Err(format!("the full check finds nothing, but: {error}")),
            Err(Wrong::Error(error)) => self.refusal(&error).map(|()| false),
        }
    }

    fn reading(&self, reading: Reading) -> Result<(), String> {
        reading.errors().try_for_each(|error| self.refusal(error))?;
        if reading.verified.is_ok() {
            let found = reading.contents()?;
            return if self.whole.iter().any(|whole| self.same(&found, whole)) {
                Ok(())
            } else {
                Err(format!("the full check finds nothing, but {}", difference(&found, self.whole)))
            };
        }
        let listed = reading.list.iter().flatten();
        let got = reading.jobs.iter().filter_map(|(_, found)| found.as_ref().ok()?.as_ref());
        for job in listed.chain(got) {
            let stored = |whole: &Contents| whole.jobs.get(&job.id).is_some_and(|whole| whole.job == *job);
            if !self.pieces().iter().any(stored) {
                return Err(format!("this job was never stored: {job:?}"));
            }
        }
        for (id, found) in &reading.histories {
            let Ok(Some(found)) = found else { continue };
            let stored = |whole: &Whole| (&whole.history, &whole.cut) == (&found.0, &found.1);
            if !self.pieces().iter().any(|whole| whole.jobs.get(id).is_some_and(stored)) {
                return Err(format!("this history of job {id} was never stored: {found:?}"));
            }
        }
        for (key, found) in &reading.records {
            let Ok(Some(found)) = found else { continue };
            if !self.pieces().iter().any(|whole| whole.records.get(key) == Some(found)) {
                return Err(format!("this record {key:?} was never stored: {found:?}"));
            }
        }
        let held = |lease: &Lease| {
            let is_of = |whole: &Contents| whole.jobs.get(&lease.id).is_some_and(|w| w.job.lease() == *lease);
            self.pieces().iter().any(is_of)
        };
        match reading.held.iter().flatten().find(|lease| !held(lease)) {
            Some(lease) => Err(format!("this lease was never given: {lease:?}")),
            None => Ok(()),
        }
    }

    /// Whether the one is the other. A record has nothing to be compared with: an old page of records is not noticed.
    fn same(&self, found: &Contents, whole: &Contents) -> bool {
        let was = |(key, record): (&String, &(u64, Vec<u8>))| {
            self.ever.iter().any(|ever| ever.records.get(key) == Some(record))
        };
        let records = found.records == whole.records || (self.old && found.records.iter().all(was));
        found.jobs == whole.jobs && records
    }

    /// An error that an opened store may return.
    fn refusal(&self, error: &BackendError) -> Result<(), String> {
        match error.kind() {
            BackendErrorKind::Corrupted => Ok(()),
            kind => Err(format!("an error of kind {kind:?}: {error}")),
        }
    }

    /// Reads a new store that was salvaged, and compares. How many jobs are in it, and how many there were.
    pub(super) fn salvaged(&self, salvaged: &Salvaged, store: &mut impl Store) -> Result<(u64, u64), String> {
        let reading = Reading::of(store, &self.ids(), &self.keys()).map_err(|error| error.to_string())?;
        let found = reading.contents().map_err(|error| format!("salvaged: {error}"))?;
        if found.jobs.len() as u64 != salvaged.jobs {
            return Err(format!("{} jobs were told to be salvaged, {} are", salvaged.jobs, found.jobs.len()));
        }
        for (id, whole) in &found.jobs {
            let was =
                |ever: &Contents| ever.jobs.get(id).is_some_and(|stored| is_saved(whole, stored, salvaged));
            if !self.pieces().iter().any(was) {
                return Err(format!("a job was salvaged that was never stored: {whole:?}"));
            }
        }
        for (key, record) in &found.records {
            if !self.pieces().iter().any(|ever| ever.records.get(key) == Some(record)) {
                return Err(format!("a record was salvaged that was never stored: {key:?} {record:?}"));
            }
        }
        let unknown = salvaged.lost.iter().any(|lost| lost.part == LostPart::Unknown);
        let told = |id: &JobId| found.jobs.contains_key(id) || salvaged.lost_jobs().any(|lost| lost == *id);
        let all_told = |whole: &Contents| whole.jobs.keys().all(told);
        if !unknown && !self.pieces().iter().any(all_told) {
            return Err(format!(
                "jobs are lost that are not told: {}, {salvaged:?}",
                difference(&found, self.whole)
            ));
        }
        work(store, true, |_| true).map_err(|wrong| format!("salvaged: {wrong}"))?;
        let of = self.whole.last().map_or(0, |whole| whole.jobs.len());
        Ok((salvaged.jobs, of as u64))
    }
}

/// Whether a job is as it was stored, but for what is told to be lost of it.
fn is_saved(found: &Whole, stored: &Whole, salvaged: &Salvaged) -> bool {
    let lost = |part: &LostPart| {
        salvaged.lost.iter().any(|lost| lost.part == *part && lost.job == Some(found.job.id))
    };
    let mut job = stored.job.clone();
    if lost(&LostPart::Outcome) {
        (job.output, job.output_type) = (None, found.job.output_type);
        job.last_error.clone_from(&found.job.last_error);
    }
    let steps = |whole: &Whole| whole.cut + whole.history.len() as u64;
    let whole = found.history == stored.history && found.cut == stored.cut;
    let newest = stored.history.ends_with(&found.history) && steps(found) == steps(stored);
    found.job == job && (whole || (newest && lost(&LostPart::History)))
}

fn difference(found: &Contents, whole: &[Contents]) -> String {
    let Some(whole) = whole.last() else { return "nothing was stored".to_owned() };
    let missing = whole.jobs.keys().filter(|id| !found.jobs.contains_key(id)).count();
    let other = found.jobs.iter().find(|(id, job)| whole.jobs.get(id) != Some(job));
    let (records, stored) = (&found.records, &whole.records);
    format!(
        "{missing} jobs are missing; this one is another: {other:?}; the records are {records:?}, not {stored:?}"
    )
}

/// What went wrong in a transaction.
pub(super) enum Wrong {
    Error(BackendError),
    Answer(String),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wrong::Error(error) => error.fmt(f),
            Wrong::Answer(what) => f.write_str(what),
        }
    }
}

impl From<BackendError> for Wrong {
    fn from(error: BackendError) -> Self {
        Wrong::Error(error)
    }
}

/// Enqueues a job, claims and completes one that `is_known`, and reads both back: they must be found where the store is
/// `sound`.
fn work(store: &mut impl Store, sound: bool, is_known: impl Fn((JobId, u32)) -> bool) -> Result<(), Wrong> {
    let mut claimed = None;
    transact(store, &mut |txn| {
        sample::enqueue(txn, NEW)?;
        let due = txn.ready(&QueueName::default(), &ClaimFilter::default(), 1)?;
        claimed = due.into_iter().next();
        let Some(state) = &claimed else { return Ok(()) };
        if state.id != sample::id(NEW) && !is_known((state.id, state.attempt.0)) {
            return Ok(());
        }
        let events = [
            Event::Claim { assignee: AssigneeId::new("judge").map_err(BackendError::from)? },
            Event::Complete { output: Output::from("judged") },
        ];
        let mut now = state.clone();
        for event in &events {
            let step = decide(&now, event, None, sample::at(NEW))
                .map_err(|rejected| BackendError::corrupted(rejected.to_string()))?;
            sample::apply(txn, &step, event)?;
            now = step.after;
        }
        Ok(())
    })?;
    let snapshot = poolqueue_core::Reader::snapshot(&store.reader())?;
    let get = |id: JobId| -> Result<Option<poolqueue_core::Job>, Wrong> {
        let found = poolqueue_core::Snapshot::get(&snapshot, &[id])?.pop().flatten();
        match found {
            None if sound => Err(Wrong::Answer(format!("job {id} was written and is not there"))),
            found => Ok(found),
        }
    };
    if let Some(claimed) = &claimed {
        if claimed.id != sample::id(NEW) && !is_known((claimed.id, claimed.attempt.0)) {
            return Err(Wrong::Answer(format!("this job was claimed, and never stored: {claimed:?}")));
        }
        let is_done = |job: &poolqueue_core::Job| {
            job.status == Status::Completed && job.output.as_deref() == Some(b"judged")
        };
        if let Some(other) = get(claimed.id)?.filter(|job| !is_done(job)) {
            return Err(Wrong::Answer(format!("a job was completed, and is {other:?}")));
        }
    }
    let is_new = |job: &poolqueue_core::Job| job.metadata.get("number") == Some(&NEW.to_string());
    match get(sample::id(NEW))?.filter(|job| !is_new(job)) {
        Some(other) => Err(Wrong::Answer(format!("a job was enqueued, and is {other:?}"))),
        None => Ok(()),
    }
}

fn transact(
    store: &mut impl Store,
    work: &mut dyn FnMut(&mut dyn Txn) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    store.transact(&mut |txn| work(txn).map(|()| Verdict::Commit))
}
