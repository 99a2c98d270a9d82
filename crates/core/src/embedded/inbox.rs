//! Where commands wait for the writer.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::backend::Observer;
use crate::lifecycle::JobState;
use crate::sync::{Condvar, Instant, Mutex, MutexGuard};
#[cfg(shuttle)]
use crate::sync::{Planted, planted};
use crate::{BackendError, Batch, Claim, Job, Lease, Receipt, Wake};

type Answer<T> = oneshot::Sender<Result<T, BackendError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    /// Apply a batch.
    Commit { batch: Batch, answer: oneshot::Sender<Answered> },
    /// Claim jobs, now or when there are some.
    Claim { claims: Vec<Claim>, answer: Answer<Delivery> },
    /// Hand back jobs whose claimer has gone.
    Return { jobs: Vec<Returned> },
    /// Start again after an error.
    Reopen { answer: Answer<()> },
    /// Finish, and end the thread.
    Close { answer: Option<Answer<()>> },
}

/// The answer to a batch.
pub(super) struct Answered {
    pub(super) outcome: Result<Receipt, BackendError>,
    /// Comes back, so that whoever made it frees it: the writer has better things to do.
    pub(super) batch: Batch,
}

impl Command {
    /// The jobs it hands back.
    pub(super) fn returned(&self) -> &[Returned] {
        match self {
            Command::Return { jobs } => jobs,
            _ => &[],
        }
    }

    /// Whether it is about the store as a whole: a group ends before it.
    fn ends_group(&self) -> bool {
        matches!(self, Command::Close { .. } | Command::Reopen { .. })
    }

    /// About how many bytes the command adds to a group.
    fn bytes(&self) -> usize {
        match self {
            Command::Commit { batch, .. } => batch.bytes(),
            _ => 0,
        }
    }
}

/// A held job that is handed back.
#[derive(Clone, Copy)]
pub(super) struct Returned {
    pub(super) lease: Lease,
    /// The job's place in the order of enqueues, where it is known. The job may be over and deleted by now, and another,
    /// of the same id and attempt, be in somebody's hands.
    sequence: Option<u64>,
}

impl Returned {
    fn of(job: &Job) -> Self {
        Returned { lease: job.lease(), sequence: Some(job.sequence) }
    }

    /// Whether this is the job it is about.
    pub(super) fn is_of(&self, job: &JobState) -> bool {
        job.attempt == self.lease.attempt && self.sequence.is_none_or(|sequence| sequence == job.sequence)
    }
}

impl From<Lease> for Returned {
    fn from(lease: Lease) -> Self {
        Returned { lease, sequence: None }
    }
}

/// Claimed jobs on their way to the claimer. Dropped before they are taken, they are handed back.
pub(super) struct Delivery {
    jobs: Vec<Vec<Job>>,
    inbox: Weak<Inbox>,
}

impl Delivery {
    pub(super) fn new(jobs: Vec<Vec<Job>>, inbox: &Arc<Inbox>) -> Self {
        Delivery { jobs, inbox: Arc::downgrade(inbox) }
    }

    pub(super) fn take(&mut self) -> Vec<Vec<Job>> {
        std::mem::take(&mut self.jobs)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        #[cfg(shuttle)]
        if planted(Planted::LostDelivery) {
            return;
        }
        let jobs: Vec<Returned> = self.jobs.iter().flatten().map(Returned::of).collect();
        if let Some(inbox) = self.inbox.upgrade().filter(|_| !jobs.is_empty()) {
            inbox.send_now(Command::Return { jobs });
        }
    }
}

pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Queued>,
    /// Something other than a command wants the writer's attention: a clock or a capacity changed.
    woken: bool,
    /// Something may have been committed elsewhere.
    look: bool,
    /// How many commands the sleeping writer waits for; `None` while it works.
    wanted: Option<usize>,
    /// Why nothing is written any more: every command that writes is refused with it.
    poison: Option<BackendError>,
    /// The writer has ended.
    ended: bool,
    observer: Option<Arc<dyn Observer>>,
}

struct Queued {
    command: Command,
    /// Whether it holds one of the semaphore's permits.
    counted: bool,
}

/// What the writer finds when it looks.
pub(super) struct Taken {
    pub(super) commands: Vec<Command>,
    /// Whether a clock or a capacity changed.
    pub(super) woken: bool,
    /// Whether something may have been committed elsewhere.
    pub(super) look: bool,
}

impl Taken {
    /// Whether the writer found nothing: it slept to the end.
    pub(super) fn is_nothing(&self) -> bool {
        self.commands.is_empty() && !self.woken && !self.look
    }
}

/// How much more a group takes.
pub(super) struct Room {
    pub(super) commands: usize,
    pub(super) bytes: usize,
    /// Whether nothing was taken yet: the first command always fits.
    empty: bool,
}

impl Room {
    pub(super) fn new(commands: usize, bytes: usize) -> Self {
        Room { commands, bytes, empty: true }
    }

