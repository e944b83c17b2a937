-- What the nodes say of themselves.

-- +goose Up

CREATE TABLE nodes (
    id     TEXT PRIMARY KEY,
    report TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
