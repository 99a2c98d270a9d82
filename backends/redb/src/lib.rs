//! The default store of [poolqueue](https://docs.rs/poolqueue): one [redb](https://docs.rs/redb) file, pure Rust.
//!
//! Applications use the crate `poolqueue`; this one is what stands behind its feature `redb`. [`RedbStore`] is
//! the store, [`RedbOptions`] its settings; [`poolqueue_core::Embedded`] makes a backend of it.
//!
//! - `format` lists the tables, `codec` the stored bytes: every value carries a version and a
//!   checksum over itself and what it belongs to.
//! - `index` is what claims and timers need of the unfinished jobs, in memory, with an undo log.
//! - `txn` is one transaction on both; `reader` and `verify` read committed data from any thread.
//! - `database` and `create` open and make files; [`storage`] fills them with zeroes ahead of use.

mod backend;
mod check;
mod codec;
mod create;
mod database;
mod format;
mod history;
mod index;
mod memory;
mod options;
mod reader;
mod shared;
mod site;
#[doc(hidden)]
pub mod storage;
mod store;
mod tables;
mod tally;
mod txn;
mod verify;

pub use backend::RedbBackend;
pub use options::RedbOptions;
pub use reader::{RedbReader, RedbSnapshot};
pub use store::RedbStore;
