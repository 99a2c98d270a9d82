//! Every status against every event, by id and by lease: what the life cycle's table says is what happens, and a
//! job that says no is left as it was.

use poolqueue::backend::lifecycle::{self, Event};
use poolqueue::{Error, EventKind, HistoryEntry, Job, JobId, Rejected, Status, Target};

use super::support::*;
use crate::Fixture;

/// The verbs that report an outcome, and so take a lease.
const REPORTS: [EventKind; 7] = [
    EventKind::Complete,
    EventKind::FailRetry,
    EventKind::Stop,
    EventKind::StopFailed,
    EventKind::UnknownStop,
    EventKind::Release,
    EventKind::Suspend,
];

pub async fn initial_pending_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::InitialPending).await;
}

pub async fn failed_retry_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::FailedRetry).await;
}

pub async fn unknown_retry_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::UnknownRetry).await;
}

pub async fn waiting_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Waiting).await;
}

pub async fn running_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Running).await;
}

pub async fn cancelling_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Cancelling).await;
}

pub async fn completed_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Completed).await;
}

pub async fn stopped_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Stopped).await;
}

pub async fn unscheduled_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Unscheduled).await;
}

pub async fn unknown_stopped_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::UnknownStopped).await;
}

pub async fn dead_job_follows_the_table<F: Fixture>() {
    follows_the_table::<F>(Status::Dead).await;
}

pub async fn paused_job_follows_the_status_it_remembers<F: Fixture>() {
    for remembered in [Status::InitialPending, Status::FailedRetry, Status::UnknownRetry, Status::Waiting] {
        let scene = Scene::<F>::new().await;
        for event in EventKind::ALL {
            let id = scene.bring(fresh().expires_after(HOUR), remembered).await.id;
            scene.pause(id).await.unwrap();
            let expected = lifecycle::next_paused(remembered, *event);
            check(&scene, &scene.job(id).await, *event, id.into(), expected).await;
        }
        for event in REPORTS {
            let id = scene.bring(fresh(), remembered).await.id;
            scene.pause(id).await.unwrap();
            let job = scene.job(id).await;
            check(&scene, &job, event, job.lease().into(), None).await;
        }
    }
}

/// Brings a job into `status` for each event, and has it happen: once to its id and, for the reports, once to its
/// lease.
async fn follows_the_table<F: Fixture>(status: Status) {
    let scene = Scene::<F>::new().await;
    for event in EventKind::ALL {
        let job = scene.bring(fresh().expires_after(HOUR), status).await;
        check(&scene, &job, *event, job.id.into(), lifecycle::next(status, *event)).await;
    }
    for event in REPORTS {
        let job = scene.bring(fresh(), status).await;
        check(&scene, &job, event, job.lease().into(), lifecycle::next(status, event)).await;
    }
    assert!(scene.verify().await.is_ok());
}

/// Has `event` happen to `job` and compares what follows with what was `expected`.
async fn check<F: Fixture>(
    scene: &Scene<F>,
    job: &Job,
    event: EventKind,
    target: Target,
    expected: Option<Status>,
) {
    let case = format!("{event} of a job that is {}, by {target:?}", job.status);
    let history = scene.history(job.id).await.unwrap().entries;
    let verdict = happen(scene, job, event, target).await;
    let after = scene.job(job.id).await;
    let added = scene.history(job.id).await.unwrap().entries.split_off(history.len());
    let Some(to) = expected else {
        assert_eq!(after, *job, "{case}: it said no and changed");
        assert_eq!(added, [], "{case}: it said no and left an entry");
        if let Err(Some(rejected)) = verdict {
            assert_eq!(rejected, refusal(job, event, target, history.last()), "{case}");
        } else {
            assert!(matches!(verdict, Err(None)), "{case}: {verdict:?}");
        }
        return;
    };
    assert_eq!(verdict, Ok(to), "{case}");
    assert_eq!(after.status, to, "{case}");
    let repeats = to == job.status && matches!(event, EventKind::Cancel | EventKind::Pause);
    if repeats {
        assert_eq!((&after, added.len()), (job, 0), "{case}: a repetition changes nothing");
        return;
    }
    assert_eq!(added.len(), 1, "{case}");
    assert_eq!((added[0].event, added[0].from, added[0].to), (event, job.status, to), "{case}");
    assert_eq!(after.finalized_at.is_some(), to.is_final(), "{case}");
}

/// What a job answers to an event that its status does not allow.
fn refusal(job: &Job, event: EventKind, target: Target, last: Option<&HistoryEntry>) -> Rejected {
    let by_lease = matches!(target, Target::Lease(_));
    if by_lease && last.is_some_and(|last| last.event == event) {
        Rejected::AlreadyApplied { id: job.id, status: job.status, event }
    } else {
        Rejected::Illegal { id: job.id, status: job.status, event }
    }
}

/// Has an event happen by the verb that stands for it. `Err(None)` when that verb only says that the job was skipped.
async fn happen<F: Fixture>(
    scene: &Scene<F>,
    job: &Job,
    event: EventKind,
    target: Target,
) -> Result<Status, Option<Rejected>> {
    let id = job.id;
    let verdict = match event {
        EventKind::Complete => scene.complete(target, b"done").await,
        EventKind::FailRetry => scene.fail_retry(target, "no").await,
        EventKind::Stop => scene.stop(target, "enough").await,
        EventKind::StopFailed => scene.stop_failed(target, "enough").await,
        EventKind::UnknownStop => scene.unknown_stop(target, "where?").await,
        EventKind::Release => scene.release(target).await,
        EventKind::Suspend => {
            let suspended = scene.change(target, Event::Suspend { until: scene.now() }).await;
            suspended.map(|step| step.after.status).map_err(Error::from)
        }
        operation => {
            let changed = operate(scene, job, operation).await;
            return if changed == [id] { Ok(scene.status(id).await) } else { Err(None) };
        }
    };
    verdict.map_err(|error| error.rejected().cloned())
}

/// Which jobs were changed by the verb, the claim or the clock that stands for `event`.
async fn operate<F: Fixture>(scene: &Scene<F>, job: &Job, event: EventKind) -> Vec<JobId> {
    let id = job.id;
    match event {
        EventKind::Claim => ids(&scene.claim_for("claimer", 1, of_kind(&job.kind)).await),
        EventKind::Cancel => scene.cancel(id).await.unwrap().cancelled,
        EventKind::Pause => scene.pause(id).await.unwrap().changed,
        EventKind::Resume => scene.resume(id).await.unwrap().changed,
        EventKind::Retry => scene.retry(id).await.unwrap().changed,
        EventKind::LoseWorker => {
            let worker = job.assignee.as_deref().unwrap_or("nobody");
            scene.lose_worker(worker).await.unwrap().changed
        }
        EventKind::Expire => {
            scene.advance(2 * HOUR).await;
            let expired = scene.status(id).await != job.status;
            expired.then_some(id).into_iter().collect()
        }
        report => panic!("{report} is a report, not an operation"),
    }
}
