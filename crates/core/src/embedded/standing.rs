//! Claims that wait for jobs, and who gets which.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use tokio::sync::oneshot;

use crate::lifecycle::{Event, JobState};
use crate::{
    BackendError, BackendErrorKind, Claim, ClaimFilter, Failure, FailureKind, Job, Labels, Lease, QueueName,
    Slots, Timestamp, Txn,
};

use super::apply::{Done, apply_own};
use super::elsewhere::Holders;
use super::inbox::Delivery;

/// Jobs taken by claims in one group, at most: what waits beyond is taken by the next group.
const JOBS_PER_GROUP: usize = 4_096;
/// Queues looked at in one step of a claim over several.
const QUEUES_PER_STEP: usize = 64;

/// One call of `claim` that has not been answered.
pub(super) struct Standing {
    pub(super) claims: Vec<Claim>,
    pub(super) answer: oneshot::Sender<Result<Delivery, BackendError>>,
    /// What each claim got, not yet committed.
    pub(super) taken: Vec<Vec<Job>>,
    /// Whether a job that was ready before the group might be for it: it is new, or one of its slots became
    /// free. Otherwise only jobs that became ready in the group are.
    pub(super) look_again: bool,
}

impl Standing {
    pub(super) fn new(claims: Vec<Claim>, answer: oneshot::Sender<Result<Delivery, BackendError>>) -> Self {
        let taken = claims.iter().map(|_| Vec::new()).collect();
        Standing { claims, answer, taken, look_again: true }
    }

    pub(super) fn has_taken(&self) -> bool {
        self.taken.iter().any(|jobs| !jobs.is_empty())
    }

    pub(super) fn waits(&self) -> bool {
        self.claims.iter().any(|claim| claim.wait)
    }

    fn is_for(&self, ready: &HashSet<Arc<Labels>>) -> bool {
        ready.iter().any(|labels| self.claims.iter().any(|claim| claim.filter.matches(labels)))
    }
}

/// Where claims are served from.
pub(super) struct Serving<'a> {
    pub(super) txn: &'a mut dyn Txn,
    pub(super) now: Timestamp,
    pub(super) history_max: usize,
    pub(super) done: &'a mut Done,
    /// Where the jobs claimed in this group go.
    pub(super) claimed: &'a mut HashMap<Lease, Arc<Slots>>,
    /// The queue served last by a claim over several: the next one goes first.
    pub(super) turn: &'a mut Option<QueueName>,
}

/// A place in `standing`: which call and which of its claims.
type Place = (usize, usize);

/// Serves the standing claims, the one that has stood longest first. Returns whether jobs may be left for them.
pub(super) fn serve(serving: &mut Serving<'_>, standing: &mut [Standing]) -> Result<bool, BackendError> {
    let ready: HashSet<Arc<Labels>> = ready_labels(serving.done);
    let mut groups: Vec<(ClaimFilter, Vec<Place>)> = Vec::new();
    let mut group_of: HashMap<ClaimFilter, usize> = HashMap::default();
    for (at, one) in standing.iter().enumerate() {
        if one.answer.is_closed() || !(one.look_again || serving.done.promoted || one.is_for(&ready)) {
            continue;
        }
        for (nth, claim) in one.claims.iter().enumerate().filter(|(_, claim)| claim.slots.free() > 0) {
            match group_of.get(&claim.filter) {
                Some(group) => groups[*group].1.push((at, nth)),
                None => {
                    group_of.insert(claim.filter.clone(), groups.len());
                    groups.push((claim.filter.clone(), vec![(at, nth)]));
                }
            }
        }
    }
    let mut budget = JOBS_PER_GROUP;
    for (filter, places) in groups {
        budget -= serve_filter(serving, standing, &filter, &places, budget)?;
        if budget == 0 {
            break;
        }
    }
    // What the budget did not reach became ready in this group, and the next one knows nothing of that.
    let unfinished = budget == 0;
    for one in standing.iter_mut() {
        one.look_again = unfinished;
    }
    Ok(unfinished)
}

/// The labels of the jobs that became ready in this group.
fn ready_labels(done: &Done) -> HashSet<Arc<Labels>> {
    let inserted = done.inserted.iter().filter(|job| job.is_claimable());
    let changed = done.transitions.iter().filter(|step| step.became_ready()).map(|step| &step.after);
    inserted.chain(changed).map(|job| Arc::clone(&job.labels)).collect()
}

