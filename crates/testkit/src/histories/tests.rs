use poolqueue_core::lifecycle::{Event, JobState, Transition, decide};
use poolqueue_core::{
    AssigneeId, Attempt, Body, Change, Detail, Job, JobId, Lease, Limits, NewJob, Output, Target,
};

use super::NOW;
use super::record::{Op, Part};
use super::search::{Found, search};

/// A call that began and was answered then.
fn op(begin: u64, end: u64, part: Part) -> Op {
    Op { begin, end: Some(end), parts: vec![part] }
}

fn step(job: &JobState, event: &Event) -> Transition {
    decide(job, event, Some(job.attempt), NOW).expect("the step is allowed")
}

fn as_read(state: &JobState, body: &Body) -> Job {
    Job::assemble(state, Some(body.clone()), Output::none(), None)
}

/// A job that is enqueued, claimed and, between 10 and 20, completed; and a look at it that finds it running.
fn looked_at(begin: u64, end: u64) -> Vec<Op> {
    let id = JobId::from_bytes([7; 16]);
    let insert = NewJob::new("kind", b"").id(id).into_insert(&Limits::default(), || id).expect("a valid job");
    let (body, who) = (insert.body.clone(), AssigneeId::new("worker").expect("a valid name"));
    let new = JobState::admit(&insert.admission, 1, NOW);
    let claimed = step(&new, &Event::Claim { assignee: who.clone() }).after;
    let completed = step(&claimed, &Event::Complete { output: Output::none() });
    let target = Target::Lease(Lease { id, attempt: Attempt(1) });
    let change = Change { target, only_from: None, event: Event::Complete { output: Output::none() } };
    let job = as_read(&claimed, &body);
    vec![
        op(1, 2, Part::Insert(insert, Ok(new))),
        op(3, 4, Part::Claimed(who, job.clone())),
        op(10, 20, Part::Change(change, Ok(completed))),
        op(begin, end, Part::Read(id, Detail::Full, Some(job))),
    ]
}

#[test]
fn a_look_may_find_what_was_there_at_any_moment_of_it_and_nothing_older() {
    let cases = [
        ((5, 6), true, "before the completion"),
        ((11, 12), true, "during it"),
        ((19, 99), true, "begun before it was answered"),
        ((21, 22), false, "begun when it had been answered"),
        ((0, 4), true, "begun before anything was there"),
    ];
    for ((begin, end), expected, when) in cases {
        let found = search(&looked_at(begin, end), |_| true);
        assert_eq!(found == Found::Order, expected, "{when}: {found:?}");
    }
}

#[test]
fn a_withdrawn_claim_may_explain_an_attempt_and_need_not() {
    let mut ops = looked_at(5, 6);
    ops.truncate(2);
    let Part::Claimed(who, _) = ops[1].parts[0].clone() else { panic!("the second call is the claim") };
    let withdrawn = Part::Withdrawn(who, poolqueue_core::ClaimFilter::default());
    ops.push(Op { begin: 2, end: None, parts: vec![withdrawn.clone()] });
    assert_eq!(search(&ops, |_| true), Found::Order, "it took nothing");

    // Somebody was given attempt 2, and nobody attempt 1.
    let Part::Claimed(_, job) = &mut ops[1].parts[0] else { panic!("the second call is the claim") };
    job.attempt = Attempt(2);
    assert_eq!(search(&ops, |_| true), Found::Order, "it took the job and gave it back");
    ops.pop();
    assert_eq!(search(&ops, |_| true), Found::None { fitting: 1 });
}
