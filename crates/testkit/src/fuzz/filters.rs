//! Jobs, names, tags and filters as an application might give them: what passes the limits is stored, found and claimed by
//! every store alike.

use std::cell::RefCell;

use poolqueue_core::lifecycle::{Event, JobState, decide};
use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{
    AssigneeId, Attempt, BackendError, Backoff, ClaimFilter, Counts, Detail, Failure, Filter, Insert, JobId,
    Kind, Lease, Limits, NewJob, Output, Query, QueueName, Reader, Snapshot, Status, StatusSet, Store, Tags,
    Timestamp, Txn, Verdict,
};

use super::Input;
use super::jobs::{apply, id, insert};

/// Jobs of an input, and steps of a life.
const JOBS: u8 = 4;
const STEPS: usize = 12;
/// More than there are jobs or queues.
const MANY: usize = 10;

/// What a store says.
#[derive(Debug, PartialEq)]
struct Answer {
    stored: Vec<JobId>,
    ready: Vec<(QueueName, Vec<JobId>)>,
    selected: Vec<JobId>,
    counts: Counts,
}

/// Builds jobs, enqueues those that are fit, and asks all stores for them by a filter.
pub(super) fn filters(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = Limits::default();
    let (claims, filter) = (claim_filter(&mut input), filter(&mut input));
    let mut jobs = Vec::new();
    for n in 1..=JOBS {
        if input.is_empty() {
            break;
        }
        let Ok(insert) = job(&mut input).id(id(n)).into_insert(&limits, || id(n)) else { continue };
        within(&insert, &limits);
        live(&insert, &mut input);
        jobs.push(insert);
    }
    if jobs.is_empty() {
        return;
    }
    let model = ask(&mut MemoryStore::new(), &jobs, &claims, &filter);
    others(|name, store| {
        assert_eq!(store(&jobs, &claims, &filter), model, "{name} says something else than the model");
    });
}

fn job(input: &mut Input<'_>) -> NewJob {
    let mut job = match input.below(4) {
        0 => NewJob::json(input.text(), &input.texts()),
        1 => NewJob::args(input.text(), input.texts()),
        _ => NewJob::new(input.text(), input.bytes()),
    };
    for _ in 0..input.below(8) {
        job = match input.below(12) {
            0 => job.queue(input.text()),
            1 => job.tags(input.texts()),
            2 => job.meta(input.text(), input.text()),
            3 => job.priority(input.number() as i16),
            4 => job.run_after(input.span()),
            5 => match Timestamp::from_micros(input.number() as i64).to_datetime() {
                Some(at) => job.run_at(at),
                None => job,
            },
            6 => job.max_attempts(input.number() as u32),
            7 => job.crash_limit(input.number() as u32),
            8 => job.backoff(backoff(input)),
            9 => job.timeout(input.span()),
            10 => job.unique(input.text()),
            _ => job.expires_after(input.span()),
        };
    }
    job
}

fn backoff(input: &mut Input<'_>) -> Backoff {
    let jitter = input.flag();
    match input.below(3) {
        0 => Backoff::Fixed { delay: input.span(), jitter },
        1 => Backoff::Linear { step: input.span(), ceiling: input.span(), jitter },
        _ => Backoff::Exponential { first: input.span(), ceiling: input.span(), jitter },
    }
}

fn names<T>(input: &mut Input<'_>, name: impl Fn(String) -> Option<T>) -> Option<Vec<T>> {
    input.flag().then(|| input.texts().into_iter().filter_map(name).collect())
}

fn tags(input: &mut Input<'_>) -> Tags {
    Tags::all(input.texts()).any(input.texts()).none(input.texts())
}

fn claim_filter(input: &mut Input<'_>) -> ClaimFilter {
    let queues = names(input, |text| QueueName::new(text).ok());
    let kinds = names(input, |text| Kind::new(text).ok());
    ClaimFilter { queues, kinds, tags: tags(input).checked().unwrap_or_default() }
}

fn filter(input: &mut Input<'_>) -> Filter {
    let statuses = input.number();
    let chosen = Status::ALL.iter().enumerate().filter(|(n, _)| statuses >> n & 1 == 1);
    Filter {
        ids: input.flag().then(|| (0..input.below(3)).map(|_| id(input.byte() % JOBS)).collect()),
        tags: input.flag().then(|| tags(input).checked().unwrap_or_default()),
        kinds: names(input, |text| Kind::new(text).ok()),
        queues: names(input, |text| QueueName::new(text).ok()),
        statuses: input.flag().then(|| chosen.fold(StatusSet::EMPTY, |set, (_, status)| set.with(*status))),
        assignee: input.flag().then(|| AssigneeId::new(input.text()).ok()).flatten(),
        finalized_before: input.flag().then(|| Timestamp::from_micros(input.number() as i64)),
    }
}

/// What was let through keeps the limits.
fn within(insert: &Insert, limits: &Limits) {
    let tags = &insert.admission.labels.tags;
    assert!(insert.body.payload.len() <= limits.payload_bytes, "the payload is too large");
    assert!(tags.iter().count() <= limits.tags, "there are too many tags");
    assert!(tags.iter().all(|tag| tag.as_str().len() <= limits.tag_bytes), "a tag is too long");
    let metadata: usize = insert.body.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(metadata <= limits.metadata_bytes, "the metadata is too large");
}

