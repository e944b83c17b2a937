package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A re-scan checks what was posted before. Its source is planned into shards, ranges of the source, each of which is worked
// through once, by whoever takes it last: what was counted and found up to a cursor is stored in the transaction that moves the
// cursor, so that nothing is counted twice, however often a shard is begun anew.

// RescanID numbers re-scans from 1.
type RescanID uint64

// RescanState is where a re-scan stands.
type RescanState string

// A re-scan is planning until its source is listed to the end; shards are worked on meanwhile. The last three are ends, of which
// a re-scan that was cancelled or failed can be resumed.
const (
	RescanPlanning  RescanState = "planning"
	RescanRunning   RescanState = "running"
	RescanDone      RescanState = "done"
	RescanCancelled RescanState = "cancelled"
	RescanFailed    RescanState = "failed"
)

// Ended reports whether nothing of the re-scan is done any more.
func (s RescanState) Ended() bool { return s != RescanPlanning && s != RescanRunning }

// RescanOptions say what is checked, against what.
type RescanOptions struct {
	Banks []string `json:"banks,omitempty"` // only these; all that count for the party if empty
	// Since: only entries that have changed after this number of the log count; 0: all.
	Since uint64 `json:"since,omitempty"`
	// NewerThan: only items that were changed after it are checked; the zero time: all. Lists of hashes or URLs have no times.
	NewerThan time.Time `json:"newer_than,omitzero"`
	// Upright: hashes of a list are looked up as they are, and not mirrored, turned or inverted, which takes a ninth of the time.
	Upright bool `json:"upright,omitempty"`
	// FailedOf: only what that re-scan, which has ended, could not check; 0: all.
	FailedOf RescanID `json:"failed_of,omitempty"`
}

// RescanCounts count the items that were checked: all, those that could not be, and the others by the level of their verdicts.
type RescanCounts struct {
	Items  int64 `json:"items"`
	Bytes  int64 `json:"bytes"`
	Failed int64 `json:"failed"`
	None   int64 `json:"none"`
	Review int64 `json:"review"`
	Likely int64 `json:"likely"`
	Match  int64 `json:"match"`
}

// Add adds n times other.
func (c *RescanCounts) Add(other RescanCounts, n int64) {
	c.Items += n * other.Items
	c.Bytes += n * other.Bytes
	c.Failed += n * other.Failed
	c.None += n * other.None
	c.Review += n * other.Review
	c.Likely += n * other.Likely
	c.Match += n * other.Match
}

// Rescan is one re-scan.
type Rescan struct {
	ID      RescanID
	Party   PartyID // whose subscriptions count, and whose it is
	Key     string  // who asked for it: id of the key, or "local"
	Source  string  // its name in the configuration
	State   RescanState
	Options RescanOptions
	// Seq is the head of the log when it was created: every item is checked against all entries up to it, at least.
	Seq uint64
	Plan
	Attempt    int // at planning
	Shards     int // planned so far
	ShardsDone int
	Counts     RescanCounts // of all shards, up to their cursors
	Error      string       // why it failed
	CreatedAt  time.Time
	StartedAt  time.Time // when planning began; zero: it has not
	FinishedAt time.Time // when it ended
}

// Plan is how far the source of a re-scan is planned.
type Plan struct {
	Version string // of the source, where it has one: a list that has changed since cannot be gone on with
	// Cursor is the end of the last shard; any bytes: the name of an item. A re-scan that is done has none, so that no name outlasts
	// its erasure there.
	Cursor  string
	Planned bool // to the end of the source
}

// Shard is a range of a source: the items after From, up to To, which belongs to it. Cursors are any bytes: names of items. A shard
// that is done has none.
type Shard struct {
	Rescan   RescanID
	Number   int // from 1
	From, To string
	Planned  int64 // items expected, for showing progress; 0: unknown
	Done     bool
	Attempt  int // who took it last
	// Tries is how often it was taken since it was last saved: after the first, each means that a worker died.
	Tries      int
	Cursor     string // the last item that is done; at the start, From
	Counts     RescanCounts
	StartedAt  time.Time
	FinishedAt time.Time
}

