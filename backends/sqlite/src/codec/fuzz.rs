//! The decoders without a file around them: what the fuzz targets of the test kit call. No part of the interface.

use poolqueue_core::JobId;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::{BodyRow, COLUMNS, EntryRow, Flaw, Names, OutcomeRow, StoredRow, unsealed};

/// The id that decoded parts of jobs get.
const ID: JobId = JobId::from_bytes([7; 16]);

/// The sorts of rows, and how many columns each has. The last one is the seal.
pub const COLUMNS_OF: [usize; 4] = [COLUMNS.len(), 5, 6, 9];

/// Decodes `values` as a row of a sort: as they are, and under the seal that fits. Says whether it is one then.
///
/// # Panics
/// When what was decoded is written as something else.
pub fn decode_row(db: &Connection, sort: usize, mut values: Vec<Value>) -> bool {
    let columns = COLUMNS_OF.get(sort).copied().unwrap_or_default();
    values.resize(columns, Value::Null);
    let _ = with_row(db, sort, &values, |row| decode(sort, row));
    let Ok(seal) = with_row(db, sort, &values, |row| fitting_seal(sort, row)) else { return false };
    if let Some(last) = values.last_mut() {
        *last = Value::Integer(seal);
    }
    with_row(db, sort, &values, |row| decode(sort, row)).is_ok()
}

/// Reads `values` as SQLite hands them out.
fn with_row<T>(
    db: &Connection,
    sort: usize,
    values: &[Value],
    read: impl FnOnce(&Row<'_>) -> Result<T, Flaw>,
) -> Result<T, Flaw> {
    let column = |n: usize| match (sort, COLUMNS.get(n)) {
        (0, Some(name)) => format!("?{} AS {name}", n + 1),
        _ => format!("?{}", n + 1),
    };
    let columns: Vec<String> = (0..values.len()).map(column).collect();
    let failed = |error: rusqlite::Error| Flaw::new(error.to_string());
    let mut statement = db.prepare_cached(&format!("SELECT {}", columns.join(", "))).map_err(failed)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(failed)?;
    read(rows.next().map_err(failed)?.ok_or_else(|| Flaw::new("there is no row"))?)
}

fn decode(sort: usize, row: &Row<'_>) -> Result<(), Flaw> {
    let mut names = Names::default();
    match sort {
        0 => {
            let read = StoredRow::read(row)?;
            let _ = (unsealed::job_columns(row), read.checked(&mut names));
            let stored = read.stored(&mut names)?;
            let written = StoredRow::of(&stored.state, stored.extra)?;
            let again = written.unsealed(&mut names)?;
            assert_eq!(again, stored, "the state was written as something else");
        }
        1 => {
            let body = BodyRow::read(ID, row)?;
            BodyRow::of(ID, &body)?;
        }
        2 => {
            let (attempt, _) = unsealed::outcome(ID, row)?;
            OutcomeRow::read(ID, attempt, row)?.seal(ID);
        }
        _ => {
            let (number, _, _) = unsealed::entry(ID, row)?;
            EntryRow::read(ID, number, row, &mut names)?;
        }
    }
    Ok(())
}

fn fitting_seal(sort: usize, row: &Row<'_>) -> Result<i64, Flaw> {
    Ok(match sort {
        0 => StoredRow::read(row)?.checksum(),
        1 => unsealed::body(ID, row)?.seal,
        2 => unsealed::outcome(ID, row)?.1.seal,
        _ => unsealed::entry(ID, row)?.2.seal,
    })
}
