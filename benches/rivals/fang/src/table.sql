CREATE TABLE IF NOT EXISTS fang_tasks (
    id BLOB NOT NULL PRIMARY KEY,
    metadata TEXT NOT NULL,
    error_message TEXT,
    state TEXT CHECK (state IN ('new', 'in_progress', 'failed', 'finished', 'retried')) NOT NULL DEFAULT 'new',
    task_type TEXT NOT NULL DEFAULT 'common',
    uniq_hash CHAR(64),
    retries INTEGER NOT NULL DEFAULT 0,
    scheduled_at INTEGER NOT NULL DEFAULT (unixepoch('now')),
    created_at INTEGER NOT NULL DEFAULT (unixepoch('now')),
    updated_at INTEGER NOT NULL DEFAULT (unixepoch('now'))
);
CREATE INDEX IF NOT EXISTS fang_tasks_state_index ON fang_tasks (state);
CREATE INDEX IF NOT EXISTS fang_tasks_type_index ON fang_tasks (task_type);
CREATE INDEX IF NOT EXISTS fang_tasks_scheduled_at_index ON fang_tasks (scheduled_at);
CREATE INDEX IF NOT EXISTS fang_tasks_uniq_hash ON fang_tasks (uniq_hash);
