//! R5: damaged files, many times over. The rule is that of `poolqueue_testkit::damage`.

use std::path::Path;

use poolqueue_core::BackendError;
use poolqueue_core::salvage::{Salvaged, refill};
use poolqueue_redb::{RedbOptions, RedbStore};
use poolqueue_testkit::damage::{Commits, Sample, Scratch, Subject, prove};

struct Redb;

fn options() -> RedbOptions {
    RedbOptions::default().with_preallocate_step(0)
}

impl Subject for Redb {
    type Store = RedbStore;
    const FILES: &'static [&'static str] = &[""];

    fn open(&self, path: &Path) -> Result<RedbStore, BackendError> {
        RedbStore::open(path, options())
    }

    fn salvage(&self, from: &Path, to: &Path) -> Result<Salvaged, BackendError> {
        RedbStore::create_filled(to, options(), |store| {
            refill(store, &mut |rescue| RedbStore::read_damaged(from, &options(), rescue))
        })
    }
}

/// After a crash, redb takes a commit of which a page is damaged for one that the crash cut short, and goes back to the
/// one before.
#[test]
fn a_damaged_file_is_read_rightly_or_refused_and_what_is_left_of_it_can_be_salvaged() {
    let scratch = Scratch::new();
    let samples =
        [Sample::closed(&Redb, scratch.path()), Sample::crashed(&Redb, scratch.path(), Commits::LastTwo)];
    prove(&Redb, &samples, "damaged files, redb", "R5_REDB", 100);
}
