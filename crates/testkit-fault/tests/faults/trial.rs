//! One life with one failure in it.

use std::error::Error;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use poolqueue::PoolQueue;
use poolqueue_core::{Applied, Backend, BackendError, BackendErrorKind, Batch, Delete, Lease, Status};
use poolqueue_testkit_fault::{Failure, Faults, Operation, Plan};

use super::support::life::{self, Call, Driver, Everything, everything};
use super::support::place;
use super::support::site::Engine;

/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a failure came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// Nobody was told, and nothing was lost.
    Unnoticed,
    /// A call failed and changed nothing; the handle went on.
    GoneOn,
    /// A call failed and ended the handle, which then refused.
    Refused,
    /// The store could not be opened or closed, or not be copied.
    AtTheEdge,
    /// A job that could not be read was given up as damaged, and says so.
    TakenForDamage,
    /// Nothing could be planted here.
    NotPlanted,
}

/// A fault of the harness, which it must catch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// An error is taken for an acknowledgement.
    Acknowledged,
    /// All is lost.
    Lost,
    /// One job is.
    JobLost,
}

pub struct Trial {
    pub engine: Engine,
    pub life: Arc<Vec<Call>>,
    /// What is in the store before the first call, and after each.
    pub states: Arc<Vec<Everything>>,
    pub plan: Plan,
    /// Whether the handle is reopened, or given up for a new one.
    pub in_place: bool,
    pub planted: Planted,
}

type Checked<T> = Result<T, String>;

fn told<T>(doing: &str, result: Result<T, impl Error>) -> Checked<T> {
    result.map_err(|error| format!("{doing}: {error}{}", causes(&error)))
}

fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

fn expect(holds: bool, what: impl FnOnce() -> String) -> Checked<()> {
    if holds { Ok(()) } else { Err(what()) }
}

async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> Checked<T> {
    tokio::time::timeout(PATIENCE, call).await.map_err(|_| format!("{what} hangs"))
}

impl Trial {
    pub async fn run(self) -> Checked<Met> {
        let place = place();
        let faults = told("watch", Faults::in_directory(place.path()))?;
        faults.arm(self.plan.clone());
        let mut driver = Driver::new(self.engine, place.path());
        for (number, call) in self.life.iter().enumerate() {
            let before = driver.slots.held();
            let Err(error) = in_time("a call", driver.call(call)).await? else {
                if self.is_taken_for_damage(&driver, number + 1) {
                    faults.lift();
                    self.compare_all_but_damaged(&driver, number + 1).await?;
                    return Ok(Met::TakenForDamage);
                }
                continue;
            };
            let failed = Failed { number, call, error, before };
            let met = self.after(&mut driver, &faults, &failed).await;
            let said = |what| format!("call {number}, {}, said {}: {what}", call.name(), failed.error);
            return met.map_err(said);
        }
        faults.lift();
        if self.planted == Planted::Acknowledged {
            return Ok(Met::NotPlanted);
        }
        let last = self.life.len();
        if !self.plant(&mut driver, last).await? {
            return Ok(Met::NotPlanted);
        }
        self.compare(&*driver.backend(), last, &Failed::nothing(&self.life[last - 1], last)).await?;
        self.finish(driver).await?;
        Ok(Met::Unnoticed)
    }

    /// Whether a claim got fewer jobs than it should have: SQLite says of a page that cannot be read that it is damaged,
    /// and a job whose payload is damaged is given up instead of handed out.
    fn is_taken_for_damage(&self, driver: &Driver, number: usize) -> bool {
        let held = self.states[number].jobs.values().filter(|job| job.0 == Status::Running).count();
        let may_be = self.engine == Engine::Sqlite && self.plan.operations == [Operation::Read];
        may_be && driver.slots.held_count() != held
    }

    async fn compare_all_but_damaged(&self, driver: &Driver, number: usize) -> Checked<()> {
        let found = told("reading", in_time("reading", everything(&*driver.backend())).await?)?;
        let expected = &self.states[number];
        let given_up = |job: &(Status, String)| job.0 == Status::Dead && job.1.contains("malformed");
        let equal = found.jobs.iter().all(|(id, job)| given_up(job) || expected.jobs.get(id) == Some(job));
        let whole = equal && found.jobs.len() == expected.jobs.len() && found.record == expected.record;
        expect(whole, || format!("after a damaged read: {}", difference(&found, expected)))
    }

