//! Fills a store with waiting jobs and measures what they cost. Not run in CI: the figures are of the machine.
//!
//! `cargo run --release -p poolqueue-sqlite --example measure_sqlite -- [jobs] [directory]`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use poolqueue_core::lifecycle::{Event, JobState, decide};
use poolqueue_core::{
    AssigneeId, BackendError, ClaimFilter, Filter, JobId, Limits, NewJob, QueueName, Reader, Snapshot, Store,
    Timestamp, Txn, Verdict,
};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};

const BATCH: u64 = 1_000;

fn id(number: u64) -> JobId {
    // Ordered, as version 7 ids are.
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

fn insert(txn: &mut dyn Txn, number: u64, tags: &[String]) -> Result<(), BackendError> {
    let job = NewJob::new("thumbnail", vec![7; 256]).id(id(number)).tags(tags);
    let insert = job.into_insert(&Limits::default(), || id(number))?;
    if txn.load(id(number))?.is_some() {
        return Ok(());
    }
    let sequence = txn.next_sequence()?;
    let now = i64::try_from(number).unwrap_or(0);
    let state = JobState::admit(&insert.admission, sequence, Timestamp::from_micros(now));
    txn.insert(&state, &insert.body)
}

fn commit(
    store: &mut SqliteStore,
    mut group: impl FnMut(&mut dyn Txn) -> Result<(), BackendError>,
) -> Result<Duration, BackendError> {
    let start = Instant::now();
    store.transact(&mut |txn| group(txn).map(|()| Verdict::Commit))?;
    Ok(start.elapsed())
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Claims and completes the first `count` jobs in one group each; returns the medians.
fn drain(store: &mut SqliteStore, rounds: usize, count: usize) -> Result<(Duration, Duration), BackendError> {
    let (mut claims, mut completions) = (Vec::new(), Vec::new());
    let now = Timestamp::from_micros(i64::MAX / 2);
    let assignee = AssigneeId::new("worker")?;
    let (queue, filter) = (QueueName::default(), ClaimFilter::default());
    for _ in 0..rounds {
        let mut taken = Vec::new();
        claims.push(commit(store, |txn| {
            for state in txn.ready(&queue, &filter, count)? {
                let event = Event::Claim { assignee: assignee.clone() };
                let step =
                    decide(&state, &event, None, now).map_err(|e| BackendError::corrupted(e.to_string()))?;
                txn.store(&step, None, 1000)?;
                txn.job(&step.after)?;
                taken.push(state.id);
            }
            Ok(())
        })?);
        completions.push(commit(store, |txn| {
            for id in &taken {
                let state = txn.load(*id)?.ok_or_else(|| BackendError::corrupted("gone"))?;
                let output = "done".into();
                let event = Event::Complete { output };
                let step =
                    decide(&state, &event, None, now).map_err(|e| BackendError::corrupted(e.to_string()))?;
                txn.store(&step, Some(&"done".into()), 1000)?;
            }
            Ok(())
        })?);
    }
    Ok((median(claims), median(completions)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "open").is_some() {
        return open(arguments.next().unwrap_or_default().into());
    }
    let jobs: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join(format!("poolqueue-measure-{}.db", std::process::id()));
    let options = SqliteOptions::default();

    let mut store = SqliteStore::open(&path, options.clone())?;
    let before = resident_bytes();
    let start = Instant::now();
    for batch in 0..jobs.div_ceil(BATCH) {
        let tags: Vec<String> = vec![format!("tag-{}", batch % 100)];
        commit(&mut store, |txn| {
            (batch * BATCH..((batch + 1) * BATCH).min(jobs)).try_for_each(|number| insert(txn, number, &tags))
        })?;
    }
    let span = start.elapsed();
    println!("insert {jobs} in batches of {BATCH}: {span:?}, {:.0}/s", jobs as f64 / span.as_secs_f64());
    let grown = resident_bytes().saturating_sub(before).saturating_sub(options.cache_bytes as u64);
    println!("memory beyond the cache: {:.0} bytes/job", grown as f64 / jobs as f64);
    let file = std::fs::metadata(&path)?.len();
    println!("file: {:.0} bytes/job", file as f64 / jobs as f64);
    for (count, rounds) in [(1, 500), (16, 200), (1000, 20)] {
        let (claim, complete) = drain(&mut store, rounds, count)?;
        println!("claim {count}: {claim:?}, complete {count}: {complete:?} (medians of {rounds} groups)");
    }
    let start = Instant::now();
    store.close()?;
    println!("close: {:?}", start.elapsed());
    drop(store);

    // In a process of its own, so that memory that was freed above does not hide what opening takes.
    let opened = std::process::Command::new(std::env::current_exe()?).arg("open").arg(&path).status()?;
    std::fs::remove_file(&path)?;
    if opened.success() { Ok(()) } else { Err("opening failed".into()) }
}

/// Opens a filled store and measures that.
fn open(path: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    let before = resident_bytes();
    let start = Instant::now();
    let mut store = SqliteStore::open(&path, SqliteOptions::default().cache_bytes(1 << 20))?;
    println!("open: {:?} ({:?})", start.elapsed(), store.reader().health().verification);
    let grown = resident_bytes().saturating_sub(before);
    let jobs = store.reader().snapshot()?.count(&Filter::everything())?.total();
    println!("memory after opening: {:.0} bytes/job", grown as f64 / jobs as f64);
    let start = Instant::now();
    let verified = store.reader().snapshot()?.verify()?;
    println!("verify {} jobs: {:?}", verified.jobs, start.elapsed());
    store.close()?;
    Ok(())
}
