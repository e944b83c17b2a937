package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vigie/hashing"
)

// Sentinels that callers test with errors.Is.
var (
	// ErrNotFound: no such bank, entry, key, party, match or blob.
	ErrNotFound = errors.New("not found")
	// ErrExists: a live bank or a party of that name, a key or match of that id, an outcome of that request exists already.
	ErrExists = errors.New("exists already")
	// ErrConflict: the row is in a state that does not allow the step; try the whole step again.
	ErrConflict = errors.New("conflict")
	// ErrCorrupt: what is stored contradicts itself: a gap in the log, a root that does not verify.
	ErrCorrupt = errors.New("corrupt")
	// ErrLocked: another process owns the data folder.
	ErrLocked = errors.New("data folder is in use by another process")
	// ErrRetained: a blob cannot be deleted, as a lock on it lasts.
	ErrRetained = errors.New("retained")
	// ErrUnavailable: the database cannot be used at present. Nothing has happened, unless it is ErrUnknownOutcome.
	ErrUnavailable = errors.New("the database is not available")
	// ErrUnknownOutcome is an ErrUnavailable, too: the database went away while it committed, so that the update has
	// happened wholly or not at all, and who asks later can see which.
	ErrUnknownOutcome = fmt.Errorf("whether the update has happened is not known: %w", ErrUnavailable)
	// ErrClock comes with an ErrUnavailable: a server refuses what this machine asks, since its clock is off.
	ErrClock = errors.New("the clock of this machine is off")
)

type (
	// BankID numbers banks from 1.
	BankID uint32
	// EntryID numbers entries from 1, in the order of creation; gaps are possible.
	EntryID uint64
)

// Policy is a bank's say about its matches. The matcher gives it meaning and validates it.
type Policy struct {
	// Action is recommended for a full match: block, hold, review, redirect, label or log.
	Action string `json:"action"`
	// Radius is the largest distance that counts, by perceptual algorithm; an absent one is not matched.
	Radius map[hashing.Algorithm]int `json:"radius"`
	// SecondVote decides on what PDQ alone does not; the zero value never asks for it.
	SecondVote SecondVote `json:"second_vote,omitzero"`
	// KeepMedia stores the flagged bytes themselves, not only their signals.
	KeepMedia bool `json:"keep_media"`
	// MaxFrames is how many frames of a video an entry stores, each a row or a few; 0: the matcher's default.
	MaxFrames int `json:"max_frames,omitempty"`
	// EnabledRatio is the share of contents that the bank is asked about, 0 to 1, chosen by content; nil: 1.
	EnabledRatio *float64 `json:"enabled_ratio,omitempty"`
	// MinQuality is the least PDQ quality of an upload, 0 to 100, that is matched perceptually.
	MinQuality int `json:"min_quality,omitempty"`
	// Link goes with the action redirect.
	Link string `json:"link,omitempty"`
	// Flood is how many different contents an entry may match perceptually in an hour before it is quarantined;
	// 0: no bound.
	Flood int `json:"flood,omitempty"`
	// Overturn quarantines entries whose matches people overturn; the zero value never does.
	Overturn Overturn `json:"overturn,omitzero"`
}

// Overturn is a bound on the mistakes of an entry.
type Overturn struct {
	Rate float64 `json:"rate"` // of the matches decided about, 0 to 1
	Min  int     `json:"min"`  // decided at least
}

// SecondVote are a policy's thresholds, in bits, for hits of PDQ on which a 64-bit hash of the same
// rendering has a say. What that makes of them is the matcher's rule (vigie/matcher).
type SecondVote struct {
	// Radius is how far PDQ is searched beyond its own radius; not beyond if it is not larger.
	Radius int `json:"radius"`
	// Far is how far PDQ is searched for hits that count only if the vote agrees; off if it is not
	// larger than Radius.
	Far int `json:"far"`
	// PHash and DHash are the largest distances at which these agree.
	PHash int `json:"phash"`
	DHash int `json:"dhash"`
	// Graphic is the PDQ distance beyond which a graphic picture needs the vote even within PDQ's
	// radius; 0: graphics are judged like other pictures.
	Graphic int `json:"graphic"`
}

