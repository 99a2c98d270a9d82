//! What `salvage` makes of damaged files: everything that passed its checksums, and word of everything else.
#![cfg(all(feature = "redb", feature = "sqlite"))]

mod wreck;

use std::fs;
use std::path::Path;

use poolqueue::{BackendErrorKind, Error, Lost, LostPart, NewJob, PoolQueue, Salvaged, Status, salvage};
use wreck::{Harm, Part, Wreck, contents, id};

/// Both kinds of stores.
const KINDS: [&str; 2] = ["redb", "sqlite"];

fn parts(salvaged: &Salvaged) -> Vec<(LostPart, Option<u64>)> {
    let number = |lost: &Lost| lost.job.map(|job| (0..20).find(|number| id(*number) == job).unwrap_or(99));
    salvaged.lost.iter().map(|lost| (lost.part.clone(), number(lost))).collect()
}

/// Salvages to a store of this kind, and opens what came of it.
async fn rescued(wreck: &Wreck, to: &str) -> (Salvaged, PoolQueue) {
    let before = wreck.files();
    let target = format!("{to}:{}", wreck.directory.path().join("rescued").display());
    let salvaged = salvage(wreck.location(), &target).await.unwrap();
    assert!(wreck.files() == before, "the damaged files were changed");
    (salvaged, PoolQueue::open(&target).await.unwrap())
}

