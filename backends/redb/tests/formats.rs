//! Files of every format open with all their jobs, and a power loss within a step to the next leaves the old or the new.
//!
//! `fixtures/` has a file of each format, and beside it what is in it. A released one is never made anew;
//! `POOLQUEUE_BLESS=1` does that with the others.

#[path = "power/disk.rs"]
mod disk;
#[path = "support/sealed.rs"]
mod sealed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Floating, Place, disk_with, file_of};
use poolqueue_core::{Backend, Store};
use poolqueue_redb::{RedbBackend, RedbOptions, RedbStore};
use poolqueue_testkit::fixtures;
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::{self, Proof};
use poolqueue_testkit_fault::crash::{Image, Loss, Losses, without_syncs};
use poolqueue_testkit_fault::trace::Op;
use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};
use sealed::sealed;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("poolqueue_meta");
const INBOX: TableDefinition<'_, u64, ()> = TableDefinition::new("poolqueue_inbox");
/// A table of the application's.
const ORDERS: TableDefinition<'_, u64, &str> = TableDefinition::new("orders");

/// The format this version writes, until it is released.
const UNRELEASED: &str = "format-1";
/// Transactions before a step.
const COMMITS: u64 = 40;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn open(path: &Path) -> RedbStore {
    RedbStore::open(path, RedbOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn make_fixture() {
    let path = directory().join(UNRELEASED).with_extension("redb");
    let _ = std::fs::remove_file(&path);
    let mut store = open(&path);
    fixtures::fill(&mut store, &path);
    store.close().unwrap();
    let mut db = Database::open(&path).unwrap();
    while db.compact().unwrap() {}
    db.close().unwrap();
}

#[test]
fn files_of_every_format_open_with_all_their_jobs() {
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        make_fixture();
    }
    let files = fixtures::files(&directory(), "redb");
    fixtures::prove(&files, open, "jobs in files of every format, redb");
}

/// A step, recorded, and what of it may be left. It is marked with 1 when it is done.
struct Step {
    name: &'static str,
    before: Image,
    ops: Vec<Op>,
    check: fn(&Place, &Life, Image, bool) -> Result<(), String>,
}

impl Step {
    fn losses<'a>(&self, ops: &'a [Op], wanted: u64, seed: u64) -> Losses<'a> {
        Losses::new(disk_with(self.before.clone()), ops, wanted, seed)
    }

    fn check(&self, place: &Place, life: &Life, loss: &Loss) -> Result<(), String> {
        (self.check)(place, life, file_of(loss), loss.marks == 1)
            .map_err(|error| format!("{}: {loss}: {error}", self.name))
    }
}

#[test]
fn a_power_loss_within_a_step_leaves_the_old_format_or_the_new() {
    let (seed, wanted) = (proof::seed(), proof::figure("R15_REDB", 300));
    let (place, mut life) = (Place::new(), Life::new(seed));
    let file = Floating::new(place.new_file());
    let mut store = place.open(&file).unwrap();
    life.go_on_until(&mut store, COMMITS).unwrap();
    store.close().unwrap();
    let lived = file.image();
    let steps = [
        opened("a file of format 0", &place, of_format_0(&lived), check_format),
        opened("a file with notes that nobody read", &place, with_notes(&lived), check_notes),
        made_in_a_database(),
    ];
    let (mut tried, mut caught) = (0, 0);
    for step in &steps {
        for loss in step.losses(&step.ops, wanted.div_ceil(steps.len() as u64), seed) {
            let again = format!("(again with POOLQUEUE_SEED={seed} POOLQUEUE_PROVE_R15_REDB={wanted})");
            step.check(&place, &life, &loss).unwrap_or_else(|error| panic!("{error} {again}"));
            tried += 1;
        }
        let unsynced = without_syncs(&step.ops);
        let is_caught = |loss: Loss| step.check(&place, &life, &loss).is_err();
        caught += u64::from(step.losses(&unsynced, 200, seed).any(is_caught));
    }
    let halved = made_in_two_transactions();
    caught += u64::from(
        halved.losses(&halved.ops, 200, seed).any(|loss| halved.check(&place, &life, &loss).is_err()),
    );
    let (what, planted) = ("power lost within a step of the format, redb", steps.len() as u64 + 1);
    Proof { row: "R15", what, tried, failed: 0, seed, planted, caught }.print();
}

/// What is done to a file when the store is opened and closed.
fn opened(
    name: &'static str,
    place: &Place,
    before: Image,
    check: fn(&Place, &Life, Image, bool) -> Result<(), String>,
) -> Step {
    let file = Floating::recorded(before.clone());
    let mut store = place.open(&file).unwrap();
    file.mark(1);
    store.close().unwrap();
    Step { name, before, ops: file.take(), check }
}

