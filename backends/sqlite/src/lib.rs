//! A store of [poolqueue](https://docs.rs/poolqueue) in one [SQLite](https://sqlite.org) file, which any SQL tool
//! can read.
//!
//! Applications use the crate `poolqueue`; this one is what stands behind its feature `sqlite`. [`SqliteStore`] is
//! the store, [`SqliteOptions`] its settings, [`SqliteBackend`] the backend made of them.
//!
//! Nothing about jobs is kept in memory: every question is answered by a statement that an index serves, so
//! that other connections may write to the same file.
//!
//! - `sql` lists the statements, `schema` brings the tables to the version they are written for; the tables
//!   themselves are in `poolqueue-migrations`.
//! - `codec` turns jobs into rows and back; each row carries a checksum.
//! - `settings` proves what a connection is set to; `database`, `create` and `lock` open and make files.
//! - `txn` is one transaction; `reader` and `verify` read committed data from any thread.
//! - `salvage` reads what is left of a damaged file.
//! - `backup` copies the file while the queue runs; `reseal` accepts rows that were changed by hand.
#![doc = ""]
#![doc = include_str!("../docs/schema.md")]

mod application;
mod backend;
mod backup;
mod busy;
mod care;
mod codec;
mod create;
mod database;
mod lock;
mod log;
mod memory;
mod options;
mod peers;
mod reader;
mod reseal;
mod salvage;
mod schema;
mod settings;
mod shared;
mod site;
mod sql;
mod store;
mod turns;
mod txn;
mod verify;

pub use backend::SqliteBackend;
#[doc(hidden)]
pub use codec::fuzz;
pub use options::SqliteOptions;
pub use reader::{SqliteReader, SqliteSnapshot};
pub use reseal::Resealed;
pub use rusqlite;
pub use store::SqliteStore;
