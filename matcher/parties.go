package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"vigie/hashing"
	"vigie/storage"
)

// PartyEdit changes what is not nil.
type PartyEdit struct {
	Name        *string
	Kind        *storage.PartyKind
	KeepMatches *int
	HistoryDays *int
	Suspended   *bool
}

const (
	usualKeepMatches = 180  // days; six months, as Regulation (EU) 2021/784, Art. 6, has what was removed preserved
	maxKeepMatches   = 3650 // days
	maxHistoryDays   = 3650
)

func (e PartyEdit) apply(p *storage.Party) error {
	set(&p.Name, e.Name)
	set(&p.Kind, e.Kind)
	set(&p.KeepMatches, e.KeepMatches)
	set(&p.HistoryDays, e.HistoryDays)
	set(&p.Suspended, e.Suspended)
	switch {
	case !bankName.MatchString(p.Name):
		return invalid("name", `%q; accepted are 1 to 64 letters, digits, "_", "." or "-"`, p.Name)
	case !slices.Contains(storage.PartyKinds(), p.Kind):
		return invalid("kind", "%q; accepted are platform, authority, civil_society, exchange", p.Kind)
	case p.KeepMatches < 1 || p.KeepMatches > maxKeepMatches:
		return invalid("keep_matches", "%d days; accepted are 1 to %d", p.KeepMatches, maxKeepMatches)
	case p.HistoryDays < 0 || p.HistoryDays > maxHistoryDays:
		return invalid("history_days", "%d; accepted are 0, which keeps no uploads, to %d", p.HistoryDays, maxHistoryDays)
	case p.ID == storage.Operator && p.Suspended:
		return invalid("suspended", "the operator's own party cannot be")
	}
	return nil
}

// CreateParty makes a party. Only for the operator. ErrOperator, ErrPartyExists, [*InputError].
func (m *Matcher) CreateParty(ctx context.Context, who Principal, edit PartyEdit) (storage.Party, error) {
	return m.changeParty(ctx, who, storage.PartyCreated, func(w storage.Writer) (storage.Party, error) {
		p := storage.Party{Kind: storage.PlatformParty, KeepMatches: usualKeepMatches}
		if err := edit.apply(&p); err != nil {
			return p, err
		}
		return p, w.CreateParty(&p)
	})
}

// ChangeParty edits a party. A party's admins say how long its matches and its uploads are kept; all else is for the operator.
// ErrUnknownParty, ErrOperator, ErrPartyExists, [*InputError].
func (m *Matcher) ChangeParty(ctx context.Context, who Principal, name string, edit PartyEdit) (storage.Party, error) {
	return m.changeParty(ctx, who, storage.PartyChanged, func(w storage.Writer) (storage.Party, error) {
		before, err := w.PartyNamed(name)
		if err != nil {
			return before, translate(err, ErrUnknownParty, name)
		}
		p := before
		if err := edit.apply(&p); err != nil {
			return p, err
		}
		keep := p
		keep.KeepMatches, keep.HistoryDays = before.KeepMatches, before.HistoryDays
		switch {
		case p == before:
			return p, errUnchanged
		case !who.runs() && (p.ID != who.Party || keep != before):
			return p, ErrOperator
		}
		return p, w.UpdateParty(p)
	})
}

func (m *Matcher) changeParty(ctx context.Context, who Principal, kind storage.Kind, fn func(storage.Writer) (storage.Party, error)) (storage.Party, error) {
	if kind == storage.PartyCreated && !who.runs() {
		return storage.Party{}, ErrOperator
	}
	var party storage.Party
	done, err := m.update(ctx, func(w storage.Writer) (_ *storage.Change, err error) {
		if party, err = fn(w); errors.Is(err, errUnchanged) {
			return &storage.Change{Party: party.ID}, nil
		} else if errors.Is(err, storage.ErrExists) {
			return nil, fmt.Errorf("%w: %s", ErrPartyExists, party.Name)
		} else if err != nil {
			return nil, err
		}
		return draft(storage.Change{Kind: kind, Actor: who.Actor, Party: party.ID}, partyBody(party), private{}), nil
	})
	if err != nil {
		return storage.Party{}, err
	}
	if done.replayed {
		err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
			party, err = r.Party(done.Party)
			return err
		})
	} else if done.Seq > 0 {
		party.Seq = done.Seq
		m.settle(ctx, done.Seq)
	}
	return party, err
}