    /// A call has failed: what was acknowledged before is there, and all works again.
    async fn after(&self, driver: &mut Driver, faults: &Faults, failed: &Failed<'_>) -> Checked<Met> {
        self.check_error(&failed.error)?;
        let takes_for_damage = failed.error.kind() == BackendErrorKind::Corrupted;
        let ended = match &driver.opened {
            // Damage is said to be that of what was asked for, and others go on.
            Some(opened) if takes_for_damage => opened.backend.health().closed.is_some(),
            _ => failed.error.ends_handle(),
        };
        if let (Some(opened), true) = (&driver.opened, self.plan.lasting && ended && self.in_place) {
            // It may go well or not, as long as it ends.
            let _ = in_time("reopening where all fails", opened.backend.reopen()).await?;
        }
        faults.lift();
        let met = match (failed.call, &driver.opened) {
            (Call::Open | Call::Restart, _) | (_, None) => {
                driver.give_up();
                Met::AtTheEdge
            }
            (Call::Backup, _) => {
                self.check_copy(driver, failed).await?;
                self.start_again_after_reading(driver).await?;
                Met::AtTheEdge
            }
            (Call::Read, _) => {
                self.start_again_after_reading(driver).await?;
                Met::AtTheEdge
            }
            (_, Some(_)) if ended => {
                self.refused(driver, failed).await?;
                Met::Refused
            }
            (..) => Met::GoneOn,
        };
        if self.planted == Planted::Acknowledged && !self.cannot_be_applied(failed, faults) {
            return Ok(Met::NotPlanted);
        }
        if driver.opened.is_none() || (met == Met::Refused && !self.in_place) {
            driver.give_up();
            driver.opened = Some(told("opening it again", driver.site.open())?);
        }
        // A deletion in flight may have taken the job that is about to be lost.
        let is_deletion = matches!(failed.call, Call::Delete(_));
        if (is_deletion && self.planted == Planted::JobLost) || !self.plant(driver, failed.number).await? {
            return Ok(Met::NotPlanted);
        }
        let backend = driver.backend();
        if met == Met::GoneOn {
            self.reopen_if_reading_is_refused(&*backend).await?;
        }
        self.compare(&*backend, failed.number, failed).await?;
        if met == Met::Refused && self.in_place {
            let held = told("asking what is held", in_time("held", backend.held()).await?)?;
            let same = sorted(held.clone()) == sorted(driver.slots.held());
            expect(same, || format!("holds {held:?}, lists {:?}", driver.slots.held()))?;
        }
        drop(backend);
        if met == Met::GoneOn {
            let call = failed.call;
            self.once_more(driver, call).await?;
            let backend = driver.backend();
            self.compare(&*backend, failed.number + 1, &Failed::nothing(call, failed.number + 1)).await?;
        }
        let driver = std::mem::replace(driver, Driver::new(self.engine, driver.site.path().as_path()));
        self.finish(driver).await?;
        Ok(met)
    }

    /// The first error says what is wrong with the files.
    fn check_error(&self, error: &BackendError) -> Checked<()> {
        let full = match self.plan.failure {
            Failure::Error(number) | Failure::ShortThen(number) => number == libc::ENOSPC,
            Failure::Short => false,
        };
        let reads = self.plan.operations == [Operation::Read];
        let fits = match error.kind() {
            // Nobody was waiting when the writer met the failure; whoever comes next is told of it.
            BackendErrorKind::Closed => error.source().is_some() && error.applied() == Applied::No,
            BackendErrorKind::Io => true,
            BackendErrorKind::Full => full,
            // What SQLite makes of a page that cannot be read.
            BackendErrorKind::Corrupted => reads && self.engine == Engine::Sqlite,
            _ => false,
        };
        expect(fits, || format!("an error of kind {:?}{}", error.kind(), causes(error)))
    }

