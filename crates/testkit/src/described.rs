use std::fmt::Write as _;

use poolqueue_core::{BackendError, Detail, Filter, HistoryEntry, Job, Query, Snapshot};

/// More than a fixture has.
const JOBS_MAX: usize = 10_000;

/// What a store holds, in lines that do not change with the program: for files of earlier versions, which are kept along
/// with what was in them.
///
/// # Errors
/// What the store reports.
pub(crate) fn described(snapshot: &impl Snapshot, records: &[&str]) -> Result<String, BackendError> {
    let query = Query { filter: Filter::everything(), after: None, limit: JOBS_MAX, detail: Detail::Full };
    let mut text = String::new();
    for job in snapshot.select(&query)?.jobs {
        describe(&mut text, &job);
        let (history, cut) = snapshot.history(job.id)?.unwrap_or_default();
        let _ = writeln!(text, "  history: {cut} cut");
        history.iter().for_each(|entry| describe_entry(&mut text, entry));
    }
    for key in records {
        let _ = writeln!(text, "record {key}: {:?}", snapshot.record(key)?);
    }
    Ok(text)
}

fn describe(text: &mut String, job: &Job) {
    let _ = writeln!(text, "{} {} {} {}", job.id, job.status, job.queue.as_str(), job.kind.as_str());
    let tags: Vec<&str> = job.tags.iter().map(|tag| tag.as_str()).collect();
    let _ = writeln!(text, "  labels: {tags:?} {:?}", job.metadata);
    let payload = sum(&job.payload);
    let _ = writeln!(text, "  payload: {payload} {}, timeout {:?}", job.content_type, job.timeout);
    let output = job.output.as_deref().map(sum);
    let _ = writeln!(text, "  output: {output:?} {}", job.output_type);
    let counters = (job.attempt.0, job.failures, job.retry_count, job.crashes, job.max_attempts);
    let _ = writeln!(text, "  counters: {counters:?}, priority {}", job.priority.0);
    let times = [Some(job.created_at), job.run_at, job.expires_at, job.started_at, job.assigned_at]
        .into_iter()
        .chain([job.last_retry_at, job.finalized_at])
        .map(|time| time.map(|time| time.timestamp_micros()));
    let _ = writeln!(text, "  times: {:?}", times.collect::<Vec<_>>());
    let assignee = job.assignee.as_ref().map(|assignee| assignee.as_str());
    let error = job.last_error.as_ref().map(|error| (&error.message, error.kind.map(|kind| kind.as_str())));
    let _ = writeln!(text, "  assignee: {assignee:?}, error {error:?}, enqueued as {}", job.sequence);
}

fn describe_entry(text: &mut String, entry: &HistoryEntry) {
    let HistoryEntry { at, event, from, to, attempt, .. } = entry;
    let assignee = entry.assignee.as_ref().map(|assignee| assignee.as_str());
    let _ = writeln!(
        text,
        "    {} {event}: {from} to {to}, attempt {}, {assignee:?}, {:?}",
        at.as_micros(),
        attempt.0,
        entry.message
    );
}

/// How many bytes, and a sum that sees any one of them change (FNV-1a).
fn sum(bytes: &[u8]) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{} bytes {:016x}", bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}
