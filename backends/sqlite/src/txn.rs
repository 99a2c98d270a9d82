//! One transaction of the writer. Nobody else writes while it runs, so what it has read stays true until its end.

mod claim;
mod write;

use std::collections::BTreeMap;

use poolqueue_core::lifecycle::{JobState, Transition};
use poolqueue_core::salvage::Saved;
use poolqueue_core::{
    BackendError, BackendErrorKind, Body, ClaimFilter, Elsewhere, Job, JobId, Output, Phase, QueueName,
    Status, Timestamp, Txn, UniqueKey,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::codec::{
    Columns, Flaw, Stored, StoredRow, seal_of_counts, seal_of_holder, seal_of_meta, seal_of_record,
    stored_u64,
};
use crate::memory::Memory;
use crate::peers::Peers;
use crate::reader::parts;
use crate::shared::Shared;
use crate::site::Site;
use crate::sql::Sql;

/// Under which name the next sequence is kept.
const SEQUENCE: &str = "sequence";

pub(crate) struct SqliteTxn<'t> {
    conn: &'t Connection,
    shared: &'t Shared,
    memory: &'t mut Memory,
    /// By how much the counts of each status change: jobs, and the sum of their retries.
    counts: BTreeMap<Status, (i64, i64)>,
    /// The next sequence, once it was asked for.
    sequence: Option<u64>,
    wrote: bool,
    /// The handles of the file; `None` in a transaction of the application's.
    peers: Option<&'t mut Peers>,
    /// Whether jobs were claimed.
    claimed: bool,
}

impl<'t> SqliteTxn<'t> {
    pub(crate) fn new(
        conn: &'t Connection,
        shared: &'t Shared,
        memory: &'t mut Memory,
        peers: Option<&'t mut Peers>,
    ) -> Self {
        let counts = BTreeMap::new();
        SqliteTxn { conn, shared, memory, counts, sequence: None, wrote: false, peers, claimed: false }
    }

    /// Whether there is anything to commit.
    pub(crate) fn wrote(&self) -> bool {
        self.wrote
    }

    /// Notes for the writer what a transaction of the application's has applied.
    pub(crate) fn note_applied(&mut self, batch: u64) -> Result<(), BackendError> {
        let (site, handle) = (self.site(), self.shared.handle());
        let batch = stored_u64(batch).map_err(|flaw| site.flaw("the number of a batch", flaw))?;
        let noted = self.writing(&self.sql().note_applied)?.execute([handle, batch]);
        noted.map(|_| ()).map_err(|error| site.engine("write in the application's transaction", error))
    }

