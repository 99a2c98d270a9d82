//! Files of every version of a store's format, each with a text of what is in it: every program since opens them with all
//! their jobs.

use std::fs;
use std::path::{Path, PathBuf};

use poolqueue_core::{Reader, Snapshot, Store, Verdict};

use crate::described::described;
use crate::power::Life;
use crate::proof::Proof;

/// What the life in a fixture is drawn with, and how many transactions it has.
const LIFE: (u64, u64) = (15, 130);
const RECORDS: [&str; 3] = ["one", "two", "three"];

/// Leads the life of a fixture in a new store, and writes what is in it beside `fixture`.
///
/// # Panics
/// When the store fails.
pub fn fill<S: Store>(store: &mut S, fixture: &Path) {
    Life::new(LIFE.0).go_on_until(store, LIFE.1).expect("the store does what the model does");
    fs::write(fixture.with_extension("txt"), description(store)).expect("the text can be written");
}

/// The fixtures in a directory, by the extension of their files.
///
/// # Panics
/// When there is no such directory.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let files =
        fs::read_dir(directory).expect("there are fixtures").map(|entry| entry.expect("it is listed").path());
    files.filter(|path| path.extension() == Some(extension.as_ref())).collect()
}

/// Opens a copy of each fixture and compares it with its text, twice. The control is a store that lost a record.
///
/// # Panics
/// When one holds something else.
pub fn prove<S: Store>(files: &[PathBuf], open: fn(&Path) -> S, what: &'static str) {
    let jobs = files.iter().map(|file| check(file, open, |_| {}).unwrap_or_else(|error| panic!("{error}")));
    let tried = jobs.sum();
    let first = files.first().expect("there is a fixture");
    let lost = check(first, open, |store| {
        store
            .transact(&mut |txn| txn.put_record(RECORDS[0], None).map(|()| Verdict::Commit))
            .expect("it is written");
    });
    let caught = u64::from(lost.is_err());
    Proof { row: "R15", what, tried, failed: 0, seed: 0, planted: 1, caught }.print();
}

/// Opens a copy of a fixture, compares, changes what `change` does, and compares again after opening it anew. How many jobs
/// there are.
fn check<S: Store>(fixture: &Path, open: fn(&Path) -> S, change: impl FnOnce(&mut S)) -> Result<u64, String> {
    let expected = fs::read_to_string(fixture.with_extension("txt")).expect("it says what is in it");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs");
    fs::copy(fixture, &path).expect("it can be copied");
    let mut store = open(&path);
    if description(&store) != expected {
        return Err(format!("{}: it holds something else", fixture.display()));
    }
    change(&mut store);
    store.close().expect("it is closed");
    if description(&open(&path)) != expected {
        return Err(format!("{}: opened a second time it holds something else", fixture.display()));
    }
    Ok(expected.lines().filter(|line| line.starts_with("  payload: ")).count() as u64)
}

fn description<S: Store>(store: &S) -> String {
    let snapshot = store.reader().snapshot().expect("it can be read");
    snapshot.verify().expect("it is whole");
    described(&snapshot, &RECORDS).expect("it can be read")
}
