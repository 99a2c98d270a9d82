//! Deleting what has been over for long enough.

use std::time::Duration;

use poolqueue::{Retention, Select, Status};

use super::support::*;
use crate::Fixture;

const OVER: [Status; 5] =
    [Status::Completed, Status::Stopped, Status::Unscheduled, Status::UnknownStopped, Status::Dead];

pub async fn cleanup_deletes_what_completed_longer_ago_than_its_span<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let old = scene.bring(fresh(), Status::Completed).await.id;
    scene.advance(HOUR).await;
    let young = scene.bring(fresh(), Status::Completed).await.id;
    assert_eq!(scene.cleanup(HOUR).await.unwrap(), [], "exactly an hour is not longer than an hour");
    scene.advance(Duration::from_micros(1)).await;
    assert_eq!(scene.cleanup(HOUR).await.unwrap(), [old]);
    assert_eq!(scene.get(old).await.unwrap(), None);
    assert_eq!(scene.status(young).await, Status::Completed);
    assert_eq!(scene.cleanup(HOUR).await.unwrap(), []);
}

pub async fn cleanup_leaves_every_other_status<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in Status::ALL {
        scene.bring(fresh(), *status).await;
    }
    scene.advance(24 * HOUR).await;
    assert_eq!(scene.cleanup(HOUR).await.unwrap().len(), 1);
    let stats = scene.stats(Select::new()).await.unwrap();
    assert_eq!((stats.completed, stats.total as usize), (0, Status::ALL.len() - 1));
    scene.verify().await.unwrap();
}

pub async fn age_counts_from_the_end_and_not_from_the_enqueue<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let id = scene.add(fresh()).await;
    scene.advance(24 * HOUR).await;
    let job = scene.take(id, "w").await;
    scene.complete(job.lease(), ()).await.unwrap();
    scene.advance(SECOND).await;
    assert_eq!(scene.cleanup(HOUR).await.unwrap(), []);
}

pub async fn late_completion_begins_a_job_s_age_anew<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::UnknownStopped).await;
    scene.advance(2 * HOUR).await;
    scene.complete(job.lease(), ()).await.unwrap();
    assert_eq!(scene.cleanup(HOUR).await.unwrap(), []);
    scene.advance(2 * HOUR).await;
    assert_eq!(scene.cleanup(HOUR).await.unwrap(), [job.id]);
}

pub async fn every_final_status_has_a_span_of_its_own<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut ids = Vec::new();
    for status in OVER {
        ids.push(scene.bring(fresh(), status).await.id);
    }
    let retention = OVER
        .iter()
        .zip(1..)
        .fold(Retention::new(), |retention, (status, hours)| retention.keep(*status, hours * HOUR + SECOND));
    for id in ids {
        scene.advance(HOUR).await;
        assert_eq!(scene.retain(&retention).await.unwrap(), []);
        scene.advance(2 * SECOND).await;
        assert_eq!(scene.retain(&retention).await.unwrap(), [id]);
        scene.clock.jump(scene.now().minus(2 * SECOND));
    }
    assert_eq!(scene.verify().await.unwrap(), 0);
}

pub async fn unnamed_statuses_are_kept_for_ever<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in OVER {
        scene.bring(fresh(), status).await;
    }
    scene.advance(1_000 * 24 * HOUR).await;
    assert_eq!(scene.retain(&Retention::new()).await.unwrap(), []);
    assert_eq!(scene.retain(&Retention::new().keep(Status::Dead, SECOND)).await.unwrap().len(), 1);
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 4);
}

pub async fn spans_of_zero_and_statuses_that_are_not_final_are_refused<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.bring(fresh(), Status::Completed).await;
    scene.advance(HOUR).await;
    assert_eq!(invalid(scene.cleanup(Duration::ZERO).await), "ttl");
    let retention = Retention::new().keep(Status::Completed, SECOND);
    let zero = retention.clone().keep(Status::Dead, Duration::ZERO);
    assert_eq!(invalid(scene.retain(&zero).await), "retention");
    for status in Status::ALL.iter().filter(|status| !status.is_final()) {
        let live = retention.clone().keep(*status, SECOND);
        assert_eq!(invalid(scene.retain(&live).await), "retention");
    }
    assert_eq!(scene.stats(Select::new()).await.unwrap().completed, 1, "nothing was applied");
}

pub async fn span_beyond_all_time_keeps_everything<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.bring(fresh(), Status::Completed).await;
    scene.advance(HOUR).await;
    assert_eq!(scene.cleanup(Duration::MAX).await.unwrap(), []);
}

pub async fn more_jobs_than_one_slice_are_all_deleted<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all(plain_jobs(2_500)).await;
    scene.complete_all(scene.claim(2_500).await.iter().map(|job| (job.lease(), ()))).await.unwrap();
    let live = scene.add(plain()).await;
    scene.advance(HOUR).await;
    assert_eq!(scene.cleanup(SECOND).await.unwrap(), ids);
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 1);
    assert_eq!(scene.status(live).await, Status::InitialPending);
    assert_eq!(scene.verify().await.unwrap(), 1);
}
