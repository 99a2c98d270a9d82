//! Runs a seeded random mix of calls and prints a line before and after each. See `docs/stress.md`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use poolqueue::{PoolQueue, Select};
use poolqueue_core::{AssigneeId, Backend, Claim, ClaimFilter, Failure, JobId, Lease, NewJob, Slots};
use poolqueue_testkit::stress::{Arguments, StressError};

/// Jobs whose ids are remembered for cancelling and deleting.
const REMEMBERED: usize = 4_096;
/// Jobs a worker holds at once.
const CAPACITY: usize = 8;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stress-child: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), StressError> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let backend = arguments.open()?;
    let queue = PoolQueue::new(Arc::clone(&backend)).await?;
    let stress = Arc::new(Stress {
        queue,
        backend,
        ops: arguments.ops,
        sequence: AtomicU64::new(0),
        known: Mutex::new(Vec::new()),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..arguments.callers + arguments.workers {
        let seed = arguments.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(nth as u64);
        let (stress, random) = (Arc::clone(&stress), fastrand::Rng::with_seed(seed));
        if nth < arguments.callers {
            tasks.spawn(async move { stress.call(random).await });
        } else {
            tasks.spawn(async move { stress.work(random, nth).await });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let jobs = stress.queue.verify().await?;
    eprintln!("{} calls, {jobs} jobs, verify ok", arguments.ops);
    Ok(stress.queue.close().await?)
}

struct Stress {
    queue: PoolQueue,
    backend: Arc<dyn Backend>,
    ops: u64,
    sequence: AtomicU64,
    known: Mutex<Vec<JobId>>,
}

/// The jobs of a call, as a line names them.
type Named = Vec<(JobId, u32)>;

impl Stress {
    /// The number of the next call; `None` when all have been made.
    fn next(&self) -> Option<u64> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        (sequence < self.ops).then_some(sequence)
    }

    /// Makes one call: a line before it and one after.
    async fn attempt(
        &self,
        op: &str,
        named: Named,
        call: impl Future<Output = poolqueue::Result<Named>>,
    ) -> Result<Option<Named>, StressError> {
        let Some(sequence) = self.next() else { return Ok(None) };
        say("try", sequence, op, &named)?;
        match call.await {
            Ok(done) => {
                say("ok", sequence, op, &done)?;
                Ok(Some(done))
            }
            Err(error) => {
                line(&format!("err {sequence} {:?}\n", error.kind()))?;
                // A job that says no is part of the mix; a store that fails ends the program.
                match error.kind() {
                    poolqueue::ErrorKind::Rejected => Ok(Some(Named::new())),
                    _ => Err(error.into()),
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.sequence.load(Ordering::Relaxed) >= self.ops
    }

    fn remember(&self, ids: &Named, random: &mut fastrand::Rng) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, _) in ids {
            if known.len() < REMEMBERED {
                known.push(*id);
            } else {
                known[random.usize(..REMEMBERED)] = *id;
            }
        }
    }

    fn some_known(&self, random: &mut fastrand::Rng, most: usize) -> Vec<JobId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = random.usize(1..=most).min(known.len());
        let mut ids: Vec<JobId> = (0..wanted).map(|_| known[random.usize(..known.len())]).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Enqueues, cancels, deletes and cleans up until all calls have been made.
    async fn call(&self, mut random: fastrand::Rng) -> Result<(), StressError> {
        while !self.is_over() {
            match random.u32(..100) {
                0..70 => {
                    let id = new_id(&mut random);
                    let job = new_job(&mut random, id);
                    let call = async { self.queue.enqueue(job).await.map(|id| vec![(id, 0)]) };
                    let done = self.attempt("enqueue", vec![(id, 0)], call).await?;
                    self.remember(&done.unwrap_or_default(), &mut random);
                }
                70..80 => {
                    let ids: Vec<JobId> = (0..random.usize(1..20)).map(|_| new_id(&mut random)).collect();
                    let jobs: Vec<NewJob> = ids.iter().map(|id| new_job(&mut random, *id)).collect();
                    let call = async {
                        Ok(self.queue.enqueue_all(jobs).await?.into_iter().map(|id| (id, 0)).collect())
                    };
                    let done =
                        self.attempt("enqueue", ids.into_iter().map(|id| (id, 0)).collect(), call).await?;
                    self.remember(&done.unwrap_or_default(), &mut random);
                }
                80..92 => {
                    let ids = self.some_known(&mut random, 4);
                    let call =
                        async { Ok(bare(self.queue.cancel(Select::ids(ids.clone())).await?.cancelled)) };
                    self.attempt("cancel", bare(ids.clone()), call).await?;
                }
                92..98 => {
                    let ids = self.some_known(&mut random, 1);
                    let call = async { Ok(bare(self.queue.delete(Select::ids(ids.clone())).await?)) };
                    self.attempt("delete", bare(ids.clone()), call).await?;
                }
                _ => {
                    // What a cleanup will delete is not known before it: it prints what it did.
                    let ttl = Duration::from_millis(random.u64(1..2_000));
                    let call = async { Ok(bare(self.queue.cleanup(ttl).await?)) };
                    self.attempt("cleanup", Named::new(), call).await?;
                }
            }
        }
        Ok(())
    }

    /// Claims jobs and reports outcomes until all calls have been made.
    async fn work(&self, mut random: fastrand::Rng, nth: usize) -> Result<(), StressError> {
        let claim = Claim {
            assignee: AssigneeId::new(format!("worker-{nth}"))?,
            filter: ClaimFilter::default(),
            slots: Slots::new(CAPACITY),
            wait: false,
        };
        while !self.is_over() {
            let call = async {
                let claimed = self.backend.claim(vec![claim.clone()]).await?;
                Ok(claimed.iter().flatten().map(|job| (job.id, job.attempt.0)).collect())
            };
            let Some(mut claimed) = self.attempt("claim", Named::new(), call).await? else { return Ok(()) };
            if claimed.is_empty() {
                self.answer_cancelled(&claim.slots).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if random.u32(..4) == 0 {
                let call = async { self.complete_all(&claimed).await };
                self.attempt("complete", claimed.clone(), call).await?;
                claimed.clear();
            }
            for (id, attempt) in claimed {
                self.report(&mut random, id, attempt).await?;
            }
        }
        Ok(())
    }

    /// Answers what was cancelled while this worker held it.
    async fn answer_cancelled(&self, slots: &Slots) -> Result<(), StressError> {
        for lease in slots.held() {
            let call = async {
                self.queue.acknowledge_cancel(lease, true).await?;
                Ok(vec![(lease.id, lease.attempt.0)])
            };
            self.attempt("acknowledge", vec![(lease.id, lease.attempt.0)], call).await?;
        }
        Ok(())
    }

    async fn complete_all(&self, claimed: &Named) -> poolqueue::Result<Named> {
        let leases = claimed.iter().map(|(id, attempt)| (lease(*id, *attempt), b"output"));
        let verdicts = self.queue.complete_all(leases).await?;
        Ok(claimed.iter().zip(verdicts).filter(|(_, verdict)| verdict.is_ok()).map(|(job, _)| *job).collect())
    }

    async fn report(&self, random: &mut fastrand::Rng, id: JobId, attempt: u32) -> Result<(), StressError> {
        let lease = lease(id, attempt);
        let named = vec![(id, attempt)];
        let done = named.clone();
        let queue = &self.queue;
        match random.u32(..10) {
            0..6 => {
                self.attempt("complete", named, async { queue.complete(lease, b"out").await.map(|_| done) })
                    .await?
            }
            6..9 => {
                let failure = Failure::new("stress").retry_after(Duration::from_millis(random.u64(..20)));
                self.attempt("fail_retry", named, async {
                    queue.fail_retry(lease, failure).await.map(|_| done)
                })
                .await?
            }
            _ => {
                self.attempt("stop", named, async { queue.stop(lease, "stress").await.map(|_| done) }).await?
            }
        };
        Ok(())
    }
}

fn lease(id: JobId, attempt: u32) -> Lease {
    Lease { id, attempt: poolqueue_core::Attempt(attempt) }
}

fn bare(ids: Vec<JobId>) -> Named {
    ids.into_iter().map(|id| (id, 0)).collect()
}

fn new_id(random: &mut fastrand::Rng) -> JobId {
    JobId::from_bytes(random.u128(..).to_be_bytes())
}

fn new_job(random: &mut fastrand::Rng, id: JobId) -> NewJob {
    let mut payload = vec![0; random.usize(..512)];
    random.fill(&mut payload);
    let job =
        NewJob::new("stress", payload).id(id).tags((0..random.u32(..3)).map(|tag| format!("tag-{tag}")));
    let job = job.priority(random.i16(-1..=1));
    if random.u32(..10) == 0 { job.run_after(Duration::from_millis(random.u64(..50))) } else { job }
}

fn say(word: &str, sequence: u64, op: &str, named: &Named) -> std::io::Result<()> {
    let mut text = format!("{word} {sequence} {op}");
    for (id, attempt) in named {
        text.push_str(&format!(" {id} {attempt}"));
    }
    text.push('\n');
    line(&text)
}

/// One write for each line: whoever reads sees every line whole, and none is left in a buffer by a kill.
fn line(text: &str) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes()).and_then(|()| std::io::stdout().lock().flush())
}
