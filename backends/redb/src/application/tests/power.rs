//! Power losses of a queue in the application's database: what the one and the other has committed is there.

#[path = "../../../tests/power/disk.rs"]
mod disk;

use std::sync::Arc;

use disk::{Floating, disk_with, file_of};
use poolqueue_core::Store;
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::{self, Proof};
use poolqueue_testkit_fault::crash::{Image, Loss, Losses, without_syncs};
use poolqueue_testkit_fault::trace::Op;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::options;
use crate::RedbStore;

/// A table of the application's.
const ORDERS: TableDefinition<'_, u64, &str> = TableDefinition::new("orders");
/// Transactions of a life, those of the application's with them.
const COMMITS: u64 = 120;
/// Losses of one life.
const OF_A_LIFE: u64 = 5_000;

/// How many transactions of the queue's are committed, and how many orders.
type Moment = (u64, u64);

struct Recorded {
    life: Life,
    before: Image,
    ops: Vec<Op>,
    moments: Vec<Moment>,
}

fn open(file: &Floating) -> Database {
    Database::builder().set_cache_size(4 << 20).create_with_backend(file.clone()).unwrap()
}

fn order(db: &Database, number: u64) {
    let txn = db.begin_write().unwrap();
    txn.open_table(ORDERS).unwrap().insert(number, "tea").unwrap();
    txn.commit().unwrap();
}

fn lead(seed: u64) -> Recorded {
    let file = Floating::new(Image::default());
    let db = open(&file);
    order(&db, 0);
    db.close().unwrap();
    let before = file.image();
    let file = Floating::recorded(before.clone());
    let db = Arc::new(open(&file));
    let (mut life, mut moments) = (Life::new(seed), vec![(0, 1)]);
    let mut store = RedbStore::with_database(Arc::clone(&db), options()).unwrap();
    for number in 1..=COMMITS {
        let (commits, orders) = moments[moments.len() - 1];
        moments.push(if number % 4 == 0 {
            order(&db, number);
            (commits, orders + 1)
        } else {
            (life.go_on(&mut store).unwrap(), orders)
        });
        file.mark(number);
    }
    store.close().unwrap();
    Recorded { life, before, ops: file.take(), moments }
}

impl Recorded {
    fn losses<'a>(&self, ops: &'a [Op], wanted: u64) -> Losses<'a> {
        Losses::new(disk_with(self.before.clone()), ops, wanted, self.life.seed())
    }

    /// As after the transactions that were answered, `more` of them, or one more.
    fn check(&self, loss: &Loss, more: u64) -> Result<(), String> {
        let at = usize::try_from(loss.marks + more).unwrap();
        let allowed = self.moments.get(at..(at + 2).min(self.moments.len())).unwrap_or_default();
        let first = allowed.first().ok_or("there was no such transaction")?;
        let file = Floating::new(file_of(loss));
        let db = Database::builder().create_with_backend(file.clone()).map_err(|error| error.to_string())?;
        let db = Arc::new(db);
        let mut store =
            RedbStore::with_database(Arc::clone(&db), options()).map_err(|error| error.to_string())?;
        let held = self.life.check(&mut store, first.0);
        let orders = || -> Result<u64, redb::Error> { Ok(db.begin_read()?.open_table(ORDERS)?.len()?) };
        let orders = orders().map_err(|error| error.to_string());
        file.off();
        let found = (held.map_err(|error| format!("{loss}: {error}"))?, orders?);
        match allowed.contains(&found) {
            true => Ok(()),
            false => Err(format!("{loss}: transactions and orders are {found:?}, of {allowed:?}")),
        }
    }
}

#[test]
fn nothing_of_the_queue_s_or_the_application_s_is_lost_with_the_power() {
    let (seed, wanted) = (proof::seed(), proof::figure("R1_REDB_APPLICATION", 100));
    let mut tried = 0;
    while tried < wanted {
        let recorded = lead(seed.wrapping_add(tried));
        for loss in recorded.losses(&recorded.ops, (wanted - tried).min(OF_A_LIFE)) {
            let again = format!("POOLQUEUE_SEED={seed} POOLQUEUE_PROVE_R1_REDB_APPLICATION={wanted}");
            recorded.check(&loss, 0).unwrap_or_else(|error| panic!("{error} (again with {again})"));
            tried += 1;
        }
    }
    let recorded = lead(seed);
    let unsynced = without_syncs(&recorded.ops);
    let lost = recorded.losses(&unsynced, 1_000).any(|loss| recorded.check(&loss, 0).is_err());
    let behind = recorded.losses(&recorded.ops, 400).any(|loss| recorded.check(&loss, 1).is_err());
    let (what, caught) = ("power lost, redb of the application's", u64::from(lost) + u64::from(behind));
    Proof { row: "R1", what, tried, failed: 0, seed, planted: 2, caught }.print();
}