/// Runs `call` on the database itself.
fn in_database(image: &Image, call: impl FnOnce(&Database)) -> Image {
    let file = Floating::new(image.clone());
    let db = database(&file).unwrap();
    call(&db);
    db.close().unwrap();
    file.image()
}

fn database(file: &Floating) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(4 << 20).create_with_backend(file.clone())
}

fn of_format_0(image: &Image) -> Image {
    in_database(image, |db| {
        let txn = db.begin_write().unwrap();
        txn.open_table(META).unwrap().insert("format", sealed(1, "format", &[0]).as_slice()).unwrap();
        txn.commit().unwrap();
    })
}

fn with_notes(image: &Image) -> Image {
    in_database(image, |db| {
        let txn = db.begin_write().unwrap();
        txn.open_table(INBOX).unwrap().insert(7, ()).unwrap();
        txn.commit().unwrap();
    })
}

/// The tables of a queue are made in a database that has others.
fn made_in_a_database() -> Step {
    recorded_in_a_database("tables made in the application's database", |db| {
        drop(RedbBackend::with_database(Arc::clone(db)).unwrap());
    })
}

/// The same done badly: a fault planted for the check to find.
fn made_in_two_transactions() -> Step {
    recorded_in_a_database("tables made in two transactions", |db| {
        let tables = [("poolqueue_live", "poolqueue_done"), ("poolqueue_body", "poolqueue_outcome")];
        for (one, other) in tables {
            let txn = db.begin_write().unwrap();
            txn.open_table(TableDefinition::<&[u8; 16], &[u8]>::new(one)).unwrap();
            txn.open_table(TableDefinition::<&[u8; 16], &[u8]>::new(other)).unwrap();
            txn.commit().unwrap();
        }
        drop(RedbBackend::with_database(Arc::clone(db)));
    })
}

fn recorded_in_a_database(name: &'static str, make: impl FnOnce(&Arc<Database>)) -> Step {
    let empty = Floating::new(Image::default());
    let db = database(&empty).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(ORDERS).unwrap().insert(1, "tea").unwrap();
    txn.commit().unwrap();
    db.close().unwrap();
    let before = empty.image();
    let file = Floating::recorded(before.clone());
    let db = Arc::new(database(&file).unwrap());
    make(&db);
    file.mark(1);
    Step { name, before, ops: file.take(), check: check_tables }
}

/// The tables there are, and the number of the format.
fn look(image: &Image) -> Result<(BTreeSet<String>, Option<u8>), redb::Error> {
    let db = database(&Floating::new(image.clone()))?;
    let txn = db.begin_read()?;
    let tables: BTreeSet<String> = txn.list_tables()?.map(|table| table.name().to_owned()).collect();
    let mut format = None;
    if tables.contains(META.name()) {
        format = txn.open_table(META)?.get("format")?.and_then(|row| row.value().last().copied());
    }
    Ok((tables, format))
}

fn check_life(place: &Place, life: &Life, image: Image) -> Result<(), String> {
    let file = Floating::new(image);
    let mut store = place.open(&file).map_err(|error| format!("it does not open: {error}"))?;
    life.check_exactly(&mut store, COMMITS).map(|_| ())
}

fn check_format(place: &Place, life: &Life, image: Image, done: bool) -> Result<(), String> {
    let (_, format) = look(&image).map_err(|error| error.to_string())?;
    match format {
        Some(1) => {}
        Some(0) if !done => {}
        other => return Err(format!("its format is {other:?}")),
    }
    check_life(place, life, image)
}

fn check_notes(place: &Place, life: &Life, image: Image, done: bool) -> Result<(), String> {
    let (tables, _) = look(&image).map_err(|error| error.to_string())?;
    if done && tables.contains(INBOX.name()) {
        return Err("the notes are back".to_owned());
    }
    check_life(place, life, image)
}

fn check_tables(_: &Place, _: &Life, image: Image, done: bool) -> Result<(), String> {
    let (tables, format) = look(&image).map_err(|error| error.to_string())?;
    let ours = tables.iter().filter(|table| table.starts_with("poolqueue_")).count();
    match (ours, format) {
        (0, None) if !done => {}
        (9, Some(1)) => {}
        _ => return Err(format!("there are {tables:?} of format {format:?}")),
    }
    let db = database(&Floating::new(image)).map_err(|error| error.to_string())?;
    let orders = || -> Result<bool, redb::Error> {
        let orders = db.begin_read()?.open_table(ORDERS)?;
        Ok(orders.get(1)?.is_some_and(|order| order.value() == "tea"))
    };
    if !orders().map_err(|error| error.to_string())? {
        return Err("the application's order is lost".to_owned());
    }
    let queue = RedbBackend::with_database(Arc::new(db)).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let verified = runtime.block_on(queue.verify()).map_err(|error| error.to_string())?;
    if verified.jobs == 0 { Ok(()) } else { Err(format!("{} jobs out of nothing", verified.jobs)) }
}