    fn admits(&mut self, bytes: usize) -> bool {
        let fits = self.empty || (self.commands > 0 && bytes <= self.bytes);
        if fits {
            self.empty = false;
            self.commands = self.commands.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        fits
    }
}

/// How long the writer may sleep.
pub(super) enum Sleep {
    Until(Duration),
    UntilWoken,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Inbox {
            state: Mutex::default(),
            arrived: Condvar::new(),
            room: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command, waiting for room. Dropping the future before it is ready queues nothing.
    pub(super) async fn send(&self, command: Command) -> Result<(), BackendError> {
        match self.room.acquire().await {
            Ok(permit) => {
                permit.forget();
                self.push(command, true)
            }
            Err(_) => Err(BackendError::closed()),
        }
    }

    /// Queues a command that must not wait: its number is bounded elsewhere.
    pub(super) fn send_now(&self, command: Command) {
        // Refused only when the writer has ended, and then there is nothing left to do for it.
        let _ = self.push(command, false);
    }

    fn push(&self, command: Command, counted: bool) -> Result<(), BackendError> {
        let mut state = self.lock();
        if state.ended {
            return Err(BackendError::closed());
        }
        if let (Some(cause), Command::Commit { .. }) = (&state.poison, &command) {
            let refused = cause.as_cause_of_closing();
            drop(state);
            if counted {
                self.room.add_permits(1);
            }
            return Err(refused);
        }
        state.commands.push_back(Queued { command, counted });
        let enough = state.wanted.is_some_and(|wanted| state.commands.len() >= wanted);
        drop(state);
        if enough {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Sleeps until there is a command, someone wakes the writer, or the time is up, and takes what is there: at most
    /// what there is `room` for.
    pub(super) fn take(&self, sleep: Sleep, room: &mut Room) -> Taken {
        let mut state = self.sleep(sleep);
        let woken = std::mem::take(&mut state.woken);
        let look = std::mem::take(&mut state.look);
        Taken { commands: self.take_commands(state, room, |_| true), woken, look }
    }

    /// What has come since for the group under way. When there is nothing, waits until `wanted` commands are there, for what
    /// is left of `linger`. Leaves what is about the store as a whole.
    pub(super) fn take_more(&self, linger: &mut Duration, wanted: usize, room: &mut Room) -> Vec<Command> {
        let mut state = self.lock();
        if state.commands.is_empty() && wanted > 0 && !linger.is_zero() {
            let began = Instant::now();
            state = self.linger(state, *linger, wanted.min(room.commands));
            *linger = linger.saturating_sub(Instant::now().saturating_duration_since(began));
        }
        self.take_commands(state, room, |command| !command.ends_group())
    }

    fn take_commands(
        &self,
        mut state: MutexGuard<'_, State>,
        room: &mut Room,
        fits: impl Fn(&Command) -> bool,
    ) -> Vec<Command> {
        let mut taken = Vec::with_capacity(state.commands.len().min(room.commands));
        let mut permits = 0;
        while let Some(next) = state.commands.front().filter(|next| fits(&next.command)) {
            if !room.admits(next.command.bytes()) {
                break;
            }
            let Some(next) = state.commands.pop_front() else { break };
            permits += usize::from(next.counted);
            // What comes after a close is refused by the writer, what comes before is finished first.
            let last = next.command.ends_group();
            taken.push(next.command);
            if last {
                break;
            }
        }
        drop(state);
        self.room.add_permits(permits);
        taken
    }

    fn sleep(&self, sleep: Sleep) -> MutexGuard<'_, State> {
        let deadline = match sleep {
            Sleep::Until(span) => Instant::now().checked_add(span),
            Sleep::UntilWoken => None,
        };
        let mut state = self.lock();
        while state.commands.is_empty() && !state.woken && !state.look {
            state.wanted = Some(1);
            #[cfg(shuttle)]
            if planted(Planted::LostWakeUp) {
                drop(state);
                state = self.lock();
            }
            state = match deadline {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.wanted = None;
        state
    }

    fn linger<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        span: Duration,
        wanted: usize,
    ) -> MutexGuard<'a, State> {
        let deadline = Instant::now() + span;
        while state.commands.len() < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.wanted = Some(wanted);
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wanted = None;
        state
    }

    /// Has the writer look for what was committed elsewhere.
    pub(super) fn look(&self) {
        self.lock().look = true;
        self.arrived.notify_one();
    }

    /// Refuses everything that writes from now on, because of `cause`; `None` takes it again.
    pub(super) fn set_poison(&self, cause: Option<BackendError>) {
        self.lock().poison = cause;
    }

    /// Ends the inbox: what waits is returned to be refused, what comes is refused at once.
    pub(super) fn end(&self) -> Vec<Command> {
        let mut state = self.lock();
        state.ended = true;
        let left = state.commands.drain(..).map(|queued| queued.command).collect();
        drop(state);
        #[cfg(shuttle)]
        if planted(Planted::SilentEnd) {
            std::mem::forget::<Vec<Command>>(left);
            return Vec::new();
        }
        self.room.close();
        left
    }

    pub(super) fn closed_because(&self) -> Option<BackendError> {
        let state = self.lock();
        if state.ended { Some(BackendError::closed()) } else { state.poison.clone() }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().commands.len()
    }

    pub(super) fn set_observer(&self, observer: Arc<dyn Observer>) {
        self.lock().observer = Some(observer);
    }

    pub(super) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.lock().observer.clone()
    }
}

impl Wake for Inbox {
    fn wake(&self) {
        self.lock().woken = true;
        self.arrived.notify_one();
    }
}
