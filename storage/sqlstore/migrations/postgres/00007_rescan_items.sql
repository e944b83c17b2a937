-- What re-scans keep of an item, by its name, to erase it.

-- +goose Up

-- A name may be longer than what a B-tree takes.
CREATE INDEX rescan_hits_item ON rescan_hits USING hash (item);
CREATE INDEX rescan_failures_item ON rescan_failures USING hash (item);
