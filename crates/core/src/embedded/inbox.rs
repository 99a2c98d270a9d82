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
    Commit { batch: Batch, answer: Answer<Receipt> },
    /// Claim jobs, now or when there are some.
    Claim { claims: Vec<Claim>, answer: Answer<Delivery> },
    /// Hand back jobs whose claimer has gone.
    Return { jobs: Vec<Returned> },
    /// Start again after an error.
    Reopen { answer: Answer<()> },
    /// Finish, and end the thread.
    Close { answer: Option<Answer<()>> },
}

impl Command {
    /// The jobs it hands back.
    pub(super) fn returned(&self) -> &[Returned] {
        match self {
            Command::Return { jobs } => jobs,
            _ => &[],
        }
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

    /// Sleeps until there is a command, someone wakes the writer, or the time is up. Then lingers for up to
    /// `linger` until `wanted` commands are there, and takes a group of at most `commands` and about `bytes`.
    pub(super) fn take(
        &self,
        sleep: Sleep,
        linger: Option<(Duration, usize)>,
        commands: usize,
        bytes: usize,
    ) -> Taken {
        let mut state = self.sleep(sleep);
        if let Some((span, wanted)) = linger.filter(|_| !state.commands.is_empty()) {
            state = self.linger(state, span, wanted.min(commands));
        }
        let woken = std::mem::take(&mut state.woken);
        let look = std::mem::take(&mut state.look);
        let mut taken = Vec::with_capacity(state.commands.len().min(commands));
        let mut size = 0;
        let mut permits = 0;
        while let Some(next) = state.commands.front() {
            size += next.command.bytes();
            if !taken.is_empty() && (taken.len() >= commands || size > bytes) {
                break;
            }
            let Some(next) = state.commands.pop_front() else { break };
            permits += usize::from(next.counted);
            // What comes after a close is refused by the writer, what comes before is finished first.
            let last = matches!(next.command, Command::Close { .. } | Command::Reopen { .. });
            taken.push(next.command);
            if last {
                break;
            }
        }
        drop(state);
        self.room.add_permits(permits);
        Taken { commands: taken, woken, look }
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
