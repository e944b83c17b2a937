package text

import (
	"context"
	"math"
	"slices"

	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"
)

// phrase finds words in a row in one value of a field. It goes through the documents that have all the words, which
// bitmaps tell, and compares positions there, without the copies of each that bleve's own makes for whoever wants to see
// them: common words have many.
type phrase struct {
	search.Searcher // the documents that have all the words
	words           []phraseWord
	at, next        []place
	norm            float64 // of the query
}

// phraseWord is a word at one or more places of a phrase.
type phraseWord struct {
	index.TermFieldReader
	index.TermFieldDoc
	offsets []int
}

// place is where a phrase may begin: the value of the field, and the number of the word in it.
type place struct {
	value uint64
	at    int
}

func newPhrase(ctx context.Context, r index.IndexReader, words []string, field string) (search.Searcher, error) {
	p := &phrase{norm: 1}
	var all []search.Searcher
	var err error
	for i, w := range words {
		if first := slices.Index(words, w); first < i {
			for j := range p.words {
				if p.words[j].offsets[0] == first {
					p.words[j].offsets = append(p.words[j].offsets, i)
				}
			}
			continue
		}
		s, fault := searcher.NewTermSearcher(ctx, r, w, field, 1, unscored)
		if fault != nil {
			err = fault
			break
		}
		all = append(all, s)
		reader, fault := r.TermFieldReader(ctx, []byte(w), field, true, true, true)
		if fault != nil {
			err = fault
			break
		}
		p.words = append(p.words, phraseWord{TermFieldReader: reader, offsets: []int{i}})
	}
	if err == nil {
		p.Searcher, err = searcher.NewConjunctionSearcher(ctx, r, all, unscored)
	}
	if err != nil {
		return nil, err
	}
	// Rare words first: where they do not stand, the others need not be read.
	slices.SortStableFunc(p.words, func(a, b phraseWord) int { return int(a.Count()) - int(b.Count()) })
	return p, nil
}

// Next returns the next document that has the phrase.
func (p *phrase) Next(c *search.SearchContext) (*search.DocumentMatch, error) {
	return p.from(c, func() (*search.DocumentMatch, error) { return p.Searcher.Next(c) })
}

// Advance returns the first document from one on that has the phrase.
func (p *phrase) Advance(c *search.SearchContext, id index.IndexInternalID) (*search.DocumentMatch, error) {
	return p.from(c, func() (*search.DocumentMatch, error) { return p.Searcher.Advance(c, id) })
}

func (p *phrase) from(c *search.SearchContext, first func() (*search.DocumentMatch, error)) (*search.DocumentMatch, error) {
	m, err := first()
	for err == nil && m != nil {
		var times int
		if times, err = p.count(m.IndexInternalID); err != nil {
			return nil, err
		}
		if times > 0 {
			m.Score = p.norm * math.Sqrt(float64(times)) * p.words[0].Norm // as bleve's of one word
			return m, nil
		}
		c.DocumentMatchPool.Put(m)
		m, err = p.Searcher.Next(c)
	}
	return m, err
}

// count returns how often the phrase stands in a document that has all its words.
func (p *phrase) count(id index.IndexInternalID) (int, error) {
	for i := range p.words {
		w := &p.words[i]
		if _, err := w.TermFieldReader.Advance(id, &w.TermFieldDoc); err != nil {
			return 0, err
		}
		for j, offset := range w.offsets {
			p.next = p.next[:0]
			for _, v := range w.Vectors {
				begin := place{at: int(v.Pos) - offset}
				if len(v.ArrayPositions) > 0 {
					begin.value = v.ArrayPositions[0]
				}
				if i+j == 0 || slices.Contains(p.at, begin) {
					p.next = append(p.next, begin)
				}
			}
			if p.at, p.next = p.next, p.at; len(p.at) == 0 {
				return 0, nil
			}
		}
	}
	return len(p.at), nil
}

// Weight and SetQueryNorm are those of one word.
func (p *phrase) Weight() float64           { return 1 }
func (p *phrase) SetQueryNorm(norm float64) { p.norm = norm }

// Close lets go of all readers.
func (p *phrase) Close() error {
	err := p.Searcher.Close()
	for _, w := range p.words {
		if fault := w.TermFieldReader.Close(); err == nil {
			err = fault
		}
	}
	return err
}
