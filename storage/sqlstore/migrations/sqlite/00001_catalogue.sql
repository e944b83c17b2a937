-- The catalogue, the media's rows and the change log.
-- Times are milliseconds since 1970 in UTC, 0 for none. Hashes and values are raw bytes.

-- +goose Up

CREATE TABLE banks (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    policy      TEXT    NOT NULL, -- JSON
    deleted     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    seq         INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX banks_live_name ON banks (name) WHERE NOT deleted;

CREATE TABLE entries (
    id         INTEGER PRIMARY KEY,
    bank       INTEGER NOT NULL REFERENCES banks (id),
    status     TEXT    NOT NULL,
    exact_only INTEGER NOT NULL,
    note       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    sha256     BLOB    NOT NULL, -- of the media; empty if the bytes were never seen
    bytes      INTEGER NOT NULL,
    format     TEXT    NOT NULL,
    width      INTEGER NOT NULL,
    height     INTEGER NOT NULL,
    kept       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL
) STRICT;
CREATE INDEX entries_bank ON entries (bank, id);

CREATE TABLE entry_signals (
    entry     INTEGER NOT NULL REFERENCES entries (id),
    ord       INTEGER NOT NULL,
    algorithm TEXT    NOT NULL,
    variant   TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    quality   INTEGER NOT NULL,
    value     BLOB    NOT NULL,
    PRIMARY KEY (entry, ord)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_signals_value ON entry_signals (algorithm, value);

CREATE TABLE entry_labels (
    entry INTEGER NOT NULL REFERENCES entries (id),
    ord   INTEGER NOT NULL,
    label TEXT    NOT NULL,
    PRIMARY KEY (entry, label)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_labels_label ON entry_labels (label, entry);

CREATE TABLE entry_sources (
    entry  INTEGER NOT NULL REFERENCES entries (id),
    ord    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    origin TEXT    NOT NULL,
    PRIMARY KEY (entry, ord)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    ord        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL
) STRICT;

CREATE TABLE media (
    sha256 BLOB    PRIMARY KEY,
    size   INTEGER NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('pending', 'live', 'deleting')),
    at     INTEGER NOT NULL -- last touched
) STRICT, WITHOUT ROWID;
CREATE INDEX media_not_live ON media (state, at) WHERE state <> 'live';

CREATE TABLE log (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    bank    INTEGER NOT NULL,
    entry   INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    record  BLOB    NOT NULL, -- the text whose hash is the leaf
    private BLOB,             -- NULL: none, or erased
    salt    BLOB,
    root    BLOB    NOT NULL
) STRICT;

CREATE TABLE log_hashes ( -- the Merkle tree, by stored-hash index
    idx  INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL
) STRICT;

CREATE TABLE log_head ( -- one row
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    log_id TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    root   BLOB    NOT NULL
) STRICT;

PRAGMA user_version = 1;
