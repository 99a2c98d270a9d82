//! What redb files hold.

use poolqueue_core::Store;
use poolqueue_redb::redb::{Database, TableDefinition};
use poolqueue_redb::{RedbOptions, RedbStore, fuzz};

use super::Input;
use super::files::{Scratch, ask_everything};
use super::jobs::{fill, id};

type Id = &'static [u8; 16];
type Bytes = &'static [u8];

thread_local! {
    static SCRATCH: Scratch = Scratch::new(|path| {
        let mut made = RedbStore::open(path, options()).expect("a new file");
        fill(&mut made);
        made.close().expect("it is closed");
    });
}

fn options() -> RedbOptions {
    RedbOptions::default().with_cache_bytes(1 << 20).with_preallocate_step(0)
}

/// Any bytes as a record.
pub(super) fn records(bytes: &[u8]) {
    fuzz::decode_row(bytes);
}

/// Any bytes as a file, a whole file with changes, or one with any row under a checksum that fits.
pub(super) fn stored_files(bytes: &[u8]) {
    SCRATCH.with(|scratch| {
        let (file, row) = scratch.drawn(bytes);
        scratch.with_file(&file, |path| {
            if let Some(mut input) = row {
                let db = Database::open(&path).expect("it is whole");
                plant(&db, &mut input);
            }
            if let Ok(mut store) = RedbStore::open(path, options()) {
                ask_everything(&mut store);
            }
        });
    });
}

/// Writes a row behind the store's back.
fn plant(db: &Database, input: &mut Input<'_>) {
    const JOBS: [(&str, u8); 4] =
        [("poolqueue_live", 1), ("poolqueue_done", 1), ("poolqueue_body", 2), ("poolqueue_outcome", 3)];
    const META: [&str; 5] = ["format", "sequence", "finals", "commits", "owner"];
    let txn = db.begin_write().expect("nobody else writes");
    let job = id(1 + input.byte() % 9);
    let key = job.as_bytes();
    let number = u32::from(input.byte() % 4);
    match input.below(7) {
        table @ 0..4 => {
            let (name, part) = JOBS[table];
            let number = if part == 3 { number } else { 0 };
            let row = fuzz::seal_row(part, key, number, input.rest());
            let mut table = txn.open_table(TableDefinition::<Id, Bytes>::new(name)).expect("it is there");
            table.insert(key, row.as_slice()).expect("there is room");
        }
        4 => {
            let row = fuzz::seal_row(4, key, number, input.rest());
            let name = TableDefinition::<(Id, u32), Bytes>::new("poolqueue_history");
            let mut table = txn.open_table(name).expect("it is there");
            table.insert((key, number), row.as_slice()).expect("there is room");
        }
        5 => {
            let name = META[input.below(META.len())];
            let row = fuzz::seal_row(5, name.as_bytes(), 0, input.rest());
            let mut table =
                txn.open_table(TableDefinition::<&str, Bytes>::new("poolqueue_meta")).expect("it is there");
            table.insert(name, row.as_slice()).expect("there is room");
        }
        _ => {
            let row = fuzz::seal_row(6, b"record", 0, input.rest());
            let name = TableDefinition::<&str, Bytes>::new("poolqueue_records");
            let mut table = txn.open_table(name).expect("it is there");
            table.insert("record", row.as_slice()).expect("there is room");
        }
    }
    txn.commit().expect("there is room");
}
