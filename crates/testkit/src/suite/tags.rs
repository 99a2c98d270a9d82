//! Who gets which jobs by their tags, and what is counted by them.

use poolqueue::{JobId, Select, Status, Tags};

use super::support::*;
use crate::Fixture;

const SETS: [&[&str]; 6] = [&[], &["a"], &["a", "b"], &["b", "c"], &["a", "b", "c"], &["ab"]];

/// One job for each of [`SETS`].
async fn one_of_each<F: Fixture>(scene: &Scene<F>) -> Vec<JobId> {
    scene.add_all(SETS.map(|tags| plain().tags(tags.iter().copied()))).await
}

/// Opens a stream with this filter and compares what it gets with the jobs at `expected`.
async fn gets<F: Fixture>(tags: Tags, expected: &[usize]) {
    let scene = Scene::<F>::new().await;
    let ids = one_of_each(&scene).await;
    let mut stream = scene.queue.stream("w").filter(tags.clone()).open().await.unwrap();
    let wanted: Vec<JobId> = expected.iter().map(|nth| ids[*nth]).collect();
    // One claim takes everything that matches.
    assert_eq!(claimed_ids(&next(&mut stream).await), wanted, "{tags:?}");
    let left = scene.stats(Select::new()).await.unwrap().pending;
    assert_eq!(left as usize, SETS.len() - wanted.len(), "{tags:?}");
    assert_eq!(scene.stats(Select::matching(tags)).await.unwrap().running as usize, wanted.len());
}

pub async fn stream_without_tags_takes_every_job<F: Fixture>() {
    gets::<F>(Tags::default(), &[0, 1, 2, 3, 4, 5]).await;
}

pub async fn all_asks_for_every_one_of_its_tags<F: Fixture>() {
    gets::<F>(Tags::all(["a"]), &[1, 2, 4]).await;
    gets::<F>(Tags::all(["b", "a", "b"]), &[2, 4]).await;
}

pub async fn any_asks_for_one_of_its_tags<F: Fixture>() {
    gets::<F>(Tags::default().any(["c", "ab"]), &[3, 4, 5]).await;
}

pub async fn none_leaves_out_what_has_one_of_its_tags<F: Fixture>() {
    gets::<F>(Tags::default().none(["a", "c"]), &[0, 5]).await;
}

pub async fn all_any_and_none_ask_together<F: Fixture>() {
    gets::<F>(Tags::all(["b"]).any(["a", "c"]).none(["c"]), &[2]).await;
}

pub async fn tags_match_as_a_whole_and_exactly<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let spellings = ["tag", "Tag", "tag ", "tagg", "täg", "ta\u{301}g"];
    let ids = scene.add_all(spellings.map(|tag| plain().tag(tag))).await;
    for (tag, id) in spellings.iter().zip(ids) {
        let mut stream = scene.queue.stream("w").tags([*tag]).open().await.unwrap();
        assert_eq!(claimed_ids(&next(&mut stream).await), [id], "{tag:?}");
    }
}

pub async fn streams_with_different_tags_each_get_their_share<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let mut red = scene.queue.stream("red").tags(["red"]).capacity(100).open().await.unwrap();
    let mut blue = scene.queue.stream("blue").tags(["blue"]).capacity(100).open().await.unwrap();
    let jobs = (0..60).map(|n| plain().tag(["red", "blue", "green"][n % 3]));
    let ids = scene.add_all(jobs).await;
    let of = |colour: usize| -> Vec<JobId> { ids.iter().copied().skip(colour).step_by(3).collect() };
    assert_eq!(claimed_ids(&next_jobs(&mut red, 20).await), of(0));
    assert_eq!(claimed_ids(&next_jobs(&mut blue, 20).await), of(1));
    assert_eq!(scene.statuses(&of(2)).await, [Status::InitialPending; 20]);
}

pub async fn unmatched_jobs_do_not_block_a_match<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    scene.add_all((0..5_000).map(|_| plain().tag("common").priority(-1))).await;
    let rare = scene.add(plain().tags(["common", "rare"])).await;
    let mut stream = scene.queue.stream("w").tags(["common", "rare"]).capacity(1).open().await.unwrap();
    assert_eq!(claimed_ids(&next(&mut stream).await), [rare]);
}

pub async fn order_of_claims_holds_among_matching_jobs<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    let jobs = (0..40i16).map(|n| plain().tag(["a", "b"][usize::from(n % 2 == 0)]).priority(-(n % 10)));
    scene.add_all(jobs).await;
    let mut stream = scene.queue.stream("w").tags(["a"]).capacity(20).open().await.unwrap();
    let claimed = next_jobs(&mut stream, 20).await;
    assert!(claimed.is_sorted_by_key(|job| (job.priority, job.sequence)));
}

pub async fn stats_by_tags_count_jobs_that_have_all_of_them<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    one_of_each(&scene).await;
    for (tags, expected) in [(&["a"][..], 3), (&["b", "a"], 2), (&["a", "b", "c"], 1), (&["none"], 0)] {
        let stats = scene.stats(Select::tags(tags.iter().copied())).await.unwrap();
        assert_eq!((stats.total, stats.pending), (expected, expected), "{tags:?}");
    }
}

pub async fn tags_follow_a_job_through_its_life<F: Fixture>() {
    let scene = Scene::<F>::new().await;
    for status in Status::ALL {
        scene.bring(fresh().tag("followed"), *status).await;
    }
    let stats = scene.stats(Select::tags(["followed"])).await.unwrap();
    assert_eq!(stats.total as usize, Status::ALL.len());
    let page = scene.list(poolqueue::Query::new(Select::tags(["followed"]))).await.unwrap();
    let mut statuses: Vec<Status> = page.jobs.iter().map(|job| job.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, Status::ALL);
    scene.verify().await.unwrap();
}
