//! Every statement, with the names of this store's tables in it.
//!
//! No status is named here: what a statement needs to know of one is its phase, which each row holds beside
//! it. Conditions on a phase are spelled as in the partial indexes, or SQLite would not use them; `INDEXED BY` makes
//! a plan without its index an error instead of a scan.

use std::borrow::Cow;

use poolqueue_core::{BackendErrorKind, Phase};

use crate::codec::COLUMNS;
use crate::site::Site;
use poolqueue_core::BackendError;

/// The longest prefix of a table's name.
const PREFIX_BYTES_MAX: usize = 32;

macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $text:expr;)*) => {
        /// The statements of one store. They stay as they are while it lives, so that each is prepared once
        /// for each connection.
        #[derive(Debug)]
        pub(crate) struct Sql {
            pub(crate) prefix: String,
            $($(#[$meta])* pub(crate) $name: String,)*
        }

        impl Sql {
            /// The statements for tables whose names begin with `prefix`.
            pub(crate) fn new(prefix: &str) -> Self {
                Sql { prefix: prefix.to_owned(), $($name: filled($text, prefix),)* }
            }

            /// Every statement with its name, for tests that look at plans.
            #[cfg(test)]
            pub(crate) fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($name), self.$name.as_str()),)*]
            }
        }
    };
}

