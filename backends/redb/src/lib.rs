//! The default store of [poolqueue](https://docs.rs/poolqueue): one [redb](https://docs.rs/redb) file, pure Rust.
//!
//! Applications use the crate `poolqueue`; this one is what stands behind its feature `redb`. [`RedbStore`] is
//! the store, [`RedbOptions`] its settings; [`RedbBackend`] is [`poolqueue_core::Embedded`] made of it.
//!
//! The queue has a file for itself ([`RedbBackend::open`]), or tables in a database of the application's
//! ([`RedbBackend::with_database`]). Then jobs and rows of the application's commit together:
//!
//! ```
//! use std::sync::Arc;
//!
//! use poolqueue_core::NewJob;
//! use poolqueue_redb::RedbBackend;
//! use redb::TableDefinition;
//!
//! const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.redb");
//! let db = Arc::new(RedbBackend::create_database(path)?);
//! let backend = RedbBackend::with_database(Arc::clone(&db))?;
//!
//! let txn = db.begin_write()?;
//! txn.open_table(ORDERS)?.insert(1, "tea")?;
//! let staged = backend.enqueue_in(&txn, [NewJob::new("ship", b"1")])?;
//! txn.commit()?;
//! staged.wake(); // streams would hear of it by themselves a moment later
//! # Ok(())
//! # }
//! ```
//!
//! Such a queue has an inbox, a table in which the application's transaction leaves a number for each call. The writer is
//! told of the call when it is made, waits for the transaction to end, and finds the number, or does not: then it was
//! rolled back. What the transaction did is in the tables already; the writer only brings its memory up to date.
//!
//! - `format` lists the tables, `codec` the stored bytes: every value carries a version and a
//!   checksum over itself and what it belongs to.
//! - `index` is what claims and timers need of the unfinished jobs, in memory, with an undo log.
//! - `txn` is one transaction on both, or one of the application's on the tables alone; `reader` and `verify` read
//!   committed data from any thread.
//! - `application` is what there is to know of a database that is not our own, `turn` waits for its transactions.
//! - `salvage` reads what is left of a damaged file.
//! - `database` and `create` open and make files, `backup` copies them; [`storage`] fills them with zeroes ahead of use.

// Tests here and those beside share files that call the crate by its name.
#[cfg(test)]
extern crate self as poolqueue_redb;

mod application;
mod backend;
mod backup;
#[doc(hidden)]
pub mod bench;
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
mod salvage;
mod shared;
mod site;
#[doc(hidden)]
pub mod storage;
mod store;
mod tables;
mod tally;
mod turn;
mod txn;
mod verify;

pub use ::redb;
pub use backend::RedbBackend;
#[doc(hidden)]
pub use codec::fuzz;
pub use options::RedbOptions;
pub use reader::{RedbReader, RedbSnapshot};
pub use store::RedbStore;
