package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"time"

	"vigie/index/text"
	entries "vigie/index/text/sample"
)

type textBenchCmd struct {
	Docs   int    `help:"Entries in the index." default:"1000000"`
	Rounds int    `help:"Each query is timed so often." default:"25"`
	Seed   uint64 `help:"Seed of the entries." default:"1"`
	benchFiles
}

// textBench fills an index, times queries, fills another one with the same entries, and compares their answers.
type textBench struct {
	*textBenchCmd
	app    *app
	cases  []textCase
	report textReport
}

// textCase is one query.
type textCase struct {
	language, kind string
	query          text.Query
}

// textPage is how many hits a query that is timed asks for.
const textPage = 20

// Run fails if an answer of the second index was another one.
func (c *textBenchCmd) Run(ctx context.Context, a *app) error {
	if c.Docs < 1 || c.Rounds < 1 {
		return usagef("--docs and --rounds: %d and %d; they must be 1 at least", c.Docs, c.Rounds)
	}
	dir, err := os.MkdirTemp("", "vigie-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &textBench{textBenchCmd: c, app: a, cases: textCases(entries.Begin)}
	b.report.Docs, b.report.Processors = c.Docs, runtime.GOMAXPROCS(0)
	if err := b.run(ctx, dir); err != nil {
		return err
	}
	if err := c.publish(a.printer, b.report); err != nil {
		return err
	}
	if r := b.report; r.Differences > 0 {
		return fmt.Errorf("OTHER ANSWERS: %d of %d differ between two indexes of the same entries", r.Differences, r.Compared)
	}
	return nil
}

func (b *textBench) run(ctx context.Context, dir string) error {
	r, empty := &b.report, settledBytes()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	peak := watchPeak()
	x, took, err := b.fill(ctx, first, b.Docs)
	r.Peak, r.Fill = peak()-empty, took.Seconds()
	if err != nil {
		return err
	}
	s, err := x.State()
	if err != nil {
		return err
	}
	if r.Bytes = s.Bytes; s.Documents != uint64(b.Docs) {
		return fmt.Errorf("%d entries were indexed, %d are in the index", b.Docs, s.Documents)
	}
	if err := x.Close(); err != nil {
		return err
	}
	began := time.Now()
	if x, err = text.Open(first, b.options()); err != nil {
		return err
	}
	r.Open = time.Since(began).Seconds()
	if err := b.times(ctx, x); err != nil {
		return err
	}
	r.Resident = settledBytes() - empty
	compared := b.compared()
	want, err := answers(ctx, x, compared)
	if err != nil {
		return err
	}
	if err := x.Close(); err != nil {
		return err
	}

	if x, took, err = b.fill(ctx, second, b.Docs/2+1); err != nil {
		return err
	}
	r.Rebuild, r.Compared = took.Seconds(), len(compared)
	got, err := answers(ctx, x, compared)
	if err != nil {
		return err
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			r.Differences++
		}
	}
	return x.Close()
}

const textBenchLog = "bench"

func (b *textBench) options() text.Options {
	return text.Options{LogID: textBenchLog, Head: uint64(b.Docs)}
}

