//! Timers and clocks: nothing is late because of a clock that was set, and nothing breaks at the ends of time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A clock that counts who looks at it.
#[derive(Debug, Default)]
pub(super) struct Looks {
    looks: AtomicU64,
}

impl Looks {
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Clock for Looks {
    fn now(&self) -> Timestamp {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_micros(1_900_000_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _deadline: Timestamp) -> Option<Duration> {
        None
    }
}

/// One group runs a bounded number of timers. With a clock that stands still the others waited for the next command.
#[tokio::test]
async fn timers_beyond_one_group_need_no_command_to_go_on() {
    let rig = Rig::new();
    rig.commit(add_many(2_500, || NewJob::new("kind", b"").expires_after(SECOND))).await;
    rig.clock.advance(SECOND);
    soon(rig.faults.reached(1 + 3)).await;
    rig.settle().await;
    let counts = rig.backend.count(Filter::default()).await.unwrap();
    assert_eq!(counts.of(Status::Dead), 2_500);
}

/// Stamps never go back, so after the clock had they stood still, and every delay with them, for as long as the clock
/// took to come where it had been: a retry after a second came after hours.
#[tokio::test]
async fn delays_end_although_the_clock_was_set_back() {
    let rig = Rig::new();
    rig.commit(add_plain([1])).await;
    let slots = Slots::new(1);
    let job = rig.claim(any(&slots)).await.remove(0);
    rig.clock.jump(Timestamp::from_micros(0));
    let failed = Failure::new("no").retry_after(10 * SECOND);
    rig.commit(change(job.lease(), Event::FailRetry { failure: failed, random: 0 })).await;
    let mut again = rig.stand(any(&slots)).await;
    rig.clock.advance(9 * SECOND);
    rig.settle().await;
    assert!(begin(&mut again).await.is_none(), "not before its time");
    rig.clock.advance(11 * SECOND);
    assert_eq!(soon(again).await.unwrap().concat()[0].attempt.0, 2);
}

#[tokio::test]
async fn stamps_meet_the_clock_again_after_it_was_set_back() {
    let rig = Rig::new();
    let start = rig.clock.now();
    rig.commit(add_plain([1])).await;
    rig.clock.jump(start.minus(100 * SECOND));
    let mut last = start;
    for n in 2..=30 {
        rig.clock.advance(10 * SECOND);
        rig.commit(add_plain([n])).await;
        let stamp = Timestamp::from(rig.job(n).await.created_at);
        assert!(stamp >= last, "stamps never go back");
        last = stamp;
    }
    assert_eq!(last, rig.clock.now());
}

#[tokio::test]
async fn the_ends_of_time_are_times_like_others() {
    let ends = ["-9999-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"];
    for end in ends.map(|end| Timestamp::from(end.parse::<chrono::DateTime<chrono::Utc>>().unwrap())) {
        let rig = Rig::started(end, WriterOptions::default());
        let slots = Slots::new(3);
        rig.commit(add([new_job(1), new_job(2).run_after(SECOND), new_job(3).expires_after(SECOND)])).await;
        assert_eq!(rig.claim(any(&slots)).await.len(), 2);
        rig.clock.advance(SECOND);
        assert_eq!(ids(&rig.claim(any(&slots)).await), [id(2)]);
        rig.backend.verify().await.unwrap();
    }
}

/// A sum of two spans overflowed, and the writer was gone.
#[tokio::test]
async fn linger_without_an_end_is_no_overflow() {
    let rig = Rig::with(WriterOptions { linger: Duration::MAX, ..WriterOptions::default() });
    rig.faults.shut_gate();
    let first = rig.ask(add_plain([9])).await;
    soon(rig.faults.reached(1)).await;
    let asked = [rig.ask(add_plain([1])).await, rig.ask(add_plain([2])).await];
    rig.faults.open_gate();
    soon(first).await.unwrap();
    for answer in asked {
        soon(answer).await.unwrap();
    }
    let (one, other) = (rig.backend.commit(add_plain([3])), rig.backend.commit(add_plain([4])));
    let (one, other) = soon(async { tokio::join!(one, other) }).await;
    assert!(one.unwrap().applied && other.unwrap().applied);
}
