use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 256;

/// The digits of the number that a payload begins with.
const NUMBER_DIGITS: usize = 16;

/// The payload of the job with this number: the number in hexadecimal, then filler.
#[must_use]
pub fn payload(number: u64) -> String {
    let mut text = format!("{number:0NUMBER_DIGITS$x}");
    while text.len() < PAYLOAD_BYTES {
        text.push_str("abcdefghijklmnopqrstuvwxyz012345");
    }
    text.truncate(PAYLOAD_BYTES);
    text
}

/// Where handlers report. Counts, and notices jobs that come twice or are not of this measurement.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Counts>);

/// A job's number and the time of what happened to it.
pub(crate) type Moment = (u64, Instant);

#[derive(Debug)]
struct Counts {
    origin: Instant,
    hits: Seen,
    dones: Seen,
    /// Nanoseconds from `origin` to the last one.
    last_done_ns: AtomicU64,
    moments: Option<(Kept, mpsc::UnboundedSender<Moment>)>,
    places: Option<Arc<Semaphore>>,
}

/// Which moments a sink hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Hits,
    Dones,
}

impl Sink {
    /// A sink for jobs with the numbers below `jobs`.
    #[must_use]
    pub fn new(jobs: u64) -> Self {
        Self::with(jobs, None, None)
    }

    /// One that hands on when each job came.
    pub(crate) fn keeping(jobs: u64, kept: Kept) -> (Self, mpsc::UnboundedReceiver<Moment>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self::with(jobs, Some((kept, sender)), None), receiver)
    }

    /// One that gives back a place for each job that is done.
    pub(crate) fn freeing(jobs: u64, places: Arc<Semaphore>) -> Self {
        Self::with(jobs, None, Some(places))
    }

    fn with(
        jobs: u64,
        moments: Option<(Kept, mpsc::UnboundedSender<Moment>)>,
        places: Option<Arc<Semaphore>>,
    ) -> Self {
        Sink(Arc::new(Counts {
            origin: Instant::now(),
            hits: Seen::new(jobs),
            dones: Seen::new(jobs),
            last_done_ns: AtomicU64::new(0),
            moments,
            places,
        }))
    }

    /// A handler has the job with this payload in hand.
    pub fn hit(&self, payload: &str) {
        let number = number(payload);
        self.0.hits.note(number);
        self.keep(Kept::Hits, number);
    }

    /// The completion of the job with this payload is acknowledged.
    pub fn done(&self, payload: &str) {
        let number = number(payload);
        self.0.dones.note(number);
        let since = u64::try_from(self.0.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.last_done_ns.fetch_max(since, Relaxed);
        self.keep(Kept::Dones, number);
        if let Some(places) = &self.0.places {
            places.add_permits(1);
        }
    }

    fn keep(&self, what: Kept, number: Option<u64>) {
        if let (Some((kept, sender)), Some(number)) = (&self.0.moments, number)
            && *kept == what
        {
            // Nobody listens any more once enough was measured.
            let _ = sender.send((number, Instant::now()));
        }
    }

    /// Jobs that came to a handler, each counted once.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.hits.count.load(Relaxed)
    }

    /// Jobs that are done, each counted once.
    #[must_use]
    pub fn dones(&self) -> u64 {
        self.0.dones.count.load(Relaxed)
    }

    /// How often a job came to a handler that had come before, or that is not of this measurement.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        self.0.hits.again.load(Relaxed)
    }

    /// When the last job was done.
    #[must_use]
    pub fn last_done(&self) -> Instant {
        self.0.origin + Duration::from_nanos(self.0.last_done_ns.load(Relaxed))
    }
}

fn number(payload: &str) -> Option<u64> {
    if payload.len() != PAYLOAD_BYTES {
        return None;
    }
    payload.get(..NUMBER_DIGITS).and_then(|digits| u64::from_str_radix(digits, 16).ok())
}

/// Which numbers were seen: a bit for each.
#[derive(Debug)]
struct Seen {
    words: Vec<AtomicU64>,
    jobs: u64,
    count: AtomicU64,
    again: AtomicU64,
}

impl Seen {
    fn new(jobs: u64) -> Self {
        let words = usize::try_from(jobs.div_ceil(64)).unwrap_or(usize::MAX);
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Seen { words, jobs, count: AtomicU64::new(0), again: AtomicU64::new(0) }
    }

    fn note(&self, number: Option<u64>) {
        let known = number.filter(|number| *number < self.jobs);
        let word = known.and_then(|number| self.words.get(usize::try_from(number / 64).ok()?));
        let new = match (known, word) {
            (Some(number), Some(word)) => {
                let bit = 1 << (number % 64);
                word.fetch_or(bit, Relaxed) & bit == 0
            }
            _ => false,
        };
        if new { &self.count } else { &self.again }.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_length_and_is_found_by_its_number() {
        assert_eq!(payload(0xabc).len(), PAYLOAD_BYTES);
        assert_eq!(number(&payload(0xabc)), Some(0xabc));
        assert_eq!(number("abc"), None);
    }

    #[test]
    fn jobs_are_counted_once_and_doubles_and_strangers_are_noticed() {
        let sink = Sink::new(70);
        for number in [0, 64, 69, 64] {
            sink.hit(&payload(number));
        }
        assert_eq!((sink.hits(), sink.doubled(), sink.dones()), (3, 1, 0));
        sink.hit(&payload(70));
        sink.hit("no payload");
        assert_eq!((sink.hits(), sink.doubled()), (3, 3));
        sink.done(&payload(0));
        assert_eq!(sink.dones(), 1);
    }

    #[test]
    fn the_moments_asked_for_are_handed_on() {
        let (sink, mut moments) = Sink::keeping(4, Kept::Hits);
        sink.hit(&payload(3));
        sink.done(&payload(3));
        assert_eq!(moments.try_recv().map(|(number, _)| number), Ok(3));
        assert!(moments.try_recv().is_err());
    }
}
