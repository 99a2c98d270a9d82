//! The open handles of one file: this one, and what it knows of the others.
//!
//! Each handle has a number that is never given again, a row under it in the table of handles, and a lock on a file of its
//! own that ends with its process. The jobs it holds carry its number. A handle whose lock is free is gone, and whoever
//! sees it first gives its jobs back. One that holds its lock and jobs and does not move its `beat` for a whole lease
//! hangs: its jobs are taken away as well.
//!
//! What one handle does to the jobs of another it notes in that one's name in the table `touched`; what a transaction of the
//! application's did, in the table `applied`. Whoever sees that the file was changed by someone else reads both.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use poolqueue_core::{Attempt, Attention, BackendError, BackendErrorKind, Elsewhere, JobId, Lease};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::codec::seal_of_meta;
use crate::lock::{Lock, Locks};
use crate::reader::parts;
use crate::site::Site;
use crate::sql::Sql;

/// Under which name the number of the last handle is kept.
const HANDLE: &str = "handle";
/// How often the others are looked at.
const CHECK: Duration = Duration::from_millis(250);
/// How many numbers are passed over whose locks are taken.
const NUMBERS: usize = 1_000;
/// How long a handle that seems to hang is given to show that it was only kept from writing.
const GRACE: Duration = Duration::from_secs(1);
/// Whoever has not looked for so long cannot tell who was silent meanwhile.
const LATE: Duration = Duration::from_secs(2);
/// How often the file is looked at while someone waits who has to be told soon, and others may write.
const NAP: Duration = Duration::from_millis(10);
/// The same, while others do write.
const SHORT_NAP: Duration = Duration::from_millis(3);
/// Whoever was seen to write is expected to write on for so long.
const LIVELY: Duration = Duration::from_secs(1);
/// How long room is left for someone who was seen to write.
const RECENT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    locks: Locks,
    number: i64,
    lock: Lock,
    /// After how long without a beat a handle hangs.
    lease: Duration,
    others: BTreeMap<i64, Peer>,
    /// Whether the file has tables of the application's.
    shares: bool,
    checked: Instant,
    /// SQLite's number of the file's last state that was seen; it changes when others commit.
    seen: Option<i64>,
    /// The same, at the last reading of the table of handles.
    listed: Option<i64>,
    /// What the transaction in flight has seen, and will have seen when it ends well.
    seeing: Option<i64>,
    /// When someone else was last seen to have written.
    written: Option<Instant>,
    /// When this handle's beat was last written.
    beat: Instant,
    /// Whether the beat is to be moved in the next transaction.
    beat_due: bool,
    gone: Vec<i64>,
    /// Handles that hang, with the beat they stopped at.
    hung: Vec<(i64, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    beat: i64,
    /// Since when the beat has not moved.
    since: Instant,
    /// How long it may stand still: the handle's own lease, by which it beats.
    lease: Duration,
    /// When this handle could write and that one, being silent for a lease, could have.
    warned: Option<Instant>,
}

/// Changes when another connection commits.
pub(crate) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

impl Peers {
    /// Joins the handles of the file.
    pub(crate) fn join(
        conn: &mut Connection,
        sql: &Sql,
        site: &Site,
        lease: Duration,
    ) -> Result<Self, BackendError> {
        let engine = |error| site.engine("join the handles of the file", error);
        let locks = Locks::of(site, &sql.prefix)?;
        let txn = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(engine)?;
        // Before anyone can see the number: a handle without a lock is gone.
        let (number, lock) = next_number(&txn, sql, site, &locks)?;
        let now = Instant::now();
        let mut peers = Peers {
            locks,
            number,
            lock,
            lease,
            others: BTreeMap::new(),
            shares: false,
            checked: now,
            seen: None,
            listed: None,
            seeing: None,
            written: None,
            beat: now,
            beat_due: false,
            gone: Vec::new(),
            hung: Vec::new(),
        };
        // Everything is read before anything is committed: a file that is refused stays as it is.
        let entered = sweep(&txn, sql)
            .map_err(engine)
            .and_then(|()| enter(&txn, sql, site, number, lease))
            .and_then(|()| peers.check(&txn, sql).map_err(engine))
            .and_then(|()| txn.commit().map_err(engine));
        let entered = match entered {
            // What is stored can be read all the same. The handle enters with the first transaction that finds room.
            Err(error) if error.kind() == BackendErrorKind::Full => peers.check(conn, sql).map_err(engine),
            entered => entered,
        };
        if let Err(error) = entered {
            // The next handle of a damaged file may not find it to sweep it away.
            drop(peers.lock);
            peers.locks.remove(number);
            return Err(error);
        }
        Ok(peers)
    }

