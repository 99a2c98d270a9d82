//! A database that is the application's: who may open a queue in it, who waits for whom, and copies of it.

#[path = "support/application.rs"]
mod application;
#[path = "support/sealed.rs"]
mod sealed;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use application::{ORDERS, Rig, check_copy, id, job, next, open, within};
use poolqueue::{BackendErrorKind, PoolQueue, Select};
use poolqueue_core::{Applied, Health};
use poolqueue_redb::{RedbBackend, RedbOptions};
use redb::{Database, TableDefinition};
use sealed::sealed;

fn short() -> RedbOptions {
    RedbOptions::default().with_busy_timeout(Duration::from_millis(30))
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_application_holds_a_transaction_others_are_busy_and_nothing_is_lost() {
    let rig = Rig::with(short()).await;
    let mut stream = rig.queue.stream("worker").capacity(8).open().await.unwrap();
    let hold = rig.order(1);
    for _ in 0..3 {
        let error = within("an answer", rig.queue.enqueue(job(1))).await.unwrap_err();
        assert_eq!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}");
        assert!(error.is_retryable() && error.applied() == Applied::No, "{error}");
        // Readers do not wait.
        assert_eq!(rig.stats().await.total, 0);
        assert_eq!(rig.verify().await, 0);
    }
    let staged = rig.backend.enqueue_in(&hold, [job(2)]).unwrap();
    let error = within("an answer", rig.queue.enqueue(job(1))).await.unwrap_err();
    assert_eq!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}");
    hold.commit().unwrap();
    drop(staged);
    assert_eq!(next(&mut stream).await.id, id(2));
    rig.queue.enqueue(job(1)).await.unwrap();
    assert_eq!(next(&mut stream).await.id, id(1));
    assert_eq!(rig.verify().await, 2);
    // Nobody was left behind who takes the application's turn.
    for number in 10..40 {
        rig.order(number).commit().unwrap();
    }
}

