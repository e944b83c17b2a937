package matcher

import (
	"slices"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/storage"
)

// ask is one query of a check, with what decides on its hits.
type ask struct {
	hashing.Query
	stream int     // of a video, that it is a frame of
	band   bool    // hits beyond PDQ's radius may count too, as far as the bank's second vote goes
	short  shorter // gives the second vote; nil: nobody does
}

// shorter gives the 64-bit hashes of a rendering of what is asked about, under a transform; none if
// they are not known.
type shorter func(hashing.Variant, hashing.Transform) []hashing.Signal

// askPlain asks for signals as they are.
func askPlain(signals []hashing.Signal) []ask {
	asks := make([]ask, len(signals))
	for i, s := range signals {
		asks[i].Signal = s
	}
	return asks
}

// askPicture asks for all renderings of a picture under all transforms.
func askPicture(p hashing.Picture, band bool) []ask {
	asks := make([]ask, len(p.Queries))
	short := shortOfThumbs(p.Thumbs)
	for i, q := range p.Queries {
		asks[i] = ask{Query: q, band: band, short: short}
	}
	return asks
}

// shortOfThumbs hashes thumbs when it is asked, once for each transform: all of a variant, of which a
// picture may have several.
func shortOfThumbs(thumbs []hashing.Thumb) shorter {
	type rendering struct {
		v hashing.Variant
		t hashing.Transform
	}
	known := map[rendering][]hashing.Signal{}
	return func(v hashing.Variant, t hashing.Transform) []hashing.Signal {
		at := rendering{v, t}
		signals, ok := known[at]
		if ok {
			return signals
		}
		for _, th := range thumbs {
			if th.Variant == v {
				signals = append(signals, fingerprint.Short(th, t)...)
			}
		}
		known[at] = signals
		return signals
	}
}

// askSignals asks for signals that came without their picture: as they are, but the turned and mirrored
// forms of a PDQ hash follow from its bits up to a few (see [pdq.DihedralOf]), and the negative's is the
// complement: it is asked for of the plain picture, or as the reference samples it if that is all there is.
// The 64-bit hashes among the signals vote for the picture as it is.
func askSignals(signals []hashing.Signal, band bool) []ask {
	short := func(v hashing.Variant, t hashing.Transform) (votes []hashing.Signal) {
		for _, s := range signals {
			if s.Variant == v && t == hashing.Identity && s.Time == 0 && poor(s) == nil {
				votes = append(votes, s)
			}
		}
		return votes
	}
	isPlain := func(s hashing.Signal) bool { return s.Algorithm == hashing.PDQ && s.Variant == hashing.Plain }
	negative := hashing.CLI
	if slices.ContainsFunc(signals, isPlain) {
		negative = hashing.Plain
	}
	var asks []ask
	for _, s := range signals {
		if s.Algorithm != hashing.PDQ {
			asks = append(asks, askPlain([]hashing.Signal{s})...)
			continue
		}
		if s.Variant == negative {
			inverted := s
			inverted.Value = inverse(s.Value)
			asks = append(asks, ask{Query: hashing.Query{Signal: inverted, Transform: hashing.Inverted}})
		}
		for t, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
			s.Value = hashing.Value(h)
			asks = append(asks, ask{Query: hashing.Query{Signal: s, Transform: hashing.Transform(t)}, band: band, short: short})
		}
	}
	return asks
}

// votable reports whether there can be a second vote on hits of the query: on those of the plain,
// trimmed and framed picture, in any orientation. Negatives, flattened and sampled renderings and
// frames of a video are matched within the radius alone.
func (a ask) votable() bool {
	s := a.Signal
	return s.Algorithm == hashing.PDQ && s.Time == 0 && a.Transform < hashing.Orientations &&
		(s.Variant == hashing.Plain || s.Variant == hashing.Trimmed || s.Variant == hashing.Framed)
}

// tight reports whether the policy holds the query to its rule for graphics.
func (a ask) tight(p storage.Policy) bool {
	return a.Graphic && a.Signal.Algorithm == hashing.PDQ && p.SecondVote.Graphic > 0
}

