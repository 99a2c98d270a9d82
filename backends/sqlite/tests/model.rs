//! The same random life in this store and in the reference model: every answer is the same.

mod support;

use std::time::Duration;

use poolqueue_core::lifecycle::{Event, JobState, decide};
use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{
    AssigneeId, BackendError, ClaimFilter, Cursor, Detail, Filter, JobId, Kind, NewJob, Output, Phase, Query,
    QueueName, Reader, Snapshot, Status, StatusSet, Store, Tags, Timestamp, Txn, Verdict,
};
use poolqueue_sqlite::{SqliteOptions, SqliteStore};
use support::{at, fail, id, insert};

const JOBS: u64 = 40;

/// One step, decided before it is taken, so that both stores are asked the same.
#[derive(Debug)]
enum Step {
    Insert(NewJob),
    Change(JobId, Event),
    Claim(QueueName, ClaimFilter, usize),
    Promote(usize),
    Delete(JobId),
    Record(String, Option<(u64, Vec<u8>)>),
}

struct World {
    random: fastrand::Rng,
    now: i64,
}

impl World {
    fn tags(&mut self, most: usize) -> Vec<String> {
        (0..self.random.usize(..=most)).map(|_| format!("t{}", self.random.u8(..4))).collect()
    }

    fn queue(&mut self) -> String {
        format!("q{}", self.random.u8(..3))
    }

    fn kind(&mut self) -> String {
        format!("k{}", self.random.u8(..3))
    }

    fn job(&mut self) -> NewJob {
        let (queue, kind, tags) = (self.queue(), self.kind(), self.tags(2));
        let mut job = NewJob::new(kind, vec![self.random.u8(..); self.random.usize(..40)])
            .id(id(self.random.u64(..JOBS)))
            .queue(queue)
            .tags(tags)
            .priority(self.random.i16(-1..=1))
            .crash_limit(self.random.u32(1..4));
        if self.random.u8(..3) == 0 {
            job = job.run_after(Duration::from_micros(self.random.u64(..20)));
        }
        if self.random.u8(..4) == 0 {
            job = job.expires_after(Duration::from_micros(self.random.u64(1..20)));
        }
        job
    }

    fn claim_filter(&mut self) -> ClaimFilter {
        let mut filter = ClaimFilter::default();
        if self.random.u8(..3) == 0 {
            let (all, any, none) = (self.tags(1), self.tags(2), self.tags(1));
            filter.tags = Tags::all(all).any(any).none(none).checked().unwrap();
        }
        if self.random.u8(..4) == 0 {
            filter.kinds = Some(vec![Kind::new(self.kind()).unwrap()]);
        }
        filter
    }

    fn event(&mut self) -> Event {
        let events = [
            Event::Complete { output: "output".into() },
            Event::Complete { output: Output::none() },
            fail("no luck"),
            fail(&"long ".repeat(300)),
            Event::LoseWorker,
            Event::Release,
            Event::Cancel,
            Event::Pause,
            Event::Resume,
            Event::Retry,
            Event::Expire,
            Event::Stop { message: String::new() },
            Event::UnknownStop { message: "gone".into() },
            Event::Suspend { until: Timestamp::NEVER },
            Event::Suspend { until: at(self.now + 7) },
        ];
        events[self.random.usize(..events.len())].clone()
    }

    fn step(&mut self) -> Step {
        let any = id(self.random.u64(..JOBS));
        match self.random.u8(..20) {
            0..4 => Step::Insert(self.job()),
            4..8 => {
                let queue = QueueName::new(self.queue()).unwrap();
                Step::Claim(queue, self.claim_filter(), self.random.usize(1..5))
            }
            8..10 => Step::Promote(self.random.usize(1..9)),
            10 => Step::Delete(any),
            11 => {
                let value = (self.random.u64(..9), vec![1; self.random.usize(..9)]);
                Step::Record(format!("r{}", self.random.u8(..3)), self.random.bool().then_some(value))
            }
            _ => Step::Change(any, self.event()),
        }
    }

    fn filter(&mut self) -> Filter {
        let mut filter = Filter::everything();
        if self.random.u8(..3) == 0 {
            filter.ids = Some((0..5).map(|_| id(self.random.u64(..JOBS))).collect());
        }
        if self.random.u8(..3) == 0 {
            filter.tags = Some(Tags::all(self.tags(1)).any(self.tags(2)).checked().unwrap());
        }
        filter.statuses = match self.random.u8(..5) {
            0 => Some(StatusSet::of_phase(Phase::Held)),
            1 => Some(StatusSet::of_phase(Phase::Final)),
            2 => Some(StatusSet::of_phase(Phase::Ready).with(Status::Dead)),
            _ => None,
        };
        if self.random.u8(..6) == 0 {
            filter.queues = Some(vec![QueueName::new(self.queue()).unwrap()]);
        }
        if self.random.u8(..6) == 0 {
            filter.finalized_before = Some(at(self.now - 5));
        }
        filter
    }
}

