//! The model test on the store in memory itself, and on stores with planted faults, each of which it has to catch in few
//! actions. R6: the model test at the figures of the scoreboard.

mod stores;

use poolqueue::backend::lifecycle::{next, sources};
use poolqueue::{EventKind, Status};
use poolqueue_testkit::model::{FAULTS, FaultyFixture};
use poolqueue_testkit::{Behind, Fixture, MemoryFixture, model, model_test, proof};

/// Steps in a debug build.
const FEW: u64 = 10_000;

/// Whatever is planted is found, in a sequence that was made short.
fn catches<const FAULT: usize>() {
    let fault = FAULTS[FAULT];
    match model::compare::<FaultyFixture<MemoryFixture, FAULT>>(200, 60) {
        Ok(tried) => panic!("{fault:?} was not caught: {tried}"),
        Err(difference) => {
            let actions = difference.actions.len();
            println!("{fault:?} was caught by {actions} actions: {difference}");
            assert!(actions <= 20, "{fault:?} takes {actions} actions to show");
        }
    }
}

#[test]
fn a_lost_output_is_caught() {
    catches::<0>();
}

#[test]
fn an_ignored_fence_is_caught() {
    catches::<1>();
}

#[test]
fn claims_in_the_wrong_order_are_caught() {
    catches::<2>();
}

#[test]
fn an_ignored_all_or_nothing_is_caught() {
    catches::<3>();
}

#[test]
fn an_ignored_record_version_is_caught() {
    catches::<4>();
}

#[test]
fn an_ignored_guard_is_caught() {
    catches::<5>();
}

#[test]
fn a_deletion_that_is_not_made_is_caught() {
    catches::<6>();
}

#[test]
fn a_missing_history_entry_is_caught() {
    catches::<7>();
}

#[test]
fn a_store_that_forgets_at_its_close_is_caught() {
    catches::<8>();
}

/// What is never drawn is never compared.
#[test]
fn random_batches_make_every_step_of_the_life_cycle() {
    let tried = model::compare::<MemoryFixture>(150, 200).unwrap_or_else(|difference| panic!("{difference}"));
    let mut missing = Vec::new();
    for from in Status::ALL {
        for event in EventKind::ALL {
            let allowed = match from {
                Status::Paused => sources(*event).contains(Status::Paused),
                from => next(*from, *event).is_some(),
            };
            // Cancelling and pausing again change nothing, so nobody hears of it.
            let repeats = matches!(
                (from, event),
                (Status::Cancelling, EventKind::Cancel) | (Status::Paused, EventKind::Pause)
            );
            if allowed && !repeats && !tried.transitions.contains(&(*from, *event)) {
                missing.push((*from, *event));
            }
        }
    }
    assert_eq!(missing, [], "{tried}");
}

model_test!(Behind<MemoryFixture>, 120, 200);

fn does_the_same<F: Fixture>(name: &str, what: &'static str) {
    model::prove::<F>(what, proof::figure(name, FEW), proof::seed()).print();
}

#[cfg(feature = "redb")]
#[test]
fn random_batches_do_the_same_in_redb_as_in_memory() {
    does_the_same::<stores::RedbFixture>("R6_REDB", "steps compared with the model, redb");
}

#[cfg(feature = "sqlite")]
#[test]
fn random_batches_do_the_same_in_sqlite_as_in_memory() {
    does_the_same::<stores::SqliteFixture>("R6_SQLITE", "steps compared with the model, SQLite");
}
