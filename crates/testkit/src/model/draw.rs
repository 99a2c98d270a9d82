//! How actions are drawn: few jobs, names and times, so that they meet often.

use std::time::Duration;

use poolqueue::backend::lifecycle::Event;
use poolqueue::backend::{ClaimFilter, Delete, Filter, Insert, RecordPut, TagFilter};
use poolqueue::{
    AssigneeId, Backoff, Failure, FailureKind, JobId, Kind, Limits, NewJob, Output, QueueName, Status,
    StatusSet, Tags,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;

use super::action::{Action, Asked, By, What};
use super::side::{CAPACITIES, START, assignee};

/// Jobs that are spoken of.
const IDS: u8 = 14;
const KINDS: [&str; 3] = ["a", "b", "c"];
const QUEUES: [&str; 3] = ["x", "y", "default"];
const TAGS: [&str; 3] = ["red", "green", "blue"];
pub(super) const RECORDS: [&str; 3] = ["one", "two", "three"];

/// Draws one action after the other. No action needs another before it, so there is no state to keep.
pub(super) struct Actions;

impl ReferenceStateMachine for Actions {
    type State = ();
    type Transition = Action;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Action> {
        thread_local! {
            static ANY: BoxedStrategy<Action> = action().boxed();
        }
        ANY.with(Clone::clone)
    }

    fn apply((): (), _: &Action) {}
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        60 => commit(),
        25 => vec((0..CAPACITIES.len(), claim_filter()), 1..4).prop_map(Action::Claim),
        5 => (filter(), 1..20_usize).prop_map(|(filter, limit)| Action::Read { filter, limit }),
        12 => (0..40_000_u64).prop_map(|millis| Action::Advance(Duration::from_millis(millis))),
        2 => (-5_000..5_000_i64).prop_map(Action::Jump),
        2 => (0..CAPACITIES.len(), 0..6_usize)
            .prop_map(|(stream, places)| Action::Capacity { stream, places }),
        2 => Just(Action::Reopen),
    ]
}

fn commit() -> impl Strategy<Value = Action> {
    let parts = (
        vec(insert(), 0..3),
        vec(asked(), 0..4),
        vec((id(), rarely(statuses())).prop_map(|(id, only_from)| Delete { id, only_from }), 0..2),
        vec(record(), 0..2),
        proptest::bool::weighted(0.15),
    );
    parts.prop_map(|(inserts, changes, deletes, records, require_all)| Action::Commit {
        inserts,
        changes,
        deletes,
        records,
        require_all,
    })
}

fn rarely<S: Strategy>(what: S) -> impl Strategy<Value = Option<S::Value>> {
    option::weighted(0.1, what)
}

fn id() -> impl Strategy<Value = JobId> {
    (0..IDS).prop_map(|n| {
        // Not in the order of the numbers: the order of enqueues is not the order of ids.
        let mut bytes = [0; 16];
        bytes[0] = n.wrapping_mul(73);
        bytes[15] = n;
        JobId::from_bytes(bytes)
    })
}

fn seconds(below: u64) -> impl Strategy<Value = Duration> {
    (0..below).prop_map(Duration::from_secs)
}

fn tags() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(TAGS.to_vec(), 0..=TAGS.len())
}

fn statuses() -> impl Strategy<Value = StatusSet> {
    vec(select(Status::ALL), 1..6).prop_map(|statuses| statuses.into_iter().collect())
}

fn insert() -> impl Strategy<Value = Insert> {
    let named = (id(), select(&KINDS[..]), select(&QUEUES[..]), tags(), -1..2_i16);
    let timed = (start(), option::weighted(0.2, 1..60_u64), rarely(seconds(100)));
    let counted = (option::weighted(0.4, 1..4_u32), 1..4_u32, backoff());
    let carried = (payload(), option::weighted(0.3, select(&["k", "l"][..])), option::weighted(0.1, 1..3_u8));
    (named, timed, counted, carried).prop_map(|(named, timed, counted, carried)| {
        let (id, kind, queue, tags, priority) = named;
        let (start, expires, timeout) = timed;
        let (max_attempts, crash_limit, backoff) = counted;
        let (payload, unique, metadata) = carried;
        let mut job = NewJob::new(kind, payload).queue(queue).tags(tags).priority(priority);
        job = job.crash_limit(crash_limit).backoff(backoff);
        job = match start {
            Some((true, seconds)) => job.run_after(Duration::from_secs(seconds)),
            Some((false, seconds)) => {
                job.run_at(START.plus(Duration::from_secs(seconds)).to_datetime().unwrap_or_default())
            }
            None => job,
        };
        job = expires.into_iter().fold(job, |job, seconds| job.expires_after(Duration::from_secs(seconds)));
        job = timeout.into_iter().fold(job, |job, span| job.timeout(span + Duration::from_nanos(1_000)));
        job = max_attempts.into_iter().fold(job, NewJob::max_attempts);
        job = unique.into_iter().fold(job, NewJob::unique);
        job = metadata.into_iter().fold(job, |job, n| job.meta("n", n.to_string()));
        job.into_insert(&Limits::default(), || id).expect("the drawn job is valid")
    })
}