// Bank is a named collection of entries. Names of banks that are not deleted are unique.
type Bank struct {
	ID          BankID
	Name        string
	Description string
	Owner       PartyID   // who alone may change it; a catalogue takes 0 for [Operator]
	Kind        BankKind  // a catalogue takes none for [Positive]
	Members     []PartyID // further parties that may read it; ascending
	Open        bool      // every party may read it
	Dual        bool      // changes need a second person
	Policy      Policy
	Proposal    *Proposal // that waits for a second person; nil: none
	Deleted     bool
	CreatedAt   time.Time
	Seq         uint64 // of its last change
}

// Status is where an entry stands.
type Status string

// The states of an entry. Only active ones match.
const (
	Proposed    Status = "proposed" // waits for a second person
	Active      Status = "active"
	Quarantined Status = "quarantined" // taken out by itself, by a rule of its bank
	Retracted   Status = "retracted"
	Expired     Status = "expired" // its time has come
)

// Statuses lists the states.
func Statuses() []Status { return []Status{Proposed, Active, Quarantined, Retracted, Expired} }

// Entry is one piece of flagged media.
type Entry struct {
	ID        EntryID
	Bank      BankID
	Status    Status
	ExactOnly bool             // matched by digests alone, because the media cannot be hashed perceptually
	Signals   []hashing.Signal // in order; only added to, see Writer.Extend
	Labels    []string         // in order, without duplicates
	Note      string           // free text; may hold personal data
	Reason    string           // of the last retraction or restoration
	Media     MediaInfo        // what is known of the bytes; zero if flagged by signals alone
	Sources   []Source         // who flagged it, oldest first; at least one
	Proposal  *Proposal        // that waits for a second person; nil: none
	ExpiresAt time.Time        // when it ceases to match, see ExpiryWriter; zero: never
	CreatedAt time.Time
	Seq       uint64 // of its last change
}

// MediaInfo describes the bytes behind an entry.
type MediaInfo struct {
	SHA256        hashing.Value
	Bytes         int64
	Format        string // "" if it is not a known format
	Width, Height int
	Duration      uint32 // of a video, in milliseconds; 0 for a picture
	Kept          bool   // the bytes are in the media store
}

// Source is one flagging of an entry.
type Source struct {
	At     time.Time
	Actor  string // id of the key, or "local"
	Origin string // the caller's reference: a URL, a case number; may hold personal data
	// List names the list or exchange that it came by, and Foreign is its id there. Then At is when it was flagged there, if
	// the list says so.
	List    string
	Foreign string
}

// Role is what a key may do. The matrix is in api.
type Role string

// The roles.
const (
	Platform Role = "platform" // checks
	Analyst  Role = "analyst"  // flags and retracts, checks
	Admin    Role = "admin"    // everything
	Auditor  Role = "auditor"  // reads everything, changes nothing
)

// Roles lists the roles.
func Roles() []Role { return []Role{Platform, Analyst, Admin, Auditor} }

// Key is an API key. Its secret is never stored.
type Key struct {
	ID        string  // public part, 12 characters
	Name      string  // for people; may hold personal data
	Party     PartyID // whom it acts for; a catalogue takes 0 for [Operator]
	Role      Role
	Hash      [32]byte // SHA-256 of the secret
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not revoked
	Seq       uint64
}

// MediaState is the state of a blob's row.
type MediaState string

// A media row is pending before its file is written, live from the transaction of the first entry
// that refers to it, deleting while the sweeper removes an orphan.
const (
	MediaPending  MediaState = "pending"
	MediaLive     MediaState = "live"
	MediaDeleting MediaState = "deleting"
)

// Kind says what a change did.
type Kind string

// Subject is what a change of this kind is about, and numbers with its Seq: "entry", "key", "bank" or "party". Changes of
// other kinds (subscriptions, opinions, decisions ...) may name things, and number none of them: it is "".
func (k Kind) Subject() string {
	switch subject, _, _ := strings.Cut(string(k), "."); subject {
	case "entry", "key", "bank", "party":
		return subject
	}
	return ""
}