// reach is how far the query is searched under a policy; not at all if it is not ok. Digests are always
// looked up.
func (a ask) reach(p storage.Policy) (radius int, ok bool) {
	radius, ok = p.Radius[a.Signal.Algorithm]
	if a.band && a.votable() && !a.tight(p) {
		radius = max(radius, p.SecondVote.Radius, p.SecondVote.Far)
	}
	if a.Signal.Algorithm.Exact() {
		return radius, true
	}
	return radius, ok && int(a.Signal.Quality) >= p.MinQuality // what is not known is above all
}

// scope is the reach in each of the banks.
func (a ask) scope(banks []storage.Bank) map[index.BankID]int {
	m := make(map[index.BankID]int, len(banks))
	for _, b := range banks {
		if r, ok := a.reach(b.Policy); ok {
			m[index.BankID(b.ID)] = r
		}
	}
	return m
}

// judge is what a hit of the query means under a bank's policy. An open hit is worth Review, or in the
// far part of the band nothing (None), unless a second vote raises it. ok is false if it means nothing
// whatever the vote.
func (a ask) judge(hit index.Hit, p storage.Policy) (e Evidence, open, ok bool) {
	radius := p.Radius[a.Signal.Algorithm]
	e = Evidence{
		Algorithm: a.Signal.Algorithm, Variant: a.Signal.Variant, Distance: hit.Distance,
		Radius: radius, Transform: a.Transform, Level: Match,
	}
	if e.Variant == hashing.Plain {
		e.Variant = hit.Variant
	}
	sure := radius
	if a.tight(p) {
		sure = min(radius, p.SecondVote.Graphic)
	}
	switch {
	case a.Signal.Algorithm.Exact():
	case a.Signal.Algorithm != hashing.PDQ:
		e.Level = Review // 64-bit hashes decide nothing alone
	case hit.Distance <= sure:
		e.Radius = sure
	case hit.Distance <= radius:
		e.Level, open = Review, a.votable() && hit.Time == 0
	case hit.Time > 0: // a frame of a video, in the band; for its first one see [watch.beyond]
		return e, false, false
	case hit.Distance <= p.SecondVote.Radius:
		e.Level, e.Radius, open = Review, p.SecondVote.Radius, true
	default:
		e.Level, e.Radius, open = None, p.SecondVote.Far, true
	}
	return e, open, true
}

// Vote is what the 64-bit hashes of two renderings say of them, whose PDQ leaves it open.
type Vote struct {
	Algorithm hashing.Algorithm // PHash or DHash: the one that decided
	Distance  int               // bits
	Radius    int               // the largest distance at which it agrees, of the bank
	Agrees    bool
}

// vote compares the 64-bit hashes of a rendering that was asked about with those of the entry's, of the
// variant of the row that was hit. One that agrees is enough; by the tighter rule for graphics, whose
// 64-bit hashes crowd together too, both must. It is nil if either side has none.
func (a ask) vote(row hashing.Variant, p storage.Policy, entry func(hashing.Algorithm) []hashing.Signal) *Vote {
	if a.short == nil {
		return nil
	}
	if row == hashing.CLI {
		row = hashing.Plain // the same picture, sampled otherwise
	}
	var votes []Vote
	mine := a.short(a.Signal.Variant, a.Transform)
	for _, by := range []Vote{{Algorithm: hashing.PHash, Radius: p.SecondVote.PHash}, {Algorithm: hashing.DHash, Radius: p.SecondVote.DHash}} {
		by.Distance = by.Algorithm.Bits() + 1
		for _, s := range entry(by.Algorithm) {
			if s.Variant != row || s.Time != 0 {
				continue
			}
			for _, m := range mine {
				if m.Algorithm == by.Algorithm {
					by.Distance = min(by.Distance, m.Value.Distance(s.Value))
				}
			}
		}
		if by.Distance <= by.Algorithm.Bits() {
			by.Agrees = by.Distance <= by.Radius
			votes = append(votes, by)
		}
	}
	if len(votes) == 0 {
		return nil
	}
	margin := func(a, b Vote) int { return (a.Distance - a.Radius) - (b.Distance - b.Radius) }
	if a.tight(p) {
		v := slices.MaxFunc(votes, margin)
		v.Agrees = v.Agrees && len(votes) == 2
		return &v
	}
	v := slices.MinFunc(votes, margin)
	return &v
}
