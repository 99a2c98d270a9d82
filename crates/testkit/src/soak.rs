//! A queue under steady load for a long time, and what that must not cost: memory, file, write-ahead log, descriptors and
//! threads stay where they are once the queue has warmed up.
//!
//! The program `soak` runs the `load` in a process of its own, so that nothing but the queue is measured, and prints a
//! line for each [`Sample`]; [`judge`] says what is wrong with them.

mod load;
mod place;
mod sample;

pub use load::{Load, Plant, run};
pub use place::Place;
pub use sample::{Sample, judge};