func partyBody(p storage.Party) storage.PartyBody {
	return storage.PartyBody{Name: p.Name, Kind: p.Kind, KeepMatches: p.KeepMatches, HistoryDays: p.HistoryDays, Suspended: p.Suspended}
}

func loggedParty(id storage.PartyID, b storage.PartyBody, seq uint64) storage.Party {
	return storage.Party{ID: id, Name: b.Name, Kind: b.Kind, KeepMatches: b.KeepMatches, HistoryDays: b.HistoryDays, Suspended: b.Suspended, Seq: seq}
}

// Subscription is a party's say over a bank, with the bank.
type Subscription struct {
	storage.Subscription
	Bank  storage.Bank
	Party storage.Party
	Said  bool           // false: the party has said nothing, and this is what goes without saying
	Count storage.Policy // the policy that counts, if it is on
}

// Subscriptions are those of who's party to all the banks that it may subscribe to, by bank. ErrNotReady.
func (m *Matcher) Subscriptions(who Principal) ([]Subscription, error) {
	state, err := m.state()
	if err != nil {
		return nil, err
	}
	subs := []Subscription{}
	for _, id := range slices.Sorted(maps.Keys(state.Banks)) {
		if b := state.Banks[id]; !b.Deleted && belongs(who.Party, b) {
			subs = append(subs, state.subscription(who.Party, b))
		}
	}
	return subs, nil
}

func (s *State) subscription(party storage.PartyID, b storage.Bank) Subscription {
	own := b.Owner == party
	sub, said := s.Subscriptions[seat{party, b.ID}]
	if !said {
		sub = storage.Subscription{Party: party, Bank: b.ID, On: own}
	}
	return Subscription{Subscription: sub, Bank: b, Party: s.Parties[party], Said: said, Count: subscribed(b, sub, own)}
}

// SubscriptionEdit changes what is not nil.
type SubscriptionEdit struct {
	On     *bool
	Cap    *map[hashing.Algorithm]int
	Action *string // empty: the bank's own if the party owns it, else review
	Link   *string
}

// Subscribe sets what who's party makes of a bank. ErrUnknownBank, [*InputError], also for what takes a second person, as the
// bank is the party's own.
func (m *Matcher) Subscribe(ctx context.Context, who Principal, bank string, edit SubscriptionEdit) (Subscription, error) {
	var id storage.BankID
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		b, err := liveBank(w, who, bank)
		if err == nil && !belongs(who.Party, b) {
			err = fmt.Errorf("%w: %s; its owner has not shared it with your party", ErrForeign, bank)
		}
		if err != nil {
			return nil, err
		}
		id = b.ID
		all, err := w.Subscriptions()
		if err != nil {
			return nil, err
		}
		sub := storage.Subscription{Party: who.Party, Bank: b.ID, On: true}
		if i := slices.IndexFunc(all, func(s storage.Subscription) bool { return s.Party == sub.Party && s.Bank == sub.Bank }); i >= 0 {
			sub = all[i]
		}
		set(&sub.On, edit.On)
		set(&sub.Cap, edit.Cap)
		set(&sub.Action, edit.Action)
		set(&sub.Link, edit.Link)
		if err := cmp.Or(checkSubscription(sub, b), subscribedAroundDual(sub, b)); err != nil {
			return nil, err
		}
		return draft(storage.Change{Kind: storage.SubscriptionSet, Actor: who.Actor, Bank: b.ID, Party: who.Party}, sub, private{}), w.SetSubscription(sub)
	})
	if err != nil {
		return Subscription{}, err
	}
	if done.replayed {
		id = done.Bank
	}
	m.settle(ctx, done.Seq)
	state, err := m.state()
	if err != nil {
		return Subscription{}, err
	}
	return state.subscription(who.Party, state.Banks[id]), nil
}

