package matcher

import (
	"errors"
	"fmt"

	"vigie/storage"
)

// An entry whose matches people overturn is taken out likewise: for a party whose own decisions are beyond the bank's bound;
// for all, if the owner's or the operator's are, or if all together are and more than one party has overturned some. Of each
// party's upload the last word counts once, where the party has named it; an upload without a name counts by each check.
// Counted are the newest decisions, [storage.MaxMatches] of them, since somebody restored the entry.

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

// scores are what parties that are heard say of an entry.
func scores(r storage.Reader, e storage.Entry, b storage.Bank) (map[storage.PartyID]score, error) {
	type upload struct {
		party storage.PartyID
		name  string
		match storage.MatchID // of an upload without a name
	}
	judgements, err := r.Judgements(e.ID, storage.MaxMatches)
	counted := map[upload]bool{}
	of := map[storage.PartyID]score{}
	listened := map[storage.PartyID]bool{}
	for _, j := range judgements { // newest first
		if _, known := listened[j.Party]; !known {
			listened[j.Party] = heard(r, j.Party, b)
		}
		u := upload{party: j.Party, name: j.ContentID}
		if u.name == "" {
			u.match = j.Match
		}
		if counted[u] || !listened[j.Party] {
			continue
		}
		counted[u] = true
		s := of[j.Party]
		if j.Wrong {
			s.wrong++
		} else {
			s.right++
		}
		of[j.Party] = s
	}
	return of, err
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
	of, err := scores(w, e, b)
	if err != nil {
		return nil, err
	}
	bound, all, against := b.Policy.Overturn, score{}, 0
	for _, s := range of {
		all.right, all.wrong = all.right+s.right, all.wrong+s.wrong
		against += min(s.wrong, 1)
	}
	own := of[d.Party]
	switch {
	case own.beyond(bound) && governs(d.Party, b):
		d.Quarantined = append(d.Quarantined, e.ID)
		return quarantine(w, e, own.reason(bound))
	case all.beyond(bound) && against > 1:
		d.Quarantined = append(d.Quarantined, e.ID)
		return quarantine(w, e, all.reason(bound))
	case own.beyond(bound):
		change, err := disable(w, e, d.Party, false, own.reason(bound))
		if change != nil {
			d.Disabled = append(d.Disabled, e.ID)
		}
		return change, err
	}
	return nil, nil
}
