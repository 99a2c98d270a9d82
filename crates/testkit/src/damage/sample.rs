//! Stores with something in them, to be damaged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use poolqueue_core::lifecycle::{Event, JobState, KeyChange, Transition, consequences, decide};
use poolqueue_core::{
    AssigneeId, BackendError, Failure, JobId, Limits, NewJob, Output, Store, Timestamp, Txn, Verdict,
};

use super::{Contents, Subject};

/// The records of a sample.
pub(super) const RECORDS: [&str; 3] = ["one", "two", "three"];
/// Jobs enqueued at first.
const JOBS: u64 = 48;
/// Commits after the file was opened again.
const COMMITS: u64 = 12;

/// The bytes of a store's files, in the order of [`Subject::FILES`]; one that is not there is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(pub(super) Vec<Vec<u8>>);

impl Files {
    /// The files of the store at a path.
    pub(super) fn read<S: Subject>(path: &Path) -> Self {
        let read = |suffix: &&str| fs::read(beside(path, suffix)).unwrap_or_default();
        Files(S::FILES.iter().map(read).collect())
    }

    /// Makes the files of the store at a path these. The first is there even when it is empty.
    pub(super) fn write<S: Subject>(&self, path: &Path) {
        for (number, (suffix, bytes)) in S::FILES.iter().zip(&self.0).enumerate() {
            if number == 0 || !bytes.is_empty() {
                fs::write(beside(path, suffix), bytes).expect("the scratch directory can be written to");
            }
        }
    }
}

pub(super) fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Which commits a damaged copy may be found after, when the full check finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// The last one, whatever is damaged.
    Last,
    /// The last one or the one before, whatever is damaged: what a commit has written is on the disk at once with the
    /// mark that it is complete, so one that is damaged and one that a crash cut short are the same.
    LastTwo,
    /// The last one, or any when it is this file that is damaged: a log, which ends where a crash cut it short.
    AllOfLog(usize),
}

/// The files of a store and what is in them.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is.
    pub name: &'static str,
    /// The files.
    pub files: Files,
    /// The same, some commits earlier.
    pub older: Files,
    /// Of each file, the pages that hold something.
    pub(super) used: Vec<Vec<usize>>,
    /// What was stored after each of the last commits, in their order.
    pub(super) states: Vec<Contents>,
    commits: Commits,
}

impl Sample {
    /// A store that was closed in order.
    ///
    /// # Panics
    /// When the store cannot be filled.
    pub fn closed<S: Subject>(subject: &S, scratch: &Path) -> Self {
        let (path, older) = begun(subject, scratch, "closed");
        let (mut store, states) = continued(subject, &path);
        store.close().expect("a store can be closed");
        drop(store);
        Self::new("closed", Files::read::<S>(&path), older, states, Commits::Last)
    }

    /// A store that was in use when its process ended.
    ///
    /// # Panics
    /// When the store cannot be filled.
    pub fn crashed<S: Subject>(subject: &S, scratch: &Path, commits: Commits) -> Self {
        let (path, older) = begun(subject, scratch, "crashed");
        let (store, states) = continued(subject, &path);
        let files = Files::read::<S>(&path);
        drop(store);
        Self::new("crashed", files, older, states, commits)
    }

    fn new(name: &'static str, files: Files, older: Files, states: Vec<Contents>, commits: Commits) -> Self {
        let used = |bytes: &Vec<u8>| {
            let pages = bytes.chunks(4096).enumerate();
            pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(number, _)| number).collect()
        };
        let used = files.0.iter().map(used).collect();
        Sample { name, files, older, used, states, commits }
    }

    /// What a copy whose file of this number is damaged may hold.
    pub(super) fn whole(&self, file: usize) -> &[Contents] {
        let count = match self.commits {
            Commits::Last => 1,
            Commits::LastTwo => 2,
            Commits::AllOfLog(log) if log == file => self.states.len(),
            Commits::AllOfLog(_) => 1,
        };
        &self.states[self.states.len().saturating_sub(count)..]
    }

    /// The same files, of which something else is expected.
    pub(super) fn altered(&self, alter: impl Fn(&mut Contents)) -> Self {
        let mut altered = self.clone();
        altered.states.iter_mut().for_each(alter);
        altered
    }
}

