//! The writer thread: takes what waits, applies it in one transaction, answers after the commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::lifecycle::{Event, JobState};
use crate::{
    Applied, BackendError, BackendErrorKind, Batch, Capabilities, Committed, JobId, Lease, QueueName, Reader,
    Receipt, Slots, Snapshot, Store, Timestamp, Txn, Verdict, Wake,
};

use super::WriterOptions;
use super::apply::{Done, Failed, apply, apply_own};
use super::inbox::{Command, Delivery, Inbox, Sleep, Taken};
use super::standing::{Serving, Standing, serve};

/// Jobs promoted, and jobs expired, in one group.
const TIMERS_PER_GROUP: usize = 1_000;
/// How often standing claims are looked at although nothing happened: a backstop, not the way they are served.
const BACKSTOP: Duration = Duration::from_secs(30);
/// How long timers may be late when no claim waits for the jobs they make due.
const IDLE_TIMERS: Duration = Duration::from_secs(1);

type BatchAnswer = oneshot::Sender<Result<Receipt, BackendError>>;

pub(super) struct Writer<S: Store> {
    store: S,
    capabilities: Capabilities,
    options: WriterOptions,
    inbox: Arc<Inbox>,
    standing: Vec<Standing>,
    /// Where the jobs held now are held. Every claim since the store was opened is in it.
    holders: HashMap<JobId, (Lease, Arc<Slots>)>,
    /// The last stamp given: stamps never decrease.
    stamp: Timestamp,
    next_timer: Option<Timestamp>,
    /// The queue served last by a claim over several.
    turn: Option<QueueName>,
    /// The standing claim whose turn it is.
    first: usize,
    last_group: usize,
    /// Whether the last group left ready jobs for standing claims.
    unfinished: bool,
    poisoned: bool,
}

/// One group, while it is written.
#[derive(Default)]
struct Group {
    batches: Vec<(Batch, BatchAnswer)>,
    /// Jobs whose claimer has gone.
    returned: Vec<Lease>,
    receipts: Vec<(Result<Receipt, BackendError>, BatchAnswer)>,
    done: Done,
    claimed: HashMap<Lease, Arc<Slots>>,
    next_timer: Option<Timestamp>,
    unfinished: bool,
}

impl<S: Store> Writer<S> {
    pub(super) fn new(
        store: S,
        capabilities: Capabilities,
        options: WriterOptions,
        inbox: Arc<Inbox>,
    ) -> Self {
        Writer {
            store,
            options,
            inbox,
            standing: Vec::new(),
            holders: HashMap::new(),
            stamp: Timestamp::from_micros(i64::MIN),
            // Before the first group nothing is known of timers: look at once.
            next_timer: Some(Timestamp::from_micros(i64::MIN)),
            capabilities,
            turn: None,
            first: 0,
            last_group: 0,
            unfinished: false,
            poisoned: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let linger = (self.last_group > 1 && !self.options.linger.is_zero())
                .then_some((self.options.linger, self.last_group));
            let sleep = self.sleep();
            let taken = self.inbox.take(sleep, linger, self.options.group_commands, self.options.group_bytes);
            if let Some(answer) = self.step(taken) {
                self.end(answer);
                return;
            }
        }
    }

    /// How long nothing needs doing.
    fn sleep(&self) -> Sleep {
        if self.poisoned {
            return Sleep::UntilWoken;
        }
        if self.unfinished {
            return Sleep::Until(Duration::ZERO);
        }
        let backstop = if self.standing.is_empty() { None } else { Some(BACKSTOP) };
        let timer = self.next_timer.filter(|timer| *timer != Timestamp::NEVER).and_then(|timer| {
            let slack = if self.standing.is_empty() { IDLE_TIMERS } else { Duration::ZERO };
            self.capabilities.clock.sleep_until(timer).map(|span| (span + slack).min(BACKSTOP))
        });
        match (backstop, timer) {
            (None, None) => Sleep::UntilWoken,
            (Some(span), None) | (None, Some(span)) => Sleep::Until(span),
            (Some(one), Some(other)) => Sleep::Until(one.min(other)),
        }
    }

    /// Handles the commands taken. Returns the answer to the close among them, if there is one.
    fn step(&mut self, taken: Taken) -> Option<Option<oneshot::Sender<Result<(), BackendError>>>> {
        if taken.woken || taken.commands.is_empty() {
            // A clock, a capacity, a timer or the backstop: whoever waits is looked at.
            self.standing.iter_mut().for_each(|one| one.look_again = true);
        }
        let mut group = Group::default();
        let mut reopen = None;
        let mut close = None;
        for command in taken.commands {
            match command {
                Command::Commit { batch, answer } => group.batches.push((batch, answer)),
                Command::Claim { claims, answer } => {
                    let wake: Weak<dyn Wake> = Arc::downgrade(&(Arc::clone(&self.inbox) as Arc<dyn Wake>));
                    claims.iter().for_each(|claim| claim.slots.set_claimer(Weak::clone(&wake)));
                    self.standing.push(Standing::new(claims, answer));
                }
                Command::Return { leases } => group.returned.extend(leases),
                Command::Reopen { answer } => reopen = Some(answer),
                Command::Close { answer } => close = Some(answer),
            }
        }
        self.last_group = group.batches.len();
        self.standing.retain(|one| !one.answer.is_closed());
        if self.poisoned {
            self.refuse(group);
        } else {
            self.write(group);
        }
        if let Some(answer) = reopen {
            let reopened = self.reopen();
            let _ = answer.send(reopened);
        }
        close
    }

