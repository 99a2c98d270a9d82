//! Disks that are full, that may only be read, and that fail to sync.
//!
//! Each needs something of the system (a mount in a namespace of its own, `strace`); where that is not to be had, the
//! test says that it was not run.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use poolqueue_core::{
    Applied, BackendError, BackendErrorKind, NewJob, Reader, Snapshot, Store, Verdict, Verification,
};
use poolqueue_sqlite::SqliteStore;
use support::{Rig, files, id, insert, job, open, try_open};

/// Runs a test of this file in a process of its own, started by `wrapper`.
fn child(wrapper: &[&str], test: &str, place: &Path) -> Output {
    let program = std::env::current_exe().unwrap();
    let (first, rest) = wrapper.split_first().unwrap();
    let output = Command::new(first)
        .args(rest)
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("POOLQUEUE_TEST_DISK", place)
        .env("RUST_BACKTRACE", "0")
        .output();
    output.unwrap_or_else(|error| panic!("{first}: {error}"))
}

/// Whether the system lets a program run like this.
fn is_possible(wrapper: &[&str]) -> bool {
    let (first, rest) = wrapper.split_first().unwrap();
    let done = Command::new(first).args(rest).arg("true").env("POOLQUEUE_TEST_DISK", "/mnt").output();
    let possible = done.as_ref().is_ok_and(|output| output.status.success());
    if !possible {
        // Not by a macro: what is printed so is only shown of tests that fail.
        let _ = writeln!(std::io::stderr(), "NOT RUN: {wrapper:?} is not possible here: {done:?}");
    }
    possible
}

/// Where a child works; `None` when this is not one.
fn told() -> Option<PathBuf> {
    std::env::var_os("POOLQUEUE_TEST_DISK").map(PathBuf::from)
}

#[track_caller]
fn check_passed(output: &Output) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("went through"), "{text}");
}

const SMALL_DISK: [&str; 6] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs -o size=6m tmpfs \"$POOLQUEUE_TEST_DISK\" && exec \"$@\"",
    "sh",
];

#[test]
fn a_full_disk_is_an_error_that_changed_nothing_and_does_not_end_the_store() {
    if is_possible(&SMALL_DISK) {
        let place = tempfile::tempdir().unwrap();
        check_passed(&child(&SMALL_DISK, "child_process_fills_its_disk", place.path()));
    }
}

fn large(number: u64) -> NewJob {
    NewJob::new("kind", vec![b'x'; 40_000]).id(id(number))
}

fn try_insert(store: &mut SqliteStore, job: &NewJob) -> Result<(), BackendError> {
    store.transact(&mut |txn| insert(txn, job.clone(), 0).map(|_| Verdict::Commit))
}

/// Run by the test above in a process of its own.
#[test]
fn child_process_fills_its_disk() {
    let Some(place) = told() else { return };
    let path = place.join("jobs.db");
    let filler = place.join("filler");
    fs::write(&filler, vec![0; 3 << 20]).unwrap();
    let mut store = open(&path);
    let refused = (1..).find_map(|number| try_insert(&mut store, &large(number)).err().map(|e| (number, e)));
    let (number, error) = refused.unwrap();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Full, Applied::No), "{error}");
    assert!(number > 5, "only {number} jobs found room");
    let check = |store: &SqliteStore, jobs: u64| {
        let verified = store.reader().snapshot().unwrap().verify().unwrap();
        assert_eq!(verified.jobs, jobs);
    };
    check(&store, number - 1);
    // Neither a copy nor another store finds room, and neither leaves anything.
    let mut rest = fs::File::create(place.join("rest")).unwrap();
    while rest.write_all(&[0; 4096]).is_ok() {}
    let before = files(&place);
    let copied = store.backup_to(place.join("copy.db")).unwrap_err();
    assert_eq!(copied.kind(), BackendErrorKind::Full, "{copied}");
    let created = try_open(&place.join("second.db")).unwrap_err();
    assert_eq!(created.kind(), BackendErrorKind::Full, "{created}");
    assert_eq!(files(&place), before);
    check(&store, number - 1);
    // One more handle opens, reads, and is told the same when it writes.
    let mut other = open(&path);
    check(&other, number - 1);
    let error = try_insert(&mut other, &large(number)).unwrap_err();
    assert_eq!((error.kind(), error.applied()), (BackendErrorKind::Full, Applied::No), "{error}");
    fs::remove_file(&filler).unwrap();
    drop(rest);
    fs::remove_file(place.join("rest")).unwrap();
    try_insert(&mut store, &large(number)).unwrap();
    check(&store, number);
    try_insert(&mut other, &large(number + 1)).unwrap();
    other.close().unwrap();
    check(&store, number + 1);
    assert_eq!(store.reader().health().verification, Verification::Verified);
    store.close().unwrap();
    check(&open(&path), number + 1);
    println!("went through");
}