/// Figures wait for the writer, which waits for the application: not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn figures_that_cannot_be_had_in_time_are_busy() {
    let rig = Rig::with(short()).await;
    let txn = rig.begin();
    drop(rig.backend.enqueue_in(&txn, [job(1)]).unwrap());
    txn.commit().unwrap();
    // Either this transaction or the writer's is the next one.
    let hold = rig.begin();
    let first = within("stats", rig.queue.stats(Select::all())).await;
    match first {
        Ok(stats) => assert_eq!(stats.total, 1),
        Err(error) => assert_eq!(error.backend_kind(), Some(BackendErrorKind::Busy), "{error}"),
    }
    drop(hold);
    assert_eq!(rig.queue.get(id(1)).await.unwrap().map(|job| job.id), Some(id(1)));
    rig.queue.enqueue(job(2)).await.unwrap();
    assert_eq!(rig.stats().await.total, 2);
    assert_eq!(rig.verify().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_both_sides_take_turns_without_a_deadlock() {
    let rig = Arc::new(Rig::new().await);
    let mut stream = rig.queue.stream("worker").capacity(4).open().await.unwrap();
    let applications = (0..3u64).map(|thread| {
        let rig = Arc::clone(&rig);
        tokio::task::spawn_blocking(move || {
            for number in 0..40 {
                let number = 1 + thread * 1000 + number;
                let txn = rig.order(number);
                drop(rig.backend.enqueue_in(&txn, [job(number)]).unwrap());
                if number % 4 == 0 { txn.abort().unwrap() } else { txn.commit().unwrap() }
            }
        })
    });
    let applications: Vec<_> = applications.collect();
    let callers = (3..5u64).map(|task| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            for number in 0..40 {
                rig.queue.enqueue(job(1 + task * 1000 + number)).await.unwrap();
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut done = 0;
    while done < 90 + 80 {
        let batch = within("jobs", stream.next()).await.unwrap().unwrap();
        for (nth, claimed) in batch.iter().enumerate() {
            if nth % 2 == 0 {
                rig.queue.complete(claimed, ()).await.unwrap();
            } else {
                let (rig, lease) = (Arc::clone(&rig), claimed.lease());
                let completed = tokio::task::spawn_blocking(move || {
                    let txn = rig.begin();
                    drop(rig.backend.complete_in(&txn, lease, ()).unwrap());
                    txn.commit().unwrap();
                });
                completed.await.unwrap();
            }
            done += 1;
        }
    }
    for task in applications.into_iter().chain(callers) {
        task.await.unwrap();
    }
    assert_eq!(rig.stats().await.completed, 170);
    assert_eq!(rig.verify().await, 170);
    assert_eq!(rig.orders().len(), 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_has_one_queue_to_a_prefix() {
    let rig = Rig::new().await;
    let twice = RedbBackend::with_database(Arc::clone(&rig.db)).unwrap_err();
    assert_eq!(twice.kind(), BackendErrorKind::AlreadyOpen, "{twice}");
    let backend = open(&rig.db, &RedbOptions::default().with_table_prefix("mail_"));
    let mail = PoolQueue::new(backend.clone()).await.unwrap();
    let txn = rig.order(1);
    drop(rig.backend.enqueue_in(&txn, [job(1)]).unwrap());
    drop(backend.enqueue_in(&txn, [job(1), job(2)]).unwrap());
    txn.commit().unwrap();
    assert_eq!(rig.stats().await.total, 1);
    assert_eq!(mail.stats(Select::all()).await.unwrap().total, 2);
    assert_eq!((rig.verify().await, mail.verify().await.unwrap()), (1, 2));
    mail.close().await.unwrap();
    drop((mail, backend));
    // A clone keeps the queue; the last one lets go of it.
    let clone = rig.backend.clone();
    let Rig { db, backend, queue, directory } = rig;
    drop((queue, backend));
    assert_eq!(
        RedbBackend::with_database(Arc::clone(&db)).unwrap_err().kind(),
        BackendErrorKind::AlreadyOpen
    );
    drop(clone);
    drop(RedbBackend::with_database(Arc::clone(&db)).unwrap());
    drop(directory);
}

#[test]
fn a_prefix_that_is_no_part_of_a_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    for prefix in ["1st_", "a b", "ü", "x".repeat(65).as_str()] {
        let options = RedbOptions::default().with_table_prefix(prefix);
        let refused = RedbBackend::create_database_with(&path, &options).unwrap_err();
        assert_eq!(refused.kind(), BackendErrorKind::Invalid);
        assert!(refused.to_string().contains("table_prefix"), "{refused}");
        let refused = RedbBackend::open_with(&path, options, Default::default()).unwrap_err();
        assert_eq!(refused.kind(), BackendErrorKind::Invalid);
        assert!(!path.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_database_of_redbs_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plain.redb");
    let db = Arc::new(Database::create(&path).unwrap());
    let queue = PoolQueue::new(open(&db, &RedbOptions::default())).await.unwrap();
    queue.enqueue(job(1)).await.unwrap();
    queue.close().await.unwrap();
    drop((queue, db));
    // With our storage, and with a table of the application's in it.
    let db = Arc::new(RedbBackend::create_database(&path).unwrap());
    let txn = db.begin_write().unwrap();
    txn.open_table(ORDERS).unwrap().insert(1, "tea").unwrap();
    txn.commit().unwrap();
    let queue = PoolQueue::new(open(&db, &RedbOptions::default())).await.unwrap();
    assert_eq!(queue.verify().await.unwrap(), 1);
    let Health { file_bytes, .. } = queue.health().store;
    assert_eq!(file_bytes, 0, "the file is not known");
    drop((queue, db));
    // The queue alone, by its path.
    assert_eq!(check_copy(&path).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_format_are_refused_and_left_alone() {
    let rig = Rig::new().await;
    let Rig { db, backend, queue, directory } = rig;
    queue.close().await.unwrap();
    drop((queue, backend));
    let meta = TableDefinition::<&str, &[u8]>::new("poolqueue_meta");
    let txn = db.begin_write().unwrap();
    txn.open_table(meta).unwrap().insert("format", sealed(1, "format", &[2]).as_slice()).unwrap();
    txn.commit().unwrap();
    let error = RedbBackend::with_database(Arc::clone(&db)).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::NewerFormat, "{error}");
    db.begin_write().unwrap().commit().unwrap();
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_queue_waits_for_the_application_only_so_long() {
    let directory = tempfile::tempdir().unwrap();
    let db = Arc::new(Database::create(directory.path().join("plain.redb")).unwrap());
    let hold = db.begin_write().unwrap();
    let attempt = RedbBackend::with_database_options(Arc::clone(&db), short(), Default::default());
    assert_eq!(attempt.unwrap_err().kind(), BackendErrorKind::Busy);
    drop(hold);
    drop(open(&db, &RedbOptions::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_does_not_wait_for_the_application_and_leaves_it_its_database() {
    let rig = Rig::new().await;
    rig.queue.enqueue(job(1)).await.unwrap();
    let hold = rig.order(1);
    within("the close", rig.queue.close()).await.unwrap();
    hold.commit().unwrap();
    rig.order(2).commit().unwrap();
    assert_eq!(rig.orders(), [1, 2]);
    let rig = rig.restart_closed().await;
    assert_eq!(rig.verify().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_whole_store_of_one_moment() {
    let rig = Arc::new(Rig::new().await);
    rig.queue.enqueue_all((1..=500).map(job)).await.unwrap();
    let mut stream = rig.queue.stream("worker").capacity(4).open().await.unwrap();
    let enqueuing = {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            for number in 501..=700 {
                match number % 2 {
                    0 => drop(rig.queue.enqueue(job(number)).await.unwrap()),
                    _ => drop(rig.stage(job(number))),
                }
            }
        })
    };
    for _ in 0..20 {
        for claimed in within("jobs", stream.next()).await.unwrap().unwrap() {
            rig.queue.complete(&claimed, vec![7; 2000]).await.unwrap();
        }
    }
    let mut least = 500;
    for round in 0..3 {
        let path = rig.path(&format!("backup-{round}.redb"));
        let (copier, to) = (rig.backend.clone(), path.clone());
        tokio::task::spawn_blocking(move || copier.backup_to(to)).await.unwrap().unwrap();
        let jobs = check_copy(&path).await;
        assert!(jobs >= least, "{jobs} < {least}");
        least = jobs;
        let before = fs::read(&path).unwrap();
        let error = rig.backend.backup_to(&path).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid);
        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    enqueuing.await.unwrap();
    assert_eq!(rig.verify().await, 700);
    let missing = rig.backend.backup_to(rig.path("missing/backup.redb")).unwrap_err();
    assert_eq!(missing.kind(), BackendErrorKind::Io);
    let left = fs::read_dir(rig.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().ends_with(".new")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_its_file_for_itself_is_backed_up_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let options = RedbOptions::default().with_table_prefix("q_");
    let backend = RedbBackend::open_with(path("jobs.redb"), options.clone(), Default::default()).unwrap();
    let queue = PoolQueue::new(backend.clone()).await.unwrap();
    queue.enqueue_all((1..=10).map(job)).await.unwrap();
    backend.backup_to(path("backup.redb")).unwrap();
    // Its tables keep their names.
    assert_eq!(RedbBackend::open(path("backup.redb")).unwrap_err().kind(), BackendErrorKind::Invalid);
    let copy = RedbBackend::open_with(path("backup.redb"), options, Default::default()).unwrap();
    assert_eq!(PoolQueue::new(copy).await.unwrap().verify().await.unwrap(), 10);
    queue.close().await.unwrap();
    assert_eq!(backend.backup_to(path("late.redb")).unwrap_err().kind(), BackendErrorKind::Closed);
}