/// Now, after so many seconds, or at so many seconds behind the start.
fn start() -> impl Strategy<Value = Option<(bool, u64)>> {
    option::weighted(0.4, (any::<bool>(), 0..90_u64))
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..12),
        1 => (3_000..9_000_usize).prop_map(|size| vec![7; size]),
    ]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    prop_oneof![
        3 => Just(Backoff::None),
        1 => seconds(30).prop_map(Backoff::fixed),
        1 => (seconds(9), seconds(60)).prop_map(|(step, ceiling)| Backoff::linear(step, ceiling)),
        1 => (seconds(9), seconds(60)).prop_map(|(first, ceiling)| Backoff::exponential(first, ceiling)),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let by = prop_oneof![2 => Just(By::Id), 5 => Just(By::Lease(0)), 1 => (1..3_u32).prop_map(By::Lease)];
    (id(), by, rarely(statuses()), what()).prop_map(|(id, by, only_from, what)| Asked {
        id,
        by,
        only_from,
        what,
    })
}

fn message() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        3 => "[a-z\u{7}ä]{1,12}",
        1 => Just("long ".repeat(40)),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let suspend = option::weighted(0.8, seconds(60)).prop_map(What::Suspend);
    prop_oneof![12 => event().prop_map(What::Event), 1 => suspend]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => output().prop_map(|output| Event::Complete { output }),
        4 => (failure(), any::<u64>()).prop_map(|(failure, random)| Event::FailRetry { failure, random }),
        1 => message().prop_map(|message| Event::StreamEnded { message }),
        1 => message().prop_map(|message| Event::Stop { message }),
        1 => message().prop_map(|message| Event::StopFailed { message }),
        1 => message().prop_map(|message| Event::UnknownStop { message }),
        2 => (any::<bool>(), message())
            .prop_map(|(was_executing, message)| Event::AcknowledgeCancel { was_executing, message }),
        3 => Just(Event::Cancel),
        4 => Just(Event::LoseWorker),
        2 => Just(Event::Release),
        1 => Just(Event::Undelivered),
        1 => Just(Event::Expire),
        2 => Just(Event::Pause),
        2 => Just(Event::Resume),
        4 => Just(Event::Retry),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    option::of(payload()).prop_map(|bytes| bytes.map_or(Output::none(), Output::from))
}

fn failure() -> impl Strategy<Value = Failure> {
    let parts = ("[a-z]{1,9}", select(FailureKind::ALL), rarely(seconds(60)), proptest::bool::weighted(0.1));
    parts.prop_map(|(message, kind, retry_after, give_up)| Failure { message, kind, retry_after, give_up })
}

fn record() -> impl Strategy<Value = RecordPut> {
    (select(&RECORDS[..]), option::of(0..4_u64), option::weighted(0.8, payload()))
        .prop_map(|(key, expected, value)| RecordPut { key: key.to_owned(), expected, value })
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    proptest::sample::subsequence(KINDS.to_vec(), 1..=2)
        .prop_map(|kinds| kinds.into_iter().filter_map(|kind| Kind::new(kind).ok()).collect())
}

/// A queue, in a list of its own.
pub(super) fn queue_names(nth: usize) -> Vec<QueueName> {
    QueueName::new(QUEUES[nth % QUEUES.len()]).into_iter().collect()
}

fn queues() -> impl Strategy<Value = Vec<QueueName>> {
    proptest::sample::subsequence(QUEUES.to_vec(), 1..=3)
        .prop_map(|queues| queues.into_iter().filter_map(|queue| QueueName::new(queue).ok()).collect())
}

fn tag_filter() -> impl Strategy<Value = TagFilter> {
    let some = || proptest::sample::subsequence(TAGS.to_vec(), 0..=1);
    (some(), some(), some()).prop_map(|(all, any, none)| {
        Tags::all(all).any(any).none(none).checked().expect("the drawn tags are valid")
    })
}

fn claim_filter() -> impl Strategy<Value = ClaimFilter> {
    let tags = prop_oneof![2 => Just(TagFilter::default()), 1 => tag_filter()];
    (option::weighted(0.6, queues()), option::weighted(0.3, kinds()), tags)
        .prop_map(|(queues, kinds, tags)| ClaimFilter { queues, kinds, tags })
}

fn filter() -> impl Strategy<Value = Filter> {
    let named = (option::weighted(0.3, vec(id(), 0..6)), option::weighted(0.4, tag_filter()));
    let narrowed = (option::weighted(0.3, kinds()), option::weighted(0.3, queues()), rarely(statuses()));
    let held = (rarely(0..CAPACITIES.len()), rarely(0..9_000_u64));
    (named, narrowed, held).prop_map(|((ids, tags), (kinds, queues, statuses), (stream, ended))| {
        let assignee: Option<AssigneeId> = stream.map(assignee);
        let finalized_before = ended.map(|seconds| START.plus(Duration::from_secs(seconds)));
        Filter { ids, tags, kinds, queues, statuses, assignee, finalized_before }
    })
}
