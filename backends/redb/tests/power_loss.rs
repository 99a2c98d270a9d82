//! Power losses: of what was written since the last sync, any part may be missing.
//!
//! R1: a life of the store is recorded (the file grows and shrinks, jobs are deleted, the store is closed and opened again in the
//! middle), and cut everywhere. R2: a store is opened after such a loss, repairs itself, goes on and is closed, which is
//! recorded too, and the power is lost again. The making of a new file is tried on real files, in
//! `crates/testkit-fault`.

#[path = "power/course.rs"]
mod course;
#[path = "power/disk.rs"]
mod disk;

use course::Course;
use disk::{Floating, Place, disk_with, file_of};
use poolqueue_core::Store;
use poolqueue_redb::RedbStore;
use poolqueue_testkit::power::Life;
use poolqueue_testkit::proof::Proof;
use poolqueue_testkit_fault::crash::{Image, Loss, Losses, least, without_syncs};
use poolqueue_testkit_fault::trace::Op;

/// Transactions of a life.
const COMMITS: u64 = 200;
/// After so many the store is closed and opened again, or reopened in place, in turn.
const REOPENED_EVERY: u64 = 30;
/// Second losses that are tried after each first one.
const SECOND: u64 = 80;

/// A life that was led, and what it did to the file.
struct Recorded {
    life: Life,
    before: Image,
    ops: Vec<Op>,
}

impl Recorded {
    fn new(place: &Place, seed: u64) -> Result<Self, String> {
        let text = |error: poolqueue_core::BackendError| format!("in life with seed {seed}: {error}");
        let (before, mut life) = (place.new_file(), Life::new(seed));
        let file = Floating::recorded(before.clone());
        let mut store = place.open(&file).map_err(text)?;
        for number in 1..=COMMITS {
            file.mark(life.go_on(&mut store)?);
            if number % (2 * REOPENED_EVERY) == 0 {
                store.close().map_err(text)?;
                store = place.open(&file).map_err(text)?;
            } else if number % REOPENED_EVERY == 0 {
                store.reopen().map_err(text)?;
            }
        }
        store.close().map_err(text)?;
        Ok(Recorded { life, before, ops: file.take() })
    }

    fn losses<'a>(&self, ops: &'a [Op], wanted: u64) -> Losses<'a> {
        Losses::new(disk_with(self.before.clone()), ops, wanted, self.life.seed())
    }
}

/// Opens what is left and checks it.
fn check(
    place: &Place,
    image: Image,
    check: impl FnOnce(&mut RedbStore) -> Result<u64, String>,
) -> Result<u64, String> {
    let file = Floating::new(image);
    let mut store = place.open(&file).map_err(|error| format!("it does not open: {error}"))?;
    let held = check(&mut store);
    file.off();
    held
}

fn check_loss(place: &Place, life: &Life, loss: &Loss) -> Result<u64, String> {
    check(place, file_of(loss), |store| life.check(store, loss.marks))
        .map_err(|error| format!("{loss}: {error}"))
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let course = Course::new("R1_REDB", 400);
    let tried = course.run(|place, number, wanted| {
        let recorded = Recorded::new(place, course.seed_of(number))?;
        for loss in recorded.losses(&recorded.ops, wanted) {
            check_loss(place, &recorded.life, &loss)?;
            course.held();
        }
        Ok(())
    });
    let place = Place::new();
    let recorded = Recorded::new(&place, course.seed).expect("a life can be led");
    let resized = recorded.ops.iter().filter(|op| matches!(op, Op::SetLen { .. })).count();
    assert!(resized > 2, "seed {}: the file changed its length {resized} times", course.seed);
    let caught = planted(&place, &recorded);
    let caught_in_all = caught.iter().filter(|(_, caught)| *caught).count() as u64;
    assert!(caught.iter().all(|(_, caught)| *caught), "seed {}: {caught:?}", course.seed);
    let (seed, planted) = (course.seed, caught.len() as u64);
    Proof { row: "R1", what: "power lost, redb", tried, failed: 0, seed, planted, caught: caught_in_all }
        .print();
}

