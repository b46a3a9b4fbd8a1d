-- Where a run's plan came from: 0 pipeline, 1 instructions, 2 graph. Older runs are pipelines or chains
-- of instructions; their plans say so at the beginning, which no compression changes.
ALTER TABLE runs ADD COLUMN dialect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN version INTEGER; -- of the stored workflow
UPDATE runs SET dialect = 1 WHERE plan IN (
    SELECT id FROM plans
    WHERE instr(substr(json, 1, 64), CAST('"dialect":"instructions"' AS BLOB)) > 0
);
-- Lists of the runs of stored workflows. The other wire formats pay nothing for them.
CREATE INDEX runs_graph ON runs (id) WHERE dialect = 2;
CREATE INDEX runs_graph_status ON runs (status, id) WHERE dialect = 2 AND status IN (0, 2, 3);
CREATE INDEX runs_graph_workflow ON runs (workflow, status, id)
    WHERE dialect = 2 AND status IN (0, 2, 3);

-- Runs that a node of another run waits for. They have a table of their own, so that lists of runs never
-- step over them, and runs without a parent pay nothing for them.
CREATE TABLE child_runs (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    name TEXT,
    plan INTEGER NOT NULL,
    status INTEGER NOT NULL,
    created INTEGER NOT NULL,
    finished INTEGER,
    error TEXT,
    wake_at INTEGER NOT NULL, -- 0 while active
    dialect INTEGER NOT NULL,
    version INTEGER,
    parent INTEGER NOT NULL,
    node INTEGER NOT NULL,
    item INTEGER NOT NULL,
    UNIQUE (parent, node, item)
) STRICT;
CREATE INDEX child_runs_unfinished ON child_runs (finished, wake_at, id) WHERE finished IS NULL;

-- How many runs there are, without children. Kept up to date once a transaction.
CREATE TABLE run_counts (
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    dialect INTEGER NOT NULL,
    status INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (namespace, workflow, dialect, status)
) STRICT, WITHOUT ROWID;
INSERT INTO run_counts
    SELECT namespace, workflow, dialect, status, count(*) FROM runs GROUP BY 1, 2, 3, 4;

-- Idempotency keys.
CREATE TABLE claims (
    key TEXT PRIMARY KEY,
    run INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_expires ON claims (expires);

-- One row a stored workflow, by its present version.
CREATE TABLE workflows (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    description TEXT,
    search TEXT NOT NULL, -- name and description in small letters
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE INDEX workflows_updated ON workflows (updated DESC, id);
CREATE INDEX workflows_status ON workflows (status, updated DESC, id);
CREATE TABLE workflow_versions (
    workflow TEXT NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    definition BLOB NOT NULL,
    PRIMARY KEY (workflow, version)
) STRICT;

-- What starts stored workflows by itself.
CREATE TABLE triggers (
    workflow TEXT NOT NULL,
    id TEXT NOT NULL,
    kind INTEGER NOT NULL, -- 0 schedule, 1 hook
    settings BLOB NOT NULL,
    path TEXT,
    enabled INTEGER NOT NULL,
    next_at INTEGER,
    last_at INTEGER,
    fired INTEGER NOT NULL,
    PRIMARY KEY (workflow, id)
) STRICT;
CREATE UNIQUE INDEX triggers_path ON triggers (path) WHERE path IS NOT NULL;
CREATE INDEX triggers_next ON triggers (next_at)
    WHERE kind = 0 AND enabled = 1 AND next_at IS NOT NULL;

-- Sums over the runs of stored workflows, without children. The day comes first: retention deletes days.
CREATE TABLE run_tallies (
    day INTEGER NOT NULL, -- counted from 1970, UTC
    workflow TEXT NOT NULL,
    started INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    durations BLOB NOT NULL,
    PRIMARY KEY (day, workflow)
) STRICT, WITHOUT ROWID;
CREATE TABLE node_tallies (
    day INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    kind TEXT NOT NULL,
    count INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    durations BLOB NOT NULL,
    PRIMARY KEY (day, workflow, kind)
) STRICT, WITHOUT ROWID;
