//! The writer thread: takes what waits, applies it in one transaction, answers after the commit.

mod reopen;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::lifecycle::Event;
use crate::{
    Attention, BackendError, Batch, Capabilities, Lease, QueueName, Receipt, Slots, Store, Timestamp,
    Verdict, Wake,
};
#[cfg(shuttle)]
use crate::{Planted, sync::planted};

use super::WriterOptions;
use super::apply::{Done, Failed, apply, apply_own, run_timers};
use super::elsewhere::{Holders, Learnt, Pending, learn, readable};
use super::inbox::{Command, Delivery, Inbox, Returned, Sleep, Taken};
use super::standing::{Serving, Standing, give_back, serve};

/// How often standing claims are looked at although nothing happened: a backstop, not the way they are served.
const BACKSTOP: Duration = Duration::from_secs(30);
/// How long timers may be late when no claim waits for the jobs they make due.
const IDLE_TIMERS: Duration = Duration::from_secs(1);
/// After how long without a sign of it a transaction of the application's is looked for that may have been rolled back.
const ROLLED_BACK: Duration = Duration::from_secs(1);
/// The longest linger.
const LINGER_MAX: Duration = Duration::from_secs(1);

type BatchAnswer = oneshot::Sender<Result<Receipt, BackendError>>;

pub(super) struct Writer<S: Store> {
    store: S,
    capabilities: Capabilities,
    options: WriterOptions,
    inbox: Arc<Inbox>,
    standing: Vec<Standing>,
    /// Where the jobs held now are held. Every claim of this handle since the store was opened is in it.
    holders: Holders,
    pending: Arc<Pending>,
    /// Jobs whose claimer has gone and that a full disk kept from being handed back.
    returned: Vec<Returned>,
    /// The last stamp given, and when that was on the monotonic clock.
    stamp: Timestamp,
    stamped: Duration,
    next_timer: Option<Timestamp>,
    /// The queue served last by a claim over several.
    turn: Option<QueueName>,
    last_group: usize,
    /// Whether the last group left ready jobs for standing claims, or timers that are over.
    unfinished: bool,
    poisoned: bool,
    /// How long the writer sleeps only to ask whether something was committed elsewhere.
    nap: Option<Duration>,
    /// How long it has slept so, one nap after another.
    napped: Duration,
}

/// One group, while it is written.
#[derive(Default)]
pub(super) struct Group {
    /// Batches not applied yet.
    batches: VecDeque<(Batch, BatchAnswer)>,
    /// Jobs whose claimer has gone.
    returned: Vec<Returned>,
    /// Who asked for the batches applied so far, and for the one at which the group failed.
    answers: Vec<BatchAnswer>,
    receipts: Vec<Result<Receipt, BackendError>>,
    pub(super) done: Done,
    pub(super) learnt: Learnt,
    claimed: HashMap<Lease, Arc<Slots>>,
    next_timer: Option<Timestamp>,
    unfinished: bool,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.returned.is_empty()
    }

    /// Tells everyone what became of their batches.
    fn answer(&mut self) {
        for (receipt, answer) in self.receipts.drain(..).zip(self.answers.drain(..)) {
            // A caller who has gone does not want to know.
            let _ = answer.send(receipt);
        }
    }
}

impl<S: Store> Writer<S> {
    pub(super) fn new(
        store: S,
        capabilities: Capabilities,
        options: WriterOptions,
        inbox: Arc<Inbox>,
        pending: Arc<Pending>,
    ) -> Self {
        Writer {
            store,
            options,
            inbox,
            standing: Vec::new(),
            holders: HashMap::new(),
            pending,
            returned: Vec::new(),
            stamp: Timestamp::from_micros(i64::MIN),
            stamped: Duration::ZERO,
            // Before the first group nothing is known of timers: look at once.
            next_timer: Some(Timestamp::from_micros(i64::MIN)),
            capabilities,
            turn: None,
            last_group: 0,
            unfinished: false,
            poisoned: false,
            nap: None,
            napped: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let linger = self.options.linger.min(LINGER_MAX);
            let linger = (self.last_group > 1 && !linger.is_zero()).then_some((linger, self.last_group));
            let sleep = self.sleep();
            let taken = self.inbox.take(sleep, linger, self.options.group_commands, self.options.group_bytes);
            if let Some(answer) = self.step(taken) {
                self.end(answer);
                return;
            }
        }
    }

    /// How long nothing needs doing, cut short where others write to the store as well.
    fn sleep(&mut self) -> Sleep {
        let sleep = self.rest();
        self.nap = if self.poisoned { None } else { self.store.watch(self.attention()) };
        match (sleep, self.nap) {
            (Sleep::Until(rest), Some(nap)) if rest <= nap => {
                self.nap = None;
                Sleep::Until(rest)
            }
            (_, Some(nap)) => Sleep::Until(nap),
            (sleep, None) => sleep,
        }
    }

