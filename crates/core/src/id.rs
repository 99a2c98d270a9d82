use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Uuid};

use crate::Timestamp;

/// Names a job: a UUID, unique in its store.
///
/// Generated ids are version 7, whose order is the order of time; a caller may supply any UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// The id with these bytes, in the order a UUID is written in.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        JobId(Uuid::from_bytes(bytes))
    }

    /// The bytes of the id, in the order a UUID is written in.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id as a UUID.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for JobId {
    fn from(uuid: Uuid) -> Self {
        JobId(uuid)
    }
}

impl From<JobId> for Uuid {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(JobId)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

/// Makes version 7 ids that grow with every call, also within a millisecond.
#[derive(Debug)]
pub struct JobIds {
    counter: Mutex<ContextV7>,
}

impl Default for JobIds {
    fn default() -> Self {
        JobIds { counter: Mutex::new(ContextV7::new()) }
    }
}

impl JobIds {
    /// A new id for a job made at `now`. Times before 1970 count as 1970, which version 7 starts at.
    pub fn next(&self, now: Timestamp) -> JobId {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
        let counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        JobId(Uuid::new_v7(uuid::Timestamp::from_unix(&*counter, micros / 1_000_000, nanos)))
    }
}

/// Which run of a job this is: 0 before the first claim, one more at each claim. It only grows.
///
/// The attempt is the fence: an outcome reported for an older attempt is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The right to report the outcome of one attempt of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The attempt whose outcome may be reported.
    pub attempt: Attempt,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.id, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_grow_within_a_microsecond_and_over_time() {
        let ids = JobIds::default();
        let mut last = ids.next(Timestamp::from_micros(1_700_000_000_000_000));
        for step in 0..10_000 {
            let next = ids.next(Timestamp::from_micros(1_700_000_000_000_000 + step / 100));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_clock_before_1970_still_makes_ids() {
        let ids = JobIds::default();
        assert_ne!(ids.next(Timestamp::from_micros(-5)), ids.next(Timestamp::from_micros(i64::MIN)));
    }
}
