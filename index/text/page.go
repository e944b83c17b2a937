package text

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"

	"github.com/blevesearch/bleve/v2/search"
	index "github.com/blevesearch/bleve_index_api"
)

// facetKinds are the facets, and the keys that they count.
var facetKinds = map[string]string{
	"bank": keyBank, "label": keyLabel, "source": keySource, "status": keyStatus, "month": keyMonth, "day": keyDay,
}

// Facets are the facets that can be asked for: bank (its number), label, source (the host of a URL, or "other"), status,
// month (2006-01) and day (2006-01-02) of creation, in UTC.
func Facets() []string { return []string{"bank", "label", "source", "status", "month", "day"} }

// MaxFacetValues is how many values of a facet are told apart.
const MaxFacetValues = 400

// Facet counts the hits of all pages by value; one hit can have several labels and sources. Values are the commonest
// first, of months and days the latest first.
type Facet struct {
	Values []FacetValue
	// Other is how many values more there are than MaxFacetValues.
	Other int
}

// FacetValue is how many hits have a value.
type FacetValue struct {
	Value string
	Count uint64
}

// page goes through all hits of a query: it counts them, and keeps the best that come after the cursor.
type page struct {
	limit    int
	after    *rank // the last hit of the page before
	sum      uint64
	from, to string // keys of time; "" unbounded
	scored   bool
	asked    []string

	total  uint64
	best   worstFirst
	more   bool // there are hits after the best
	counts map[byte]map[string]*uint64
}

// rank is the place of a hit: by score, then by entry, both downwards.
type rank struct {
	Score float64 `json:"s"`
	Entry uint64  `json:"e"`
}

// compare is negative if r comes before s.
func (r rank) compare(s rank) int {
	return cmp.Or(cmp.Compare(s.Score, r.Score), cmp.Compare(s.Entry, r.Entry))
}

// cursor is what Result.Next holds: where a page ended, and of which query.
type cursor struct {
	rank
	Query uint64 `json:"q"`
}

// page checks what parse does not.
func (q Query) page() (*page, error) {
	p := &page{limit: q.Limit, sum: q.sum(), scored: q.Sort == ByScore, asked: q.Facets, counts: map[byte]map[string]*uint64{}}
	if q.Limit < 1 || q.Limit > MaxLimit {
		return nil, wrong("limit", "is %d; 1 to %d are accepted", q.Limit, MaxLimit)
	}
	if q.Sort != ByScore && q.Sort != Newest {
		return nil, wrong("sort", "is none of the orders; ByScore and Newest are accepted")
	}
	if !q.From.IsZero() && !q.To.IsZero() && q.To.Before(q.From) {
		return nil, wrong("from", "is after to")
	}
	if !q.From.IsZero() {
		p.from = timeKey(q.From)
	}
	if !q.To.IsZero() {
		p.to = timeKey(q.To)
	}
	for _, f := range q.Facets {
		kind, ok := facetKinds[f]
		if !ok {
			return nil, wrong("facets", "one is none of %v", Facets())
		}
		p.counts[kind[0]] = map[string]*uint64{}
	}
	if q.Cursor != "" {
		var c cursor
		text, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err != nil || json.Unmarshal(text, &c) != nil {
			return nil, wrong("cursor", "is none that a search returned")
		}
		if c.Query != p.sum {
			return nil, wrong("cursor", "is of another query; all but the limit, the facets and the highlights stays the same from page to page")
		}
		p.after = &c.rank
	}
	return p, nil
}

// sum tells queries apart whose pages differ.
func (q Query) sum() uint64 {
	q.Limit, q.Cursor, q.Facets, q.Highlight = 0, "", nil, false
	q.From, q.To = q.From.UTC(), q.To.UTC()
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode(q)
	return h.Sum64()
}