    /// Leaves, unless jobs are still held: then others give them back as soon as the lock is free.
    pub(crate) fn leave(self, conn: Option<&Connection>, sql: &Sql) {
        let left = conn.and_then(|conn| conn.execute(&sql.leave, [self.number]).ok());
        if let Some(conn) = conn.filter(|_| left == Some(1)) {
            // What stays behind is swept away by the next handle to join.
            let _ = conn.execute(&sql.delete_touched, [self.number]);
            let _ = conn.execute(&sql.delete_applied, [self.number]);
        }
        drop(self.lock);
        if left == Some(1) {
            self.locks.remove(self.number);
        }
    }

    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    /// Whether there are other handles.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Whether others may want to write to the file.
    pub(crate) fn is_crowded(&self) -> bool {
        self.shares || !self.is_alone() || self.was_written_within(RECENT)
    }

    fn was_written_within(&self, span: Duration) -> bool {
        self.written.is_some_and(|at| at.elapsed() < span)
    }

    /// The jobs this handle holds.
    pub(crate) fn held_here(&self, conn: &Connection, sql: &Sql) -> rusqlite::Result<Vec<Lease>> {
        held(conn, sql, self.number)
    }

    /// The connection is another one: its numbers say nothing of what was seen before.
    pub(crate) fn look_anew(&mut self) {
        (self.seen, self.listed, self.seeing) = (None, None, None);
    }

    /// How long nothing is missed by not looking.
    pub(crate) fn watch(&self, attention: Attention) -> Duration {
        let told = !self.is_alone() || self.was_written_within(RECENT);
        let lively = self.was_written_within(LIVELY);
        match attention {
            Attention { pending: true, .. } => SHORT_NAP,
            Attention { waiting: false, holding: false, .. } => CHECK,
            _ if told && lively => SHORT_NAP,
            _ if told => NAP,
            _ => CHECK,
        }
    }

    /// Whether the next transaction has something to learn.
    pub(crate) fn stirred(&mut self, conn: &Connection, sql: &Sql, attention: Attention) -> bool {
        // What goes wrong here goes wrong in the transaction, too, and is reported there.
        let Ok(version) = data_version(conn) else { return true };
        if self.checked.elapsed() >= CHECK && self.check(conn, sql).is_err() {
            return true;
        }
        self.beat_due = attention.holding && self.beat_is_older_than(self.lease / 3);
        Some(version) != self.seen || self.beat_due || !self.gone.is_empty() || !self.hung.is_empty()
    }

    /// Looks who is gone, and who hangs.
    fn check(&mut self, conn: &Connection, sql: &Sql) -> rusqlite::Result<()> {
        let now = Instant::now();
        if now.saturating_duration_since(self.checked) > LATE {
            self.start_leases_anew();
        }
        self.checked = now;
        let version = data_version(conn)?;
        if self.listed != Some(version) {
            self.list(conn, sql, now)?;
            self.listed = Some(version);
        }
        let locks = &self.locks;
        self.gone = self.others.keys().copied().filter(|number| locks.is_free(*number)).collect();
        let silent =
            self.others.iter().filter(|(_, peer)| now.saturating_duration_since(peer.since) >= peer.lease);
        self.hung = silent.map(|(number, peer)| (*number, peer.beat)).collect();
        Ok(())
    }

