//! The proofs: the tests that try to break the promises, at figures for a release or for every change.

mod line;
mod mutants;
mod plant;
mod planted;
mod rows;
mod scoreboard;

pub use mutants::run as mutants;
pub use plant::run as planted;
pub use scoreboard::{Chosen, run};
