//! Files that are not what was written: how they are made, and all that can be asked of them.

use std::fs;
use std::path::PathBuf;

use poolqueue_core::{
    BackendError, ClaimFilter, Detail, Filter, Limits, NewJob, Query, Reader, Snapshot, Store, Verdict,
};

use super::Input;
use super::jobs::{apply, claim, fail, id, insert};

/// Jobs of a page, and pages that are read at most: more than any of the files has.
const PAGE: usize = 3;
const PAGES: usize = 1_000;
/// The length of a block of a file that is changed or not.
const BLOCK: usize = 64;

/// A directory in memory, if there is one, and what a whole file looks like.
pub(super) struct Scratch {
    directory: tempfile::TempDir,
    whole: Vec<u8>,
    /// Where the whole file is not zero.
    used: Vec<usize>,
}

impl Scratch {
    /// `make` writes a whole file and closes it.
    pub(super) fn new(make: impl FnOnce(PathBuf)) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.expect("a directory for the files");
        make(directory.path().join("whole"));
        let whole = fs::read(directory.path().join("whole")).expect("the file was made");
        let used = whole.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        Scratch { used: used.map(|(n, _)| n * BLOCK).collect(), directory, whole }
    }

    /// Any bytes, the whole file with changes, or the whole file and what is to be put into its rows.
    pub(super) fn drawn<'a>(&self, bytes: &'a [u8]) -> (Vec<u8>, Option<Input<'a>>) {
        let mut input = Input::new(bytes);
        match input.below(3) {
            0 => (input.rest().to_vec(), None),
            1 => (self.patched(&mut input), None),
            _ => (self.whole.clone(), Some(input)),
        }
    }

    /// The whole file with a few places overwritten where it is not zero, and cut or extended.
    fn patched(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut bytes = self.whole.clone();
        if input.below(8) == 7 {
            let block = usize::from(u16::from_le_bytes([input.byte(), input.byte()]));
            bytes.resize(self.used[block % self.used.len()] + input.below(BLOCK), 0xff);
        }
        while !input.is_empty() {
            let block = usize::from(u16::from_le_bytes([input.byte(), input.byte()]));
            let at = self.used[block % self.used.len()] + input.below(BLOCK);
            let patch = input.bytes();
            for (to, from) in bytes.iter_mut().skip(at).zip(patch) {
                *to = *from;
            }
        }
        bytes
    }

    /// Hands a file of these bytes to `read`, and removes whatever is there then.
    pub(super) fn with_file(&self, bytes: &[u8], read: impl FnOnce(PathBuf)) {
        let place = self.directory.path().join("store");
        fs::create_dir(&place).expect("the last one was removed");
        fs::write(place.join("file"), bytes).expect("there is room");
        read(place.join("file"));
        fs::remove_dir_all(&place).expect("it is ours");
    }
}

/// Asks everything of a store that could be opened, and changes a little. Errors are right answers; what must not be is a
/// panic, or a list without an end.
pub(super) fn ask_everything(store: &mut impl Store) {
    let _ = read_everything(store);
    let _ = store.transact(&mut |txn| {
        txn.elsewhere()?;
        let _ = (txn.next_timer()?, txn.promote(super::jobs::NOW, 10)?, txn.expired(super::jobs::NOW, 10)?);
        for queue in txn.ready_queues(&ClaimFilter::default(), None, 10)? {
            for state in txn.ready(&queue, &ClaimFilter::default(), 10)? {
                let _ = txn.job(&state);
            }
        }
        Ok(Verdict::Rollback)
    });
    let _ = store.transact(&mut |txn| {
        let job = NewJob::new("kind", b"new").id(id(9)).into_insert(&Limits::default(), || id(9));
        insert(txn, &job.expect("it is fit"))?;
        for n in 1..=8 {
            let _ = apply(txn, id(n), &claim())? && apply(txn, id(n), &fail())?;
        }
        Ok(Verdict::Commit)
    });
    let _ = read_everything(store);
    let _ = store.close();
}

fn read_everything(store: &impl Store) -> Result<(), BackendError> {
    let snapshot = store.reader().snapshot()?;
    let _ = (
        snapshot.verify(),
        snapshot.count(&Filter::everything()),
        snapshot.held(),
        snapshot.record("record"),
    );
    for n in 1..=9 {
        let _ = (snapshot.get(&[id(n)]), snapshot.history(id(n)));
    }
    let mut after = None;
    for _ in 0..PAGES {
        let query = Query { filter: Filter::everything(), after, limit: PAGE, detail: Detail::Full };
        after = snapshot.select(&query)?.next;
        if after.is_none() {
            return Ok(());
        }
    }
    panic!("a list without an end");
}
