-- What re-scans have found, by the entry that it matches: to look at when the entry is retracted.

-- +goose Up

CREATE TABLE rescan_hit_entries (
    hit   BIGINT NOT NULL, -- no reference: making one would have everybody who saves hits wait for what follows
    entry BIGINT NOT NULL,
    party BIGINT NOT NULL, -- of the re-scan
    PRIMARY KEY (hit, entry)
);
CREATE INDEX rescan_hit_entries_entry ON rescan_hit_entries (party, entry, hit);

-- Those that are there say which entries they match in their verdicts.
INSERT INTO rescan_hit_entries (hit, entry, party)
SELECT DISTINCT h.id, (m->>'entry')::BIGINT, r.party
FROM rescan_hits h JOIN rescans r ON r.id = h.rescan,
    jsonb_array_elements(CASE jsonb_typeof(h.verdict::jsonb->'matches') WHEN 'array' THEN h.verdict::jsonb->'matches' ELSE '[]' END) m
WHERE m->>'level' <> 'none' AND m->>'suppressed_by' IS NULL AND COALESCE(m->>'test', '') <> 'true';
