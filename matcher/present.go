package matcher

import (
	"maps"
	"slices"
	"strings"

	"vigie/storage"
)

// Present is where an entry of a match stands for whoever reads the match. One that is not in the catalogue has none.
type Present struct {
	Status storage.Status
	Out    Out
}

// Out is why an entry matches nothing any more; empty if it does.
type Out string

// The reasons.
const (
	OutFlood      Out = "flood"        // quarantined, as it matched too many different contents
	OutOverturned Out = "overturned"   // quarantined, as people overturned its matches
	OutRetracted  Out = "retracted"    // by its owner
	OutExpired    Out = "expired"      // its time has come
	OutDeleted    Out = "bank_deleted" // with its bank
	OutDisabled   Out = "disabled"     // for the party alone, by itself or by a bound of the bank
)

func presentOf(s storage.EntryStatus) Present {
	p := Present{Status: s.Status}
	switch {
	case s.Status == storage.Quarantined && strings.HasPrefix(s.Reason, floodWords):
		p.Out = OutFlood
	case s.Status == storage.Quarantined:
		p.Out = OutOverturned
	case s.Status == storage.Expired:
		p.Out = OutExpired
	case s.Status != storage.Active:
		p.Out = OutRetracted
	case s.BankDeleted:
		p.Out = OutDeleted
	case s.Disabled:
		p.Out = OutDisabled
	}
	return p
}

// locate adds to matches where their entries stand now. What rested on an entry has to be put right by whoever may read the
// match, whether or not it may still read the bank: so it is told that the entry is out, and by which rule, and nothing else.
func locate(r storage.Reader, who Principal, views []MatchView) error {
	var ids []storage.EntryID
	for _, v := range views {
		for _, e := range v.Entries {
			ids = append(ids, e.Entry)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	statuses := map[storage.EntryID]storage.EntryStatus{}
	for some := range slices.Chunk(ids, storage.MaxLabels) {
		of, err := r.Statuses(who.Party, some)
		if err != nil {
			return err
		}
		maps.Copy(statuses, of)
	}
	for i := range views {
		views[i].Now = map[storage.EntryID]Present{}
		for _, e := range views[i].Entries {
			if s, there := statuses[e.Entry]; there {
				views[i].Now[e.Entry] = presentOf(s)
			}
		}
	}
	return nil
}
