//! A crash anywhere within a step leaves the version before it, or the one after it.

use std::fs;
use std::path::{Path, PathBuf};

use poolqueue_migrations::{Migration, SQLITE};
use poolqueue_testkit::proof::{self, Proof};
use rusqlite::Connection;

use super::super::{Owner, migrate, owner};
use crate::codec::seal_of_meta;
use crate::site::Site;
use crate::sql::Sql;

/// A step as there may be one some day: it changes each row, and adds more than a page of new ones.
const LATER: Migration = Migration {
    version: SQLITE.len() as u32 + 1,
    name: "later",
    sql: "ALTER TABLE {prefix}jobs ADD COLUMN later TEXT;
UPDATE {prefix}jobs SET later = hex(id);
CREATE TABLE {prefix}later (id BLOB PRIMARY KEY, bytes BLOB);
INSERT INTO {prefix}later SELECT id, randomblob(3000) FROM {prefix}jobs;
CREATE INDEX {prefix}jobs_later ON {prefix}jobs (later);
",
};

/// The unit in which the write-ahead log is cut: a disk writes so much whole or not at all.
const SECTOR: u64 = 512;

/// A step, in a directory of its own.
struct Crash {
    directory: tempfile::TempDir,
    sql: Sql,
    steps: Vec<Migration>,
    from: u32,
    /// What was there before the step and has to stay.
    before: Vec<String>,
}

