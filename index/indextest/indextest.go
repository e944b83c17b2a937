// Package indextest holds what every engine behind the interface of vigie/index must do, as tests.
//
// [Run] puts an engine through named cases, random histories (a state machine) and concurrent
// reading, and compares each answer with that of an [Oracle], which searches a plain map by simple
// loops. [Gen] and [Catalogue] make the data: small and adversarial, or large and like real hashes.
//
// An engine's test is one line:
//
//	func TestIndex(t *testing.T) {
//		indextest.Run(t, func(*testing.T) indextest.Engine { return indextest.Of(index.New(index.Options{})) })
//	}
package indextest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/index"
)

// Engine is what [index.Index] does; its documentation is the contract.
type Engine interface {
	Apply(ctx context.Context, seq uint64, changes []index.Change) error
	Snapshot() Snapshot
}

// Snapshot is what [index.Snapshot] does.
type Snapshot interface {
	Seq() uint64
	Search(ctx context.Context, q index.Query) (index.Result, error)
	SearchMany(ctx context.Context, queries []index.Query) ([]index.Result, error)
	Values(a hashing.Algorithm, e index.EntryID) []hashing.Signal
	Stats() index.Stats
}

// Of makes an Engine of an index.
func Of(x *index.Index) Engine { return engine{x} }

type engine struct{ *index.Index }

func (e engine) Snapshot() Snapshot { return e.Index.Snapshot() }

// Run tests the engine that newEngine makes. Each of many calls is to return an empty one; what it
// needs to be released may be left to t.Cleanup.
func Run(t *testing.T, newEngine func(t *testing.T) Engine) {
	t.Run("Cases", func(t *testing.T) { runCases(t, newEngine) })
	t.Run("Refusals", func(t *testing.T) { runRefusals(t, newEngine(t)) })
	t.Run("Cancelled", func(t *testing.T) { runCancelled(t, newEngine(t)) })
	t.Run("Cluster", func(t *testing.T) { runCluster(t, newEngine(t)) })
	t.Run("Crowd", func(t *testing.T) { runCrowd(t, newEngine(t)) })
	t.Run("Histories", func(t *testing.T) { runHistories(t, newEngine) })
	t.Run("Concurrent", func(t *testing.T) { runConcurrent(t, newEngine(t)) })
}

// tb is what both *testing.T and *rapid.T can do.
type tb interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

func apply(t tb, e Engine, seq uint64, changes []index.Change) {
	t.Helper()
	if err := e.Apply(t.Context(), seq, changes); err != nil {
		t.Fatalf("Apply(%d, %+v): %v", seq, changes, err)
	}
}

func search(t tb, s Snapshot, q index.Query) index.Result {
	t.Helper()
	r, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("Search(%+v): %v", q, err)
	}
	return r
}

// compare asks both snapshots the same queries, one by one and all at once, and wants the same answers.
func compare(t tb, got, want Snapshot, queries []index.Query) {
	t.Helper()
	many, err := got.SearchMany(t.Context(), queries)
	if err != nil {
		t.Fatalf("SearchMany(%+v): %v", queries, err)
	}
	if len(many) != len(queries) {
		t.Fatalf("SearchMany of %d queries: %d results", len(queries), len(many))
	}
	for i, q := range queries {
		want := search(t, want, q)
		if diff := cmp.Diff(want, search(t, got, q)); diff != "" {
			t.Fatalf("seq %d, Search(%+v): (-want +got)\n%s", got.Seq(), q, diff)
		}
		if diff := cmp.Diff(want, many[i]); diff != "" {
			t.Fatalf("seq %d, SearchMany, query %d, %+v: (-want +got)\n%s", got.Seq(), i, q, diff)
		}
	}
}

// compareStats compares what does not depend on how an engine works.
func compareStats(t tb, got, want Snapshot) {
	t.Helper()
	if got.Seq() != want.Seq() {
		t.Fatalf("Seq() = %d, want %d", got.Seq(), want.Seq())
	}
	g, w := got.Stats(), want.Stats()
	if g.Dead < 0 || g.Segments < 0 || g.Bytes < 0 {
		t.Fatalf("negative stats: %+v", g)
	}
	g.Dead, g.Segments, g.Bytes = 0, 0, 0
	if diff := cmp.Diff(w, g); diff != "" {
		t.Fatalf("seq %d, Stats(): (-want +got)\n%s", got.Seq(), diff)
	}
}

// compareValues compares the rows of some entries.
func compareValues(t tb, got, want Snapshot, g Gen) {
	t.Helper()
	for range 4 {
		a, e := g.Algorithm(), g.Entry()
		if diff := cmp.Diff(want.Values(a, e), got.Values(a, e)); diff != "" {
			t.Fatalf("seq %d, Values(%v, %d): (-want +got)\n%s", got.Seq(), a, e, diff)
		}
	}
}

func wantInvalid(t tb, what string, err error) {
	t.Helper()
	if !errors.Is(err, index.ErrInvalid) {
		t.Fatalf("%s: error %v, want index.ErrInvalid", what, err)
	}
}
