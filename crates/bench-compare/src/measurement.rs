use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What came of a measurement, as it stands in a line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Measurement {
    /// The shape, as text.
    pub shape: String,
    /// The contender's name; behind a colon the mode, unless it is the usual one.
    pub contender: String,
    /// The store beneath.
    pub engine: String,
    /// The durability in use, read back from the open store.
    pub durability: String,
    /// Tasks that enqueued.
    pub callers: u64,
    /// Jobs in a call or a delivery.
    pub batch: u64,
    /// Jobs that were counted.
    pub jobs: u64,
    /// Jobs a second.
    pub jobs_per_s: f64,
    /// Times in microseconds: of an enqueue; of `idle` and `loaded`, from before it until the handler; of a backlog, to
    /// claim and complete 16.
    pub p50_us: Option<f64>,
    /// See `p50_us`.
    pub p99_us: Option<f64>,
    /// See `p50_us`.
    pub p999_us: Option<f64>,
    /// The most memory that the process had, in bytes.
    pub rss_bytes: u64,
    /// Bytes in the directory for each job that waited, where jobs waited.
    pub bytes_per_job: Option<f64>,
    /// What a write and sync of 4 KiB took, in microseconds: the median before or after, the larger.
    pub fsync_p50_us: f64,
    /// Whether the disk or the machine was too busy for the figures to mean anything.
    pub void: bool,
    /// Jobs that never came to a handler.
    pub lost: u64,
    /// How often a job came again.
    pub doubled: u64,
    /// What only some shapes have.
    pub figures: BTreeMap<String, f64>,
}
