//! The rows of a damaged file, table by table.

use std::collections::{BTreeMap, BTreeSet};

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::salvage::{Lost, LostPart, Rescue, Saved, keys_around};
use poolqueue_core::{BackendError, Body, HistoryEntry, JobId, LastError, Output};
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, Value};

use crate::codec::{
    Flaw, Names, Owner, Part, StoredBody, StoredChunk, StoredEntry, StoredHistory, StoredOutcome,
    StoredRecord, StoredState, unseal,
};
use crate::format::{Bytes, Id};
use crate::reader::table;
use crate::site::Site;

/// Whether there is a table of jobs.
pub(super) fn has_jobs(txn: &ReadTransaction, site: &Site) -> bool {
    let is_there = |definition| {
        let opened = site.guard("open a table", || table(txn, definition, site));
        matches!(opened, Ok(Some(_)))
    };
    is_there(site.layout().live()) || is_there(site.layout().done())
}

/// Hands over everything that can be read.
pub(super) fn everything(
    txn: &ReadTransaction,
    site: &Site,
    rescue: &mut dyn Rescue,
) -> Result<(), BackendError> {
    let wreck = Wreck::new(txn, site, rescue);
    let live = wreck.keys("live", &wreck.live, rescue);
    let done = wreck.keys("done", &wreck.done, rescue);
    let bodies = wreck.keys("body", &wreck.body, rescue);
    let ids: BTreeSet<u128> = live.union(&done).copied().chain(bodies).collect();
    let names = &mut Names::default();
    for id in ids {
        wreck.job(JobId::from_bytes(id.to_be_bytes()), names, rescue)?;
    }
    wreck.records(txn, rescue)
}

type Rows = Option<ReadOnlyTable<Id, Bytes>>;
/// By its key, a record's version and value, or what is wrong with it.
type Records = BTreeMap<String, Result<(u64, Vec<u8>), String>>;

struct Wreck<'a> {
    site: &'a Site,
    live: Rows,
    done: Rows,
    body: Rows,
    outcome: Rows,
    history: Option<ReadOnlyTable<(Id, u32), Bytes>>,
}

/// The state of a job, and where the rest of it is.
struct Found {
    state: JobState,
    /// The attempt under which it has an outcome.
    outcome: Option<u32>,
    /// Where its history is, and the newest entries.
    numbers: StoredHistory<'static>,
    tail: Vec<HistoryEntry>,
}

impl Found {
    fn of(stored: &StoredState<'_>, id: JobId, is_final: bool, names: &mut Names) -> Result<Self, Flaw> {
        let state = stored.state(id, names, is_final)?;
        let StoredHistory { dropped, first_chunk, next_chunk, skipped, first_entries, chunk_entries, .. } =
            stored.history;
        let tail_entries = stored.history.tail_entries;
        let mut tail = Vec::new();
        StoredEntry::read_all(stored.history.tail, tail_entries, |entry, _| {
            tail.push(entry.entry(names)?);
            Ok(())
        })?;
        let numbers = StoredHistory {
            dropped,
            first_chunk,
            next_chunk,
            skipped,
            first_entries,
            chunk_entries,
            tail_entries,
            tail: &[],
        };
        Ok(Found { state, outcome: stored.outcome, numbers, tail })
    }

    /// How many steps it has made.
    fn steps(&self) -> u64 {
        let numbers = self.numbers;
        let kept = u64::from(numbers.chunk_entries.saturating_sub(numbers.skipped))
            + u64::from(numbers.tail_entries);
        numbers.dropped.saturating_add(kept)
    }
}

/// A table, unless it cannot be opened or is not there: that is a loss.
fn open<K: Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    definition: redb::TableDefinition<'_, K, V>,
    site: &Site,
    rescue: &mut dyn Rescue,
) -> Option<ReadOnlyTable<K, V>> {
    let name = redb::TableHandle::name(&definition).to_owned();
    let opened = site.guard("open a table", || table(txn, definition, site));
    let reason = match opened {
        Ok(Some(table)) => return Some(table),
        Ok(None) => "it is missing".to_owned(),
        Err(error) => error.to_string(),
    };
    rescue.lost(Lost::new(LostPart::Unknown, None, format!("the table {name}: {reason}")));
    None
}

impl<'a> Wreck<'a> {
    fn new(txn: &ReadTransaction, site: &'a Site, rescue: &mut dyn Rescue) -> Self {
        let layout = site.layout();
        Wreck {
            site,
            live: open(txn, layout.live(), site, rescue),
            done: open(txn, layout.done(), site, rescue),
            body: open(txn, layout.body(), site, rescue),
            outcome: open(txn, layout.outcome(), site, rescue),
            history: open(txn, layout.history(), site, rescue),
        }
    }

