//! The rows of a damaged file, table by table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use poolqueue_core::salvage::{Lost, LostPart, Rescue, Saved, keys_around};
use poolqueue_core::{BackendError, HistoryEntry, JobId};
use rusqlite::{Connection, params};

use crate::codec::{Columns, EntryRow, Flaw, Names, Stored, StoredRow, stored_u64};
use crate::reader::parts;
use crate::site::Site;
use crate::sql::Sql;

/// Hands over everything that can be read.
pub(super) fn everything(
    conn: &Connection,
    sql: &Sql,
    site: &Site,
    rescue: &mut dyn Rescue,
) -> Result<(), BackendError> {
    let wreck = Wreck { conn, sql, site };
    let listed = wreck.listed(rescue);
    let rows = wreck.sequences("jobs", "sequence", rescue);
    for body in wreck.sequences("bodies", "job", rescue) {
        if !rows.contains(&body) && !listed.contains_key(&body) {
            let reason = format!("of the {body}. job that was enqueued, only a body is left");
            rescue.lost(Lost::new(LostPart::Job, None, reason));
        }
    }
    let names = &mut Names::default();
    for sequence in rows.iter().chain(listed.keys().filter(|sequence| !rows.contains(sequence))) {
        let known = listed.get(sequence).copied();
        match wreck.state(*sequence, names) {
            Ok(stored) => wreck.job(stored, names, rescue)?,
            Err((id, reason)) => rescue.lost(Lost::new(LostPart::Job, known.or(id), reason)),
        }
    }
    wreck.records(rescue)
}

/// By its name, a record's version and value, or what is wrong with it.
type Records = BTreeMap<String, Result<(u64, Vec<u8>), String>>;

struct Wreck<'a> {
    conn: &'a Connection,
    sql: &'a Sql,
    site: &'a Site,
}

/// Numbers of SQLite in the order of unsigned ones.
fn ordered(number: i64) -> u128 {
    u128::from(number.cast_unsigned() ^ (1 << 63))
}

fn number(ordered: u128) -> i64 {
    (u64::try_from(ordered).unwrap_or(u64::MAX) ^ (1 << 63)).cast_signed()
}

