-- Work to be done, in a file of its own. What is done is deleted. Times are microseconds since 1970.
CREATE TABLE job (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never used again: handlers fence by it
    kind    TEXT    NOT NULL,
    key     TEXT,                              -- none: not unique
    args    BLOB,
    state   TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'dead')),
    at      INTEGER NOT NULL,                  -- when it may be done
    runs    INTEGER NOT NULL DEFAULT 0,        -- attempts that have begun
    failed  INTEGER NOT NULL DEFAULT 0,        -- of them, those that failed, the one under way included
    error   TEXT,                              -- of the last that failed
    created INTEGER NOT NULL,
    died    INTEGER
) STRICT;
CREATE UNIQUE INDEX job_key ON job (kind, key) WHERE key IS NOT NULL AND state <> 'dead';
CREATE INDEX job_dead ON job (kind, key) WHERE state = 'dead';
CREATE INDEX job_due ON job (kind, state, at, id);
