-- Entries that cease to match at a time.

-- +goose Up

ALTER TABLE entries ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0; -- 0: never

CREATE INDEX entries_expiry ON entries (expires_at, id) WHERE status = 'active' AND expires_at > 0;