impl Wreck<'_> {
    /// The ids and the sequences that the index of ids lists: it may be whole where the table is not.
    fn listed(&self, rescue: &mut dyn Rescue) -> HashMap<i64, JobId> {
        let mut sequences = HashMap::new();
        let (_, damage) = keys_around(0..=u128::MAX, &mut |range, back, each| {
            let statement = self.sql.salvage_ids(back);
            let (low, high) = (range.start().to_be_bytes(), range.end().to_be_bytes());
            self.each(&statement, params![low.as_slice(), high.as_slice()], |columns| {
                let (id, sequence) = (columns.blob()?, columns.int()?);
                let id = <[u8; 16]>::try_from(id).map_err(|_| Flaw::new("an id does not have 16 bytes"))?;
                sequences.entry(sequence).or_insert(JobId::from_bytes(id));
                each(u128::from_be_bytes(id));
                Ok(())
            })
        });
        if let Some(damage) = damage {
            let reason = format!("a part of the index of ids: {damage}");
            rescue.lost(Lost::new(LostPart::Unknown, None, reason));
        }
        sequences
    }

    /// The sequences in a table, in its first column.
    fn sequences(&self, table: &str, column: &str, rescue: &mut dyn Rescue) -> BTreeSet<i64> {
        let all: RangeInclusive<u128> = 0..=u128::from(u64::MAX);
        let (found, damage) = keys_around(all, &mut |range, back, each| {
            let statement = self.sql.salvage_sequences(table, column, back);
            self.each(&statement, params![number(*range.start()), number(*range.end())], |columns| {
                each(ordered(columns.int()?));
                Ok(())
            })
        });
        if let Some(damage) = damage {
            let reason = format!("a part of the table of {table}: {damage}");
            rescue.lost(Lost::new(LostPart::Unknown, None, reason));
        }
        found.into_iter().map(number).collect()
    }

    /// Runs a statement and hands its rows over.
    fn each(
        &self,
        statement: &str,
        params: impl rusqlite::Params,
        mut row_of: impl FnMut(&mut Columns<'_>) -> Result<(), Flaw>,
    ) -> Result<(), BackendError> {
        let site = self.site;
        let engine = |error| site.engine("read it", error);
        let mut statement = self.conn.prepare_cached(statement).map_err(engine)?;
        let mut rows = statement.query(params).map_err(engine)?;
        while let Some(row) = rows.next().map_err(engine)? {
            row_of(&mut Columns::of(row)).map_err(|flaw| site.flaw("a row", flaw))?;
        }
        Ok(())
    }

    /// The row of the job with this place in the order of enqueues; otherwise its id, as far as it says one, and what is
    /// wrong with it.
    fn state(&self, sequence: i64, names: &mut Names) -> Result<Stored, (Option<JobId>, String)> {
        let engine = |error| (None, self.site.engine("read its state", error).to_string());
        let mut statement = self.conn.prepare_cached(&self.sql.salvage_job).map_err(engine)?;
        let mut rows = statement.query([sequence]).map_err(engine)?;
        let Some(row) = rows.next().map_err(engine)? else {
            return Err((None, "the index of ids lists it, and it is missing".to_owned()));
        };
        let flawed = |id| move |flaw| (id, self.site.flaw("its state", flaw).to_string());
        let row = StoredRow::read(row).map_err(flawed(None))?;
        row.stored(names).map_err(flawed(row.id().ok()))
    }

    /// Hands a job over, or says what became of it.
    fn job(&self, stored: Stored, names: &mut Names, rescue: &mut dyn Rescue) -> Result<(), BackendError> {
        let (id, site) = (stored.state.id, self.site);
        let body = match parts::body(self.conn, self.sql, site, &stored) {
            Ok(body) => body,
            Err(error) => {
                rescue.lost(Lost::new(LostPart::Job, Some(id), error.to_string()));
                return Ok(());
            }
        };
        let (output, error) = match parts::outcome(self.conn, self.sql, site, &stored) {
            Ok(outcome) => outcome.map(|outcome| (outcome.output, outcome.error)).unwrap_or_default(),
            Err(error) => {
                let lost = Lost::new(LostPart::Outcome, Some(id), error.to_string());
                let outcome = lost.in_place_of_outcome();
                rescue.lost(lost);
                outcome
            }
        };
        let history = self.history(&stored, names, rescue);
        let cut = stored.extra.history_next.saturating_sub(history.len() as u64);
        rescue.job(Saved { state: stored.state, body, output, error, history, cut })
    }

    /// The history of a job down to the newest damage.
    fn history(&self, stored: &Stored, names: &mut Names, rescue: &mut dyn Rescue) -> Vec<HistoryEntry> {
        let (id, site) = (stored.state.id, self.site);
        let mut entries = Vec::new();
        let (first, mut next) = (stored.extra.history_first, stored.extra.history_next);
        let mut read = || -> Result<(), BackendError> {
            let engine = |error| site.engine("read history", error);
            let job = stored_u64(stored.state.sequence).map_err(|flaw| site.flaw("the sequence", flaw))?;
            let mut statement = self.conn.prepare_cached(&self.sql.salvage_history).map_err(engine)?;
            let mut rows = statement.query([job]).map_err(engine)?;
            while next > first {
                let missing = || site.corrupted(format_args!("entry {} is missing", next - 1));
                let row = rows.next().map_err(engine)?.ok_or_else(missing)?;
                let entry = EntryRow::read(id, next - 1, row, names);
                entries.push(entry.map_err(|flaw| site.flaw(format_args!("entry {}", next - 1), flaw))?);
                next -= 1;
            }
            Ok(())
        };
        if let Err(error) = read() {
            rescue.lost(Lost::new(LostPart::History, Some(id), error.to_string()));
        }
        entries.reverse();
        entries
    }

    /// Hands over the records, from the first on up to damage, and from the last on down to it.
    fn records(&self, rescue: &mut dyn Rescue) -> Result<(), BackendError> {
        let mut found = Records::new();
        if let Err(damage) = self.walk_records(false, &mut found) {
            // What stood in the way from the one end does from the other.
            let _ = self.walk_records(true, &mut found);
            rescue.lost(Lost::new(LostPart::Unknown, None, format!("a part of the records: {damage}")));
        }
        for (name, record) in found {
            match record {
                Ok((version, value)) => rescue.record(&name, version, &value)?,
                Err(reason) => rescue.lost(Lost::new(LostPart::Record(name), None, reason)),
            }
        }
        Ok(())
    }

    /// Reads records from one end, up to one that was found before.
    fn walk_records(&self, back: bool, found: &mut Records) -> Result<(), BackendError> {
        let site = self.site;
        self.each(&self.sql.salvage_records(back), [], |columns| {
            let name = columns.text()?.to_owned();
            if found.contains_key(&name) {
                return Err(Flaw::new("the names are out of order"));
            }
            let record =
                parts::record_value(&name, columns).map_err(|flaw| site.flaw("it", flaw).to_string());
            found.insert(name, record);
            Ok(())
        })
    }
}
