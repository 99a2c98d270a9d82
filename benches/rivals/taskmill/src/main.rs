//! taskmill 0.7: a scheduler over an SQLite file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bench_compare::{Contender, Res, Sink, Work};
use serde::{Deserialize, Serialize};
use taskmill::{
    Domain, DomainKey, DomainTaskContext, Scheduler, TaskError, TaskSubmission, TypedExecutor, TypedTask,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How much of a payload makes it unlike the others: its number.
const NUMBER: usize = 16;

struct Bench;

impl DomainKey for Bench {
    const NAME: &'static str = "bench";
}

#[derive(Serialize, Deserialize)]
struct Task(String);

impl TypedTask for Task {
    type Domain = Bench;
    const TASK_TYPE: &'static str = "job";

    // Otherwise the key is a hash over all of it.
    fn key(&self) -> Option<String> {
        self.0.get(..NUMBER).map(str::to_owned)
    }
}

struct Executor;

impl TypedExecutor<Task> for Executor {
    // Completions are stored together after their handlers have returned; who waits for one is not told reliably.
    async fn execute<'a>(
        &'a self,
        task: Task,
        context: DomainTaskContext<'a, Bench>,
    ) -> Result<(), TaskError> {
        let sink: &Sink = context.state().ok_or_else(|| TaskError::permanent("no sink"))?;
        sink.hit(&task.0);
        sink.done(&task.0);
        Ok(())
    }
}

struct Taskmill {
    scheduler: Scheduler,
    directory: PathBuf,
}

fn file(directory: &Path) -> PathBuf {
    directory.join("taskmill.db")
}

impl Contender for Taskmill {
    const NAME: &'static str = "taskmill";
    const ENGINE: &'static str = "sqlite";
    type Running = JoinHandle<()>;

    async fn open(dir: &Path, _mode: &str) -> Res<Self> {
        let path = file(dir);
        let path = path.to_str().ok_or("the directory's name is no text")?;
        let domain = Domain::<Bench>::new().task::<Task>(Executor);
        let scheduler = Scheduler::builder().store_path(path).domain(domain).build().await?;
        Ok(Taskmill { scheduler, directory: dir.to_owned() })
    }

    async fn durability(&self) -> Res<String> {
        let journal = rival_observe::journal(&file(&self.directory))?;
        rival_observe::durability::<Self>(journal, &self.directory, Self::MODES[0]).await
    }

    async fn enqueue(&self, payload: String) -> Res<()> {
        self.scheduler.domain::<Bench>().submit(Task(payload)).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, payloads: Vec<String>) -> Res<()> {
        // The domain's own call for many stores each by itself, and this one does not know of domains.
        let submission = |payload| {
            let mut submission = TaskSubmission::from_typed(&Task(payload));
            submission.task_type = format!("{}::{}", Bench::NAME, Task::TASK_TYPE);
            submission
        };
        let submissions: Vec<TaskSubmission> = payloads.into_iter().map(submission).collect();
        self.scheduler.submit_batch(&submissions).await?;
        Ok(())
    }

    async fn start(&self, work: Work, sink: Sink) -> Res<JoinHandle<()>> {
        self.scheduler.register_state(Arc::new(sink)).await;
        self.scheduler.set_max_concurrency(work.streams * work.capacity);
        let scheduler = self.scheduler.clone();
        Ok(tokio::spawn(async move { scheduler.run(CancellationToken::new()).await }))
    }

    async fn stop(&self, running: JoinHandle<()>) -> Res<()> {
        // Its own way to stop closes the store for good, and workers may be started again.
        running.abort();
        let _ = running.await;
        Ok(())
    }

    async fn close(self) -> Res<()> {
        Ok(())
    }
}

fn main() -> ExitCode {
    bench_compare::run::<Taskmill>()
}
