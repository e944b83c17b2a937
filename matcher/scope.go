package matcher

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vigie/hashing"
	"vigie/storage"
)

// Scope is what counts for a party: the banks that it subscribes to, each with the policy that the subscription makes of the
// bank's, and what the party holds of single entries. It is immutable.
type Scope struct {
	party    string         // its name
	banks    []storage.Bank // by number; their names are what the party calls them
	by       map[storage.BankID]storage.Bank
	overlays *overlays
	skipped  []string // banks that are not asked about this content
}

// scope is what counts for a party. It is made once for each state.
func (s *State) scope(party storage.PartyID) *Scope {
	if known, ok := s.scopes.Load(party); ok {
		return known.(*Scope)
	}
	sc := &Scope{party: s.Parties[party].Name, by: map[storage.BankID]storage.Bank{}, overlays: s.Overlays[party]}
	for _, id := range slices.Sorted(maps.Keys(s.Banks)) {
		b := s.Banks[id]
		if b.Deleted || s.Parties[b.Owner].Suspended || !belongs(party, b) {
			continue
		}
		sub, said := s.Subscriptions[seat{party, id}]
		if !said {
			sub = storage.Subscription{On: b.Owner == party}
		}
		if sub.On {
			b.Policy = subscribed(b, sub, b.Owner == party)
			b.Name = Called(party, b, s.Parties[b.Owner].Name)
			sc.add(b)
		}
	}
	known, _ := s.scopes.LoadOrStore(party, sc)
	return known.(*Scope)
}

// seat is where a subscription is kept.
type seat struct {
	party storage.PartyID
	bank  storage.BankID
}

// subscribed is what a subscription makes of a bank's policy. Another's word alone recommends to look at most, unless the
// party has chosen an action.
func subscribed(b storage.Bank, sub storage.Subscription, own bool) storage.Policy {
	p := b.Policy
	switch {
	case sub.Action != "":
		p.Action, p.Link = sub.Action, cmp.Or(sub.Link, p.Link)
	case !own:
		action, _ := ParseAction(p.Action) // validated when it was stored
		if p.Action = min(action, ActionReview).String(); action == ActionRedirect {
			p.Action = ActionReview.String() // where another leads one's users is not its word alone, either
		}
	}
	if len(sub.Cap) == 0 {
		return p
	}
	p.Radius = maps.Clone(p.Radius)
	for a, most := range sub.Cap {
		if r, ok := p.Radius[a]; ok {
			p.Radius[a] = min(r, most)
		}
		if a == hashing.PDQ {
			p.SecondVote.Radius, p.SecondVote.Far = min(p.SecondVote.Radius, most), min(p.SecondVote.Far, most)
		}
	}
	return p
}

func (sc *Scope) add(b storage.Bank) {
	sc.banks = append(sc.banks, b)
	sc.by[b.ID] = b
}

// named is the scope of these banks alone; the whole one without any. ErrUnknownBank for one that is not in it. Known-good
// banks stay: what must not be removed does not depend on what is asked.
func (sc *Scope) named(names []string) (*Scope, error) {
	if len(names) == 0 {
		return sc, nil
	}
	var asked []storage.BankID
	for _, name := range names {
		b, err := sc.bank(name)
		if err != nil {
			return nil, err
		}
		asked = append(asked, b.ID)
	}
	return sc.only(func(b storage.Bank) bool { return b.Kind == storage.KnownGood || slices.Contains(asked, b.ID) }), nil
}

// bank finds a bank as [NamedBank] does, among those that count.
func (sc *Scope) bank(name string) (storage.Bank, error) {
	var called []string
	var found storage.Bank
	for _, b := range sc.banks {
		if b.Name == name || sc.party+calledOf+b.Name == name {
			return b, nil
		}
		if _, bare, ok := strings.Cut(b.Name, calledOf); ok && bare == name {
			called, found = append(called, b.Name), b
		}
	}
	switch len(called) {
	case 0:
		return found, fmt.Errorf("%w, or none that the party subscribes to: %s", ErrUnknownBank, name)
	case 1:
		return found, nil
	}
	return found, fmt.Errorf("%w: %s is %s", ErrAmbiguous, name, strings.Join(called, ", "))
}

// only is the scope of the banks for which keep is true.
func (sc *Scope) only(keep func(storage.Bank) bool) *Scope {
	some := &Scope{by: map[storage.BankID]storage.Bank{}, overlays: sc.overlays, skipped: sc.skipped}
	for _, b := range sc.banks {
		if keep(b) {
			some.add(b)
		}
	}
	return some
}

// sampled leaves out the banks whose enabled ratio does not choose this content.
func (sc *Scope) sampled(c content) *Scope {
	chosen := func(b storage.Bank) bool {
		return b.Policy.EnabledRatio == nil || c.draw(b.ID) < *b.Policy.EnabledRatio
	}
	if !slices.ContainsFunc(sc.banks, func(b storage.Bank) bool { return !chosen(b) }) {
		return sc
	}
	some := sc.only(chosen)
	for _, b := range sc.banks {
		if !chosen(b) {
			some.skipped = append(slices.Clip(some.skipped), b.Name)
		}
	}
	return some
}

// asked are the names of the banks that are asked, of which known-good ones are none.
func (sc *Scope) asked() int {
	n := 0
	for _, b := range sc.banks {
		if b.Kind != storage.KnownGood {
			n++
		}
	}
	return n
}

// content identifies what is asked about: by its bytes, or by its signals.
type content [32]byte

func contentOf(media *hashing.Media, signals []hashing.Signal) content {
	if media != nil {
		return content(media.SHA256.Bytes(len(content{})))
	}
	texts := make([]string, len(signals))
	for i, s := range signals {
		texts[i] = fmt.Sprint(s.String(), "@", s.Time)
	}
	slices.Sort(texts)
	return sha256.Sum256([]byte(strings.Join(texts, "\n")))
}

// draw is a number from 0 to less than 1 that a bank draws for this content: always the same, and as if by chance.
func (c content) draw(bank storage.BankID) float64 {
	var of [4]byte
	binary.BigEndian.PutUint32(of[:], uint32(bank))
	h := sha256.Sum256(append(of[:], c[:]...))
	return float64(binary.BigEndian.Uint64(h[:])>>11) / (1 << 53)
}

// short tells contents apart, but for chance.
func (c content) short() uint64 { return binary.BigEndian.Uint64(c[:]) }
