//! Groups that are the same in every run, although the writer is a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bench_compare::Res;
use poolqueue_core::{
    Attention, BackendError, BoxFuture, Embedded, EmbeddedOptions, Lease, ManualClock, Profile, Store, Txn,
    Verdict, WriterOptions,
};

use crate::jobs;

/// A store whose writer waits before each group until it is let through.
pub struct Gated<S> {
    store: S,
    idle: Sender<()>,
    pass: Receiver<()>,
}

/// Lets the writer through, a group at a time.
pub struct Gate {
    idle: Receiver<()>,
    pass: Sender<()>,
}

/// A writer that waits at its gate, nothing having been asked yet. The clock stands still.
pub fn start<S: Store>(store: S, engine: &'static str) -> Res<(Embedded<Gated<S>>, Gate)> {
    let (says_idle, idle) = channel();
    let (pass, passes) = channel();
    let mut writer = WriterOptions::default();
    // Whoever belongs to a group is there before the writer looks.
    writer.linger = Duration::ZERO;
    let options = EmbeddedOptions::default().clock(ManualClock::new(jobs::NOW)).writer(writer);
    let profile = Profile { engine, durable: true, exclusive: true };
    let backend = Embedded::start(Gated { store, idle: says_idle, pass: passes }, profile, options)?;
    idle.recv()?;
    Ok((backend, Gate { idle, pass }))
}

impl Gate {
    /// Has everything that was asked written as one group. Returns when all have been answered.
    pub fn open(&self) -> Res<()> {
        self.pass.send(())?;
        Ok(self.idle.recv()?)
    }
}

/// Hands each call to the writer, which waits at the gate.
pub fn ask<T>(calls: &mut [BoxFuture<'_, T>]) -> Res<()> {
    for call in calls {
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return Err("a call was answered before it was written".into());
        }
    }
    Ok(())
}

/// The answers to calls that were written.
pub fn answers<T>(calls: Vec<BoxFuture<'_, T>>) -> Res<Vec<T>> {
    let answer =
        |mut call: BoxFuture<'_, T>| match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Ok(answer?),
            Poll::Pending => Err("a call was not answered with its group".into()),
        };
    calls.into_iter().map(answer).collect()
}

impl<S: Store> Store for Gated<S> {
    type Reader = S::Reader;

    fn transact(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Txn) -> Result<Verdict, BackendError>,
    ) -> Result<(), BackendError> {
        self.store.transact(group)
    }

    fn reader(&self) -> S::Reader {
        self.store.reader()
    }

    /// The writer asks before it looks for what to do, and has answered by then whatever it did.
    fn watch(&self, attention: Attention) -> Option<Duration> {
        // Without a keeper the gate stands open.
        let _ = self.idle.send(());
        let _ = self.pass.recv();
        self.store.watch(attention)
    }

    fn stirred(&mut self, attention: Attention) -> bool {
        self.store.stirred(attention)
    }

    fn held_here(&mut self) -> Result<Vec<Lease>, BackendError> {
        self.store.held_here()
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        self.store.reopen()
    }

    fn close(&mut self) -> Result<(), BackendError> {
        self.store.close()
    }
}
