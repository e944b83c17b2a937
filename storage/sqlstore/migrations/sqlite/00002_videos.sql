-- Signals of a video's frames have a time within it, and a video has a length; both in milliseconds.

-- +goose Up

ALTER TABLE entry_signals ADD COLUMN time_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN duration_ms INTEGER NOT NULL DEFAULT 0;

PRAGMA user_version = 2;
