package text

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	index "github.com/blevesearch/bleve_index_api"
)

// Fragment is a piece of an entry's text, as it was given, and where in it the query matched. It is text, not HTML: who
// shows it escapes it.
type Fragment struct {
	Text  string
	Marks []Range // within Text, in order, apart from each other
	// CutBefore and CutAfter say that the text goes on.
	CutBefore, CutAfter bool
}

// Range is bytes from Start to before End.
type Range struct{ Start, End int }

const (
	mostFragments   = 3   // of one field
	fragmentBytes   = 240 // of the text
	fragmentContext = 60  // before the first mark
)

// fragments shows where clauses match in an entry: its texts are cut into words once more, which costs the few hits that
// are shown less than positions of all words would cost the index.
func fragments(r index.IndexReader, entry uint64, clauses []clause) (map[string][]Fragment, error) {
	doc, err := r.Document(entryKey(entry))
	if err != nil || doc == nil {
		return nil, err
	}
	var texts storedTexts
	doc.VisitFields(func(f index.Field) {
		if f.Name() == fieldStored {
			err = json.Unmarshal(f.Value(), &texts)
		}
	})
	if err != nil {
		return nil, err
	}
	all := map[string][]Fragment{}
	for name, values := range map[string][]string{
		"note": {texts.Note}, "label": texts.Labels, "source": texts.Sources, "reason": {texts.Reason},
	} {
		var found []Fragment
		for _, v := range values {
			found = append(found, cutOut(v, marks(v, named[name], clauses))...)
			if len(found) >= mostFragments {
				found = found[:mostFragments]
				break
			}
		}
		if len(found) > 0 {
			all[name] = found
		}
	}
	return all, nil
}

// marks returns where clauses match in a value of a field.
func marks(value, field string, clauses []clause) []Range {
	var found []Range
	words := folded.Analyze([]byte(value))
	var inLanguages []string
	if field == fieldNote {
		inLanguages = languages(value)
	}
	for i := range clauses {
		c := &clauses[i]
		if c.exclude || !slices.Contains(c.fields, field) {
			continue
		}
		if n := len(c.words); n > 1 {
			for at := 0; at+n <= len(words); at++ {
				same := 0
				for same < n && string(words[at+same].Term) == c.words[same] {
					same++
				}
				if same == n {
					found = append(found, Range{words[at].Start, words[at+n-1].End})
				}
			}
		}
		for _, w := range words {
			if c.terms[field][string(w.Term)] {
				found = append(found, Range{w.Start, w.End})
			}
		}
		for _, l := range inLanguages {
			if len(c.terms[noteIn(l)]) == 0 {
				continue
			}
			for _, w := range stems[l].Analyze([]byte(value)) {
				if c.terms[noteIn(l)][string(w.Term)] {
					found = append(found, Range{w.Start, w.End})
				}
			}
		}
	}
	return joined(found)
}

// joined puts ranges in order and joins those that overlap.
func joined(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End)) })
	var out []Range
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && r.Start < out[last].End {
			out[last].End = max(out[last].End, r.End)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// cutOut returns the pieces of a text around marks.
func cutOut(text string, marks []Range) []Fragment {
	var out []Fragment
	done := 0 // bytes that stand in fragments
	for len(marks) > 0 && len(out) < mostFragments {
		if long := marks[0].Start + fragmentBytes; marks[0].End > long {
			marks[0].End = runeEnd(text, long)
		}
		start := max(done, marks[0].Start-fragmentContext)
		start = min(wordStart(text, start), marks[0].Start)
		end := runeEnd(text, max(marks[0].End, min(len(text), start+fragmentBytes)))
		f := Fragment{Text: text[start:end], CutBefore: start > 0, CutAfter: end < len(text)}
		for len(marks) > 0 && marks[0].End <= end {
			f.Marks = append(f.Marks, Range{marks[0].Start - start, marks[0].End - start})
			marks = marks[1:]
		}
		out = append(out, f)
		done = end
	}
	return out
}

// wordStart returns where the first word begins at or after a place: behind the next space, if one is near.
func wordStart(text string, at int) int {
	if at == 0 {
		return 0
	}
	if i := strings.IndexAny(text[at:min(len(text), at+fragmentContext)], " \n\t"); i >= 0 {
		return at + i + 1
	}
	return runeEnd(text, at)
}

// runeEnd returns the first place at or after one that is between runes.
func runeEnd(text string, at int) int {
	for at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	return at
}
