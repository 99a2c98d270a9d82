//! What `open` says of things that cannot be opened: a typed error that names the path and the reason, and nothing changed.
#![cfg(feature = "redb")]

use std::fs;
use std::path::Path;

use poolqueue::{BackendErrorKind, Error, ErrorKind, NewJob, PoolQueue, Select};

async fn refused(path: &Path, kind: BackendErrorKind, says: &str) {
    let error = PoolQueue::open(path).await.expect_err("it was opened");
    assert_eq!(error.backend_kind(), Some(kind), "{error}");
    let text = error.to_string();
    assert!(text.contains(says), "{text:?} should say {says:?}");
    assert!(text.contains(&path.display().to_string()), "{text:?} should name the path");
}

/// A file with one job in it.
async fn queue_file(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("jobs.redb");
    let queue = PoolQueue::open(&path).await.unwrap();
    queue.enqueue(NewJob::new("kind", b"payload")).await.unwrap();
    queue.close().await.unwrap();
    path
}

#[tokio::test]
async fn files_that_are_not_a_queue_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read(queue_file(dir.path()).await).unwrap();
    let cases: [(&str, Vec<u8>, BackendErrorKind, &str); 4] = [
        ("empty", Vec::new(), BackendErrorKind::Corrupted, "empty"),
        ("text", b"To whom it may concern".to_vec(), BackendErrorKind::Invalid, "not a redb file"),
        ("large text", b"line\n".repeat(100_000), BackendErrorKind::Invalid, "not a redb file"),
        ("half", good[..good.len() / 2].to_vec(), BackendErrorKind::Corrupted, ""),
    ];
    for (name, bytes, kind, says) in cases {
        let path = dir.path().join(name);
        fs::write(&path, &bytes).unwrap();
        refused(&path, kind, says).await;
        assert!(fs::read(&path).unwrap() == bytes, "{name}: the file was changed");
    }
}

#[tokio::test]
async fn a_directory_and_a_missing_directory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), BackendErrorKind::Invalid, "directory").await;
    refused(&dir.path().join("missing/jobs.redb"), BackendErrorKind::Io, "does not exist").await;
    assert!(!dir.path().join("missing").exists(), "directories are not created unasked");
}

#[tokio::test]
async fn a_second_opener_is_told_at_once_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.redb");
    let first = PoolQueue::open(&path).await.unwrap();
    refused(&path, BackendErrorKind::AlreadyOpen, "").await;
    assert_eq!(PoolQueue::open(&path).await.unwrap_err().kind(), ErrorKind::Unavailable);
    first.enqueue(NewJob::new("kind", b"")).await.unwrap();
    first.close().await.unwrap();
    let again = PoolQueue::open(&path).await.unwrap();
    assert_eq!(again.stats(Select::new()).await.unwrap().pending, 1);
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.redb");
    let queue = PoolQueue::open(&path).await.unwrap();
    let id = queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    drop(queue);
    assert!(PoolQueue::open(&path).await.unwrap().get(id).await.unwrap().is_some());
}

#[tokio::test]
async fn urls_that_name_no_store_say_what_to_do() {
    for (url, says) in [
        #[cfg(not(feature = "sqlite"))]
        ("sqlite:jobs.db", "feature \"sqlite\""),
        ("postgres://localhost/jobs", "feature \"postgres\""),
        ("mongodb://localhost", "no store named"),
        ("redb:", "names no file"),
        ("", "names no file"),
    ] {
        let error = PoolQueue::open(url).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{url}: {error:?}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
}

#[tokio::test]
async fn every_way_to_name_a_file_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.redb");
    let text = path.to_str().unwrap().to_owned();
    for n in 1..=4 {
        let queue = match n {
            1 => PoolQueue::open(&path).await,
            2 => PoolQueue::open(text.as_str()).await,
            3 => PoolQueue::open(text.clone()).await,
            _ => PoolQueue::open(format!("redb:{text}")).await,
        };
        let queue = queue.unwrap();
        queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
        assert_eq!(queue.stats(Select::new()).await.unwrap().total, n);
        assert_eq!(queue.health().engine, "redb");
        assert!(queue.health().is_ok());
        queue.close().await.unwrap();
    }
}

#[tokio::test]
async fn every_call_after_close_says_closed() {
    let dir = tempfile::tempdir().unwrap();
    let queue = PoolQueue::open(dir.path().join("jobs.redb")).await.unwrap();
    let id = queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
    queue.close().await.unwrap();
    let closed = |error: Error| assert_eq!(error.backend_kind(), Some(BackendErrorKind::Closed), "{error:?}");
    closed(queue.enqueue(NewJob::new("kind", b"")).await.unwrap_err());
    closed(queue.enqueue_all(Vec::<NewJob>::new()).await.unwrap_err());
    closed(queue.complete(id, ()).await.unwrap_err());
    closed(queue.cancel(id).await.unwrap_err());
    closed(queue.get(id).await.unwrap_err());
    closed(queue.stats(Select::new()).await.unwrap_err());
    closed(queue.verify().await.unwrap_err());
    closed(queue.stream("worker").open().await.unwrap_err());
    closed(queue.close().await.unwrap_err());
    assert!(!queue.health().is_ok());
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn an_sqlite_url_opens_an_sqlite_file() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
    for n in 1..=2 {
        let queue = PoolQueue::open(&url).await.unwrap();
        queue.enqueue(NewJob::new("kind", b"")).await.unwrap();
        assert_eq!(queue.stats(Select::new()).await.unwrap().total, n);
        assert_eq!(queue.health().engine, "sqlite");
        queue.close().await.unwrap();
    }
    assert!(fs::read(dir.path().join("jobs.db")).unwrap().starts_with(b"SQLite format 3"));
}