/// Faults, and whether the check catches them.
fn planted(place: &Place, recorded: &Recorded) -> [(&'static str, bool); 5] {
    let Recorded { life, ops, .. } = recorded;
    let lost = |ops: &[Op]| recorded.losses(ops, 300).any(|loss| check_loss(place, life, &loss).is_err());
    // Just after an answer: all is synced, and nothing in flight.
    let answered = ops.iter().rposition(|op| matches!(op, Op::Mark(_))).expect("something was answered");
    let last = least(disk_with(recorded.before.clone()), &ops[..=answered]);
    let counted =
        |by: fn(u64) -> u64| check(place, file_of(&last), |store| life.check(store, by(last.marks)));
    [
        ("a disk that never syncs", lost(&without_syncs(ops))),
        ("a disk that leaves out one sync in ten", lost(&without_some_syncs(ops))),
        ("one more was acknowledged than there is", counted(|marks| marks + 1).is_err()),
        ("there is more than was ever in flight", counted(|marks| marks - 2).is_err()),
        ("a bit flipped in what was written last", {
            let mut image = file_of(&last);
            flip_in_last_page(&mut image, &ops[..answered]);
            check(place, image, |store| life.check(store, last.marks)).is_err()
        }),
    ]
}

fn without_some_syncs(ops: &[Op]) -> Vec<Op> {
    let mut syncs = 0u32;
    let kept = ops.iter().filter(|op| {
        syncs += u32::from(matches!(op, Op::Sync { .. }));
        !matches!(op, Op::Sync { .. }) || !syncs.is_multiple_of(10)
    });
    kept.cloned().collect()
}

/// In the page that the last commit wrote last, apart from the head of the file.
fn flip_in_last_page(image: &mut Image, ops: &[Op]) {
    let page = ops.iter().rev().find_map(|op| match op {
        Op::Write { offset, .. } if *offset > 0 => Some(*offset),
        _ => None,
    });
    assert!(image.flip(page.expect("a page was written"), 1), "the page is in the file");
}

#[test]
fn nothing_is_lost_when_the_power_goes_again_during_recovery() {
    let course = Course::new("R2_REDB", 400);
    let tried = course.run(|place, number, wanted| {
        let recorded = Recorded::new(place, course.seed_of(number))?;
        for loss in recorded.losses(&recorded.ops, wanted.div_ceil(SECOND)) {
            let again = Again::new(place, &recorded.life, &loss)?;
            for second in again.losses(&again.ops, SECOND, loss.cut as u64) {
                again
                    .check(place, &recorded.life, &second)
                    .map_err(|error| format!("{loss}, then {error}"))?;
                course.held();
            }
        }
        Ok(())
    });
    let place = Place::new();
    let recorded = Recorded::new(&place, course.seed).expect("a life can be led");
    let seed = course.seed;
    let loss = recorded.losses(&recorded.ops, 50).nth(25).expect("there are as many");
    let again = Again::new(&place, &recorded.life, &loss).expect("it opens");
    let lost = |ops: &[Op]| {
        again.losses(ops, SECOND, seed).any(|loss| again.check(&place, &recorded.life, &loss).is_err())
    };
    let mut other = Life::new(seed ^ 1);
    other.go_on_until(&mut poolqueue_core::memory::MemoryStore::new(), COMMITS).expect("a life can be led");
    let caught = [
        ("a disk that never syncs", lost(&without_syncs(&again.ops))),
        ("the life of another store", {
            again.losses(&again.ops, SECOND, seed).all(|loss| again.check(&place, &other, &loss).is_err())
        }),
    ];
    assert!(caught.iter().all(|(_, caught)| *caught), "seed {seed}: {caught:?}");
    let planted = caught.len() as u64;
    let what = "power lost again during recovery, redb";
    Proof { row: "R2", what, tried, failed: 0, seed, planted, caught: planted }.print();
}

/// A store that was opened after a power loss, did one transaction and was closed, recorded.
struct Again {
    before: Image,
    ops: Vec<Op>,
    /// How many transactions it held, …
    held: u64,
    /// … and after how many operations it began the next one.
    opened: usize,
}

impl Again {
    fn new(place: &Place, life: &Life, loss: &Loss) -> Result<Self, String> {
        let text = |error: poolqueue_core::BackendError| format!("{loss}: {error}");
        let before = file_of(loss);
        let file = Floating::recorded(before.clone());
        let mut store = place.open(&file).map_err(text)?;
        let held = life.check(&mut store, loss.marks).map_err(|error| format!("{loss}: {error}"))?;
        let opened = file.operations();
        if held < life.acknowledged() {
            file.mark(life.again(&mut store, held)?);
        }
        store.close().map_err(text)?;
        Ok(Again { before, ops: file.take(), held, opened })
    }

    fn losses<'a>(&self, ops: &'a [Op], wanted: u64, seed: u64) -> Losses<'a> {
        Losses::new(disk_with(self.before.clone()), ops, wanted, seed)
    }

    /// What was there after the first loss is there after the second: neither less nor, before the next transaction
    /// began, more.
    fn check(&self, place: &Place, life: &Life, loss: &Loss) -> Result<u64, String> {
        let acknowledged = loss.marks.max(self.held);
        let held = check(place, file_of(loss), |store| match loss.cut {
            cut if cut <= self.opened => life.check_exactly(store, acknowledged),
            _ => life.check(store, acknowledged),
        });
        held.map_err(|error| format!("{loss}: {error}"))
    }
}
