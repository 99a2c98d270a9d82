//! The shapes that need more than a queue of jobs: tags, queues, many streams, cleaning up.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_compare::{
    Order, Outcome, Percentiles, Res, Shape, Sink, Work, claims, drain, drained, enqueue_for, fill, payload,
};
use poolqueue::{NewJob, PoolQueue, Priority};

use super::ours::{Engine, Grouped, Ours, Running};

/// The families of the shapes that [`measure`] knows.
pub const FAMILIES: &[&str] = &["tags", "future", "cleanup", "streams", "tag-streams", "queues"];

const FILL_BATCH: u64 = 1_000;

/// One job in so many has the tag that is asked for.
const RARE: u64 = 100;

/// What has to end before the figures are taken may take so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Jobs that are due, behind those that are not.
const DUE: u64 = 10_000;
const DAY: Duration = Duration::from_secs(86_400);

type Store<E> = Ours<E, Grouped>;

/// Does what `order` says.
pub fn measure<E: Engine>(
    store: Arc<Store<E>>,
    order: Order,
) -> Pin<Box<dyn Future<Output = Res<Outcome>> + Send>> {
    Box::pin(async move {
        match order.shape {
            Shape::Tags(jobs) => tags(store.queue(), &order, jobs).await,
            Shape::Future(jobs) => future(&store, &order, jobs).await,
            Shape::Cleanup(jobs) => cleanup(&store, &order, jobs).await,
            Shape::Streams(streams) => streams_of_one(&store, &order, streams).await,
            Shape::TagStreams(tags) => tag_streams(store.queue(), &order, tags).await,
            Shape::Queues(queues) => many_queues(store.queue(), &order, queues).await,
            shape => Err(format!("{shape} is not measured here").into()),
        }
    })
}

/// Enqueues the jobs 0 to below `jobs`, each as `make` makes it of its number and payload.
async fn fill_with(queue: &PoolQueue, jobs: u64, make: impl Fn(u64, NewJob) -> NewJob) -> Res<()> {
    let mut filled = 0;
    while filled < jobs {
        let end = jobs.min(filled + FILL_BATCH);
        let batch = (filled..end).map(|number| make(number, NewJob::new("bench", payload(number))));
        queue.enqueue_all(batch).await?;
        filled = end;
    }
    Ok(())
}

/// The jobs with a tag that one in a hundred has, and then as many without asking for a tag.
async fn tags(queue: &PoolQueue, order: &Order, jobs: u64) -> Res<Outcome> {
    fill_with(queue, jobs, |number, job| job.tag(if number % RARE == 0 { "rare" } else { "plain" })).await?;
    let wanted = jobs.div_ceil(RARE);
    let stream = |number| queue.stream(format!("worker-{number}")).capacity(16);
    let tagged = drain_by(queue, (0..4).map(|number| stream(number).tags(["rare"])), jobs, wanted, order);
    let mut outcome = tagged.await?;
    let untagged = drain_by(queue, (0..4).map(stream), jobs, wanted, order).await?;
    let rate = untagged.jobs as f64 / untagged.span.as_secs_f64();
    outcome.figures.insert("untagged_jobs_per_s".to_owned(), rate);
    outcome.doubled += untagged.doubled;
    Ok(outcome)
}

/// Works on what the streams deliver until `wanted` of the jobs with numbers below `jobs` are done.
async fn drain_by(
    queue: &PoolQueue,
    streams: impl IntoIterator<Item = poolqueue::StreamBuilder>,
    jobs: u64,
    wanted: u64,
    order: &Order,
) -> Res<Outcome> {
    let sink = Sink::new(jobs);
    let start = Instant::now();
    let running = Running::start(queue, streams, false, &sink).await?;
    let outcome = drained(&sink, wanted, start, order.fill_span()).await;
    running.stop().await?;
    Ok(outcome)
}

