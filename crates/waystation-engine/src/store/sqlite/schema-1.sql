-- Rows are keyed by integers in order of time, so that inserts go to the end of every tree.

CREATE TABLE plans (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    json BLOB NOT NULL,
    used INTEGER NOT NULL -- when its last run began, up to an hour too early
) STRICT;

-- One slim row a run: lists and start-up read this table, never the journal.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    name TEXT,
    plan INTEGER NOT NULL,
    status INTEGER NOT NULL,
    created INTEGER NOT NULL,
    finished INTEGER,
    error TEXT,
    wake_at INTEGER NOT NULL -- 0 while active
) STRICT;
CREATE INDEX runs_workflow ON runs (namespace, workflow, id);
-- The other states are the rule, or have an index of their own: a run that goes well writes little.
CREATE INDEX runs_troubled ON runs (status, id) WHERE status IN (2, 3);
-- Holds the runs under way and nothing else, so that start-up is as quick after a million runs.
CREATE INDEX runs_unfinished ON runs (finished, wake_at, id) WHERE finished IS NULL;

-- One row an append. The unique pair is the fence: of two owners of a run, only one can go on.
CREATE TABLE journal (
    lsn INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    entries BLOB NOT NULL,
    UNIQUE (run, batch)
) STRICT;

-- Large values, each kept once however many runs refer to it.
CREATE TABLE payloads (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE payload_refs (
    run INTEGER NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (run, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX payload_refs_hash ON payload_refs (hash);

CREATE TABLE cursors (
    run INTEGER PRIMARY KEY,
    next_seq INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    error TEXT
) STRICT;
CREATE INDEX cursors_state ON cursors (state, next_at);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blocks (
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)
) STRICT;
CREATE INDEX blocks_created ON blocks (namespace, created, id);

CREATE TABLE progress (
    id INTEGER PRIMARY KEY,
    webhook_id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    execution TEXT NOT NULL,
    received INTEGER NOT NULL,
    event BLOB NOT NULL
) STRICT;
CREATE INDEX progress_workflow ON progress (namespace, workflow, id);
CREATE INDEX progress_received ON progress (received);
