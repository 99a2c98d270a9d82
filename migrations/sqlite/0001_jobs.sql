-- A queue. Times are microseconds since 1970-01-01T00:00:00 UTC; 9223372036854775807 is "never".
-- A row's seal is a checksum over its other columns and the job's id: a row changed by hand is reported as
-- damaged. Statuses, phases, events and kinds of failure are stored under their names.

CREATE TABLE {prefix}meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL,
    seal  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where each job stands. What the indexes ask for is stored with it: `phase` follows from `status`, `deadline` is
-- `expires_at` while it counts, and a `suspect` is a job that one more lost worker ends. `owner` is the handle that holds the job.
CREATE TABLE {prefix}jobs (
    sequence      INTEGER PRIMARY KEY NOT NULL,
    id            BLOB NOT NULL CHECK (length(id) = 16),
    queue         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    tags          TEXT NOT NULL,
    unique_key    TEXT,
    priority      INTEGER NOT NULL,
    max_attempts  INTEGER,
    crash_limit   INTEGER NOT NULL,
    backoff       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    status        TEXT NOT NULL,
    phase         TEXT NOT NULL,
    resumes_to    TEXT,
    last_reported TEXT,
    attempt       INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    retry_count   INTEGER NOT NULL,
    crashes       INTEGER NOT NULL,
    run_at        INTEGER NOT NULL,
    due           INTEGER NOT NULL,
    deadline      INTEGER,
    suspect       INTEGER NOT NULL,
    started_at    INTEGER,
    assigned_at   INTEGER,
    last_retry_at INTEGER,
    finalized_at  INTEGER,
    assignee      TEXT,
    owner         INTEGER,
    outcome       INTEGER,
    history_first INTEGER NOT NULL,
    history_next  INTEGER NOT NULL,
    seal          INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX {prefix}jobs_id ON {prefix}jobs (id);

-- The order of claims.
CREATE INDEX {prefix}jobs_ready ON {prefix}jobs (queue, priority, run_at, sequence)
    WHERE phase = 'ready' AND due = 1;

-- Jobs that wait for their time.
CREATE INDEX {prefix}jobs_future ON {prefix}jobs (run_at, sequence)
    WHERE phase = 'ready' AND due = 0 AND run_at < 9223372036854775807;

-- Jobs that must be started by a time.
CREATE INDEX {prefix}jobs_deadline ON {prefix}jobs (deadline, id)
    WHERE deadline IS NOT NULL;

CREATE INDEX {prefix}jobs_held ON {prefix}jobs (id)
    WHERE phase = 'held';

-- Held jobs that one more lost worker ends.
CREATE INDEX {prefix}jobs_held_suspect ON {prefix}jobs (suspect)
    WHERE phase = 'held' AND suspect = 1;

CREATE INDEX {prefix}jobs_finalized ON {prefix}jobs (finalized_at)
    WHERE phase = 'final';

-- The tags of the jobs that can be claimed, each in the order of claims.
CREATE TABLE {prefix}ready_tags (
    queue    TEXT NOT NULL,
    tag      TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (queue, tag, priority, run_at, sequence)
) STRICT, WITHOUT ROWID;

-- What each job carries, as it was enqueued. `timeout` is in seconds.
CREATE TABLE {prefix}bodies (
    job          INTEGER PRIMARY KEY NOT NULL,
    payload      BLOB NOT NULL,
    content_type TEXT NOT NULL,
    metadata     TEXT NOT NULL,
    timeout      TEXT,
    seal         INTEGER NOT NULL
) STRICT;

-- What a job left behind: its output, its last error, or both.
CREATE TABLE {prefix}outcomes (
    job         INTEGER PRIMARY KEY NOT NULL,
    attempt     INTEGER NOT NULL,
    output      BLOB,
    output_type TEXT,
    error       TEXT,
    error_kind  TEXT,
    seal        INTEGER NOT NULL
) STRICT;

-- One row for each step of a job, numbered from `jobs.history_first` up to `jobs.history_next`.
CREATE TABLE {prefix}history (
    job         INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    event       TEXT NOT NULL,
    from_status TEXT NOT NULL,
    to_status   TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    assignee    TEXT,
    message     TEXT,
    seal        INTEGER NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE {prefix}unique_keys (
    queue  TEXT NOT NULL,
    name   TEXT NOT NULL,
    holder BLOB NOT NULL,
    seal   INTEGER NOT NULL,
    PRIMARY KEY (queue, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE {prefix}records (
    name    TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    value   BLOB NOT NULL,
    seal    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE {prefix}counts (
    status  TEXT PRIMARY KEY NOT NULL,
    jobs    INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    seal    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The open handles. Each holds a lock on the file `<database>-{prefix}handle-<number>` while its process lives, and moves its
-- beat while it holds jobs, at least once in `lease` milliseconds. These three tables have no seals: they say nothing of jobs.
CREATE TABLE {prefix}handles (
    number    INTEGER PRIMARY KEY NOT NULL,
    process   INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    beat      INTEGER NOT NULL,
    lease     INTEGER NOT NULL
) STRICT;

-- Jobs held by a handle of which another one has made a step, until that handle has seen it.
CREATE TABLE {prefix}touched (
    handle INTEGER NOT NULL,
    job    BLOB NOT NULL,
    PRIMARY KEY (handle, job)
) STRICT, WITHOUT ROWID;

-- Batches that a transaction of the application's applied, until the handle it was asked through has seen it.
CREATE TABLE {prefix}applied (
    handle INTEGER NOT NULL,
    batch  INTEGER NOT NULL,
    PRIMARY KEY (handle, batch)
) STRICT, WITHOUT ROWID;

-- What was changed by hand and accepted on request. `job` is the job's id, or NULL for the counts; `what` is a JSON
-- object that names the rows whose seals did not match, and what was set to agree with the rest.
CREATE TABLE {prefix}reseals (
    number INTEGER PRIMARY KEY NOT NULL,
    job    BLOB,
    at     INTEGER NOT NULL,
    what   TEXT NOT NULL
) STRICT;

-- For people.
CREATE VIEW {prefix}jobs_readable AS
WITH stamped AS (
    SELECT j.*,
        lower(hex(j.id)) AS digits,
        b.payload AS payload,
        b.content_type AS content_type,
        b.metadata AS metadata,
        b.timeout AS timeout,
        o.output AS output,
        o.error AS error,
        o.error_kind AS error_kind
    FROM {prefix}jobs AS j
    LEFT JOIN {prefix}bodies AS b ON b.job = j.sequence
    LEFT JOIN {prefix}outcomes AS o ON o.job = j.sequence
)
SELECT
    substr(digits, 1, 8) || '-' || substr(digits, 9, 4) || '-' || substr(digits, 13, 4) || '-'
        || substr(digits, 17, 4) || '-' || substr(digits, 21) AS id,
    queue, kind, status, tags, priority, attempt, failures, retry_count, crashes, assignee,
    CASE run_at WHEN 9223372036854775807 THEN 'never'
        ELSE strftime('%Y-%m-%dT%H:%M:%fZ', run_at / 1000000.0, 'unixepoch') END AS run_at,
    due,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', expires_at / 1000000.0, 'unixepoch') AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', assigned_at / 1000000.0, 'unixepoch') AS assigned_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', last_retry_at / 1000000.0, 'unixepoch') AS last_retry_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', finalized_at / 1000000.0, 'unixepoch') AS finalized_at,
    unique_key, max_attempts, crash_limit, backoff, timeout, content_type,
    CAST(payload AS TEXT) AS payload, metadata, CAST(output AS TEXT) AS output, error, error_kind, sequence
FROM stamped;
