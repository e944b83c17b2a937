package matcher

import (
	"context"
	"fmt"
	"slices"

	"vigie/storage"
)

// Standing is what all parties together say of an entry; the words are python-threatexchange's.
type Standing string

// The standings.
const (
	Seed          Standing = "seed"     // nobody but its owner has said anything
	PositiveClass Standing = "positive" // others agree, and nobody disagrees
	NegativeClass Standing = "negative" // its owner takes it back, and nobody stands by it
	Disputed      Standing = "disputed" // some agree, or its owner stands by it, and some disagree
)

// Tally counts the opinions on an entry.
type Tally struct {
	Agree, Disagree, Saw int
	Standing             Standing
}

// tally counts opinions on an entry of a party's bank. Flagging it counts as the owner's agreement, unless the owner
// disagrees since.
func tally(opinions []storage.Opinion, owner storage.PartyID) (t Tally) {
	ownerDisagrees := false
	for _, o := range opinions {
		switch o.Stance {
		case storage.Agree:
			t.Agree++
		case storage.Disagree:
			t.Disagree++
			ownerDisagrees = ownerDisagrees || o.Party == owner
		case storage.Saw:
			t.Saw++
		}
	}
	switch {
	case t.Disagree > 0 && ownerDisagrees && t.Agree == 0:
		t.Standing = NegativeClass
	case t.Disagree > 0:
		t.Standing = Disputed
	case slices.ContainsFunc(opinions, func(o storage.Opinion) bool { return o.Stance == storage.Agree && o.Party != owner }):
		t.Standing = PositiveClass
	default:
		t.Standing = Seed
	}
	return t
}

// Opine says what who's party thinks of an entry, in the place of what it said before. ErrUnknownEntry, ErrForeign for an
// entry that the party is not given to read, [*InputError].
func (m *Matcher) Opine(ctx context.Context, who Principal, id storage.EntryID, stance storage.Stance, reason string) error {
	if !slices.Contains([]storage.Stance{storage.Agree, storage.Disagree, storage.Saw}, stance) {
		return invalid("stance", "%q; accepted are agree, disagree, saw", stance)
	}
	if stance == storage.Disagree && reason == "" {
		return invalid("reason", "none; say why you disagree in 1 to %d bytes", maxReason)
	}
	if err := checkLength("reason", reason, maxReason); err != nil {
		return err
	}
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		_, b, err := entryFor(w, who, id)
		if err == nil && !belongs(who.Party, b) {
			err = fmt.Errorf("%w: entry %d", ErrForeign, id)
		}
		if err != nil {
			return nil, err
		}
		c := storage.Change{Kind: storage.OpinionGiven, Actor: who.Actor, Bank: b.ID, Entry: id, Party: who.Party}
		o := storage.Opinion{Entry: id, Party: who.Party, Stance: stance, Reason: reason, Actor: who.Actor}
		return draft(c, storage.OpinionBody{Stance: stance}, private{Reason: reason}), w.SetOpinion(o)
	})
	if err != nil {
		return err
	}
	m.settle(ctx, done.Seq)
	return nil
}

// Opinions are what was said of an entry, oldest first: by all parties for its owner and who oversees, else the own party's
// alone; and the sums. ErrUnknownEntry.
func (m *Matcher) Opinions(ctx context.Context, who Principal, id storage.EntryID) (own []storage.Opinion, t Tally, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		_, b, err := entryFor(r, who, id)
		if err != nil {
			return err
		}
		all, err := r.Opinions([]storage.EntryID{id})
		if err != nil {
			return err
		}
		t = tally(all[id], b.Owner)
		for _, o := range all[id] {
			if o.Party == who.Party || b.Owner == who.Party || who.Oversees() {
				own = append(own, o)
			}
		}
		return nil
	})
	return own, t, err
}
