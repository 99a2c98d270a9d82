use std::ops::Range;

use poolqueue_core::JobId;
use poolqueue_core::lifecycle::JobState;

use super::{Flaw, Names, Owner, Part, SEAL_BYTES, StoredHistory, StoredState, decode_prefix, seal, unseal};

/// The row of a job's state, and what it says.
#[derive(Debug)]
pub(crate) struct StateRow {
    bytes: Vec<u8>,
    state: JobState,
    outcome: Option<u32>,
    /// Without its tail.
    history: StoredHistory<'static>,
    labels: Range<usize>,
    tail: Range<usize>,
}

impl StateRow {
    /// What `bytes`, the row of job `id` in the table of jobs that are over (`is_final`) or of the others, say.
    pub(crate) fn read(bytes: Vec<u8>, id: JobId, is_final: bool, names: &mut Names) -> Result<Self, Flaw> {
        let stored: StoredState<'_> = unseal(Owner::new(Part::State, id.as_bytes()), &bytes)?;
        let state = stored.state(id, names, is_final)?;
        let (outcome, history) = (stored.outcome, stored.history);
        Self::parted(history.tail.len(), history.without_tail(), outcome, state, bytes)
    }

    /// The row of `state`.
    pub(crate) fn write(
        mut bytes: Vec<u8>,
        state: &JobState,
        labels: &[u8],
        outcome: Option<u32>,
        history: StoredHistory<'_>,
    ) -> Result<Self, Flaw> {
        let stored = StoredState::of(state, labels, outcome, history)?;
        seal(Owner::new(Part::State, state.id.as_bytes()), &stored, &mut bytes)?;
        Self::parted(history.tail.len(), history.without_tail(), outcome, state.clone(), bytes)
    }

    /// Finds the parts that are bytes themselves: the labels come first and the newest history last.
    fn parted(
        tail: usize,
        history: StoredHistory<'static>,
        outcome: Option<u32>,
        state: JobState,
        bytes: Vec<u8>,
    ) -> Result<Self, Flaw> {
        let payload = bytes.get(SEAL_BYTES..).unwrap_or_default();
        let (labels, used) = decode_prefix::<&[u8]>(payload)?;
        let labels = SEAL_BYTES + used - labels.len()..SEAL_BYTES + used;
        let tail = bytes.len() - tail..bytes.len();
        Ok(StateRow { bytes, state, outcome, history, labels, tail })
    }

    pub(crate) fn id(&self) -> JobId {
        self.state.id
    }

    pub(crate) fn state(&self) -> &JobState {
        &self.state
    }

    pub(crate) fn is_final(&self) -> bool {
        self.state.status.is_final()
    }

    /// The attempt under which the job's outcome is stored.
    pub(crate) fn outcome(&self) -> Option<u32> {
        self.outcome
    }

    /// The encoded labels.
    pub(crate) fn labels(&self) -> &[u8] {
        self.bytes.get(self.labels.clone()).unwrap_or_default()
    }

    pub(crate) fn history(&self) -> StoredHistory<'_> {
        StoredHistory { tail: self.bytes.get(self.tail.clone()).unwrap_or_default(), ..self.history }
    }

    /// The sealed bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}
