//! Jobs in transactions of the application's: they are there when its rows are, and not when they are not.

#[path = "support/application.rs"]
mod application;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use application::{ORDERS, Rig, check_copy, id, job, next, told, within};
use poolqueue::{
    BackendErrorKind, Error, ErrorKind, Lease, NewJob, PoolQueue, Query, Rejected, Select, Status,
};
use poolqueue_redb::RedbBackend;
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

/// How a transaction ends.
type Ending = fn(&Rig, redb::WriteTransaction);

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_jobs_are_there_together_or_not_at_all() {
    let commit: Ending = |_, txn| txn.commit().unwrap();
    let abort: Ending = |_, txn| txn.abort().unwrap();
    let forget: Ending = |_, txn| drop(txn);
    let unwind: Ending = |_, txn| {
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _txn = txn;
            std::panic::resume_unwind(Box::new("the application's"));
        }));
        unwound.unwrap_err();
    };
    for (ending, orders) in [(commit, 1), (abort, 0), (forget, 0), (unwind, 0)] {
        let rig = Rig::new().await;
        let txn = rig.order(1);
        let staged = rig.backend.enqueue_in(&txn, [job(1), job(2)]).unwrap();
        assert_eq!(staged.ids(), [id(1), id(2)]);
        assert_eq!(rig.queue.get(id(1)).await.unwrap(), None, "seen before the commit");
        assert_eq!(rig.stats().await.total, 0);
        ending(&rig, txn);
        assert_eq!(rig.orders().len() as u64, orders);
        assert_eq!(rig.queue.get(id(1)).await.unwrap().is_some(), orders == 1);
        assert_eq!(rig.stats().await.total, 2 * orders);
        assert_eq!(rig.verify().await, 2 * orders);
        // The queue goes on, also with what was rolled back.
        rig.queue.enqueue(job(3)).await.unwrap();
        assert_eq!(rig.stats().await.pending, 2 * orders + 1);
        assert_eq!(rig.verify().await, 2 * orders + 1);
        let again = rig.queue.enqueue(job(1)).await;
        assert_eq!(again.is_err(), orders == 1, "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_stream_gets_the_job_after_the_commit_without_help() {
    let rig = Rig::new().await;
    let mut events = rig.queue.events();
    let mut stream = rig.queue.stream("worker").capacity(1).open().await.unwrap();
    for number in 1..=30 {
        let txn = rig.order(number);
        let staged = rig.backend.enqueue_in(&txn, [job(number)]).unwrap();
        txn.commit().unwrap();
        if number % 3 == 0 {
            staged.wake();
        }
        let claimed = next(&mut stream).await;
        assert_eq!(claimed.id, id(number));
        rig.queue.complete(&claimed, b"done").await.unwrap();
        let expected = ["enqueued", "claim", "complete"].map(|event| format!("{event} {number}"));
        assert_eq!(told(&mut events, 3).await, expected);
    }
    assert_eq!(rig.verify().await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_right_the_moment_the_transaction_is_committed() {
    let rig = Rig::new().await;
    for number in 1..=100 {
        rig.stage(job(number));
        assert_eq!(rig.stats().await.total, number);
        let page = rig.queue.list(Query::new(Select::all()).limit(1000)).await.unwrap();
        assert_eq!(page.jobs.len() as u64, number);
        if number % 10 == 0 {
            assert_eq!(rig.verify().await, number);
        }
    }
}

/// One refused job among good ones: nothing is written, and the transaction is none the worse.
#[tokio::test(flavor = "multi_thread")]
async fn refused_jobs_leave_the_transaction_usable_and_without_a_trace() {
    let rig = Rig::new().await;
    rig.queue.enqueue(job(1).unique("only one")).await.unwrap();
    let large = vec![0; 2 << 20];
    let cases: Vec<(NewJob, ErrorKind)> = vec![
        (job(1), ErrorKind::Rejected),
        (job(20), ErrorKind::Rejected),
        (job(3).unique("only one"), ErrorKind::Rejected),
        (NewJob::new("", b""), ErrorKind::Invalid),
        (NewJob::new("kind", large), ErrorKind::TooLarge),
    ];
    for (bad, kind) in cases {
        let txn = rig.begin();
        let error = rig.backend.enqueue_in(&txn, [job(20), bad, job(21)]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        txn.open_table(ORDERS).unwrap().insert(7, "tea").unwrap();
        assert!(rig.backend.enqueue_in(&txn, []).unwrap().ids().is_empty());
        txn.commit().unwrap();
        assert_eq!(rig.orders(), [7]);
        let before = rig.db.begin_read().unwrap();
        let inbox = redb::TableDefinition::<u64, ()>::new("poolqueue_inbox");
        assert_eq!(before.open_table(inbox).unwrap().len().unwrap(), 0, "{kind:?}");
        assert_eq!(rig.verify().await, 1);
    }
    // Another try in the same transaction is as good as the first.
    let txn = rig.begin();
    rig.backend.enqueue_in(&txn, [job(1)]).unwrap_err();
    drop(rig.backend.enqueue_in(&txn, [job(4)]).unwrap());
    let twice = rig.backend.enqueue_in(&txn, [job(4)]).unwrap_err();
    assert_eq!(twice.rejected(), Some(&Rejected::Duplicate { id: id(4) }));
    txn.commit().unwrap();
    assert_eq!(rig.stats().await.total, 2);
    assert_eq!(rig.verify().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_frees_the_slot_with_the_commit() {
    let rig = Rig::new().await;
    rig.queue.enqueue_all([job(1), job(2)]).await.unwrap();
    let mut events = rig.queue.events();
    let mut stream = rig.queue.stream("worker").capacity(1).open().await.unwrap();
    let first = next(&mut stream).await;
    assert_eq!(told(&mut events, 1).await, ["claim 1"]);
    let txn = rig.order(1);
    let staged = rig.backend.complete_in(&txn, first.lease(), b"sent").unwrap();
    assert_eq!(staged.ids(), [id(1)]);
    assert_eq!(stream.held(), 1, "before the commit");
    txn.commit().unwrap();
    let second = next(&mut stream).await;
    assert_eq!(second.id, id(2));
    assert_eq!(told(&mut events, 2).await, ["complete 1", "claim 2"]);
    let done = rig.queue.get(id(1)).await.unwrap().unwrap();
    assert_eq!((done.status, done.output), (Status::Completed, Some(b"sent".to_vec())));
    let stats = rig.stats().await;
    assert_eq!((stats.completed, stats.running), (1, 1));
    assert_eq!(rig.verify().await, 2);
    // Rolled back, the job is held as before.
    let txn = rig.order(2);
    drop(rig.backend.complete_in(&txn, second.lease(), ()).unwrap());
    txn.abort().unwrap();
    assert_eq!(rig.stats().await.running, 1);
    assert_eq!(stream.held(), 1);
    rig.queue.complete(&second, ()).await.unwrap();
    assert_eq!(rig.orders(), [1]);
    assert_eq!(rig.verify().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_lease_completes_nothing_and_the_transaction_goes_on() {
    let rig = Rig::new().await;
    rig.queue.enqueue(job(1)).await.unwrap();
    let mut stream = rig.queue.stream("worker").capacity(1).open().await.unwrap();
    let zombie = next(&mut stream).await.lease();
    rig.queue.release(zombie).await.unwrap();
    let current = next(&mut stream).await.lease();
    let missing = Lease { id: id(9), attempt: current.attempt };
    let txn = rig.order(1);
    for lease in [zombie, missing] {
        let error = rig.backend.complete_in(&txn, lease, b"twice").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    }
    txn.commit().unwrap();
    assert_eq!(rig.orders(), [1]);
    assert_eq!(rig.queue.get(id(1)).await.unwrap().unwrap().status, Status::Running);
    let txn = rig.order(2);
    rig.backend.complete_in(&txn, current, b"once").unwrap().wake();
    let again = rig.backend.complete_in(&txn, current, b"once").unwrap_err();
    assert!(matches!(again.rejected(), Some(Rejected::AlreadyApplied { .. })), "{again}");
    txn.commit().unwrap();
    assert_eq!(rig.stats().await.completed, 1);
    assert_eq!(rig.verify().await, 1);
}

/// The effect and the completion are one: however often the job is run, the row is written once.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_what_it_enqueues_next_are_one_transaction() {
    let rig = Rig::new().await;
    rig.stage(job(1));
    let mut stream = rig.queue.stream("worker").capacity(1).open().await.unwrap();
    for number in 1..=20 {
        let claimed = next(&mut stream).await;
        assert_eq!(claimed.id, id(number));
        let txn = rig.order(number);
        drop(rig.backend.complete_in(&txn, claimed.lease(), ()).unwrap());
        drop(rig.backend.enqueue_in(&txn, [job(number + 1)]).unwrap());
        txn.commit().unwrap();
    }
    assert_eq!(rig.orders(), (1..=20).collect::<Vec<_>>());
    drop(next(&mut stream).await);
    assert_eq!(rig.verify().await, 21);
    let rig = rig.restart().await;
    assert_eq!(rig.stats().await.completed, 20);
    assert_eq!(rig.verify().await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_claimed_in_the_order_in_which_they_were_enqueued_whichever_way() {
    let mut rig = Rig::new().await;
    let at = std::time::SystemTime::now() - Duration::from_secs(60);
    let mut number = 0;
    // The ids go down, so that only the sequence can be what orders them.
    let mut make = || {
        number += 1;
        job(10_000 - number).run_at(at.into())
    };
    let mut expected = Vec::new();
    for round in 0..4 {
        for _ in 0..3 {
            expected.push(rig.queue.enqueue(make()).await.unwrap());
            expected.push(rig.stage(make()));
            expected.push(rig.stage(make()));
            let lost = rig.begin();
            drop(rig.backend.enqueue_in(&lost, [job(77)]).unwrap());
            lost.abort().unwrap();
            expected.extend(rig.queue.enqueue_all([make(), make()]).await.unwrap());
        }
        if round < 3 {
            rig = rig.restart().await;
        }
    }
    let mut stream = rig.queue.stream("worker").capacity(1).open().await.unwrap();
    for expected in expected {
        let claimed = next(&mut stream).await;
        assert_eq!(claimed.id, expected);
        rig.queue.complete(&claimed, ()).await.unwrap();
    }
    rig.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_and_unique_jobs_work_in_transactions_too() {
    let rig = Rig::new().await;
    let mut stream = rig.queue.stream("worker").capacity(2).open().await.unwrap();
    rig.stage(job(1).run_after(Duration::from_millis(20)).unique("key"));
    let error = rig.queue.enqueue(job(2).unique("key")).await.unwrap_err();
    assert_eq!(error.rejected(), Some(&Rejected::Duplicate { id: id(1) }));
    let claimed = next(&mut stream).await;
    let txn = rig.begin();
    drop(rig.backend.complete_in(&txn, claimed.lease(), ()).unwrap());
    // The key is free for the rest of the same transaction.
    drop(rig.backend.enqueue_in(&txn, [job(3).unique("key")]).unwrap());
    txn.commit().unwrap();
    assert_eq!(next(&mut stream).await.id, id(3));
    assert_eq!(rig.verify().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_database_is_refused() {
    let (rig, other) = (Rig::new().await, Rig::new().await);
    let plain = Database::create(rig.path("plain.redb")).unwrap();
    let foreign = [other.begin(), plain.begin_write().unwrap()];
    for txn in foreign {
        let error = rig.backend.enqueue_in(&txn, [job(1)]).unwrap_err();
        assert!(matches!(&error, Error::Invalid(invalid) if invalid.argument == "txn"), "{error}");
        assert!(txn.list_tables().unwrap().count() != 1, "a table was made");
        txn.commit().unwrap();
    }
    assert_eq!((rig.verify().await, other.verify().await), (0, 0));
    // A queue that has its file for itself has no transactions of the application's.
    let own = RedbBackend::open(rig.path("own.redb")).unwrap();
    let txn = rig.begin();
    let error = own.enqueue_in(&txn, [job(1)]).unwrap_err();
    assert!(error.to_string().contains("with_database"), "{error}");
    txn.commit().unwrap();
    rig.queue.close().await.unwrap();
    let txn = rig.begin();
    let closed = rig.backend.enqueue_in(&txn, [job(1)]).unwrap_err();
    assert_eq!(closed.backend_kind(), Some(BackendErrorKind::Closed));
}

/// The application's process dies after its commit, before the queue's writer has heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_found_by_whoever_opens_the_file_next() {
    let rig = Rig::new().await;
    rig.queue.enqueue_all([job(1), job(2)]).await.unwrap();
    let mut stream = rig.queue.stream("worker").capacity(1).open().await.unwrap();
    let claimed = next(&mut stream).await;
    stream.drain();
    let txn = rig.begin();
    drop(rig.backend.complete_in(&txn, claimed.lease(), b"done").unwrap());
    drop(rig.backend.enqueue_in(&txn, [job(3)]).unwrap());
    txn.commit().unwrap();
    // The next transaction keeps the writer out, if it comes first; the file is what a killed process leaves.
    let hold = rig.begin();
    for name in ["one.redb", "two.redb"] {
        std::fs::copy(rig.path("app.redb"), rig.path(name)).unwrap();
    }
    drop(hold);
    assert_eq!(check_copy(&rig.path("one.redb")).await, 3);
    let db = Arc::new(RedbBackend::create_database(rig.path("two.redb")).unwrap());
    let queue = PoolQueue::new(RedbBackend::with_database(Arc::clone(&db)).unwrap()).await.unwrap();
    assert_eq!(queue.verify().await.unwrap(), 3);
    let stats = queue.stats(Select::all()).await.unwrap();
    assert_eq!((stats.completed, stats.pending), (1, 2));
    let mut stream = queue.stream("worker").capacity(3).open().await.unwrap();
    let batch = within("jobs", stream.next()).await.unwrap().unwrap();
    assert_eq!(batch.iter().map(|job| job.id).collect::<Vec<_>>(), [id(2), id(3)]);
    assert_eq!(rig.verify().await, 3);
}