    fn list(&mut self, conn: &Connection, sql: &Sql, now: Instant) -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(&sql.handles)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut others = BTreeMap::new();
        for row in rows {
            let (number, beat, lease): (i64, i64, i64) = row?;
            let lease = u64::try_from(lease).map_or(self.lease, Duration::from_millis);
            let known = self.others.get(&number).copied().filter(|peer| peer.beat == beat);
            if number != self.number {
                others.insert(number, known.unwrap_or(Peer { beat, since: now, lease, warned: None }));
            }
        }
        self.others = others;
        self.shares = conn.prepare_cached(&sql.foreign_tables)?.exists([])?;
        Ok(())
    }

    /// Nobody was listened to for a while: whoever was silent meanwhile is not silent yet.
    pub(crate) fn start_leases_anew(&mut self) {
        let now = Instant::now();
        self.others.values_mut().for_each(|peer| (peer.since, peer.warned) = (now, None));
        self.hung.clear();
    }

    /// This handle was kept from writing for a moment, and others may have been: none was warned yet.
    pub(crate) fn start_grace_anew(&mut self) {
        self.others.values_mut().for_each(|peer| peer.warned = None);
    }

    /// Whether a handle that is silent has had its time to write.
    fn was_warned(&self, number: i64) -> bool {
        let warned = self.others.get(&number).and_then(|peer| peer.warned);
        warned.is_some_and(|at| at.elapsed() >= GRACE)
    }

    fn beat_is_older_than(&self, span: Duration) -> bool {
        self.beat.elapsed() >= span
    }

    /// Reads what others did. Within a transaction of the writer's.
    pub(crate) fn learn(
        &mut self,
        conn: &Connection,
        sql: &Sql,
        site: &Site,
    ) -> Result<Elsewhere, BackendError> {
        let engine = |error| site.engine("read what others did", error);
        let version = data_version(conn).map_err(engine)?;
        let mut found = Elsewhere::default();
        found.changed = Some(version) != self.seen;
        if found.changed {
            if self.seen.is_some() {
                self.written = Some(Instant::now());
            }
            found.touched = all(conn, &sql.take_touched, self.number, job).map_err(engine)?;
            for id in &found.touched {
                let held = conn
                    .prepare_cached(&sql.is_held_by)
                    .and_then(|mut held| held.exists(params![id.as_bytes().as_slice(), self.number]))
                    .map_err(engine)?;
                if !held {
                    found.lost.push(*id);
                }
            }
            found.applied = all(conn, &sql.take_applied, self.number, batch).map_err(engine)?;
            found.forgotten = self.return_if_forgotten(conn, sql, site)?;
            found.wrote = found.forgotten || !found.touched.is_empty() || !found.applied.is_empty();
        }
        // Again, now that nobody can come back meanwhile.
        let locks = &self.locks;
        self.gone.retain(|number| locks.is_free(*number));
        for number in &self.gone {
            found.orphaned.extend(held(conn, sql, *number).map_err(engine)?);
            for statement in [&sql.delete_touched, &sql.delete_applied, &sql.delete_handle] {
                conn.prepare_cached(statement)
                    .and_then(|mut statement| statement.execute([number]))
                    .map_err(engine)?;
            }
            found.wrote = true;
        }
        for (number, beat) in &self.hung {
            let silent = beat_of(conn, sql, *number).map_err(engine)? == Some(*beat);
            if silent && self.was_warned(*number) {
                found.orphaned.extend(held(conn, sql, *number).map_err(engine)?);
            }
        }
        if self.beat_due {
            found.wrote |= self.beat(conn, sql, false).map_err(engine)?;
        }
        self.seeing = Some(version);
        Ok(found)
    }

    /// Whoever took this handle for gone has taken its row away, and its jobs: it starts anew under its number.
    fn return_if_forgotten(
        &mut self,
        conn: &Connection,
        sql: &Sql,
        site: &Site,
    ) -> Result<bool, BackendError> {
        let engine = |error| site.engine("read what others did", error);
        if beat_of(conn, sql, self.number).map_err(engine)?.is_some() {
            return Ok(false);
        }
        if self.locks.is_free(self.number) {
            self.lock = self.locks.take(site, self.number)?;
        }
        enter(conn, sql, site, self.number, self.lease)?;
        Ok(true)
    }

    /// Moves the beat if that is due: `claimed` says whether the transaction took jobs. Whether it was moved.
    pub(crate) fn beat(&mut self, conn: &Connection, sql: &Sql, claimed: bool) -> rusqlite::Result<bool> {
        let span = if claimed { self.lease / 6 } else { self.lease / 3 };
        if !self.beat_is_older_than(span) {
            return Ok(false);
        }
        conn.prepare_cached(&sql.beat)?.execute([self.number])?;
        self.beat = Instant::now();
        self.beat_due = false;
        Ok(true)
    }

    /// The transaction ended: what it has learnt need not be learnt again, if it ended well.
    pub(crate) fn settle(&mut self, well: bool) {
        let Some(version) = self.seeing.take().filter(|_| well) else { return };
        self.seen = Some(version);
        for number in self.gone.drain(..) {
            self.locks.remove(number);
            self.others.remove(&number);
        }
        if !self.hung.is_empty() {
            let now = Instant::now();
            for (number, _) in std::mem::take(&mut self.hung) {
                let warned = self.was_warned(number);
                let Some(peer) = self.others.get_mut(&number) else { continue };
                if warned {
                    (peer.since, peer.warned) = (now, None);
                } else {
                    peer.warned.get_or_insert(now);
                }
            }
        }
    }
}

