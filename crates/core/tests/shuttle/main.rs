//! Models of the concurrent protocols: the code itself, its locks and threads replaced by shuttle's, in one interleaving
//! after another. Half of them are drawn at random, half with few changes of who runs (PCT).
//!
//! There is no timer in a model: a timeout of a second or more, as the backstop of claims is, never ends, so a wake-up
//! that is lost is a deadlock. Only built for it:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test -p poolqueue-core --release --test shuttle
//! ```
//!
//! What shuttle cannot see is what tokio's channels do inside; their calls are single steps to it.

#![cfg(shuttle)]

mod answers;
mod ends;
mod rig;
mod tries;
mod wakeups;
