package text

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"math"
	"slices"
	"strings"

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
	limit      int
	after      *rank // the last hit of the page before
	sum        uint64
	from, last int64 // microseconds
	scored     bool
	asked      []string // facets
	kinds      string   // the letters of their keys

	total  uint64
	best   worstFirst
	more   bool              // there are hits after the best
	counts map[string]uint64 // of hits, by key
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
	p := &page{
		limit: q.Limit, sum: q.sum(), scored: q.Sort == ByScore, asked: q.Facets, counts: map[string]uint64{},
		from: math.MinInt64, last: math.MaxInt64,
	}
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
		p.from = q.From.UnixMicro()
	}
	if !q.To.IsZero() {
		p.last = q.To.UnixMicro() - 1
	}
	for _, f := range q.Facets {
		if facetKinds[f] == "" {
			return nil, wrong("facets", "one is none of %v", Facets())
		}
		p.kinds += facetKinds[f]
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

// counter counts the hits of a part by their keys; it is nil if no facets are asked for.
func (p *page) counter(of part) []uint64 {
	if len(p.asked) == 0 {
		return nil
	}
	return make([]uint64, len(of.names))
}

// add adds what was counted in a part of the facets that are asked for.
func (p *page) add(ctx context.Context, of part, counted []uint64) error {
	for place, n := range counted {
		if place%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if name := of.names[place]; n > 0 && strings.Contains(p.kinds, name[:1]) {
			p.counts[name] += n
		}
	}
	return nil
}

// collect goes through the hits of a searcher, which come in the order of documents.
func (p *page) collect(ctx context.Context, r index.IndexReader, parts []part, s search.Searcher) error {
	c := &search.SearchContext{DocumentMatchPool: search.NewDocumentMatchPool(s.DocumentMatchPoolSize()+1, 0), IndexReader: r}
	m, err := s.Next(c)
	for _, of := range parts {
		counted := p.counter(of)
		for err == nil && m != nil {
			doc := m.IndexInternalID.Value() - of.first
			if doc >= uint64(len(of.entries)) {
				break // of the next part
			}
			p.take(of, int(doc), counted, m.Score)
			c.DocumentMatchPool.Put(m)
			if err = ctx.Err(); err == nil {
				m, err = s.Next(c)
			}
		}
		if err == nil {
			err = p.add(ctx, of, counted)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scan goes through all documents that have, of each filter, one of its keys; the newest first, as these are most often
// the best.
func (p *page) scan(ctx context.Context, parts []part, filters [][]string) error {
	accepted := map[string]uint8{} // a bit for each filter
	for i, keys := range filters {
		for _, k := range keys {
			accepted[k] |= 1 << i
		}
	}
	all := uint8(1)<<len(filters) - 1
	for _, of := range slices.Backward(parts) {
		meets := make([]uint8, len(of.names))
		for place, name := range of.names {
			meets[place] = accepted[name]
		}
		counted := p.counter(of)
		live := of.segment.DocNumbersLive().ReverseIterator()
		for n := 0; live.HasNext(); n++ {
			if n%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			doc, met := int(live.Next()), uint8(0)
			if all != 0 {
				for _, place := range of.of(doc) {
					met |= meets[place]
				}
			}
			if met == all {
				p.take(of, doc, counted, 0)
			}
		}
		if err := p.add(ctx, of, counted); err != nil {
			return err
		}
	}
	return nil
}

// take counts a hit, if it is of the time that is asked for, and keeps it if it is among the best after the cursor.
func (p *page) take(of part, doc int, counted []uint64, score float64) {
	if at := of.times[doc]; at < p.from || at > p.last {
		return
	}
	p.total++
	if counted != nil {
		for _, place := range of.of(doc) {
			counted[place]++
		}
	}
	h := rank{Entry: of.entries[doc]}
	if p.scored && !math.IsNaN(score) && !math.IsInf(score, 0) {
		h.Score = score
	}
	switch {
	case p.after != nil && h.compare(*p.after) <= 0: // on a page before
	case len(p.best) < p.limit:
		heap.Push(&p.best, h)
	case h.compare(p.best[0]) < 0:
		p.best[0], p.more = h, true
		heap.Fix(&p.best, 0)
	default:
		p.more = true
	}
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
	values := map[string][]FacetValue{} // by kind
	for k, n := range p.counts {
		values[k[:1]] = append(values[k[:1]], FacetValue{k[1:], n})
	}
	all := map[string]Facet{}
	for _, name := range p.asked {
		kind := facetKinds[name]
		f := Facet{Values: append([]FacetValue{}, values[kind]...)}
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