    /// An ended handle refuses, with the cause, and starts again when it is asked to.
    async fn refused(&self, driver: &Driver, failed: &Failed<'_>) -> Checked<()> {
        let backend = driver.backend();
        let refused = in_time("a call of an ended handle", driver.enqueue(&[life::job(1 << 40, 10)])).await?;
        let Err(error) = refused else {
            // A reopening in between has gone well.
            return expect(self.plan.lasting && self.in_place, || "an ended handle goes on".to_owned());
        };
        let (kind, applied) = (error.kind(), error.applied());
        let typed = kind == BackendErrorKind::Closed && applied == Applied::No;
        expect(typed, || format!("refused as {kind:?}, {applied:?}: {error}"))?;
        let cause = causes(&error);
        // A reopening that failed has a cause of its own.
        let first = failed.error.kind() != BackendErrorKind::Closed;
        let named =
            !first || cause.contains(&failed.error.to_string()) || (self.plan.lasting && self.in_place);
        expect(named, || format!("refused without the cause: {error}{cause}"))?;
        expect(backend.health().closed.is_some(), || "health does not say that it is closed".to_owned())?;
        if self.in_place {
            told("reopening", in_time("reopening", backend.reopen()).await?)?;
            expect(backend.health().closed.is_none(), || "health says that it is closed".to_owned())?;
        }
        Ok(())
    }

    /// redb wants nothing more of a file after an error in the middle of a transaction, a full disk among them.
    fn wants_reopening(&self, error: &BackendError) -> bool {
        error.kind() == BackendErrorKind::Closed && self.engine == Engine::Redb
    }

    async fn reopen_if_reading_is_refused(&self, backend: &dyn Backend) -> Checked<()> {
        if in_time("reading", everything(backend))
            .await?
            .as_ref()
            .err()
            .is_some_and(|error| self.wants_reopening(error))
        {
            told("reopening", in_time("reopening", backend.reopen()).await?)?;
        }
        Ok(())
    }

    /// The call again, after reopening where that is wanted.
    async fn once_more(&self, driver: &mut Driver, call: &Call) -> Checked<()> {
        let again = in_time("the same call", driver.call_again(call)).await?;
        if again.as_ref().err().is_some_and(|error| self.wants_reopening(error)) {
            told("reopening", in_time("reopening", driver.backend().reopen()).await?)?;
            return told(
                "making the call after reopening",
                in_time("the same call", driver.call_again(call)).await?,
            );
        }
        told("making the call once more", again)
    }

    /// An engine may want nothing more of a file that it could not read.
    async fn start_again_after_reading(&self, driver: &mut Driver) -> Checked<()> {
        if !self.in_place {
            driver.give_up();
            return Ok(());
        }
        let reopened = in_time("reopening", driver.backend().reopen()).await?;
        told("reopening after a failed read", reopened)
    }

    /// At the path of a copy that failed there is no file or a whole one.
    async fn check_copy(&self, driver: &Driver, failed: &Failed<'_>) -> Checked<()> {
        let Some(path) = driver.copy() else { return Ok(()) };
        let copy = told("opening the copy", driver.site.open_at(&path))?;
        self.compare(&*copy.backend, failed.number, failed).await?;
        told("closing the copy", in_time("closing", copy.backend.close()).await?)
    }

    /// What is in the store is what was acknowledged, with the call that failed or without it.
    async fn compare(&self, backend: &dyn Backend, acknowledged: usize, failed: &Failed<'_>) -> Checked<()> {
        let found = told("reading", in_time("reading", everything(backend)).await?)?;
        let (before, after) = (&self.states[acknowledged], self.states.get(acknowledged + 1));
        let unknown = failed.error.applied() == Applied::Unknown || failed.call.only_looks();
        let is_after = after.is_some_and(|after| same(&found, after, failed));
        let holds = match self.planted {
            Planted::Acknowledged => is_after,
            _ => same(&found, before, failed) || (unknown && is_after),
        };
        expect(holds, || format!("unlike call {acknowledged}: {}", difference(&found, before)))
    }