/// Serves all claims that have the same filter: jobs go round, one each, in the order of claims. Returns how many
/// jobs were taken.
fn serve_filter(
    serving: &mut Serving<'_>,
    standing: &mut [Standing],
    filter: &ClaimFilter,
    places: &[Place],
    budget: usize,
) -> Result<usize, BackendError> {
    // Asked anew for each job: claims may share their slots, and a capacity may be lowered meanwhile.
    let free = |standing: &[Standing], (at, nth): &Place| standing[*at].claims[*nth].slots.free();
    let mut open = places.to_vec();
    let mut next = 0;
    let mut taken = 0;
    loop {
        open.retain(|place| free(standing, place) > 0);
        let room = open.iter().map(|place| free(standing, place)).fold(0, usize::saturating_add);
        let wanted = room.min(budget - taken);
        if wanted == 0 {
            return Ok(taken);
        }
        let candidates = candidates(serving, filter, wanted)?;
        if candidates.is_empty() {
            return Ok(taken);
        }
        for candidate in candidates {
            let mut turns = (0..open.len()).map(|step| (next + step) % open.len());
            let Some(turn) = turns.find(|turn| free(standing, &open[*turn]) > 0) else { return Ok(taken) };
            let (at, nth) = open[turn];
            if let Some(job) = take(serving, &standing[at].claims[nth], &candidate)? {
                standing[at].taken[nth].push(job);
                taken += 1;
                next = turn + 1;
            }
        }
    }
}

/// Up to `wanted` jobs that `filter` takes: the queues in turn, each in its order.
fn candidates(
    serving: &mut Serving<'_>,
    filter: &ClaimFilter,
    wanted: usize,
) -> Result<Vec<JobState>, BackendError> {
    if let Some([queue]) = filter.queues.as_deref() {
        return serving.txn.ready(queue, filter, wanted);
    }
    let mut found = Vec::new();
    let mut first: Option<QueueName> = None;
    loop {
        let queues = serving.txn.ready_queues(filter, serving.turn.as_ref(), QUEUES_PER_STEP)?;
        if queues.is_empty() {
            return Ok(found);
        }
        let share = wanted.div_ceil(queues.len()).max(1);
        for queue in queues {
            if found.len() >= wanted || first.as_ref() == Some(&queue) {
                return Ok(found);
            }
            first.get_or_insert_with(|| queue.clone());
            let suspect = found.iter().any(JobState::is_suspect);
            let more = serving.txn.ready(&queue, filter, share.min(wanted - found.len()))?;
            found.extend(more.into_iter().filter(|job| !(suspect && job.is_suspect())));
            *serving.turn = Some(queue);
        }
    }
}

/// Claims one job, or ends it when it must not run: its deadline has passed or it cannot be read.
fn take(serving: &mut Serving<'_>, claim: &Claim, candidate: &JobState) -> Result<Option<Job>, BackendError> {
    let Serving { txn, now, history_max, done, claimed, .. } = serving;
    let expired =
        candidate.awaits_deadline() && candidate.expires_at.is_some_and(|deadline| deadline <= *now);
    if expired {
        apply_own(*txn, candidate, &Event::Expire, *now, *history_max, done)?;
        return Ok(None);
    }
    let claim_event = Event::Claim { assignee: claim.assignee.clone() };
    let Some(transition) = apply_own(*txn, candidate, &claim_event, *now, *history_max, done)? else {
        // The index offered a job that cannot be claimed: a rule is broken, and going on would never end.
        return Err(BackendError::corrupted(format!(
            "job {} is in the index of due jobs and is not",
            candidate.id
        )));
    };
    // An engine may take a read that failed once for damage. A second look costs nothing where it finds the same.
    let is_damaged = |error: &BackendError| error.kind() == BackendErrorKind::Corrupted;
    let found = match txn.job(&transition.after) {
        Err(error) if is_damaged(&error) => txn.job(&transition.after),
        found => found,
    };
    match found {
        Ok(job) => {
            claim.slots.reserve(1);
            claimed.insert(job.lease(), Arc::clone(&claim.slots));
            Ok(Some(job))
        }
        Err(error) if is_damaged(&error) => {
            let failure = Failure::new(error.to_string()).kind(FailureKind::Decode).no_retry();
            let failed = Event::FailRetry { failure, random: 0 };
            apply_own(*txn, &transition.after, &failed, *now, *history_max, done)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Counts the slot of a job as free for the rest of the group, so that the claim behind it is served in the same
/// group.
pub(super) fn give_back(holders: &Holders, standing: &mut [Standing], job: &JobState) {
    if job.is_suspect() {
        // Others like it were left out of every claim while it was held.
        standing.iter_mut().for_each(|one| one.look_again = true);
    }
    let lease = job.lease();
    let Some((_, slots)) = holders.get(&lease.id).filter(|(held, _)| *held == lease) else { return };
    slots.give_back();
    for one in standing.iter_mut().filter(|one| !one.look_again) {
        one.look_again = one.claims.iter().any(|claim| Arc::ptr_eq(&claim.slots, slots));
    }
}
