//! Claims as the backend answers them: with and without waiting, several at once, withdrawn, and in the same commit as
//! what made them possible.

use std::sync::{Arc, Mutex};

use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{Batch, Change, Claim, ClaimFilter, Committed, Observer, Slots};
use poolqueue::{EventKind, Job, JobId, Output, Status, Target};

use super::support::*;
use crate::Fixture;

/// What one transaction did.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    inserted: Vec<JobId>,
    steps: Vec<(JobId, EventKind)>,
    deleted: Vec<JobId>,
}

/// Remembers what every transaction did.
#[derive(Debug, Default)]
struct Recorder {
    heard: Mutex<Vec<Heard>>,
}

impl Recorder {
    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Observer for Recorder {
    fn committed(&self, what: Committed<'_>) {
        let heard = Heard {
            inserted: what.inserted.iter().map(|job| job.id).collect(),
            steps: what.transitions.iter().map(|step| (step.after.id, step.event)).collect(),
            deleted: what.deleted.to_vec(),
        };
        self.heard.lock().unwrap().push(heard);
    }
}

fn recorded<F: Fixture>(scene: &Scene<F>) -> Arc<Recorder> {
    let recorder = Arc::new(Recorder::default());
    scene.backend.observe(recorder.clone());
    recorder
}

/// A claim of anything that waits.
fn waiting(assignee: &str, slots: &Arc<Slots>) -> Claim {
    Claim { wait: true, ..claim_of(assignee, slots, ClaimFilter::default()) }
}

fn complete(job: &Job) -> Batch {
    let event = Event::Complete { output: Output::none() };
    let change = Change { target: Target::Lease(job.lease()), only_from: None, event };
    Batch { changes: vec![change], ..Batch::default() }
}

fn inserts(count: usize) -> Batch {
    let inserts = (0..count).map(|n| insert(plain(), nth_id(n as u128))).collect();
    Batch { inserts, ..Batch::default() }
}

pub async fn claim_that_does_not_wait_is_answered_at_once<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots = Slots::new(5);
    let claims = vec![claim_of("a", &slots, ClaimFilter::default()), claim_of("b", &slots, of_kind("k"))];
    let answer = soon(scene.backend.claim(claims)).await.unwrap();
    assert_eq!(answer, [vec![], vec![]]);
    scene.add(plain()).await;
    assert_eq!(slots.held_count(), 0, "it does not stand");
}

pub async fn claim_takes_no_more_than_its_free_slots<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids_added = scene.add_all(plain_jobs(5)).await;
    let slots = Slots::new(2);
    let claim = || vec![claim_of("w", &slots, ClaimFilter::default())];
    let first = soon(scene.backend.claim(claim())).await.unwrap();
    assert_eq!(ids(&first[0]), ids_added[..2]);
    assert_eq!(soon(scene.backend.claim(claim())).await.unwrap(), [vec![]], "the slots are taken");
    scene.complete(first[0][0].lease(), ()).await.unwrap();
    assert_eq!(ids(&soon(scene.backend.claim(claim())).await.unwrap()[0]), [ids_added[2]]);
    assert_eq!(slots.held_count(), 2);
}

pub async fn claimed_jobs_are_listed_in_their_slots_before_the_answer<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(3)).await;
    let slots = Slots::new(3);
    let claimed =
        soon(scene.backend.claim(vec![claim_of("w", &slots, ClaimFilter::default())])).await.unwrap();
    let mut held: Vec<JobId> = slots.held().iter().map(|lease| lease.id).collect();
    held.sort_unstable();
    assert_eq!(held, sorted(ids(&claimed[0])));
    let mut stored: Vec<JobId> = scene.backend.held().await.unwrap().iter().map(|lease| lease.id).collect();
    stored.sort_unstable();
    assert_eq!(stored, held);
    for job in &claimed[0] {
        scene.complete(job.lease(), ()).await.unwrap();
    }
    assert_eq!((slots.held_count(), scene.backend.held().await.unwrap().len()), (0, 0));
}

