//! What every [poolqueue](https://docs.rs/poolqueue) backend is tested with.
//!
//! [`conformance!`] makes one `#[test]` for each behaviour that a backend must have, by theme, of a [`Fixture`]: a
//! place for a store and how to open it.
//!
//! ```
//! poolqueue_testkit::conformance!(poolqueue_testkit::MemoryFixture);
//! # fn main() {}
//! ```

mod around;
mod conformance;
pub mod damage;
mod described;
mod fixture;
pub mod fixtures;
#[cfg(any(feature = "redb", feature = "sqlite"))]
pub mod fuzz;
pub mod histories;
pub mod jumps;
mod list;
pub mod model;
pub mod power;
pub mod proof;
mod run;
pub mod soak;
pub mod stress;
#[doc(hidden)]
pub mod suite;
pub mod zombies;

pub use conformance::BEHAVIOURS;
pub use fixture::{Behind, Fixture, MemoryFixture};
#[doc(hidden)]
pub use run::run;