    /// Writes one group and tells everyone who is concerned.
    fn write(&mut self, mut group: Group) {
        let now = self.stamp.max(self.capabilities.clock.now());
        self.stamp = now;
        let timers = self.next_timer.is_some_and(|timer| timer <= now);
        if self.standing.is_empty() && group.batches.is_empty() && group.returned.is_empty() && !timers {
            return;
        }
        let Writer { store, standing, holders, turn, first, capabilities, .. } = self;
        let history_max = capabilities.limits.history_entries;
        let written = store.transact(&mut |txn| {
            if timers {
                run_timers(txn, now, history_max, &mut group.done)?;
            }
            for lease in &group.returned {
                match txn.load(lease.id) {
                    Ok(Some(job)) if job.attempt == lease.attempt => {
                        apply_own(txn, &job, &Event::Release, now, history_max, &mut group.done)?;
                    }
                    Ok(_) => {}
                    // One damaged job is no reason to stop all others.
                    Err(error) if error.kind() == BackendErrorKind::Corrupted => {}
                    Err(error) => return Err(error),
                }
            }
            for (batch, answer) in group.batches.drain(..) {
                let receipt = match apply(txn, batch, now, history_max, &mut group.done) {
                    Ok(receipt) => Ok(receipt),
                    Err(Failed::Batch(error)) => Err(error),
                    Err(Failed::Group(error)) => {
                        group.receipts.push((Err(error.clone()), answer));
                        return Err(error);
                    }
                };
                group.receipts.push((receipt, answer));
            }
            for step in group.done.transitions.iter().filter(|step| step.freed_slot()) {
                give_back(holders, standing, &step.before);
            }
            if !standing.is_empty() {
                *first = (*first + 1) % standing.len();
                let Group { done, claimed, .. } = &mut group;
                let mut serving = Serving { txn: &mut *txn, now, history_max, done, claimed, turn };
                group.unfinished = serve(&mut serving, standing, *first)?;
            }
            group.next_timer = txn.next_timer()?;
            Ok(if group.done.wrote { Verdict::Commit } else { Verdict::Rollback })
        });
        match written {
            Ok(()) => self.committed(group),
            Err(error) => self.failed(group, error),
        }
    }

    /// The group is durable: slots, observer, answers, in this order.
    fn committed(&mut self, group: Group) {
        self.next_timer = group.next_timer;
        self.unfinished = group.unfinished;
        self.settle(&group);
        let monotonic = self.capabilities.clock.monotonic();
        for step in &group.done.transitions {
            let before = step.before.lease();
            if step.took_slot() {
                let lease = step.after.lease();
                if let Some(slots) = group.claimed.get(&lease) {
                    slots.hold(lease, monotonic);
                    self.holders.insert(lease.id, (lease, Arc::clone(slots)));
                }
            } else if step.freed_slot() {
                if let Some((lease, slots)) = self.holders.remove(&before.id) {
                    slots.release(lease);
                }
            } else if step.requested_cancel()
                && let Some((lease, slots)) = self.holders.get(&before.id)
            {
                slots.request_cancel(*lease);
            }
        }
        if group.done.wrote
            && let Some(observer) = self.inbox.observer()
        {
            let Done { inserted, transitions, deleted, .. } = &group.done;
            observer.committed(Committed { inserted, transitions, deleted });
        }
        for (receipt, answer) in group.receipts {
            // A caller who has gone does not want to know.
            let _ = answer.send(receipt);
        }
        self.answer_claims();
    }

    /// Answers the claims that got jobs, and those that do not wait.
    fn answer_claims(&mut self) {
        let standing = std::mem::take(&mut self.standing);
        for mut one in standing {
            if one.has_taken() || !one.waits() {
                let delivery = Delivery::new(std::mem::take(&mut one.taken), &self.inbox);
                // The jobs of a claimer who has gone come back by the delivery's drop.
                let _ = one.answer.send(Ok(delivery));
            } else {
                self.standing.push(one);
            }
        }
    }

