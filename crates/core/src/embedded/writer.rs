//! The writer thread: takes what waits, applies it in one transaction, answers after the commit.

mod group;
mod reopen;
mod time;

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use tokio::sync::oneshot;

use crate::{Attention, BackendError, Capabilities, QueueName, Store, Timestamp, Verdict};
#[cfg(shuttle)]
use crate::{Planted, sync::planted};

use super::WriterOptions;
use super::apply::run_timers;
use super::elsewhere::{Holders, Pending, learn};
use super::inbox::{Answered, Command, Delivery, Inbox, Returned, Room, Sleep, Taken};
use super::standing::{Serving, Standing, give_back, serve};
pub(super) use group::Group;
use time::Time;

/// How often standing claims are looked at although nothing happened: a backstop, not the way they are served.
const BACKSTOP: Duration = Duration::from_secs(30);
/// How long timers may be late when no claim waits for the jobs they make due.
const IDLE_TIMERS: Duration = Duration::from_secs(1);
/// After how long without a sign of it a transaction of the application's is looked for that may have been rolled back.
const ROLLED_BACK: Duration = Duration::from_secs(1);
/// The longest linger.
const LINGER_MAX: Duration = Duration::from_secs(1);

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
    time: Time,
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
            holders: HashMap::default(),
            pending,
            returned: Vec::new(),
            time: Time::default(),
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
            let sleep = self.sleep();
            let mut room = Room::new(self.options.group_commands, self.options.group_bytes);
            let taken = self.inbox.take(sleep, &mut room);
            if let Some(answer) = self.step(taken, room) {
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

    /// How long until `timer`, at most the backstop; `None` when only a wake-up tells.
    fn until(&self, timer: Timestamp) -> Option<Duration> {
        let slack = if self.standing.is_empty() { IDLE_TIMERS } else { Duration::ZERO };
        let at_half_pace = timer.since(self.time.now(&*self.capabilities.clock)).saturating_mul(2);
        let span = self.capabilities.clock.sleep_until(timer)?.min(at_half_pace);
        Some(span.saturating_add(slack).min(BACKSTOP))
    }

    /// Handles the commands taken. Returns the answer to the close among them, if there is one.
    fn step(
        &mut self,
        taken: Taken,
        room: Room,
    ) -> Option<Option<oneshot::Sender<Result<(), BackendError>>>> {
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
            match group.admit(command, &mut self.standing, &self.inbox) {
                Some(Command::Reopen { answer }) => reopen = Some(answer),
                Some(Command::Close { answer }) => close = Some(answer),
                _ => {}
            }
        }
        self.standing.retain(|one| !one.answer.is_closed());
        // What others did since is read by whoever opens the store next: no transaction of theirs is waited for.
        let only_closes = close.is_some() && group.is_empty();
        if self.poisoned {
            self.refuse(group);
        } else if !only_closes {
            let room = (close.is_none() && reopen.is_none()).then_some(room);
            self.write(group, look, room);
        }
        if let Some(answer) = reopen {
            let reopened = self.reopen();
            let _ = answer.send(reopened);
        }
        close
    }

    /// Writes one group and tells everyone who is concerned. `look`: something may have been committed elsewhere. While there
    /// is `room`, what comes meanwhile is written with it.
    fn write(&mut self, mut group: Group, look: bool, mut room: Option<Room>) {
        let now = self.time.stamp(&*self.capabilities.clock, &self.pending);
        group.hand_back(std::mem::take(&mut self.returned));
        let timers = self.next_timer.is_some_and(|timer| timer <= now);
        let asked = !(self.standing.is_empty() && group.is_empty());
        // Nothing tells of a transaction that was rolled back, but that it does not keep the writer out any more.
        let asked = asked || !self.pending.is_empty();
        if !asked && !timers && !look {
            // What was left for standing claims has nobody to go to.
            self.unfinished = false;
            return;
        }
        let mut linger =
            if self.last_group > 1 { self.options.linger.min(LINGER_MAX) } else { Duration::ZERO };
        let Writer { store, inbox, standing, holders, pending, turn, time, capabilities, last_group, .. } =
            self;
        let history_max = capabilities.limits.history_entries;
        let written = store.transact(&mut |txn| {
            learn(txn, pending, holders, standing, now, history_max, &mut group)?;
            if timers {
                run_timers(txn, now, history_max, &mut group.done)?;
            }
            let mut now = now;
            loop {
                group.apply(txn, now, history_max)?;
                let Some(room) = &mut room else { break };
                let wanted = last_group.saturating_sub(group.len());
                let more = inbox.take_more(&mut linger, wanted, room);
                if more.is_empty() {
                    break;
                }
                for command in more {
                    group.admit(command, standing, inbox);
                }
                now = time.stamp(&*capabilities.clock, pending);
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
        *last_group = group.len();
        match written {
            Ok(()) => self.committed(group),
            Err(error) => self.failed(group, error),
        }
    }

    /// The group is durable: slots, observer, answers, in this order.
    fn committed(&mut self, mut group: Group) {
        self.next_timer = group.next_timer;
        self.unfinished = group.unfinished || group.next_timer.is_some_and(|timer| timer <= self.time.last);
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
    fn failed(&mut self, mut group: Group, error: BackendError) {
        self.settle(&group);
        group.learnt.withdraw(&self.holders);
        // Nothing is known of timers, the group having failed before or after it looked: look again, but not so
        // soon that a full disk keeps the writer busy.
        self.next_timer = Some(self.time.last.plus(IDLE_TIMERS));
        self.unfinished = false;
        if error.ends_handle() {
            self.poisoned = true;
            self.inbox.set_poison(Some(error.clone()));
            self.abandon(group.returned());
        } else {
            self.returned = group.take_returned();
        }
        group.refuse(&error);
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
    fn refuse(&mut self, mut group: Group) {
        let refused = match self.inbox.closed_because() {
            Some(cause) => cause.as_cause_of_closing(),
            None => BackendError::closed(),
        };
        self.abandon(group.returned());
        group.refuse(&refused);
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
            self.write(Group::returning(returned), false, None);
        }
        let closed = self.store.close();
        for command in left {
            match command {
                Command::Commit { batch, answer } => {
                    drop(answer.send(Answered { outcome: Err(BackendError::closed()), batch }));
                }
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