    fn attention(&self) -> Attention {
        Attention {
            waiting: !self.standing.is_empty(),
            holding: !self.holders.is_empty(),
            pending: !self.pending.is_empty(),
        }
    }

    /// How long nothing needs doing.
    fn rest(&self) -> Sleep {
        if self.poisoned {
            return Sleep::UntilWoken;
        }
        if self.unfinished {
            return Sleep::Until(Duration::ZERO);
        }
        let backstop = if self.standing.is_empty() { None } else { Some(BACKSTOP) };
        let timer = self.next_timer.filter(|timer| *timer != Timestamp::NEVER);
        match (backstop, timer.and_then(|timer| self.until(timer))) {
            (None, None) => Sleep::UntilWoken,
            (Some(span), None) | (None, Some(span)) => Sleep::Until(span),
            (Some(one), Some(other)) => Sleep::Until(one.min(other)),
        }
    }

    /// The time by which jobs are stamped and become due: the clock's, but never before the last stamp. While the
    /// clock is behind it, having been set back, time goes on at half its pace: delays end all the same, and stamps
    /// and clock meet again.
    fn now(&self) -> Timestamp {
        let clock = &self.capabilities.clock;
        let passed = clock.monotonic().saturating_sub(self.stamped);
        clock.now().max(self.stamp.plus(passed / 2))
    }

    /// How long until `timer`, at most the backstop; `None` when only a wake-up tells.
    fn until(&self, timer: Timestamp) -> Option<Duration> {
        let slack = if self.standing.is_empty() { IDLE_TIMERS } else { Duration::ZERO };
        let at_half_pace = timer.since(self.now()).saturating_mul(2);
        let span = self.capabilities.clock.sleep_until(timer)?.min(at_half_pace);
        Some(span.saturating_add(slack).min(BACKSTOP))
    }

    /// Handles the commands taken. Returns the answer to the close among them, if there is one.
    fn step(&mut self, taken: Taken) -> Option<Option<oneshot::Sender<Result<(), BackendError>>>> {
        let napped = self.nap.take().filter(|_| taken.is_nothing());
        // Also when there is work: a writer that never sleeps for a whole nap would not see who is gone.
        let look = !self.poisoned && self.store.stirred(self.attention());
        let rested = napped.is_none() && taken.is_nothing();
        if taken.commands.is_empty() && !taken.woken && !look {
            let enough = if self.pending.is_empty() { BACKSTOP } else { ROLLED_BACK };
            match napped {
                Some(nap) if self.napped.saturating_add(nap) < enough => {
                    self.napped = self.napped.saturating_add(nap);
                    return None;
                }
                None if taken.look => return None,
                _ => {}
            }
        }
        self.napped = Duration::ZERO;
        if taken.woken || rested || (taken.commands.is_empty() && !look) {
            // A clock, a capacity, a timer or the backstop: whoever waits is looked at.
            self.standing.iter_mut().for_each(|one| one.look_again = true);
        }
        let mut group = Group::default();
        let mut reopen = None;
        let mut close = None;
        for command in taken.commands {
            match command {
                Command::Commit { batch, answer } => group.batches.push_back((batch, answer)),
                Command::Claim { claims, answer } => {
                    let wake: Weak<dyn Wake> = Arc::downgrade(&(Arc::clone(&self.inbox) as Arc<dyn Wake>));
                    claims.iter().for_each(|claim| claim.slots.set_claimer(Weak::clone(&wake)));
                    self.standing.push(Standing::new(claims, answer));
                }
                Command::Return { jobs } => group.returned.extend(jobs),
                Command::Reopen { answer } => reopen = Some(answer),
                Command::Close { answer } => close = Some(answer),
            }
        }
        self.last_group = group.batches.len();
        self.standing.retain(|one| !one.answer.is_closed());
        // What others did since is read by whoever opens the store next: no transaction of theirs is waited for.
        let only_closes = close.is_some() && group.is_empty();
        if self.poisoned {
            self.refuse(group);
        } else if !only_closes {
            self.write(group, look);
        }
        if let Some(answer) = reopen {
            let reopened = self.reopen();
            let _ = answer.send(reopened);
        }
        close
    }

