//! What the suite cannot do to a store: its file is cut, damaged, replaced, locked and outgrown.

use std::fs;
use std::path::{Path, PathBuf};

use own_store::LogStore;
use poolqueue_core::lifecycle::{Event, JobState, decide};
use poolqueue_core::{
    BackendError, BackendErrorKind, Filter, JobId, JobIds, Limits, NewJob, Reader, Snapshot, Store,
    Timestamp, Verdict,
};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.log");
    (folder, path)
}

fn add(store: &mut LogStore, payload: &[u8]) -> JobId {
    let id = JobIds::default().next(Timestamp::from_micros(1));
    let new = NewJob::new("kind", payload).into_insert(&Limits::default(), || id).unwrap();
    let insert = |txn: &mut dyn poolqueue_core::Txn| {
        let state = JobState::admit(&new.admission, txn.next_sequence()?, Timestamp::from_micros(1));
        txn.insert(&state, &new.body)?;
        Ok(Verdict::Commit)
    };
    store.transact(&mut { insert }).unwrap();
    id
}

fn cancel_and_delete(store: &mut LogStore, id: JobId) {
    let change = |txn: &mut dyn poolqueue_core::Txn| {
        let before = txn.load(id)?.unwrap();
        let step = decide(&before, &Event::Cancel, None, Timestamp::from_micros(2)).unwrap();
        txn.store(&step, None, 10)?;
        txn.delete(&step.after)?;
        Ok(Verdict::Commit)
    };
    store.transact(&mut { change }).unwrap();
}

fn jobs(store: &LogStore) -> u64 {
    let snapshot = store.reader().snapshot().unwrap();
    assert_eq!(snapshot.verify().unwrap().jobs, snapshot.count(&Filter::everything()).unwrap().total());
    snapshot.verify().unwrap().jobs
}

fn refusal(path: &Path) -> BackendError {
    let before = fs::read(path).unwrap();
    let Err(error) = LogStore::open(path) else { panic!("the log opened") };
    assert_eq!(fs::read(path).unwrap(), before, "a refused file is not changed");
    error
}

#[test]
fn log_cut_anywhere_holds_the_transactions_before_the_cut() {
    let (_folder, path) = place();
    let mut store = LogStore::open(&path).unwrap();
    let mut ends = vec![fs::metadata(&path).unwrap().len()];
    // The payloads hold whole frames: no cut may take one of them for a frame of the log.
    for _ in 0..3 {
        add(&mut store, &fs::read(&path).unwrap());
        ends.push(fs::metadata(&path).unwrap().len());
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    for cut in ends[0] as usize..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut store = LogStore::open(&path).unwrap();
        let expected = ends[1..].iter().filter(|end| **end <= cut as u64).count() as u64;
        assert_eq!(jobs(&store), expected, "cut at byte {cut}");
        if cut % 50 == 0 {
            add(&mut store, b"after the crash");
            drop(store);
            assert_eq!(jobs(&LogStore::open(&path).unwrap()), expected + 1);
        }
    }
}

#[test]
fn damaged_byte_of_a_closed_log_is_corrupted_wherever_it_is() {
    let (_folder, path) = place();
    let mut store = LogStore::open(&path).unwrap();
    add(&mut store, b"payload");
    add(&mut store, b"payload");
    let end = fs::metadata(&path).unwrap().len() as usize;
    store.close().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..end {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let expected = if at < 8 { BackendErrorKind::Invalid } else { BackendErrorKind::Corrupted };
        assert_eq!(refusal(&path).kind(), expected, "byte {at}");
    }
}

#[test]
fn file_of_another_program_and_of_a_newer_version_is_refused() {
    let (_folder, path) = place();
    for foreign in [&b""[..], b"POOLQ", b"SQLite format 3\0 and more"] {
        fs::write(&path, foreign).unwrap();
        assert_eq!(refusal(&path).kind(), BackendErrorKind::Invalid);
    }
    let mut newer = [&b"POOLQLOG"[..], &2u32.to_le_bytes()].concat();
    newer.extend(crc32fast::hash(&newer).to_le_bytes());
    fs::write(&path, newer).unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind(), BackendErrorKind::NewerFormat);
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn log_is_open_once() {
    let (folder, path) = place();
    let mut store = LogStore::open(&path).unwrap();
    let kind = |path: &Path| LogStore::open(path).err().map(|error| error.kind());
    assert_eq!(kind(&path), Some(BackendErrorKind::AlreadyOpen));
    assert_eq!(kind(&folder.path().join(".").join("jobs.log")), Some(BackendErrorKind::AlreadyOpen));
    store.reopen().unwrap();
    assert_eq!(kind(&path), Some(BackendErrorKind::AlreadyOpen));
    store.close().unwrap();
    assert_eq!(kind(&path), None);
}

#[test]
fn panic_and_rollback_leave_no_trace() {
    let (_folder, path) = place();
    let mut store = LogStore::open(&path).unwrap();
    let id = add(&mut store, b"");
    let length = fs::metadata(&path).unwrap().len();
    for end in [None, Some(Verdict::Rollback)] {
        let ended = store.transact(&mut |txn| {
            let state = txn.load(id)?.unwrap();
            txn.next_sequence()?;
            txn.delete(&state)?;
            txn.put_record("k", Some((1, b"v")))?;
            Ok(end.expect("a verdict"))
        });
        assert_eq!(ended.is_ok(), end.is_some());
        assert_eq!((jobs(&store), fs::metadata(&path).unwrap().len()), (1, length));
    }
}

#[test]
fn reopened_log_has_readers_and_rows_as_before() {
    let (_folder, path) = place();
    let mut store = LogStore::open(&path).unwrap();
    let id = add(&mut store, b"payload");
    let reader = store.reader();
    let before = reader.snapshot().unwrap().get(&[id]).unwrap();
    store.reopen().unwrap();
    add(&mut store, b"");
    assert_eq!(reader.snapshot().unwrap().get(&[id]).unwrap(), before);
    assert_eq!(jobs(&store), 2);
}

#[test]
fn log_that_is_mostly_past_is_written_anew_and_gives_no_sequence_twice() {
    let (_folder, path) = place();
    let mut store = LogStore::open(&path).unwrap();
    let kept = add(&mut store, b"kept");
    for _ in 0..300 {
        let id = add(&mut store, b"gone");
        cancel_and_delete(&mut store, id);
    }
    let long = fs::metadata(&path).unwrap().len();
    drop(store);
    let mut store = LogStore::open(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().len() * 10 < long);
    let next = add(&mut store, b"");
    let found = store.reader().snapshot().unwrap().get(&[kept, next]).unwrap();
    assert_eq!(found.iter().flatten().map(|job| job.sequence).collect::<Vec<_>>(), [1, 302]);
    assert_eq!(jobs(&store), 2);
}