statements! {
    begin_write = "BEGIN IMMEDIATE";
    begin_read = "BEGIN DEFERRED";
    commit = "COMMIT";
    rollback = "ROLLBACK";
    savepoint = "SAVEPOINT {p}batch";
    undo = "ROLLBACK TO {p}batch";
    release = "RELEASE {p}batch";

    /// Whether there are tables without the prefix.
    foreign_tables = "SELECT 1 FROM sqlite_schema \
        WHERE type = 'table' AND name NOT GLOB '{p}*' AND name NOT GLOB 'sqlite_*' LIMIT 1";
    handles = "SELECT number, beat, lease FROM {p}handles";
    beat_of = "SELECT beat FROM {p}handles WHERE number = ?1";
    insert_handle = "INSERT INTO {p}handles (number, process, opened_at, beat, lease) \
        VALUES (?1, ?2, ?3, ?3, ?4)";
    beat = "UPDATE {p}handles SET beat = beat + 1 WHERE number = ?1";
    delete_handle = "DELETE FROM {p}handles WHERE number = ?1";
    /// Ends a handle that holds nothing.
    leave = "DELETE FROM {p}handles WHERE number = ?1 AND NOT EXISTS \
        (SELECT 1 FROM {p}jobs INDEXED BY {p}jobs_held WHERE phase = '{held}' AND owner = ?1)";
    /// The jobs a handle holds, out of all that are held.
    held_by = "SELECT id, attempt FROM {p}jobs INDEXED BY {p}jobs_held WHERE phase = '{held}' AND owner = ?1";
    /// Tells a handle, if there is one, that a job of its was changed.
    touch = "INSERT OR IGNORE INTO {p}touched (handle, job) SELECT number, ?2 FROM {p}handles WHERE number = ?1";
    take_touched = "DELETE FROM {p}touched WHERE handle = ?1 RETURNING job";
    is_held_by = "SELECT 1 FROM {p}jobs WHERE id = ?1 AND phase = '{held}' AND owner = ?2";
    delete_touched = "DELETE FROM {p}touched WHERE handle = ?1";
    note_applied = "INSERT INTO {p}applied (handle, batch) VALUES (?1, ?2)";
    take_applied = "DELETE FROM {p}applied WHERE handle = ?1 RETURNING batch";
    delete_applied = "DELETE FROM {p}applied WHERE handle = ?1";
    /// What was noted for handles that had left by then.
    sweep_touched = "DELETE FROM {p}touched WHERE handle NOT IN (SELECT number FROM {p}handles)";
    sweep_applied = "DELETE FROM {p}applied WHERE handle NOT IN (SELECT number FROM {p}handles)";

    load = "SELECT {columns} FROM {p}jobs WHERE id = ?1";
    greatest_id = "SELECT max(id) FROM {p}jobs";
    insert_job = "INSERT INTO {p}jobs ({columns}) VALUES ({parameters})";
    update_job = "UPDATE {p}jobs SET {changes} WHERE sequence = ?1";
    delete_job = "DELETE FROM {p}jobs WHERE sequence = ?1";

    /// Due jobs of a queue, in the order of claims.
    ready = "SELECT {columns} FROM {p}jobs INDEXED BY {p}jobs_ready \
        WHERE phase = '{ready}' AND due = 1 AND queue = ?1 ORDER BY priority, run_at, sequence";
    /// Due jobs of a queue that have a tag, in the order of claims.
    ready_tagged = "SELECT {job_columns} FROM {p}ready_tags AS t \
        CROSS JOIN {p}jobs AS j ON j.sequence = t.sequence \
        WHERE t.queue = ?1 AND t.tag = ?2 ORDER BY t.priority, t.run_at, t.sequence";
    /// How many due jobs of a queue have a tag, up to some.
    tag_size = "SELECT count(*) FROM (SELECT 1 FROM {p}ready_tags WHERE queue = ?1 AND tag = ?2 LIMIT ?3)";
    /// The first queue after one that has due jobs.
    next_queue = "SELECT queue FROM {p}jobs INDEXED BY {p}jobs_ready \
        WHERE phase = '{ready}' AND due = 1 AND queue > ?1 ORDER BY queue LIMIT 1";
    queue_is_ready = "SELECT 1 FROM {p}jobs INDEXED BY {p}jobs_ready \
        WHERE phase = '{ready}' AND due = 1 AND queue = ?1 LIMIT 1";
    held_suspect = "SELECT 1 FROM {p}jobs INDEXED BY {p}jobs_held_suspect \
        WHERE phase = '{held}' AND suspect = 1 LIMIT 1";
    insert_tag = "INSERT INTO {p}ready_tags (queue, tag, priority, run_at, sequence) VALUES (?1, ?2, ?3, ?4, ?5)";
    delete_tag = "DELETE FROM {p}ready_tags \
        WHERE queue = ?1 AND tag = ?2 AND priority = ?3 AND run_at = ?4 AND sequence = ?5";
    has_tag = "SELECT 1 FROM {p}ready_tags \
        WHERE queue = ?1 AND tag = ?2 AND priority = ?3 AND run_at = ?4 AND sequence = ?5";

    /// Jobs that wait for their time, the earliest first.
    future = "SELECT {columns} FROM {p}jobs INDEXED BY {p}jobs_future \
        WHERE phase = '{ready}' AND due = 0 AND run_at < 9223372036854775807 AND run_at <= ?1 \
        ORDER BY run_at, sequence";
    /// Jobs that must be started by a time, the earliest first.
    deadlines = "SELECT {columns} FROM {p}jobs INDEXED BY {p}jobs_deadline \
        WHERE deadline IS NOT NULL AND deadline <= ?1 ORDER BY deadline, id";

    read_body = "SELECT payload, content_type, metadata, timeout, seal FROM {p}bodies WHERE job = ?1";
    insert_body = "INSERT INTO {p}bodies (job, payload, content_type, metadata, timeout, seal) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    delete_body = "DELETE FROM {p}bodies WHERE job = ?1";
    read_outcome = "SELECT attempt, output, output_type, error, error_kind, seal FROM {p}outcomes WHERE job = ?1";
    put_outcome = "INSERT OR REPLACE INTO {p}outcomes (job, attempt, output, output_type, error, error_kind, seal) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    delete_outcome = "DELETE FROM {p}outcomes WHERE job = ?1";
    read_history = "SELECT number, at, event, from_status, to_status, attempt, assignee, message, seal \
        FROM {p}history WHERE job = ?1 ORDER BY number";
    insert_entry = "INSERT INTO {p}history \
        (job, number, at, event, from_status, to_status, attempt, assignee, message, seal) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    cut_history = "DELETE FROM {p}history WHERE job = ?1 AND number < ?2";

    read_key = "SELECT holder, seal FROM {p}unique_keys WHERE queue = ?1 AND name = ?2";
    put_key = "INSERT OR REPLACE INTO {p}unique_keys (queue, name, holder, seal) VALUES (?1, ?2, ?3, ?4)";
    delete_key = "DELETE FROM {p}unique_keys WHERE queue = ?1 AND name = ?2";
    delete_key_of = "DELETE FROM {p}unique_keys WHERE queue = ?1 AND name = ?2 AND holder = ?3";
    read_record = "SELECT version, value, seal FROM {p}records WHERE name = ?1";
    put_record = "INSERT OR REPLACE INTO {p}records (name, version, value, seal) VALUES (?1, ?2, ?3, ?4)";
    delete_record = "DELETE FROM {p}records WHERE name = ?1";
    read_meta = "SELECT value, seal FROM {p}meta WHERE name = ?1";
    put_meta = "INSERT OR REPLACE INTO {p}meta (name, value, seal) VALUES (?1, ?2, ?3)";
    read_counts = "SELECT status, jobs, retries, seal FROM {p}counts";
    put_counts = "INSERT OR REPLACE INTO {p}counts (status, jobs, retries, seal) VALUES (?1, ?2, ?3, ?4)";

    place = "SELECT queue, priority, run_at, sequence, phase = '{ready}' AND due = 0 FROM {p}jobs WHERE id = ?1";
    is_in_ready = "SELECT 1 FROM {p}jobs INDEXED BY {p}jobs_ready \
        WHERE phase = '{ready}' AND due = 1 AND queue = ?1 AND priority = ?2 AND run_at = ?3 AND +sequence = ?4";
    is_in_future = "SELECT 1 FROM {p}jobs INDEXED BY {p}jobs_future \
        WHERE phase = '{ready}' AND due = 0 AND run_at < 9223372036854775807 AND run_at = ?1 AND +sequence = ?2";
    is_in_held = "SELECT 1 FROM {p}jobs INDEXED BY {p}jobs_held WHERE phase = '{held}' AND id = ?1";

    /// Jobs in ascending order of their ids.
    list = "SELECT {columns} FROM {p}jobs WHERE id > ?1 ORDER BY id";
    held = "SELECT {columns} FROM {p}jobs INDEXED BY {p}jobs_held \
        WHERE phase = '{held}' AND id > ?1 ORDER BY id";
    /// Jobs that ended before a time, up to some.
    finalized = "SELECT id FROM {p}jobs INDEXED BY {p}jobs_finalized \
        WHERE phase = '{final}' AND finalized_at < ?1 LIMIT ?2";
    /// Jobs in the order in which they were enqueued.
    walk = "SELECT {columns} FROM {p}jobs ORDER BY sequence";
    walk_keys = "SELECT queue, name, holder, seal FROM {p}unique_keys";
    walk_records = "SELECT name, version, value, seal FROM {p}records";
    /// A job by its sequence, and its history from the newest entry down: for damaged files.
    salvage_job = "SELECT {columns} FROM {p}jobs NOT INDEXED WHERE sequence = ?1";
    salvage_history = "SELECT number, at, event, from_status, to_status, attempt, assignee, message, seal \
        FROM {p}history WHERE job = ?1 ORDER BY number DESC";
    /// How many rows each partial index lists, and how many it should: SQLite's own check sees what is missing in one and
    /// not what is too much.
    count_listed = "SELECT \
        (SELECT count(*) FROM {p}jobs INDEXED BY {p}jobs_ready WHERE phase = '{ready}' AND due = 1), \
        (SELECT count(*) FROM {p}jobs INDEXED BY {p}jobs_future \
            WHERE phase = '{ready}' AND due = 0 AND run_at < 9223372036854775807), \
        (SELECT count(*) FROM {p}jobs INDEXED BY {p}jobs_deadline WHERE deadline IS NOT NULL), \
        (SELECT count(*) FROM {p}jobs INDEXED BY {p}jobs_held WHERE phase = '{held}'), \
        (SELECT count(*) FROM {p}jobs INDEXED BY {p}jobs_held_suspect WHERE phase = '{held}' AND suspect = 1), \
        (SELECT count(*) FROM {p}jobs INDEXED BY {p}jobs_finalized WHERE phase = '{final}')";
    count_listable = "SELECT \
        count(*) FILTER (WHERE phase = '{ready}' AND due = 1), \
        count(*) FILTER (WHERE phase = '{ready}' AND due = 0 AND run_at < 9223372036854775807), \
        count(*) FILTER (WHERE deadline IS NOT NULL), \
        count(*) FILTER (WHERE phase = '{held}'), \
        count(*) FILTER (WHERE phase = '{held}' AND suspect = 1), \
        count(*) FILTER (WHERE phase = '{final}') FROM {p}jobs NOT INDEXED";
    /// What the tables were made with.
    made_with = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name GLOB '{p}*'";
    count_rows = "SELECT (SELECT count(*) FROM {p}bodies), (SELECT count(*) FROM {p}outcomes), \
        (SELECT count(*) FROM {p}history), (SELECT count(*) FROM {p}ready_tags)";
}

