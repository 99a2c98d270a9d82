//! The life of a queue as a list of calls, drawn once and made of any store, and what is in it after each.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    AssigneeId, Backend, BackendError, Batch, Change, Claim, ClaimFilter, Delete, Detail, Failure, Filter,
    Job, JobId, Lease, Limits, ManualClock, NewJob, Query, RecordPut, Slots, Status, Target, Timestamp,
};

use super::site::{Engine, Opened, Site};

/// One call.
#[derive(Clone, Debug)]
pub enum Call {
    Open,
    Enqueue(Vec<NewJob>),
    Claim(usize),
    /// Reports of the first so many jobs that are held.
    Complete(usize),
    Fail(usize),
    /// Deletes the first so many jobs that are over.
    Delete(usize),
    Record(Vec<u8>),
    Read,
    Backup,
    /// Closes the store and opens it again.
    Restart,
}

impl Call {
    pub fn name(&self) -> String {
        format!("{self:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
    }

    /// Whether it is to leave everything as it is.
    pub fn only_looks(&self) -> bool {
        matches!(self, Call::Open | Call::Read | Call::Backup | Call::Restart)
    }
}

/// What is in a store: each job with all that is known of it, as text, and a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everything {
    pub jobs: BTreeMap<JobId, (Status, String)>,
    pub record: String,
}

pub fn job(number: u64, size: usize) -> NewJob {
    NewJob::new("kind", vec![b'x'; size]).id(JobId::from_bytes(u128::from(number).to_be_bytes()))
}

/// A life with some of everything in it.
pub fn draw(seed: u64, calls: usize) -> Vec<Call> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut next = 0;
    let mut life = vec![Call::Open];
    let mut jobs = |random: &mut fastrand::Rng| {
        let count = random.u64(1..=3);
        let jobs = (next..next + count).map(|number| {
            let size = if random.u8(..4) == 0 { random.usize(8_000..40_000) } else { random.usize(..300) };
            job(number, size).tag(format!("t{}", random.u8(..3))).meta("key", "value")
        });
        let jobs = jobs.collect();
        next += count;
        Call::Enqueue(jobs)
    };
    for _ in 0..calls {
        let call = match random.u8(..16) {
            0..5 => jobs(&mut random),
            5..8 => Call::Claim(random.usize(1..=3)),
            8..11 => Call::Complete(random.usize(1..=2)),
            11 => Call::Fail(1),
            12 => Call::Delete(random.usize(1..=3)),
            13 => Call::Record(vec![random.u8(..); random.usize(..200)]),
            14 => Call::Read,
            _ => Call::Backup,
        };
        life.push(call);
    }
    // Whoever opens the store does not hold what was held before, so that nothing is.
    life.insert(life.len() * 2 / 3, Call::Restart);
    life.insert(life.len() * 2 / 3 - 1, Call::Complete(usize::MAX));
    life.extend([Call::Backup, Call::Complete(usize::MAX), Call::Restart, jobs(&mut random), Call::Restart]);
    life
}

/// Whoever makes the calls.
pub struct Driver {
    pub site: Site,
    pub opened: Option<Opened>,
    pub slots: Arc<Slots>,
    over: Vec<JobId>,
    clock: Arc<ManualClock>,
    version: u64,
    copies: usize,
}

const START: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);

