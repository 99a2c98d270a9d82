//! What SQLite files hold.

use poolqueue_core::Store;
use poolqueue_sqlite::rusqlite::types::Value;
use poolqueue_sqlite::rusqlite::{Connection, params};
use poolqueue_sqlite::{SqliteOptions, SqliteStore, fuzz};

use super::Input;
use super::files::{Scratch, ask_everything};
use super::jobs::{NOW, fill, id};

thread_local! {
    static MEMORY: Connection = Connection::open_in_memory().expect("a database in memory");
    static SCRATCH: Scratch = Scratch::new(|path| {
        let mut made = SqliteStore::open(path, options()).expect("a new file");
        fill(&mut made);
        made.close().expect("it is closed");
    });
}

fn options() -> SqliteOptions {
    SqliteOptions::default().wal_grow_bytes(0).cache_bytes(1 << 20)
}

fn value(input: &mut Input<'_>) -> Value {
    match input.below(6) {
        0 => Value::Null,
        1 | 2 => Value::Integer(input.number() as i64),
        3 => Value::Real(f64::from_bits(input.number())),
        4 => Value::Text(input.text()),
        _ => Value::Blob(input.bytes().to_vec()),
    }
}

/// Any values as a row.
pub(super) fn records(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sort = input.below(fuzz::COLUMNS_OF.len());
    let values = (0..fuzz::COLUMNS_OF[sort]).map(|_| value(&mut input)).collect();
    MEMORY.with(|db| fuzz::decode_row(db, sort, values));
}

/// Any bytes as a file, a whole file with changes, or one with any values in its columns, sealed anew or not.
pub(super) fn stored_files(bytes: &[u8]) {
    SCRATCH.with(|scratch| {
        let (file, row) = scratch.drawn(bytes);
        scratch.with_file(&file, |path| {
            let reseal = row.is_some_and(|mut input| {
                let reseal = input.flag();
                plant(&Connection::open(&path).expect("it is whole"), &mut input);
                reseal
            });
            let Ok(mut store) = SqliteStore::open(path, options()) else { return };
            if reseal {
                let _ = store.reseal((1..=9).map(id), NOW);
            }
            ask_everything(&mut store);
        });
    });
}

/// Writes values into the columns of rows behind the store's back. What SQLite itself refuses is left out.
fn plant(db: &Connection, input: &mut Input<'_>) {
    let names = |statement: &str| -> Vec<String> {
        let mut statement = db.prepare(statement).expect("it is SQL");
        let names = statement.query_map([], |row| row.get(0)).expect("it can be read");
        names.map(|name| name.expect("it is a text")).collect()
    };
    db.pragma_update(None, "ignore_check_constraints", true).expect("it is a setting");
    let tables = names("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    while !input.is_empty() {
        let table = &tables[input.below(tables.len())];
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"));
        let column = &columns[input.below(columns.len())];
        let update = format!(
            "UPDATE {table} SET {column} = ?1 WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET ?2)"
        );
        let row = input.byte() % 8;
        let _ = db.execute(&update, params![value(input), row]);
    }
}
