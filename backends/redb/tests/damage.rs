//! Damaged files: reported by name, never read wrongly, never changed unasked.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use poolqueue_core::{
    BackendError, BackendErrorKind, Detail, Filter, HistoryEntry, Job, JobId, Query, Reader, Snapshot, Store,
};
use poolqueue_redb::{RedbOptions, RedbStore};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use support::{Rig, claim, complete, fail, id, job, open};

type Id = &'static [u8; 16];
type Bytes = &'static [u8];
const LIVE: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_live");
const DONE: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_done");
const BODY: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_body");
const OUTCOME: TableDefinition<'_, Id, Bytes> = TableDefinition::new("poolqueue_outcome");
const HISTORY: TableDefinition<'_, (Id, u32), Bytes> = TableDefinition::new("poolqueue_history");
const UNIQUE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("poolqueue_unique");
const RECORDS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("poolqueue_records");
const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("poolqueue_meta");

/// Job 1 and 2 are done with an outcome, 3 waits after many failures, 4 and 5 are new.
fn filled() -> Rig {
    let mut rig = Rig::default();
    rig.insert((1..=5).map(|number| job(number).tag(format!("tag {number}"))), 0);
    rig.insert([job(6).unique("key")], 0);
    for number in [1, 2] {
        rig.apply(id(number), claim(), 1);
        rig.apply(id(number), complete(&format!("output {number}")), 2);
    }
    for now in 0..20 {
        rig.apply(id(3), claim(), now);
        rig.apply(id(3), fail("no luck"), now);
    }
    rig.run(|txn| txn.put_record("record", Some((1, b"value"))));
    rig.verify();
    rig
}

/// The same store after something changed its rows behind its back.
fn changed(change: impl FnOnce(&WriteTransaction)) -> Rig {
    let Rig { directory, store } = tampered(change);
    drop(store);
    let store = open(&directory.path().join("jobs.redb"));
    Rig { directory, store }
}

/// As [`changed`], closed.
fn tampered(change: impl FnOnce(&WriteTransaction)) -> Rig {
    let mut rig = filled();
    rig.store.close().unwrap();
    let db = Database::open(rig.path()).unwrap();
    let txn = db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
    db.close().unwrap();
    rig
}

fn flip(row: &[u8]) -> Vec<u8> {
    let mut row = row.to_vec();
    let last = row.len() - 1;
    row[last] ^= 1;
    row
}

/// Flips a bit in the row of a job.
fn damage(txn: &WriteTransaction, table: TableDefinition<'_, Id, Bytes>, number: u64) {
    let mut table = txn.open_table(table).unwrap();
    let row = flip(table.get(id(number).as_bytes()).unwrap().unwrap().value());
    table.insert(id(number).as_bytes(), row.as_slice()).unwrap();
}

fn swap(txn: &WriteTransaction, table: TableDefinition<'_, Id, Bytes>, one: u64, other: u64) {
    let mut table = txn.open_table(table).unwrap();
    let read = |number: u64| table.get(id(number).as_bytes()).unwrap().unwrap().value().to_vec();
    let (first, second) = (read(one), read(other));
    table.insert(id(one).as_bytes(), second.as_slice()).unwrap();
    table.insert(id(other).as_bytes(), first.as_slice()).unwrap();
}

#[track_caller]
fn check_corrupted<T: std::fmt::Debug>(result: Result<T, BackendError>, number: u64, part: &str) {
    let error = result.expect_err("it was accepted");
    let text = error.to_string();
    assert_eq!(error.kind(), BackendErrorKind::Corrupted, "{text}");
    assert!(text.contains(&id(number).to_string()), "{text:?} should name job {number}");
    assert!(text.contains(part), "{text:?} should name the {part}");
}

#[test]
fn a_damaged_unfinished_job_is_named_when_the_store_is_opened() {
    let rig = tampered(|txn| damage(txn, LIVE, 4));
    let error = RedbStore::open(rig.path(), RedbOptions::default());
    check_corrupted(error.map(|_| ()), 4, "state");
    let rig = tampered(|txn| {
        txn.open_table(LIVE).unwrap().insert(id(9).as_bytes(), b"garbage".as_slice()).unwrap();
    });
    check_corrupted(RedbStore::open(rig.path(), RedbOptions::default()).map(|_| ()), 9, "state");
}

