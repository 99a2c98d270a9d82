//! A queue's file as a crash leaves it, and what is done to its tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use poolqueue::backend::{Backend, Batch, RecordPut};
use poolqueue::redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use poolqueue::{
    Backoff, Failure, History, Job, JobId, NewJob, PoolQueue, Query, RedbBackend, Select, SqliteBackend,
    rusqlite,
};

/// Jobs with their histories.
pub type Contents = BTreeMap<JobId, (Job, History)>;

/// A part of what is stored. Numbers are those of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    State(u64),
    Body(u64),
    Outcome(u64),
    /// The oldest piece.
    History(u64),
    UniqueKeys,
    Record(&'static str),
    /// The counters and the sequence.
    Figures,
    /// The format is one that nobody knows yet.
    Newer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Damaged,
    Missing,
}

pub struct Wreck {
    pub directory: tempfile::TempDir,
    pub kind: &'static str,
    pub path: PathBuf,
    /// What was in it.
    pub contents: Contents,
}

pub fn id(number: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

/// Everything in a queue.
pub async fn contents(queue: &PoolQueue) -> Contents {
    let mut contents = Contents::new();
    for job in queue.list(Query::new(Select::all()).limit(1_000)).await.unwrap().jobs {
        let history = queue.history(job.id).await.unwrap();
        contents.insert(job.id, (job, history));
    }
    contents
}

impl Wreck {
    /// Jobs 0 and 1 are completed, 2 waits after many failures, 3, 6 and 7 are new, 4 has a unique key, 5 is held.
    pub async fn new(kind: &'static str, name: &str) -> Self {
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, live) = (directory.path().join(name), other.path().join("live"));
        let contents = match kind {
            "redb" => fill(RedbBackend::open(&live).unwrap(), &live, &path).await,
            _ => fill(SqliteBackend::open(&live).unwrap(), &live, &path).await,
        };
        Wreck { directory, kind, path, contents }
    }

    pub fn location(&self) -> String {
        format!("{}:{}", self.kind, self.path.display())
    }

    /// The files and their bytes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let log = PathBuf::from(format!("{}-wal", self.path.display()));
        let present = [self.path.clone(), log].into_iter().filter(|path| path.exists());
        present.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// The same, closed, with so many more jobs.
    pub async fn many(self, count: u64) -> Self {
        let queue = PoolQueue::open(self.location()).await.unwrap();
        let job = |number: u64| NewJob::new("more", vec![1; 300]).id(id(number << 40));
        queue.enqueue_all((1..=count).map(job)).await.unwrap();
        queue.close().await.unwrap();
        self
    }

    /// The same after something changed it behind its back.
    pub fn harmed(self, part: Part, harm: Harm) -> Self {
        match self.kind {
            "redb" => harm_redb(&self.path, part, harm),
            _ => harm_sqlite(&self.path, part, harm),
        }
        self
    }
}

