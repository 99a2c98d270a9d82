//! What a queue really does to its files, for queues that keep their connection to themselves.
//!
//! A setting says what was asked for. Whether an acknowledged job survives a loss of power is decided by the syncs
//! that were made before the answer, and those can be counted from outside.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use bench_compare::{Contender, Res, payload};
use poolqueue_testkit_fault::Recording;
use poolqueue_testkit_fault::trace::Op;

/// How many jobs are enqueued while syncs are counted.
const JOBS: u64 = 32;
/// The first bytes of an SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What can be said of a queue's durability: its `settings`, and whether an enqueue waits for syncs, as in
/// `WAL, synchronous=FULL; 1.0 syncs before each answer`.
///
/// The jobs are enqueued one at a time into a second store of the same mode. It is made in a directory of its own,
/// named after `store` and beside it, which is removed.
///
/// # Errors
/// What the queue or the system says.
pub async fn durability<C: Contender>(settings: &str, store: &Path, mode: &str) -> Res<String> {
    let directory = Scratch::beside(store)?;
    let recording = Recording::start(&directory.0)?;
    let observed = C::open(&directory.0, mode).await?;
    // The first one may still be setting things up.
    for number in 0..=JOBS {
        observed.enqueue(payload(number)).await?;
        recording.mark(number);
    }
    let syncs = syncs_before_answers(&recording.finish());
    observed.close().await?;
    Ok(format!("{settings}; {}", said_of(&syncs)))
}

/// The same words for the same behaviour, even where it is by chance which of the answers come after a sync.
fn said_of(syncs: &[usize]) -> String {
    match syncs.iter().filter(|count| **count > 0).count() {
        0 => "no sync before an answer".to_owned(),
        synced if synced < syncs.len() => "syncs before some answers".to_owned(),
        synced => {
            let each = syncs.iter().sum::<usize>() as f64 / synced as f64;
            format!("{each:.1} syncs before each answer")
        }
    }
}

/// How many syncs there were before each answer, that is between two marks. What precedes the first mark and what
/// follows the last is left out.
fn syncs_before_answers(ops: &[Op]) -> Vec<usize> {
    let is_sync = |op: &&Op| matches!(op, Op::Sync { .. } | Op::SyncDirectory { .. });
    let between: Vec<&[Op]> = ops.split(|op| matches!(op, Op::Mark(_))).collect();
    let answers = between.get(1..between.len() - 1).unwrap_or_default();
    answers.iter().map(|ops| ops.iter().filter(is_sync).count()).collect()
}

/// The journal mode of the SQLite file, as its header says: what every connection to it uses.
///
/// # Errors
/// The file cannot be read, or is not an SQLite file.
pub fn journal(file: &Path) -> Res<&'static str> {
    // The version of the format to write stands behind the magic bytes and the two of the page size.
    let mut header = [0; MAGIC.len() + 3];
    File::open(file)?.read_exact(&mut header)?;
    match (header.starts_with(MAGIC), header[MAGIC.len() + 2]) {
        (true, 1) => Ok("rollback journal"),
        (true, 2) => Ok("WAL"),
        _ => Err(format!("{} is not an SQLite file", file.display()).into()),
    }
}

/// A connection's answers to `PRAGMA journal_mode` and `PRAGMA synchronous`, as in `WAL, synchronous=FULL`.
pub fn settings(journal: &str, synchronous: i64) -> String {
    let synchronous = match synchronous {
        0 => "OFF".to_owned(),
        1 => "NORMAL".to_owned(),
        2 => "FULL".to_owned(),
        3 => "EXTRA".to_owned(),
        other => other.to_string(),
    };
    format!("{}, synchronous={synchronous}", journal.to_uppercase())
}

/// A directory that is removed with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(store: &Path) -> Res<Self> {
        let mut name = store.as_os_str().to_owned();
        name.push(".observed");
        let path = PathBuf::from(name);
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the directory of the measurements, which is removed as a whole.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use poolqueue_testkit_fault::trace::FileId;

    use super::*;

    #[test]
    fn syncs_are_counted_between_the_marks_and_nowhere_else() {
        let sync = || Op::Sync { file: FileId(0) };
        let directory = Op::SyncDirectory { path: PathBuf::new() };
        let ops = [sync(), Op::Mark(0), sync(), directory, Op::Mark(1), Op::Mark(2), sync()];
        assert_eq!(syncs_before_answers(&ops), [2, 0]);
        assert!(syncs_before_answers(&[]).is_empty());
    }

    #[test]
    fn a_queue_that_syncs_now_and_then_is_not_said_to_sync() {
        for (syncs, expected) in [
            (&[3, 3, 4, 2][..], "3.0 syncs before each answer"),
            (&[1, 0, 1], "syncs before some answers"),
            (&[0, 0], "no sync before an answer"),
        ] {
            assert_eq!(said_of(syncs), expected);
        }
    }
}