    /// The group failed: nothing of it is there, or its outcome is unknown.
    fn failed(&mut self, mut group: Group, error: BackendError) {
        self.settle(&group);
        for one in &mut self.standing {
            one.taken.iter_mut().for_each(Vec::clear);
            one.look_again = true;
        }
        // Nothing is known of timers, the group having failed before or after it looked: look again, but not so
        // soon that a full disk keeps the writer busy.
        self.next_timer = Some(self.stamp.plus(IDLE_TIMERS));
        self.unfinished = false;
        self.abandon(&group.returned);
        let harmless = matches!(
            error.kind(),
            BackendErrorKind::Full
                | BackendErrorKind::TooLarge
                | BackendErrorKind::Busy
                | BackendErrorKind::Invalid
        );
        if !harmless || error.applied() == Applied::Unknown {
            self.poisoned = true;
            self.inbox.set_poison(Some(error.clone()));
        }
        for (_, answer) in group.receipts.drain(..) {
            let _ = answer.send(Err(error.clone()));
        }
        for (_, answer) in group.batches.drain(..) {
            let _ = answer.send(Err(error.clone()));
        }
        if self.poisoned {
            for one in self.standing.drain(..) {
                let _ = one.answer.send(Err(error.clone()));
            }
        }
    }

    /// Forgets who held jobs that could not be handed back, so that a reopened store does it.
    fn abandon(&mut self, leases: &[Lease]) {
        for lease in leases {
            if self.holders.get(&lease.id).is_some_and(|(held, _)| held == lease)
                && let Some((lease, slots)) = self.holders.remove(&lease.id)
            {
                slots.release(lease);
            }
        }
    }

    /// Answers a group that came after an error had ended the handle.
    fn refuse(&mut self, group: Group) {
        let refused = match self.inbox.closed_because() {
            Some(cause) => cause.as_cause_of_closing(),
            None => BackendError::closed(),
        };
        self.abandon(&group.returned);
        for (_, answer) in group.batches {
            let _ = answer.send(Err(refused.clone()));
        }
        for one in self.standing.drain(..) {
            let _ = one.answer.send(Err(refused.clone()));
        }
    }

    /// Forgets the reservations of a group.
    fn settle(&self, group: &Group) {
        for slots in group.claimed.values() {
            slots.settle();
        }
        for step in group.done.transitions.iter().filter(|step| step.freed_slot()) {
            if let Some((_, slots)) = self.holders.get(&step.before.id) {
                slots.settle();
            }
        }
    }

    /// Opens the store again and makes its held jobs and the lists of the streams agree: the last group's
    /// outcome was not known.
    fn reopen(&mut self) -> Result<(), BackendError> {
        if !self.poisoned {
            return Ok(());
        }
        self.store.reopen()?;
        let held = self.store.reader().snapshot()?.held()?;
        let held_set: HashSet<&Lease> = held.iter().collect();
        let ended: Vec<JobId> = self
            .holders
            .values()
            .filter(|(lease, _)| !held_set.contains(lease))
            .map(|(lease, _)| lease.id)
            .collect();
        for id in ended {
            if let Some((lease, slots)) = self.holders.remove(&id) {
                slots.release(lease);
            }
        }
        let unheld = |lease: &Lease| self.holders.get(&lease.id).is_none_or(|(known, _)| known != lease);
        let returned: Vec<Lease> = held.iter().copied().filter(unheld).collect();
        self.poisoned = false;
        self.inbox.set_poison(None);
        self.write(Group { returned, ..Group::default() });
        match self.inbox.closed_because() {
            Some(cause) => Err(cause),
            None => Ok(()),
        }
    }

    /// Closes the store and refuses everyone who still waits.
    fn end(mut self, answer: Option<oneshot::Sender<Result<(), BackendError>>>) {
        let left = self.inbox.end();
        for one in self.standing.drain(..) {
            let _ = one.answer.send(Err(BackendError::closed()));
        }
        let closed = self.store.close();
        // Dropping the commands answers `Closed`; another close in the same moment shares the result.
        for command in left {
            if let Command::Close { answer: Some(answer) } = command {
                let _ = answer.send(closed.clone());
            }
        }
        if let Some(answer) = answer {
            let _ = answer.send(closed);
        }
    }
}

/// Counts the slot of a job as free for the rest of the group, so that the claim behind it is served in the same
/// group.
fn give_back(holders: &HashMap<JobId, (Lease, Arc<Slots>)>, standing: &mut [Standing], job: &JobState) {
    if job.is_suspect() {
        // Others like it were left out of every claim while it was held.
        standing.iter_mut().for_each(|one| one.look_again = true);
    }
    let lease = job.lease();
    let Some((_, slots)) = holders.get(&lease.id).filter(|(held, _)| *held == lease) else { return };
    slots.give_back();
    for one in standing.iter_mut().filter(|one| !one.look_again) {
        one.look_again = one.claims.iter().any(|claim| Arc::ptr_eq(&claim.slots, slots));
    }
}

/// Makes jobs due whose time has come, and gives up those that missed their deadline.
fn run_timers(
    txn: &mut dyn Txn,
    now: Timestamp,
    history_max: usize,
    done: &mut Done,
) -> Result<(), BackendError> {
    if txn.promote(now, TIMERS_PER_GROUP)? > 0 {
        done.wrote = true;
        done.promoted = true;
    }
    for job in txn.expired(now, TIMERS_PER_GROUP)? {
        apply_own(txn, &job, &Event::Expire, now, history_max, done)?;
    }
    Ok(())
}
