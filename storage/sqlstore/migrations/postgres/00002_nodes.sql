-- What the nodes say of themselves.

-- +goose Up

CREATE TABLE nodes (
    id     TEXT COLLATE "C" PRIMARY KEY,
    report TEXT NOT NULL -- JSON
);
