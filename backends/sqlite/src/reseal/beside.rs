//! What is kept beside the rows of the jobs: unique keys, the tags of due jobs, and the counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{BackendError, JobId, Status, UniqueKey};
use rusqlite::{OptionalExtension, params};
use serde_json::{Map, json};

use crate::codec::{Flaw, seal_of_counts, seal_of_holder, stored_u64};

use super::{Halt, Place};

/// A place among the due jobs: queue, tag, priority, run_at.
pub(super) type Posting = (String, String, i64, i64);

/// What the tables beside the jobs say of the jobs asked for, wherever it stands: a changed column of the job would
/// no longer lead there.
#[derive(Debug, Default)]
pub(super) struct Beside {
    postings: HashMap<i64, BTreeSet<Posting>>,
    keys: HashMap<JobId, BTreeSet<(String, String)>>,
}

impl Beside {
    /// Reads both tables once.
    pub(super) fn read(place: &Place<'_>, ids: &[JobId]) -> Result<Self, BackendError> {
        let engine = |error| place.engine(error);
        let mut beside = Beside::default();
        let mut sequences = HashSet::new();
        let mut find = place
            .conn
            .prepare(&place.filled("SELECT sequence FROM {p}jobs WHERE id = ?1"))
            .map_err(engine)?;
        for id in ids {
            let found = find.query_row([id.as_bytes().as_slice()], |row| row.get::<_, i64>(0));
            sequences.extend(found.optional().map_err(engine)?);
        }
        let sql = place.filled("SELECT sequence, queue, tag, priority, run_at FROM {p}ready_tags");
        let mut statement = place.conn.prepare(&sql).map_err(engine)?;
        let mut rows = statement.query([]).map_err(engine)?;
        while let Some(row) = rows.next().map_err(engine)? {
            let sequence = row.get(0).map_err(engine)?;
            if sequences.contains(&sequence) {
                let posting = || -> rusqlite::Result<Posting> {
                    Ok((row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                };
                // What is no text leads to no job; the full check reports it.
                beside.postings.entry(sequence).or_default().extend(posting());
            }
        }
        let ids: HashSet<JobId> = ids.iter().copied().collect();
        let sql = place.filled("SELECT holder, queue, name FROM {p}unique_keys");
        let mut statement = place.conn.prepare(&sql).map_err(engine)?;
        let mut rows = statement.query([]).map_err(engine)?;
        while let Some(row) = rows.next().map_err(engine)? {
            let holder: Vec<u8> = row.get(0).map_err(engine)?;
            let Some(id) = job_id(&holder).filter(|id| ids.contains(id)) else { continue };
            let key = || -> rusqlite::Result<(String, String)> { Ok((row.get(1)?, row.get(2)?)) };
            beside.keys.entry(id).or_default().extend(key());
        }
        Ok(beside)
    }
}

fn job_id(bytes: &[u8]) -> Option<JobId> {
    bytes.try_into().ok().map(JobId::from_bytes)
}

/// What has to change beside a job.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) post: BTreeSet<Posting>,
    pub(super) withdraw: BTreeSet<Posting>,
    pub(super) take: Option<(String, String)>,
    pub(super) give_up: BTreeSet<(String, String)>,
}

impl Changes {
    pub(super) fn of_key(&self) -> bool {
        self.take.is_some() || !self.give_up.is_empty()
    }

    pub(super) fn of_tags(&self) -> bool {
        !self.post.is_empty() || !self.withdraw.is_empty()
    }
}

/// What has to change beside a job that is in this state.
///
/// # Errors
/// `Refused` when its unique key is another job's.
pub(super) fn changes(place: &Place<'_>, beside: &Beside, state: &JobState) -> Result<Changes, Halt> {
    let mut changes = Changes::default();
    let sequence = stored_u64(state.sequence)?;
    let posted = beside.postings.get(&sequence).cloned().unwrap_or_default();
    let mut wanted = BTreeSet::new();
    if state.is_claimable() {
        let queue = state.labels.queue.as_str();
        let at = (i64::from(state.priority.0), state.run_at.as_micros());
        let place = |tag: &str| (queue.to_owned(), tag.to_owned(), at.0, at.1);
        wanted.extend(state.labels.tags.iter().map(|tag| place(tag.as_str())));
    }
    changes.post = wanted.difference(&posted).cloned().collect();
    changes.withdraw = posted.difference(&wanted).cloned().collect();
    changes.give_up = beside.keys.get(&state.id).cloned().unwrap_or_default();
    if let Some(key) = state.unique_key.as_ref().filter(|_| !state.status.is_final()) {
        let name = (state.labels.queue.to_string(), key.to_string());
        changes.give_up.remove(&name);
        if !holds(place, state, key)? {
            changes.take = Some(name);
        }
    }
    Ok(changes)
}

/// Whether the job holds its key, with a seal that fits. An unfinished job that has the key as well is in its way.
fn holds(place: &Place<'_>, state: &JobState, key: &UniqueKey) -> Result<bool, Halt> {
    let queue = state.labels.queue.as_str();
    let found = place
        .conn
        .prepare_cached(&place.sql.read_key)
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
            statement.query_row([queue, key.as_str()], row).optional()
        })
        .map_err(|error| place.engine(error))?;
    let Some((holder, seal)) = found else { return Ok(false) };
    if holder == state.id.as_bytes() {
        return Ok(seal == seal_of_holder(queue, key, &holder));
    }
    let sql = place.filled("SELECT status FROM {p}jobs WHERE id = ?1 AND queue = ?2 AND unique_key = ?3");
    let other = place
        .conn
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok(row.get::<_, String>(0).unwrap_or_default());
            statement.query_row(params![holder, queue, key.as_str()], row).optional()
        })
        .map_err(|error| place.engine(error))?;
    // One whose status cannot be read may be unfinished.
    let in_the_way = other.is_some_and(|status| !status.parse().is_ok_and(Status::is_final));
    match job_id(&holder).filter(|_| in_the_way) {
        Some(other) => {
            let reason = format!("jobs.unique_key: the unfinished job {other} holds {key:?} in {queue}");
            Err(Halt::Refused(reason))
        }
        None => Ok(false),
    }
}