/// Fills a queue at `live`, and copies its files to `path` before it is closed.
async fn fill<B: Backend + Clone>(backend: B, live: &Path, path: &Path) -> Contents {
    let record = |key: &str| RecordPut { key: key.into(), expected: None, value: Some(key.into()) };
    let records = Batch { records: vec![record("one"), record("two")], ..Batch::default() };
    backend.commit(records).await.unwrap();
    let queue = PoolQueue::new(backend).await.unwrap();
    let job = |number: u64| {
        let job = NewJob::new("kind", format!("payload \u{fffd} {number}").into_bytes()).id(id(number));
        job.tag(format!("tag {number}")).meta("number", number.to_string()).priority(number as i16)
    };
    queue
        .enqueue_all((0..3).map(|number| job(number).backoff(Backoff::None).max_attempts(99)))
        .await
        .unwrap();
    let mut jobs = queue.stream("worker").capacity(1).open().await.unwrap();
    for number in 0..2 {
        let claimed = jobs.next().await.unwrap().unwrap().remove(0);
        queue.complete(&claimed, format!("output {number}")).await.unwrap();
    }
    for _ in 0..30 {
        let claimed = jobs.next().await.unwrap().unwrap().remove(0);
        queue.fail_retry(&claimed, Failure::new("no luck")).await.unwrap();
    }
    let claimed = jobs.next().await.unwrap().unwrap().remove(0);
    queue
        .fail_retry(&claimed, Failure::new("no luck at all").retry_after(Duration::from_secs(3_600)))
        .await
        .unwrap();
    queue.enqueue(job(5)).await.unwrap();
    let held = jobs.next().await.unwrap().unwrap();
    queue
        .enqueue_all([job(3), job(4).unique("key"), job(6), job(7).run_after(Duration::from_secs(60))])
        .await
        .unwrap();
    let contents = contents(&queue).await;
    fs::copy(live, path).unwrap();
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    if log(live).exists() {
        fs::copy(log(live), log(path)).unwrap();
    }
    drop((held, jobs));
    queue.close().await.unwrap();
    contents
}

/// A file of the same engine that is no queue's.
pub fn foreign(kind: &str, path: &Path) {
    if kind == "redb" {
        drop(Database::create(path).unwrap());
    } else {
        rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    }
}

type Id = &'static [u8; 16];
type Bytes = &'static [u8];

fn flip(row: &[u8]) -> Vec<u8> {
    let mut row = row.to_vec();
    *row.last_mut().unwrap() ^= 1;
    row
}

fn harm_redb(path: &Path, part: Part, harm: Harm) {
    let db = Database::open(path).unwrap();
    let of_job = |name: &'static str, number: u64| {
        let definition: TableDefinition<'_, Id, Bytes> = TableDefinition::new(name);
        let found =
            db.begin_read().unwrap().open_table(definition).unwrap().get(id(number).as_bytes()).unwrap();
        let Some(row) = found.map(|row| flip(row.value())) else { return false };
        let txn = db.begin_write().unwrap();
        let mut table = txn.open_table(definition).unwrap();
        match harm {
            Harm::Damaged => table.insert(id(number).as_bytes(), row.as_slice()).unwrap().is_some(),
            Harm::Missing => table.remove(id(number).as_bytes()).unwrap().is_some(),
        };
        drop(table);
        txn.commit().unwrap();
        true
    };
    let changed = match part {
        Part::State(number) => of_job("poolqueue_live", number) || of_job("poolqueue_done", number),
        Part::Body(number) => of_job("poolqueue_body", number),
        Part::Outcome(number) => of_job("poolqueue_outcome", number),
        Part::History(number) => {
            let txn = db.begin_write().unwrap();
            let definition: TableDefinition<'_, (Id, u32), Bytes> = TableDefinition::new("poolqueue_history");
            let mut table = txn.open_table(definition).unwrap();
            let job = id(number);
            let key = (job.as_bytes(), 1);
            let row = flip(table.get(key).unwrap().unwrap().value());
            match harm {
                Harm::Damaged => table.insert(key, row.as_slice()).unwrap().is_some(),
                Harm::Missing => table.remove(key).unwrap().is_some(),
            };
            drop(table);
            txn.commit().is_ok()
        }
        Part::UniqueKeys => all_of::<Bytes>(&db, "poolqueue_unique", |_| true, harm),
        Part::Record(key) => all_of::<&'static str>(&db, "poolqueue_records", |found| found == key, harm),
        Part::Figures => all_of::<&'static str>(&db, "poolqueue_meta", |found| found != "format", harm),
        Part::Newer => newer(&db),
    };
    assert!(changed, "{part:?} {harm:?}");
    db.close().unwrap();
}

