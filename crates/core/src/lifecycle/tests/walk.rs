use std::collections::BTreeSet;

use super::*;

const STEPS: u32 = 100_000;

/// A linear congruential generator (Knuth's MMIX constants): enough to pick from small ranges.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A clock that mostly goes on, at times jumps far, either way.
    fn clock(&mut self, last: i64) -> i64 {
        match self.below(20) {
            0 => last - self.below(1_000_000) as i64,
            1 => last + self.below(1_000_000) as i64,
            _ => last + self.below(1_000) as i64,
        }
    }

    fn event(&mut self, now: i64) -> Event {
        match self.below(20) {
            0 => stream_ended(),
            1 => acknowledge(self.one_in(2)),
            2 => fail(Failure::new("no").no_retry()),
            3 => fail(Failure::new("no").retry_after(Duration::from_micros(self.below(2_000)))),
            4 if self.one_in(4) => Event::Suspend { until: Timestamp::NEVER },
            4 => Event::Suspend { until: at(now + self.below(2_000) as i64 - 500) },
            5..=8 => event(EventKind::Claim),
            _ => event(EventKind::ALL[self.below(EventKind::ALL.len() as u64) as usize]),
        }
    }

    fn job(&mut self, now: i64) -> JobState {
        let micros = Duration::from_micros(self.below(2_000));
        let new = Admission {
            start: if self.one_in(2) { Start::Now } else { Start::After(micros) },
            max_attempts: (!self.one_in(2)).then_some(1 + self.below(4) as u32),
            crash_limit: 1 + self.below(4) as u32,
            backoff: Backoff::fixed(Duration::from_micros(self.below(1_000))),
            expires_after: self.one_in(2).then_some(micros),
            unique_key: UniqueKey::new("key").ok(),
            ..admission()
        };
        JobState::admit(&new, 1, at(now))
    }
}

/// What one job's surroundings hold for it, kept by what the transitions say.
struct World {
    slot: bool,
    key: bool,
    error: bool,
}

impl World {
    fn apply(&mut self, step: &Transition) {
        assert!(!(step.took_slot() && self.slot), "a slot taken twice");
        assert!(!step.freed_slot() || self.slot, "a slot freed that was not taken");
        self.slot = (self.slot || step.took_slot()) && !step.freed_slot();
        self.key = match consequences(step).unique_key {
            KeyChange::Keep => self.key,
            KeyChange::Take => true,
            KeyChange::Release => false,
        };
        self.error |= step.error.is_some();
    }
}

fn check_job(job: &JobState, world: &World) {
    let phase = job.phase();
    assert_eq!(job.finalized_at.is_some(), phase == Phase::Final);
    assert_eq!(job.resumes_to.is_some(), job.status == Status::Paused);
    assert_eq!(world.slot, phase == Phase::Held);
    assert_eq!(world.key, phase != Phase::Final);
    assert!(job.status != Status::Dead || world.error, "dead without a reason");
    assert!(job.failures <= job.retry_count);
    assert!(job.crashes < job.crash_limit || phase == Phase::Final);
    let claimed = job.attempt > Attempt(0);
    for given in [job.assignee.is_some(), job.assigned_at.is_some(), job.started_at.is_some()] {
        assert_eq!(given, claimed);
    }
    assert!(phase != Phase::Held || claimed && job.due);
    let never_ran = job.resumes_to.unwrap_or(job.status) == Status::InitialPending;
    assert!(!never_ran || !claimed);
}

fn check_step(step: &Transition, event: &Event, now: Timestamp) {
    let (before, after) = (&step.before, &step.after);
    assert_eq!(after.attempt.0, before.attempt.0 + u32::from(step.event == EventKind::Claim));
    assert!(after.retry_count >= before.retry_count);
    let back_to_start = after.status == Status::InitialPending && before.status != after.status;
    assert!(!back_to_start || before.resumes_to == Some(Status::InitialPending), "by {event:?}");
    assert!(step.is_noop() || step.at == now);
    assert!(step.is_noop() || after.last_reported.is_none_or(|event| event == step.event));
    let due_withdrawn = before.is_claimable() && !after.due;
    assert!(!due_withdrawn || step.event == EventKind::FailRetry, "by {event:?}");
    let unchanged = JobState {
        id: before.id,
        labels: Arc::clone(&before.labels),
        unique_key: before.unique_key.clone(),
        max_attempts: before.max_attempts,
        crash_limit: before.crash_limit,
        backoff: before.backoff,
        priority: before.priority,
        sequence: before.sequence,
        created_at: before.created_at,
        expires_at: before.expires_at,
        ..after.clone()
    };
    assert_eq!(*after, unchanged, "what a job was enqueued with never changes");
}

#[test]
fn a_hundred_thousand_random_events_break_no_invariant() {
    let mut random = Random(1);
    let mut now = 0;
    let mut job = random.job(now);
    let mut world = World { slot: false, key: true, error: false };
    let (mut taken, mut seen) = (0, BTreeSet::new());
    for _ in 0..STEPS {
        now = random.clock(now);
        if job.status == Status::Completed && random.one_in(4) {
            job = random.job(now);
            world = World { slot: false, key: true, error: false };
        }
        let time_has_come = job.run_at <= at(now) || random.one_in(4);
        if job.phase() == Phase::Ready && time_has_come {
            job = job.promoted();
        }
        let event = random.event(now);
        let stale = u32::from(random.one_in(8));
        let fence = (!random.one_in(3)).then(|| Attempt(job.attempt.0.saturating_sub(stale)));
        let before = job.clone();
        let verdict = decide(&job, &event, fence, at(now));
        assert_eq!(verdict, decide(&job, &event, fence, at(now)), "the same question, the same answer");
        assert_eq!(job, before);
        match verdict {
            Ok(step) => {
                assert_eq!(step.before, job);
                check_step(&step, &event, at(now));
                world.apply(&step);
                seen.insert((step.before.status, step.event, step.after.status));
                job = step.after;
                taken += 1;
            }
            Err(rejected) => assert_eq!(rejected.id(), Some(job.id)),
        }
        check_job(&job, &world);
    }
    assert!(taken > STEPS / 10, "only {taken} steps were taken");
    for from in Status::ALL {
        for event in EventKind::ALL {
            let to = next(*from, *event);
            assert!(
                to.is_none_or(|to| seen.contains(&(*from, *event, to))),
                "{from} and {event} never came up"
            );
        }
    }
}