#[tokio::test]
async fn everything_in_a_file_that_a_crash_left_is_in_the_new_one_whatever_its_kind() {
    for from in KINDS {
        for to in KINDS {
            let wreck = Wreck::new(from, "jobs").await;
            let (salvaged, queue) = rescued(&wreck, to).await;
            assert!(salvaged.is_complete(), "{from} to {to}: {:?}", salvaged.lost);
            assert_eq!((salvaged.jobs, salvaged.records), (8, 2));
            let mut expected = wreck.contents.clone();
            let mut found = contents(&queue).await;
            assert_eq!(queue.verify().await.unwrap(), 8);
            // The one that was held is due again, as after a crash.
            let (held, history) = found.remove(&id(5)).unwrap();
            let (was, before) = expected.remove(&id(5)).unwrap();
            assert_eq!((was.status, held.crashes, held.status), (Status::Running, 1, Status::UnknownRetry));
            assert_eq!((held.payload, held.attempt), (was.payload, was.attempt));
            assert!(
                history.entries.starts_with(&before.entries)
                    && history.entries.len() == before.entries.len() + 1
            );
            assert_eq!(found, expected, "{from} to {to}");
            // The unique key is held, and the order of enqueues goes on.
            let taken = queue.enqueue(NewJob::new("kind", b"").unique("key")).await.unwrap_err();
            assert!(matches!(taken, Error::Rejected(_)), "{taken}");
            let new = queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
            let last = wreck.contents.values().map(|(job, _)| job.sequence).max();
            assert!(Some(queue.get(new).await.unwrap().unwrap().sequence) > last);
            queue.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn each_damaged_table_costs_what_was_in_it_and_no_more() {
    let job = |number| (LostPart::Job, Some(number));
    let cases = [
        (Part::State(1), 7, vec![job(1)]),
        (Part::State(3), 7, vec![job(3)]),
        (Part::Body(1), 7, vec![job(1)]),
        (Part::Body(3), 7, vec![job(3)]),
        (Part::Outcome(1), 8, vec![(LostPart::Outcome, Some(1))]),
        (Part::Outcome(2), 8, vec![(LostPart::Outcome, Some(2))]),
        (Part::History(2), 8, vec![(LostPart::History, Some(2))]),
        (Part::UniqueKeys, 8, vec![]),
        (Part::Record("one"), 8, vec![(LostPart::Record("one".into()), None)]),
        (Part::Figures, 8, vec![]),
    ];
    for kind in KINDS {
        for (part, jobs, lost) in &cases {
            for harm in [Harm::Damaged, Harm::Missing] {
                if harm == Harm::Missing && matches!(part, Part::Record(_)) {
                    continue; // What is not there, nobody misses.
                }
                let wreck = Wreck::new(kind, "jobs").await.harmed(*part, harm);
                let (salvaged, queue) = rescued(&wreck, kind).await;
                let mut told = lost.clone();
                if kind == "sqlite" && harm == Harm::Missing && matches!(part, Part::State(_)) {
                    told = vec![(LostPart::Job, None)]; // Only its body is left, which does not say whose it is.
                }
                let what = format!("{kind}: {part:?} {harm:?}: {salvaged:?}");
                assert_eq!((salvaged.jobs, parts(&salvaged)), (*jobs, told), "{what}");
                assert_eq!(queue.verify().await.unwrap(), *jobs);
                check_rest(&wreck, &queue, lost).await;
                queue.close().await.unwrap();
            }
        }
    }
}

/// What is not told as lost is as it was.
async fn check_rest(wreck: &Wreck, queue: &PoolQueue, lost: &[(LostPart, Option<u64>)]) {
    let found = contents(queue).await;
    for (job, history) in wreck.contents.values() {
        let of = lost.iter().find(|(_, number)| number.is_some_and(|number| id(number) == job.id));
        let Some((saved, saved_history)) = found.get(&job.id) else {
            assert!(matches!(of, Some((LostPart::Job, _))), "job {} is missing", job.id);
            continue;
        };
        match of.map(|(part, _)| part) {
            None if job.status == Status::Running => assert_eq!(saved.payload, job.payload),
            None => assert_eq!((saved, saved_history), (job, history)),
            Some(LostPart::Outcome) => {
                assert_eq!((&saved.output, saved.status), (&None, job.status));
                let error = saved.last_error.as_ref().unwrap();
                assert!(error.message.starts_with("salvaged without its output"), "{}", error.message);
                assert_eq!(saved_history, history);
            }
            Some(LostPart::History) => {
                assert_eq!(saved, job);
                assert!(
                    saved_history.entries.len() < history.entries.len() && !saved_history.entries.is_empty()
                );
                assert!(history.entries.ends_with(&saved_history.entries));
                let lost = (history.entries.len() - saved_history.entries.len()) as u64;
                assert_eq!(saved_history.cut, history.cut + lost);
            }
            Some(other) => panic!("{other:?} was told as lost of job {}", job.id),
        }
    }
}

#[tokio::test]
async fn pages_that_cannot_be_read_are_read_around() {
    for kind in KINDS {
        let wreck = Wreck::new(kind, "jobs").await.many(400).await;
        let whole = wreck.files();
        let pages = whole[0].1.len() / 4096;
        let mut most = 0;
        for page in (1..pages).filter(|page| whole[0].1[page * 4096..][..4096].iter().any(|byte| *byte != 0))
        {
            let mut bytes = whole[0].1.clone();
            bytes[page * 4096..][..4096].fill(0);
            fs::write(&wreck.path, &bytes).unwrap();
            let target = wreck.directory.path().join(format!("rescued-{page}"));
            match salvage(wreck.location(), &target).await {
                Ok(salvaged) => {
                    let told = salvaged.lost_jobs().count() as u64;
                    let unknown = salvaged.lost.iter().any(|lost| lost.part == LostPart::Unknown);
                    assert!(salvaged.jobs + told >= 408 || unknown, "page {page}: {salvaged:?}");
                    most = most.max(if salvaged.is_complete() { 0 } else { salvaged.jobs });
                }
                Err(error) => {
                    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Corrupted), "{error}");
                    assert!(!target.exists());
                }
            }
            assert!(fs::read(&wreck.path).unwrap() == bytes);
            let _ = fs::remove_file(target);
        }
        assert!(most > 300, "{kind}: {most} of 408 jobs at most");
    }
}

async fn refused(from: &str, to: &Path, kind: BackendErrorKind, says: &str) {
    let error = salvage(from, to).await.expect_err("it was salvaged");
    assert_eq!(error.backend_kind(), Some(kind), "{error}");
    assert!(error.to_string().contains(says), "{error:?} should say {says:?}");
}

#[tokio::test]
async fn what_is_no_damaged_queue_is_refused_and_nothing_is_made() {
    use BackendErrorKind::{AlreadyOpen, Corrupted, Invalid, Io, NewerFormat};
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("jobs"), directory.path().join("rescued"));
        let from = format!("{kind}:{}", path.display());
        refused(&from, &target, Io, "").await;
        for (bytes, error, says) in [
            (Vec::new(), Corrupted, "is empty"),
            (b"To whom it may concern".to_vec(), Invalid, "is not a"),
            (b"line\n".repeat(50_000), Invalid, "is not a"),
        ] {
            fs::write(&path, &bytes).unwrap();
            refused(&from, &target, error, says).await;
            assert!(fs::read(&path).unwrap() == bytes);
        }
        refused(&format!("{kind}:{}", directory.path().display()), &target, Invalid, "directory").await;
        fs::remove_file(&path).unwrap();
        wreck::foreign(kind, &path);
        refused(&from, &target, Invalid, "another program's").await;
        let newer = Wreck::new(kind, "newer").await.harmed(Part::Newer, Harm::Damaged);
        refused(&newer.location(), &target, NewerFormat, "").await;
        let open = Wreck::new(kind, "open").await;
        let queue = PoolQueue::open(open.location()).await.unwrap();
        refused(&open.location(), &target, AlreadyOpen, "closed first").await;
        queue.close().await.unwrap();
        assert!(!target.exists(), "{kind}");
        fs::write(&target, "mine").unwrap();
        refused(&open.location(), &target, Invalid, "exists already").await;
        refused(&open.location(), &open.path, Invalid, "exists already").await;
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        let missing = directory.path().join("missing").join("rescued");
        refused(&open.location(), &missing, Io, "does not exist").await;
    }
    for (from, to) in
        [("memory:", "redb:x"), ("redb:x", "memory:"), ("redb:", "x"), ("x", "sqlite:"), ("no:x", "y")]
    {
        let error = salvage(from, to).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{from} to {to}: {error}");
    }
}

