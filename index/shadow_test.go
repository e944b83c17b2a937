package index_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// TestShadow has queries answered again, of an index that is as it should be, and of one that finds nothing any more.
func TestShadow(t *testing.T) {
	told := make(chan index.Shadow, 1000)
	x := index.New(index.Shadowed(3, func(s index.Shadow) { told <- s }))
	g := indextest.Gen{Source: rand.New(rand.NewPCG(31, 32)), Entries: 500, Banks: 2}
	for seq := uint64(1); seq <= 500; seq++ {
		if err := x.Apply(t.Context(), seq, []index.Change{g.Flag()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := x.Snapshot()
	digest := indextest.Catalogue(1, 1)[0]
	digest.Signals[0].Algorithm = hashing.SHA256
	if err := x.Apply(t.Context(), 501, []index.Change{digest}); err != nil {
		t.Fatal(err)
	}
	s = x.Snapshot()
	q := index.Query{Algorithm: hashing.PDQ, Limit: 10}
	ask := func() index.Shadow {
		t.Helper()
		for {
			q.Banks = map[index.BankID]int{0: 256, 1: 256, digest.Bank: 256}
			if _, err := s.Search(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			clear(q.Banks) // it is the caller's, who may do so while the query is asked again
			select {
			case got := <-told:
				return got
			case <-time.After(time.Millisecond):
			}
		}
	}
	for range 5 {
		if got := ask(); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	if err := s.Canary(t.Context()); err != nil {
		t.Error(err)
	}
	s = s.Spoilt()
	for ask().Err == nil { // one may have been under way
	}
	q = index.Query{Algorithm: hashing.SHA256, Value: digest.Signals[0].Value}
	for got := ask(); !strings.Contains(fmt.Sprint(got.Err), "sha256"); got = ask() {
	}
	if s.Canary(t.Context()) == nil {
		t.Error("the canary sings in an index that finds nothing")
	}
}
