use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::file::{Kind, Log};

/// How long more callers are waited for, when the last group had more than one.
const LINGER: Duration = Duration::from_micros(50);

/// A job in a stream's hands.
pub struct Job {
    pub id: u64,
    pub payload: String,
}

/// What the writer is asked.
pub enum Op {
    Add { payloads: Vec<String>, stored: oneshot::Sender<()> },
    Done { ids: Vec<u64>, stream: usize, stored: oneshot::Sender<()> },
    Open { capacity: usize, deliver: mpsc::UnboundedSender<Vec<Job>>, number: oneshot::Sender<usize> },
    CloseStreams { done: oneshot::Sender<()> },
    Close { done: oneshot::Sender<()> },
}

/// What waits for the writer.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    /// So many wake the writer, which sleeps; less than 1 while it works.
    wanted: usize,
    ended: bool,
}

impl Inbox {
    /// What comes after the end is dropped, and with it the answer's sender.
    pub fn put(&self, op: Op) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.ops.push(op);
        if state.wanted > 0 && state.ops.len() >= state.wanted {
            state.wanted = 0;
            drop(state);
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, and for a moment until `last` are there.
    fn take(&self, last: usize) -> Vec<Op> {
        let mut state = self.lock();
        while state.ops.is_empty() {
            state.wanted = 1;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Instant::now() + LINGER;
        while last > 1 && state.ops.len() < last {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.wanted = last;
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wanted = 0;
        std::mem::take(&mut state.ops)
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.ops.clear();
    }
}

/// Streams with room get jobs in turn.
struct Stream {
    free: usize,
    deliver: mpsc::UnboundedSender<Vec<Job>>,
}

/// A job that waits. Ordered by priority, time and number, as a queue would; here the number says it all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    id: u64,
    payload: String,
}

pub struct Writer {
    log: Log,
    inbox: Arc<Inbox>,
    next_id: u64,
    ready: BinaryHeap<Reverse<Ready>>,
    streams: Vec<Stream>,
    /// The stream that is asked first.
    turn: usize,
    stored: Vec<oneshot::Sender<()>>,
    closing: bool,
}

impl Writer {
    pub fn new(log: Log, waiting: BTreeMap<u64, String>, inbox: Arc<Inbox>) -> Self {
        let next_id = waiting.last_key_value().map_or(0, |(id, _)| id + 1);
        let ready = waiting.into_iter().map(|(id, payload)| Reverse(Ready { id, payload })).collect();
        let (streams, stored) = (Vec::new(), Vec::new());
        Writer { log, inbox, next_id, ready, streams, turn: 0, stored, closing: false }
    }

    /// Writes groups until it is closed. After an error nothing is written any more, and who asks gets no answer.
    pub fn run(mut self) -> io::Result<()> {
        let mut last = 0;
        let mut written = Ok(());
        while !self.closing && written.is_ok() {
            let ops = self.inbox.take(last);
            last = ops.len();
            written = self.group(ops);
        }
        self.inbox.end();
        written
    }

    fn group(&mut self, ops: Vec<Op>) -> io::Result<()> {
        ops.into_iter().for_each(|op| self.apply(op));
        let deliveries = self.serve();
        self.log.commit()?;
        // Who does not wait any more needs no answer.
        for stored in self.stored.drain(..) {
            let _ = stored.send(());
        }
        for (stream, jobs) in deliveries {
            let _ = self.streams[stream].deliver.send(jobs);
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Add { payloads, stored } => {
                for payload in payloads {
                    self.log.put(Kind::Added, self.next_id, &payload);
                    self.ready.push(Reverse(Ready { id: self.next_id, payload }));
                    self.next_id += 1;
                }
                self.stored.push(stored);
            }
            Op::Done { ids, stream, stored } => {
                ids.iter().for_each(|id| self.log.put(Kind::Done, *id, ""));
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.free += ids.len();
                }
                self.stored.push(stored);
            }
            Op::Open { capacity, deliver, number } => {
                // Who does not wait any more needs no answer.
                let _ = number.send(self.streams.len());
                self.streams.push(Stream { free: capacity, deliver });
            }
            Op::CloseStreams { done } => {
                self.streams.clear();
                self.stored.push(done);
            }
            Op::Close { done } => {
                self.closing = true;
                self.stored.push(done);
            }
        }
    }

    /// Claims jobs for the streams that have room.
    fn serve(&mut self) -> Vec<(usize, Vec<Job>)> {
        let mut deliveries = Vec::new();
        let count = self.streams.len();
        for nth in 0..count {
            let number = (self.turn + nth) % count;
            let stream = &mut self.streams[number];
            let mut jobs = Vec::with_capacity(stream.free.min(self.ready.len()));
            while let Some(Reverse(Ready { id, payload })) =
                (stream.free > 0).then(|| self.ready.pop()).flatten()
            {
                self.log.put(Kind::Claimed, id, "");
                stream.free -= 1;
                jobs.push(Job { id, payload });
            }
            if !jobs.is_empty() {
                deliveries.push((number, jobs));
            }
        }
        self.turn = self.turn.wrapping_add(1);
        deliveries
    }
}
