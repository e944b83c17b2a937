-- What re-scans have found, by the entry that it matches: to look at when the entry is retracted.

-- +goose Up

CREATE TABLE rescan_hit_entries (
    hit   INTEGER NOT NULL, -- no reference, as in PostgreSQL
    entry INTEGER NOT NULL,
    party INTEGER NOT NULL, -- of the re-scan
    PRIMARY KEY (hit, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX rescan_hit_entries_entry ON rescan_hit_entries (party, entry, hit);

-- Those that are there say which entries they match in their verdicts.
INSERT INTO rescan_hit_entries (hit, entry, party)
SELECT DISTINCT h.id, json_extract(m.value, '$.entry'), r.party
FROM rescan_hits h JOIN rescans r ON r.id = h.rescan, json_each(h.verdict, '$.matches') m
WHERE json_extract(m.value, '$.level') <> 'none' AND json_extract(m.value, '$.suppressed_by') IS NULL AND COALESCE(json_extract(m.value, '$.test'), 0) = 0;

PRAGMA user_version = 10;
