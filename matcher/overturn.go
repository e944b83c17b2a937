package matcher

import (
	"errors"
	"fmt"
	"slices"

	"vigie/storage"
)

// An entry whose matches people overturn is taken out likewise: for a party whose own decisions are beyond the bank's bound;
// for all, if the owner's or the operator's are, or if those of all together would be even without any one party's. Of each
// party's upload the last word counts once, where the party has named it; an upload without a name counts by each check. Hashes
// that came without their media count for the party itself, and for all if it is the owner. Counted are the newest decisions
// of each party since somebody restored the entry, so that no party's, however many, keep out another's.

// score counts uploads.
type score struct{ right, wrong int }

func (s score) beyond(o storage.Overturn) bool {
	decided := s.right + s.wrong
	return o.Min > 0 && s.wrong > 0 && decided >= o.Min && float64(s.wrong) >= o.Rate*float64(decided)
}

func (s score) reason(o storage.Overturn) string {
	return fmt.Sprintf("%d of %d uploads decided about were overturned; the bank's bound is %.3g of at least %d",
		s.wrong, s.right+s.wrong, o.Rate, o.Min)
}

// opinion is what the parties that are heard say of an entry.
type opinion struct {
	own    score                     // of the party that decides, with bare hashes
	counts map[storage.PartyID]score // what counts for others: of each party, without them
}

// opinionOf reads the newest judgements on an entry: all of the party that decides, and of each that is heard an equal share of
// as many, but at least what the bound asks for.
func opinionOf(r storage.Reader, decider storage.PartyID, e storage.Entry, b storage.Bank) (opinion, error) {
	o := opinion{counts: map[storage.PartyID]score{}}
	judges, err := r.Judges(e.ID)
	judges = slices.DeleteFunc(judges, func(p storage.PartyID) bool { return !heard(r, p, b) })
	if err != nil || len(judges) == 0 {
		return o, err
	}
	share := max(storage.MaxMatches/len(judges), min(b.Policy.Overturn.Min, storage.MaxMatches))
	for _, p := range judges {
		limit := share
		if p == decider {
			limit = storage.MaxMatches
		}
		judgements, err := r.Judgements(e.ID, p, limit)
		if err != nil {
			return o, err
		}
		if p == decider {
			o.own = scoreOf(judgements)
		}
		judgements = judgements[:min(share, len(judgements))]
		o.counts[p] = scoreOf(slices.DeleteFunc(judgements, func(j storage.Judgement) bool { return j.Bare }))
	}
	return o, nil
}

// scoreOf counts the uploads that judgements of one party, newest first, are about.
func scoreOf(judgements []storage.Judgement) (s score) {
	type upload struct {
		name  string
		match storage.MatchID // of an upload without a name
	}
	counted := map[upload]bool{}
	for _, j := range judgements {
		u := upload{name: j.ContentID}
		if u.name == "" {
			u.match = j.Match
		}
		switch {
		case counted[u]:
		case j.Wrong:
			s.wrong++
		default:
			s.right++
		}
		counted[u] = true
	}
	return s
}

// together is what all say, and whether it is beyond the bound whichever party is left out: so no party carries it.
func (o opinion) together(bound storage.Overturn) (all score, beyond bool) {
	for _, s := range o.counts {
		all.right, all.wrong = all.right+s.right, all.wrong+s.wrong
	}
	for _, s := range o.counts {
		if !(score{all.right - s.right, all.wrong - s.wrong}).beyond(bound) {
			return all, false
		}
	}
	return all, len(o.counts) > 0
}

// takeOut takes out the entries that a decision has overturned once too often, and notes which were out already.
func (d *Decided) takeOut(w storage.Writer) error {
	for _, id := range d.Entries {
		e, err := w.Entry(id)
		if errors.Is(err, storage.ErrNotFound) { // the journal outlives a catalogue that is restored from a backup
			d.Inactive = append(d.Inactive, id)
			continue
		} else if err != nil {
			return err
		}
		b, err := w.Bank(e.Bank)
		if err != nil {
			return err
		}
		if e.Status != storage.Active || b.Deleted {
			d.Inactive = append(d.Inactive, id)
			continue
		}
		if !d.Ruling.Overturns() || b.Policy.Overturn.Min == 0 || !heard(w, d.Party, b) {
			continue
		}
		change, err := d.overturn(w, e, b)
		if err == nil && change != nil {
			err = w.Append(change)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overturn takes out an entry if it is overturned beyond its bank's bound, and drafts the change; nil if it is not.
func (d *Decided) overturn(w storage.Writer, e storage.Entry, b storage.Bank) (*storage.Change, error) {
	o, err := opinionOf(w, d.Party, e, b)
	if err != nil {
		return nil, err
	}
	bound, own := b.Policy.Overturn, o.own
	if d.Party != b.Owner && governs(d.Party, b) {
		own = o.counts[d.Party] // what can be made up is nothing to other owners
	}
	all, together := o.together(bound)
	switch {
	case own.beyond(bound) && governs(d.Party, b):
		d.Quarantined = append(d.Quarantined, e.ID)
		return quarantine(w, e, own.reason(bound))
	case together:
		d.Quarantined = append(d.Quarantined, e.ID)
		return quarantine(w, e, all.reason(bound))
	case o.own.beyond(bound):
		change, err := disable(w, e, d.Party, false, o.own.reason(bound))
		if change != nil {
			d.Disabled = append(d.Disabled, e.ID)
		}
		return change, err
	}
	return nil, nil
}