pub async fn several_claims_of_one_call_each_get_their_own<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let a = scene.add(poolqueue::NewJob::new("a", b"")).await;
    let b = scene.add(poolqueue::NewJob::new("b", b"")).await;
    let claims = ["b", "none", "a"].map(|kind| claim_of(kind, &Slots::new(4), of_kind(kind)));
    let answer = soon(scene.backend.claim(claims.into())).await.unwrap();
    let got: Vec<Vec<JobId>> = answer.iter().map(|jobs| ids(jobs)).collect();
    assert_eq!(got, [vec![b], vec![], vec![a]]);
    assert_eq!(answer[0][0].assignee.as_deref(), Some("b"));
}

pub async fn equal_claims_of_one_call_get_equal_shares<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(12)).await;
    let claims = (0..4).map(|n| claim_of(&format!("w{n}"), &Slots::new(10), ClaimFilter::default()));
    let answer = soon(scene.backend.claim(claims.collect())).await.unwrap();
    assert_eq!(answer.iter().map(Vec::len).collect::<Vec<_>>(), [3; 4]);
}

pub async fn small_claims_leave_their_share_to_the_others<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(12)).await;
    let claims = [1, 2, 100].map(|room| claim_of("w", &Slots::new(room), ClaimFilter::default()));
    let answer = soon(scene.backend.claim(claims.into())).await.unwrap();
    assert_eq!(answer.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 9]);
}

pub async fn job_enqueued_under_a_waiting_claim_is_inserted_and_claimed_in_one_commit<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let recorder = recorded(&scene);
    let slots = Slots::new(1);
    let mut claim = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    scene.commit(inserts(1)).await;
    assert_eq!(slots.held_count(), 1, "it is held by the time the enqueue is answered");
    let id = nth_id(0);
    let heard = Heard { inserted: vec![id], steps: vec![(id, EventKind::Claim)], deleted: vec![] };
    assert_eq!(recorder.heard(), [heard]);
    assert_eq!(ids(&soon(claim).await.unwrap()[0]), [id]);
}

pub async fn completion_under_a_waiting_claim_refills_in_the_same_commit<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.commit(inserts(2)).await;
    let slots = Slots::new(1);
    let first = soon(scene.backend.claim(vec![waiting("w", &slots)])).await.unwrap();
    let mut second = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut second).await.is_none());
    scene.settle().await;
    let recorder = recorded(&scene);
    scene.commit(complete(&first[0][0])).await;
    let steps = vec![(nth_id(0), EventKind::Complete), (nth_id(1), EventKind::Claim)];
    assert_eq!(recorder.heard(), [Heard { steps, ..Heard::default() }]);
    assert_eq!(ids(&soon(second).await.unwrap()[0]), [nth_id(1)]);
    assert_eq!(slots.held_count(), 1);
}

pub async fn waiting_claims_share_a_batch_fairly<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots: Vec<Arc<Slots>> = (0..4).map(|_| Slots::new(10)).collect();
    let mut claims: Vec<_> =
        slots.iter().map(|slots| scene.backend.claim(vec![waiting("w", slots)])).collect();
    for claim in &mut claims {
        assert!(begin(claim).await.is_none());
    }
    scene.commit(inserts(20)).await;
    assert_eq!(slots.iter().map(|slots| slots.held_count()).collect::<Vec<_>>(), [5; 4]);
    for claim in claims {
        assert_eq!(soon(claim).await.unwrap()[0].len(), 5);
    }
}

pub async fn no_more_claims_are_answered_than_there_are_jobs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots: Vec<Arc<Slots>> = (0..3).map(|_| Slots::new(10)).collect();
    let mut claims: Vec<_> =
        slots.iter().map(|slots| scene.backend.claim(vec![waiting("w", slots)])).collect();
    for claim in &mut claims {
        assert!(begin(claim).await.is_none());
    }
    scene.commit(inserts(1)).await;
    scene.settle().await;
    let mut answered = 0;
    for claim in &mut claims {
        answered += usize::from(begin(claim).await.is_some());
    }
    assert_eq!(answered, 1);
}

