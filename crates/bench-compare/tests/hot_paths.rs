//! The paths whose instructions are counted do what they say. Nothing is counted here.
#![cfg(feature = "own")]

use std::process::{Command, Output};

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hot-paths")).args(arguments).output().unwrap()
}

#[test]
fn every_path_that_is_listed_runs_as_often_as_it_is_counted() {
    let output = program(&["list"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().count() >= 10, "{lines}");
    for line in lines.lines() {
        let [path, engine, repetitions, ..] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let twice = (repetitions.parse::<u64>().unwrap() * 2).to_string();
        let dir = tempfile::tempdir().unwrap();
        let output = program(&["run", path, engine, &twice, dir.path().to_str().unwrap()]);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_is_no_path_is_refused_by_name() {
    let cases = [
        (&["run", "enqueue-64", "etcd", "1", "."][..], "enqueue-64 on etcd"),
        (&["run", "decide", "none", "often", "."], "\"often\""),
        (&["decide"], "use: hot-paths"),
    ];
    for (arguments, named) in cases {
        let output = program(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(named), "{said}");
    }
}
