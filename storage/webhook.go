package storage

import (
	"fmt"
	"slices"
	"time"
)

// WebhookID numbers webhooks from 1.
type WebhookID uint64

// Webhook is where a party wants to be told of what happens.
type Webhook struct {
	ID    WebhookID
	Party PartyID
	// URL is called; its path and query may hold what only the party should know.
	URL string
	// Kinds of events; in order, without duplicates.
	Kinds []string
	// Secret signs what is sent, so it is kept as it is. During a rotation OldSecret signs, too, until OldUntil.
	Secret    string
	OldSecret string
	OldUntil  time.Time
	// Disabled is why nothing is sent; empty: it is.
	Disabled  string
	CreatedAt time.Time
	// Since is behind what it is told: where the log and the matches were when it was made, or enabled again. Set by the catalogue.
	Since Position
}

// Position is a place in what happens: in the change log, and among the matches as the catalogue got them.
type Position struct {
	Log   uint64 // Seq of a change
	Match uint64 // Ord of a match
}

// Dispatch is how far what happens has been handed on to webhooks, and who does that at present.
type Dispatch struct {
	Position
	Holder string    // a process; empty: none yet
	Until  time.Time // as long as it is not told again
}

// MatchHead is a match as far as it takes to know whose it is, and of which kind.
type MatchHead struct {
	Ord   uint64
	Party PartyID
	Past  bool // a look-back found it
}

// MatchStretch asks for matches of a party, beyond one place and up to another.
type MatchStretch struct {
	Party        PartyID
	After, Until uint64 // Ord
	Past         *bool  // only those that a look-back found, or only those that a check found; nil: both
	Limit        int    // 1..MaxMatches
}

// WebhookReader reads where parties want to be told of what happens.
type WebhookReader interface {
	Webhook(WebhookID) (Webhook, error)
	Webhooks() ([]Webhook, error) // by id
	Dispatch() (Dispatch, error)
	// MatchHeads are those of all parties beyond a place, in order, at most limit (1..MaxEntries).
	MatchHeads(after uint64, limit int) ([]MatchHead, error)
	// MatchesAfter are those of a party within a stretch, in order, without their verdicts.
	MatchesAfter(MatchStretch) ([]MatchRecord, error)
	// ChangeSizes are how many bytes the changes beyond a place hold, in order, at most limit (1..MaxEntries) of them: who reads
	// many asks first, as one may hold a whole video.
	ChangeSizes(after uint64, limit int) ([]int64, error)
	// Present is the place behind all that has happened.
	Present() (Position, error)
}

// WebhookWriter writes it.
type WebhookWriter interface {
	// CreateWebhook sets w.ID, w.CreatedAt and w.Since; ErrNotFound if there is no such party.
	CreateWebhook(w *Webhook) error
	// UpdateWebhook stores all but id, party, CreatedAt and Since. Since is the present if it was disabled and is not any more.
	UpdateWebhook(w Webhook) error
	DeleteWebhook(WebhookID) error
	// TakeDispatch makes a process the one that hands on, for a while; ErrConflict if another one is.
	TakeDispatch(holder string, period time.Duration) (Dispatch, error)
	// Dispatched notes how far its holder has come, and prolongs its hold; ErrConflict if another process has taken it, or it was
	// farther already.
	Dispatched(holder string, to Position, period time.Duration) error
	// LeaveDispatch ends a process's hold, so that another one need not wait for its end; nothing if it has none.
	LeaveDispatch(holder string) error
	// RewindDispatch has all handed on once more that is beyond a place, and ends every hold. It is for a catalogue that was restored
	// with jobs of a moment before its own. It never moves the place on.
	RewindDispatch(to Position) error
}

// WebhookBody is the Body of webhook changes: nothing of where it leads, or what signs.
type WebhookBody struct {
	ID       WebhookID `json:"id"`
	Kinds    []string  `json:"kinds"`
	Disabled string    `json:"disabled,omitempty"`
	// Moved: it leads to another URL. Rotated: it has another secret.
	Moved   bool `json:"moved,omitempty"`
	Rotated bool `json:"rotated,omitempty"`
}

// Normal is the webhook as a catalogue keeps it.
func (w Webhook) Normal() Webhook {
	w.Kinds = slices.Compact(slices.Sorted(slices.Values(w.Kinds)))
	w.OldUntil, w.CreatedAt = KeptTime(w.OldUntil), KeptTime(w.CreatedAt)
	return w
}

// CheckText is ErrInvalid if one of the webhook's texts is.
func (w Webhook) CheckText() error {
	return CheckText("webhook", append([]string{w.URL, w.Secret, w.OldSecret, w.Disabled}, w.Kinds...)...)
}

// Behind reports whether p is behind q in the log or among the matches.
func (p Position) Behind(q Position) bool { return p.Log < q.Log || p.Match < q.Match }

// HeldBeside reports whether another process than holder has the dispatch, where all take it for so long. A hold that ends later
// than they can take it was taken by a clock that was ahead, and counts as over: else nobody would hand on until then.
func (d Dispatch) HeldBeside(holder string, now time.Time, period time.Duration) bool {
	return d.Holder != holder && now.Before(d.Until) && !d.Until.After(now.Add(2*period))
}

// TakenBy returns the dispatch as a process takes it for a while; [ErrConflict] if another one has it. Catalogues share it.
func (d Dispatch) TakenBy(holder string, now time.Time, period time.Duration) (Dispatch, error) {
	if d.HeldBeside(holder, now, period) {
		return d, fmt.Errorf("another process hands events on to webhooks: %w", ErrConflict)
	}
	d.Holder, d.Until = holder, KeptTime(now.Add(period))
	return d, nil
}

// MovedBy returns the dispatch as its holder has carried it on; [ErrConflict] if it is not, or it was farther already. Catalogues
// share it.
func (d Dispatch) MovedBy(holder string, to Position, now time.Time, period time.Duration) (Dispatch, error) {
	if d.Holder != holder || to.Behind(d.Position) {
		return d, fmt.Errorf("another process has handed events on to webhooks: %w", ErrConflict)
	}
	d.Position, d.Until = to, KeptTime(now.Add(period))
	return d, nil
}

// LeftBy returns the dispatch as a process leaves it. Catalogues share it.
func (d Dispatch) LeftBy(holder string) Dispatch {
	if d.Holder == holder {
		d.Holder, d.Until = "", time.Time{}
	}
	return d
}

// Rewound returns the dispatch as it goes back to a place, if it is farther. Catalogues share it.
func (d Dispatch) Rewound(to Position) Dispatch {
	return Dispatch{Position: Position{Log: min(d.Log, to.Log), Match: min(d.Match, to.Match)}}
}

// CheckHeads reports what keeps match heads, or sizes of changes, from being listed.
func CheckHeads(limit int) error { return checkRange("limit", limit, MaxEntries) }

// Check reports a limit outside 1..[MaxMatches].
func (s MatchStretch) Check() error { return checkRange("limit of matches", s.Limit, MaxMatches) }
