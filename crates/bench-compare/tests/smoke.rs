//! The program as a whole, in small: each contender in each shape. No time is asserted.
#![cfg(feature = "own")]

use std::path::Path;
use std::process::{Command, Output};

use bench_compare::{Listing, Measurement};

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench-compare")).args(arguments).output().unwrap()
}

/// The results of a run, which must succeed.
fn results(dir: &Path, arguments: &str) -> Vec<Measurement> {
    let json = dir.join("results");
    let mut all: Vec<&str> = arguments.split(' ').collect();
    let (dir, path) = (dir.to_str().unwrap(), json.to_str().unwrap());
    all.extend(["--quick", "--rounds", "1", "--dir", dir, "--json", path]);
    let output = program(&all);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines = std::fs::read_to_string(&json).unwrap();
    let results: Vec<Measurement> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for result in &results {
        assert_eq!((result.lost, result.doubled), (0, 0), "{result:?}");
        assert!(said.contains(&result.contender) && said.contains(&result.shape), "{said}");
    }
    results
}

fn counts(results: &[Measurement], shape: &str) -> Vec<u64> {
    results.iter().filter(|result| result.shape == shape).map(|result| result.jobs).collect()
}

#[test]
fn every_contender_drains_all_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let asked = "--shape drain --shape drain-batched --seconds 60 --jobs 300";
    let results = results(dir.path(), asked);
    assert_eq!(counts(&results, "drain"), [300; 6]);
    assert_eq!(counts(&results, "drain-batched"), [300; 6]);
    assert!(results.iter().all(|result| !result.durability.is_empty() && result.rss_bytes > 0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "stores were left behind");
}

#[test]
fn poolqueue_serves_many_streams_tags_and_queues() {
    let dir = tempfile::tempdir().unwrap();
    let asked = "--shape tags-2000 --shape streams-30 --shape tag-streams-20 --shape queues-50 --seconds 60 --jobs 200";
    let results = results(dir.path(), asked);
    assert_eq!(counts(&results, "tags-2000"), [20; 2]);
    for shape in ["streams-30", "tag-streams-20", "queues-50"] {
        assert_eq!(counts(&results, shape), [200; 2], "{shape}");
    }
}

#[test]
fn shapes_that_are_measured_by_time_count_what_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let asked = "--seconds 0.05 --jobs 300 --shape enqueue-4 --shape batch-10 --shape steady --shape idle --shape loaded \
                 --shape backlog-400 --shape future-100 --shape cleanup-300";
    let results = results(dir.path(), asked);
    for (shape, contenders) in [
        ("enqueue-4", 6),
        ("batch-10", 6),
        ("steady", 6),
        ("idle", 6),
        ("backlog-400", 6),
        ("cleanup-300", 2),
    ] {
        assert_eq!(counts(&results, shape).len(), contenders, "{shape}");
    }
    let timed = results.iter().filter(|result| result.shape == "enqueue-4");
    assert!(timed.into_iter().all(|result| result.p50_us <= result.p99_us));
    let reopened = results.iter().filter(|result| result.shape == "backlog-400");
    assert!(reopened.into_iter().all(|result| result.figures.contains_key("reopen_ms")));
}

#[test]
fn sync_policies_are_measured_when_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let asked =
        "--shape drain --seconds 60 --jobs 300 --contender poolqueue:interval --contender poolqueue:os";
    let results = results(dir.path(), asked);
    let mut found: Vec<_> =
        results.iter().map(|result| (&*result.contender, &*result.engine, result.jobs)).collect();
    found.sort_unstable();
    let expected = [
        ("poolqueue:interval", "redb", 300),
        ("poolqueue:interval", "sqlite", 300),
        ("poolqueue:os", "sqlite", 300),
    ];
    assert_eq!(found, expected);
    assert!(results.iter().all(|result| result.durability.contains("power cut")), "{results:?}");
    assert_eq!(program(&["--contender", "poolqueue:never"]).status.code(), Some(1));
}

#[test]
fn contenders_are_listed_a_line_each() {
    let output = program(&["list"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let listings: Vec<Listing> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listings.len(), 6);
    assert!(listings.iter().all(|listing| !listing.modes.is_empty() && !listing.shapes.is_empty()));
}

#[test]
fn a_rival_takes_part_by_the_same_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let rival = env!("CARGO_BIN_EXE_bench-compare");
    let asked = format!("--shape drain --contender raw-log --rival {rival} --seconds 60 --jobs 10");
    let results = results(dir.path(), &asked);
    // The same contender twice counts as its rounds.
    assert_eq!(counts(&results, "drain"), [10]);
}

#[test]
fn wrong_arguments_end_with_2_and_what_cannot_be_measured_with_1() {
    for arguments in [&["--fast"][..], &["--shape", "drian"], &["measure", "--shape", "drain"]] {
        let output = program(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(program(&["--rival", "/there/is/none"]).status.code(), Some(1));
    assert_eq!(program(&["--contender", "nobody"]).status.code(), Some(1));
}
