use std::ops::Bound;

use crate::lifecycle::{JobState, Transition};
use crate::{
    BackendError, Body, ClaimFilter, Detail, Job, JobId, Output, QueueName, Timestamp, Txn, UniqueKey,
};

use super::data::{Data, Undo};

/// One transaction: changes the data in place and remembers what it replaced.
pub(super) struct MemoryTxn<'a> {
    data: &'a mut Data,
    undo: &'a mut Vec<Undo>,
}

impl<'a> MemoryTxn<'a> {
    pub(super) fn new(data: &'a mut Data, undo: &'a mut Vec<Undo>) -> Self {
        MemoryTxn { data, undo }
    }

    /// The first `limit` of these queues that have something to offer.
    fn that_offer<'q>(
        &self,
        queues: impl Iterator<Item = &'q QueueName>,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        let mut found = Vec::new();
        for queue in queues {
            if found.len() >= limit {
                break;
            }
            if !self.offer(queue, filter, 1)?.is_empty() {
                found.push(queue.clone());
            }
        }
        Ok(found)
    }

    /// Up to `limit` jobs of `queue` that may be claimed, in the order of claims.
    fn offer(
        &self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        let indexes = &self.data.indexes;
        let mut found = Vec::new();
        let Some(places) = indexes.ready.get(queue).filter(|_| filter.takes_queue(queue)) else {
            return Ok(found);
        };
        let mut suspect_allowed = indexes.held_suspects.is_empty();
        for (_, _, _, id) in places {
            if found.len() >= limit {
                break;
            }
            let state = &self.data.row(*id)?.state;
            if !filter.matches_within_queue(&state.labels.kind, &state.labels.tags) {
                continue;
            }
            if state.is_suspect() {
                if !suspect_allowed {
                    continue;
                }
                suspect_allowed = false;
            }
            found.push(state.clone());
        }
        Ok(found)
    }
}

impl Txn for MemoryTxn<'_> {
    fn load(&mut self, id: JobId) -> Result<Option<JobState>, BackendError> {
        Ok(self.data.rows.get(&id).map(|row| row.state.clone()))
    }

    fn job(&mut self, state: &JobState) -> Result<Job, BackendError> {
        Ok(self.data.row(state.id)?.job(state, Detail::Full))
    }

    fn next_sequence(&mut self) -> Result<u64, BackendError> {
        self.undo.push(Undo::Sequence(self.data.sequence));
        self.data.sequence += 1;
        Ok(self.data.sequence)
    }

    fn insert(&mut self, state: &JobState, body: &Body) -> Result<(), BackendError> {
        self.undo.push(self.data.insert(state, body)?);
        Ok(())
    }

    fn store(
        &mut self,
        transition: &Transition,
        output: Option<&Output>,
        history_max: usize,
    ) -> Result<(), BackendError> {
        if !transition.is_noop() {
            self.undo.push(self.data.store(transition, output, history_max)?);
        }
        Ok(())
    }

    fn delete(&mut self, state: &JobState) -> Result<(), BackendError> {
        self.undo.push(self.data.delete(state.id)?);
        let key = state.unique_key.clone().map(|key| (state.labels.queue.clone(), key));
        if let Some(key) = key.filter(|key| self.data.keys.get(key) == Some(&state.id)) {
            self.undo.push(self.data.set_key_holder(key, None));
        }
        Ok(())
    }

    fn ready_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        if let Some(named) = &filter.queues {
            // A stream of one queue among thousands looks at its own only.
            let mut names: Vec<&QueueName> = named.iter().collect();
            names.sort_unstable();
            names.dedup();
            let first = after.map_or(0, |after| names.partition_point(|queue| *queue <= after));
            names.rotate_left(first);
            return self.that_offer(names.into_iter(), filter, limit);
        }
        let ready = &self.data.indexes.ready;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let later = ready.range::<QueueName, _>((start, Bound::Unbounded));
        let earlier = after.map(|after| ready.range::<QueueName, _>(..=after));
        let round = later.chain(earlier.into_iter().flatten());
        self.that_offer(round.map(|(queue, _)| queue), filter, limit)
    }

    fn ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        self.offer(queue, filter, limit)
    }

    fn promote(&mut self, now: Timestamp, limit: usize) -> Result<usize, BackendError> {
        let mut promoted = 0;
        while promoted < limit {
            let Some((at, _, id)) = self.data.indexes.future.first().copied() else { break };
            if at > now || at == Timestamp::NEVER {
                break;
            }
            let due = self.data.row(id)?.state.promoted();
            let before = self.data.set_state(due)?;
            self.undo.push(Undo::Moved(Box::new(before)));
            promoted += 1;
        }
        Ok(promoted)
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobState>, BackendError> {
        let deadlines = self.data.indexes.deadlines.iter();
        let past = deadlines.take_while(|(deadline, _)| *deadline <= now && *deadline != Timestamp::NEVER);
        past.take(limit).map(|(_, id)| Ok(self.data.row(*id)?.state.clone())).collect()
    }

    fn next_timer(&mut self) -> Result<Option<Timestamp>, BackendError> {
        let due = self.data.indexes.future.first().map(|(at, _, _)| *at);
        let deadline = self.data.indexes.deadlines.first().map(|(at, _)| *at);
        Ok(due.into_iter().chain(deadline).min().filter(|at| *at != Timestamp::NEVER))
    }

    fn key_holder(&mut self, queue: &QueueName, key: &UniqueKey) -> Result<Option<JobId>, BackendError> {
        Ok(self.data.keys.get(&(queue.clone(), key.clone())).copied())
    }

    fn set_key_holder(
        &mut self,
        queue: &QueueName,
        key: &UniqueKey,
        holder: Option<JobId>,
    ) -> Result<(), BackendError> {
        self.undo.push(self.data.set_key_holder((queue.clone(), key.clone()), holder));
        Ok(())
    }

    fn record_version(&mut self, key: &str) -> Result<u64, BackendError> {
        Ok(self.data.records.get(key).map_or(0, |(version, _)| *version))
    }

    fn put_record(&mut self, key: &str, value: Option<(u64, &[u8])>) -> Result<(), BackendError> {
        let value = value.map(|(version, bytes)| (version, bytes.to_vec()));
        self.undo.push(self.data.put_record(key.to_owned(), value));
        Ok(())
    }
}