// fill makes an index, and returns how long it took until all was on disk. When pause entries are in, it is closed and
// opened again, as a node may be: the parts that the index is made of are then others.
func (b *textBench) fill(ctx context.Context, dir string, pause int) (x *text.Index, took time.Duration, err error) {
	const some = 500 // as a node does
	shown := b.app.countdown(b.Docs, "entries")
	defer shown.end()
	began := time.Now()
	if x, err = text.Open(dir, b.options()); err != nil {
		return nil, 0, err
	}
	docs, seq := make([]text.Document, 0, some), 0
	flush := func() error {
		err := x.Apply(ctx, text.Mark{LogID: textBenchLog, Seq: uint64(seq)}, docs, nil)
		docs = docs[:0]
		return err
	}
	for d := range entries.Documents(b.Seed, b.Docs) {
		docs, seq = append(docs, d), seq+1
		shown.done()
		if len(docs) < some && seq < b.Docs && seq != pause {
			continue
		}
		if err := flush(); err != nil {
			return nil, 0, err
		}
		if seq == pause && seq < b.Docs {
			if err := x.Close(); err != nil {
				return nil, 0, err
			}
			if x, err = text.Open(dir, b.options()); err != nil {
				return nil, 0, err
			}
			if at := x.Mark().Seq; at != uint64(seq) {
				return nil, 0, fmt.Errorf("closed at entry %d, the index opens at %d", seq, at)
			}
		}
	}
	for {
		s, err := x.State()
		switch {
		case err != nil:
			return nil, 0, err
		case s.Saved == uint64(b.Docs):
			return x, time.Since(began), nil
		case s.Fault != "":
			return nil, 0, fmt.Errorf("save the index: %s", s.Fault)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// times asks each query again and again, each round in the same order, after one round that does not count.
func (b *textBench) times(ctx context.Context, x *text.Index) error {
	took, hits := map[[2]string][]float64{}, map[[2]string]uint64{}
	var cells [][2]string
	shown := b.app.countdown(len(b.cases)*(b.Rounds+1), "queries")
	defer shown.end()
	for round := range b.Rounds + 1 {
		for _, c := range b.cases {
			began := time.Now()
			found, err := x.Search(ctx, c.query)
			if err != nil {
				return err
			}
			microseconds := float64(time.Since(began).Nanoseconds()) / 1000
			shown.done()
			cell := [2]string{c.language, c.kind}
			if round == 0 {
				if _, ok := hits[cell]; !ok {
					cells = append(cells, cell)
				}
				hits[cell] = max(hits[cell], found.Total)
				continue
			}
			took[cell] = append(took[cell], microseconds)
			took[[2]string{}] = append(took[[2]string{}], microseconds)
		}
	}
	for _, cell := range cells {
		b.report.Times = append(b.report.Times, textTimes{cell[0], cell[1], hits[cell], len(took[cell]), quantilesOf(took[cell])})
	}
	b.report.All = quantilesOf(took[[2]string{}])
	return nil
}

// textCases are what people would ask, in each language. Times begin with the first entry.
func textCases(begin time.Time) (all []textCase) {
	filters := text.Query{Banks: []uint32{1, 2, 5, 9}, Status: "active", From: begin.AddDate(0, 0, 7), To: begin.AddDate(0, 2, 0)}
	for _, l := range []struct {
		language                            string
		word, words, phrase, prefix, fuzzed []string
	}{
		{
			"French",
			[]string{"drapeau", "rivière", "journaux", "oiseau"},
			[]string{"affiche ville", "photo du marché", "lettre ancienne", "neige soleil"},
			[]string{`"affiche photo"`, `"de la"`, `"ville de"`},
			[]string{"affich*", "cha*", "montag*"},
			[]string{"drapaeu~", "rivere~", "marchee~"},
		},
		{
			"English",
			[]string{"banner", "bridge", "crowded", "school"},
			[]string{"old bridge", "crowd market", "translated letter", "snow sun"},
			[]string{`"old bridge"`, `"of the"`, `"poster photo"`},
			[]string{"post*", "tra*", "news*"},
			[]string{"bannr~", "brigde~", "schol~"},
		},
		{
			"Arabic",
			[]string{"كتاب", "مدرسه", "جسر", "طائرة"},
			[]string{"مدينة كبيرة", "رسالة قديمة", "صورة السوق", "ثلج شمس"},
			[]string{`"في من"`, `"كتاب الكتاب"`, `"على الي"`},
			[]string{"مدر*", "كت*", "ال*"},
			[]string{"مدينه~", "كتااب~", "رسااله~"},
		},
	} {
		add := func(kind string, texts []string, base text.Query) {
			for _, t := range texts {
				base.Text, base.Limit = t, textPage
				all = append(all, textCase{l.language, kind, base})
			}
		}
		add("one word", l.word, text.Query{})
		add("two words", l.words, text.Query{})
		add("a phrase", l.phrase, text.Query{})
		add("a beginning", l.prefix, text.Query{})
		add("misspelt", l.fuzzed, text.Query{})
		add("a word, filters", l.word, filters)
		add("a word, all facets", l.word, text.Query{Facets: text.Facets()})
		add("a word, highlights", l.word, text.Query{Highlight: true})
		filters.Facets, filters.Highlight = text.Facets(), true
		add("two words and all of these", l.words, filters)
		filters.Facets, filters.Highlight = nil, false
	}
	for _, c := range []textCase{
		{"any", "everything, newest", text.Query{Sort: text.Newest}},
		{"any", "everything, all facets", text.Query{Sort: text.Newest, Facets: text.Facets()}},
		{"any", "a host", text.Query{Text: "example.org"}},
		{"any", "a label", text.Query{Text: "label:recruitment"}},
	} {
		c.query.Limit = textPage
		all = append(all, c)
	}
	return all
}

// compared are the queries whose answers two indexes must agree on: all that are timed, and more, in both orders.
func (b *textBench) compared() (all []text.Query) {
	for _, c := range b.cases {
		all = append(all, c.query)
	}
	for _, t := range entries.Queries() {
		for _, sort := range []text.Sort{text.ByScore, text.Newest} {
			all = append(all, text.Query{Text: t, Sort: sort, Limit: 100, Facets: text.Facets(), Highlight: true})
		}
	}
	return all
}

// answers asks each query, for two pages.
func answers(ctx context.Context, x *text.Index, queries []text.Query) (all [][2]text.Result, err error) {
	for _, q := range queries {
		var pages [2]text.Result
		for i := range pages {
			if pages[i], err = x.Search(ctx, q); err != nil {
				return nil, err
			}
			if q.Cursor = pages[i].Next; q.Cursor == "" {
				break
			}
		}
		all = append(all, pages)
	}
	return all, nil
}
