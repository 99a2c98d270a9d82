//! What is done to files is seen, whoever does it: the trace leads to the files that are there.
#![cfg(target_os = "linux")]

mod support;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use poolqueue_core::{NewJob, Store, Verdict};
use poolqueue_redb::{RedbOptions, RedbStore};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};
use poolqueue_testkit_fault::trace::{FileId, Op};
use poolqueue_testkit_fault::{Failure, Faults, Operation, Plan, Recording};
use support::{Files, files, place, replay};

fn record(directory: &Path, work: impl FnOnce(&Path)) -> Vec<Op> {
    let recording = Recording::start(directory).unwrap();
    work(directory);
    recording.finish()
}

fn count(ops: &[Op], which: impl Fn(&Op) -> bool) -> usize {
    ops.iter().filter(|op| which(op)).count()
}

fn is_sync(op: &Op) -> bool {
    matches!(op, Op::Sync { .. })
}

/// Everything that Rust's standard library does to files.
fn work_by_std(directory: &Path) {
    let file = |name: &str| directory.join(name);
    fs::write(file("a"), b"0123456789").unwrap();
    let mut a = OpenOptions::new().read(true).write(true).open(file("a")).unwrap();
    a.write_all(b"abc").unwrap();
    a.write_all_at(b"xyz", 20).unwrap();
    // The duplicate is not known by its descriptor.
    let twin = a.try_clone().unwrap();
    twin.write_all_at(b"twin", 5).unwrap();
    twin.sync_all().unwrap();
    a.set_len(22).unwrap();
    a.sync_data().unwrap();
    let mut more = OpenOptions::new().append(true).open(file("a")).unwrap();
    more.write_all(b"at the end").unwrap();
    assert_eq!(more.write_vectored(&[IoSlice::new(b"in "), IoSlice::new(b"pieces")]).unwrap(), 9);
    fs::copy(file("a"), file("b")).unwrap();
    // From the time before, if there was one.
    let _ = fs::remove_file(file("c"));
    fs::hard_link(file("b"), file("c")).unwrap();
    fs::rename(file("b"), file("d")).unwrap();
    File::create(file("e")).unwrap().write_all(b"gone").unwrap();
    fs::remove_file(file("e")).unwrap();
    fs::write(file("c"), b"anew").unwrap();
    File::open(directory).unwrap().sync_all().unwrap();
}

#[test]
fn what_the_standard_library_does_is_recorded() {
    let directory = place();
    let ops = record(directory.path(), work_by_std);
    assert_eq!(replay(&ops), files(directory.path()));
    assert_eq!(count(&ops, is_sync), 2);
    let root = fs::canonicalize(directory.path()).unwrap();
    assert_eq!(ops.last(), Some(&Op::SyncDirectory { path: root }));
}

