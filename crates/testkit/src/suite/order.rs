//! Who goes first: by priority, then due time, then the order of enqueues.

use poolqueue::{Failure, JobId, Priority, Status};

use super::support::*;
use crate::Fixture;

/// Claims everything that is due, one by one.
async fn one_by_one<F: Fixture>(scene: &Scene<F>) -> Vec<JobId> {
    let mut order = Vec::new();
    loop {
        let claimed = scene.claim(1).await;
        if claimed.is_empty() {
            return order;
        }
        order.extend(ids(&claimed));
    }
}

pub async fn jobs_go_first_in_first_out<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(scene.add(plain()).await);
        order.extend(scene.add_all(plain_jobs(3)).await);
    }
    assert_eq!(one_by_one(&scene).await, order);
}

pub async fn order_of_enqueues_decides_and_not_the_ids<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let order: Vec<JobId> = [9, 3, 7, 1, 5].map(nth_id).into();
    for id in &order {
        scene.add(plain().id(*id)).await;
    }
    assert_eq!(ids(&scene.claim(10).await), order);
}

pub async fn lower_priority_number_runs_first<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let levels = [0, i16::MAX, -1, 1, i16::MIN, Priority::LOW.0, Priority::HIGH.0];
    let ids = scene.add_all(levels.map(|level| plain().priority(level))).await;
    let expected = [4, 6, 2, 0, 3, 5, 1].map(|nth: usize| ids[nth]);
    assert_eq!(one_by_one(&scene).await, expected);
}

pub async fn earlier_due_time_goes_first_within_a_priority<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let back = |seconds| at(START.minus(seconds * SECOND));
    let late = scene.add(plain().run_at(back(1))).await;
    let early = scene.add(plain().run_at(back(3))).await;
    let middle = scene.add(plain().run_at(back(2))).await;
    let first = scene.add(plain().priority(-1)).await;
    assert_eq!(one_by_one(&scene).await, [first, early, middle, late]);
}

pub async fn jobs_due_at_the_same_time_go_by_the_order_of_enqueues<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let due = START.plus(SECOND);
    let first = scene.add_all((0..4).map(|_| plain().run_at(at(due)))).await;
    scene.advance(SECOND).await;
    let second = scene.add_all(plain_jobs(4)).await;
    assert_eq!(one_by_one(&scene).await, [first, second].concat());
}

pub async fn failed_job_goes_by_its_new_due_time<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let failing = scene.add(plain()).await;
    let claimed = scene.claim(1).await;
    scene.advance(SECOND).await;
    let before = scene.add(plain()).await;
    scene.advance(SECOND).await;
    scene.fail_retry(claimed[0].lease(), "no").await.unwrap();
    scene.advance(SECOND).await;
    let after = scene.add(plain()).await;
    assert_eq!(one_by_one(&scene).await, [before, failing, after]);
}

pub async fn failed_job_with_a_delay_goes_behind_those_due_before_it<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let failing = scene.add(plain()).await;
    let claimed = scene.claim(1).await;
    scene.fail_retry(claimed[0].lease(), Failure::new("no").retry_after(2 * SECOND)).await.unwrap();
    scene.advance(SECOND).await;
    let before = scene.add(plain()).await;
    assert_eq!(ids(&scene.claim(10).await), [before], "the failed one is not due");
    scene.advance(SECOND).await;
    assert_eq!(ids(&scene.claim(10).await), [failing]);
}

pub async fn released_lost_and_resumed_jobs_keep_their_places<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(6)).await;
    let held = scene.claim(4).await;
    scene.advance(SECOND).await;
    scene.pause(ids[4]).await.unwrap();
    scene.release(held[2].lease()).await.unwrap();
    scene.release(held[0].lease()).await.unwrap();
    scene.lose_worker("claimer").await.unwrap();
    scene.resume(ids[4]).await.unwrap();
    scene.add(plain()).await;
    assert_eq!(one_by_one(&scene).await[..6], ids);
}

pub async fn job_retried_by_an_operator_goes_to_the_end<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let retried = scene.add(plain()).await;
    scene.cancel(retried).await.unwrap();
    let before = scene.add(plain()).await;
    scene.advance(SECOND).await;
    scene.retry(retried).await.unwrap();
    assert_eq!(one_by_one(&scene).await, [before, retried]);
}

pub async fn order_of_claims_is_the_same_for_any_capacity<F: Fixture>() {
    let mut orders = Vec::new();
    for capacity in [1, 3, 100] {
        let scene = Scene::<F>::new().await;
        let jobs = (0..30u128).map(|n| {
            let run_at = START.minus(u32::try_from(n * 11 % 5).unwrap() * SECOND);
            plain().id(nth_id(n)).priority(i16::try_from(n * 7 % 3).unwrap()).run_at(at(run_at))
        });
        scene.add_all(jobs).await;
        let mut stream = scene.stream("w", capacity).await;
        let mut order = Vec::new();
        while order.len() < 30 {
            for job in next(&mut stream).await {
                order.push(job.id);
                scene.complete(&job, ()).await.unwrap();
            }
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
}

pub async fn future_jobs_of_a_high_priority_do_not_get_in_the_way<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let future = (0..10_000).map(|n| plain().priority(-100).run_after(HOUR + n * SECOND));
    scene.add_all(future).await;
    let due = scene.add_all((0..5).map(|_| plain().priority(100))).await;
    assert_eq!(one_by_one(&scene).await, due);
    scene.advance(HOUR).await;
    let claimed = scene.claim(10).await;
    assert_eq!(claimed.len(), 1, "the first of them became due");
    assert_eq!(claimed[0].priority.0, -100);
}

pub async fn job_that_became_due_takes_its_place_by_priority<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let normal = scene.add_all(plain_jobs(3)).await;
    let urgent = scene.add(plain().priority(-1).run_after(SECOND)).await;
    scene.claim(1).await;
    scene.advance(SECOND).await;
    assert_eq!(one_by_one(&scene).await, [urgent, normal[1], normal[2]]);
}

pub async fn jobs_that_became_due_together_go_by_their_due_times<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let delays = [5u32, 1, 4, 2, 3];
    let ids = scene.add_all(delays.map(|seconds| plain().run_after(seconds * SECOND))).await;
    scene.advance(HOUR).await;
    let expected = [1, 3, 4, 2, 0].map(|nth: usize| ids[nth]);
    assert_eq!(one_by_one(&scene).await, expected);
    assert_eq!(scene.statuses(&ids).await, [Status::Running; 5]);
}