    /// The ids in a table, as far as they can be read.
    fn keys(&self, name: &str, rows: &Rows, rescue: &mut dyn Rescue) -> BTreeSet<u128> {
        let Some(rows) = rows else { return BTreeSet::new() };
        let site = self.site;
        let engine = |error: redb::StorageError| site.engine("read the ids of jobs", error);
        let (found, damage) = keys_around(0..=u128::MAX, &mut |range, back, each| {
            site.guard("read the ids of jobs", || {
                let (low, high) = (range.start().to_be_bytes(), range.end().to_be_bytes());
                let mut range = rows.range::<&[u8; 16]>(&low..=&high).map_err(engine)?;
                while let Some(row) = if back { range.next_back() } else { range.next() } {
                    each(u128::from_be_bytes(*row.map_err(engine)?.0.value()));
                }
                Ok(())
            })
        });
        if let Some(damage) = damage {
            let reason = format!("a part of the table {}{name}: {damage}", site.layout().prefix());
            rescue.lost(Lost::new(LostPart::Unknown, None, reason));
        }
        found
    }

    /// The row of a job in a table, decoded by `read`; `None` where there is none.
    fn row<T>(
        &self,
        rows: &Rows,
        id: JobId,
        read: impl FnOnce(&[u8]) -> Result<T, BackendError>,
    ) -> Result<Option<T>, BackendError> {
        let (Some(rows), site) = (rows, self.site) else { return Ok(None) };
        site.guard("read a row", || {
            let row = rows.get(id.as_bytes()).map_err(|error| site.engine("read a row", error))?;
            row.map(|row| read(row.value())).transpose()
        })
    }

    /// Hands a job over, or says what became of it.
    fn job(&self, id: JobId, names: &mut Names, rescue: &mut dyn Rescue) -> Result<(), BackendError> {
        let (live, done) = (self.state(id, false, names), self.state(id, true, names));
        let (found, other) = match (live, done) {
            (Ok(Some(live)), Ok(Some(done))) if done.steps() > live.steps() => (Ok(done), Some(live)),
            (Ok(Some(live)), Ok(Some(done))) => (Ok(live), Some(done)),
            (Ok(Some(found)), _) | (_, Ok(Some(found))) => (Ok(found), None),
            (Err(error), _) | (_, Err(error)) => (Err(error.to_string()), None),
            (Ok(None), Ok(None)) => (Err("it has a body and no state".to_owned()), None),
        };
        if let Some(other) = other {
            let reason = format!("an older state of it was found, too: {}", other.state.status);
            rescue.lost(Lost::new(LostPart::Unknown, Some(id), reason));
        }
        let saved = found.and_then(|found| {
            let body = self.body(id).map_err(|error| error.to_string())?;
            Ok((found, body.ok_or("its body is missing")?))
        });
        match saved {
            Ok((found, body)) => {
                let job = self.assemble(found, body, names, rescue);
                rescue.job(job)
            }
            Err(reason) => {
                rescue.lost(Lost::new(LostPart::Job, Some(id), reason));
                Ok(())
            }
        }
    }

    fn assemble(&self, found: Found, body: Body, names: &mut Names, rescue: &mut dyn Rescue) -> Saved {
        let id = found.state.id;
        let (output, error) = match self.outcome(id, found.outcome) {
            Ok(outcome) => outcome,
            Err(error) => {
                let lost = Lost::new(LostPart::Outcome, Some(id), error.to_string());
                let outcome = lost.in_place_of_outcome();
                rescue.lost(lost);
                outcome
            }
        };
        let (history, cut) = self.history(&found, names, rescue);
        Saved { state: found.state, body, output, error, history, cut }
    }

    fn state(&self, id: JobId, is_final: bool, names: &mut Names) -> Result<Option<Found>, BackendError> {
        let rows = if is_final { &self.done } else { &self.live };
        self.row(rows, id, |row| {
            unseal::<StoredState<'_>>(Owner::new(Part::State, id.as_bytes()), row)
                .and_then(|stored| Found::of(&stored, id, is_final, names))
                .map_err(|flaw| self.site.flaw("its state", flaw))
        })
    }

    fn body(&self, id: JobId) -> Result<Option<Body>, BackendError> {
        self.row(&self.body, id, |row| {
            unseal::<StoredBody<'_>>(Owner::new(Part::Body, id.as_bytes()), row)
                .and_then(|stored| stored.body())
                .map_err(|flaw| self.site.flaw("its body", flaw))
        })
    }

