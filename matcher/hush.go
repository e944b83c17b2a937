package matcher

import (
	"slices"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// A known-good entry suppresses what is farther: the upload is more like it than like what was flagged. Distances are compared
// within one rendering of the upload alone: that there is a known-good photograph in a poster says nothing of the poster. For
// the same reason the picture inside of what is known good says nothing, and each frame of a video is looked at by itself.
//
// Only perceptual hits are suppressed, since equal bytes are no mistake. Whose bytes are known good is at distance 0. 64-bit
// hashes are too coarse for a say about PDQ: they suppress what the same algorithm has found.

// rendering is what distances are compared within: a frame of the upload as a whole, or a part of it; in all orientations.
type rendering struct {
	stream  int
	time    uint32
	variant hashing.Variant
	part    int // tells apart what is not the whole
}

// renderings are those that asks are of.
func renderings(asks []ask) []rendering {
	all := make([]rendering, len(asks))
	part := 0
	for i, a := range asks {
		if i == 0 || a.Transform <= asks[i-1].Transform { // the orientations of a rendering follow each other in order
			part++
		}
		all[i] = rendering{a.stream, a.Signal.Time, a.Signal.Variant, part}
		if a.Transform != hashing.Inverted && (a.Signal.Variant == hashing.Plain || a.Signal.Variant == hashing.CLI) {
			all[i].variant, all[i].part = hashing.Plain, 0 // the same picture, sampled otherwise
		}
	}
	return all
}

// hush takes out of results what the party has disabled, what belongs to known-good banks, and what that suppresses.
func (w *watch) hush(asks []ask, results []index.Result) {
	take := func(is func(i int, hit index.Hit) bool) {
		for i := range results {
			results[i].Hits = slices.DeleteFunc(results[i].Hits, func(hit index.Hit) bool { return is(i, hit) })
		}
	}
	if w.scope.overlays != nil {
		take(func(_ int, hit index.Hit) bool { return w.scope.overlays.of(storage.EntryID(hit.Entry)).Disabled })
	}
	if w.loud {
		return
	}
	type said struct {
		of rendering
		by hashing.Algorithm
	}
	good := map[said]Suppression{}
	of := renderings(asks)
	take(func(i int, hit index.Hit) bool {
		b, a := w.scope.by[storage.BankID(hit.Bank)], asks[i].Signal.Algorithm
		if b.Kind != storage.KnownGood {
			return false
		}
		by := Suppression{Entry: storage.EntryID(hit.Entry), Bank: b.Name, Algorithm: a, Distance: hit.Distance, bank: b}
		at := said{of[i], a}
		switch radius, counted := b.Policy.Radius[a]; {
		case a.Exact():
			w.good = &by
		case !counted || hit.Distance > radius || hit.Variant == hashing.Framed:
		default:
			if had, ok := good[at]; !ok || by.nearer(had) {
				good[at] = by
			}
		}
		return true
	})
	if w.good == nil && len(good) == 0 {
		return
	}
	quiet, by := make([]index.Result, len(results)), map[storage.EntryID]Suppression{}
	take(func(i int, hit index.Hit) bool {
		a := asks[i].Signal.Algorithm
		if a.Exact() {
			return false
		}
		nearest := Suppression{Algorithm: a, Distance: hit.Distance}
		for _, by := range []hashing.Algorithm{a, hashing.PDQ} {
			if s, ok := good[said{of[i], by}]; ok && s.nearer(nearest) {
				nearest = s
			}
		}
		if w.good != nil && w.good.nearer(nearest) {
			nearest = *w.good
		}
		if nearest.Entry == 0 {
			return false
		}
		id := storage.EntryID(hit.Entry)
		if had, ok := by[id]; !ok || nearest.nearer(had) {
			by[id] = nearest
		}
		quiet[i].Hits = append(quiet[i].Hits, hit)
		return true
	})
	for _, f := range gather(asks, quiet, w.state, w.scope) { // what it would have found
		s := by[f.Entry]
		f.SuppressedBy = &s
		if had, ok := w.quiet[f.Entry]; !ok || stronger(f.Evidence, had.Evidence) < 0 {
			w.quiet[f.Entry] = f
		}
	}
}

// nearer compares distances as shares of the hashes' bits; equal bytes are at 0.
func (s Suppression) nearer(than Suppression) bool {
	share := func(s Suppression) int { // in 256ths
		if s.Algorithm.Exact() {
			return 0
		}
		return s.Distance * hashing.PDQ.Bits() / s.Algorithm.Bits()
	}
	return share(s) < share(than)
}

// suppressors are the known-good entries that suppress some of what was found, each once. They count, and are bound, as what
// matches is: one that suppresses many contents is as wrong as one that matches many.
func suppressors(found []Found) (all []Found) {
	seen := map[storage.EntryID]bool{}
	for _, f := range found {
		if by := f.SuppressedBy; by != nil && !seen[by.Entry] {
			seen[by.Entry] = true
			e := Evidence{Algorithm: by.Algorithm, Distance: by.Distance, Level: Match}
			all = append(all, Found{Entry: by.Entry, Bank: by.bank, Evidence: e, All: []Evidence{e}})
		}
	}
	return all
}

// heed takes back what was suppressed by entries that flood. It goes no farther than what floods itself: another known-good entry
// may be as near, which the next check will ask.
func heed(found, suppressors []Found) {
	for i := range found {
		f := &found[i]
		floods := func(s Found) bool { return s.Flooded && f.SuppressedBy != nil && s.Entry == f.SuppressedBy.Entry }
		if slices.ContainsFunc(suppressors, floods) {
			f.SuppressedBy, f.Evidence, f.Flooded = nil, f.All[0], true
		}
	}
}