func checkSubscription(s storage.Subscription, b storage.Bank) error {
	for a, r := range s.Cap {
		if !a.Valid() || a.Exact() || r < 0 || r > MaxRadius(a) {
			return invalid("cap", "%d for %s; accepted are 0 to 64 for pdq, 0 to 16 for phash, dhash, ahash", r, a)
		}
	}
	if s.Action == "" {
		return checkLink(s.Link, "")
	}
	if _, err := ParseAction(s.Action); err != nil {
		return err
	}
	if s.Action == ActionRedirect.String() && s.Link == "" && b.Policy.Link != "" {
		return nil // the bank's
	}
	return checkLink(s.Link, s.Action)
}

// Overlay sets what who's party holds of an entry for itself; an empty one takes that back.
// ErrUnknownEntry, ErrForeign for an entry that the party is not given to read, [*InputError], also for what takes a second
// person, as the entry is of the party's own bank.
func (m *Matcher) Overlay(ctx context.Context, who Principal, id storage.EntryID, disabled bool, labels []string, reason string) error {
	if err := checkLength("reason", reason, maxReason); err != nil {
		return err
	}
	if labels != nil {
		var err error
		if labels, err = cleanLabels(labels); err != nil {
			return err
		}
		if labels == nil {
			labels = []string{} // none, which is not "as they are"
		}
	}
	o := storage.Overlay{Party: who.Party, Entry: id, Disabled: disabled, Labels: labels}
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		e, b, err := entryFor(w, who, id)
		if err == nil && !belongs(who.Party, b) {
			err = fmt.Errorf("%w: entry %d", ErrForeign, id)
		}
		if err == nil {
			err = aroundDual(who, e, b, o)
		}
		if err != nil {
			return nil, err
		}
		c := storage.Change{Kind: storage.OverlaySet, Actor: who.Actor, Bank: b.ID, Entry: id, Party: who.Party}
		return draft(c, o, private{Reason: reason}), w.SetOverlay(o)
	})
	if err != nil {
		return err
	}
	m.settle(ctx, done.Seq)
	return nil
}

// subscribedAroundDual refuses of a party's own bank what would do what takes two people there: what raises what it recommends,
// and of a known-good bank what suppresses less. To let any other bank count for less is as retracting there: one suffices.
func subscribedAroundDual(sub storage.Subscription, b storage.Bank) error {
	if b.Owner != sub.Party || !b.Dual {
		return nil
	}
	const instead = "is for others' banks: %s is yours, and under dual control; %s the bank itself"
	own, _ := ParseAction(b.Policy.Action) // validated when it was stored
	count := subscribed(b, sub, true)
	action, err := ParseAction(count.Action)
	switch {
	case err != nil:
		return err
	case action > own, action == ActionRedirect && count.Link != b.Policy.Link:
		return invalid("action", instead, b.Name, "change the action of")
	case !needsSecond(b, storage.EntryRetracted):
		return nil
	case !sub.On:
		return invalid("on", instead, b.Name, "delete")
	case len(sub.Cap) > 0:
		return invalid("cap", instead, b.Name, "change the radii of")
	}
	return nil
}

// aroundDual refuses an overlay on an entry of the party's own bank that would do what takes two people there.
func aroundDual(who Principal, e storage.Entry, b storage.Bank, o storage.Overlay) error {
	if b.Owner != who.Party || !b.Dual {
		return nil
	}
	const instead = "is for others' entries: bank %s is yours, and under dual control; %s the entry itself"
	switch {
	case o.Disabled && needsSecond(b, storage.EntryRetracted):
		return invalid("disabled", instead, b.Name, "retract")
	case o.Labels != nil && !sameContext(o.Labels, e.Labels):
		return invalid("labels", instead, b.Name, "label")
	}
	return nil
}

// OverlayOf is what who's party holds of an entry for itself. ErrNotReady.
func (m *Matcher) OverlayOf(who Principal, id storage.EntryID) (storage.Overlay, error) {
	state, err := m.state()
	if err != nil {
		return storage.Overlay{}, err
	}
	return state.Overlays[who.Party].of(id), nil
}