/// Takes one step; what it answered, for comparing.
fn take(txn: &mut dyn Txn, step: &Step, now: i64, kept: usize) -> Result<String, BackendError> {
    let load = |txn: &mut dyn Txn, id: JobId| -> Result<Option<JobState>, BackendError> { txn.load(id) };
    Ok(match step {
        Step::Insert(job) => {
            let wanted = job.clone().into_insert(&Default::default(), || id(0)).unwrap().admission.id;
            match load(txn, wanted)? {
                Some(_) => "exists".into(),
                None => format!("{:?}", insert(txn, job.clone(), now)?),
            }
        }
        Step::Change(id, event) => match load(txn, *id)?.map(|job| decide(&job, event, None, at(now))) {
            Some(Ok(step)) => {
                let output = match event {
                    Event::Complete { output } => Some(output),
                    _ => None,
                };
                txn.store(&step, output, kept)?;
                format!("{:?}", txn.job(&step.after)?)
            }
            other => format!("{other:?}"),
        },
        Step::Claim(queue, filter, limit) => {
            // A store may list a queue whose due jobs cannot be claimed just now, or leave it out.
            let mut queues = Vec::new();
            for name in txn.ready_queues(filter, Some(queue), 9)? {
                if !txn.ready(&name, filter, 1)?.is_empty() {
                    queues.push(name);
                }
            }
            let mut answer = format!("{queues:?}");
            let event = Event::Claim { assignee: AssigneeId::new("worker").unwrap() };
            for state in txn.ready(queue, filter, *limit)? {
                let step = decide(&state, &event, None, at(now)).unwrap();
                txn.store(&step, None, kept)?;
                answer += &format!("{:?}", txn.job(&step.after)?);
            }
            answer
        }
        Step::Promote(limit) => {
            let promoted = txn.promote(at(now), *limit)?;
            // Two jobs of one deadline may come in either order.
            let mut expired: Vec<JobId> = txn.expired(at(now), 99)?.iter().map(|job| job.id).collect();
            expired.sort();
            format!("{promoted} {expired:?} {:?}", txn.next_timer()?)
        }
        Step::Delete(id) => match load(txn, *id)? {
            Some(state) if state.status.is_final() => {
                txn.delete(&state)?;
                "deleted".into()
            }
            _ => "kept".into(),
        },
        Step::Record(key, value) => {
            let before = txn.record_version(key)?;
            txn.put_record(key, value.as_ref().map(|(version, bytes)| (*version, bytes.as_slice())))?;
            format!("{before}")
        }
    })
}

fn run(store: &mut impl Store, steps: &[Step], now: i64, kept: usize, verdict: Verdict) -> Vec<String> {
    let mut answers = Vec::new();
    store
        .transact(&mut |txn| {
            for step in steps {
                answers.push(take(txn, step, now, kept)?);
            }
            Ok(verdict)
        })
        .unwrap();
    answers
}

/// Everything a reader is told, as text.
fn read(reader: &impl Reader, query: &Query) -> Vec<String> {
    let snapshot = reader.snapshot().unwrap();
    let ids: Vec<JobId> = (0..JOBS).map(id).collect();
    let mut held = snapshot.held().unwrap();
    held.sort_by_key(|lease| lease.id);
    let mut answers = vec![
        format!("{:?}", snapshot.select(query).unwrap()),
        format!("{:?}", snapshot.count(&query.filter).unwrap()),
        format!("{:?}", snapshot.count(&Filter::everything()).unwrap()),
        format!("{held:?}"),
        format!("{:?}", snapshot.record("r1").unwrap()),
        format!("{:?}", snapshot.verify().unwrap()),
    ];
    answers.extend(snapshot.get(&ids).unwrap().iter().map(|job| format!("{job:?}")));
    answers.extend(ids.iter().map(|id| format!("{:?}", snapshot.history(*id).unwrap())));
    answers
}

#[test]
fn a_random_life_is_the_same_as_in_the_reference_model() {
    for seed in 0..6 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        let mut model = MemoryStore::new();
        let mut store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
        let mut world = World { random: fastrand::Rng::with_seed(seed), now: 0 };
        let kept = [1000, 20, 3][usize::try_from(seed % 3).unwrap()];
        for round in 0..150 {
            world.now += world.random.i64(0..4);
            let steps: Vec<Step> = (0..world.random.usize(1..8)).map(|_| world.step()).collect();
            let verdict = if world.random.u8(..4) == 0 { Verdict::Rollback } else { Verdict::Commit };
            let expected = run(&mut model, &steps, world.now, kept, verdict);
            let found = run(&mut store, &steps, world.now, kept, verdict);
            assert_eq!(found, expected, "seed {seed}, round {round}: {steps:?}");
            if world.random.u8(..20) == 0 {
                store.close().unwrap();
                store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
            }
            let query = Query {
                filter: world.filter(),
                after: world.random.bool().then(|| Cursor(id(world.random.u64(..JOBS)))),
                limit: world.random.usize(1..50),
                detail: Detail::Full,
            };
            let (expected, found) = (read(&model.reader(), &query), read(&store.reader(), &query));
            assert_eq!(found, expected, "seed {seed}, round {round}: {query:?}");
        }
    }
}
