//! A process killed at any moment: what it had answered is there, whole, and the file is free at once.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use poolqueue_core::{Reader, Snapshot, Status, Store};
use support::{Rig, apply, claim, complete, id, insert, job, open};

/// Run by the test below in a process of its own: enqueues, claims and completes one job after the other, and
/// says so after each transaction.
#[test]
fn child_process_works_until_it_is_killed() {
    let Some(path) = std::env::var_os("POOLQUEUE_TEST_WORK") else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig { directory, store: open(Path::new(&path)) };
    let first = rig.counts().total() + 1;
    let mut out = std::io::stderr();
    for number in first.. {
        rig.run(|txn| {
            insert(txn, job(number).tag("tag"), 0)?;
            apply(txn, id(number), &claim(), 1)
        });
        writeln!(out, "ok running {number}").unwrap();
        rig.apply(id(number), complete("done"), 2);
        writeln!(out, "ok completed {number}").unwrap();
    }
}

#[test]
fn what_a_killed_process_had_answered_is_there() {
    const ROUNDS: u64 = 12;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    drop(open(&path));
    let mut random = fastrand::Rng::with_seed(5);
    let (mut checked, mut last) = (0, 0);
    for _ in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process_works_until_it_is_killed", "--nocapture"])
            .env("POOLQUEUE_TEST_WORK", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut wanted = random.usize(1..60);
        let mut answered = Vec::new();
        for line in lines {
            answered.push(line.unwrap());
            wanted -= 1;
            if wanted == 0 {
                child.kill().unwrap();
                wanted = usize::MAX;
            }
        }
        child.wait().unwrap();
        let mut store = open(&path);
        let snapshot = store.reader().snapshot().unwrap();
        let verified = snapshot.verify().unwrap();
        for line in &answered {
            let Some((status, number)) = line.strip_prefix("ok ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            last = number.parse::<u64>().unwrap();
            let found = snapshot.get(&[id(last)]).unwrap()[0].clone().unwrap().status;
            assert!(found == Status::Completed || found.as_str() == status, "job {last} is {found}: {line}");
            checked += 1;
        }
        // At most the one transaction in flight is more than was answered.
        assert!(
            verified.jobs == last || verified.jobs == last + 1,
            "{} jobs, {last} answered",
            verified.jobs
        );
        drop(snapshot);
        store.close().unwrap();
    }
    assert!(checked > ROUNDS, "only {checked} answers were checked");
}
