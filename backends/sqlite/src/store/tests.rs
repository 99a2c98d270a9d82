use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{
    Applied, BackendError, BackendErrorKind, Filter, JobId, Limits, NewJob, Reader, Snapshot, Store,
    Timestamp, Verdict,
};

use super::SqliteStore;
use crate::options::SqliteOptions;

fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn insert(store: &mut SqliteStore, number: u8, bytes: usize) -> Result<(), BackendError> {
    store.transact(&mut |txn| {
        let insert =
            NewJob::new("kind", vec![7; bytes]).id(id(number)).into_insert(&Limits::default(), || id(0))?;
        let state = JobState::admit(&insert.admission, txn.next_sequence()?, Timestamp::from_micros(0));
        txn.insert(&state, &insert.body)?;
        Ok(Verdict::Commit)
    })
}

fn open(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(directory.path().join("jobs.db"), SqliteOptions::default().wal_grow_bytes(0)).unwrap()
}

fn jobs(store: &SqliteStore) -> u64 {
    let snapshot = store.reader().snapshot().unwrap();
    let verified = snapshot.verify().unwrap();
    assert_eq!(verified.counts, snapshot.count(&Filter::everything()).unwrap());
    verified.jobs
}

#[test]
fn a_full_disk_changes_nothing_and_the_store_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory);
    insert(&mut store, 1, 10).unwrap();
    let set_most = |store: &SqliteStore, pages: i64| {
        let conn = store.conn.as_ref().unwrap();
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    set_most(&store, 1);
    let error = insert(&mut store, 2, 1 << 20).unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Full, Applied::No));
    assert_eq!(jobs(&store), 1);
    set_most(&store, 1 << 20);
    insert(&mut store, 2, 1 << 20).unwrap();
    assert_eq!(jobs(&store), 2);
}

#[test]
fn a_statement_that_fails_leaves_the_transaction_to_its_group() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory);
    let error = store.transact(&mut |txn| {
        let sequence = txn.next_sequence()?;
        let insert = NewJob::new("kind", b"").id(id(1)).into_insert(&Limits::default(), || id(0))?;
        let state = JobState::admit(&insert.admission, sequence, Timestamp::from_micros(0));
        txn.insert(&state, &insert.body)?;
        // The same id again: the statement fails, the transaction stands.
        let again = JobState { sequence: 9, ..state.clone() };
        let error = txn.insert(&again, &insert.body).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid);
        // The same sequence under another id is damage.
        let other = JobState { id: id(2), ..state };
        Err(txn.insert(&other, &insert.body).unwrap_err())
    });
    assert_eq!(error.unwrap_err().kind(), BackendErrorKind::Corrupted);
    assert_eq!(jobs(&store), 0);
    insert(&mut store, 1, 0).unwrap();
    assert_eq!(jobs(&store), 1);
}

/// After some errors SQLite rolls back on its own. What is written behind that must not be committed alone.
#[test]
fn nothing_is_written_after_the_transaction_ended_underneath() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let conn = store.conn.as_ref().unwrap();
    let mut memory = crate::memory::Memory::default();
    assert!(conn.is_autocommit());
    let mut txn = crate::txn::SqliteTxn::new(conn, &store.shared, &mut memory, None);
    let error = poolqueue_core::Txn::put_record(&mut txn, "record", Some((1, b"value"))).unwrap_err();
    assert!(error.to_string().contains("rolled back by an earlier error"), "{error}");
    assert_eq!(store.reader().snapshot().unwrap().record("record").unwrap(), None);
}