#[tokio::test]
async fn a_refused_file_leads_to_salvage() {
    let wreck = Wreck::new("redb", "jobs").await.harmed(Part::State(3), Harm::Damaged);
    let error = PoolQueue::open(wreck.location()).await.unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Corrupted));
    let (salvaged, queue) = rescued(&wreck, "redb").await;
    assert_eq!((salvaged.jobs, salvaged.lost_jobs().collect::<Vec<_>>()), (7, vec![id(3)]));
    let line = salvaged.lost[0].to_string();
    assert!(line.contains(&id(3).to_string()) && line.contains("checksum does not match"), "{line}");
    queue.close().await.unwrap();
}

/// Nothing is where nothing was, and a log of megabytes that begins the next file is no use to anybody.
#[tokio::test]
async fn a_new_store_is_one_file() {
    for kind in KINDS {
        let wreck = Wreck::new("redb", "jobs").await;
        let target = wreck.directory.path().join("new");
        salvage(wreck.location(), format!("{kind}:{}", target.display())).await.unwrap();
        let names = fs::read_dir(wreck.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let new: Vec<_> = names.filter(|name| !name.to_string_lossy().starts_with("jobs")).collect();
        assert_eq!(new, ["new"]);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn names_that_are_no_text_are_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let wreck = Wreck::new("redb", "jobs").await;
    let (from, to) = (OsStr::from_bytes(b"fr\xFFom"), OsStr::from_bytes(b"t\xFFo"));
    let (from, to) = (wreck.directory.path().join(from), wreck.directory.path().join(to));
    fs::copy(&wreck.path, &from).unwrap();
    assert_eq!(salvage(&from, &to).await.unwrap().jobs, 8);
    assert!(to.exists());
}