// ShardProgress is what a worker has done of a shard since it last saved it.
type ShardProgress struct {
	Rescan   RescanID
	Shard    int
	Attempt  int // as it was taken
	Cursor   string
	Done     bool
	Counts   RescanCounts // of what is between the cursor before and this one
	Hits     []RescanHit
	Failures []RescanFailure
}

// RescanHit is an item that matches. Writers need not set ID, Rescan and Shard.
type RescanHit struct {
	ID     uint64 // ascending, as they were stored
	Rescan RescanID
	Shard  int
	Item   string // its name in the source; any bytes; may be personal data
	Level  string // of the verdict: review, likely or match
	Action string // recommended
	// Verdict is the whole one, as JSON; the matcher gives it meaning.
	Verdict json.RawMessage
	// Entries are those that it matches, each once: RescanHitsOf finds it by them. Readers leave it nil.
	Entries []EntryID
}

// RescanFailure is an item that could not be checked. Writers need not set ID, Rescan and Shard.
type RescanFailure struct {
	ID     uint64
	Rescan RescanID
	Shard  int
	Item   string
	Error  string // cut to MaxRescanError bytes of UTF-8 text
}

// RescanQuery filters a listing of re-scans. Zero fields do not filter.
type RescanQuery struct {
	Before RescanID // only earlier ones
	Limit  int      // 1..1000
	Party  PartyID
	Source string
	State  RescanState
}

// Bounds of re-scans.
const (
	MaxRescanRows  = 1000 // largest page of anything about re-scans; hits with failures of one ShardProgress; shards added at once
	MaxRescanError = 1000 // bytes
	MaxRescanItem  = 4096 // bytes of the name of an item, or of a cursor
	MaxHitEntries  = 1000 // entries of a hit
)

// RescanReader reads re-scan jobs.
type RescanReader interface {
	Rescan(RescanID) (Rescan, error)
	// Rescans lists, newest first, at most q.Limit.
	Rescans(q RescanQuery) ([]Rescan, error)
	// Shards lists those of a re-scan by number, at most limit (1..MaxRescanRows) after a number; with open, only those that are
	// not done.
	Shards(id RescanID, after, limit int, open bool) ([]Shard, error)
	// RescanHits and RescanFailures list those of a re-scan by ID, ascending, at most limit (1..MaxRescanRows) after an ID.
	RescanHits(id RescanID, after uint64, limit int) ([]RescanHit, error)
	// RescanHitsOf lists those of a party's re-scans that match an entry, likewise, without their verdicts.
	RescanHitsOf(party PartyID, entry EntryID, after uint64, limit int) ([]RescanHit, error)
	RescanFailures(id RescanID, after uint64, limit int) ([]RescanFailure, error)
}

// RescanWriter writes re-scan jobs. All methods on one that is not there are ErrNotFound.
type RescanWriter interface {
	// CreateRescan stores party, key, source and options, and sets the rest; ErrNotFound if there is no such party.
	CreateRescan(r *Rescan) error
	// PlanRescan begins an attempt at planning, which ends the right of those before to AddShards; ErrConflict if the re-scan has
	// ended.
	PlanRescan(RescanID) (Rescan, error)
	// AddShards stores how far the source is planned, with the shards up to there, of which From, To and Planned are read; it
	// sets Rescan, Number and Cursor. ErrConflict if the re-scan has ended, is planned to the end, or a later attempt at planning
	// has begun.
	AddShards(id RescanID, attempt int, p Plan, shards []Shard) error
	// TakeShard begins an attempt at a shard, which ends the right of those before to save it; ErrConflict if the shard is done
	// or the re-scan has ended.
	TakeShard(id RescanID, number int) (Rescan, Shard, error)
	// SaveShard stores the cursor of a shard with what was counted and found up to it, and removes its cursors when it is done;
	// ErrConflict if a later attempt has begun, the shard is done or the re-scan has ended. Then nothing is stored.
	SaveShard(p ShardProgress) error
	// EndRescan ends a re-scan: as done, which is ErrConflict unless it is planned and all shards are, and removes its cursor; as
	// cancelled; or as failed, for a reason. To end it again in the same way does nothing; in another, it is ErrConflict.
	EndRescan(id RescanID, as RescanState, reason string) (Rescan, error)
	// ResumeRescan has a re-scan that was cancelled or failed go on; ErrConflict if it was not.
	ResumeRescan(RescanID) (Rescan, error)
	// ExpireRescans removes what is stored of re-scans of the party that ended before a time, oldest first: at most limit
	// (1..MaxRemoved) hits, failures, shards and, when those of one are gone, the re-scan itself. It says how many rows it removed.
	ExpireRescans(party PartyID, before time.Time, limit int) (int, error)
}