// The kinds of changes.
const (
	BankCreated    Kind = "bank.created"
	BankChanged    Kind = "bank.changed"
	BankDeleted    Kind = "bank.deleted"
	BankRestored   Kind = "bank.restored"
	EntryAdded     Kind = "entry.added"
	EntrySourced   Kind = "entry.sourced" // flagged again: one more source, and signals that it lacked
	EntryChanged   Kind = "entry.changed" // labels, note or expiry
	EntryRetracted Kind = "entry.retracted"
	EntryRestored  Kind = "entry.restored"
	KeyCreated     Kind = "key.created"
	KeyRevoked     Kind = "key.revoked"

	EntryProposed    Kind = "entry.proposed"    // a change of it waits for a second person
	EntryConfirmed   Kind = "entry.confirmed"   // by a second person: it is active
	EntryRejected    Kind = "entry.rejected"    // the proposal is dropped; one that was never active is retracted
	EntryQuarantined Kind = "entry.quarantined" // by a rule of its bank
	EntryExpired     Kind = "entry.expired"     // its time has come
	BankProposed     Kind = "bank.proposed"
	BankRejected     Kind = "bank.rejected"
	PartyCreated     Kind = "party.created"
	PartyChanged     Kind = "party.changed"
	SubscriptionSet  Kind = "subscription.set" // of Party to Bank
	OverlaySet       Kind = "overlay.set"      // of Party on Entry
	OpinionGiven     Kind = "opinion.given"    // by Party on Entry
	DecisionMade     Kind = "decision.made"    // by Party on a match
	ContentErased    Kind = "content.erased"   // Party's name of an upload, in its matches
	WebhookCreated   Kind = "webhook.created"  // of Party
	WebhookChanged   Kind = "webhook.changed"
	WebhookDeleted   Kind = "webhook.deleted"

	// What a reader has no right to see; never in a log.
	Redacted Kind = "redacted"
	BankLost Kind = "bank.lost" // takes the reader's right to read the bank
)

// Hash is a node of the log's Merkle tree (golang.org/x/mod/sumdb/tlog: RFC 6962 with SHA-256).
type Hash [32]byte

// Change is one record of the log. Before it is appended, the writer sets Kind, Actor, the subject
// (Bank, Entry, Key, Party as fits), Body and Private; the store sets the rest.
type Change struct {
	Seq   uint64 // dense from 1, in commit order
	At    time.Time
	Kind  Kind
	Actor string // id of the key, "local" (the operator on the machine) or "system"
	Bank  BankID
	Entry EntryID
	Key   string
	Party PartyID
	// Body is the public part as JSON: an EntryBody, BankBody, KeyBody, PartyBody, Subscription, Overlay, OpinionBody,
	// DecisionBody or WebhookBody by Kind.
	Body json.RawMessage
	// Private is personal data as JSON, or nil. The log commits to it by SHA-256(salt || private), so
	// that it can be erased without breaking the tree.
	Private json.RawMessage
	// Salt is the 32 random bytes of that commitment; nil without Private, and erased with it. It is
	// as private as Private: whoever has it can test guesses against the commitment.
	Salt []byte
	// Record is the canonical text whose hash is the leaf; see docs/format/log.md.
	Record []byte
	Root   Hash // of the tree of all changes up to and including this one
	// Leaf is the hash of a Record that the reader may not see: the change is [Redacted], and has nothing else but Seq, At
	// and Root; or [BankLost], which has Bank, too. A catalogue never sets it.
	Leaf *Hash
}