/// A store closed with jobs of every sort in it, and its files.
fn begun<S: Subject>(subject: &S, scratch: &Path, name: &str) -> (std::path::PathBuf, Files) {
    let path = scratch.join(format!("sample-{name}"));
    let mut store = subject.open(&path).expect("a store can be made");
    for step in 0..JOBS / 8 {
        run(&mut store, |txn| (step * 8..(step + 1) * 8).try_for_each(|number| enqueue(txn, number)));
        run(&mut store, |txn| (0..(step + 1) * 8).try_for_each(|number| advance(txn, number, step)));
    }
    run(&mut store, |txn| {
        RECORDS[..2].iter().try_for_each(|key| txn.put_record(key, Some((1, key.as_bytes()))))
    });
    store.close().expect("a store can be closed");
    drop(store);
    let files = Files::read::<S>(&path);
    (path, files)
}

/// The same, opened again and worked on, and what was in it from then on.
fn continued<S: Subject>(subject: &S, path: &Path) -> (S::Store, Vec<Contents>) {
    let mut store = subject.open(path).expect("a store can be opened");
    let mut states = vec![Contents::of(&store, &RECORDS)];
    for step in 0..COMMITS {
        let number = JOBS + step;
        run(&mut store, |txn| {
            enqueue(txn, number)?;
            (0..JOBS)
                .filter(|job| job % COMMITS == step)
                .try_for_each(|job| advance(txn, job, step + job))?;
            txn.put_record(RECORDS[(step % 3) as usize], Some((step + 2, format!("value {step}").as_bytes())))
        });
        states.push(Contents::of(&store, &RECORDS));
    }
    (store, states)
}

pub(super) fn id(number: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

/// Runs `work` in a transaction of its own.
///
/// # Panics
/// When it fails.
pub(super) fn run<S: Store>(store: &mut S, mut work: impl FnMut(&mut dyn Txn) -> Result<(), BackendError>) {
    let done = store.transact(&mut |txn| work(txn).map(|()| Verdict::Commit));
    done.expect("a whole store takes a transaction");
}

/// Enqueues the job of this number.
pub(super) fn enqueue(txn: &mut dyn Txn, number: u64) -> Result<(), BackendError> {
    let payload = match number % 8 {
        0 => vec![number as u8; 9_000],
        1 => Vec::new(),
        _ => format!("payload {number}").into_bytes(),
    };
    let mut job = NewJob::new(["a", "b"][number as usize % 2], payload).id(id(number));
    job = job
        .tag(format!("tag {}", number % 3))
        .meta("number", number.to_string())
        .priority((number % 3) as i16);
    if number % 5 == 1 {
        job = job.unique(format!("key {number}"));
    }
    if number % 7 == 2 {
        job = job.run_after(Duration::from_secs(1 << 33)).expires_after(Duration::from_secs(1 << 34));
    }
    let insert = job.into_insert(&Limits::default(), || id(0)).expect("a job of a sample can be enqueued");
    let state = JobState::admit(&insert.admission, txn.next_sequence()?, at(number));
    if let Some(key) = &state.unique_key {
        txn.set_key_holder(&state.labels.queue, key, Some(state.id))?;
    }
    txn.insert(&state, &insert.body)
}

/// Makes the job of this number go a step further, which step depends on `turn`.
fn advance(txn: &mut dyn Txn, number: u64, turn: u64) -> Result<(), BackendError> {
    let Some(state) = txn.load(id(number))? else { return Ok(()) };
    let choice = number + turn;
    let events = [
        Event::Claim { assignee: AssigneeId::new("worker").expect("a name") },
        Event::Complete { output: Output::from(format!("output of {number}")) },
        Event::FailRetry { failure: Failure::new(format!("no luck with {number} at {turn}")), random: 0 },
        Event::Cancel,
        Event::Pause,
        Event::Resume,
        Event::Retry,
    ];
    let order = if choice % 11 == 3 {
        [3, 4, 5, 6, 0, 1, 2]
    } else {
        [0, if choice % 3 == 1 { 1 } else { 2 }, 2, 1, 5, 6, 3]
    };
    for event in order.map(|at| &events[at]) {
        if let Ok(step) = decide(&state, event, None, at(1_000 + turn)) {
            return apply(txn, &step, event);
        }
    }
    Ok(())
}

/// Stores a step.
pub(super) fn apply(txn: &mut dyn Txn, step: &Transition, event: &Event) -> Result<(), BackendError> {
    let output = match event {
        Event::Complete { output } => Some(output),
        _ => None,
    };
    if let Some(key) = &step.after.unique_key {
        let queue = &step.after.labels.queue;
        match consequences(step).unique_key {
            KeyChange::Keep => {}
            KeyChange::Take => txn.set_key_holder(queue, key, Some(step.after.id))?,
            KeyChange::Release => txn.set_key_holder(queue, key, None)?,
        }
    }
    txn.store(step, output, 1_000)
}

pub(super) fn at(number: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + number as i64)
}