// Check reports a limit outside 1..[MaxRescanRows].
func (q RescanQuery) Check() error { return CheckRescanRows(q.Limit) }

// CheckRescanRows reports a limit outside 1..[MaxRescanRows].
func CheckRescanRows(limit int) error {
	return checkRange("limit of a listing of a re-scan", limit, MaxRescanRows)
}

// Check tells what keeps progress from being stored.
func (p ShardProgress) Check() error {
	if n := len(p.Hits) + len(p.Failures); n > MaxRescanRows {
		return fmt.Errorf("%d hits and failures are saved at once, at most %d can be", n, MaxRescanRows)
	}
	if len(p.Cursor) > MaxRescanItem {
		return fmt.Errorf("a cursor of %d bytes, accepted are %d", len(p.Cursor), MaxRescanItem)
	}
	for _, h := range p.Hits {
		switch {
		case len(h.Item) > MaxRescanItem || len(h.Verdict) > MaxVerdict:
			return fmt.Errorf("a hit with a name of %d and a verdict of %d bytes, accepted are %d and %d",
				len(h.Item), len(h.Verdict), MaxRescanItem, MaxVerdict)
		case len(h.Verdict) > 0 && !json.Valid(h.Verdict):
			return errors.New("the verdict of a hit is not JSON")
		case len(h.Entries) > MaxHitEntries:
			return fmt.Errorf("a hit of %d entries, accepted are %d", len(h.Entries), MaxHitEntries)
		}
	}
	for _, f := range p.Failures {
		if len(f.Item) > MaxRescanItem {
			return fmt.Errorf("a failure with a name of %d bytes, accepted are %d", len(f.Item), MaxRescanItem)
		}
	}
	return nil
}

// CheckShards tells what keeps shards from being added.
func CheckShards(p Plan, shards []Shard) error {
	if len(shards) > MaxRescanRows {
		return fmt.Errorf("%d shards are added at once, at most %d can be", len(shards), MaxRescanRows)
	}
	if len(p.Cursor) > MaxRescanItem {
		return fmt.Errorf("a cursor of %d bytes, accepted are %d", len(p.Cursor), MaxRescanItem)
	}
	for _, s := range shards {
		if len(s.From) > MaxRescanItem || len(s.To) > MaxRescanItem {
			return fmt.Errorf("a shard from %d to %d bytes, accepted are %d", len(s.From), len(s.To), MaxRescanItem)
		}
	}
	return nil
}

// RescanError is the text of an error as it is kept: of UTF-8, without NUL, and short.
func RescanError(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	if len(text) > MaxRescanError {
		cut := MaxRescanError
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return text
}

// The steps below are what an implementation does to a re-scan and its shards, so that all do the same.

// CheckEnd tells why a re-scan cannot end as such; again says that it has.
func (r Rescan) CheckEnd(as RescanState) (again bool, err error) {
	switch {
	case !as.Ended():
		return false, fmt.Errorf("a re-scan cannot end as %q", as)
	case r.State == as:
		return true, nil
	case r.State.Ended():
		return false, fmt.Errorf("re-scan %d is %s: %w", r.ID, r.State, ErrConflict)
	case as == RescanDone && (!r.Planned || r.ShardsDone < r.Shards):
		return false, fmt.Errorf("re-scan %d has done %d of %d shards: %w", r.ID, r.ShardsDone, r.Shards, ErrConflict)
	}
	return false, nil
}

// Going is the state of a re-scan that has not ended.
func (p Plan) Going() RescanState {
	if p.Planned {
		return RescanRunning
	}
	return RescanPlanning
}