pub async fn turns_of_waiting_claims_go_round<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots: Vec<Arc<Slots>> = (0..3).map(|_| Slots::new(100)).collect();
    let mut claims: Vec<_> =
        slots.iter().map(|slots| scene.backend.claim(vec![waiting("w", slots)])).collect();
    for claim in &mut claims {
        assert!(begin(claim).await.is_none());
    }
    for _ in 0..30 {
        scene.add(plain()).await;
        for (claim, slots) in claims.iter_mut().zip(&slots) {
            if begin(claim).await.is_some() {
                *claim = scene.backend.claim(vec![waiting("w", slots)]);
                assert!(begin(claim).await.is_none());
            }
        }
        scene.settle().await;
    }
    let shares: Vec<usize> = slots.iter().map(|slots| slots.held_count()).collect();
    assert!(shares.iter().all(|share| *share >= 5), "{shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), 30);
}

pub async fn waiting_call_of_several_claims_is_answered_when_one_of_them_got_a_job<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let claims = ["a", "b"].map(|kind| Claim { wait: true, ..claim_of("w", &Slots::new(1), of_kind(kind)) });
    let mut call = scene.backend.claim(claims.into());
    assert!(begin(&mut call).await.is_none());
    scene.add(plain()).await;
    assert!(begin(&mut call).await.is_none(), "it is for neither");
    let id = scene.add(poolqueue::NewJob::new("b", b"")).await;
    let answer = soon(call).await.unwrap();
    assert_eq!((ids(&answer[0]), ids(&answer[1])), (vec![], vec![id]));
}

pub async fn withdrawn_claim_takes_nothing<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots = Slots::new(10);
    let mut claim = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    drop(claim);
    let id = scene.add(plain()).await;
    assert_eq!(slots.held_count(), 0);
    let job = scene.job(id).await;
    assert_eq!((job.status, job.attempt.0), (Status::InitialPending, 0));
}

pub async fn claim_dropped_before_it_was_read_hands_its_jobs_back<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots = Slots::new(10);
    let mut claim = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    scene.commit(inserts(3)).await;
    assert_eq!(slots.held_count(), 3);
    drop(claim);
    let back = scene.claim(10).await;
    assert_eq!(ids(&back), [0, 1, 2].map(nth_id), "in their old places");
    for job in back {
        assert_eq!((job.attempt.0, job.retry_count, job.failures, job.crashes), (2, 0, 0, 0));
    }
    assert_eq!(slots.held_count(), 0);
    scene.verify().await.unwrap();
}

/// A claim was dropped long after it had taken a job: in between the job was over and deleted, and another one of the same
/// id was with somebody else, at the same attempt. That one was taken away from its holder.
pub async fn claim_dropped_late_does_not_hand_back_a_later_job_of_the_same_id<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots = Slots::new(1);
    let mut claim = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    scene.commit(inserts(1)).await;
    assert_eq!(slots.held_count(), 1);
    scene.complete(nth_id(0), ()).await.unwrap();
    scene.delete(nth_id(0)).await.unwrap();
    scene.commit(inserts(1)).await;
    let held = scene.claim(1).await;
    assert_eq!((ids(&held), held[0].attempt.0), (vec![nth_id(0)], 1));
    drop(claim);
    scene.settle().await;
    assert_eq!(scene.status(nth_id(0)).await, Status::Running);
    scene.complete(held[0].lease(), ()).await.unwrap();
}