impl Driver {
    pub fn new(engine: Engine, directory: &std::path::Path) -> Self {
        let clock = ManualClock::new(START);
        let site = Site::new(engine, directory, clock.clone());
        let (slots, over) = (Slots::new(1_000), Vec::new());
        Driver { site, opened: None, slots, over, clock, version: 0, copies: 0 }
    }

    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.opened.as_ref().expect("the store is open").backend)
    }

    /// Makes a call, a second after the one before.
    pub async fn call(&mut self, call: &Call) -> Result<(), BackendError> {
        self.clock.advance(Duration::from_secs(1));
        self.call_again(call).await
    }

    /// Makes a call. What it is about follows from the answers to those before it.
    pub async fn call_again(&mut self, call: &Call) -> Result<(), BackendError> {
        match call {
            Call::Open => self.opened = Some(self.site.open()?),
            Call::Enqueue(jobs) => self.enqueue(jobs).await?,
            Call::Claim(count) => {
                let free = self.slots.held_count() + count;
                self.slots.set_capacity(free);
                self.backend().claim(vec![claim(&self.slots)]).await.map(drop)?;
            }
            Call::Complete(count) => {
                self.report(*count, |_| Event::Complete { output: b"done".to_vec().into() }).await?;
            }
            Call::Fail(count) => {
                let failed = |_| Event::FailRetry { failure: Failure::new("no luck"), random: 0 };
                self.report(*count, failed).await?;
            }
            Call::Delete(count) => self.delete(*count).await?,
            Call::Record(value) => {
                let put =
                    RecordPut { key: "r".into(), expected: Some(self.version), value: Some(value.clone()) };
                let receipt = self.backend().commit(Batch { records: vec![put], ..Batch::default() }).await?;
                self.version = *receipt.records[0].as_ref().expect("the version is right");
            }
            Call::Read => drop(everything(&*self.backend()).await?),
            Call::Backup => self.back_up()?,
            Call::Restart => {
                let former = self.backend();
                self.give_up();
                let closed = former.close().await;
                drop(former);
                self.opened = Some(self.site.open()?);
                closed?;
            }
        }
        Ok(())
    }

    /// Lets go of the store, and of what is held.
    pub fn give_up(&mut self) {
        self.opened = None;
        self.slots = Slots::new(0);
    }

    pub async fn enqueue(&self, jobs: &[NewJob]) -> Result<(), BackendError> {
        let insert =
            |job: &NewJob| job.clone().into_insert(&Limits::default(), || JobId::from_bytes([0; 16]));
        let inserts = jobs.iter().map(|job| insert(job).expect("within the limits")).collect();
        let receipt = self.backend().commit(Batch { inserts, require_all: true, ..Batch::default() }).await?;
        assert!(receipt.is_complete(), "{receipt:?}");
        Ok(())
    }

    fn held(&self) -> Vec<Lease> {
        let mut held = self.slots.held();
        held.sort_unstable_by_key(|lease| lease.id);
        held
    }

    async fn report(&mut self, count: usize, event: impl Fn(()) -> Event) -> Result<(), BackendError> {
        let change =
            |lease: &Lease| Change { target: Target::Lease(*lease), only_from: None, event: event(()) };
        let changes: Vec<Change> = self.held().iter().take(count).map(change).collect();
        let receipt = self.backend().commit(Batch { changes, ..Batch::default() }).await?;
        for verdict in receipt.changes {
            let step = verdict.expect("the lease stands");
            if step.after.status.is_final() {
                self.over.push(step.after.id);
            }
        }
        Ok(())
    }

    async fn delete(&mut self, count: usize) -> Result<(), BackendError> {
        let count = count.min(self.over.len());
        let deletes = self.over[..count].iter().map(|id| Delete { id: *id, only_from: None }).collect();
        let receipt = self.backend().commit(Batch { deletes, ..Batch::default() }).await?;
        assert!(receipt.is_complete(), "{receipt:?}");
        self.over.drain(..count);
        Ok(())
    }

    /// A copy, in place of the one before.
    fn back_up(&mut self) -> Result<(), BackendError> {
        self.copies += 1;
        let target = self.site.backup_path().with_extension(self.copies.to_string());
        let _ = fs::remove_file(self.site.backup_path().with_extension((self.copies - 1).to_string()));
        (self.opened.as_ref().expect("the store is open").backup_to)(&target)
    }

    /// The copy that was made last, if there is one.
    pub fn copy(&self) -> Option<std::path::PathBuf> {
        let path = self.site.backup_path().with_extension(self.copies.to_string());
        path.exists().then_some(path)
    }
}

fn claim(slots: &Arc<Slots>) -> Claim {
    Claim {
        assignee: AssigneeId::new("worker").expect("a valid name"),
        filter: ClaimFilter::default(),
        slots: Arc::clone(slots),
        wait: false,
    }
}

/// All that is in a store, and that it is whole.
pub async fn everything(backend: &dyn Backend) -> Result<Everything, BackendError> {
    let (mut found, mut after) = (Everything::default(), None);
    loop {
        let query = Query { filter: Filter::everything(), after, limit: 100, detail: Detail::Full };
        let page = backend.select(query).await?;
        for mut job in page.jobs {
            // A store may leave numbers out.
            job.sequence = 0;
            let history = backend.history(job.id).await?;
            let text = shortened(&mut job);
            found.jobs.insert(job.id, (job.status, format!("{job:?} {text} {history:?}")));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.record = format!("{:?}", backend.record("r".to_owned()).await?);
    backend.verify().await?;
    Ok(found)
}

/// What stands for the bytes of a job, which nobody reads in a message.
fn shortened(job: &mut Job) -> String {
    let payload = std::mem::take(&mut job.payload);
    format!("{} bytes {:?}", payload.len(), payload.iter().find(|byte| **byte != b'x'))
}

/// What is in the store after each call, the first being before any.
pub async fn reference(life: &[Call]) -> Vec<Everything> {
    let place = super::place();
    let mut driver = Driver::new(Engine::Memory, place.path());
    let mut states = vec![Everything { record: "None".to_owned(), ..Everything::default() }];
    for call in life {
        driver.call(call).await.expect("nothing fails in memory");
        states.push(everything(&*driver.backend()).await.expect("nothing fails in memory"));
    }
    states
}
