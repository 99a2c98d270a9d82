//! R1 under [`SyncPolicy::Interval`]: when the power is lost, the file opens and is what it was after one of its commits, and
//! none of those is missing that was synced.

#[path = "power/course.rs"]
mod course;
#[path = "power/disk.rs"]
mod disk;

use std::time::Duration;

use course::Course;
use disk::{Floating, Place, disk_with, file_of};
use poolqueue_core::{Attention, BackendError, ManualClock, Store, SyncPolicy, Timestamp};
use poolqueue_redb::{RedbOptions, RedbStore};
use poolqueue_testkit::power::{Life, mark, marked};
use poolqueue_testkit::proof::Proof;
use poolqueue_testkit_fault::crash::{Image, Loss, Losses, least, without_syncs};
use poolqueue_testkit_fault::trace::Op;

const INTERVAL: Duration = Duration::from_secs(1);
/// Transactions of a life.
const COMMITS: u64 = 200;
/// After so many the interval is over, with nothing asked; …
const NAPS_EVERY: u64 = 7;
/// … after so many while the next one is asked; …
const DUE_EVERY: u64 = 11;
/// … and after so many the store is closed and opened again, or reopened in place, in turn.
const REOPENED_EVERY: u64 = 45;

/// A life that was led under an interval, and what it did to the file.
struct Recorded {
    life: Life,
    before: Image,
    ops: Vec<Op>,
}

impl Recorded {
    fn new(place: &Place, seed: u64) -> Result<Self, String> {
        let text = |error: BackendError| format!("in life with seed {seed}: {error}");
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let options =
            RedbOptions::default().with_sync(SyncPolicy::Interval(INTERVAL)).with_clock(clock.clone());
        let (before, mut life) = (place.new_file(), Life::new(seed));
        let file = Floating::recorded(before.clone());
        let mut store = place.open_with(&file, options.clone()).map_err(text)?;
        let mut synced = 0;
        for number in 1..=COMMITS {
            if number % DUE_EVERY == 0 {
                clock.advance(INTERVAL);
                // The next commit is synced. Another one may follow it before there is something else than before.
                synced = number - 1;
            }
            let acknowledged = life.go_on(&mut store)?;
            file.mark(mark(synced, acknowledged));
            if number % NAPS_EVERY == 0 {
                clock.advance(INTERVAL);
                assert!(!store.stirred(Attention::default()), "seed {seed}: the sync fails");
            } else if number % (2 * REOPENED_EVERY) == 0 {
                store.close().map_err(text)?;
                store = place.open_with(&file, options.clone()).map_err(text)?;
            } else if number % REOPENED_EVERY == 0 {
                store.reopen().map_err(text)?;
            } else {
                continue;
            }
            synced = acknowledged;
            file.mark(mark(synced, acknowledged));
        }
        store.close().map_err(text)?;
        Ok(Recorded { life, before, ops: file.take() })
    }

    fn losses<'a>(&self, ops: &'a [Op], wanted: u64) -> Losses<'a> {
        Losses::new(disk_with(self.before.clone()), ops, wanted, self.life.seed())
    }
}

fn open<T>(
    place: &Place,
    loss: &Loss,
    check: impl FnOnce(&mut RedbStore) -> Result<T, String>,
) -> Result<T, String> {
    let file = Floating::new(file_of(loss));
    let checked = match place.open(&file) {
        Ok(mut store) => {
            let checked = check(&mut store);
            file.off();
            checked
        }
        Err(error) => Err(format!("it does not open: {error}")),
    };
    checked.map_err(|error| format!("{loss}: {error}"))
}

/// What is promised: a moment of this life, none before the last sync, and none that was not asked for yet. How many
/// acknowledged transactions are lost.
fn check(place: &Place, life: &Life, loss: &Loss) -> Result<u64, String> {
    let (synced, acknowledged) = marked(loss.marks);
    let held = open(place, loss, |store| life.check_up_to(store, synced, acknowledged + 1))?;
    Ok(acknowledged.saturating_sub(held))
}

/// What is promised where each commit is synced.
fn check_as_if_each_was_synced(place: &Place, life: &Life, loss: &Loss) -> Result<u64, String> {
    open(place, loss, |store| life.check(store, marked(loss.marks).1))
}

#[test]
fn of_what_was_acknowledged_only_the_end_since_the_last_sync_is_lost_with_the_power() {
    let course = Course::new("R1_REDB_INTERVAL", 400);
    let tried = course.run(|place, number, wanted| {
        let recorded = Recorded::new(place, course.seed_of(number))?;
        for loss in recorded.losses(&recorded.ops, wanted) {
            check(place, &recorded.life, &loss)?;
            course.held();
        }
        Ok(())
    });
    let (place, seed) = (Place::new(), course.seed);
    let recorded = Recorded::new(&place, seed).expect("a life can be led");
    let Recorded { life, ops, .. } = &recorded;
    let spoilt = without_syncs(ops);
    let caught = [
        ("a disk that never syncs", {
            // The last one loses all there is.
            let all = least(disk_with(recorded.before.clone()), &spoilt);
            recorded.losses(&spoilt, 300).chain([all]).any(|loss| check(&place, life, &loss).is_err())
        }),
        ("nothing acknowledged may be lost", {
            let mut losses = recorded.losses(ops, 300);
            losses.any(|loss| check_as_if_each_was_synced(&place, life, &loss).is_err())
        }),
    ];
    assert!(caught.iter().all(|(_, caught)| *caught), "seed {seed}: {caught:?}");
    let planted = caught.len() as u64;
    let what = "power lost, redb synced at an interval";
    Proof { row: "R1", what, tried, failed: 0, seed, planted, caught: planted }.print();
}