    /// Whether a call that changes something cannot have done it: it says so, or not even a write went through.
    fn cannot_be_applied(&self, failed: &Failed<'_>, faults: &Faults) -> bool {
        let changes =
            self.states.get(failed.number + 1).is_some_and(|after| *after != self.states[failed.number]);
        let unwritten = faults.hits().first().is_some_and(|hit| hit.operation == Operation::Write);
        // Of a claim it would not be seen: what it took is handed back.
        let changes = changes && !matches!(failed.call, Call::Claim(_));
        changes && (failed.error.applied() == Applied::No || (self.plan.lasting && unwritten))
    }

    /// Does to the store what is planned against the check. Whether there was anything to be done.
    async fn plant(&self, driver: &mut Driver, acknowledged: usize) -> Checked<bool> {
        if !matches!(self.planted, Planted::Lost | Planted::JobLost) {
            return Ok(true);
        }
        let found = told("reading", everything(&*driver.backend()).await)?;
        // Without the call in flight there may be nothing to lose, or with it nothing may be left.
        let mut may_be = self.states.iter().skip(acknowledged).take(2);
        let all_may_go = may_be.any(|state| state.jobs.is_empty());
        let over = found.jobs.iter().find(|(_, job)| job.0.is_final()).map(|(id, _)| *id);
        match (self.planted, over) {
            (Planted::Lost, _) if !all_may_go => {
                let _ = driver.backend().close().await;
                driver.give_up();
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = driver.site.path().into_os_string();
                    name.push(suffix);
                    let _ = fs::remove_file(name);
                }
                driver.opened = Some(told("opening", driver.site.open())?);
            }
            (Planted::JobLost, Some(id)) => {
                let deletes = vec![Delete { id, only_from: None }];
                told("deleting", driver.backend().commit(Batch { deletes, ..Batch::default() }).await)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// It works as ever, and so does whoever opens it next.
    async fn finish(&self, mut driver: Driver) -> Checked<()> {
        let more = [life::job(1 << 41, 10), life::job((1 << 41) + 1, 20_000)];
        told("enqueuing afterwards", in_time("enqueuing", driver.enqueue(&more)).await?)?;
        for call in [Call::Claim(2), Call::Complete(usize::MAX), Call::Restart] {
            told("working afterwards", in_time("working", driver.call(&call)).await?)?;
        }
        let queue = PoolQueue::new(driver.backend());
        let queue = told("opening a queue", in_time("opening a queue", queue).await?)?;
        told("verifying", in_time("verifying", queue.verify()).await?)?;
        told("closing", in_time("closing", queue.close()).await?)
    }
}

/// A call that failed.
struct Failed<'a> {
    number: usize,
    call: &'a Call,
    error: BackendError,
    /// What was held before it.
    before: Vec<Lease>,
}

impl<'a> Failed<'a> {
    fn nothing(call: &'a Call, number: usize) -> Self {
        Failed { number, call, error: BackendError::closed(), before: Vec::new() }
    }
}

/// Whether a store holds this. What a claim in flight took is handed back when the handle is reopened.
fn same(found: &Everything, expected: &Everything, failed: &Failed<'_>) -> bool {
    if !matches!(failed.call, Call::Claim(_)) {
        return found == expected;
    }
    let ids = |all: &Everything| all.jobs.keys().copied().collect::<Vec<_>>();
    let in_flight = |id| {
        let running = expected.jobs.get(id).is_some_and(|job| job.0 == Status::Running);
        running && !failed.before.iter().any(|lease| lease.id == *id)
    };
    let equal = found.jobs.iter().all(|(id, job)| in_flight(id) || expected.jobs.get(id) == Some(job));
    equal && ids(found) == ids(expected) && found.record == expected.record
}

fn difference(found: &Everything, expected: &Everything) -> String {
    let known = |all: &Everything, id| all.jobs.get(id).map(|job| job.1.clone());
    for id in found.jobs.keys().chain(expected.jobs.keys()) {
        let (found, expected) = (known(found, id), known(expected, id));
        if found != expected {
            return format!("found {found:?}, expected {expected:?}");
        }
    }
    format!("found the record {}, expected {}", found.record, expected.record)
}

fn sorted(mut leases: Vec<Lease>) -> Vec<Lease> {
    leases.sort_unstable_by_key(|lease| (lease.id, lease.attempt));
    leases
}