/// Harms the rows of a table whose keys are `wanted`.
fn all_of<K: poolqueue::redb::Key + 'static>(
    db: &Database,
    name: &'static str,
    wanted: impl for<'a> Fn(K::SelfType<'a>) -> bool,
    harm: Harm,
) -> bool {
    let definition: TableDefinition<'_, K, Bytes> = TableDefinition::new(name);
    let txn = db.begin_write().unwrap();
    let mut table = txn.open_table(definition).unwrap();
    let mut rows = Vec::new();
    for row in table.iter().unwrap() {
        let (key, value) = row.unwrap();
        if wanted(key.value()) {
            rows.push((K::as_bytes(&key.value()).as_ref().to_vec(), flip(value.value())));
        }
    }
    for (key, row) in &rows {
        match harm {
            Harm::Damaged => drop(table.insert(K::from_bytes(key), row.as_slice()).unwrap()),
            Harm::Missing => drop(table.remove(K::from_bytes(key)).unwrap()),
        }
    }
    drop(table);
    txn.commit().unwrap();
    !rows.is_empty()
}

/// A row of a format that is not known yet: the checksum is over the same as ever.
fn newer(db: &Database) -> bool {
    let mut row = vec![99, 0, 0, 0, 0, 99];
    // The version, the part, the number, the length of the key, the key, the value.
    let mut sealed = vec![99, 5, 0, 0, 0, 0];
    sealed.extend(6_u64.to_le_bytes());
    sealed.extend(b"format\x63");
    row[1..5].copy_from_slice(&crc32(&sealed).to_le_bytes());
    let txn = db.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, Bytes> = TableDefinition::new("poolqueue_meta");
    txn.open_table(meta).unwrap().insert("format", row.as_slice()).unwrap();
    txn.commit().is_ok()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

fn harm_sqlite(path: &Path, part: Part, harm: Harm) {
    let of_job = "(SELECT sequence FROM poolqueue_jobs WHERE id = ?1)";
    let (damaged, missing, number) = match part {
        Part::State(number) => (
            "UPDATE poolqueue_jobs SET kind = 'other' WHERE id = ?1".into(),
            "DELETE FROM poolqueue_jobs WHERE id = ?1".into(),
            number,
        ),
        Part::Body(number) => (
            format!("UPDATE poolqueue_bodies SET payload = x'00' WHERE job = {of_job}"),
            format!("DELETE FROM poolqueue_bodies WHERE job = {of_job}"),
            number,
        ),
        Part::Outcome(number) => (
            format!("UPDATE poolqueue_outcomes SET seal = seal + 1 WHERE job = {of_job}"),
            format!("DELETE FROM poolqueue_outcomes WHERE job = {of_job}"),
            number,
        ),
        Part::History(number) => (
            format!("UPDATE poolqueue_history SET at = at + 1 WHERE job = {of_job} AND number = 7"),
            format!("DELETE FROM poolqueue_history WHERE job = {of_job} AND number = 7"),
            number,
        ),
        Part::UniqueKeys => (
            "UPDATE poolqueue_unique_keys SET seal = 0".into(),
            "DELETE FROM poolqueue_unique_keys".into(),
            0,
        ),
        Part::Record(key) => {
            (format!("UPDATE poolqueue_records SET seal = 0 WHERE name = '{key}'"), String::new(), 0)
        }
        Part::Figures => (
            "UPDATE poolqueue_counts SET jobs = 99".into(),
            "DELETE FROM poolqueue_meta WHERE name <> 'schema'".into(),
            0,
        ),
        Part::Newer => {
            ("UPDATE poolqueue_meta SET value = 99 WHERE name = 'schema'".into(), String::new(), 0)
        }
    };
    let statement: String = if harm == Harm::Damaged { damaged } else { missing };
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut prepared = conn.prepare(&statement).unwrap();
    let changed = match prepared.parameter_count() {
        0 => prepared.execute([]),
        _ => prepared.execute([id(number).as_bytes().as_slice()]),
    };
    assert!(changed.unwrap() > 0, "{statement}");
}