    fn site(&self) -> &'t Site {
        self.shared.site()
    }

    fn sql(&self) -> &'t Sql {
        self.shared.sql()
    }

    fn prepare(&self, sql: &'t str) -> Result<CachedStatement<'t>, BackendError> {
        self.conn.prepare_cached(sql).map_err(|error| self.site().engine("prepare a statement", error))
    }

    /// A statement that writes.
    fn writing(&mut self, sql: &'t str) -> Result<CachedStatement<'t>, BackendError> {
        // After some errors SQLite rolls back on its own; what is written then would be committed at once.
        if self.conn.is_autocommit() {
            let what = "the transaction was rolled back by an earlier error";
            return Err(self.site().error(BackendErrorKind::Io, what));
        }
        self.wrote = true;
        self.prepare(sql)
    }

    /// The row of a job.
    fn stored(&mut self, id: JobId) -> Result<Option<Stored>, BackendError> {
        if let Some(stored) = self.memory.row(id) {
            return Ok(Some(stored.clone()));
        }
        if id > self.ceiling()? {
            return Ok(None);
        }
        let site = self.site();
        let mut statement = self.prepare(&self.sql().load)?;
        let engine = |error| site.engine("read a state", error);
        let mut rows = statement.query([id.as_bytes().as_slice()]).map_err(engine)?;
        let Some(row) = rows.next().map_err(engine)? else { return Ok(None) };
        let stored = StoredRow::read(row)
            .and_then(|row| row.stored(&mut self.memory.names))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        self.memory.keep(stored.clone());
        Ok(Some(stored))
    }

    /// No stored id is greater.
    fn ceiling(&mut self) -> Result<JobId, BackendError> {
        if let Some(ceiling) = self.memory.ceiling() {
            return Ok(ceiling);
        }
        let site = self.site();
        let greatest: Option<Vec<u8>> = self
            .prepare(&self.sql().greatest_id)?
            .query_row([], |row| row.get(0))
            .map_err(|error| site.engine("read the greatest id", error))?;
        // A damaged id hides nothing: whatever it is, all are looked for.
        let greatest = greatest.map_or(Ok([0; 16]), <[u8; 16]>::try_from).unwrap_or([u8::MAX; 16]);
        self.memory.set_ceiling(JobId::from_bytes(greatest));
        Ok(JobId::from_bytes(greatest))
    }

    /// Writes what is written once in a transaction.
    pub(crate) fn finish(&mut self) -> Result<(), BackendError> {
        let site = self.site();
        if let Some(next) = self.sequence {
            let value = stored_u64(next).map_err(|flaw| site.flaw("the sequence", flaw))?;
            self.writing(&self.sql().put_meta)?
                .execute(params![SEQUENCE, value, seal_of_meta(SEQUENCE, value)])
                .map_err(|error| site.engine("write the sequence", error))?;
        }
        let (conn, sql, claimed) = (self.conn, self.sql(), self.claimed);
        if let Some(peers) = self.peers.as_deref_mut() {
            self.wrote |= peers.beat(conn, sql, claimed).map_err(|error| site.engine("beat", error))?;
        }
        let changes: Vec<(Status, (i64, i64))> =
            std::mem::take(&mut self.counts).into_iter().filter(|(_, change)| *change != (0, 0)).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let kept = parts::counts(self.conn, self.sql(), site)?;
        for (status, (jobs, retries)) in changes {
            let (old_jobs, old_retries) = kept.get(&status).copied().unwrap_or_default();
            let (jobs, retries) = (old_jobs.saturating_add(jobs), old_retries.saturating_add(retries));
            let seal = seal_of_counts(status.as_str(), jobs, retries);
            self.writing(&self.sql().put_counts)?
                .execute(params![status.as_str(), jobs, retries, seal])
                .map_err(|error| site.engine("write the counts", error))?;
        }
        Ok(())
    }

    /// Goes on behind a number that a job was found to have.
    fn pass_sequence(&mut self, taken: u64) -> Result<(), BackendError> {
        let next = match self.sequence {
            Some(next) => next,
            None => parts::meta(self.conn, self.sql(), self.site(), SEQUENCE)?.unwrap_or(1),
        };
        self.sequence = Some(next.max(taken.saturating_add(1)));
        Ok(())
    }

    /// Counts a job in or out.
    fn count(&mut self, state: &JobState, by: i64) {
        let (jobs, retries) = self.counts.entry(state.status).or_default();
        *jobs += by;
        *retries += by * i64::from(state.retry_count);
    }
}

/// Whether a job waits for its time.
fn waits(job: &JobState) -> bool {
    job.phase() == Phase::Ready && !job.due
}

impl Txn for SqliteTxn<'_> {
    fn elsewhere(&mut self) -> Result<Elsewhere, BackendError> {
        let (conn, site, sql) = (self.conn, self.site(), self.sql());
        let Some(peers) = self.peers.as_deref_mut() else { return Ok(Elsewhere::default()) };
        let found = peers.learn(conn, sql, site)?;
        self.wrote |= found.wrote;
        Ok(found)
    }

    fn load(&mut self, id: JobId) -> Result<Option<JobState>, BackendError> {
        Ok(self.stored(id)?.map(|stored| stored.state))
    }

    fn job(&mut self, state: &JobState) -> Result<Job, BackendError> {
        let (id, site, sql) = (state.id, self.site(), self.sql());
        let conn = self.conn;
        let Some(stored) = self.stored(id)? else {
            return Err(site.corrupted(format_args!("the state of job {id} is missing")));
        };
        let body = parts::body(conn, sql, site, &stored)?;
        let outcome = parts::outcome(conn, sql, site, &stored)?.unwrap_or_default();
        Ok(Job::assemble(state, Some(body), outcome.output, outcome.error))
    }

    fn next_sequence(&mut self) -> Result<u64, BackendError> {
        let next = match self.sequence {
            Some(next) => next,
            None => parts::meta(self.conn, self.sql(), self.site(), SEQUENCE)?.unwrap_or(1),
        };
        self.sequence = Some(next.saturating_add(1));
        self.wrote = true;
        Ok(next)
    }

    fn insert(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        self.insert_job(state, body)
    }

    fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError> {
        self.store_step(transition, output, history_max)
    }

    fn delete(&mut self, state: &JobState) -> Result<(), BackendError> {
        self.delete_job(state)
    }

    fn ready_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        self.find_queues(filter, after, limit)
    }

    fn ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        if !filter.takes_queue(queue) {
            return Ok(Vec::new());
        }
        self.find_ready(queue, filter, limit)
    }

    fn promote(&mut self, now: Timestamp, limit: usize) -> Result<usize, BackendError> {
        let due = self.timed(&self.sql().future, now, limit, waits)?;
        for stored in &due {
            self.rewrite(stored, &stored.state.promoted())?;
        }
        Ok(due.len())
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobState>, BackendError> {
        let late = self.timed(&self.sql().deadlines, now, limit, JobState::awaits_deadline)?;
        let states = late.iter().map(|stored| stored.state.clone()).collect();
        late.into_iter().for_each(|stored| self.memory.keep(stored));
        Ok(states)
    }

    fn next_timer(&mut self) -> Result<Option<Timestamp>, BackendError> {
        let due = self.timed(&self.sql().future, Timestamp::NEVER, 1, waits)?;
        let due = due.first().map(|stored| stored.state.run_at);
        let deadline = self.timed(&self.sql().deadlines, Timestamp::NEVER, 1, JobState::awaits_deadline)?;
        let deadline = deadline.first().and_then(|stored| stored.state.expires_at);
        Ok(due.into_iter().chain(deadline).min())
    }

    fn key_holder(&mut self, queue: &QueueName, key: &UniqueKey) -> Result<Option<JobId>, BackendError> {
        let site = self.site();
        let engine = |error| site.engine("read a unique key", error);
        let mut statement = self.prepare(&self.sql().read_key)?;
        let mut rows = statement.query([queue.as_str(), key.as_str()]).map_err(engine)?;
        let Some(row) = rows.next().map_err(engine)? else { return Ok(None) };
        parts::holder(queue, key, &mut Columns::of(row))
            .map(Some)
            .map_err(|flaw| site.flaw(format_args!("the holder of the unique key {key:?}"), flaw))
    }

    fn set_key_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError> {
        let (site, sql) = (self.site(), self.sql());
        let (queue, key) = (queue.as_str(), key.as_str());
        let written = match holder {
            Some(id) => {
                let id = id.as_bytes().as_slice();
                self.writing(&sql.put_key)?.execute(params![queue, key, id, seal_of_holder(queue, key, id)])
            }
            None => self.writing(&sql.delete_key)?.execute([queue, key]),
        };
        written.map(|_| ()).map_err(|error| site.engine("write a unique key", error))
    }

    fn record_version(&mut self, key: &str) -> Result<u64, BackendError> {
        let record = parts::record(self.conn, self.sql(), self.site(), key)?;
        Ok(record.map_or(0, |(version, _)| version))
    }

    fn put_record(&mut self, key: &str, value: Option<(u64, &[u8])>) -> Result<(), BackendError> {
        let (site, sql) = (self.site(), self.sql());
        let written = match value {
            Some((version, value)) => {
                let version = stored_u64(version)
                    .map_err(|Flaw(reason)| site.error(BackendErrorKind::Invalid, reason))?;
                let seal = seal_of_record(key, version, value);
                self.writing(&sql.put_record)?.execute(params![key, version, value, seal])
            }
            None => self.writing(&sql.delete_record)?.execute([key]),
        };
        written.map(|_| ()).map_err(|error| site.engine("write a record", error))
    }

    fn restore(&mut self, job: &Saved) -> Result<(), BackendError> {
        self.restore_job(job)
    }
}

/// For each id whether the indexes of waiting jobs list it, and whether that of held jobs does. Jobs that wait for
/// something else than a time are in no index: their rows say it.
pub(crate) fn membership(conn: &Connection, sql: &Sql, ids: &[JobId]) -> rusqlite::Result<Vec<(bool, bool)>> {
    let mut place = conn.prepare_cached(&sql.place)?;
    let mut in_ready = conn.prepare_cached(&sql.is_in_ready)?;
    let mut in_future = conn.prepare_cached(&sql.is_in_future)?;
    let mut in_held = conn.prepare_cached(&sql.is_in_held)?;
    let mut one = |id: &JobId| {
        let key = id.as_bytes().as_slice();
        let row = place.query_row([key], |row| {
            let place: (String, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((place, row.get::<_, bool>(4)?))
        });
        let Some(((queue, priority, run_at, sequence), waits)) = row.optional()? else {
            return Ok((false, false));
        };
        let waiting = in_ready.exists(params![queue, priority, run_at, sequence])?
            || in_future.exists([run_at, sequence])?
            || (waits && run_at == Timestamp::NEVER.as_micros());
        Ok((waiting, in_held.exists([key])?))
    };
    ids.iter().map(&mut one).collect()
}
