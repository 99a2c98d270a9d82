//! The behaviours, one file for each theme. Their names are what they show to be true.
//!
//! A behaviour is a `pub async fn` over a [`Fixture`](crate::Fixture); the list in `list.rs` names each, and a test
//! compares the two.

#![allow(missing_docs, reason = "the name of a behaviour is a sentence")]

pub(crate) mod support;

pub mod batch;
pub mod cancel;
pub mod claim;
pub mod closed;
pub mod concurrency;
pub mod crash;
pub mod delay;
pub mod enqueue;
pub mod lease;
pub mod limits;
pub mod matrix;
pub mod operate;
pub mod order;
pub mod outcome;
pub mod read;
pub mod restart;
pub mod retention;
pub mod stats;
pub mod stream;
pub mod tags;