/// Nobody has worked on a job that was handed back unread: what it did to its workers before is not forgotten.
pub async fn claim_dropped_before_it_was_read_does_not_forget_crashes<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(plain()).await;
    scene.claim_for("first", 1, ClaimFilter::default()).await;
    let slots = Slots::new(1);
    let mut claim = scene.backend.claim(vec![waiting("second", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    scene.lose_worker("first").await.unwrap();
    assert_eq!((slots.held_count(), scene.job(id).await.crashes), (1, 1));
    drop(claim);
    let again = scene.claim(1).await;
    assert_eq!((again[0].id, again[0].crashes), (id, 1));
}

pub async fn raised_capacity_wakes_a_waiting_claim<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.commit(inserts(2)).await;
    let slots = Slots::new(1);
    soon(scene.backend.claim(vec![waiting("w", &slots)])).await.unwrap();
    let mut claim = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    scene.settle().await;
    assert!(begin(&mut claim).await.is_none());
    slots.set_capacity(2);
    assert_eq!(ids(&soon(claim).await.unwrap()[0]), [nth_id(1)]);
}

pub async fn claims_that_share_slots_do_not_overfill_them<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(10)).await;
    let slots = Slots::new(3);
    let claims = || (0..3).map(|_| claim_of("w", &slots, ClaimFilter::default())).collect();
    let one_call = soon(scene.backend.claim(claims())).await.unwrap();
    assert_eq!(one_call.iter().map(Vec::len).sum::<usize>(), 3);
    let mut calls: Vec<_> = (0..3).map(|_| scene.backend.claim(vec![waiting("w", &slots)])).collect();
    for call in &mut calls {
        assert!(begin(call).await.is_none());
    }
    scene.complete(one_call[0][0].lease(), ()).await.unwrap();
    scene.settle().await;
    assert_eq!(slots.held_count(), 3);
    let stats = scene.stats(poolqueue::Select::new()).await.unwrap();
    assert_eq!((stats.running, stats.completed), (3, 1));
}

pub async fn closed_slots_get_nothing_although_a_claim_still_stands<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let slots = Slots::new(3);
    let mut claim = scene.backend.claim(vec![waiting("w", &slots)]);
    assert!(begin(&mut claim).await.is_none());
    slots.close();
    let id = scene.add(plain()).await;
    slots.set_capacity(5);
    scene.settle().await;
    assert_eq!((slots.free(), slots.held_count()), (0, 0));
    assert!(begin(&mut claim).await.is_none());
    assert_eq!(ids(&scene.claim(1).await), [id], "it is left to others");
}

pub async fn claim_reaches_jobs_beyond_one_step_of_the_writer<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all(plain_jobs(6_000)).await;
    let mut claimed = scene.claim(6_000).await;
    while claimed.len() < 6_000 {
        let more = scene.claim(6_000 - claimed.len()).await;
        assert!(!more.is_empty(), "only {} were claimed", claimed.len());
        claimed.extend(more);
    }
    assert!(claimed.is_sorted_by_key(|job| job.sequence));
}

pub async fn observer_hears_of_every_transaction_in_order_and_before_its_answer<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let recorder = recorded(&scene);
    let mut expected = Vec::new();
    for n in 0..5 {
        let id = nth_id(n);
        scene.commit(Batch { inserts: vec![insert(plain(), id)], ..Batch::default() }).await;
        expected.push(Heard { inserted: vec![id], ..Heard::default() });
        assert_eq!(recorder.heard(), expected);
        let claimed = scene.claim(1).await;
        expected.push(Heard { steps: vec![(id, EventKind::Claim)], ..Heard::default() });
        assert_eq!(recorder.heard(), expected);
        scene.commit(complete(&claimed[0])).await;
        expected.push(Heard { steps: vec![(id, EventKind::Complete)], ..Heard::default() });
        scene.delete(id).await.unwrap();
        expected.push(Heard { deleted: vec![id], ..Heard::default() });
        assert_eq!(recorder.heard(), expected);
    }
    scene.settle().await;
    assert_eq!(recorder.heard(), expected, "nothing happened, nothing is heard");
}