    /// Writes one group and tells everyone who is concerned. `look`: something may have been committed elsewhere.
    fn write(&mut self, mut group: Group, look: bool) {
        let now = self.pending.stamp(self.now());
        (self.stamp, self.stamped) = (now, self.capabilities.clock.monotonic());
        group.returned.append(&mut self.returned);
        let timers = self.next_timer.is_some_and(|timer| timer <= now);
        let asked = !(self.standing.is_empty() && group.batches.is_empty() && group.returned.is_empty());
        // Nothing tells of a transaction that was rolled back, but that it does not keep the writer out any more.
        let asked = asked || !self.pending.is_empty();
        if !asked && !timers && !look {
            // What was left for standing claims has nobody to go to.
            self.unfinished = false;
            return;
        }
        let Writer { store, standing, holders, pending, turn, capabilities, .. } = self;
        let history_max = capabilities.limits.history_entries;
        let written = store.transact(&mut |txn| {
            learn(txn, pending, holders, standing, now, history_max, &mut group)?;
            if timers {
                run_timers(txn, now, history_max, &mut group.done)?;
            }
            for returned in &group.returned {
                let job = readable(txn.load(returned.lease.id))?.flatten();
                if let Some(job) = job.filter(|job| returned.is_of(job)) {
                    apply_own(txn, &job, &Event::Undelivered, now, history_max, &mut group.done)?;
                }
            }
            while let Some((batch, answer)) = group.batches.pop_front() {
                // First of all, so that everyone has an answer whatever happens here.
                group.answers.push(answer);
                group.receipts.push(match apply(txn, batch, now, history_max, &mut group.done) {
                    Ok(receipt) => Ok(receipt),
                    Err(Failed::Batch(error)) => Err(error),
                    Err(Failed::Group(error)) => return Err(error),
                });
            }
            for step in group.done.transitions.iter().filter(|step| step.freed_slot()) {
                give_back(holders, standing, &step.before);
            }
            if !standing.is_empty() {
                let Group { done, claimed, .. } = &mut group;
                let mut serving = Serving { txn: &mut *txn, now, history_max, done, claimed, turn };
                group.unfinished = serve(&mut serving, standing)?;
            }
            group.next_timer = txn.next_timer()?;
            #[cfg(shuttle)]
            if planted(Planted::EarlyAnswer) {
                group.answer();
            }
            Ok(if group.done.wrote { Verdict::Commit } else { Verdict::Rollback })
        });
        match written {
            Ok(()) => self.committed(group),
            Err(error) => self.failed(group, error),
        }
    }

    /// The group is durable: slots, observer, answers, in this order.
    fn committed(&mut self, mut group: Group) {
        self.next_timer = group.next_timer;
        self.unfinished = group.unfinished || group.next_timer.is_some_and(|timer| timer <= self.stamp);
        self.settle(&group);
        let elsewhere = group.learnt.changed;
        std::mem::take(&mut group.learnt).settle(&mut self.holders, &self.pending);
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
        if let Some(observer) = self.inbox.observer() {
            if elsewhere {
                observer.elsewhere();
            }
            if group.done.wrote {
                group.done.parts().for_each(|part| observer.committed(part));
            }
        }
        group.answer();
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
    fn failed(&mut self, group: Group, error: BackendError) {
        self.settle(&group);
        group.learnt.withdraw(&self.holders);
        // Nothing is known of timers, the group having failed before or after it looked: look again, but not so
        // soon that a full disk keeps the writer busy.
        self.next_timer = Some(self.stamp.plus(IDLE_TIMERS));
        self.unfinished = false;
        if error.ends_handle() {
            self.poisoned = true;
            self.inbox.set_poison(Some(error.clone()));
            self.abandon(&group.returned);
        } else {
            self.returned = group.returned;
        }
        for answer in group.answers.into_iter().chain(group.batches.into_iter().map(|(_, answer)| answer)) {
            let _ = answer.send(Err(error.clone()));
        }
        for mut one in std::mem::take(&mut self.standing) {
            if self.poisoned || !one.waits() {
                let _ = one.answer.send(Err(error.clone()));
            } else {
                one.taken.iter_mut().for_each(Vec::clear);
                one.look_again = true;
                self.standing.push(one);
            }
        }
    }

    /// Forgets who held jobs that could not be handed back, so that a reopened store does it.
    fn abandon(&mut self, returned: &[Returned]) {
        for Returned { lease, .. } in returned {
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

    /// Closes the store and refuses everyone who still waits.
    fn end(mut self, answer: Option<oneshot::Sender<Result<(), BackendError>>>) {
        let left = self.inbox.end();
        for one in self.standing.drain(..) {
            let _ = one.answer.send(Err(BackendError::closed()));
        }
        // Handed back by claimers who went while the last groups were written, so behind the close.
        let returned: Vec<Returned> = left.iter().flat_map(Command::returned).copied().collect();
        let anyone = !returned.is_empty() || !self.returned.is_empty();
        if anyone && !self.poisoned {
            self.write(Group { returned, ..Group::default() }, false);
        }
        let closed = self.store.close();
        for command in left {
            match command {
                Command::Commit { answer, .. } => drop(answer.send(Err(BackendError::closed()))),
                // Another close in the same moment shares the result.
                Command::Close { answer: Some(answer) } => drop(answer.send(closed.clone())),
                // Dropping the others answers `Closed`.
                _ => {}
            }
        }
        if let Some(answer) = answer {
            let _ = answer.send(closed);
        }
    }
}

/// Also when the writer breaks: whoever waits is answered by the drop of what was asked, whoever comes is refused.
impl<S: Store> Drop for Writer<S> {
    fn drop(&mut self) {
        drop(self.inbox.end());
    }
}