/// The number of the last handle that has entered; 0 before the first.
fn last_number(conn: &Connection, sql: &Sql, site: &Site) -> Result<i64, BackendError> {
    let last = parts::meta(conn, sql, site, HANDLE)?.unwrap_or(0);
    Ok(i64::try_from(last).unwrap_or(i64::MAX))
}

/// A number that no handle had, and its lock.
fn next_number(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    locks: &Locks,
) -> Result<(i64, Lock), BackendError> {
    let mut number = last_number(conn, sql, site)?.saturating_add(1);
    for _ in 0..NUMBERS {
        match locks.take(site, number) {
            // The file was put back as it was before that handle entered, say, or it has found no room to.
            Err(error) if error.kind() == BackendErrorKind::AlreadyOpen => number = number.saturating_add(1),
            taken => return Ok((number, taken?)),
        }
    }
    Ok((number, locks.take(site, number)?))
}

/// Forgets what was noted for handles that have left meanwhile.
fn sweep(conn: &Connection, sql: &Sql) -> rusqlite::Result<()> {
    conn.execute(&sql.sweep_touched, [])?;
    conn.execute(&sql.sweep_applied, [])?;
    Ok(())
}

/// Writes the row of a handle, so that others see it.
fn enter(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    number: i64,
    lease: Duration,
) -> Result<(), BackendError> {
    let engine = |error| site.engine("join the handles of the file", error);
    if last_number(conn, sql, site)? < number {
        conn.execute(&sql.put_meta, params![HANDLE, number, seal_of_meta(HANDLE, number)]).map_err(engine)?;
    }
    insert_handle(conn, sql, number, lease).map(drop).map_err(engine)
}

/// Its beat begins where no earlier one of that number can have stood still.
fn insert_handle(conn: &Connection, sql: &Sql, number: i64, lease: Duration) -> rusqlite::Result<usize> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let opened_at = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
    conn.execute(&sql.insert_handle, params![number, std::process::id(), opened_at, lease])
}

fn beat_of(conn: &Connection, sql: &Sql, number: i64) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(&sql.beat_of)?.query_row([number], |row| row.get(0)).optional()
}

fn all<T>(
    conn: &Connection,
    statement: &str,
    number: i64,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(statement)?.query_map([number], read)?.collect()
}

fn batch(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::cast_unsigned)
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobId> {
    row.get(0).map(JobId::from_bytes)
}

/// The jobs a handle holds. One that is damaged is left out: it is reported to whoever asks for it.
fn held(conn: &Connection, sql: &Sql, number: i64) -> rusqlite::Result<Vec<Lease>> {
    let leases = all(conn, &sql.held_by, number, |row| {
        let attempt = u32::try_from(row.get::<_, i64>(1)?);
        Ok(attempt.ok().map(Attempt).zip(job(row).ok()))
    })?;
    Ok(leases.into_iter().flatten().map(|(attempt, id)| Lease { id, attempt }).collect())
}
