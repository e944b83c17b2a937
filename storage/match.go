package storage

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MatchID names a match: the node that found it, and its number in the journal of that node.
type MatchID struct {
	Node   string // 8 hexadecimal digits
	Number uint64
}

// String is the text form, "a1b2c3d4-17".
func (id MatchID) String() string { return id.Node + "-" + strconv.FormatUint(id.Number, 10) }

// ParseMatchID is the inverse of [MatchID.String].
func ParseMatchID(s string) (MatchID, error) {
	node, number, _ := strings.Cut(s, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	id := MatchID{node, n}
	if err != nil || len(node) != 8 || strings.Trim(node, "0123456789abcdef") != "" || id.String() != s || n > 1<<63-1 {
		return MatchID{}, fmt.Errorf("%q is not the id of a match, such as a1b2c3d4-17", s)
	}
	return id, nil
}

// MatchRecord is a check that found something, as the journal tells it.
type MatchRecord struct {
	ID    MatchID
	Ord   uint64 // in the order in which the catalogue got them; set by it
	At    time.Time
	Party PartyID
	Key   string // that asked; "local"
	// ContentID is the platform's name for the upload; empty if it gave none, or it was erased. It may be personal data.
	ContentID string
	Level     string // of the verdict
	Action    string
	IndexSeq  uint64
	// Bare: hashes came that are not of media that came, too. They can be made up.
	Bare    bool         `json:",omitempty"`
	Entries []MatchEntry // that matched, strongest first, each once
	// Past is the upload that a look-back found; nil: a check found it. Such a match has one entry.
	Past *PastUpload `json:",omitempty"`
	// Verdict is the answer as it was given, as JSON, but for the signals and the digest of the upload, and for ContentID,
	// which could not be erased from it.
	Verdict json.RawMessage
}

// MatchEntry is one entry of a match.
type MatchEntry struct {
	Entry EntryID
	Bank  BankID
	Level string
	// Exact: the bytes are the same.
	Exact bool
}

// MatchQuery filters matches. Zero fields do not filter.
type MatchQuery struct {
	Before  uint64 // Ord: only those that came earlier
	Limit   int    // 1..MaxMatches
	Party   PartyID
	From    time.Time
	Until   time.Time // exclusive
	Bank    BankID
	Entry   EntryID
	Level   string
	Content string
	// Standing: only those in which the last decision about one of these entries (of these banks, or any) is [Removed].
	Standing bool
}

// Ruling is what a platform did about a match.
type Ruling string

// The rulings.
const (
	Removed    Ruling = "removed"
	Kept       Ruling = "kept"
	Exempt     Ruling = "exempt"      // the match is right, and the context allows it: news, research, art
	WrongMatch Ruling = "wrong_match" // the upload is something else than the entry
	BadHash    Ruling = "bad_hash"    // the entry should not be there
	Restored   Ruling = "restored"    // what was removed is back
)

// Rulings lists the rulings.
func Rulings() []Ruling { return []Ruling{Removed, Kept, Exempt, WrongMatch, BadHash, Restored} }

// Confirms reports whether the ruling says that the match is right.
func (r Ruling) Confirms() bool { return r == Removed || r == Exempt }

// Overturns reports whether the ruling says that the match was a mistake.
func (r Ruling) Overturns() bool { return r == WrongMatch || r == BadHash }

// After is the ruling that counts when r follows one on the same entry. To put back what was removed says nothing of the
// match: what was said to be wrong stays wrong.
func (r Ruling) After(before Ruling) Ruling {
	if r == Restored && before.Overturns() {
		return before
	}
	return r
}

// Decision is a ruling on a match. A later one takes the place of the one before, which stays on record.
type Decision struct {
	ID     uint64
	Match  MatchID
	Party  PartyID
	Ruling Ruling
	// Entries are those of the match that it is about; at least one.
	Entries []EntryID
	// MatchCorrect and LabelCorrect are asked apart: is it the same media; do the labels fit. nil: not said.
	MatchCorrect *bool
	LabelCorrect *bool
	Reason       string // free text; may hold personal data
	Actor        string
	At           time.Time
}

// Judgement is what the ruling that counts ([Ruling.After]) says of an entry's match: it was right, or wrong.
type Judgement struct {
	Decision  uint64 // its ID
	Match     MatchID
	Party     PartyID // of the match
	ContentID string  // of the match
	Bare      bool    // of the match
	Wrong     bool
}

// EntryStatus is where an entry stands at present.
type EntryStatus struct {
	Status      Status
	Reason      string // of the last retraction, restoration or quarantine
	BankDeleted bool
	Disabled    bool // by the overlay of the party that was asked for
}

// Counters count what an entry did. A match is decided about by the ruling that counts ([Ruling.After]).
type Counters struct {
	Hour, Day  uint64 // matches in the present [CountStep] and the 11 or 287 before it
	Total      uint64 // matches ever
	Confirmed  uint64 // matches whose decision says that they are right
	Overturned uint64 // matches whose decision says that they are wrong
}

// CountStep is the time in which matches are counted together. Steps begin at the full hour.
const CountStep = 5 * time.Minute

// StepOf numbers the step in which a match is counted; one from the future counts as of the present.
func StepOf(at, now time.Time) int64 {
	if at.After(now) {
		at = now
	}
	return at.UnixMilli() / CountStep.Milliseconds()
}

// The steps of an hour and of a day.
const (
	HourSteps = int64(time.Hour / CountStep)
	DaySteps  = 24 * HourSteps
)

// SignIn is the first use of a key, from an address, in an hour on a node.
type SignIn struct {
	ID      MatchID // of the journal; the kinds of its records share the numbers
	Ord     uint64  // in the order in which the catalogue got them; set by it
	At      time.Time
	Key     string
	Party   PartyID
	Address string // shortened, see vigie/api; may be personal data
}

// SignInQuery filters sign-ins. Zero fields do not filter.
type SignInQuery struct {
	Before uint64 // Ord: only those that came earlier
	Limit  int    // 1..MaxMatches
	Party  PartyID
	From   time.Time
	Until  time.Time // exclusive
}
