package text

import (
	"context"
	"fmt"
	"time"

	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"
)

// MaxLimit is the most hits that one search returns.
const MaxLimit = 1000

// Query is one search.
type Query struct {
	// Text is what is looked for, of at most 1,000 bytes and 32 words; empty finds every entry.
	//
	//	drapeau noir       both words, anywhere in the entry; in notes also other forms of a word of its language
	//	"drapeau noir"     these very words in a row, in one text
	//	example.org b-17   what punctuation joins is words in a row
	//	-vente             not this word; also -"en vente", -label:draft
	//	recrut*            words that begin so, from two letters; those of the index, of all banks, may be 1,024 at most
	//	drapaeu~           words that differ by one letter, or two neighbours swapped, from four letters
	//	label:recruitment  in the labels; also source:, note: and reason:, with all of the above
	Text string

	// Banks are those that the reader may see; nil means all, empty none. Nothing of another bank shows in any
	// part of the result.
	Banks []uint32
	// Status, Label and Source, if not empty, are the one accepted: a label as it is, a source as in the facet.
	Status, Label, Source string
	// From and To bound the time of creation: not before From, and before To; zero: unbounded.
	From, To time.Time

	Sort  Sort
	Limit int // of hits, from 1 to MaxLimit
	// Cursor is the Next of the page before, of the same query; empty begins.
	Cursor string
	// Facets are those to be counted, any of Facets().
	Facets []string
	// Highlight adds Fragments to the hits.
	Highlight bool
}

// Sort is the order of hits.
type Sort int

// The orders.
const (
	// ByScore puts first what fits best, of equals the newest. The score is of the query and the entry alone: if an entry
	// is changed between two pages, it may be missed or come twice.
	ByScore Sort = iota
	// Newest goes down the numbers of entries, which are given in the order of creation.
	Newest
)

// Result is the answer to a search.
type Result struct {
	Total  uint64 // of all pages
	Hits   []Hit
	Facets map[string]Facet
	Next   string // the cursor of the next page; "" if this is the last
	Seq    uint64 // of the change up to which the index answered
}

// Hit is an entry that was found.
type Hit struct {
	Entry uint64
	Score float64 // 0 if sorted by Newest
	// Fragments show where the query matched, by field: note, label, source, reason. A hit may have none.
	Fragments map[string][]Fragment
}

// Search answers a query. A *[QueryError] says what is wrong with it. It is exact: the hits and counts are of all entries
// that match, and of no others. If ctx ends, its error is the answer.
func (x *Index) Search(ctx context.Context, q Query) (result Result, err error) {
	x.using.RLock()
	defer x.using.RUnlock()
	if x.closed {
		return Result{}, ErrClosed
	}
	defer recovered(&err)()

	clauses, err := parse(q.Text)
	if err != nil {
		return Result{}, err
	}
	p, err := q.page()
	if err != nil {
		return Result{}, err
	}
	r, made, err := x.table.begin(x.reader)
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	mark, err := readMark(r)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	result.Seq = mark.Seq
	if q.Banks != nil && len(q.Banks) == 0 {
		result.Facets = p.facets()
		return result, nil
	}
	parts, err := partsOf(ctx, r, made)
	if err != nil {
		return Result{}, err
	}
	if len(clauses) == 0 {
		err = p.scan(ctx, parts, q.filters())
	} else {
		err = (&plan{ctx: ctx, reader: &even{IndexReader: r}, dict: r, scored: q.Sort == ByScore}).collect(q, clauses, p, parts)
	}
	if err != nil {
		return Result{}, err
	}
	result.Total, result.Hits, result.Next, result.Facets = p.total, p.hits(), p.next(), p.facets()
	if q.Highlight {
		for i := range result.Hits {
			if err := ctx.Err(); err != nil {
				return Result{}, err
			}
			if result.Hits[i].Fragments, err = fragments(r, result.Hits[i].Entry, clauses); err != nil {
				return Result{}, err
			}
		}
	}
	return result, nil
}

// plan makes bleve's searchers of a query. It combines them itself: bleve's own boolean query drops a condition that
// nothing meets, instead of finding nothing.
type plan struct {
	ctx    context.Context
	reader index.IndexReader // for words
	dict   index.IndexReader // for lists of words
	scored bool
}

// collect goes through what a query finds.
func (p *plan) collect(q Query, clauses []clause, into *page, parts []part) error {
	s, err := p.query(q, clauses)
	if err != nil {
		return err
	}
	defer s.Close()
	return into.collect(p.ctx, p.reader, parts, s)
}

// query makes the searcher of a whole query. Clauses learn the terms that they expand to.
func (p *plan) query(q Query, clauses []clause) (_ search.Searcher, err error) {
	var must, not []search.Searcher
	defer func() { closeAfter(err, append(must, not...)) }()
	for i := range clauses {
		s, err := p.clause(&clauses[i])
		if err != nil {
			return nil, err
		}
		if clauses[i].exclude {
			not = append(not, s)
		} else {
			must = append(must, s)
		}
	}
	for _, keys := range q.filters() {
		s, err := searcher.NewMultiTermSearcher(p.ctx, p.reader, keys, fieldKey, 1, unscored, false)
		if err != nil {
			return nil, err
		}
		must = append(must, s)
	}
	if len(must) == 0 {
		s, err := searcher.NewMatchAllSearcher(p.ctx, p.reader, 1, unscored)
		if err != nil {
			return nil, err
		}
		must = append(must, s)
	}
	all, err := searcher.NewConjunctionSearcher(p.ctx, p.reader, must, p.options())
	if err != nil || len(not) == 0 {
		return all, err
	}
	must = []search.Searcher{all}
	none, err := searcher.NewDisjunctionSearcher(p.ctx, p.reader, not, 1, unscored)
	if err != nil {
		return nil, err
	}
	return searcher.NewBooleanSearcher(p.ctx, p.reader, all, nil, none, p.options())
}

