//! Standing claims: what they get, in which commit, and that none is forgotten.

use super::*;
use crate::lifecycle::Event as E;

#[tokio::test]
async fn waiting_claim_is_served_in_the_commit_of_the_enqueue() {
    let rig = Rig::new();
    let slots = Slots::new(2);
    let claimed = rig.stand(any(&slots)).await;
    rig.commit(add_plain([1])).await;
    assert_eq!((rig.faults.commits(), slots.held_count()), (1, 1));
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)]);
}

#[tokio::test]
async fn freed_slot_is_filled_in_the_commit_of_the_completion() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    rig.commit(add_plain([1, 2])).await;
    let first = rig.claim(any(&slots)).await;
    let claimed = rig.stand(any(&slots)).await;
    let before = rig.faults.commits();
    rig.commit(complete(first[0].lease())).await;
    assert_eq!((rig.faults.commits(), slots.held()), (before + 1, vec![rig.job(2).await.lease()]));
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(2)]);
}

#[tokio::test]
async fn claim_dropped_on_its_way_hands_its_jobs_back() {
    let rig = Rig::new();
    let slots = Slots::new(2);
    let claimed = rig.stand(any(&slots)).await;
    rig.faults.shut_gate();
    let added = rig.ask(add_plain([1])).await;
    soon(rig.faults.reached(1)).await;
    drop(claimed);
    rig.faults.open_gate();
    soon(added).await.unwrap();
    soon(rig.faults.reached(2)).await;
    rig.settle().await;
    assert_eq!((rig.status(1).await, slots.held_count()), (Status::UnknownRetry, 0));
    assert_eq!(rig.steps(1).await, [EventKind::Claim, EventKind::Release]);
    assert_eq!(rig.claim(any(&slots)).await[0].attempt.0, 2);
}

#[tokio::test]
async fn answered_claim_dropped_before_it_was_read_hands_its_jobs_back() {
    let rig = Rig::new();
    let slots = Slots::new(2);
    let claimed = rig.stand(any(&slots)).await;
    rig.commit(add_plain([1])).await;
    drop(claimed);
    rig.settle().await;
    assert_eq!((rig.status(1).await, slots.held_count()), (Status::UnknownRetry, 0));
}

/// A job in the state that a case starts from, and what makes it ready. Whatever it is, a claim that stands gets
/// the job by it, not by the backstop.
#[tokio::test]
async fn every_way_to_become_ready_serves_a_standing_claim() {
    let worker = Slots::new(1);
    let fail = |delay| E::FailRetry { failure: Failure::new("no").retry_after(delay), random: 0 };
    let running: &[E] = &[];
    let cases: [(&[E], E); 8] = [
        (running, E::Release),
        (running, E::LoseWorker),
        (running, fail(Duration::ZERO)),
        (running, E::StreamEnded { message: String::new() }),
        (running, E::Suspend { until: Timestamp::from_micros(0) }),
        (&[E::Release, E::Pause], E::Resume),
        (&[E::Stop { message: String::new() }], E::Retry),
        (&[E::LoseWorker, E::Pause], E::Resume),
    ];
    for (before, made_ready) in cases {
        let rig = Rig::new();
        rig.commit(add_plain([1])).await;
        rig.claim(any(&worker)).await;
        for event in before {
            rig.commit(change(id(1), event.clone())).await;
        }
        let slots = Slots::new(1);
        let claimed = rig.stand(any(&slots)).await;
        rig.commit(change(id(1), made_ready.clone())).await;
        assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)], "{made_ready:?}");
    }
}

#[tokio::test]
async fn clock_and_capacity_serve_a_standing_claim() {
    let rig = Rig::new();
    let slots = Slots::new(1);
    rig.commit(add([new_job(1).run_after(Duration::from_secs(9)), new_job(2)])).await;
    assert_eq!(ids(&rig.claim(any(&slots)).await), [id(2)]);
    let claimed = rig.stand(any(&slots)).await;
    rig.clock.advance(Duration::from_secs(9));
    rig.settle().await;
    slots.set_capacity(2);
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(1)]);
}

/// Brings jobs one crash below their limit.
async fn suspects(rig: &Rig, suspects: impl IntoIterator<Item = u8> + Clone) {
    rig.commit(add(suspects.clone().into_iter().map(|n| new_job(n).crash_limit(2)))).await;
    rig.claim(any(&Slots::new(9))).await;
    for n in suspects {
        rig.commit(change(id(n), E::LoseWorker)).await;
    }
}

#[tokio::test]
async fn suspect_is_claimed_when_the_one_before_it_is_answered() {
    let rig = Rig::new();
    suspects(&rig, [1, 2]).await;
    let (one, other) = (Slots::new(9), Slots::new(9));
    let first = rig.claim(any(&one)).await;
    assert_eq!(ids(&first), [id(1)]);
    let claimed = rig.stand(any(&other)).await;
    rig.commit(complete(first[0].lease())).await;
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(2)]);
}

