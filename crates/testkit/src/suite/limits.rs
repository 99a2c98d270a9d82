//! Limits: exactly at one is fine, past one is an error that names it, and nothing is applied.

use poolqueue::{Failure, NewJob, Select, Status};

use super::support::*;
use crate::Fixture;

pub async fn payload_past_its_limit_is_too_large<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let most = 1 << 20;
    let payload: Vec<u8> = (0..most).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let id = scene.add(NewJob::new("k", payload.clone())).await;
    assert!(scene.job(id).await.payload == payload, "a mebibyte comes back as it was");
    assert!(too_large(scene.enqueue(NewJob::new("k", vec![0; most + 1])).await).contains("payload"));
    let batch = [plain(), NewJob::new("k", vec![0; most + 1])];
    assert!(too_large(scene.enqueue_all(batch).await).contains("payload"));
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 1);
}

pub async fn output_past_its_limit_is_too_large_and_the_job_goes_on<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.output_bytes = 100).await;
    let job = scene.bring(fresh(), Status::Running).await;
    let other = scene.bring(fresh(), Status::Running).await;
    assert!(too_large(scene.complete(job.lease(), vec![1; 101]).await).contains("output"));
    let batch = [(other.lease(), vec![]), (job.lease(), vec![1; 101])];
    too_large(scene.complete_all(batch).await);
    assert_eq!((scene.job(job.id).await, scene.job(other.id).await), (job.clone(), other));
    scene.complete(job.lease(), vec![1; 100]).await.unwrap();
    assert_eq!(scene.job(job.id).await.output, Some(vec![1; 100]));
}

pub async fn sixty_five_tags_are_too_many_and_sixty_four_are_not<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let tags = |count: usize| plain().tags((0..count).map(|n| format!("tag-{n:03}")));
    let job = scene.job(scene.add(tags(64)).await).await;
    assert_eq!((job.tags.len(), job.tags[63].as_str()), (64, "tag-063"));
    assert!(too_large(scene.enqueue(tags(65)).await).contains("tags"));
    let folded = scene.add(plain().tags((0..65).map(|_| "same"))).await;
    assert_eq!(scene.job(folded).await.tags.len(), 1, "duplicates do not count");
}

pub async fn tag_and_metadata_past_their_limits_are_too_large<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add(plain().tag("x".repeat(128)).meta("k", "v".repeat((16 << 10) - 1))).await;
    assert!(too_large(scene.enqueue(plain().tag("x".repeat(129))).await).contains("tag"));
    assert!(too_large(scene.enqueue(plain().meta("k", "v".repeat(16 << 10))).await).contains("metadata"));
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 1);
}

pub async fn names_at_their_longest_are_kept<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let long = "n".repeat(64);
    let id = scene.add(NewJob::new(&long, b"").queue(&long).unique("u".repeat(256))).await;
    let job = scene.take(id, &"ä".repeat(64)).await;
    assert_eq!((&*job.kind, &*job.queue), (long.as_str(), long.as_str()));
    assert_eq!(job.assignee.as_deref(), Some("ä".repeat(64).as_str()));
    assert_eq!(invalid(scene.enqueue(plain().unique("u".repeat(257))).await), "unique");
    assert_eq!(invalid(scene.queue.stream("a".repeat(129)).open().await), "assignee");
}

pub async fn batch_past_its_limit_is_too_large<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.batch_jobs = 5).await;
    let ids = scene.add_all(plain_jobs(5)).await;
    assert!(too_large(scene.enqueue_all(plain_jobs(6)).await).contains("batch"));
    assert_eq!(scene.stats(Select::new()).await.unwrap().total, 5);
    let claimed = scene.claim(5).await;
    let six = claimed.iter().chain(&claimed[..1]).map(|job| (job.lease(), ()));
    assert!(too_large(scene.complete_all(six).await).contains("batch"));
    assert_eq!(scene.statuses(&ids).await, [Status::Running; 5]);
}