// collect goes through the hits of a searcher.
func (p *page) collect(ctx context.Context, r index.IndexReader, s search.Searcher) error {
	c := &search.SearchContext{DocumentMatchPool: search.NewDocumentMatchPool(s.DocumentMatchPoolSize()+1, 0), IndexReader: r}
	keys, err := r.DocValueReader([]string{fieldKey})
	if err != nil {
		return err
	}
	timed, counted := p.from != "" || p.to != "", len(p.counts) > 0
	var within bool
	inTime := func(_ string, key []byte) {
		if key[0] == keyTime[0] {
			within = (p.from == "" || string(key) >= p.from) && (p.to == "" || string(key) < p.to)
		}
	}
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		m, err := s.Next(c)
		if err != nil || m == nil {
			return err
		}
		within = true
		if timed {
			if err := keys.VisitDocValues(m.IndexInternalID, inTime); err != nil {
				return err
			}
		}
		if within {
			p.total++
			if counted {
				if err := keys.VisitDocValues(m.IndexInternalID, p.count); err != nil {
					return err
				}
			}
			if err := p.consider(r, m); err != nil {
				return err
			}
		}
		c.DocumentMatchPool.Put(m)
	}
}

// count counts a key of a hit.
func (p *page) count(_ string, key []byte) {
	values, ok := p.counts[key[0]]
	if !ok {
		return
	}
	if n, ok := values[string(key)]; ok {
		*n++
		return
	}
	one := uint64(1)
	values[string(key)] = &one
}

// consider keeps a hit if it is among the best after the cursor. Its entry is read only if the score does not
// decide.
func (p *page) consider(r index.IndexReader, m *search.DocumentMatch) error {
	h := rank{}
	if p.scored && !math.IsNaN(m.Score) && !math.IsInf(m.Score, 0) {
		h.Score = m.Score
	}
	full := len(p.best) == p.limit
	if p.after != nil && h.Score > p.after.Score {
		return nil // on a page before
	}
	if full && h.Score < p.best[0].Score {
		p.more = true
		return nil
	}
	id, err := r.ExternalID(m.IndexInternalID)
	if err != nil {
		return err
	}
	if h.Entry, err = strconv.ParseUint(id, 16, 64); err != nil {
		return fmt.Errorf("%w: a document has the name %q", ErrDamaged, id)
	}
	switch {
	case p.after != nil && h.compare(*p.after) <= 0:
	case !full:
		heap.Push(&p.best, h)
	case h.compare(p.best[0]) < 0:
		p.best[0], p.more = h, true
		heap.Fix(&p.best, 0)
	default:
		p.more = true
	}
	return nil
}

// hits returns the best in their order.
func (p *page) hits() []Hit {
	slices.SortFunc(p.best, rank.compare)
	hits := make([]Hit, len(p.best))
	for i, b := range p.best {
		hits[i] = Hit{Entry: b.Entry, Score: b.Score}
	}
	return hits
}

// next returns the cursor of the next page, after hits.
func (p *page) next() string {
	if !p.more {
		return ""
	}
	text, err := json.Marshal(cursor{p.best[len(p.best)-1], p.sum})
	if err != nil {
		return "" // numbers have a form in JSON
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// facets returns the counts of the facets that were asked for.
func (p *page) facets() map[string]Facet {
	if len(p.asked) == 0 {
		return nil
	}
	all := map[string]Facet{}
	for _, name := range p.asked {
		kind := facetKinds[name]
		f := Facet{Values: []FacetValue{}}
		for k, n := range p.counts[kind[0]] {
			f.Values = append(f.Values, FacetValue{k[len(kind):], *n})
		}
		slices.SortFunc(f.Values, func(a, b FacetValue) int {
			if kind == keyMonth || kind == keyDay {
				return cmp.Compare(b.Value, a.Value)
			}
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
		})
		if f.Other = len(f.Values) - MaxFacetValues; f.Other > 0 {
			f.Values = f.Values[:MaxFacetValues]
		} else {
			f.Other = 0
		}
		all[name] = f
	}
	return all
}

// worstFirst is a heap.
type worstFirst []rank

func (w worstFirst) Len() int           { return len(w) }
func (w worstFirst) Less(i, j int) bool { return w[i].compare(w[j]) > 0 }
func (w worstFirst) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *worstFirst) Push(r any)        { *w = append(*w, r.(rank)) }
func (w *worstFirst) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}