// closeAfter closes the searchers that an error leaves to nobody.
func closeAfter(err error, all []search.Searcher) {
	if err == nil {
		return
	}
	for _, s := range all {
		_ = s.Close()
	}
}

// filters are lists of keys: a document has one of each that is found.
func (q Query) filters() (filters [][]string) {
	if q.Banks != nil {
		keys := make([]string, len(q.Banks))
		for i, b := range q.Banks {
			keys[i] = bankKey(b)
		}
		filters = append(filters, keys)
	}
	for _, f := range [][2]string{{keyStatus, q.Status}, {keyLabel, q.Label}, {keySource, q.Source}} {
		if f[1] != "" {
			filters = append(filters, []string{key(f[0], f[1])})
		}
	}
	if days := daysBetween(q.From, q.To); days != nil {
		filters = append(filters, days)
	}
	return filters
}

// unscored searchers work on whole bitmaps.
var unscored = search.SearcherOptions{Score: "none"}

func (p *plan) options() search.SearcherOptions {
	if p.scored {
		return search.SearcherOptions{}
	}
	return unscored
}

// clause makes the searcher of a clause: of its fields, any.
func (p *plan) clause(c *clause) (_ search.Searcher, err error) {
	o := p.options()
	if c.exclude || c.expand != exact {
		o = unscored
	}
	var any []search.Searcher
	defer func() { closeAfter(err, any) }()
	c.terms = map[string]map[string]bool{}
	expanded := 0
	for _, f := range c.fields {
		var s search.Searcher
		var err error
		switch {
		case len(c.words) > 1:
			s, err = p.phrase(f, c.words, o)
		case c.expand == exact:
			c.terms[f] = map[string]bool{c.words[0]: true}
			s, err = searcher.NewTermSearcher(p.ctx, p.reader, c.words[0], f, 1, o)
		default:
			var terms []string
			if terms, err = p.expand(f, c, mostExpansion-expanded); err != nil {
				return nil, err
			}
			expanded += len(terms)
			c.terms[f] = map[string]bool{}
			for _, t := range terms {
				c.terms[f][t] = true
			}
			s, err = searcher.NewMultiTermSearcher(p.ctx, p.reader, terms, f, 1, o, false)
		}
		if err != nil {
			return nil, err
		}
		any = append(any, s)
	}
	const languageBoost = 2
	for _, st := range c.stems {
		c.terms[st.field] = map[string]bool{st.term: true}
		s, err := searcher.NewTermSearcher(p.ctx, p.reader, st.term, st.field, languageBoost, o)
		if err != nil {
			return nil, err
		}
		any = append(any, s)
	}
	return searcher.NewDisjunctionSearcher(p.ctx, p.reader, any, 1, o)
}

// phrase makes the searcher of words in a row. In sources it looks for their pairs first.
func (p *plan) phrase(field string, words []string, o search.SearcherOptions) (_ search.Searcher, err error) {
	var all []search.Searcher
	defer func() { closeAfter(err, all) }()
	if field == fieldSource {
		for i := 1; i < len(words); i++ {
			s, err := searcher.NewTermSearcher(p.ctx, p.reader, pair(words[i-1], words[i]), fieldPairs, 1, o)
			if err != nil || len(words) == 2 {
				return s, err
			}
			all = append(all, s)
		}
	}
	s, err := newPhrase(p.ctx, p.reader, words, field)
	if err != nil {
		return nil, err
	}
	all = append(all, s)
	return searcher.NewConjunctionSearcher(p.ctx, p.reader, all, o)
}

// expand returns the words of a field that a prefix or a fuzzy word stands for, up to a bound.
func (p *plan) expand(field string, c *clause, most int) ([]string, error) {
	var dict index.FieldDict
	var err error
	if c.expand == prefix {
		dict, err = p.dict.FieldDictPrefix(field, []byte(c.words[0]))
	} else {
		dict, err = p.dict.(index.IndexReaderFuzzy).FieldDictFuzzy(field, c.words[0], 1, "")
	}
	if err != nil {
		return nil, err
	}
	defer dict.Close()
	var terms []string
	for {
		e, err := dict.Next()
		if err != nil || e == nil {
			return terms, err
		}
		if len(terms) == most {
			return nil, wrong("text", "a word with * or ~ stands for more than %d words of the index; write more of its letters", mostExpansion)
		}
		terms = append(terms, e.Term)
	}
}

// daysBetween returns keys of months and days, in UTC, that hold all times between two: whole months where possible. It
// returns nil if that is not worth it, as for unbounded times.
func daysBetween(from, to time.Time) []string {
	const worth = 3 * 366 * 24 * time.Hour
	if from.IsZero() || to.IsZero() || to.Sub(from) > worth {
		return nil
	}
	keys := []string{}
	for day := from.UTC().Truncate(24 * time.Hour); day.Before(to); {
		if month := day.AddDate(0, 1, 0); day.Day() == 1 && !month.After(to) {
			keys = append(keys, keyMonth+day.Format("2006-01"))
			day = month
		} else {
			keys = append(keys, keyDay+day.Format(time.DateOnly))
			day = day.AddDate(0, 0, 1)
		}
	}
	return keys
}