#[test]
fn a_finished_job_among_the_unfinished_is_named() {
    let rig = tampered(|txn| {
        let row = txn.open_table(DONE).unwrap().remove(id(1).as_bytes()).unwrap().unwrap().value().to_vec();
        txn.open_table(LIVE).unwrap().insert(id(1).as_bytes(), row.as_slice()).unwrap();
    });
    check_corrupted(RedbStore::open(rig.path(), RedbOptions::default()).map(|_| ()), 1, "wrong table");
}

#[test]
fn damaged_and_exchanged_rows_are_named_and_the_others_still_read() {
    type Case = (&'static str, u64, fn(&WriteTransaction));
    let cases: [Case; 8] = [
        ("state", 1, |txn| damage(txn, DONE, 1)),
        ("state", 1, |txn| swap(txn, DONE, 1, 2)),
        ("body", 1, |txn| damage(txn, BODY, 1)),
        ("body", 1, |txn| swap(txn, BODY, 1, 4)),
        ("outcome", 1, |txn| damage(txn, OUTCOME, 1)),
        ("outcome", 1, |txn| swap(txn, OUTCOME, 1, 2)),
        ("outcome", 1, |txn| {
            txn.open_table(OUTCOME).unwrap().remove(id(1).as_bytes()).unwrap();
        }),
        ("body", 1, |txn| {
            txn.open_table(BODY).unwrap().remove(id(1).as_bytes()).unwrap();
        }),
    ];
    for (part, number, change) in cases {
        let rig = changed(change);
        check_corrupted(rig.snapshot().get(&[id(number)]), number, part);
        let health = rig.store.reader().health();
        assert!(health.damage.is_some_and(|text| text.contains(&id(number).to_string())));
        assert!(rig.get(id(3)).is_some() && rig.get(id(5)).is_some());
        let everything = Query { filter: Filter::everything(), after: None, limit: 99, detail: Detail::Full };
        check_corrupted(rig.snapshot().select(&everything), number, part);
        assert_eq!(rig.snapshot().verify().unwrap_err().kind(), BackendErrorKind::Corrupted);
    }
}

#[test]
fn a_damaged_or_missing_piece_of_history_is_named() {
    let cases: [fn(&WriteTransaction); 2] = [
        |txn| {
            txn.open_table(HISTORY).unwrap().remove((id(3).as_bytes(), 1)).unwrap();
        },
        |txn| {
            let mut table = txn.open_table(HISTORY).unwrap();
            let row = flip(table.get((id(3).as_bytes(), 1)).unwrap().unwrap().value());
            table.insert((id(3).as_bytes(), 1), row.as_slice()).unwrap();
        },
    ];
    for change in cases {
        let rig = changed(change);
        check_corrupted(rig.snapshot().history(id(3)), 3, "history");
        check_corrupted(rig.snapshot().verify(), 3, "history");
        assert_eq!(rig.history(id(1)).0.len(), 2);
    }
}

#[test]
fn what_does_not_go_together_is_found_by_verify() {
    const ORPHAN: &[u8] = b"orphan";
    type Case = (&'static str, fn(&WriteTransaction));
    let cases: Vec<Case> = vec![
        ("too many", (|txn| swap_in(txn, BODY, 77))),
        ("too many", (|txn| swap_in(txn, BODY, 0))),
        ("too many", (|txn| swap_in(txn, OUTCOME, 99))),
        (
            "history too much",
            (|txn| {
                txn.open_table(HISTORY).unwrap().insert((id(9).as_bytes(), 0), ORPHAN).unwrap();
            }),
        ),
        (
            "unique key",
            (|txn| {
                let mut table = txn.open_table(UNIQUE).unwrap();
                table.remove(b"default\0key".as_slice()).unwrap();
            }),
        ),
        (
            "the record",
            (|txn| {
                txn.open_table(RECORDS).unwrap().insert("record", b"garbage".as_slice()).unwrap();
            }),
        ),
        (
            "counters",
            (|txn| {
                txn.open_table(META).unwrap().remove("finals").unwrap();
            }),
        ),
        (
            "sequence",
            (|txn| {
                txn.open_table(META).unwrap().remove("sequence").unwrap();
            }),
        ),
        (
            "both as over and as not over",
            (|txn| {
                // A live row copied over the done table of another id would fail its checksum; this is the same id.
                let live = txn.open_table(LIVE).unwrap();
                let row = live.get(id(4).as_bytes()).unwrap().unwrap().value().to_vec();
                txn.open_table(DONE).unwrap().insert(id(4).as_bytes(), row.as_slice()).unwrap();
            }),
        ),
        (
            "its body is missing",
            (|txn| {
                txn.open_table(BODY).unwrap().remove(id(5).as_bytes()).unwrap();
            }),
        ),
    ];
    for (says, change) in cases {
        let rig = changed(change);
        let error = rig.snapshot().verify().unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Corrupted);
        assert!(error.to_string().contains(says), "{error} should say {says:?}");
    }
}

/// A row that belongs to no job.
fn swap_in(txn: &WriteTransaction, table: TableDefinition<'_, Id, Bytes>, number: u64) {
    txn.open_table(table).unwrap().insert(id(number).as_bytes(), b"orphan".as_slice()).unwrap();
}

/// Everything that can be read, or the first error.
fn read_all(path: &Path) -> Result<BTreeMap<JobId, (Job, Vec<HistoryEntry>)>, BackendError> {
    let store = RedbStore::open(path, RedbOptions::default())?;
    let snapshot = store.reader().snapshot()?;
    let everything = Query { filter: Filter::everything(), after: None, limit: 999, detail: Detail::Full };
    let mut all = BTreeMap::new();
    for job in snapshot.select(&everything)?.jobs {
        let history = snapshot.history(job.id)?.unwrap_or_default().0;
        all.insert(job.id, (job, history));
    }
    assert_eq!(snapshot.count(&Filter::everything())?.total(), all.len() as u64);
    Ok(all)
}

/// Files with flipped, zeroed and exchanged pieces: what is read is right, or it is an error and the file is as
/// it was.
#[test]
fn a_damaged_file_is_an_error_or_read_rightly() {
    let mut rig = filled();
    rig.insert((100..400).map(job), 50);
    rig.store.close().unwrap();
    let expected = read_all(&rig.path()).unwrap();
    let whole = fs::read(rig.path()).unwrap();
    // Pages that hold something: zeroes beyond are nobody's.
    let used: Vec<usize> =
        (0..whole.len() / 4096).filter(|page| whole[page * 4096..][..4096].iter().any(|b| *b != 0)).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let path = rig.directory.path().join("damaged.redb");
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..150 {
        let mut bytes = whole.clone();
        let at = used[random.usize(..used.len())] * 4096;
        match random.u8(..4) {
            0 => bytes[at + random.usize(..4096)] ^= 1 << random.u8(..8),
            1 => bytes[at..at + 4096].fill(0),
            2 => {
                let other = used[random.usize(..used.len())] * 4096;
                bytes.copy_within(other..other + 4096, at);
            }
            _ => random.fill(&mut bytes[at..at + 64]),
        }
        fs::write(&path, &bytes).unwrap();
        match read_all(&path) {
            Ok(read) => {
                assert_eq!(read, expected, "wrong data was returned");
                harmless += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error.kind(), BackendErrorKind::Corrupted | BackendErrorKind::Invalid),
                    "{error}"
                );
                assert_eq!(fs::read(&path).unwrap(), bytes, "the file was changed: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "only {refused} refused, {harmless} harmless: the damage misses what is used");
}

/// redb writes the header of a file that a crash left before it looks at the pages. A refused file was changed by that.
#[test]
fn a_damaged_file_that_a_crash_left_is_refused_and_stays_as_it_was() {
    let mut rig = filled();
    rig.insert((100..400).map(job), 50);
    let path = rig.directory.path().join("crashed.redb");
    let whole = fs::read(rig.path()).unwrap();
    let mut refused = 0;
    for page in (1..whole.len() / 4096).step_by(6) {
        let mut bytes = whole.clone();
        // Pages that two commits share: neither of them is whole.
        bytes[page * 4096..][..4096].fill(0);
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = read_all(&path) {
            assert_eq!(error.kind(), BackendErrorKind::Corrupted, "{error}");
            assert!(fs::read(&path).unwrap() == bytes, "page {page}: the file was changed: {error}");
            refused += 1;
        }
    }
    assert!(refused > 0, "no page matters");
}

/// A job that cannot be read keeps the store from being opened; the file is not even marked as in use by then.
#[test]
fn a_file_with_a_damaged_job_is_refused_and_stays_as_it_was() {
    let rig = tampered(|txn| damage(txn, LIVE, 4));
    let bytes = fs::read(rig.path()).unwrap();
    assert!(RedbStore::open(rig.path(), RedbOptions::default()).is_err());
    assert!(fs::read(rig.path()).unwrap() == bytes);
}
