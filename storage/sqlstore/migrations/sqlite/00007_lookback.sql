-- The upload history: whose uploads are kept, which past ones match, and how far nodes have looked.

-- +goose Up

ALTER TABLE parties ADD COLUMN history_days INTEGER NOT NULL DEFAULT 0; -- 0: none are kept

-- The matches that a look-back found, each of one entry.
CREATE TABLE past_uploads (
    ord    INTEGER PRIMARY KEY REFERENCES matches (ord) ON DELETE CASCADE,
    entry  INTEGER NOT NULL,
    node   TEXT    NOT NULL, -- with number: the upload, in the history
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL -- when it was checked
) STRICT;
CREATE UNIQUE INDEX past_uploads_entry ON past_uploads (entry, node, number);

-- Up to which change of the log a node has looked among its past uploads; '': all nodes, among the files.
CREATE TABLE looked (
    node TEXT    PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Names of uploads that every node is to erase from its history, and how far each has.
CREATE TABLE erasures (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    party   INTEGER NOT NULL REFERENCES parties (id),
    content TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX erasures_at ON erasures (at, id);
CREATE TABLE erased (
    node    TEXT PRIMARY KEY,
    erasure INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 7;