fn name(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// What this test says of a function: its name, and what is to be recorded of a call.
type Call = (&'static str, fn(&Path, &File) -> i64, &'static str);

/// The functions of the C library that neither the standard library nor an engine calls today, but others could.
const CALLS: &[Call] = &[
    ("pwritev", |_, file| c::pieces(file, Some(3)), "write 3 onetwo"),
    ("writev", |_, file| c::pieces(file, None), "write 0 onetwo"),
    ("posix_fallocate", |_, file| c::allocate(file), "length 4096"),
    ("sendfile", |directory, file| c::send(&directory.join("source"), file), "write 0 source"),
    ("copy_file_range", |directory, file| c::copy(&directory.join("source"), file), "write 7 source"),
    ("truncate", |directory, _| c::truncate(&name(&directory.join("file")), 77), "length 77"),
    ("creat", |directory, _| c::create(&name(&directory.join("made"))), "make made"),
    (
        "link",
        |directory, _| c::link(&name(&directory.join("source")), &name(&directory.join("other"))),
        "link other",
    ),
    (
        "rename",
        |directory, _| c::rename(&name(&directory.join("source")), &name(&directory.join("new"))),
        "name new",
    ),
    ("unlink", |directory, _| c::unlink(&name(&directory.join("source"))), "remove source"),
    ("remove", |directory, _| c::remove(&name(&directory.join("source"))), "remove source"),
    ("fsync", |_, file| c::sync(file), "sync"),
];

fn described(op: &Op) -> String {
    let last = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    match op {
        Op::Create { path, .. } => format!("make {}", last(path)),
        Op::Write { offset, data, .. } => format!("write {offset} {}", String::from_utf8_lossy(data)),
        Op::SetLen { len, .. } => format!("length {len}"),
        Op::Sync { .. } => "sync".to_owned(),
        Op::Link { path, .. } => format!("link {}", last(path)),
        Op::Rename { to, .. } => format!("name {}", last(to)),
        Op::Remove { path } => format!("remove {}", last(path)),
        Op::SyncDirectory { .. } => "sync directory".to_owned(),
        Op::Mark(number) => format!("mark {number}"),
    }
}

#[test]
fn what_is_asked_of_the_c_library_is_recorded() {
    for (function, call, expected) in CALLS {
        let directory = place();
        fs::write(directory.path().join("source"), b"source").unwrap();
        let file = File::create(directory.path().join("file")).unwrap();
        let recording = Recording::start(directory.path()).unwrap();
        let before = recording.len();
        assert!(call(directory.path(), &file) >= 0, "{function}: {}", std::io::Error::last_os_error());
        let ops = recording.finish();
        let found: Vec<String> = ops[before..].iter().map(described).collect();
        assert_eq!(found, [*expected], "{function}");
        assert_eq!(replay(&ops), files(directory.path()), "{function}");
    }
}

fn insert(store: &mut impl Store, number: u64) {
    let job = NewJob::new("kind", vec![b'x'; 20_000]);
    let id = poolqueue_core::JobId::from_bytes(u128::from(number).to_be_bytes());
    let insert = job.id(id).into_insert(&poolqueue_core::Limits::default(), || id).unwrap();
    let run = &mut |txn: &mut dyn poolqueue_core::Txn| {
        let now = poolqueue_core::Timestamp::from_micros(1);
        let sequence = txn.next_sequence()?;
        let state = poolqueue_core::lifecycle::JobState::admit(&insert.admission, sequence, now);
        txn.insert(&state, &insert.body).map(|()| Verdict::Commit)
    };
    store.transact(run).unwrap();
}

/// The files without the one that SQLite maps into memory, and never relies upon after a crash.
fn lasting(files: Files) -> Files {
    files.into_iter().filter(|(path, _)| !path.to_string_lossy().ends_with("-shm")).collect()
}

/// Every commit is synced before it returns, and the whole file is what was recorded.
fn check_store(ops: &[Op], directory: &Path, commits: usize) {
    assert_eq!(lasting(replay(ops)), lasting(files(directory)));
    assert!(count(ops, is_sync) >= commits, "{} syncs", count(ops, is_sync));
    assert!(ops.iter().any(|op| matches!(op, Op::Link { .. })), "creation gives the name by a link");
    assert!(ops.iter().any(|op| matches!(op, Op::SyncDirectory { .. })), "and makes it durable");
    assert!(ops.iter().any(|op| matches!(op, Op::Remove { .. })), "and removes the other one");
}

#[test]
fn what_redb_does_is_recorded() {
    let directory = place();
    let ops = record(directory.path(), |directory| {
        let options = RedbOptions::default().with_preallocate_step(1 << 16);
        let mut store = RedbStore::open(directory.join("jobs.redb"), options).unwrap();
        (0..20).for_each(|number| insert(&mut store, number));
        store.close().unwrap();
    });
    check_store(&ops, directory.path(), 20);
    assert!(ops.iter().any(|op| matches!(op, Op::SetLen { .. })), "the file grows");
}

#[test]
fn what_sqlite_does_is_recorded() {
    let directory = place();
    let ops = record(directory.path(), |directory| {
        let options = SqliteOptions::default().wal_grow_bytes(0).wal_autocheckpoint(20);
        let mut store = SqliteStore::open(directory.join("jobs.db"), options).unwrap();
        (0..20).for_each(|number| insert(&mut store, number));
        store.close().unwrap();
    });
    check_store(&ops, directory.path(), 20);
}

#[test]
fn directories_are_recorded_apart_and_others_not_at_all() {
    let (one, two, outside) = (place(), place(), place());
    let (first, second) = (Recording::start(one.path()).unwrap(), Recording::start(two.path()).unwrap());
    std::thread::scope(|scope| {
        for directory in [&one, &two, &outside] {
            scope.spawn(|| (0..50).for_each(|_| work_by_std(directory.path())));
        }
    });
    let (first, second) = (first.finish(), second.finish());
    assert_eq!(replay(&first), files(one.path()));
    assert_eq!(replay(&second), files(two.path()));
    assert_eq!(files(outside.path()).len(), 3);
}

#[test]
fn files_that_are_there_already_stand_at_the_beginning() {
    let directory = place();
    work_by_std(directory.path());
    let ops = record(directory.path(), |directory| fs::write(directory.join("a"), b"once more").unwrap());
    assert_eq!(replay(&ops), files(directory.path()));
    let numbers = |op: &Op| match op {
        Op::Create { file, .. } => Some(*file),
        _ => None,
    };
    assert_eq!(ops.iter().filter_map(numbers).max(), Some(FileId(2)));
}

/// One operation of each sort.
fn attempt(operation: Operation, directory: &Path) -> std::io::Result<()> {
    let path = directory.join("file");
    match operation {
        Operation::Read => File::open(path).and_then(|mut file| file.read(&mut [0; 4])).map(drop),
        Operation::Write => OpenOptions::new().write(true).open(path)?.write(b"1234").map(drop),
        Operation::Sync => File::open(path)?.sync_all(),
        Operation::Truncate => OpenOptions::new().write(true).open(path)?.set_len(1),
        Operation::Open => File::open(path).map(drop),
        Operation::Create => File::create(directory.join("new")).map(drop),
        Operation::Link => fs::hard_link(path, directory.join("link")),
        Operation::Remove => fs::remove_file(path),
    }
}

#[test]
fn any_operation_can_be_made_to_fail_and_then_does_nothing() {
    for operation in Operation::ALL {
        let directory = place();
        fs::write(directory.path().join("file"), b"as it was").unwrap();
        let before = files(directory.path());
        let faults = Faults::in_directory(directory.path()).unwrap();
        let plan =
            Plan { operations: vec![operation], after: 0, failure: Failure::Error(libc::EIO), lasting: true };
        faults.arm(plan);
        for _ in 0..2 {
            let error = attempt(operation, directory.path()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{operation:?}");
        }
        faults.lift();
        assert_eq!(files(directory.path()), before, "{operation:?}");
        let hits: Vec<Operation> = faults.hits().iter().map(|hit| hit.operation).collect();
        assert_eq!(hits, [operation; 2]);
        attempt(operation, directory.path()).unwrap();
        assert!(faults.seen(&[operation]) >= 3);
    }
}

#[test]
fn a_short_write_says_how_much_it_wrote() {
    let directory = place();
    let path = directory.path().join("file");
    let file = File::create(&path).unwrap();
    let faults = Faults::in_directory(directory.path()).unwrap();
    let short = |failure| Plan { operations: vec![Operation::Write], after: 0, failure, lasting: false };
    faults.arm(short(Failure::Short));
    assert_eq!(file.write_at(b"abcdefgh", 0).unwrap(), 4);
    assert_eq!(file.write_at(b"efgh", 4).unwrap(), 4);
    faults.arm(short(Failure::ShortThen(libc::ENOSPC)));
    assert_eq!(file.write_all_at(b"ijklmnop", 8).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    drop(faults);
    assert_eq!(fs::read(path).unwrap(), b"abcdefghijkl");
}

/// Calls by their names in C.
mod c {
    #![allow(unsafe_code)]

    use std::ffi::CStr;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    pub fn pieces(file: &File, at: Option<i64>) -> i64 {
        let piece = |text: &'static str| libc::iovec {
            iov_base: text.as_ptr().cast_mut().cast(),
            iov_len: text.len(),
        };
        let pieces = [piece("one"), piece("two")];
        // SAFETY: two pieces, each as long as it says, and only read.
        let written = unsafe {
            match at {
                Some(at) => libc::pwritev(file.as_raw_fd(), pieces.as_ptr(), 2, at),
                None => libc::writev(file.as_raw_fd(), pieces.as_ptr(), 2),
            }
        };
        written as i64
    }

    pub fn allocate(file: &File) -> i64 {
        // SAFETY: takes numbers.
        -i64::from(unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, 4096) })
    }

    pub fn send(source: &Path, to: &File) -> i64 {
        let source = File::open(source).unwrap();
        // SAFETY: no offset is given.
        unsafe { libc::sendfile(to.as_raw_fd(), source.as_raw_fd(), std::ptr::null_mut(), 100) as i64 }
    }

    pub fn copy(source: &Path, to: &File) -> i64 {
        let (source, mut at) = (File::open(source).unwrap(), 7);
        let (from, none) = (source.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: the offset is there for the call.
        unsafe { libc::copy_file_range(from, none, to.as_raw_fd(), &raw mut at, 100, 0) as i64 }
    }

    pub fn sync(file: &File) -> i64 {
        // SAFETY: takes a number.
        i64::from(unsafe { libc::fsync(file.as_raw_fd()) })
    }

    pub fn truncate(path: &CStr, len: i64) -> i64 {
        // SAFETY: the name ends with a zero.
        i64::from(unsafe { libc::truncate(path.as_ptr(), len) })
    }

    pub fn create(path: &CStr) -> i64 {
        // SAFETY: the name ends with a zero.
        i64::from(unsafe { libc::creat(path.as_ptr(), 0o600) })
    }

    pub fn link(from: &CStr, to: &CStr) -> i64 {
        // SAFETY: the names end with zeroes.
        i64::from(unsafe { libc::link(from.as_ptr(), to.as_ptr()) })
    }

    pub fn rename(from: &CStr, to: &CStr) -> i64 {
        // SAFETY: the names end with zeroes.
        i64::from(unsafe { libc::rename(from.as_ptr(), to.as_ptr()) })
    }

    pub fn unlink(path: &CStr) -> i64 {
        // SAFETY: the name ends with a zero.
        i64::from(unsafe { libc::unlink(path.as_ptr()) })
    }

    pub fn remove(path: &CStr) -> i64 {
        // SAFETY: the name ends with a zero.
        i64::from(unsafe { libc::remove(path.as_ptr()) })
    }
}