/// Few jobs are due, and many of a higher priority are not.
async fn future<E: Engine>(store: &Arc<Store<E>>, order: &Order, jobs: u64) -> Res<Outcome> {
    let later = |_, job: NewJob| job.run_after(DAY).priority(Priority::HIGH);
    fill_with(store.queue(), jobs, later).await?;
    fill(store, DUE, None).await?;
    claims(store, order, DUE).await
}

/// Finished jobs are deleted while callers enqueue; before that, callers enqueue alone.
async fn cleanup<E: Engine>(store: &Arc<Store<E>>, order: &Order, jobs: u64) -> Res<Outcome> {
    fill(store, jobs, None).await?;
    let work = Work { streams: 4, capacity: 256, batched: true };
    let finished = drain(store, Sink::new(jobs), jobs, work, PATIENCE).await?;
    if finished.jobs < jobs {
        return Err(format!("{} of {jobs} jobs were done in {PATIENCE:?}", finished.jobs).into());
    }
    let callers = order.shape.callers();
    let alone = enqueue_for(store, jobs, u64::MAX, callers, Instant::now() + order.span()).await?;
    let cleaner = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let start = Instant::now();
            let deleted = store.queue().cleanup(Duration::from_micros(1)).await?;
            poolqueue::Result::Ok((deleted.len() as u64, start.elapsed()))
        })
    };
    let start = Instant::now();
    let (mut next, mut times) = (alone.next, Vec::new());
    while !cleaner.is_finished() {
        let soon = Instant::now() + Duration::from_millis(100);
        let mut during = enqueue_for(store, next, u64::MAX, callers, soon).await?;
        next = during.next;
        times.append(&mut during.times);
    }
    let span = start.elapsed();
    let (deleted, took) = cleaner.await??;
    if deleted != jobs {
        return Err(format!("{deleted} of {jobs} jobs were deleted").into());
    }
    let mut outcome = Outcome { jobs: times.len() as u64, span, times, ..Outcome::default() };
    if let Some(usual) = Percentiles::of(alone.times) {
        outcome.figures.insert("usual_p99_us".to_owned(), usual.p99_us);
    }
    outcome.figures.insert("cleaned_per_s".to_owned(), deleted as f64 / took.as_secs_f64());
    Ok(outcome)
}

/// Streams with one place each wait; the jobs are counted from the enqueue of the first.
async fn streams_of_one<E: Engine>(store: &Arc<Store<E>>, order: &Order, streams: u64) -> Res<Outcome> {
    let sink = Sink::new(order.jobs);
    let queue = store.queue();
    let start = Instant::now();
    let open = (0..streams).map(|number| queue.stream(format!("worker-{number}")).capacity(1));
    let running = Running::start(queue, open, false, &sink).await?;
    let opened = start.elapsed();
    let start = Instant::now();
    let jobs = fill(store, order.jobs, Some(start + order.fill_span())).await?;
    let mut outcome = drained(&sink, jobs, start, order.fill_span()).await;
    running.stop().await?;
    outcome.figures.insert("open_ms".to_owned(), opened.as_secs_f64() * 1e3);
    Ok(outcome)
}

/// Each stream takes the jobs of one tag.
async fn tag_streams(queue: &PoolQueue, order: &Order, tags: u64) -> Res<Outcome> {
    fill_with(queue, order.jobs, |number, job| job.tag(format!("tag-{}", number % tags))).await?;
    let stream = |number| queue.stream(format!("worker-{number}")).tags([format!("tag-{number}")]);
    drain_by(queue, (0..tags).map(stream), order.jobs, order.jobs, order).await
}

/// Four streams take the jobs of all queues in turn.
async fn many_queues(queue: &PoolQueue, order: &Order, queues: u64) -> Res<Outcome> {
    fill_with(queue, order.jobs, |number, job| job.queue(format!("queue-{}", number % queues))).await?;
    let stream = |number| queue.stream(format!("worker-{number}")).all_queues().capacity(16);
    drain_by(queue, (0..4).map(stream), order.jobs, order.jobs, order).await
}
