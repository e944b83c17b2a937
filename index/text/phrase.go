package text

import (
	"cmp"
	"context"
	"errors"
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
	ctx             context.Context
	words           []phraseWord
	at, next        []place // in their order
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

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.value, o.value), cmp.Compare(p.at, o.at))
}

func newPhrase(ctx context.Context, r index.IndexReader, words []string, field string) (_ search.Searcher, err error) {
	p := &phrase{ctx: ctx, norm: 1}
	var all []search.Searcher
	defer func() {
		if err != nil {
			closeAfter(err, all)
			_ = p.closeWords()
		}
	}()
	for i, w := range words {
		if first := slices.Index(words, w); first < i {
			for j := range p.words {
				if p.words[j].offsets[0] == first {
					p.words[j].offsets = append(p.words[j].offsets, i)
				}
			}
			continue
		}
		s, err := searcher.NewTermSearcher(ctx, r, w, field, 1, unscored)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
		reader, err := r.TermFieldReader(ctx, []byte(w), field, true, true, true)
		if err != nil {
			return nil, err
		}
		p.words = append(p.words, phraseWord{TermFieldReader: reader, offsets: []int{i}})
	}
	if p.Searcher, err = searcher.NewConjunctionSearcher(ctx, r, all, unscored); err != nil {
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

// count returns how often the phrase stands in a document that has all its words. It goes through the places of each word
// once for each time that the phrase has it, and in between looks whether its time is over: a long text can be one word
// throughout.
func (p *phrase) count(id index.IndexInternalID) (int, error) {
	for i := range p.words {
		w := &p.words[i]
		if _, err := w.TermFieldReader.Advance(id, &w.TermFieldDoc); err != nil {
			return 0, err
		}
		if !slices.IsSortedFunc(w.Vectors, inText) {
			slices.SortFunc(w.Vectors, inText)
		}
		for j, offset := range w.offsets {
			if err := p.ctx.Err(); err != nil {
				return 0, err
			}
			p.next = p.next[:0]
			before := p.at
			for _, v := range w.Vectors {
				begin := placeOf(v)
				begin.at -= offset
				for len(before) > 0 && before[0].compare(begin) < 0 {
					before = before[1:]
				}
				if i+j == 0 || len(before) > 0 && before[0] == begin {
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

// placeOf is where a word stands.
func placeOf(v *index.TermFieldVector) place {
	p := place{at: int(v.Pos)}
	if len(v.ArrayPositions) > 0 {
		p.value = v.ArrayPositions[0]
	}
	return p
}

func inText(a, b *index.TermFieldVector) int { return placeOf(a).compare(placeOf(b)) }

// Weight and SetQueryNorm are those of one word.
func (p *phrase) Weight() float64           { return 1 }
func (p *phrase) SetQueryNorm(norm float64) { p.norm = norm }

// Close lets go of all readers.
func (p *phrase) Close() error {
	return errors.Join(p.Searcher.Close(), p.closeWords())
}

func (p *phrase) closeWords() (err error) {
	for _, w := range p.words {
		err = errors.Join(err, w.TermFieldReader.Close())
	}
	return err
}
