//! The index against a plain list that is sorted and searched from end to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::lifecycle::{Admission, Event, JobState, decide};
use poolqueue_core::{
    AssigneeId, Attempt, Backoff, ClaimFilter, Failure, JobId, Kind, Labels, Phase, Priority, QueueName,
    Start, Tag, TagFilter, TagSet, Tags, Timestamp,
};

use super::*;

fn id(number: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

fn labels(queue: &str, kind: &str, tags: &[String]) -> Arc<Labels> {
    let tags: TagSet = tags.iter().filter_map(|tag| Tag::new(tag).ok()).collect();
    Arc::new(Labels { queue: QueueName::new(queue).unwrap(), kind: Kind::new(kind).unwrap(), tags })
}

fn job(number: u64, labels: Arc<Labels>) -> JobState {
    let admission = Admission {
        id: id(number),
        labels,
        unique_key: None,
        priority: Priority::NORMAL,
        start: Start::Now,
        max_attempts: None,
        crash_limit: 2,
        backoff: Backoff::None,
        expires_after: None,
    };
    JobState::admit(&admission, number, Timestamp::from_micros(0))
}

fn ids(index: &Index, queue: &str, filter: &ClaimFilter, limit: usize) -> Vec<JobId> {
    index.ready(queue, filter, limit).iter().map(Found::id).collect()
}

/// Everything the index answers, for comparing two of them.
fn shape(index: &Index) -> impl PartialEq + std::fmt::Debug + use<> {
    let everything = ClaimFilter::default();
    let queues = index.ready_queues(&everything, None, usize::MAX);
    let lists: Vec<Vec<JobId>> =
        queues.iter().map(|queue| ids(index, queue, &everything, usize::MAX)).collect();
    let mut entries: Vec<Entry> = index
        .queues
        .values()
        .flat_map(|queue| queue.regular.entries().chain(queue.suspects.entries()))
        .collect();
    entries.sort_unstable();
    let names: Vec<QueueName> = index.queues.keys().cloned().collect();
    (
        index.figures(),
        index.held.clone(),
        index.future.clone(),
        index.deadlines.clone(),
        names,
        lists,
        entries,
    )
}

/// What the index is compared with.
#[derive(Clone, Default)]
struct Model {
    jobs: BTreeMap<JobId, JobState>,
}

impl Model {
    fn ready(&self, queue: &str, filter: &ClaimFilter, limit: usize) -> Vec<JobId> {
        let mut due: Vec<&JobState> = self
            .jobs
            .values()
            .filter(|job| job.is_claimable() && job.labels.queue == queue)
            .filter(|job| filter.matches_within_queue(&job.labels.kind, &job.labels.tags))
            .collect();
        due.sort_by_key(|job| job.order_key());
        let mut room_for_suspect =
            !self.jobs.values().any(|job| job.phase() == Phase::Held && job.is_suspect());
        due.retain(|job| !job.is_suspect() || std::mem::take(&mut room_for_suspect));
        due.iter().take(limit).map(|job| job.id).collect()
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.jobs.values().for_each(|job| figures.count(job));
        figures
    }

    fn ready_queues(&self, filter: &ClaimFilter, after: Option<&QueueName>) -> Vec<QueueName> {
        let mut names: Vec<QueueName> = self.jobs.values().map(|job| job.labels.queue.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let first = after.map_or(0, |after| names.partition_point(|name| name <= after));
        names.rotate_left(first);
        names.retain(|name| filter.takes_queue(name) && !self.ready(name, filter, 1).is_empty());
        names
    }
}

struct World {
    random: fastrand::Rng,
    index: Index,
    model: Model,
    next: u64,
    now: i64,
    /// How many different tags there are: few make long lanes, many make short ones.
    tags: u32,
}

impl World {
    fn new(seed: u64, tags: u32) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        World { random, index: Index::default(), model: Model::default(), next: 1, now: 0, tags }
    }

    fn tag_names(&mut self, most: usize) -> Vec<String> {
        let count = self.random.usize(..=most);
        (0..count).map(|_| format!("t{}", self.random.u32(..self.tags))).collect()
    }

    fn filter(&mut self) -> ClaimFilter {
        let mut filter = ClaimFilter::default();
        if self.random.bool() {
            let kinds = (0..self.random.usize(..3)).map(|_| format!("k{}", self.random.u8(..4)));
            filter.kinds = Some(kinds.map(|kind| Kind::new(kind).unwrap()).collect());
        }
        if self.random.bool() {
            let (all, any, none) = (self.tag_names(2), self.tag_names(3), self.tag_names(2));
            filter.tags = Tags::all(all).any(any).none(none).checked().unwrap();
        }
        if self.random.u8(..4) == 0 {
            let queues = (0..3).map(|_| format!("q{}", self.random.u8(..4)));
            filter.queues = Some(queues.map(|queue| QueueName::new(queue).unwrap()).collect());
        }
        filter
    }

    fn change(&mut self) {
        self.now += self.random.i64(0..3);
        let pick = self.random.usize(..);
        let known = self.model.jobs.len();
        if known == 0 || self.random.u8(..3) == 0 {
            self.insert();
            return;
        }
        let state = self.model.jobs.values().nth(pick % known).cloned().unwrap();
        let now = Timestamp::from_micros(self.now);
        if state.status.is_final() && self.random.bool() {
            self.model.jobs.remove(&state.id);
            self.index.leave(Seat::of(&state));
            return;
        }
        if state.phase() == Phase::Ready && !state.due && state.run_at <= now {
            self.replace(&state, state.promoted());
            return;
        }
        let worker = AssigneeId::new("w").unwrap();
        let events = [
            Event::Claim { assignee: worker.clone() },
            Event::Claim { assignee: worker },
            Event::LoseWorker,
            Event::Release,
            Event::FailRetry {
                failure: Failure::new("no").retry_after(Duration::from_micros(self.random.u64(..9))),
                random: 0,
            },
            Event::Complete { output: ().into() },
            Event::Cancel,
            Event::Suspend { until: if self.random.bool() { Timestamp::NEVER } else { now } },
            Event::Pause,
            Event::Resume,
            Event::Retry,
            Event::Expire,
        ];
        let event = &events[self.random.usize(..events.len())];
        if let Ok(step) = decide(&state, event, None, now) {
            self.replace(&state, step.after);
        }
    }

    fn insert(&mut self) {
        let queue = format!("q{}", self.random.u8(..3));
        let kind = format!("k{}", self.random.u8(..3));
        let labels = labels(&queue, &kind, &self.tag_names(3));
        let admission = Admission {
            id: id(self.random.u64(..)),
            labels,
            unique_key: None,
            priority: Priority(self.random.i16(-2..=2)),
            start: match self.random.u8(..3) {
                0 => Start::After(Duration::from_micros(self.random.u64(..20))),
                1 => Start::At(Timestamp::from_micros(self.now - self.random.i64(0..5))),
                _ => Start::Now,
            },
            max_attempts: Some(3),
            crash_limit: self.random.u32(1..4),
            backoff: Backoff::None,
            expires_after: (self.random.u8(..4) == 0).then(|| Duration::from_micros(5)),
        };
        let state = JobState::admit(&admission, self.next, Timestamp::from_micros(self.now));
        self.next += 1;
        self.index.take(Seat::of(&state));
        self.model.jobs.insert(state.id, state);
    }

    fn replace(&mut self, before: &JobState, after: JobState) {
        self.index.leave(Seat::of(before));
        self.index.take(Seat::of(&after));
        self.model.jobs.insert(after.id, after);
    }

    fn compare(&mut self) {
        assert_eq!(self.index.figures(), self.model.figures());
        let filter = self.filter();
        let queue = format!("q{}", self.random.u8(..4));
        for limit in [1, 3, usize::MAX] {
            let expected = self.model.ready(&queue, &filter, limit);
            assert_eq!(ids(&self.index, &queue, &filter, limit), expected, "{queue} {filter:?}");
        }
        let after = self.random.bool().then(|| QueueName::new(&queue).unwrap());
        let expected = self.model.ready_queues(&filter, after.as_ref());
        assert_eq!(self.index.ready_queues(&filter, after.as_ref(), usize::MAX), expected, "{filter:?}");
    }
}

#[test]
fn random_changes_leave_what_a_sorted_list_would_and_roll_back_exactly() {
    for (seed, tags) in [(1, 2), (2, 4), (3, 30), (4, 10_000)] {
        let mut world = World::new(seed, tags);
        for _ in 0..400 {
            let (model, before) = (world.model.clone(), shape(&world.index));
            for _ in 0..world.random.usize(1..12) {
                world.change();
                world.compare();
            }
            if world.random.bool() {
                world.index.commit();
            } else {
                world.index.rollback();
                world.model = model;
                assert_eq!(shape(&world.index), before);
            }
            world.compare();
        }
        let mut loader = Loader::default();
        let unfinished = world.model.jobs.values().filter(|job| !job.status.is_final());
        unfinished.for_each(|job| loader.add(job));
        let loaded = loader.finish(world.index.figures().finals);
        assert_eq!(shape(&loaded), shape(&world.index));
    }
}

#[test]
fn empty_lanes_and_queues_are_dropped_and_lanes_used_again() {
    let mut index = Index::default();
    for round in 0..3 {
        for number in 0..100 {
            let labels = labels("q", "k", &[format!("{round}-{number}")]);
            index.take(Seat::of(&job(number, labels)));
        }
        assert_eq!(index.queues["q"].regular.lanes(), 100);
        for number in 0..100 {
            let labels = labels("q", "k", &[format!("{round}-{number}")]);
            index.leave(Seat::of(&job(number, labels)));
        }
        assert!(index.queues.is_empty());
    }
}

#[test]
fn a_filter_reads_the_shortest_list_it_can() {
    let mut index = Index::default();
    for number in 0..10_000 {
        let tags = ["common".to_owned(), format!("own-{number}")];
        index.take(Seat::of(&job(number, labels("q", "k", &tags))));
    }
    let shelf = &index.queues["q"].regular;
    let length = |tags: Tags| {
        let filter = ClaimFilter { tags: tags.checked().unwrap(), ..ClaimFilter::default() };
        shelf.sources(&filter).iter().map(|list| list.len()).sum::<usize>()
    };
    assert_eq!(length(Tags::all(["common", "own-7"])), 1);
    assert_eq!(length(Tags::all(["common", "nobody's"])), 0);
    assert_eq!(length(Tags::default().any(["own-7", "own-8"])), 2);
    assert_eq!(length(Tags::default()), 10_000);
    let kinds = ClaimFilter { kinds: Some(vec![Kind::new("other").unwrap()]), ..ClaimFilter::default() };
    assert!(shelf.sources(&kinds).is_empty());
}

#[test]
fn one_suspect_is_offered_at_a_time_and_none_while_one_is_held() {
    let mut index = Index::default();
    let suspect = |number| JobState { crashes: 1, ..job(number, labels("q", "k", &[])) };
    let (first, second) = (suspect(2), suspect(3));
    for state in [&job(1, labels("q", "k", &[])), &first, &second, &job(4, labels("q", "k", &[]))] {
        index.take(Seat::of(state));
    }
    let all = ClaimFilter::default();
    assert_eq!(ids(&index, "q", &all, 9), [id(1), id(2), id(4)]);
    assert_eq!(ids(&index, "q", &all, 1), [id(1)]);
    let claim = Event::Claim { assignee: AssigneeId::new("w").unwrap() };
    let step = decide(&first, &claim, None, Timestamp::from_micros(9)).unwrap();
    index.leave(Seat::of(&step.before));
    index.take(Seat::of(&step.after));
    assert_eq!(ids(&index, "q", &all, 9), [id(1), id(4)]);
    assert_eq!(index.held()[&id(2)], Attempt(1));
    index.leave(Seat::of(&step.after));
    assert_eq!(ids(&index, "q", &all, 9), [id(1), id(3), id(4)]);
}

#[test]
fn entries_are_in_the_order_of_claims() {
    let entry = |priority, run_at, sequence| {
        Entry::new(Priority(priority), Timestamp::from_micros(run_at), sequence, id(0))
    };
    let ordered = [
        entry(i16::MIN, i64::MAX, u64::MAX),
        entry(-1, 5, 5),
        entry(0, i64::MIN, 9),
        entry(0, -1, 9),
        entry(0, 0, 8),
        entry(0, 0, 9),
        entry(0, 256, 1),
        entry(i16::MAX, i64::MIN, 0),
    ];
    assert!(ordered.is_sorted_by(|one, other| one < other));
    assert_eq!(std::mem::size_of::<Entry>(), 34);
}

#[test]
fn membership_tells_who_waits_and_who_is_held() {
    let mut index = Index::default();
    let due = job(1, labels("q", "k", &[]));
    let later = JobState { due: false, run_at: Timestamp::from_micros(9), ..job(2, labels("q", "k", &[])) };
    let claim = Event::Claim { assignee: AssigneeId::new("w").unwrap() };
    let held = decide(&job(3, labels("q", "k", &[])), &claim, None, Timestamp::from_micros(9)).unwrap().after;
    for state in [&due, &later, &held] {
        index.take(Seat::of(state));
    }
    let found = index.membership(&[id(1), id(2), id(3), id(4)]);
    assert_eq!(found, [(true, false), (true, false), (false, true), (false, false)]);
}

#[test]
fn tag_filters_that_ask_for_nothing_take_everything() {
    let mut index = Index::default();
    index.take(Seat::of(&job(1, labels("q", "k", &["a".to_owned()]))));
    let filter = ClaimFilter { tags: TagFilter::default(), ..ClaimFilter::default() };
    assert_eq!(ids(&index, "q", &filter, 9), [id(1)]);
    assert_eq!(ids(&index, "other", &filter, 9), []);
    assert_eq!(ids(&index, "q", &filter, 0), []);
}