/// Counts the jobs by their statuses and puts the kept counts right.
pub(super) fn recount(place: &Place<'_>) -> Result<(), BackendError> {
    let kept = kept_counts(place)?;
    // A row with a status that there is not is reported by its job's id, and counted when it has one.
    let sql = "SELECT status, count(*), \
        sum(CASE WHEN retry_count BETWEEN 0 AND 4294967295 THEN retry_count ELSE 0 END), 0 \
        FROM {p}jobs GROUP BY status";
    let mut wanted = read_counts(place, sql)?;
    wanted.retain(|status, _| status.parse::<Status>().is_ok());
    let mut what = Map::new();
    for status in kept.keys().filter(|status| status.parse::<Status>().is_err()) {
        place.execute("DELETE FROM {p}counts WHERE status = ?1", [status])?;
        what.insert(status.clone(), json!({ "removed": true }));
    }
    for status in Status::ALL {
        let status = status.as_str();
        let before = kept.get(status).copied();
        let (jobs, retries, _) = wanted.get(status).copied().unwrap_or_default();
        let seal = seal_of_counts(status, jobs, retries);
        if before == Some((jobs, retries, seal)) || (before.is_none() && jobs == 0) {
            continue;
        }
        let values = params![status, jobs, retries, seal];
        place.execute(&place.sql.put_counts, values)?;
        let (old_jobs, old_retries, _) = before.unwrap_or_default();
        what.insert(
            status.to_owned(),
            json!({ "jobs": [old_jobs, jobs], "retries": [old_retries, retries] }),
        );
    }
    if what.is_empty() {
        return Ok(());
    }
    let mut named = Map::new();
    named.insert("counts".to_owned(), what.into());
    place.audit(None, named)
}

type ByStatus = BTreeMap<String, (i64, i64, i64)>;

fn kept_counts(place: &Place<'_>) -> Result<ByStatus, BackendError> {
    read_counts(place, &place.sql.read_counts)
}

/// By status: jobs, retries and a seal. The last row of a status counts.
fn read_counts(place: &Place<'_>, sql: &str) -> Result<ByStatus, BackendError> {
    let engine = |error| place.engine(error);
    let mut statement = place.conn.prepare(&place.filled(sql)).map_err(engine)?;
    let rows = statement.query_map([], |row| {
        let status = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
        Ok((status, (row.get(1)?, row.get(2)?, row.get(3)?)))
    });
    rows.map_err(engine)?.collect::<Result<_, _>>().map_err(engine)
}

/// Writes what has to change beside a job.
pub(super) fn write(place: &Place<'_>, state: &JobState, changes: &Changes) -> Result<(), BackendError> {
    let sequence = stored_u64(state.sequence)
        .map_err(|flaw: Flaw| place.site.flaw(format_args!("the state of job {}", state.id), flaw))?;
    for (postings, statement) in
        [(&changes.withdraw, &place.sql.delete_tag), (&changes.post, &place.sql.insert_tag)]
    {
        for (queue, tag, priority, run_at) in postings {
            place.execute(statement, params![queue, tag, priority, run_at, sequence])?;
        }
    }
    let id = state.id.as_bytes().as_slice();
    for (queue, name) in &changes.give_up {
        place.execute(&place.sql.delete_key_of, params![queue, name, id])?;
    }
    if let Some((queue, name)) = &changes.take {
        let seal = seal_of_holder(queue, name, id);
        place.execute(&place.sql.put_key, params![queue, name, id, seal])?;
    }
    Ok(())
}