// EntryBody is the Body of entry changes: all that an index needs to follow.
type EntryBody struct {
	Status    Status       `json:"status"`
	ExactOnly bool         `json:"exact_only,omitempty"`
	Labels    []string     `json:"labels,omitempty"`
	Signals   []SignalBody `json:"signals"` // of the entry, whatever its status
	// Proposal is what waits for a second person, without its reason.
	Proposal *Proposal `json:"proposal,omitempty"`
	// Lookback: past uploads are searched for it.
	Lookback bool `json:"lookback,omitempty"`
	// ExpiresAt is when it ceases to match. Who follows the log has nothing to do then: an [EntryExpired] comes.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// SignalBody is a signal in a change.
type SignalBody struct {
	Signal  hashing.Signal  `json:"signal"` // "pdq/cli:<hex>"
	Quality hashing.Quality `json:"quality"`
	Version uint8           `json:"version"`
	Time    uint32          `json:"time_ms,omitempty"`
}

// BodyOf is a signal as a change holds it: its text form leaves out some of its parts.
func BodyOf(s hashing.Signal) SignalBody {
	return SignalBody{Signal: s, Quality: s.Quality, Version: s.Version, Time: s.Time}
}

// Whole is the inverse of [BodyOf].
func (b SignalBody) Whole() hashing.Signal {
	s := b.Signal
	s.Quality, s.Version, s.Time = b.Quality, b.Version, b.Time
	return s
}

// BankBody is the Body of bank changes.
type BankBody struct {
	Name    string    `json:"name"`
	Owner   PartyID   `json:"owner,omitempty"` // 0: the operator, in records from before there were parties
	Kind    BankKind  `json:"kind,omitempty"`  // empty: positive, likewise
	Members []PartyID `json:"members,omitempty"`
	Open    bool      `json:"open,omitempty"`
	Dual    bool      `json:"dual,omitempty"`
	Policy  Policy    `json:"policy"`
	// Proposal is what waits for a second person, without its reason.
	Proposal *Proposal `json:"proposal,omitempty"`
	Deleted  bool      `json:"deleted,omitempty"`
	// Left are the members that could read the bank before this change, and cannot any more. Closed: it was open, so that the
	// same is true of everybody else who is no member. More would tell those who read on which parties there are.
	Left   []PartyID `json:"left,omitempty"`
	Closed bool      `json:"closed,omitempty"`
}

// TookFrom reports whether a change with this body took the bank from a party that could read it.
func (b BankBody) TookFrom(party PartyID) bool {
	return slices.Contains(b.Left, party) || b.Closed && party != b.Owner && !slices.Contains(b.Members, party)
}

// PartyBody is the Body of party changes.
type PartyBody struct {
	Name        string    `json:"name"`
	Kind        PartyKind `json:"kind"`
	KeepMatches int       `json:"keep_matches"`
	HistoryDays int       `json:"history_days,omitempty"`
	Suspended   bool      `json:"suspended,omitempty"`
}

// OpinionBody is the Body of an opinion.
type OpinionBody struct {
	Stance Stance `json:"stance"`
}

// DecisionBody is the Body of a decision.
type DecisionBody struct {
	ID           uint64    `json:"id"`
	Match        string    `json:"match"` // a [MatchID]
	Ruling       Ruling    `json:"ruling"`
	Entries      []EntryID `json:"entries"`
	MatchCorrect *bool     `json:"match_correct,omitempty"`
	LabelCorrect *bool     `json:"label_correct,omitempty"`
	// Quarantined and Disabled are entries that it has taken out, for all and for the party; Inactive are those that matched
	// nobody any more.
	Quarantined []EntryID `json:"quarantined,omitempty"`
	Disabled    []EntryID `json:"disabled,omitempty"`
	Inactive    []EntryID `json:"inactive,omitempty"`
}

// KeyBody is the Body of key changes.
type KeyBody struct {
	Party     PartyID    `json:"party,omitempty"` // 0: the operator
	Role      Role       `json:"role"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// Head is the end of the log.
type Head struct {
	LogID string // 32 hexadecimal digits, drawn when the catalogue was made
	Seq   uint64 // 0: empty
	Root  Hash   // of the empty log: SHA-256 of nothing, as in RFC 6962
}

// Log is the change log, read.
type Log interface {
	// Head is the last committed change.
	Head(ctx context.Context) (Head, error)
	// Changes returns at most limit changes with Seq > after, in order, without a gap.
	Changes(ctx context.Context, after uint64, limit int) ([]Change, error)
	// Wait returns nil when the head is beyond after, or ctx's error. It may return nil early. Closing
	// the catalogue ends it with an error.
	Wait(ctx context.Context, after uint64) error
}

// Catalogue is the truth: banks, entries, keys, and the log that every change of them goes through.
// Methods are safe for concurrent use; after Close they return os.ErrClosed. Times are kept in UTC to
// the millisecond. What is handed in and handed out is never shared with the catalogue.
type Catalogue interface {
	Log
	// View runs fn on one consistent state. The Reader must not be kept. fn must not read from the
	// catalogue by other means than the Reader: readers may be limited in number, and one that waits
	// for a second place could wait for ever. If ctx ends before there is a place, its error is returned.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn in one transaction, all or nothing: if it returns nil, everything that fn did is
	// durable (power loss included) and visible. What fn appended gets its Seq in commit order; the
	// *Change that fn handed over is filled in. If fn fails, its error is returned unwrapped and
	// nothing has happened. fn may be run again if the database asks for it, so it must not have
	// effects of its own, and it must not call Update. If ctx ends before fn has started, its error is
	// returned and fn is not run; a fn that has started runs to the end. The Writer must not be kept.
	//
	// Updates run one after the other, those of other processes on the same catalogue included: fn sees all that those before
	// it did, and nothing changes while it runs. So fn should be quick. If the database goes away or does not answer, Update
	// fails with ErrUnavailable, and nothing has happened; if that was during the commit, with ErrUnknownOutcome. The
	// next Update connects anew; View, Head and Changes fail with ErrUnavailable likewise.
	Update(ctx context.Context, fn func(Writer) error) error
	// Close waits for running transactions and releases the data.
	Close() error
}

// Reader reads one consistent state. A missing thing is ErrNotFound.
type Reader interface {
	NodeReader
	RescanReader
	WebhookReader
	LookbackReader
	ExpiryReader

	// Head is the last committed change; what this transaction has appended is not counted yet.
	Head() (Head, error)
	Bank(BankID) (Bank, error)
	// BankNamed is the owner's bank of that name that is not deleted; else its one of that name with the highest Seq.
	BankNamed(owner PartyID, name string) (Bank, error)
	Banks() ([]Bank, error) // by id, deleted ones included
	Entry(EntryID) (Entry, error)
	// Entries lists by id, ascending, at most q.Limit with id > q.After, with all their parts.
	Entries(q EntryQuery) ([]Entry, error)
	// EntriesWithAny is EntriesWith for each of some signals, at most MaxEntries, in their order.
	EntriesWithAny(bank BankID, signals []hashing.Signal) ([][]EntryID, error)
	// EntriesWith returns the ids of entries of the bank, in any status, one of whose signals has
	// this algorithm, variant and value; ascending.
	EntriesWith(bank BankID, s hashing.Signal) ([]EntryID, error)
	// Labels returns the labels of these entries, in order, at most MaxLabels entries at once. An entry
	// that is not there or has no labels is absent from the map, which is never nil without an error.
	Labels(ids []EntryID) (map[EntryID][]string, error)
	Key(id string) (Key, error)
	Keys() ([]Key, error) // by creation

	Party(PartyID) (Party, error)
	PartyNamed(name string) (Party, error)
	Parties() ([]Party, error)              // by id; [Operator] is there from the start
	Subscriptions() ([]Subscription, error) // by party and bank
	Overlays() ([]Overlay, error)           // by party and entry
	// Alarms are the parties for which an entry is disabled by [Writer.Disable] with an alarm since a time, ascending.
	Alarms(entry EntryID, since time.Time) ([]PartyID, error)
	// Opinions are those on these entries, at most MaxLabels at once, oldest first (of one time, by party). The map is
	// never nil without an error.
	Opinions(ids []EntryID) (map[EntryID][]Opinion, error)
	// Remembered finds what [Writer.Remember] stored; ErrNotFound.
	Remembered(scope, key string) (Remembered, error)

	Match(MatchID) (MatchRecord, error)
	// Matches lists, newest first by Ord, at most q.Limit, without their verdicts.
	Matches(q MatchQuery) ([]MatchRecord, error)
	// Decisions are those on these matches, at most MaxMatches at once, oldest first. The map is never nil without an error.
	Decisions(ids []MatchID) (map[MatchID][]Decision, error)
	// Counters count for these entries, at most MaxLabels at once, as of the present; one without matches is absent. The
	// map is never nil without an error.
	Counters(ids []EntryID) (map[EntryID]Counters, error)
	// Judgements are the newest on an entry's matches of a party, at most limit (1..MaxMatches), by decision, descending: of
	// matches in which it counted, since [Writer.Clear].
	Judgements(entry EntryID, party PartyID, limit int) ([]Judgement, error)
	// Judges are the parties that have Judgements on an entry, ascending.
	Judges(EntryID) ([]PartyID, error)
	// Statuses are those of these entries, at most MaxLabels at once, with what the party's overlays say; one that is not
	// there is absent. The map is never nil without an error.
	Statuses(party PartyID, ids []EntryID) (map[EntryID]EntryStatus, error)
	// Shipped is the number of the last record of the node's journal that the catalogue has; 0: none.
	Shipped(node string) (uint64, error)
	// SignIns lists, newest first by Ord, at most q.Limit.
	SignIns(q SignInQuery) ([]SignIn, error)
}

// EntryQuery filters a listing. Zero fields do not filter.
type EntryQuery struct {
	After EntryID
	Limit int // 1..10000
	Bank  BankID
	// Banks: only of these; nil does not filter, an empty list finds nothing.
	Banks  []BankID
	Status Status
	Label  string
	// Waiting: only those with a Proposal.
	Waiting bool
}

// Writer changes the state inside a transaction, and reads it as changed. All texts have to be UTF-8 without NUL bytes: ErrInvalid.
//
// A database that is elsewhere may run what has no result later than it was called, but before whatever is read: what it makes
// impossible then fails the next call, or the update.
type Writer interface {
	Reader
	NodeWriter
	RescanWriter
	WebhookWriter
	LookbackWriter
	ExpiryWriter

	// CreateBank sets b.ID, b.CreatedAt, and the owner and kind that it takes for none; ErrExists if a bank of that
	// name is not deleted, ErrNotFound if there is no such owner.
	CreateBank(b *Bank) error
	// UpdateBank stores all but id, owner, kind, CreatedAt and Seq; ErrExists as above.
	UpdateBank(b Bank) error
	// CreateEntry sets e.ID, e.CreatedAt, and At of its sources unless it is given; ErrNotFound if there is no such bank.
	CreateEntry(e *Entry) error
	// CreateEntries is CreateEntry for many, at most MaxEntries, in their order; it is quicker. If there is no such
	// bank, or one is not valid, none is stored.
	CreateEntries(entries []*Entry) error
	// UpdateEntry stores status, labels, note, reason, proposal and expiry. Signals, media and sources stay.
	UpdateEntry(e Entry) error
	// Extend appends signals to an entry, except those that it has already by algorithm, variant,
	// value and time, and sets its media if it has none (a zero MediaInfo); ErrNotFound.
	Extend(id EntryID, signals []hashing.Signal, media MediaInfo) error
	// AddSource adds a source, with the present time unless its own is given.
	AddSource(EntryID, Source) error
	// CreateKey sets k.CreatedAt, and the party that it takes for none; ErrExists if a key has that id, ErrNotFound if
	// there is no such party.
	CreateKey(k *Key) error
	UpdateKey(k Key) error // name, expiry, revocation
	// Append adds a change to the log as part of this transaction. After the commit, c is filled in, and Seq of its
	// subject ([Kind.Subject]) is c.Seq. c must stay as it is until then. Update fails with ErrNotFound if there is no
	// such subject.
	Append(c *Change) error

	// CreateParty sets p.ID and p.CreatedAt; ErrExists if a party has that name.
	CreateParty(p *Party) error
	// UpdateParty stores name, kind, KeepMatches, HistoryDays and Suspended; ErrExists as above.
	UpdateParty(p Party) error
	// SetSubscription puts it in the place of the one before; ErrNotFound if there is no such party or bank.
	SetSubscription(s Subscription) error
	// SetOverlay puts it in the place of the one before; an empty one removes it. ErrNotFound if there is no such party
	// or entry.
	SetOverlay(o Overlay) error
	// Disable disables an entry for a party until Clear, and leaves the labels of its overlay as they are; it returns the
	// overlay. With alarm, [Reader.Alarms] names the party from now on, as long as the overlay stands. ErrNotFound as above.
	Disable(party PartyID, entry EntryID, alarm bool) (Overlay, error)
	// SetOpinion sets At to the present, and puts it in the place of the party's one before; ErrNotFound if there is no
	// such party or entry.
	SetOpinion(o Opinion) error
	// Remember stores the outcome of a request with this transaction. It sets At; after the commit, Seq is that of the
	// last change that the update appended. ErrExists if there is one of that scope and key.
	Remember(r Remembered) error
	// Forget removes at most limit (1..MaxRemoved) outcomes from before a time, oldest first, and says how many.
	Forget(before time.Time, limit int) (int, error)

	// AddMatches stores matches of one node, in the order of their numbers, all beyond Shipped, and counts them for their
	// entries; ErrExists if there is one of them already. They may name parties, entries and banks that are not there: a
	// journal outlives a catalogue restored from a backup. One of a past upload is left out if the entry has a match of that
	// upload already: it was found twice; and one that is [MatchRecord.ErasedBy] an erasure which is still there is stored without its name.
	AddMatches(node string, matches []MatchRecord) error
	// AddSignIns likewise stores sign-ins.
	AddSignIns(node string, signIns []SignIn) error
	// SetShipped notes how far the node's journal is in the catalogue; ErrConflict if it was farther already.
	SetShipped(node string, number uint64) error
	// AddDecision sets d.ID and d.At. For each of its entries, it counts in the place of the last decision on the match
	// that named the entry, as [Ruling.After] has it. ErrNotFound if there is no such match, or it has no such entry.
	AddDecision(d *Decision) error
	// Clear has what was decided about an entry so far count no more for its Judgements, ends its Alarms, and takes back what
	// Disable did and SetOverlay has not said since. It returns the overlays that it changed, by party; some may be empty.
	Clear(EntryID) ([]Overlay, error)
	// EraseContent takes a name of an upload out of the party's matches, and out of what its re-scans found and could not check, and
	// says of how many.
	EraseContent(party PartyID, content string) (int, error)
	// ExpireMatches removes at most limit (1..MaxRemoved) matches of the party, with their decisions, from before a time,
	// oldest first, and says how many; the counters stay. ExpireSignIns likewise removes sign-ins of all parties.
	ExpireMatches(party PartyID, before time.Time, limit int) (int, error)
	ExpireSignIns(before time.Time, limit int) (int, error)

	// MediaPend notes that the bytes are about to be written: a new row is pending, a pending one is
	// touched, a live one stays live (live is reported). ErrConflict if it is being deleted.
	MediaPend(sha hashing.Value, size int64) (live bool, err error)
	// MediaLive makes a pending (or live) row live; ErrConflict if it is neither.
	MediaLive(sha hashing.Value) error
	// MediaSweep marks rows pending since before the time as deleting, and returns all deleting ones.
	MediaSweep(before time.Time) ([]hashing.Value, error)
	// MediaGone removes a deleting row; a missing one is no error, one in another state ErrConflict.
	MediaGone(sha hashing.Value) error
}

// Blobs keeps media, addressed by the SHA-256 of their bytes. Methods are safe for concurrent use.
type Blobs interface {
	// Put stores data durably before it returns. Storing what is there already is no error. Data of
	// another SHA-256 is refused with ErrCorrupt.
	Put(ctx context.Context, sha hashing.Value, data []byte) error
	// Open reads a blob; ErrNotFound.
	Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error)
	// Delete removes a blob; a missing one is no error.
	Delete(ctx context.Context, sha hashing.Value) error
}
