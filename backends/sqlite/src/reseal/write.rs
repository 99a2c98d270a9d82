//! Writing a job as it was accepted.

use poolqueue_core::BackendError;
use rusqlite::params;
use rusqlite::types::Value as Stored;
use serde_json::{Map, Value, json};

use crate::codec::unsealed::Sealing;
use crate::codec::{COLUMNS, Flaw, StoredRow, stored_u64};

use super::job::Plan;
use super::{Place, beside};

/// Writes the rows that change, and a line that says which did not fit.
pub(super) fn write(place: &Place<'_>, plan: &Plan) -> Result<(), BackendError> {
    let id = plan.after.state.id;
    let flawed = |flaw: Flaw| place.site.flaw(format_args!("the state of job {id}"), flaw);
    let job = stored_u64(plan.after.state.sequence).map_err(flawed)?;
    let mut what = Map::new();
    if plan.write_job {
        let before = columns(place, job)?;
        let row = StoredRow::of(&plan.after.state, plan.after.extra).map_err(flawed)?;
        // All columns: tags and the backoff are written in the one form they have.
        let sql = place.sql.insert_job.replacen("INSERT", "INSERT OR REPLACE", 1);
        let written = place.conn.prepare_cached(&sql).and_then(|mut statement| row.insert(&mut statement));
        written.map_err(|error| place.engine(error))?;
        let set = differences(&before, &columns(place, job)?);
        if !plan.job_fits {
            what.insert("jobs".to_owned(), json!(true));
        }
        if !set.is_empty() {
            what.insert("set".to_owned(), set.into());
        }
    }
    let unfit = |sealing: Option<Sealing>| sealing.filter(|sealing| !sealing.fits);
    for (table, sealing) in [("bodies", unfit(Some(plan.body))), ("outcomes", unfit(plan.outcome))] {
        let Some(sealing) = sealing else { continue };
        place.execute(&format!("UPDATE {{p}}{table} SET seal = ?2 WHERE job = ?1"), [job, sealing.seal])?;
        what.insert(table.to_owned(), json!(true));
    }
    for (number, sealing) in &plan.entries {
        let number = stored_u64(*number).map_err(flawed)?;
        let sql = "UPDATE {p}history SET seal = ?3 WHERE job = ?1 AND number = ?2";
        place.execute(sql, params![job, number, sealing.seal])?;
    }
    if !plan.entries.is_empty() {
        let numbers: Vec<u64> = plan.entries.iter().map(|(number, _)| *number).collect();
        what.insert("history".to_owned(), json!(numbers));
    }
    beside::write(place, &plan.after.state, &plan.beside)?;
    for (table, changed) in [("unique_keys", plan.beside.of_key()), ("ready_tags", plan.beside.of_tags())] {
        if changed {
            what.insert(table.to_owned(), json!(true));
        }
    }
    if let Some(owner) = plan.owner {
        place.execute(&place.sql.touch, params![owner, id.as_bytes().as_slice()])?;
    }
    place.audit(Some(id), what)
}

/// The row of a job as SQLite has it.
fn columns(place: &Place<'_>, job: i64) -> Result<Vec<Stored>, BackendError> {
    let sql = format!("SELECT {} FROM {{p}}jobs WHERE sequence = ?1", COLUMNS.join(", "));
    let row = |row: &rusqlite::Row<'_>| (0..COLUMNS.len()).map(|at| row.get(at)).collect();
    place
        .conn
        .prepare_cached(&place.filled(&sql))
        .and_then(|mut statement| statement.query_row([job], row))
        .map_err(|error| place.engine(error))
}

/// The columns that were set, each with what it was and is. The seal is not worth a word.
fn differences(before: &[Stored], after: &[Stored]) -> Map<String, Value> {
    let named = COLUMNS.iter().zip(before.iter().zip(after)).filter(|(column, _)| **column != "seal");
    named
        .filter(|(_, (before, after))| before != after)
        .map(|(column, (before, after))| ((*column).to_owned(), json!([plain(before), plain(after)])))
        .collect()
}

fn plain(value: &Stored) -> Value {
    match value {
        Stored::Integer(number) => json!(number),
        Stored::Text(text) => json!(text),
        // No column that can be set holds anything else.
        _ => Value::Null,
    }
}