/// Lets a job live for a while, at any times.
fn live(insert: &Insert, input: &mut Input<'_>) {
    let mut state =
        JobState::admit(&insert.admission, input.number(), Timestamp::from_micros(input.number() as i64));
    for _ in 0..input.below(STEPS) {
        let event = event(input);
        let fence = input.flag().then(|| Lease { id: state.id, attempt: Attempt(input.number() as u32) });
        let now = Timestamp::from_micros(input.number() as i64);
        if let Ok(step) = decide(&state, &event, fence.map(|lease| lease.attempt), now) {
            assert!(step.after.attempt >= state.attempt, "an attempt went back");
            state = step.after;
        }
        let _ = (state.is_suspect(), state.awaits_deadline(), state.promoted());
    }
}

fn event(input: &mut Input<'_>) -> Event {
    match input.below(15) {
        0 | 1 => match AssigneeId::new(input.text()) {
            Ok(assignee) => Event::Claim { assignee },
            Err(_) => Event::Cancel,
        },
        2 => Event::Complete { output: Output::from(input.text()) },
        3 | 4 => {
            let failure = Failure::new(input.text());
            let failure = if input.flag() { failure.retry_after(input.span()) } else { failure };
            Event::FailRetry { failure, random: input.number() }
        }
        5 => Event::StreamEnded { message: input.text() },
        6 => Event::Stop { message: input.text() },
        7 => Event::AcknowledgeCancel { was_executing: input.flag(), message: input.text() },
        8 => Event::Cancel,
        9 => Event::LoseWorker,
        10 => Event::Suspend { until: Timestamp::from_micros(input.number() as i64) },
        11 => Event::Expire,
        12 => Event::Pause,
        13 => Event::Resume,
        _ => Event::Retry,
    }
}

/// Enqueues the jobs, asks for them, and deletes them again.
fn ask(store: &mut impl Store, jobs: &[Insert], claims: &ClaimFilter, filter: &Filter) -> Answer {
    let mut answer =
        Answer { stored: Vec::new(), ready: Vec::new(), selected: Vec::new(), counts: Counts::default() };
    let mut states = Vec::new();
    transact(store, &mut |txn| {
        for job in jobs {
            let (queue, key) = (&job.admission.labels.queue, &job.admission.unique_key);
            if match key {
                Some(key) => txn.key_holder(queue, key)?.is_none(),
                None => true,
            } {
                states.push(insert(txn, job)?);
            }
        }
        for queue in txn.ready_queues(claims, None, MANY)? {
            let ready: Vec<JobId> = txn.ready(&queue, claims, MANY)?.iter().map(|state| state.id).collect();
            // A store may name a queue whose due jobs are all for others.
            if !ready.is_empty() {
                answer.ready.push((queue, ready));
            }
        }
        Ok(())
    });
    let snapshot = store.reader().snapshot().expect("it is open");
    let query = Query { filter: filter.clone(), after: None, limit: MANY, detail: Detail::Full };
    let page = snapshot.select(&query).expect("it is whole");
    answer.selected = page.jobs.iter().map(|job| job.id).collect();
    answer.counts = snapshot.count(filter).expect("it is whole");
    snapshot.verify().expect("it is whole");
    drop(snapshot);
    let mut matching: Vec<JobId> =
        states.iter().filter(|job| filter.matches(job)).map(|job| job.id).collect();
    matching.sort_unstable();
    assert_eq!(answer.selected, matching, "other jobs are listed than match");
    answer.stored = states.iter().map(|state| state.id).collect();
    transact(store, &mut |txn| {
        for id in &answer.stored {
            apply(txn, *id, &Event::Cancel)?;
            let state = txn.load(*id)?.expect("it was just there");
            txn.delete(&state)?;
        }
        Ok(())
    });
    answer
}

fn transact(store: &mut impl Store, work: &mut dyn FnMut(&mut dyn Txn) -> Result<(), BackendError>) {
    store.transact(&mut |txn| work(txn).map(|()| Verdict::Commit)).expect("it can be written");
}

type Ask<'a> = &'a mut dyn FnMut(&[Insert], &ClaimFilter, &Filter) -> Answer;

/// Calls `each` with every store of this build that lasts.
fn others(mut each: impl FnMut(&str, Ask<'_>)) {
    #[cfg(feature = "redb")]
    {
        use poolqueue_redb::{RedbOptions, RedbStore};
        thread_local! {
            static STORE: RefCell<(tempfile::TempDir, RedbStore)> = RefCell::new(in_memory(|path| {
                RedbStore::open(path, RedbOptions::default().with_preallocate_step(0))
            }));
        }
        STORE.with_borrow_mut(|(_, store)| {
            each("redb", &mut |jobs, claims, filter| ask(store, jobs, claims, filter))
        });
    }
    #[cfg(feature = "sqlite")]
    {
        use poolqueue_sqlite::{SqliteOptions, SqliteStore};
        thread_local! {
            static STORE: RefCell<(tempfile::TempDir, SqliteStore)> =
                RefCell::new(in_memory(|path| SqliteStore::open(path, SqliteOptions::default())));
        }
        STORE.with_borrow_mut(|(_, store)| {
            each("SQLite", &mut |jobs, claims, filter| ask(store, jobs, claims, filter))
        });
    }
}

/// A store in a directory that goes with it.
fn in_memory<S>(open: impl FnOnce(std::path::PathBuf) -> Result<S, BackendError>) -> (tempfile::TempDir, S) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let store = open(directory.path().join("store")).expect("a new file");
    (directory, store)
}
