-- What re-scans keep of an item, by its name, to erase it.

-- +goose Up

CREATE INDEX rescan_hits_item ON rescan_hits (item);
CREATE INDEX rescan_failures_item ON rescan_failures (item);

PRAGMA user_version = 9;
