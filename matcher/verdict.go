package matcher

import (
	"cmp"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// Verdict answers a check.
type Verdict struct {
	Level        Level
	Action       Action  // the strongest that a match recommends
	Matches      []Found // strongest first, at most MaxMatches
	Banks        int     // how many were asked
	MatchesTotal int     // of entries, whatever is cut
	ContentID    string
	Media        *storage.MediaInfo // nil if signals were sent
	Signals      []hashing.Signal   // computed or sent
	Unhashable   *Unhashable        // nil if the picture was hashed, or only signals were sent
	Unexplained  bool               // the catalogue could not be read: the matches lack their labels
	IndexSeq     uint64
	LogID        string
	Timings      Timings
}

// MaxMatches bounds the matches that a verdict lists.
const MaxMatches = 100

// Unhashable says why a file has digests only.
type Unhashable struct {
	Reason string // a hashing.Reason or a hashing.MediaErrorKind
	Detail string
}

// Timings say where the time of a check went.
type Timings struct{ Hash, Search, Explain, Total time.Duration }

// Evidence is the nearest hit of one algorithm on an entry.
type Evidence struct {
	Algorithm hashing.Algorithm
	Variant   hashing.Variant // of the query, or of the stored row if the query is plain
	Distance  int             // bits
	Radius    int             // of the bank
	Transform hashing.Transform
	Level     Level
}

// Found is one entry that matches: the deciding evidence, and all of it.
type Found struct {
	Entry  storage.EntryID
	Bank   storage.Bank
	Action Action
	Labels []string
	Evidence
	All []Evidence // strongest first; All[0] is the deciding one
}

// stronger orders evidence: surer level, then nearer, then the plainer transform and variant; of what is
// equal in all that, digests come before hashes.
func stronger(a, b Evidence) int {
	return cmp.Or(
		cmp.Compare(b.Level, a.Level),
		cmp.Compare(a.Distance, b.Distance),
		cmp.Compare(a.Transform, b.Transform),
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(b.Algorithm, a.Algorithm), // SHA-256 before MD5
	)
}

// gather turns the hits of many queries into one Found for each entry, strongest first.
func gather(queries []hashing.Query, results []index.Result, banks map[storage.BankID]storage.Bank) []Found {
	type place struct {
		entry     storage.EntryID
		algorithm hashing.Algorithm
	}
	best := map[place]Evidence{}
	bankOf := map[storage.EntryID]storage.BankID{}
	for i, res := range results {
		q := queries[i]
		for _, hit := range res.Hits {
			entry, bank := storage.EntryID(hit.Entry), storage.BankID(hit.Bank)
			e := Evidence{
				Algorithm: q.Signal.Algorithm, Variant: q.Signal.Variant, Distance: hit.Distance,
				Radius: banks[bank].Policy.Radius[q.Signal.Algorithm], Transform: q.Transform,
				Level: levelOf(q.Signal.Algorithm),
			}
			if e.Variant == hashing.Plain {
				e.Variant = hit.Variant
			}
			at := place{entry, e.Algorithm}
			if old, ok := best[at]; !ok || stronger(e, old) < 0 {
				best[at] = e
			}
			bankOf[entry] = bank
		}
	}
	byEntry := map[storage.EntryID][]Evidence{}
	for at, e := range best {
		byEntry[at.entry] = append(byEntry[at.entry], e)
	}
	found := make([]Found, 0, len(byEntry))
	for entry, all := range byEntry {
		slices.SortFunc(all, stronger)
		bank := banks[bankOf[entry]]
		action, _ := ParseAction(bank.Policy.Action) // validated when it was stored
		found = append(found, Found{
			Entry: entry, Bank: bank, Action: action.atLevel(all[0].Level), Evidence: all[0], All: all,
		})
	}
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(stronger(a.Evidence, b.Evidence), cmp.Compare(a.Entry, b.Entry))
	})
	return found
}