impl Crash {
    /// Of the step that leads from this version, on the file of that version; the first one on an application's.
    fn from(from: u32) -> Self {
        let mut steps = SQLITE.to_vec();
        steps.push(LATER);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("base.db");
        match from {
            0 => {
                let conn = Connection::open(&path).unwrap();
                conn.execute_batch("CREATE TABLE orders (id); INSERT INTO orders VALUES (7)").unwrap();
                conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
            }
            _ => {
                let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
                fs::copy(fixtures.join(format!("schema-{from}.db")), &path).unwrap();
            }
        }
        let before = rows(&Connection::open(&path).unwrap(), from);
        assert!(!before.is_empty());
        Crash { directory, sql: Sql::new("poolqueue_"), steps, from, before }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The statements of the step with what goes around them.
    fn statements(&self) -> Vec<String> {
        let step = &self.steps[self.from as usize];
        let mut all = vec!["BEGIN IMMEDIATE".to_owned()];
        all.extend(step.with_prefix(&self.sql.prefix).split_inclusive(";\n").map(str::to_owned));
        let (version, seal) = (i64::from(step.version), seal_of_meta("schema", i64::from(step.version)));
        let meta = format!("{}meta", self.sql.prefix);
        all.push(format!(
            "INSERT OR REPLACE INTO {meta} (name, value, seal) VALUES ('schema', {version}, {seal})"
        ));
        all.push("COMMIT".to_owned());
        all
    }

    /// A connection on a copy of the file, that keeps next to nothing in memory of what it has not committed.
    fn begin(&self) -> Connection {
        fs::copy(self.path("base.db"), self.path("now.db")).unwrap();
        let conn = Connection::open(self.path("now.db")).unwrap();
        conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = 1; PRAGMA wal_autocheckpoint = 0")
            .unwrap();
        conn
    }

    /// What is on the disk now, as a crash would leave it, with so much of the log. The connection stays open.
    fn crash(&self, log: u64) {
        for name in ["left.db", "left.db-wal", "left.db-shm"] {
            let _ = fs::remove_file(self.path(name));
        }
        fs::copy(self.path("now.db"), self.path("left.db")).unwrap();
        let left = self.path("left.db-wal");
        fs::copy(self.path("now.db-wal"), &left).unwrap();
        let file = fs::OpenOptions::new().write(true).open(left).unwrap();
        file.set_len(log.min(self.log())).unwrap();
    }

    fn log(&self) -> u64 {
        fs::metadata(self.path("now.db-wal")).map_or(0, |log| log.len())
    }

    /// Whether what is left is wholly of one version, with all its rows, and comes to the next one.
    fn check(&self) -> Result<u32, String> {
        let site = Site::new(self.path("left.db"));
        let mut conn = Connection::open(site.path()).map_err(|error| error.to_string())?;
        let version = |conn: &Connection| match owner(conn, &self.steps, &self.sql, &site) {
            Ok(Owner::Ours(version)) => Ok(version),
            Ok(Owner::Foreign) => Ok(0),
            Err(error) => Err(error.to_string()),
        };
        let found = version(&conn)?;
        if found != self.from && found != self.from + 1 {
            return Err(format!("version {found} came out of version {}", self.from));
        }
        self.check_rows(&conn)?;
        migrate(&mut conn, &self.steps[..=self.from as usize], &self.sql, &site)
            .map_err(|error| format!("from version {found}: {error}"))?;
        self.check_rows(&conn)?;
        match version(&conn)? {
            to if to == self.from + 1 => Ok(found),
            other => Err(format!("the step led to version {other}")),
        }
    }

    fn check_rows(&self, conn: &Connection) -> Result<(), String> {
        let found = rows(conn, self.from);
        if found == self.before { Ok(()) } else { Err(format!("there are {found:?}, not {:?}", self.before)) }
    }
}

/// The rows that a step must not lose.
fn rows(conn: &Connection, version: u32) -> Vec<String> {
    let text = match version {
        0 => "SELECT 'order ' || id FROM orders",
        _ => {
            "SELECT hex(id) || status || sequence || hex(payload) FROM poolqueue_jobs \
             JOIN poolqueue_bodies ON job = sequence ORDER BY sequence"
        }
    };
    let mut rows = conn.prepare(text).unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// After each statement. How many crashes were tried.
fn after_each_statement(crash: &Crash) -> u64 {
    let (conn, statements) = (crash.begin(), crash.statements());
    let mut tried = 0;
    for (number, statement) in statements.iter().enumerate() {
        conn.execute_batch(statement).unwrap_or_else(|error| panic!("{error}: {statement}"));
        crash.crash(u64::MAX);
        let committed = u32::from(number + 1 == statements.len());
        let version = crash.check();
        assert_eq!(version, Ok(crash.from + committed), "after {statement}");
        tried += 1;
    }
    tried
}

/// With the log cut at about so many places. How many crashes were tried.
fn with_part_of_the_log(crash: &Crash, wanted: u64) -> u64 {
    let conn = crash.begin();
    crash.statements().iter().for_each(|statement| conn.execute_batch(statement).unwrap());
    let sectors = crash.log().div_ceil(SECTOR);
    let places = (0..=sectors).step_by(usize::try_from(sectors.div_ceil(wanted.max(1))).unwrap().max(1));
    let (mut tried, mut old, mut new) = (0, false, false);
    for place in places.chain([sectors]) {
        crash.crash(place * SECTOR);
        let version = crash.check().unwrap_or_else(|error| panic!("{place} sectors of the log: {error}"));
        (old, new) = (old || version == crash.from, new || version > crash.from);
        tried += 1;
    }
    assert!(old && new, "both were seen");
    tried
}

/// The step without a transaction around it: a fault planted for the check to find.
fn without_a_transaction_is_caught(crash: &Crash) -> bool {
    let (conn, statements) = (crash.begin(), crash.statements());
    let within = &statements[1..statements.len() - 1];
    within.iter().any(|statement| {
        conn.execute_batch(statement).unwrap();
        crash.crash(u64::MAX);
        crash.check().is_err()
    })
}

#[test]
fn a_crash_within_a_step_leaves_the_version_before_it_or_the_next() {
    let wanted = proof::figure("R15_SQLITE", 100);
    let (mut tried, mut caught) = (0, 0);
    let versions = SQLITE.len() as u32 + 1;
    for from in 0..versions {
        let crash = Crash::from(from);
        tried += after_each_statement(&crash);
        tried += with_part_of_the_log(&crash, wanted / u64::from(versions));
        caught += u64::from(without_a_transaction_is_caught(&crash));
    }
    let (what, planted) = ("crash within a step of the schema, sqlite", u64::from(versions));
    Proof { row: "R15", what, tried, failed: 0, seed: 0, planted, caught }.print();
}