const READ_ONLY: [&str; 6] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount --bind \"$POOLQUEUE_TEST_DISK\" \"$POOLQUEUE_TEST_DISK\" && \
        mount -o remount,bind,ro \"$POOLQUEUE_TEST_DISK\" && exec \"$@\"",
    "sh",
];

/// Also for root, whom permissions do not bind.
#[test]
fn a_place_that_may_only_be_read_is_refused() {
    if is_possible(&READ_ONLY) {
        let mut rig = Rig::default();
        rig.insert([job(1)], 0);
        rig.store.close().unwrap();
        let before = (files(rig.directory.path()), fs::read(rig.path()).unwrap());
        check_passed(&child(&READ_ONLY, "child_process_opens_what_it_may_only_read", rig.directory.path()));
        assert_eq!((files(rig.directory.path()), fs::read(rig.path()).unwrap()), before);
        rig.store.reopen().unwrap();
        rig.verify();
    }
}

/// Run by the test above in a process of its own.
#[test]
fn child_process_opens_what_it_may_only_read() {
    let Some(place) = told() else { return };
    for name in ["jobs.db", "new.db"] {
        let error = try_open(&place.join(name)).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Io, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    println!("went through");
}

/// Every sync from the `at`-th on fails, or only that one.
fn failing(at: u32, on: &str) -> Vec<String> {
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={at}{on}");
    ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", inject.as_str()]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn a_sync_that_fails_is_never_taken_for_one_that_did_not() {
    let (mut unknown, mut tried) = (0, 0);
    for at in 1..=32 {
        for on in ["", "+"] {
            let wrapper = failing(at, on);
            let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
            if tried == 0 && !is_possible(&wrapper) {
                return;
            }
            let place = tempfile::tempdir().unwrap();
            let output = child(&wrapper, "child_process_works_on_a_failing_disk", place.path());
            check_passed(&output);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let said = |word: &str| {
                // The harness may have written on the same line before.
                let numbers = text.lines().filter_map(|line| line.split_once(word));
                numbers.map(|(_, number)| number.trim().parse::<u64>().unwrap()).collect::<Vec<_>>()
            };
            let (acknowledged, in_doubt) = (said("stored "), said("in doubt "));
            unknown += in_doubt.len();
            tried += 1;
            check_left(place.path(), &acknowledged, &in_doubt, &format!("sync {at}{on} failed"));
        }
    }
    println!("failing syncs: tried {tried}, commits in doubt {unknown}");
    assert!(unknown > 20, "the syncs of commits did not fail");
}

/// All that was acknowledged is there, and nothing but what is in doubt besides.
fn check_left(place: &Path, acknowledged: &[u64], in_doubt: &[u64], what: &str) {
    let path = place.join("jobs.db");
    if !path.exists() {
        assert!(acknowledged.is_empty(), "{what}");
        return;
    }
    let rig = Rig { directory: tempfile::tempdir().unwrap(), store: open(&path) };
    let verified = rig.snapshot().verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    for number in acknowledged {
        assert!(rig.get(id(*number)).is_some(), "{what}: job {number} was acknowledged and is lost");
    }
    let more = verified.jobs - acknowledged.len() as u64;
    assert!(more <= in_doubt.len() as u64, "{what}: {more} more jobs than were acknowledged");
}

/// Run by the test above in a process of its own: stores jobs, and opens the store again after an error.
#[test]
fn child_process_works_on_a_failing_disk() {
    let Some(place) = told() else { return };
    let path = place.join("jobs.db");
    if let Ok(mut store) = try_open(&path) {
        for number in 1..=8 {
            match try_insert(&mut store, &job(number)) {
                Ok(()) => println!("stored {number}"),
                Err(error) => {
                    assert_eq!(error.kind(), BackendErrorKind::Io, "{error}");
                    assert_eq!(error.applied(), Applied::Unknown, "{error}");
                    println!("in doubt {number}");
                    let refused = try_insert(&mut store, &job(number)).unwrap_err();
                    assert_eq!(refused.kind(), BackendErrorKind::Closed, "{refused}");
                    if let Err(error) = store.reopen() {
                        println!("cannot be opened again: {error}");
                        break;
                    }
                }
            }
        }
    }
    println!("went through");
}
