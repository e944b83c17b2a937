-- Re-scans of what was posted before: their shards, with how far each is, and what was found.
-- Names of items and cursors are bytes: names of files need not be text. Cursors are names of items, too, and may be personal data: a shard
-- that is done has none, nor has a re-scan that is done.

-- +goose Up

CREATE TABLE rescans (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    party       INTEGER NOT NULL REFERENCES parties (id),
    key         TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    options     TEXT    NOT NULL, -- JSON
    seq         INTEGER NOT NULL, -- head of the log when it was created
    version     TEXT    NOT NULL, -- of the source
    cursor      BLOB    NOT NULL, -- planned so far; empty when it is done
    planned     INTEGER NOT NULL, -- to the end
    attempt     INTEGER NOT NULL, -- at planning
    shards      INTEGER NOT NULL,
    shards_done INTEGER NOT NULL,
    items       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    none        INTEGER NOT NULL,
    review      INTEGER NOT NULL,
    likely      INTEGER NOT NULL,
    matched     INTEGER NOT NULL,
    error       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL  -- 0: it goes on
) STRICT;
CREATE INDEX rescans_party ON rescans (party, id);
CREATE INDEX rescans_finished ON rescans (party, finished_at, id) WHERE finished_at > 0;

CREATE TABLE rescan_shards (
    rescan      INTEGER NOT NULL REFERENCES rescans (id),
    number      INTEGER NOT NULL,
    begins      BLOB    NOT NULL, -- the cursor after which it begins; this one and the other two are empty when it is done
    ends        BLOB    NOT NULL,
    planned     INTEGER NOT NULL, -- items expected
    todo        INTEGER,          -- its number; NULL when it is done
    attempt     INTEGER NOT NULL,
    tries       INTEGER NOT NULL, -- attempts since it was last saved
    cursor      BLOB    NOT NULL,
    items       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    none        INTEGER NOT NULL,
    review      INTEGER NOT NULL,
    likely      INTEGER NOT NULL,
    matched     INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    PRIMARY KEY (rescan, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX rescan_shards_todo ON rescan_shards (rescan, todo);

CREATE TABLE rescan_hits (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    rescan  INTEGER NOT NULL REFERENCES rescans (id),
    shard   INTEGER NOT NULL,
    item    BLOB    NOT NULL,
    level   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    verdict TEXT    -- JSON
) STRICT;
CREATE INDEX rescan_hits_rescan ON rescan_hits (rescan, id);

CREATE TABLE rescan_failures (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    rescan INTEGER NOT NULL REFERENCES rescans (id),
    shard  INTEGER NOT NULL,
    item   BLOB    NOT NULL,
    error  TEXT    NOT NULL
) STRICT;
CREATE INDEX rescan_failures_rescan ON rescan_failures (rescan, id);

PRAGMA user_version = 5;
