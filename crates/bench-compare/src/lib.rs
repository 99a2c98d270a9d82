//! The harness in which job queues do the same work, one measurement to a process.
//!
//! A program that holds contenders implements [`Contender`] for each and ends in [`run`] or [`Program::main`]. It then
//! understands
//!
//! - `list`: one line of JSON for each contender, a [`Listing`];
//! - `measure --contender NAME --engine ENGINE --mode MODE --shape SHAPE --dir DIR …`: one measurement in the empty directory `DIR`, one
//!   line of JSON, a [`Measurement`].
//!
//! The harness owns the clock, the payloads, the counting and the output. It knows no queue.

mod contender;
mod figures;
pub mod machine;
mod measure;
mod measurement;
mod medians;
mod order;
mod program;
mod shape;
mod sink;

pub use contender::{Contender, Res, Work};
pub use figures::{Percentiles, median};
pub use measure::{Enqueued, Outcome, claims, drain, drained, enqueue_for, fill};
pub use measurement::Measurement;
pub use medians::medians;
pub use order::{Order, seconds};
pub use program::{Listing, More, Program, run};
pub use shape::Shape;
pub use sink::{PAYLOAD_BYTES, Sink, payload};
