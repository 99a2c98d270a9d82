//! Power losses: of what was written since the last sync, any part may be missing.

mod support;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use poolqueue_core::{Reader, Snapshot, Status, Store};
use poolqueue_redb::storage::Storage;
use poolqueue_redb::{RedbOptions, RedbStore};
use support::{Rig, apply, claim, complete, id, insert, job};

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
    /// The test was told that these jobs have these statuses.
    Acknowledged(u64, Status),
}

type Log = Arc<Mutex<Vec<Op>>>;

#[derive(Debug)]
struct Recording(Box<dyn Storage>, Log);

impl Recording {
    fn record(&self, op: Op) {
        self.1.lock().unwrap().push(op);
    }
}

impl Storage for Recording {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.record(Op::SetLen(len));
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()?;
        self.record(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.record(Op::Write(offset, data.to_vec()));
        self.0.write(offset, data)
    }
}

fn write(image: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

fn apply_op(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => write(image, *offset, data),
        Op::SetLen(len) => image.resize(usize::try_from(*len).unwrap(), 0),
        Op::Sync | Op::Acknowledged(..) => {}
    }
}

/// The file after a power loss just after `ops`: everything up to the last sync, and of the rest what the dice say,
/// single writes torn.
fn lose(base: &[u8], ops: &[Op], random: &mut fastrand::Rng) -> Vec<u8> {
    let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |at| at + 1);
    let mut image = base.to_vec();
    ops[..synced].iter().for_each(|op| apply_op(&mut image, op));
    let keep = random.u8(..=4);
    for op in &ops[synced..] {
        if random.u8(..4) >= keep {
            continue;
        }
        match op {
            Op::Write(offset, data) if data.len() > 512 && random.u8(..4) == 0 => {
                let cut = random.usize(..data.len() / 512) * 512;
                write(&mut image, *offset, &data[..cut]);
            }
            other => apply_op(&mut image, other),
        }
    }
    image
}

fn rank(status: Status) -> u8 {
    match status {
        Status::InitialPending => 0,
        Status::Running => 1,
        _ => 2,
    }
}

/// What the store does in its life: enough for the file to grow several times.
fn live(rig: &mut Rig, log: &Log) {
    let told = |number, status| log.lock().unwrap().push(Op::Acknowledged(number, status));
    for number in 1..=60 {
        let jobs: Vec<_> = (0..3).map(|n| job(number * 10 + n).meta("fill", "x".repeat(15_000))).collect();
        rig.run(|txn| jobs.iter().try_for_each(|job| insert(txn, job.clone(), 0).map(|_| ())));
        (0..3).for_each(|n| told(number * 10 + n, Status::InitialPending));
        rig.run(|txn| apply(txn, id(number * 10), &claim(), 1));
        told(number * 10, Status::Running);
        rig.run(|txn| apply(txn, id(number * 10), &complete("done"), 2));
        told(number * 10, Status::Completed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let mut rig = Rig::default();
    let path = rig.path();
    rig.store.close().unwrap();
    let base = fs::read(&path).unwrap();
    let log = Log::default();
    let own = Arc::clone(&log);
    let wrap = move |_: &Path, inner| -> Box<dyn Storage> { Box::new(Recording(inner, Arc::clone(&own))) };
    let options = RedbOptions::default().with_preallocate_step(1 << 20).with_storage_wrap(Arc::new(wrap));
    rig.store = RedbStore::open(&path, options).unwrap();
    live(&mut rig, &log);
    let ops = log.lock().unwrap().clone();
    let resized: Vec<usize> = (0..ops.len()).filter(|at| matches!(ops[*at], Op::SetLen(_))).collect();
    assert!(resized.len() > 1, "the file never grew");
    let mut random = fastrand::Rng::with_seed(5);
    let lost = rig.directory.path().join("lost.redb");
    for round in 0..120 {
        // Every other time while the file changes its length, which it seldom does.
        let end = match round % 2 {
            0 => random.usize(..ops.len()),
            _ => (resized[random.usize(..resized.len())] + random.usize(..6)).min(ops.len()),
        };
        fs::write(&lost, lose(&base, &ops[..end], &mut random)).unwrap();
        let store = RedbStore::open(&lost, RedbOptions::default())
            .unwrap_or_else(|error| panic!("round {round}, after {end} operations: {error}"));
        let snapshot = store.reader().snapshot().unwrap();
        snapshot.verify().unwrap();
        for op in &ops[..end] {
            let Op::Acknowledged(number, status) = op else { continue };
            let found = snapshot.get(&[id(*number)]).unwrap().remove(0);
            let found = found.unwrap_or_else(|| panic!("round {round}: job {number} was lost"));
            assert!(rank(found.status) >= rank(*status), "round {round}: job {number} went back");
        }
    }
}
