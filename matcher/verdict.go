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
	Signals      []hashing.Signal   // computed or sent; not those of a video's frames
	Frames       *Frames            // of a video; nil for other media
	Unhashable   *Unhashable        // nil if the picture was hashed, or only signals were sent
	Graphic      bool               // as a whole text or a flat drawing: matched by a tighter rule
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

// Evidence is the strongest hit of one algorithm on an entry.
type Evidence struct {
	Algorithm hashing.Algorithm
	Variant   hashing.Variant // of the query, or of the stored row if the query is plain
	Distance  int             // bits
	Radius    int             // the largest distance that counts, by the rule that counted this one
	Transform hashing.Transform
	Level     Level
	Vote      *Vote // of a PDQ that left it open; nil if it did not, or nobody could vote
}

// Found is one entry that matches: the deciding evidence, and all of it.
type Found struct {
	Entry  storage.EntryID
	Bank   storage.Bank
	Action Action
	Labels []string
	Evidence
	All   []Evidence  // strongest first; All[0] is the deciding one
	Video *VideoMatch // where the frames are; nil unless the upload or the entry has several
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

// place is where evidence is kept: the strongest of each algorithm, for each entry.
type place struct {
	entry     storage.EntryID
	algorithm hashing.Algorithm
}

// contest is a hit that a second vote may raise.
type contest struct {
	Evidence
	ask ask
	row hashing.Variant // of the stored signal
}

// gather turns the hits of many queries into one Found for each entry, strongest first.
func gather(asks []ask, results []index.Result, s *State) []Found {
	best := map[place]Evidence{}
	bankOf := map[storage.EntryID]storage.Bank{}
	open := map[place][]contest{}
	keep := func(at place, e Evidence) {
		if old, ok := best[at]; !ok || stronger(e, old) < 0 {
			best[at] = e
		}
	}
	for i, res := range results {
		a := asks[i]
		for _, hit := range res.Hits {
			bank := s.Banks[storage.BankID(hit.Bank)]
			e, isOpen, ok := a.judge(hit, bank.Policy)
			if !ok {
				continue
			}
			at := place{storage.EntryID(hit.Entry), e.Algorithm}
			if isOpen {
				open[at] = append(open[at], contest{e, a, hit.Variant})
			} else {
				keep(at, e)
			}
			bankOf[at.entry] = bank
		}
	}
	for at, contests := range open {
		if best[at].Level == Match {
			continue // there is nothing to raise
		}
		if e := s.raise(at.entry, contests, bankOf[at.entry].Policy); e.Level > None {
			keep(at, e)
		}
	}
	byEntry := map[storage.EntryID][]Evidence{}
	for at, e := range best {
		byEntry[at.entry] = append(byEntry[at.entry], e)
	}
	found := make([]Found, 0, len(byEntry))
	for entry, all := range byEntry {
		slices.SortFunc(all, stronger)
		bank := bankOf[entry]
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

// raise asks for the second vote on hits of one entry, the strongest first. The first that is agreed on
// rises by a level: from Review to Likely, and from None to Review. If none is, the strongest stays as
// it was. Where one is for review anyway, the far ones have nothing to add, and are not asked about.
func (s *State) raise(entry storage.EntryID, contests []contest, p storage.Policy) Evidence {
	slices.SortFunc(contests, func(a, b contest) int { return stronger(a.Evidence, b.Evidence) })
	values := func(a hashing.Algorithm) []hashing.Signal { return s.Snapshot.Values(a, index.EntryID(entry)) }
	for i := range contests {
		c := &contests[i]
		if c.Level < contests[0].Level {
			break
		}
		if c.Vote = c.ask.vote(c.row, p, values); c.Vote != nil && c.Vote.Agrees {
			c.Level++
			return c.Evidence
		}
	}
	return contests[0].Evidence
}
