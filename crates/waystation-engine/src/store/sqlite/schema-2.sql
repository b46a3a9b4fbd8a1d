-- Answers of models, for equal questions.
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_expires ON answers (expires);

-- What a workflow's runs have used of models, day by day. The day comes first: retention deletes days.
CREATE TABLE spending (
    day INTEGER NOT NULL, -- counted from 1970, UTC
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    calls INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    paid_tokens INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL,
    PRIMARY KEY (day, namespace, workflow)
) STRICT, WITHOUT ROWID;
