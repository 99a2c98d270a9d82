//! The codecs and the index of due jobs by themselves, for the benches that measure them. No part of the interface.

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{Body, ClaimFilter, JobId};

use crate::codec::{
    Flaw, Names, Owner, Part, StoredBody, StoredHistory, StoredLabels, StoredState, encode, seal, unseal,
};
use crate::index::{Index, Loader, Seat};
use crate::tally::Tally;

/// Writes and reads values as a transaction does, which keeps names and buffers from one to the next.
#[derive(Debug, Default)]
pub struct Codec {
    names: Names,
    labels: Vec<u8>,
}

impl Codec {
    /// Writes the row of a new job into `row`, which is cleared first.
    ///
    /// # Errors
    /// Why the job cannot be stored.
    pub fn seal_state(&mut self, state: &JobState, row: &mut Vec<u8>) -> Result<(), String> {
        let Codec { labels, .. } = self;
        labels.clear();
        encode(&StoredLabels::of(&state.labels), labels)
            .and_then(|()| StoredState::of(state, labels, None, StoredHistory::default()))
            .and_then(|stored| seal(Owner::new(Part::State, state.id.as_bytes()), &stored, row))
            .map_err(text)
    }

    /// The unfinished job `id` whose row is `row`.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub fn unseal_state(&mut self, id: JobId, row: &[u8]) -> Result<JobState, String> {
        unseal::<StoredState<'_>>(Owner::new(Part::State, id.as_bytes()), row)
            .and_then(|stored| stored.state(id, &mut self.names, false))
            .map_err(text)
    }
}

/// Writes what the job `id` carries into `row`, which is cleared first.
///
/// # Errors
/// Why it cannot be stored.
pub fn seal_body(id: JobId, body: &Body, row: &mut Vec<u8>) -> Result<(), String> {
    seal(Owner::new(Part::Body, id.as_bytes()), &StoredBody::of(body), row).map_err(text)
}

/// What the job `id` carries, `row` being its row.
///
/// # Errors
/// What is wrong with the row.
pub fn unseal_body(id: JobId, row: &[u8]) -> Result<Body, String> {
    unseal::<StoredBody<'_>>(Owner::new(Part::Body, id.as_bytes()), row)
        .and_then(|stored| stored.body())
        .map_err(text)
}

fn text(flaw: Flaw) -> String {
    format!("{flaw:?}")
}

/// The index that claims are served from.
#[derive(Debug)]
pub struct ReadyIndex(Index);

impl ReadyIndex {
    /// The index of these jobs, none of which is over.
    pub fn of(jobs: impl IntoIterator<Item = JobState>) -> Self {
        let mut loader = Loader::default();
        jobs.into_iter().for_each(|job| loader.add(&job));
        ReadyIndex(loader.finish(Tally::default()))
    }

    /// A job comes to be in this state.
    pub fn take(&mut self, state: &JobState) {
        self.0.take(Seat::of(state));
    }

    /// A job leaves this state.
    pub fn leave(&mut self, state: &JobState) {
        self.0.leave(Seat::of(state));
    }

    /// Keeps every change.
    pub fn commit(&mut self) {
        self.0.commit();
    }

    /// How many jobs of `queue` that `filter` takes there are, having listed up to `limit`.
    pub fn ready(&self, queue: &str, filter: &ClaimFilter, limit: usize) -> usize {
        self.0.ready(queue, filter, limit).len()
    }
}
