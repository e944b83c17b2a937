package matcher

import (
	"slices"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// A known-good entry suppresses what is farther: the upload is more like it than like what was flagged. That goes for each
// frame of a video by itself, and for perceptual hits alone, since equal bytes are no mistake. Whose bytes are known good is
// at distance 0.

// moment is a frame of the upload: of a picture, the only one.
type moment struct {
	stream int
	time   uint32
}

// hush takes out of results what the party has disabled, what belongs to known-good banks, and what that suppresses.
func (w *watch) hush(asks []ask, results []index.Result) {
	drop := func(keep func(a ask, hit index.Hit, b storage.Bank) bool) {
		for i, r := range results {
			results[i].Hits = slices.DeleteFunc(r.Hits, func(hit index.Hit) bool { return !keep(asks[i], hit, w.scope.by[storage.BankID(hit.Bank)]) })
		}
	}
	if len(w.scope.overlays) > 0 {
		drop(func(_ ask, hit index.Hit, _ storage.Bank) bool {
			return !w.scope.overlays[storage.EntryID(hit.Entry)].Disabled
		})
	}
	if w.loud {
		return
	}
	good := map[moment]Suppression{}
	drop(func(a ask, hit index.Hit, b storage.Bank) bool {
		if b.Kind != storage.KnownGood {
			return true
		}
		by := Suppression{storage.EntryID(hit.Entry), b.Name, a.Signal.Algorithm, hit.Distance}
		at := moment{a.stream, a.Signal.Time}
		switch radius, counted := b.Policy.Radius[by.Algorithm]; {
		case by.Algorithm.Exact():
			w.good = &by
		case !counted || hit.Distance > radius:
		default:
			if had, ok := good[at]; !ok || by.nearer(had) {
				good[at] = by
			}
		}
		return false
	})
	if w.good == nil && len(good) == 0 {
		return
	}
	drop(func(a ask, hit index.Hit, b storage.Bank) bool {
		if a.Signal.Algorithm.Exact() {
			return true
		}
		by, ok := good[moment{a.stream, a.Signal.Time}]
		if w.good != nil && (!ok || w.good.nearer(by)) {
			by, ok = *w.good, true
		}
		if !ok || !by.nearer(Suppression{Algorithm: a.Signal.Algorithm, Distance: hit.Distance}) {
			return true
		}
		if e, _, counts := a.judge(hit, b.Policy); counts {
			id := storage.EntryID(hit.Entry)
			if had, ok := w.quiet[id]; !ok || stronger(e, had.Evidence) < 0 {
				w.quiet[id] = Found{Entry: id, Bank: b, SuppressedBy: &by, Evidence: e, All: []Evidence{e}}
			}
		}
		return false
	})
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
