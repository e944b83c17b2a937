package storage

import (
	"encoding/json"
	"time"

	"vigie/hashing"
)

// PartyID numbers parties from 1.
type PartyID uint32

// Operator is the party that runs the catalogue. It is there from the start, and owns what was made before there
// were others.
const Operator PartyID = 1

// NewOperator is the operator as a catalogue begins with it.
func NewOperator(o Options) Party {
	return Party{ID: Operator, Name: "operator", Kind: PlatformParty, KeepMatches: 180, CreatedAt: o.Time()}
}

// PartyKind says what a party is.
type PartyKind string

// The kinds of parties.
const (
	PlatformParty PartyKind = "platform"
	Authority     PartyKind = "authority"
	CivilSociety  PartyKind = "civil_society"
	Exchange      PartyKind = "exchange"
)

// PartyKinds lists the kinds.
func PartyKinds() []PartyKind {
	return []PartyKind{PlatformParty, Authority, CivilSociety, Exchange}
}

// Party is an organisation: keys act for one, banks belong to one. Names are unique.
type Party struct {
	ID   PartyID
	Name string
	Kind PartyKind
	// KeepMatches is how many days the journal of its matches is kept.
	KeepMatches int
	// HistoryDays is how many days its uploads are kept in the upload history, so that they are found when something becomes
	// known later; 0: they are not.
	HistoryDays int
	// Suspended: its keys are refused, and its banks match nothing.
	Suspended bool
	CreatedAt time.Time
	Seq       uint64 // of its last change
}

// Subscription is a party's say over a bank, its own or one that it may read. Without one, a party's own banks
// count as they are, and others not at all.
type Subscription struct {
	Party PartyID `json:"party"`
	Bank  BankID  `json:"bank"`
	On    bool    `json:"on"`
	// Cap bounds the distance at which a hit may count, by algorithm, whatever the bank says; one left out is not bounded.
	Cap map[hashing.Algorithm]int `json:"cap,omitempty"`
	// Action takes the place of the bank's; empty: see vigie/matcher.
	Action string `json:"action,omitempty"`
	// Link goes with the action redirect, in place of the bank's.
	Link string `json:"link,omitempty"`
}

// Overlay is what a party holds of an entry for itself, without touching it: of its own, or of a bank that it may read.
type Overlay struct {
	Party    PartyID  `json:"party"`
	Entry    EntryID  `json:"entry"`
	Disabled bool     `json:"disabled,omitempty"` // it matches nothing for the party
	Labels   []string `json:"labels"`             // in place of the entry's; nil: as they are
}

// Empty reports whether the overlay says nothing; it is not kept then.
func (o Overlay) Empty() bool { return !o.Disabled && o.Labels == nil }

// Stance is what a party says of an entry.
type Stance string

// The stances.
const (
	Agree    Stance = "agree"
	Disagree Stance = "disagree"
	Saw      Stance = "saw" // met it too, and says nothing of its rightness
)

// Opinion is a party's word on an entry; a later one takes the place of the one before.
type Opinion struct {
	Entry  EntryID
	Party  PartyID
	Stance Stance
	Reason string // free text; may hold personal data
	Actor  string
	At     time.Time
}

// Proposal is a change that waits for a second person.
type Proposal struct {
	Kind   Kind      `json:"kind"` // of the change that it would be
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"` // free text; may hold personal data
	// Bank is how the bank would be; nil for proposals about an entry.
	Bank *ProposedBank `json:"bank,omitempty"`
	// Labels are the entry's as they would be, of a proposed [EntryChanged].
	Labels []string `json:"labels,omitempty"`
	// ExpiresAt is the entry's as it would be, likewise; zero: never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// ProposedBank is the part of a bank that people change.
type ProposedBank struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Policy      Policy    `json:"policy"`
	Members     []PartyID `json:"members,omitempty"`
	Open        bool      `json:"open,omitempty"`
	Dual        bool      `json:"dual,omitempty"`
	Deleted     bool      `json:"deleted,omitempty"`
}

// BankKind says what a match with a bank means.
type BankKind string

// The kinds of banks.
const (
	Positive  BankKind = "positive"   // what is not wanted
	KnownGood BankKind = "known_good" // what must not be taken for it
	TestBank  BankKind = "test"       // matches are shown, and change no verdict
)

// BankKinds lists the kinds.
func BankKinds() []BankKind { return []BankKind{Positive, KnownGood, TestBank} }

// Remembered is the outcome of a request that may come again: see [Writer.Remember].
type Remembered struct {
	Scope  string // who asked for what: key id and route
	Key    string // the caller's
	Digest Hash   // of the request
	// Outcome is what the request did, as JSON; the matcher gives it meaning.
	Outcome json.RawMessage
	Seq     uint64 // of the change that it made; 0: none
	At      time.Time
}