/// Statements that read a damaged file: in both directions, and from one tree of pages each.
impl Sql {
    /// Ids and sequences from the index of ids alone.
    pub(crate) fn salvage_ids(&self, back: bool) -> String {
        let (p, order) = (&self.prefix, order(back));
        format!(
            "SELECT id, sequence FROM {p}jobs INDEXED BY {p}jobs_id WHERE id >= ?1 AND id <= ?2 ORDER BY id {order}"
        )
    }

    /// The first column, a sequence, of a table alone.
    pub(crate) fn salvage_sequences(&self, table: &str, column: &str, back: bool) -> String {
        let (p, order) = (&self.prefix, order(back));
        format!(
            "SELECT {column} FROM {p}{table} NOT INDEXED WHERE {column} >= ?1 AND {column} <= ?2 \
             ORDER BY {column} {order}"
        )
    }

    /// All records.
    pub(crate) fn salvage_records(&self, back: bool) -> String {
        let (p, order) = (&self.prefix, order(back));
        format!("SELECT name, version, value, seal FROM {p}records ORDER BY name {order}")
    }
}

fn order(back: bool) -> &'static str {
    if back { "DESC" } else { "ASC" }
}

/// `{p}` is the prefix, the other names in braces what all statements must agree on.
fn filled(text: &str, prefix: &str) -> String {
    let mut filled = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        filled.push_str(before);
        filled.push_str(&named(name, prefix));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn named<'a>(name: &'a str, prefix: &'a str) -> Cow<'a, str> {
    let listed = |each: &dyn Fn((usize, &str)) -> String| -> String {
        (1..).zip(COLUMNS).map(each).collect::<Vec<_>>().join(", ")
    };
    match name {
        "p" => prefix.into(),
        "columns" => COLUMNS.join(", ").into(),
        "job_columns" => listed(&|(_, column)| format!("j.{column}")).into(),
        "parameters" => listed(&|(number, _)| format!("?{number}")).into(),
        "changes" => {
            let changed = COLUMNS.iter().skip_while(|column| **column != "status").zip(2..);
            changed
                .map(|(column, number)| format!("{column} = ?{number}"))
                .collect::<Vec<_>>()
                .join(", ")
                .into()
        }
        "ready" => Phase::Ready.as_str().into(),
        "held" => Phase::Held.as_str().into(),
        "final" => Phase::Final.as_str().into(),
        _ => format!("{{{name}}}").into(),
    }
}

/// Refuses a prefix that would not be part of a name.
pub(crate) fn check_prefix(prefix: &str, site: &Site) -> Result<(), BackendError> {
    let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let starts = !prefix.starts_with(|first: char| first.is_ascii_digit());
    if plain && starts && prefix.len() <= PREFIX_BYTES_MAX && !prefix.starts_with("sqlite_") {
        return Ok(());
    }
    let what = format!(
        "table_prefix: {prefix:?} is not up to {PREFIX_BYTES_MAX} letters, digits and '_', the first no digit"
    );
    Err(site.error(BackendErrorKind::Invalid, what))
}

#[cfg(test)]
mod tests;
