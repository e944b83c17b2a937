package text_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigie/index/text"
)

// apply indexes documents, numbered from the first.
func apply(t *testing.T, x *text.Index, first uint64, docs ...text.Document) {
	t.Helper()
	for i := range docs {
		docs[i].Entry = first + uint64(i)
	}
	if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: first}, docs, nil); err != nil {
		t.Fatal(err)
	}
}

// TestScoreIsOfTheEntry: what stands in other banks, and how much, changes neither scores nor the order. Else a reader
// could tell from their own entries which words others have.
func TestScoreIsOfTheEntry(t *testing.T) {
	x := open(t, t.TempDir(), 1000)
	apply(t, x, 1,
		text.Document{Bank: 1, Note: "river river bridge"}, text.Document{Bank: 1, Note: "river bridge bridge"},
		text.Document{Bank: 1, Note: "the old bridge over the river"}, text.Document{Bank: 1, Labels: []string{"river"}, Note: "bridge"})
	queries := []string{"river bridge", "bridge", `"river bridge"`, `bridge "old bridge"`, "riv* bridge"}
	ask := func() (all [][]text.Hit) {
		t.Helper()
		for _, q := range queries {
			r, err := x.Search(t.Context(), text.Query{Text: q, Banks: []uint32{1}, Limit: 10})
			if err != nil || len(r.Hits) == 0 {
				t.Fatalf("%s: %d found, %v", q, len(r.Hits), err)
			}
			all = append(all, r.Hits)
		}
		return all
	}
	before := ask()
	others := make([]text.Document, 300)
	for i := range others {
		others[i] = text.Document{Bank: 2, Note: fmt.Sprint("river number ", i)}
	}
	apply(t, x, 100, others...)
	for i, after := range ask() {
		for j, h := range after {
			if h.Entry != before[i][j].Entry || h.Score != before[i][j].Score {
				t.Errorf("%s finds %v, and after others came %v", queries[i], before[i], after)
				break
			}
		}
	}
}

// TestPhrases: words in a row, of which some come twice, and in one text only.
func TestPhrases(t *testing.T) {
	x := open(t, t.TempDir(), 1)
	apply(t, x, 1,
		text.Document{Note: "la la la"}, text.Document{Note: "la di la la"}, text.Document{Note: "la di", Reason: "la la"},
		text.Document{Labels: []string{"la", "di", "la:la"}}, text.Document{Note: "di la la di la la la"})
	for query, want := range map[string][]uint64{
		`"la la"`: {5, 4, 3, 2, 1}, `"la la la"`: {5, 1}, `"la di"`: {5, 3, 2}, `"la di la"`: {5, 2},
		`"la la di la"`: {5}, `"di la la di"`: {5}, `note:"la la"`: {5, 2, 1}, `"la la la la"`: nil, `"la la" -"la la la"`: {4, 3, 2},
	} {
		for _, sort := range []text.Sort{text.Newest, text.ByScore} {
			r, err := x.Search(t.Context(), text.Query{Text: query, Limit: 10, Sort: sort})
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, h := range r.Hits {
				got = append(got, h.Entry)
			}
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("%s finds %v; want %v", query, got, want)
			}
		}
	}
}

// ended is a context that ends when it was asked so often.
type ended struct {
	context.Context
	left atomic.Int64
}

func (e *ended) Err() error {
	if e.left.Add(-1) < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestLongPhrase: a phrase of one word, in texts that are nothing else, is counted in one go through the text for each of
// its words, and its time can end within one entry.
func TestLongPhrase(t *testing.T) {
	x := open(t, t.TempDir(), 1000)
	const words, times = 31, 32_000
	docs := make([]text.Document, 5)
	for i := range docs {
		docs[i].Note = strings.Repeat("a ", times)
	}
	docs[0].Note = strings.Repeat("a ", words-1)
	apply(t, x, 1, docs...)
	q := text.Query{Text: `note:"` + strings.Repeat("a ", words) + `"`, Limit: 10}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // some hundredths are enough
	defer cancel()
	r, err := x.Search(ctx, q)
	if err != nil || r.Total != 4 {
		t.Fatalf("%d found, %v; want 4", r.Total, err)
	}
	q.Text = `note:"a a"`
	pairs, err := x.Search(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	const phrases = times - words + 1
	if got, want := r.Hits[0].Score/pairs.Hits[0].Score, math.Sqrt(float64(phrases)/(times-1)); math.Abs(got-want) > 1e-6 {
		t.Errorf("%d words in a row %d times score %v of what two do; want %v", words, phrases, got, want)
	}
	one := open(t, t.TempDir(), 1)
	apply(t, one, 1, docs[1])
	q.Text = `note:"` + strings.Repeat("a ", words) + `"`
	short := &ended{Context: t.Context()}
	short.left.Store(words / 2)
	if r, err := one.Search(short, q); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d found, %v; want that its time is over", r.Total, err)
	}
}

// TestSearchEnds: a search ends when its time does, be it among hits, or where none come for long.
func TestSearchEnds(t *testing.T) {
	x := open(t, t.TempDir(), 1)
	docs := make([]text.Document, 5000)
	for i := range docs { // no two words in one document, and all in turn
		docs[i].Note = []string{"alpha of it", "omega of it"}[i%2]
	}
	apply(t, x, 1, docs...)
	for _, q := range []text.Query{
		{}, {Sort: text.Newest, Facets: text.Facets()}, {Status: "none"}, {Text: "alpha"}, {Text: "alpha omega"}, {Text: `"it of"`}, {Text: "-nothing"},
	} {
		q.Limit = 10
		if _, err := x.Search(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		ctx := &ended{Context: t.Context()}
		ctx.left.Store(2)
		if r, err := x.Search(ctx, q); !errors.Is(err, context.DeadlineExceeded) || r.Total > 0 || r.Hits != nil {
			t.Errorf("%+v: %d of %d found, error %v; want only that its time is over", q, len(r.Hits), r.Total, err)
		}
	}
}