    fn outcome(&self, id: JobId, attempt: Option<u32>) -> Result<(Output, Option<LastError>), BackendError> {
        let (Some(attempt), site) = (attempt, self.site) else { return Ok((Output::none(), None)) };
        let found = self.row(&self.outcome, id, |row| {
            unseal::<StoredOutcome<'_>>(Owner::numbered(Part::Outcome, id.as_bytes(), attempt), row)
                .and_then(|stored| stored.parts())
                .map_err(|flaw| site.flaw("its outcome", flaw))
        })?;
        found.ok_or_else(|| site.corrupted("its outcome is missing"))
    }

    /// The history of a job down to the newest damage, and how many entries there were before.
    fn history(&self, found: &Found, names: &mut Names, rescue: &mut dyn Rescue) -> (Vec<HistoryEntry>, u64) {
        let (id, numbers) = (found.state.id, found.numbers);
        let mut chunks = Vec::new();
        for number in (numbers.first_chunk..numbers.next_chunk).rev() {
            match self.chunk(id, number, names) {
                Ok(chunk) => chunks.push(chunk),
                Err(error) => {
                    rescue.lost(Lost::new(LostPart::History, Some(id), error.to_string()));
                    break;
                }
            }
        }
        let whole = chunks.len() as u64 == u64::from(numbers.next_chunk.saturating_sub(numbers.first_chunk));
        let skipped = if whole { numbers.skipped as usize } else { 0 };
        let entries = chunks.into_iter().rev().flatten().skip(skipped);
        let history: Vec<HistoryEntry> = entries.chain(found.tail.iter().cloned()).collect();
        let cut = found.steps().saturating_sub(history.len() as u64);
        (history, cut)
    }

    fn chunk(&self, id: JobId, number: u32, names: &mut Names) -> Result<Vec<HistoryEntry>, BackendError> {
        let site = self.site;
        let missing = || site.corrupted(format_args!("its piece {number} is missing"));
        let table = self.history.as_ref().ok_or_else(missing)?;
        site.guard("read history", || {
            let row =
                table.get((id.as_bytes(), number)).map_err(|error| site.engine("read history", error))?;
            let row = row.ok_or_else(missing)?;
            let mut entries = Vec::new();
            unseal::<StoredChunk<'_>>(Owner::numbered(Part::History, id.as_bytes(), number), row.value())
                .and_then(|chunk| {
                    StoredEntry::read_all(chunk.entries, chunk.count, |entry, _| {
                        entries.push(entry.entry(names)?);
                        Ok(())
                    })
                })
                .map_err(|flaw| site.flaw(format_args!("its piece {number}"), flaw))?;
            Ok(entries)
        })
    }

    /// Hands over the records, from the first on up to damage, and from the last on down to it.
    fn records(&self, txn: &ReadTransaction, rescue: &mut dyn Rescue) -> Result<(), BackendError> {
        let Some(table) = open(txn, self.site.layout().records(), self.site, rescue) else { return Ok(()) };
        let mut found = BTreeMap::new();
        if let Err(damage) = self.walk_records(&table, false, &mut found) {
            // What stood in the way from the one end does from the other.
            let _ = self.walk_records(&table, true, &mut found);
            rescue.lost(Lost::new(LostPart::Unknown, None, format!("a part of the records: {damage}")));
        }
        for (key, record) in found {
            match record {
                Ok((version, value)) => rescue.record(&key, version, &value)?,
                Err(reason) => rescue.lost(Lost::new(LostPart::Record(key), None, reason)),
            }
        }
        Ok(())
    }

    /// Reads records from one end, up to one that was found before.
    fn walk_records(
        &self,
        table: &ReadOnlyTable<&'static str, Bytes>,
        back: bool,
        found: &mut Records,
    ) -> Result<(), BackendError> {
        let site = self.site;
        site.guard("read the records", || {
            let engine = |error: redb::StorageError| site.engine("read the records", error);
            let mut rows = table.iter().map_err(engine)?;
            while let Some(row) = if back { rows.next_back() } else { rows.next() } {
                let (key, row) = row.map_err(engine)?;
                let key = key.value();
                if found.contains_key(key) {
                    return Err(site.corrupted("their keys are out of order"));
                }
                let owner = Owner::new(Part::Record, key.as_bytes());
                let record = unseal::<StoredRecord<'_>>(owner, row.value())
                    .map(|stored| (stored.version, stored.value.to_vec()))
                    .map_err(|flaw| site.flaw("it", flaw).to_string());
                found.insert(key.to_owned(), record);
            }
            Ok(())
        })
    }
}
