package matcher_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// flooding is a world with a bank that quarantines what matches more than some contents in an hour.
func flooding(t testing.TB, bound int) (*world, *storagetest.Clock, *told[storage.EntryID]) {
	clock, quarantined := storagetest.NewClock(), &told[storage.EntryID]{}
	w := newWorld(t, matcher.Options{Now: clock.Now, Events: matcher.Events{
		Quarantined: quarantined.add,
		Fault:       func(err error) { t.Error(err) },
	}})
	n := block()
	n.Flood = &bound
	w.bank("platform", "own", n)
	return w, clock, quarantined
}

// content is the n-th of a row of contents near the upload.
func content(n int) hashing.Signal {
	s := upload
	s.Value[3] ^= uint64(n+1) << 40 // of 8 bits at most
	return s
}

// levels checks contents, and lists what is answered.
func (w *world) levels(from, to int) (list []string) {
	w.t.Helper()
	for i := from; i < to; i++ {
		v := w.check(w.ask("platform", content(i)))
		words := v.Level.String() + " " + v.Action.String()
		if v.MatchesTotal > 0 && v.Matches[0].Flooded {
			words += " flooded"
		}
		list = append(list, words)
	}
	return list
}

func TestFlood(t *testing.T) {
	t.Parallel()
	const block = "match block"
	w, clock, quarantined := flooding(t, 3)
	id := w.at("own", "e", 0)
	other := w.of("own", "far", "", signal(hashing.PDQ, 9))

	// The same content again and again is one, however often it comes and whatever is sent with it.
	equal(t, w.levels(0, 3), []string{block, block, block})
	equal(t, w.levels(0, 3), []string{block, block, block})
	before := len(w.changes())
	equal(t, w.levels(3, 4), []string{"match review flooded"})
	equal(t, w.levels(0, 5), []string{"none none", "none none", "none none", "none none", "none none"}) // at once
	e := w.entryOf("e")
	if e.Status != storage.Quarantined || !strings.Contains(e.Reason, "more than 3 different contents") {
		t.Errorf("%s: %s", e.Status, e.Reason)
	}
	changes := w.changes()[before:]
	if len(changes) != 1 || changes[0].Kind != storage.EntryQuarantined || changes[0].Actor != "system" || changes[0].Entry != id || !strings.Contains(string(changes[0].Private), "different contents") {
		t.Errorf("changes %+v", changes)
	}
	equal(t, quarantined.list(), []storage.EntryID{id})
	equal(t, w.entryIn(other).Status, storage.Active)

	// Restored, it begins anew.
	must(t, w.Restore(w.ctx, w.who("platform"), id, "a test"))
	equal(t, w.levels(0, 4), []string{block, block, block, "match review flooded"})
	must(t, w.Restore(w.ctx, w.who("platform"), id, "a test"))

	// What an hour has forgotten does not count.
	equal(t, w.levels(0, 3), []string{block, block, block})
	clock.Advance(time.Hour)
	equal(t, w.levels(1, 3), []string{block, block}) // which count from now
	clock.Advance(time.Millisecond)
	equal(t, w.levels(10, 12), []string{block, "match review flooded"})
}

// The bytes of an entry may come in as many files as they like; and what does not count does not flood.
func TestNoFlood(t *testing.T) {
	t.Parallel()
	w, _, quarantined := flooding(t, 2)
	w.of("own", "bytes", "", upload, uploadBytes)
	md5 := signal(hashing.MD5, 1)
	for i := range 6 {
		w.check(w.ask("platform", uploadBytes, content(i)))
		w.check(w.ask("platform", md5, signal(hashing.SHA256, uint64(100+i))))
	}
	trial := matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Flood: ptr(2)}}
	w.bank("platform", "trial", trial)
	w.of("trial", "trial", "", content(50))
	w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
	for i := range 4 {
		w.check(matcher.Question{Who: w.who("platform"), Signals: []hashing.Signal{content(i)}, Banks: []string{"trial"}})
	}
	equal(t, len(quarantined.list()), 0)
	equal(t, w.entryOf("bytes").Status, storage.Active)
	equal(t, w.entryOf("trial").Status, storage.Active)

	// What a known-good entry is nearer to counts for nothing.
	far := signal(hashing.PDQ, 30)
	w.of("own", "hushed", "", away(far, 20))
	w.of("good", "g", "", far)
	for i := range 6 {
		near := far
		near.Value[3] ^= uint64(i+1) << 40
		v := w.check(w.ask("platform", near))
		equal(t, []any{v.Level, v.MatchesTotal}, []any{matcher.None, 1})
	}
	equal(t, w.entryOf("hushed").Status, storage.Active)
}

// Checks at the same time take an entry out once.
func TestFloodAtTheSameTime(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		n := block()
		n.Flood = ptr(5)
		w.bank("platform", "own", n)
		w.at("own", "e", 0)
		who := w.who("platform")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 4 {
					if _, err := w.Check(w.ctx, matcher.Question{Who: who, Signals: []hashing.Signal{content(4*i + j)}}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		taken := 0
		for _, c := range w.changes() {
			if c.Kind == storage.EntryQuarantined {
				taken++
			}
		}
		equal(t, taken, 1)
		equal(t, w.levels(0, 1), []string{"none none"})
	})
}

// A catalogue that is away does not keep a flood from being told; the entry counts until it is taken out, when the catalogue is back.
func TestFloodWithoutTheCatalogue(t *testing.T) {
	t.Parallel()
	var faults told[error]
	w := newWorld(t, matcher.Options{Events: matcher.Events{Fault: faults.add}})
	n := block()
	n.Flood = ptr(1)
	w.bank("platform", "own", n)
	w.at("own", "e", 0)
	equal(t, w.levels(0, 1), []string{"match block"})
	w.down.down.Store(true)
	equal(t, w.levels(1, 2), []string{"match hold"}) // unexplained
	told := fmt.Sprint(faults.list())
	if !strings.Contains(told, "take out an entry that floods") {
		t.Errorf("faults %s", told)
	}
	w.down.down.Store(false)
	equal(t, w.levels(1, 2), []string{"match review flooded"})
	equal(t, w.levels(1, 2), []string{"none none"})
}