/// What the queue does on its own behalf is cut to the size of a batch, however small that is.
pub async fn actions_on_more_jobs_than_a_batch_go_in_several<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.batch_jobs = 4).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.extend(scene.add_all(plain_jobs(4)).await);
    }
    let mut stream = scene.stream("w", 12).await;
    next_jobs(&mut stream, 12).await;
    stream.close().await.unwrap();
    assert_eq!(scene.statuses(&ids).await, [Status::FailedRetry; 12]);
    assert_eq!(scene.claim(12).await.len(), 12);
    assert_eq!(scene.lose_worker("claimer").await.unwrap().changed.len(), 12);
    assert_eq!(scene.cancel(Select::all()).await.unwrap().cancelled.len(), 12);
    scene.advance(HOUR).await;
    let retention = poolqueue::Retention::new().keep(Status::Stopped, SECOND);
    assert_eq!(scene.retain(&retention).await.unwrap().len(), 12);
}

pub async fn rescue_of_more_jobs_than_a_batch_goes_in_several<F: Fixture>() {
    if !F::DURABLE {
        return;
    }
    let scene = Scene::<F>::with_limits(|limits| limits.batch_jobs = 4).await;
    for _ in 0..3 {
        scene.add_all(plain_jobs(4)).await;
    }
    assert_eq!(scene.claim(12).await.len(), 12);
    let scene = scene.crash().await;
    assert_eq!(scene.stats(Select::new()).await.unwrap().failed, 12);
}

pub async fn endless_iterator_is_refused_at_the_limit<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.batch_jobs = 5).await;
    too_large(scene.enqueue_all(std::iter::repeat_with(plain)).await);
}

pub async fn error_text_is_cut_and_its_control_characters_are_shown<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let job = scene.bring(fresh(), Status::Running).await;
    let text = format!("bell\u{7}\nline\u{0}{}", "ä".repeat(5_000));
    scene.fail_retry(job.lease(), Failure::new(text)).await.unwrap();
    let kept = scene.job(job.id).await.last_error.unwrap().message;
    assert!(kept.starts_with("bell\\u{7}\nline\\u{0}ää"), "{kept:?}");
    assert!(kept.len() <= 4 << 10 && kept.len() > 4_000 && kept.ends_with('…'), "{} bytes", kept.len());
    let history = scene.history(job.id).await.unwrap().entries;
    assert_eq!(history.last().unwrap().message, Some(kept));
}

pub async fn every_message_is_cut<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.error_bytes = 8).await;
    for nth in 0..3 {
        let job = scene.bring(fresh(), Status::Running).await;
        let long = "0123456789";
        let answer = match nth {
            0 => scene.stop(job.lease(), long).await,
            1 => scene.unknown_stop(job.lease(), long).await,
            _ => {
                scene.cancel(job.id).await.unwrap();
                scene.stop_failed(job.lease(), long).await
            }
        };
        answer.unwrap();
        assert_eq!(scene.job(job.id).await.last_error.unwrap().message, "01234…");
    }
}

pub async fn history_keeps_the_newest_entries_and_counts_those_it_cut<F: Fixture>() {
    let scene = Scene::<F>::with_limits(|limits| limits.history_entries = 5).await;
    let id = scene.add(fresh()).await;
    for nth in 1..=6u32 {
        scene.advance(SECOND).await;
        let job = scene.take(id, "w").await;
        scene.release(job.lease()).await.unwrap();
        let history = scene.history(id).await.unwrap();
        let all = 2 * nth as usize;
        assert_eq!((history.entries.len(), history.cut as usize), (all.min(5), all.saturating_sub(5)));
        assert_eq!(history.entries.last().unwrap().attempt.0, nth);
        assert_eq!(history.entries.last().unwrap().at, scene.now());
        assert!(history.entries.is_sorted_by_key(|entry| entry.at));
    }
    scene.verify().await.unwrap();
}

pub async fn large_batch_of_large_jobs_is_stored_whole<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let ids = scene.add_all((0..40).map(|n| NewJob::new("k", vec![n; 500_000]))).await;
    for (id, n) in ids.iter().zip(0..) {
        let payload = scene.job(*id).await.payload;
        assert!(payload.len() == 500_000 && payload.iter().all(|byte| *byte == n));
    }
    assert_eq!(ids_of_claims(&scene).await, ids);
}

async fn ids_of_claims<F: Fixture>(scene: &Scene<F>) -> Vec<poolqueue::JobId> {
    ids(&scene.claim(100).await)
}
