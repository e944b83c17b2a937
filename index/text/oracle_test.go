package text_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"

	"vigie/index/text"
)

// folding is what Fold does to the letters of sample, written down once more.
var folding = strings.NewReplacer(
	"à", "a", "â", "a", "ç", "c", "é", "e", "è", "e", "ê", "e", "î", "i", "ô", "o", "û", "u", "œ", "oe",
	"أ", "ا", "إ", "ا", "آ", "ا", "ى", "ي", "ی", "ي", "ئ", "ي", "ؤ", "و", "ک", "ك", "ة", "ه", "ہ", "ه", "ـ", "",
	"\u064e", "", "\u064f", "", "\u0650", "", "\u0651", "", "\u0652", "", "\u200c", "", "۱", "1", "١", "1",
)

func words(s string) []string {
	if known, ok := wordsOf.Load(s); ok {
		return known.([]string)
	}
	all := strings.FieldsFunc(folding.Replace(strings.ToLower(s)), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	wordsOf.Store(s, all)
	return all
}

// wordsOf are the results of words, for time.
var wordsOf sync.Map

// condition is one condition of a query's text, and what it means, by the definition: stems are kept out by quotation
// marks.
type condition struct {
	text  string
	holds func(d text.Document) bool
}

// anyText says whether a predicate holds of one text of a document, or of those of a field.
func anyText(d text.Document, field string, holds func(words []string) bool) bool {
	texts := map[string][]string{"note": {d.Note}, "label": d.Labels, "source": d.Sources, "reason": {d.Reason}}
	for f, values := range texts {
		if field != "" && f != field {
			continue
		}
		for _, v := range values {
			if holds(words(v)) {
				return true
			}
		}
	}
	return false
}

// inRow says whether words stand in a row somewhere in others.
func inRow(row []string) func([]string) bool {
	return func(in []string) bool {
		for i := 0; i+len(row) <= len(in); i++ {
			if slices.Equal(in[i:i+len(row)], row) {
				return true
			}
		}
		return false
	}
}

func oneOf(is func(word string) bool) func([]string) bool {
	return func(in []string) bool { return slices.ContainsFunc(in, is) }
}

// near says whether two words differ by at most one letter, or two neighbours swapped.
func near(a, b string) bool {
	r, s := []rune(a), []rune(b)
	if len(r) > len(s) {
		r, s = s, r
	}
	if len(s)-len(r) > 1 {
		return false
	}
	i := 0
	for i < len(r) && r[i] == s[i] {
		i++
	}
	if len(r) < len(s) {
		return slices.Equal(r[i:], s[i+1:])
	}
	if i == len(r) || slices.Equal(r[i+1:], s[i+1:]) {
		return true
	}
	return i+1 < len(r) && r[i] == s[i+1] && r[i+1] == s[i] && slices.Equal(r[i+2:], s[i+2:])
}

// oracle is the index as a map.
type oracle map[uint64]text.Document

// find returns the entries that meet a query whose text is made of conditions, newest first.
func (o oracle) find(q text.Query, conditions []condition) []uint64 {
	var found []uint64
	for e, d := range o {
		at := d.CreatedAt.Truncate(1000)
		ok := (q.Banks == nil || slices.Contains(q.Banks, d.Bank)) &&
			(q.Status == "" || q.Status == d.Status) &&
			(q.Label == "" || slices.Contains(d.Labels, q.Label)) &&
			(q.Source == "" || slices.ContainsFunc(d.Sources, func(s string) bool { return kind(s) == q.Source })) &&
			(q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To))
		for _, c := range conditions {
			ok = ok && c.holds(d)
		}
		if ok {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b uint64) int { return cmp.Compare(b, a) })
	return found
}

func kind(source string) string {
	if u, err := url.Parse(source); err == nil && u.Host != "" {
		return u.Hostname()
	}
	return "other"
}

// facet counts entries by the values that documents have: the commonest first, of times the latest.
func (o oracle) facet(entries []uint64, name string) text.Facet {
	counts := map[string]uint64{}
	for _, e := range entries {
		once := map[string]bool{}
		for _, v := range facetValues[name](o[e]) {
			once[v] = true
		}
		for v := range maps.Keys(once) {
			counts[v]++
		}
	}
	var f text.Facet
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		f.Values = append(f.Values, text.FacetValue{Value: v, Count: counts[v]})
	}
	if name == "month" || name == "day" {
		slices.Reverse(f.Values)
	} else {
		slices.SortStableFunc(f.Values, func(a, b text.FacetValue) int { return cmp.Compare(b.Count, a.Count) })
	}
	if f.Other = max(0, len(f.Values)-text.MaxFacetValues); f.Other > 0 {
		f.Values = f.Values[:text.MaxFacetValues]
	}
	return f
}

// facetValues are what the facets count.
var facetValues = map[string]func(d text.Document) []string{
	"bank":   func(d text.Document) []string { return []string{fmt.Sprint(d.Bank)} },
	"label":  func(d text.Document) []string { return d.Labels },
	"status": func(d text.Document) []string { return []string{d.Status} },
	"month":  func(d text.Document) []string { return []string{d.CreatedAt.UTC().Format("2006-01")} },
	"day":    func(d text.Document) []string { return []string{d.CreatedAt.UTC().Format("2006-01-02")} },
	"source": func(d text.Document) []string {
		var kinds []string
		for _, s := range d.Sources {
			kinds = append(kinds, kind(s))
		}
		return kinds
	},
}
