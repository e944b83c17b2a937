package matcher

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"vigie/hashing"
	"vigie/storage"
)

// Level says how sure a verdict is; higher is surer.
type Level uint8

// The levels.
const (
	None Level = iota
	Review
	Likely
	Match
)

var levelNames = [...]string{None: "none", Review: "review", Likely: "likely", Match: "match"}

func (l Level) String() string { return levelNames[l] }

// Action is what is recommended to a platform; higher is stronger.
type Action uint8

// The actions. NoAction goes with level none.
const (
	NoAction Action = iota
	ActionLog
	ActionLabel
	ActionRedirect
	ActionReview
	ActionHold
	ActionBlock
)

var actionNames = [...]string{"none", "log", "label", "redirect", "review", "hold", "block"}

func (a Action) String() string { return actionNames[a] }

// ParseAction is the inverse of String for all actions but none; its error is an [*InputError].
func ParseAction(s string) (Action, error) {
	if i := slices.Index(actionNames[1:], s); i >= 0 {
		return Action(i + 1), nil
	}
	return NoAction, invalid("action", "%q; accepted are %s", s, strings.Join(actionNames[1:], ", "))
}

// atLevel is the action that may be recommended at a level: what is less than a match is never
// removed on a machine's word.
func (a Action) atLevel(l Level) Action {
	switch l {
	case Match:
		return a
	case Likely:
		return min(a, ActionHold)
	case Review:
		return min(a, ActionReview)
	default:
		return NoAction
	}
}

// DefaultPolicy is the policy of a bank that says nothing. People review what matches. PDQ within 31
// bits is a match (the reference's recommendation, ThreatExchange pdq/README.md); 64-bit hashes alone
// find nothing: at ten million entries they meet too often by chance.
//
// The second vote is asked up to 47 bits, where no pair of unrelated photographs was ever seen (0 of
// 1.1 million pairs within 80), and given by a pHash or dHash within 8 of its 64 bits: 0 and 5 in
// 100,000 unrelated pairs are that near (0 of 40,755 and 4.9e-5, measured on photographs).
//
// From there to 55 bits a hit counts only if the vote agrees. The tail of the distances, carried on
// below the nearest pair that was seen, gives 6e-4 chance hits for an upload against ten million
// entries, where 47 bits give 2e-5: too many to look at unsifted.
//
// Graphics need it beyond 15 bits, and of both: other pages of text in the same layout were at least 64
// bits away in 67,000 pairs, but 5 % of these had a dHash within 8, and 0.06 % a pHash as well. JPEG
// copies of graphics stayed within 12 bits; smaller ones came up to 22 bits away, with both votes.
//
// An entry is quarantined when people have overturned half of at least ten matches. There is no bound on how many different
// contents it may match in an hour: after an attack, thousands of copies of one video are what it is there for.
func DefaultPolicy() storage.Policy {
	return storage.Policy{
		Action:     ActionReview.String(),
		Radius:     map[hashing.Algorithm]int{hashing.PDQ: 31},
		SecondVote: storage.SecondVote{Radius: 47, Far: 55, PHash: 8, DHash: 8, Graphic: 15},
		MaxFrames:  DefaultMaxFrames,
		Overturn:   storage.Overturn{Rate: 0.5, Min: 10},
	}
}

// MaxRadius is the largest radius a policy may ask of a perceptual algorithm. Unrelated pictures
// begin to meet beyond.
func MaxRadius(a hashing.Algorithm) int {
	if a.Bits() == 256 {
		return 64
	}
	return 16
}

func checkPolicy(p storage.Policy) error {
	if _, err := ParseAction(p.Action); err != nil {
		return err
	}
	for a, r := range p.Radius {
		switch {
		case !a.Valid() || a.Exact():
			return invalid("radius", "%s has no radius; accepted are pdq, phash, dhash, ahash", a)
		case r < 0 || r > MaxRadius(a):
			return invalid("radius", "%d for %s; accepted are 0 to %d", r, a, MaxRadius(a))
		}
	}
	for _, f := range []struct {
		name        string
		value, most int
	}{
		{"radius", p.SecondVote.Radius, MaxRadius(hashing.PDQ)},
		{"far", p.SecondVote.Far, MaxRadius(hashing.PDQ)},
		{"phash", p.SecondVote.PHash, MaxRadius(hashing.PHash)},
		{"dhash", p.SecondVote.DHash, MaxRadius(hashing.DHash)},
		{"graphic", p.SecondVote.Graphic, MaxRadius(hashing.PDQ)},
	} {
		if f.value < 0 || f.value > f.most {
			return invalid("second_vote", "%s %d; accepted are 0 to %d", f.name, f.value, f.most)
		}
	}
	switch {
	case p.EnabledRatio != nil && !(*p.EnabledRatio >= 0 && *p.EnabledRatio <= 1):
		return invalid("enabled_ratio", "%v; accepted are 0 to 1", *p.EnabledRatio)
	case p.MinQuality < 0 || p.MinQuality > int(hashing.MaxQuality):
		return invalid("min_quality", "%d; accepted are 0 to %d", p.MinQuality, hashing.MaxQuality)
	case p.Flood < 0 || p.Flood > maxFlood:
		return invalid("flood", "%d; accepted are 0 (no bound) to %d", p.Flood, maxFlood)
	case !(p.Overturn.Rate >= 0 && p.Overturn.Rate <= 1), p.Overturn.Min < 0, (p.Overturn.Rate > 0) != (p.Overturn.Min > 0):
		return invalid("overturn", "rate %v after %d decisions; accepted are a rate above 0 to 1 with at least 1, or 0 and 0 for never", p.Overturn.Rate, p.Overturn.Min)
	}
	return cmp.Or(checkLink(p.Link, p.Action), checkVideoPolicy(p))
}

