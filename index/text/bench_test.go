package text_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"vigie/index/text"
	"vigie/index/text/sample"
)

const logID = "log-1"

// fill opens an index and fills it with documents, a thousand at a time.
func fill(tb testing.TB, dir string, seed uint64, n int) *text.Index {
	tb.Helper()
	x := open(tb, dir, uint64(n))
	var batch []text.Document
	var seq uint64
	flush := func() {
		if err := x.Apply(tb.Context(), text.Mark{LogID: logID, Seq: seq}, batch, nil); err != nil {
			tb.Fatal(err)
		}
		batch = batch[:0]
	}
	for d := range sample.Documents(seed, n) {
		batch, seq = append(batch, d), seq+1
		if len(batch) == 1000 {
			flush()
		}
	}
	flush()
	return x
}

func open(tb testing.TB, dir string, head uint64) *text.Index {
	tb.Helper()
	x, err := text.Open(dir, text.Options{LogID: logID, Head: head})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := x.Close(); err != nil {
			tb.Error(err)
		}
	})
	return x
}

// BenchmarkSearch measures searches of one to three words over VIGIE_TEXT_DOCS documents (20,000 if unset), alone, with
// facets, and with facets and highlights: the median and the 99th percentile of all of them.
func BenchmarkSearch(b *testing.B) {
	n := 20_000
	if s := os.Getenv("VIGIE_TEXT_DOCS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	begun := time.Now()
	x := fill(b, b.TempDir(), 1, n)
	took := time.Since(begun)
	s, err := x.State()
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d documents in %.1f s, %.1f MB on disk", s.Documents, took.Seconds(), float64(s.Bytes)/1e6)
	for _, c := range []struct {
		name  string
		query text.Query
	}{
		{"plain", text.Query{}},
		{"newest", text.Query{Sort: text.Newest}},
		{"facets", text.Query{Facets: text.Facets()}},
		{"banks", text.Query{Facets: text.Facets(), Highlight: true, Banks: []uint32{1, 2, 5, 9}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var times []time.Duration
			worst, slowest := time.Duration(0), ""
			for i := 0; b.Loop(); i++ {
				q := c.query
				q.Text, q.Limit = sample.Queries()[i%len(sample.Queries())], 20
				begun := time.Now()
				r, err := x.Search(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				t := time.Since(begun)
				if times = append(times, t); t > worst {
					worst, slowest = t, q.Text+" ("+strconv.FormatUint(r.Total, 10)+" hits)"
				}
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1e3, "p99-ms")
			b.Logf("slowest: %s, %s", worst, slowest)
		})
	}
}
