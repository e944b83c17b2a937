package matcher

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// Verdict answers a check.
type Verdict struct {
	Level        Level
	Action       Action   // the strongest that a match recommends
	Matches      []Found  // strongest first, at most MaxMatches; of more, those that recommend the most
	Link         string   // where the action redirect leads
	Banks        int      // how many were asked
	Skipped      []string // banks whose enabled ratio did not choose this content
	MatchesTotal int      // of entries, whatever is cut
	ContentID    string
	Media        *storage.MediaInfo  // nil if signals were sent
	Signals      []hashing.Signal    // computed or sent; not those of a video's frames
	Frames       *Frames             // of a video; nil for other media
	Unhashable   *Unhashable         // nil if the picture was hashed, or only signals were sent
	Graphic      bool                // as a whole text or a flat drawing: matched by a tighter rule
	Unexplained  bool                // the catalogue could not be read: the matches lack labels and opinions, and recommend to hold at most
	Unrecorded   bool                // the journal could not be written: there is no MatchID
	Unkept       bool                // the upload belongs into the history, and could not be put there: no look-back will find it
	Past         *storage.PastUpload // the upload that a look-back found; nil: this answers a check
	MatchID      storage.MatchID     // of the record in the journal; zero if nothing was found
	IndexSeq     uint64
	LogID        string
	LogRoot      storage.Hash  // as of IndexSeq
	Staleness    time.Duration // since the index was last known to have seen the whole log; see [Follower.Staleness]
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
	Labels []string // as the party has them
	Tally  Tally    // what parties say of the entry
	// Limits are why less is recommended than the action of the bank or the subscription: see the constants.
	Limits []string
	// SuppressedBy is the known-good entry that is nearer; nil if there is none. Then Level is None.
	SuppressedBy *Suppression
	Flooded      bool // the entry has just been taken out, for the party or for all: it matched too many contents
	Evidence
	All   []Evidence  // strongest first; All[0] is the deciding one
	Video *VideoMatch // where the frames are; nil unless the upload or the entry has several
}

// Reasons for which a match recommends less than its bank's action.
const (
	ByLevel       = "level"       // it is not a full match
	ByContext     = "context"     // the entry's context rule
	ByOpinion     = "opinion"     // parties dispute the entry, or take it back
	ByUnexplained = "unexplained" // labels and opinions could not be read
	ByFlood       = "flood"       // the entry matches too many contents
	ByTest        = "test"        // the bank is for tests
	BySuppression = "suppressed"  // a known-good entry is nearer
)

// Suppression is a known-good entry that is nearer than what it suppresses, in the same rendering of the upload.
type Suppression struct {
	Entry     storage.EntryID
	Bank      string
	Algorithm hashing.Algorithm
	Distance  int // bits
	bank      storage.Bank
}

// exact reports whether the bytes are the same.
func (f Found) exact() bool {
	return slices.ContainsFunc(f.All, func(e Evidence) bool { return e.Algorithm.Exact() })
}

// foremost are the first MaxMatches of what was found, strongest first. Of more, those stay that would recommend the most: what
// decides is told in full, whatever else is nearer. The rest stands behind them.
func foremost(found []Found) []Found {
	if len(found) <= MaxMatches {
		return found
	}
	recommends := func(f Found) Action {
		action, _ := ParseAction(f.Bank.Policy.Action) // validated when it was stored
		return action.atLevel(f.Counts())
	}
	slices.SortStableFunc(found, func(a, b Found) int { return cmp.Compare(recommends(b), recommends(a)) })
	slices.SortFunc(found[:MaxMatches], strongest)
	return found[:MaxMatches]
}

// strongest orders what was found by the deciding evidence.
func strongest(a, b Found) int {
	return cmp.Or(stronger(a.Evidence, b.Evidence), cmp.Compare(a.Entry, b.Entry))
}

// Counts is the level that f lends to the verdict.
func (f Found) Counts() Level {
	if f.SuppressedBy != nil || f.Bank.Kind == storage.TestBank {
		return None
	}
	return f.Level
}

// weigh says what f recommends, and why not more, given what a platform says of the context.
func (f *Found) weigh(context []string, explained bool) {
	action, _ := ParseAction(f.Bank.Policy.Action) // validated when it was stored
	f.Action, f.Limits = action, nil
	limit := func(why string, most Action) {
		if f.Action > most {
			f.Action, f.Limits = most, append(f.Limits, why)
		}
	}
	switch {
	case f.SuppressedBy != nil:
		limit(BySuppression, NoAction)
		return
	case f.Bank.Kind == storage.TestBank:
		limit(ByTest, ActionLog)
		return
	}
	limit(ByLevel, action.atLevel(f.Level))
	for _, l := range f.Labels {
		switch rule, is := strings.CutPrefix(l, contextRule); {
		case !is:
		case rule == labelOnly:
			limit(ByContext, ActionLabel)
		case rule == reviewAlways, rule == blockUnlessNews && len(context) > 0:
			limit(ByContext, ActionReview)
		}
	}
	if f.Tally.Standing == Disputed || f.Tally.Standing == NegativeClass {
		limit(ByOpinion, ActionReview)
	}
	if f.Flooded {
		limit(ByFlood, ActionReview)
	}
	if !explained {
		limit(ByUnexplained, ActionHold)
	}
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
func gather(asks []ask, results []index.Result, s *State, sc *Scope) []Found {
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
			bank := sc.by[storage.BankID(hit.Bank)]
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
		found = append(found, Found{Entry: entry, Bank: bankOf[entry], Evidence: all[0], All: all})
	}
	slices.SortFunc(found, strongest)
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