// checkLink guards where the action redirect leads.
func checkLink(link, action string) error {
	if link == "" {
		if action == ActionRedirect.String() {
			return invalid("link", "none; the action redirect needs one, such as https://example.org/help")
		}
		return nil
	}
	u, err := url.Parse(link)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(link) > maxOrigin {
		return invalid("link", "accepted are http and https URLs of at most %d bytes", maxOrigin)
	}
	return nil
}

var (
	bankName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	labelName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.:/-]{0,63}$`)
)

// Bounds of what callers may write.
const (
	maxLabels      = 32
	maxNote        = 10_000 // bytes
	maxOrigin      = 2_000
	maxReason      = 2_000
	maxDescription = 1_000
	maxSignals     = 64
	maxFlood       = 1_000_000
)

func checkBankName(s string) error {
	if !bankName.MatchString(s) {
		return invalid("bank", `name %q; accepted are 1 to 64 letters, digits, "_", "." or "-"`, s)
	}
	return nil
}

// cleanLabels sorts labels and drops duplicates.
func cleanLabels(labels []string) ([]string, error) {
	for _, l := range labels {
		if !labelName.MatchString(l) {
			return nil, invalid("labels", `%q; accepted are 1 to 64 lower-case letters, digits, "_", ".", ":", "/" or "-"`, l)
		}
	}
	out := slices.Compact(slices.Sorted(slices.Values(labels)))
	if len(out) > maxLabels {
		return nil, invalid("labels", "%d of them; accepted are at most %d", len(out), maxLabels)
	}
	return out, checkVocabulary(out)
}

func checkLength(field, s string, limit int) error {
	if len(s) > limit {
		return invalid(field, "%d bytes; accepted are at most %d", len(s), limit)
	}
	return nil
}

func noSignals() error {
	return invalid("signals", "none; accepted are 1 to %d, or a file", maxSignals)
}

// checkSignals guards the number and the form of signals that callers send.
func checkSignals(signals []hashing.Signal) error {
	most := maxSignals
	if timed(signals) {
		most = maxTimedSignals
	}
	if len(signals) > most {
		return invalid("signals", "%d of them; accepted are at most %d", len(signals), most)
	}
	for i, s := range signals {
		parsed, err := hashing.Parse(s.String())
		switch {
		case err != nil:
			return invalid("signals", "number %d: %v", i, err)
		case parsed.Value != s.Value:
			return invalid("signals", "number %d: a %s has %d bits, and here more are set", i, s.Algorithm, s.Algorithm.Bits())
		case s.Quality > hashing.MaxQuality && s.Quality != hashing.QualityUnknown:
			return invalid("signals", "number %d: quality %d; accepted are 0 to %d", i, s.Quality, hashing.MaxQuality)
		}
	}
	return nil
}

// poor says why a signal must not be matched against: it would match everything that says as little. Who changes it
// raises rowsRule.
func poor(s hashing.Signal) error {
	switch {
	case s.Algorithm.Exact():
		return nil
	case !s.Quality.Usable():
		return &UnhashableError{Reason: hashing.LowQuality, Detail: fmt.Sprintf(
			"%s of quality %d; accepted are %d to %d", s.Algorithm, s.Quality, hashing.MinQuality, hashing.MaxQuality)}
	case s.Blank():
		return &UnhashableError{Reason: hashing.Flat, Detail: fmt.Sprintf(
			"a %s with %d of %d bits set is of a picture without content", s.Algorithm, s.Value.Distance(hashing.Value{}), s.Algorithm.Bits())}
	}
	return nil
}
