//! The schema steps of [poolqueue](https://docs.rs/poolqueue)'s SQL backends.
//!
//! Each engine has a folder of steps (`sqlite/0001_….sql`) and a list of them ([`SQLITE`]). The default store,
//! redb, has no SQL; the steps of its format are in `poolqueue-redb`. The names of tables, indexes and views
//! begin with `{prefix}`, which [`Migration::with_prefix`] replaces.
//!
//! The rules of a step:
//!
//! - **Forward only.** There are no steps back. A database that is newer than the program is refused by name
//!   ([`NewerSchema`]) and left as it is.
//! - **One transaction each.** The backend runs the step and writes the new version in the same transaction: a
//!   crash leaves the old schema or the new one, never something between. So a step neither begins nor
//!   commits a transaction, and holds no statement that cannot run inside one.
//! - **Never edited after a release.** What is wrong with a released step is put right by the next one.
//! - **Numbered from 1, without gaps**, in the order in which they run.

use std::error::Error;
use std::fmt;

/// One step of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The version the database has after the step; 1 is the first. A database without a schema has version 0.
    pub version: u32,
    /// What the step does, as in the name of its file: `0001_jobs.sql` is `jobs`.
    pub name: &'static str,
    /// The statements, without a transaction around them.
    pub sql: &'static str,
}

/// The steps of the SQLite schema. The first one:
///
/// ```sql
#[doc = include_str!("../sqlite/0001_jobs.sql")]
/// ```
pub const SQLITE: &[Migration] =
    &[Migration { version: 1, name: "jobs", sql: include_str!("../sqlite/0001_jobs.sql") }];

impl Migration {
    /// The statements for tables whose names begin with `prefix`, which must be letters, digits and `_`.
    pub fn with_prefix(&self, prefix: &str) -> String {
        self.sql.replace("{prefix}", prefix)
    }
}

/// The steps that a database of `version` still needs, in the order in which they run.
///
/// `steps` is the whole list of one engine, numbered from 1 without gaps.
///
/// # Errors
/// [`NewerSchema`] when the database is of a later version than the last step. Leave it as it is.
pub fn pending(steps: &[Migration], version: u32) -> Result<&[Migration], NewerSchema> {
    let known = steps.last().map_or(0, |last| last.version);
    if version > known {
        return Err(NewerSchema { found: version, known });
    }
    let done = steps.partition_point(|step| step.version <= version);
    Ok(&steps[done..])
}

/// The database was written by a newer version of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewerSchema {
    /// The version the database has.
    pub found: u32,
    /// The newest version this program knows.
    pub known: u32,
}

impl fmt::Display for NewerSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the schema has version {}, this program knows versions up to {}", self.found, self.known)
    }
}

impl Error for NewerSchema {}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// SHA-256 of every step. A line is added with its step, and from its release on never changes.
    const HASHES: &[(&str, u32, &str)] =
        &[("sqlite", 1, "54d2bd90049a57ad1a2a3302af7560b4ce270bb26e0ae4ac141107024dc88ccf")];

    #[test]
    fn released_steps_are_never_edited() {
        let engines = [("sqlite", SQLITE)];
        let steps = engines.iter().flat_map(|(engine, steps)| steps.iter().map(|step| (*engine, step)));
        let found: Vec<(&str, u32, String)> = steps
            .map(|(engine, step)| {
                let hash = Sha256::digest(step.sql).iter().map(|byte| format!("{byte:02x}")).collect();
                (engine, step.version, hash)
            })
            .collect();
        let pinned: Vec<(&str, u32, String)> =
            HASHES.iter().map(|(engine, version, hash)| (*engine, *version, (*hash).to_owned())).collect();
        assert_eq!(found, pinned);
    }

    #[test]
    fn steps_are_numbered_from_one_and_name_nothing_without_the_prefix() {
        for (step, number) in SQLITE.iter().zip(1..) {
            assert_eq!(step.version, number, "{}", step.name);
            for line in step.sql.lines().filter(|line| line.starts_with("CREATE ")) {
                assert!(line.contains(" {prefix}"), "{line}");
            }
            assert!(!step.with_prefix("p_").contains('{'));
        }
    }

    const STEPS: &[Migration] = &[
        Migration { version: 1, name: "jobs", sql: "CREATE TABLE jobs (id BLOB PRIMARY KEY) STRICT" },
        Migration { version: 2, name: "queue", sql: "ALTER TABLE jobs ADD COLUMN queue TEXT" },
        Migration { version: 3, name: "due", sql: "CREATE INDEX due ON jobs (queue)" },
    ];

    #[test]
    fn a_database_gets_exactly_the_steps_after_its_version() {
        let cases: [(u32, &[u32]); 4] = [(0, &[1, 2, 3]), (1, &[2, 3]), (2, &[3]), (3, &[])];
        for (version, expected) in cases {
            let versions: Vec<u32> =
                pending(STEPS, version).unwrap().iter().map(|step| step.version).collect();
            assert_eq!(versions, expected, "from version {version}");
        }
        assert_eq!(pending(&[], 0), Ok(&[][..]));
    }

    #[test]
    fn a_database_newer_than_the_program_is_refused_by_version() {
        assert_eq!(pending(STEPS, 4), Err(NewerSchema { found: 4, known: 3 }));
        assert_eq!(pending(&[], 1), Err(NewerSchema { found: 1, known: 0 }));
        let message = pending(STEPS, 9).unwrap_err().to_string();
        assert_eq!(message, "the schema has version 9, this program knows versions up to 3");
    }
}
