-- Whether a match that comes late has a name that was erased meanwhile.

-- +goose Up

CREATE INDEX erasures_content ON erasures (content, party, at);
