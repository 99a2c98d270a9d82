//! The conformance suite and the tools that every poolqueue backend is tested with.

pub mod stress;
