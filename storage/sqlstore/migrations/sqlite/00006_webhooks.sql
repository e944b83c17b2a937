-- Where parties want to be told of what happens, and how far that has been handed on.

-- +goose Up

CREATE TABLE webhooks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    party       INTEGER NOT NULL REFERENCES parties (id),
    url         TEXT    NOT NULL,
    kinds       TEXT, -- JSON
    secret      TEXT    NOT NULL, -- signs, so it is kept as it is
    old_secret  TEXT    NOT NULL,
    old_until   INTEGER NOT NULL,
    disabled    TEXT    NOT NULL, -- why; empty: it is not
    created_at  INTEGER NOT NULL,
    since_log   INTEGER NOT NULL, -- it is told of what came behind
    since_match INTEGER NOT NULL
) STRICT;

-- One row.
CREATE TABLE dispatch (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    log    INTEGER NOT NULL,
    match  INTEGER NOT NULL,
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL
) STRICT;
INSERT INTO dispatch (id, log, match, holder, until) VALUES (1, 0, 0, '', 0);

PRAGMA user_version = 6;
