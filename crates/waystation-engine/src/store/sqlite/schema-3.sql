-- What runs come from. Older runs are of pipelines or chains: their plans tell which, and no list asks.
ALTER TABLE runs ADD COLUMN dialect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN version INTEGER;
ALTER TABLE runs ADD COLUMN parent INTEGER;
ALTER TABLE runs ADD COLUMN parent_node INTEGER;
ALTER TABLE runs ADD COLUMN parent_item INTEGER;
-- A run within another has one place there, once.
CREATE UNIQUE INDEX runs_child ON runs (parent, parent_node, parent_item) WHERE parent IS NOT NULL;
-- Lists show no runs within others, of which there may be thousands between two that they show.
DROP INDEX runs_workflow;
CREATE INDEX runs_workflow ON runs (namespace, workflow, id) WHERE parent IS NULL;
DROP INDEX runs_troubled;
CREATE INDEX runs_troubled ON runs (status, id) WHERE status IN (2, 3) AND parent IS NULL;
CREATE INDEX runs_jobs ON runs (id) WHERE dialect = 2 AND parent IS NULL;

-- How many runs lists have, so that nobody counts them. Kept by the triggers below, for jobs alone.
CREATE TABLE run_counts (
    workflow TEXT NOT NULL,
    status INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (workflow, status)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER runs_counted AFTER INSERT ON runs WHEN new.dialect = 2 AND new.parent IS NULL
BEGIN
    INSERT INTO run_counts VALUES (new.workflow, new.status, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER runs_recounted AFTER UPDATE OF status ON runs
    WHEN new.dialect = 2 AND new.parent IS NULL AND new.status <> old.status
BEGIN
    UPDATE run_counts SET count = count - 1 WHERE workflow = old.workflow AND status = old.status;
    INSERT INTO run_counts VALUES (new.workflow, new.status, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER runs_uncounted AFTER DELETE ON runs WHEN old.dialect = 2 AND old.parent IS NULL
BEGIN
    UPDATE run_counts SET count = count - 1 WHERE workflow = old.workflow AND status = old.status;
END;

-- Definitions: the present version here, all versions beside.
CREATE TABLE workflows (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    description TEXT,
    search TEXT NOT NULL, -- name and description in lower case
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX workflows_updated ON workflows (updated DESC, id);
CREATE TABLE workflow_versions (
    id INTEGER PRIMARY KEY,
    workflow TEXT NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    definition BLOB NOT NULL,
    UNIQUE (workflow, version)
) STRICT;

-- Schedules and hooks of the present versions.
CREATE TABLE triggers (
    workflow TEXT NOT NULL,
    id TEXT NOT NULL,
    kind INTEGER NOT NULL, -- 0 schedule, 1 hook
    settings BLOB NOT NULL,
    path TEXT UNIQUE,
    enabled INTEGER NOT NULL,
    next_at INTEGER,
    last_at INTEGER,
    fired INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workflow, id)
) STRICT;
CREATE INDEX triggers_due ON triggers (next_at) WHERE enabled = 1 AND next_at IS NOT NULL;

-- Idempotency keys.
CREATE TABLE claims (
    key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    run INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_expires ON claims (expires);
