//! What threads share and wait on: the standard library's. In a build for the models of the concurrent protocols
//! (`--cfg shuttle`) it is shuttle's, which decides at each of these calls who runs next, and so tries one interleaving
//! after another of the code itself.

#[cfg(shuttle)]
mod model;

#[cfg(shuttle)]
pub(crate) use model::*;

#[cfg(shuttle)]
pub use model::{Planted, plant, planted};

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(not(shuttle))]
pub(crate) use std::thread;

#[cfg(not(shuttle))]
pub(crate) use std::time::Instant;
