-- Parties and what they say (subscriptions, overlays, opinions), proposals, remembered requests, and what
-- the journals bring: matches, with decisions and counters, and sign-ins.
-- JSON columns are NULL for nothing. Party 1, the operator, is made when the catalogue is opened.

-- +goose Up

CREATE TABLE parties (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    keep_matches INTEGER NOT NULL, -- days
    suspended    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    seq          INTEGER NOT NULL
) STRICT;

ALTER TABLE banks ADD COLUMN owner INTEGER NOT NULL DEFAULT 1;
ALTER TABLE banks ADD COLUMN kind TEXT NOT NULL DEFAULT 'positive';
ALTER TABLE banks ADD COLUMN members TEXT; -- JSON
ALTER TABLE banks ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
ALTER TABLE banks ADD COLUMN dual INTEGER NOT NULL DEFAULT 0;
ALTER TABLE banks ADD COLUMN proposal TEXT; -- JSON
DROP INDEX banks_live_name;
CREATE UNIQUE INDEX banks_live_name ON banks (owner, name) WHERE NOT deleted; -- a party's names are its own
ALTER TABLE keys ADD COLUMN party INTEGER NOT NULL DEFAULT 1;
ALTER TABLE log ADD COLUMN party INTEGER NOT NULL DEFAULT 0;

-- Listings are of banks: every index begins with what is asked for and the bank, and ends with the entry.
ALTER TABLE entries ADD COLUMN proposal TEXT; -- JSON
CREATE INDEX entries_status ON entries (bank, status, id);
CREATE INDEX entries_waiting ON entries (bank, id) WHERE proposal IS NOT NULL;
ALTER TABLE entry_labels ADD COLUMN bank INTEGER NOT NULL DEFAULT 0; -- of the entry
UPDATE entry_labels SET bank = (SELECT bank FROM entries WHERE id = entry);
DROP INDEX entry_labels_label;
CREATE INDEX entry_labels_label ON entry_labels (label, bank, entry);

ALTER TABLE entry_sources ADD COLUMN list TEXT NOT NULL DEFAULT '';
ALTER TABLE entry_sources ADD COLUMN foreign_id TEXT NOT NULL DEFAULT '';

CREATE TABLE subscriptions (
    party  INTEGER NOT NULL REFERENCES parties (id),
    bank   INTEGER NOT NULL REFERENCES banks (id),
    is_on  INTEGER NOT NULL,
    cap    TEXT, -- JSON
    action TEXT    NOT NULL,
    link   TEXT    NOT NULL,
    PRIMARY KEY (party, bank)
) STRICT, WITHOUT ROWID;

