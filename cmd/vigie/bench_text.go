package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"vigie/index/text"
	entries "vigie/index/text/sample"
)

type textBenchCmd struct {
	Docs    int    `help:"Entries in the index." default:"1000000"`
	Queries int    `help:"Queries of each kind, in each language; of other words each." default:"200"`
	Seed    uint64 `help:"Seed of the entries, and of the words that are looked for." default:"1"`
	benchFiles
}

// textBench fills an index, times queries, fills another one with the same entries, and compares their answers.
type textBench struct {
	*textBenchCmd
	app    *app
	cases  []textCase
	report textReport
}

// textCase is a kind of query, and those that are asked of it.
type textCase struct {
	language, kind string
	queries        []text.Query
}

// textPage is how many hits a query that is timed asks for.
const textPage = 20

// Run fails if an answer of the second index was another one.
func (c *textBenchCmd) Run(ctx context.Context, a *app) error {
	if c.Docs < 1 || c.Queries < 1 {
		return usagef("--docs and --queries: %d and %d; they must be 1 at least", c.Docs, c.Queries)
	}
	dir, err := os.MkdirTemp("", "vigie-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &textBench{textBenchCmd: c, app: a, cases: textCases(entries.Begin, c.Seed, c.Queries)}
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

// times asks each query, after a round that does not count. Kinds take turns.
func (b *textBench) times(ctx context.Context, x *text.Index) error {
	took, hits := make([][]float64, len(b.cases)), make([]uint64, len(b.cases))
	var all []float64
	shown := b.app.countdown(2*len(b.cases)*b.Queries, "queries")
	defer shown.end()
	for counts := range 2 {
		for n := range b.Queries {
			for i, c := range b.cases {
				began := time.Now()
				found, err := x.Search(ctx, c.queries[n])
				if err != nil {
					return err
				}
				microseconds := float64(time.Since(began).Nanoseconds()) / 1000
				shown.done()
				if hits[i] = max(hits[i], found.Total); counts == 1 {
					took[i] = append(took[i], microseconds)
				}
			}
		}
	}
	for i, c := range b.cases {
		b.report.Times = append(b.report.Times, textTimes{c.language, c.kind, hits[i], len(took[i]), quantilesOf(took[i])})
		all = append(all, took[i]...)
	}
	b.report.All = quantilesOf(all)
	return nil
}

// textCases are what people would ask, in each language, n queries of each kind: words of notes as the entries have them,
// so that common words are asked for more often. Times begin with the first entry.
func textCases(begin time.Time, seed uint64, n int) (all []textCase) {
	filters := text.Query{Banks: []uint32{1, 2, 5, 9}, Status: "active", From: begin.AddDate(0, 0, 7), To: begin.AddDate(0, 2, 0)}
	facets, everything := text.Query{Facets: text.Facets()}, filters
	everything.Facets, everything.Highlight = text.Facets(), true
	for _, l := range [][2]string{{"French", "fr"}, {"English", "en"}, {"Arabic", "ar"}} {
		for _, k := range []struct {
			kind string
			text func(words []string) string
			base text.Query
		}{
			{"one word", oneWord, text.Query{}},
			{"two words", twoWords, text.Query{}},
			{"a phrase", aPhrase, text.Query{}},
			{"a beginning", aBeginning, text.Query{}},
			{"misspelt", misspelt, text.Query{}},
			{"a word, filters", oneWord, filters},
			{"a word, all facets", oneWord, facets},
			{"a word, highlights", oneWord, text.Query{Highlight: true}},
			{"two words and all of these", twoWords, everything},
		} {
			c := textCase{language: l[0], kind: k.kind}
			for note := range entries.Notes(seed, l[1]) {
				if len(c.queries) == n {
					break
				}
				k.base.Limit = textPage
				if k.base.Text = k.text(text.Fold(note)); k.base.Text != "" {
					c.queries = append(c.queries, k.base)
				}
			}
			all = append(all, c)
		}
	}
	for _, k := range []struct {
		kind  string
		query text.Query
	}{
		{"everything, newest", text.Query{Sort: text.Newest}},
		{"everything, all facets", text.Query{Sort: text.Newest, Facets: text.Facets()}},
		{"a host", text.Query{Text: "example.org"}},
		{"a label", text.Query{Text: "label:recruitment"}},
	} {
		k.query.Limit = textPage
		all = append(all, textCase{"any", k.kind, slices.Repeat([]text.Query{k.query}, n)})
	}
	return all
}

// telling are the words of a note that one would look for: articles and prepositions are short in all three languages.
func telling(words []string, letters int) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return utf8.RuneCountInString(w) < letters })
}

// What is looked for, made of the words of a note; "" if the note does not have them.
func oneWord(words []string) string { return strings.Join(first(telling(words, 4), 1), " ") }

func twoWords(words []string) string { return strings.Join(first(telling(words, 4), 2), " ") }

func aPhrase(words []string) string { return `"` + strings.Join(first(words, 2), " ") + `"` }

func aBeginning(words []string) string {
	for _, w := range telling(words, 6) {
		return string([]rune(w)[:5]) + "*"
	}
	return ""
}

func misspelt(words []string) string {
	for _, w := range telling(words, 5) {
		letters := []rune(w)
		letters[2], letters[3] = letters[3], letters[2]
		return string(letters) + "~"
	}
	return ""
}

// first are the first n words, none if there are fewer.
func first(words []string, n int) []string {
	if len(words) < n {
		return nil
	}
	return words[:n]
}

// compared are the queries whose answers two indexes must agree on: some of each kind, and more, in both orders.
func (b *textBench) compared() (all []text.Query) {
	for _, c := range b.cases {
		all = append(all, c.queries[:min(4, len(c.queries))]...)
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
