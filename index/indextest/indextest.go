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
	"reflect"
	"slices"
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
	Join(ctx context.Context, q index.Query, values []hashing.Value, found func(value int, h index.Hit) error) error
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
	t.Run("Special", func(t *testing.T) { runSpecial(t, newEngine) })
	t.Run("Crowd", func(t *testing.T) { runCrowd(t, newEngine(t)) })
	t.Run("Histories", func(t *testing.T) { runHistories(t, newEngine) })
	t.Run("Concurrent", func(t *testing.T) { runConcurrent(t, newEngine(t)) })
}

// TB is what *testing.T, *rapid.T and [Goroutine] can do.
type TB interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

func apply(t TB, e Engine, seq uint64, changes []index.Change) {
	t.Helper()
	if err := e.Apply(t.Context(), seq, changes); err != nil {
		t.Fatalf("Apply(%d, %+v): %v", seq, changes, err)
	}
}

func search(t TB, s Snapshot, q index.Query) index.Result {
	t.Helper()
	r, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("Search(%+v): %v", q, err)
	}
	return r
}

// Compare compares all that can be asked of two snapshots: n queries, rows of some entries, stats. It returns how many hits
// there were, so that a test can say that it did not compare nothing with nothing.
func Compare(t TB, got, want Snapshot, g Gen, n int) (hits int) {
	t.Helper()
	compareStats(t, got, want)
	hits = CompareQueries(t, got, want, g.Queries(n))
	for range 4 {
		a, e := g.Algorithm(), g.Entry()
		if d := diff(want.Values(a, e), got.Values(a, e)); d != "" {
			t.Fatalf("seq %d, Values(%v, %d): (-want +got)\n%s", got.Seq(), a, e, d)
		}
	}
	return hits
}

// CompareQueries asks both snapshots the same queries, one by one, all at once, and the values of one algorithm as a join,
// and wants the same answers. It returns how many hits there were.
func CompareQueries(t TB, got, want Snapshot, queries []index.Query) (hits int) {
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
		if d := diff(want, search(t, got, q)); d != "" {
			t.Fatalf("seq %d, Search(%+v): (-want +got)\n%s", got.Seq(), q, d)
		}
		if d := diff(want, many[i]); d != "" {
			t.Fatalf("seq %d, SearchMany, query %d, %+v: (-want +got)\n%s", got.Seq(), i, q, d)
		}
		hits += len(want.Hits)
	}
	if len(queries) == 0 {
		return 0
	}
	var values []hashing.Value
	for _, q := range queries {
		if q.Algorithm == queries[0].Algorithm {
			values = append(values, q.Value)
		}
	}
	if d := diff(join(t, want, queries[0], values), join(t, got, queries[0], values)); d != "" {
		t.Fatalf("seq %d, Join(%+v) of %d values: (-want +got)\n%s", got.Seq(), queries[0], len(values), d)
	}
	return hits
}

// join collects what a join finds for each value, as Search orders it.
func join(t TB, s Snapshot, q index.Query, values []hashing.Value) [][]index.Hit {
	t.Helper()
	all := make([][]index.Hit, len(values))
	err := s.Join(t.Context(), q, values, func(i int, h index.Hit) error {
		all[i] = append(all[i], h)
		return nil
	})
	if err != nil {
		t.Fatalf("Join(%+v) of %d values: %v", q, len(values), err)
	}
	for _, hits := range all {
		slices.SortFunc(hits, compareHits)
	}
	return all
}

// diff is cmp.Diff, which takes its time, where there is a difference.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

// compareStats compares what does not depend on how an engine works.
func compareStats(t TB, got, want Snapshot) {
	t.Helper()
	if got.Seq() != want.Seq() {
		t.Fatalf("Seq() = %d, want %d", got.Seq(), want.Seq())
	}
	g, w := got.Stats(), want.Stats()
	if g.Dead < 0 || g.Segments < 0 || g.Bytes < 0 {
		t.Fatalf("negative stats: %+v", g)
	}
	told := func(s index.Stats) index.Stats { return index.Stats{Seq: s.Seq, Entries: s.Entries, Rows: s.Rows} }
	if d := diff(told(w), told(g)); d != "" {
		t.Fatalf("seq %d, Stats(): (-want +got)\n%s", got.Seq(), d)
	}
}

func wantInvalid(t TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, index.ErrInvalid) {
		t.Fatalf("%s: error %v, want index.ErrInvalid", what, err)
	}
}