CREATE TABLE overlays (
    party    INTEGER NOT NULL REFERENCES parties (id),
    entry    INTEGER NOT NULL REFERENCES entries (id),
    disabled INTEGER NOT NULL,
    labels   TEXT, -- JSON
    taken    INTEGER NOT NULL DEFAULT 0, -- it is disabled by a rule of the bank, and the party has not said so itself
    alarm    INTEGER NOT NULL DEFAULT 0, -- when it was disabled because the entry matched too much for the party; 0: it was not
    PRIMARY KEY (party, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX overlays_alarm ON overlays (entry, party, alarm) WHERE alarm > 0;
CREATE INDEX overlays_taken ON overlays (entry, party) WHERE taken = 1;

CREATE TABLE opinions (
    entry  INTEGER NOT NULL REFERENCES entries (id),
    party  INTEGER NOT NULL REFERENCES parties (id),
    stance TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    actor  TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (entry, party)
) STRICT, WITHOUT ROWID;

CREATE TABLE remembered (
    scope   TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    digest  BLOB    NOT NULL,
    outcome TEXT, -- JSON
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX remembered_at ON remembered (at, scope, key);

CREATE TABLE journals (
    node    TEXT    PRIMARY KEY,
    shipped INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What comes from a journal may speak of entries, banks and parties that a catalogue restored from a backup
-- does not have: it refers to none of them.

CREATE TABLE matches (
    ord       INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of arrival
    node      TEXT    NOT NULL,
    number    INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    party     INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    content   TEXT    NOT NULL,
    level     TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    index_seq INTEGER NOT NULL,
    bare      INTEGER NOT NULL, -- hashes came that are not of media that came, too
    standing  INTEGER NOT NULL DEFAULT 0, -- the content was removed because of one of the entries, and is not back
    UNIQUE (node, number)
) STRICT;
CREATE INDEX matches_party ON matches (party, ord);
CREATE INDEX matches_level ON matches (party, level, ord);
CREATE INDEX matches_at ON matches (party, at, ord);
CREATE INDEX matches_content ON matches (party, content, ord) WHERE content <> '';
CREATE INDEX matches_standing ON matches (party, ord) WHERE standing = 1;

CREATE TABLE match_entries (
    ord      INTEGER NOT NULL REFERENCES matches (ord) ON DELETE CASCADE,
    place    INTEGER NOT NULL, -- strongest first
    party    INTEGER NOT NULL, -- of the match
    entry    INTEGER NOT NULL,
    bank     INTEGER NOT NULL,
    level    TEXT    NOT NULL,
    exact    INTEGER NOT NULL,
    lead     INTEGER NOT NULL, -- the first of its bank in the match
    standing INTEGER NOT NULL DEFAULT 0, -- the last decision that names the entry removed the content
    bank_standing INTEGER NOT NULL DEFAULT 0, -- of the lead: so does one of its bank's entries
    ruling   TEXT    NOT NULL DEFAULT '', -- that counts for the entry
    judged   INTEGER NOT NULL DEFAULT 0, -- the decision that it is of, if it says whether the match is right
    PRIMARY KEY (ord, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX match_entries_entry ON match_entries (party, entry, ord);
CREATE INDEX match_entries_bank ON match_entries (party, bank, ord) WHERE lead = 1;
CREATE INDEX match_entries_entry_standing ON match_entries (party, entry, ord) WHERE standing = 1;
CREATE INDEX match_entries_bank_standing ON match_entries (party, bank, ord) WHERE lead = 1 AND bank_standing = 1;
CREATE INDEX match_entries_judged ON match_entries (entry, party, judged) WHERE judged > 0 AND level <> 'none';

CREATE TABLE match_verdicts ( -- apart, for their size
    ord     INTEGER PRIMARY KEY REFERENCES matches (ord) ON DELETE CASCADE,
    verdict TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE decisions (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    match         INTEGER NOT NULL REFERENCES matches (ord) ON DELETE CASCADE,
    party         INTEGER NOT NULL,
    ruling        TEXT    NOT NULL,
    entries       TEXT    NOT NULL, -- JSON
    match_correct INTEGER, -- NULL: not said
    label_correct INTEGER,
    reason        TEXT    NOT NULL,
    actor         TEXT    NOT NULL,
    at            INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_match ON decisions (match, id);

CREATE TABLE match_counts ( -- of the last 25 hours
    entry INTEGER NOT NULL,
    step  INTEGER NOT NULL, -- of five minutes, since 1970
    n     INTEGER NOT NULL,
    PRIMARY KEY (entry, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX match_counts_step ON match_counts (step, entry);

CREATE TABLE match_totals (
    entry      INTEGER PRIMARY KEY,
    total      INTEGER NOT NULL,
    confirmed  INTEGER NOT NULL,
    overturned INTEGER NOT NULL,
    cleared    INTEGER NOT NULL DEFAULT 0 -- decisions up to this one do not quarantine it any more
) STRICT;

CREATE TABLE sign_ins (
    ord     INTEGER PRIMARY KEY AUTOINCREMENT,
    node    TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    party   INTEGER NOT NULL,
    address TEXT    NOT NULL,
    UNIQUE (node, number)
) STRICT;
CREATE INDEX sign_ins_party ON sign_ins (party, ord);
CREATE INDEX sign_ins_at ON sign_ins (at, ord);

CREATE TABLE arrivals ( -- which numbers the records of an hour got: the order of arrival is nearly that of time
    what  TEXT    NOT NULL CHECK (what IN ('match', 'sign_in')),
    hour  INTEGER NOT NULL, -- since 1970
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    PRIMARY KEY (what, hour)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 3;
