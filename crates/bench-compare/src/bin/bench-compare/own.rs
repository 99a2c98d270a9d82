//! The contenders of our own.

mod ours;
mod raw_log;
mod shapes;
mod table;

use bench_compare::Program;

use ours::{Grouped, Ours, Redb, SingleCommits, Sqlite};

/// All of them.
pub fn program() -> Program {
    Program::default()
        .with::<raw_log::RawLog>()
        .with_more::<Ours<Redb, Grouped>>(shapes::FAMILIES, shapes::measure)
        .with_more::<Ours<Sqlite, Grouped>>(shapes::FAMILIES, shapes::measure)
        .with::<Ours<Redb, SingleCommits>>()
        .with::<Ours<Sqlite, SingleCommits>>()
        .with::<table::Table>()
}