/// A late failure ends the row of crashes. It moves the job to the time of its failure, which is the time it had when
/// both came in one microsecond (or when the clock went back, and time stands still): then its place in the order
/// is the same, and the claim that had to leave it out was not looked at again.
#[tokio::test]
async fn job_that_is_no_suspect_any_more_serves_a_standing_claim() {
    let rig = Rig::new();
    suspects(&rig, [1, 2]).await;
    assert_eq!(ids(&rig.claim(any(&Slots::new(9))).await), [id(1)]);
    let claimed = rig.stand(any(&Slots::new(9))).await;
    let failed = E::FailRetry { failure: Failure::new("late"), random: 0 };
    rig.commit(change(id(2), failed)).await;
    assert_eq!(ids(&soon(claimed).await.unwrap().concat()), [id(2)]);
}

/// One group takes a bounded number of jobs. What was left for other claims was forgotten when the next group had
/// commands of its own.
#[tokio::test]
async fn claims_behind_a_large_one_are_served_by_the_next_group() {
    let rig = Rig::new();
    let (large, small) = (Slots::new(9_000), Slots::new(5));
    let first = rig.stand(of_kind(&large, "many")).await;
    let second = rig.stand(of_kind(&small, "few")).await;
    rig.faults.shut_gate();
    let mut batch = add_many(5_000, || NewJob::new("many", b""));
    batch.inserts.extend(add([NewJob::new("few", b"").id(id(200))]).inserts);
    let added = rig.ask(batch).await;
    soon(rig.faults.reached(1)).await;
    let next = rig.ask(add_plain([201])).await;
    rig.faults.open_gate();
    soon(added).await.unwrap();
    soon(next).await.unwrap();
    assert_eq!(ids(&soon(second).await.unwrap().concat()), [id(200)]);
    soon(first).await.unwrap();
}

/// Two claims into the same places, at once and with one filter, each counted all of them as its own.
#[tokio::test]
async fn claims_that_share_slots_share_their_capacity() {
    let rig = Rig::new();
    let slots = Slots::new(3);
    rig.commit(add_plain(0..10)).await;
    let claimed = soon(rig.backend.claim(vec![at_once(&slots), at_once(&slots)])).await.unwrap();
    assert_eq!((claimed.concat().len(), slots.held_count()), (3, 3));
    let stand = [rig.stand(any(&slots)).await, rig.stand(any(&slots)).await];
    slots.set_capacity(5);
    rig.settle().await;
    rig.settle().await;
    assert_eq!(slots.held_count(), 5);
    drop(stand);
}

/// The sum of two such capacities, or one and a place that was given back, overflowed.
#[tokio::test]
async fn capacity_without_a_bound_is_no_overflow() {
    let rig = Rig::new();
    let slots = [Slots::new(usize::MAX), Slots::new(usize::MAX)];
    let stand = [rig.stand(any(&slots[0])).await, rig.stand(any(&slots[1])).await];
    rig.commit(add_plain([1, 2])).await;
    let [one, other] = stand.map(soon);
    let (one, other) = (one.await.unwrap().concat(), other.await.unwrap().concat());
    assert_eq!((one.len(), other.len()), (1, 1));
    let again = rig.stand(any(&slots[0])).await;
    rig.commit(Batch { inserts: add_plain([3]).inserts, ..complete(one[0].lease()) }).await;
    assert_eq!(ids(&soon(again).await.unwrap().concat()), [id(3)]);
}

/// The writer went round and round when a large claim had left jobs for others and there were no others.
#[tokio::test]
async fn writer_sleeps_when_jobs_are_left_and_nobody_waits() {
    let clock = Arc::new(time::Looks::default());
    let rig = Rig::with_clock(WriterOptions::default(), clock.clone());
    rig.commit(add_many(4_200, || NewJob::new("kind", b""))).await;
    assert_eq!(rig.claim(at_once(&Slots::new(5_000))).await.len(), 4_096);
    let before = clock.looks();
    for _ in 0..100 {
        // Does nothing, in a step of its own, to a handle that works.
        soon(rig.backend.reopen()).await.unwrap();
    }
    assert!(clock.looks() <= before + 100 + 2, "{} looks at the clock", clock.looks() - before);
}

/// An engine that takes a read that failed once for damage would cost a healthy job.
#[tokio::test]
async fn a_job_is_given_up_as_damaged_only_when_it_is_so_twice() {
    let rig = Rig::new();
    rig.commit(add_plain([1, 2])).await;
    rig.faults.spoil_job(id(1), 1);
    rig.faults.spoil_job(id(2), 2);
    let claimed = rig.claim(at_once(&Slots::new(2))).await;
    assert_eq!(ids(&claimed), [id(1)]);
    assert_eq!((rig.status(1).await, rig.status(2).await), (Status::Running, Status::Dead));
    rig.backend.verify().await.unwrap();
}
