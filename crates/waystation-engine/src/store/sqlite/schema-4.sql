-- What has happened to runs of stored workflows, in the order in which it became durable: each row is a
-- piece of a run's journal. Ids are never given twice, so that who has read as far as one can go on there.
CREATE TABLE feed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow TEXT NOT NULL,
    run INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX feed_workflow ON feed (workflow, id);

-- Numbers that readers of this data keep here, by name.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
