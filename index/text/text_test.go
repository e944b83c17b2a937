package text_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"vigie/index/text"
	"vigie/index/text/sample"
)

// TestAgainstOracle takes an index through random histories, and holds random queries, page by page, with facets and
// highlights, against a loop over all documents.
func TestAgainstOracle(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 2))
			docs := slices.Collect(sample.Documents(seed, 1500))
			for i := range docs { // a day's become two years'
				docs[i].CreatedAt = sample.Begin.Add(700 * docs[i].CreatedAt.Sub(sample.Begin))
			}
			dir := t.TempDir()
			x, err := text.Open(dir, text.Options{LogID: logID, Head: 100})
			if err != nil {
				t.Fatal(err)
			}
			o := oracle{}
			for seq := uint64(1); seq <= 6; seq++ {
				var batch []text.Document
				var gone []uint64
				for range 250 {
					d := docs[rnd.IntN(len(docs))] // one entry takes the texts of many
					d.Entry = 1 + rnd.Uint64N(900)
					batch = append(batch, d)
					o[d.Entry] = d
				}
				for range 60 {
					e := 1 + rnd.Uint64N(900)
					gone = append(gone, e)
					delete(o, e)
				}
				mark := text.Mark{LogID: logID, Root: fmt.Sprint("root ", seq), Seq: seq}
				if err := x.Apply(t.Context(), mark, batch, gone); err != nil {
					t.Fatal(err)
				}
				if rnd.IntN(3) == 0 {
					if err := x.Close(); err != nil {
						t.Fatal(err)
					}
					if x, err = text.Open(dir, text.Options{LogID: logID, Head: 100}); err != nil {
						t.Fatal(err)
					}
				}
				if x.Mark() != mark {
					t.Fatalf("the index stands at %+v; %+v was applied", x.Mark(), mark)
				}
				for range 30 {
					compare(t, x, o, rnd, docs, seq)
				}
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// compare asks one random query.
func compare(t *testing.T, x *text.Index, o oracle, rnd *rand.Rand, docs []text.Document, seq uint64) {
	t.Helper()
	var conditions []condition
	var parts []string
	for range rnd.IntN(4) {
		c := randomCondition(rnd, docs)
		conditions, parts = append(conditions, c), append(parts, c.text)
	}
	q := text.Query{Text: strings.Join(parts, " "), Limit: 15 + rnd.IntN(100), Facets: text.Facets(), Highlight: rnd.IntN(3) == 0, Sort: text.Sort(rnd.IntN(2))}
	some := docs[rnd.IntN(len(docs))]
	if rnd.IntN(2) == 0 {
		q.Banks = []uint32{}
		for b := range uint32(sample.Banks) {
			if rnd.IntN(3) == 0 {
				q.Banks = append(q.Banks, b+1)
			}
		}
	}
	if rnd.IntN(5) == 0 {
		q.Status = some.Status
	}
	if rnd.IntN(5) == 0 && len(some.Labels) > 0 {
		q.Label = some.Labels[0]
	}
	if rnd.IntN(5) == 0 {
		q.Source = kind(some.Sources[0])
	}
	if rnd.IntN(4) == 0 {
		q.From = some.CreatedAt
	}
	if rnd.IntN(4) == 0 {
		q.To = docs[rnd.IntN(len(docs))].CreatedAt
		if q.To.Before(q.From) {
			q.To = time.Time{}
		}
	}
	want := o.find(q, conditions)
	var got []uint64
	for page := 0; ; page++ {
		r, err := x.Search(t.Context(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if r.Total != uint64(len(want)) || r.Seq != seq {
			t.Fatalf("%+v: a total of %d at change %d; want %d at %d", q, r.Total, r.Seq, len(want), seq)
		}
		last := text.Hit{Score: 1e9}
		for _, h := range r.Hits {
			got = append(got, h.Entry)
			if h.Score > last.Score || h.Score == last.Score && h.Entry >= last.Entry && last.Entry > 0 {
				t.Fatalf("%+v: %v comes after %v", q, h, last)
			}
			last = h
			checkFragments(t, o[h.Entry], h.Fragments)
		}
		for name, f := range r.Facets {
			if wanted := o.facet(want, name); !slices.Equal(f.Values, wanted.Values) || f.Other != wanted.Other {
				t.Fatalf("%+v: facet %s is %.500v; want %.500v", q, name, fmt.Sprint(f), fmt.Sprint(wanted))
			}
		}
		if r.Next == "" {
			break
		}
		if len(r.Hits) != q.Limit {
			t.Fatalf("%+v: page %d has %d hits, and says that there are more", q, page, len(r.Hits))
		}
		q.Cursor, q.Facets = r.Next, nil
	}
	if q.Sort == text.ByScore {
		slices.SortFunc(got, func(a, b uint64) int { return int(b) - int(a) })
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: found %v; want %v", q, got, want)
	}
}

func randomCondition(rnd *rand.Rand, docs []text.Document) condition {
	field := []string{"", "", "", "note", "label", "source", "reason"}[rnd.IntN(7)]
	name := ""
	if field != "" {
		name = field + ":"
	}
	d := docs[rnd.IntN(len(docs))]
	all := append(append([]string{d.Note, d.Reason}, d.Labels...), d.Sources...)
	from := words(all[rnd.IntN(len(all))])
	if len(from) == 0 {
		from = []string{"music"}
	}
	at := rnd.IntN(len(from))
	row := from[at:min(len(from), at+1+rnd.IntN(3))]
	var c condition
	holds := inRow(row)
	switch letters := []rune(from[at]); {
	case rnd.IntN(5) == 0 && len(letters) >= 3:
		beginning := string(letters[:3])
		c.text = name + beginning + "*"
		holds = oneOf(func(w string) bool { return strings.HasPrefix(w, beginning) })
	case rnd.IntN(5) == 0 && len(letters) >= 5:
		i := rnd.IntN(len(letters) - 1)
		letters[i], letters[i+1] = letters[i+1], letters[i]
		typo := string(letters)
		c.text = name + typo + "~"
		holds = oneOf(func(w string) bool { return near(w, typo) })
	case rnd.IntN(3) == 0 && len(row) > 1:
		c.text = name + strings.Join(row, "/") // punctuation joins
	default:
		c.text = name + `"` + strings.ToUpper(strings.Join(row, " ")) + `"`
	}
	c.holds = func(d text.Document) bool { return anyText(d, field, holds) }
	if rnd.IntN(4) == 0 {
		c.text = "-" + c.text
		c.holds = func(d text.Document) bool { return !anyText(d, field, holds) }
	}
	return c
}

// checkFragments: what is shown is of the entry, and what is marked are whole runes of it.
func checkFragments(t *testing.T, d text.Document, all map[string][]text.Fragment) {
	t.Helper()
	texts := map[string]string{
		"note": d.Note, "reason": d.Reason,
		"label": strings.Join(d.Labels, "\n"), "source": strings.Join(d.Sources, "\n"),
	}
	for field, fragments := range all {
		for _, f := range fragments {
			if !strings.Contains(texts[field], f.Text) || !utf8.ValidString(f.Text) || len(f.Marks) == 0 {
				t.Fatalf("%s shows %+v of %q", field, f, texts[field])
			}
			end := 0
			for _, m := range f.Marks {
				if m.Start < end || m.End <= m.Start || m.End > len(f.Text) || !utf8.ValidString(f.Text[m.Start:m.End]) {
					t.Fatalf("%s marks %+v in %q", field, f.Marks, f.Text)
				}
				end = m.End
			}
		}
	}
}

// TestLanguages: what each language makes equal, and what stays apart.
func TestLanguages(t *testing.T) {
	notes := []string{
		1: "Les drapeaux noirs de la ville", 2: "L’affiche traduite", 3: "The crowds were running through cities",
		4: "الكتاب الجديد في المدرسة", 5: "کتاب بزرگ ۱۲۳", 6: "كِتَابٌ ١٢٣", 7: "می\u200cرود", 8: "ميرود",
		9: "kitab banner 123", 10: "Éléphant ŒUVRE straße", 11: "drapeau seul", 12: "recruit\u200bment", 13: "أحمد إلى آخر",
	}
	x := open(t, t.TempDir(), 1)
	var docs []text.Document
	for e, n := range notes[1:] {
		docs = append(docs, text.Document{Entry: uint64(e) + 1, Note: n})
	}
	if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: 1}, docs, nil); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]uint64{
		"drapeau": {1, 11}, "DRAPEAUX": {1, 11}, `"drapeau"`: {11}, "drapeau noir": {1},
		"affiche": {2}, "l'affiche": {2}, "l’affiches": {2}, "traduites": {2},
		"crowd": {3}, "run": {3}, "city": {3}, `"city"`: nil,
		"كتاب": {4, 5, 6}, "کتاب": {4, 5, 6}, `"كتاب"`: {5, 6}, "الكتاب": {4, 5, 6}, "مدرسه": {4}, "المدرسة": {4},
		"123": {5, 6, 9}, "۱۲۳": {5, 6, 9}, "ميرود": {7, 8}, "می\u200cرود": {7, 8},
		"kitab": {9}, "elephant": {10}, "oeuvre": {10}, "strasse": {10}, "recruitment": {12}, "احمد": {13}, "اخر": {13},
	} {
		r, err := x.Search(t.Context(), text.Query{Text: query, Limit: 20})
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		var got []uint64
		for _, h := range r.Hits {
			got = append(got, h.Entry)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s finds %v; want %v", query, got, want)
		}
	}
}

// TestSources: hosts, words of paths and case numbers are found, labels whole and by their parts.
func TestSources(t *testing.T) {
	x := open(t, t.TempDir(), 1)
	err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: 1}, []text.Document{
		{Entry: 1, Labels: []string{"behaviour:recruitment"}, Sources: []string{"https://www.example.org/archive/b-17", "org example"}},
		{Entry: 2, Labels: []string{"behaviour", "recruitment"}, Sources: []string{"case 2026-00017", "example", "org"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]uint64{
		"example.org": {1}, "www.example.org": {1}, "b-17": {1}, "archive": {1}, "https://www.example.org/archive/b-17": {1},
		"2026-00017": {2}, "example": {2, 1}, "recruitment": {2, 1}, "behaviour:recruitment": {1},
		"label:behaviour:recruitment": {1}, `LABEL:"behaviour recruitment"`: {1}, "source:recruitment": nil, "-source:case": {1},
		"source:example.org/archive": {1}, "source:example.org/b": nil,
	} {
		r, err := x.Search(t.Context(), text.Query{Text: query, Limit: 20, Sort: text.Newest})
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		var got []uint64
		for _, h := range r.Hits {
			got = append(got, h.Entry)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s finds %v; want %v", query, got, want)
		}
	}
}

// TestHighlight: marks stand where the query matched, in the text as it was given.
func TestHighlight(t *testing.T) {
	x := open(t, t.TempDir(), 1)
	note := "<b>L’affiche</b> & les DRAPEAUX noirs. " + strings.Repeat("des mots encore ", 30) + "un drapeau."
	err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: 1}, []text.Document{
		{Entry: 1, Note: note, Labels: []string{"kind:poster", "kind:flag"}, Sources: []string{"https://example.org/drapeaux/7"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]map[string][]string{
		"drapeau":                     {"note": {"DRAPEAUX", "drapeau"}},
		`"les drapeaux"`:              {"note": {"les DRAPEAUX"}},
		"affich*":                     {"note": {"affiche"}},
		"drapaeux~":                   {"note": {"DRAPEAUX"}, "source": {"drapeaux"}},
		"kind:flag":                   {"label": {"kind:flag"}},
		"affiche -vente label:poster": {"note": {"L’affiche"}, "label": {"poster"}},
		"":                            {},
	} {
		r, err := x.Search(t.Context(), text.Query{Text: query, Limit: 1, Highlight: true})
		if err != nil || len(r.Hits) != 1 {
			t.Errorf("%s finds %d hits, %v; want one", query, len(r.Hits), err)
			continue
		}
		got := map[string][]string{}
		for field, fragments := range r.Hits[0].Fragments {
			for _, f := range fragments {
				for _, m := range f.Marks {
					got[field] = append(got[field], f.Text[m.Start:m.End])
				}
				if len(f.Text) > 300 {
					t.Errorf("%s shows %d bytes", query, len(f.Text))
				}
			}
		}
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s marks %v; want %v", query, got, want)
		}
	}
}

// TestRefused: a wrong query is answered by what is wrong with it, without repeating it.
func TestRefused(t *testing.T) {
	x := open(t, t.TempDir(), 1)
	var many text.Document
	for i := range 1100 {
		many.Note += fmt.Sprintf("zz%d ", i)
	}
	many.Entry = 1
	if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: 1}, []text.Document{many}, nil); err != nil {
		t.Fatal(err)
	}
	r, err := x.Search(t.Context(), text.Query{Text: "zz1*", Limit: 1})
	if err != nil || r.Total != 1 {
		t.Fatalf("a prefix of some words: %v, %d hits", err, r.Total)
	}
	long := strings.Repeat("a ", 32)
	for _, c := range []struct {
		query text.Query
		says  string
	}{
		{text.Query{Text: strings.Repeat("é", 501)}, "at most 1000"},
		{text.Query{Text: long + "b"}, "more than 32 words"},
		{text.Query{Text: `"` + long + `b"`}, "more than 32 words"},
		{text.Query{Text: `secret "open`}, "byte 7 is not closed"},
		{text.Query{Text: "secret a*"}, "byte 7"},
		{text.Query{Text: "*"}, "at least 2 letters"},
		{text.Query{Text: "se*cret"}, "only beginnings"},
		{text.Query{Text: "*secret"}, "only beginnings"},
		{text.Query{Text: "abc~"}, "at least 4 letters"},
		{text.Query{Text: "b-17*"}, "one word"},
		{text.Query{Text: "zz*"}, "more than 1024 words"},
		{text.Query{Text: "label: secret"}, "lacks its word"},
		{text.Query{Text: "-- !?"}, "neither a letter nor a digit"},
		{text.Query{Limit: -1}, "1 to 1000"},
		{text.Query{Limit: 1001}, "1 to 1000"},
		{text.Query{Sort: 7}, "ByScore and Newest"},
		{text.Query{Facets: []string{"secret"}}, "[bank label source status month day]"},
		{text.Query{Cursor: "secret"}, "none that a search returned"},
		{text.Query{From: sample.Begin, To: sample.Begin.Add(-1)}, "after to"},
	} {
		if c.query.Limit == 0 {
			c.query.Limit = 10
		}
		_, err := x.Search(t.Context(), c.query)
		var refused *text.QueryError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v; want a QueryError that says %q and repeats nothing", c.query, err, c.says)
		}
	}
}

// TestCursorOfAnother: a cursor is of its query.
func TestCursorOfAnother(t *testing.T) {
	x := fill(t, t.TempDir(), 1, 100)
	r, err := x.Search(t.Context(), text.Query{Limit: 10, Banks: []uint32{1}})
	if err != nil || r.Next == "" {
		t.Fatal(r, err)
	}
	for _, q := range []text.Query{{Banks: []uint32{2}}, {}, {Banks: []uint32{1}, Text: "drapeau"}, {Banks: []uint32{1}, Sort: text.Newest}} {
		q.Limit, q.Cursor = 10, r.Next
		var refused *text.QueryError
		if _, err := x.Search(t.Context(), q); !errors.As(err, &refused) {
			t.Errorf("%+v took the cursor of another query: %v", q, err)
		}
	}
}

// TestApplyRefuses: changes of another log, or from before, are not applied.
func TestApplyRefuses(t *testing.T) {
	x := open(t, t.TempDir(), 5)
	doc := []text.Document{{Entry: 1}}
	if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: 5}, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range []text.Mark{{LogID: "log-2", Seq: 6}, {LogID: logID, Seq: 4}} {
		if err := x.Apply(t.Context(), m, doc, nil); err == nil {
			t.Errorf("%+v was applied after %+v", m, x.Mark())
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Search(ended, text.Query{Limit: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that nobody waits for: %v", err)
	}
	s, err := x.State()
	if err != nil || s.Documents != 0 || s.Rebuilding || s.Bytes == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Search(t.Context(), text.Query{Limit: 1}); !errors.Is(err, text.ErrClosed) {
		t.Errorf("a search after Close: %v", err)
	}
	if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: 6}, doc, nil); !errors.Is(err, text.ErrClosed) {
		t.Errorf("a change after Close: %v", err)
	}
}

// TestOpen: what is unfit is emptied, and works; what is fit is kept; a folder has one owner.
func TestOpen(t *testing.T) {
	saved := t.TempDir()
	x := fill(t, saved, 1, 3000)
	if _, err := text.Open(saved, text.Options{LogID: logID, Head: 3000}); !errors.Is(err, text.ErrLocked) {
		t.Errorf("a folder was opened twice: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	segment := func(dir string) string {
		names, err := filepath.Glob(filepath.Join(dir, "bleve/store/*.zap"))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		return names[0]
	}
	damage := func(name func(dir string) string, how func(content []byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			content, err := os.ReadFile(name(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name(dir), how(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	zeros := func(b []byte) []byte { clear(b); return b }
	at := func(name string) func(string) string {
		return func(dir string) string { return filepath.Join(dir, "bleve", name) }
	}
	same := text.Options{LogID: logID, Head: 3000}
	for name, c := range map[string]struct {
		harm    func(t *testing.T, dir string)
		options text.Options
		emptied string
	}{
		"nothing":            {func(*testing.T, string) {}, same, ""},
		"another log":        {func(*testing.T, string) {}, text.Options{LogID: "log-2", Head: 9000}, "another log"},
		"another history":    {func(*testing.T, string) {}, text.Options{LogID: logID, Head: 2999}, "another history"},
		"a bit of a segment": {damage(segment, flip), same, "checksum"},
		"half a segment":     {damage(segment, half), same, "damaged"},
		"no segment":         {func(t *testing.T, dir string) { _ = os.Remove(segment(dir)) }, same, "damaged"},
		"an empty segment":   {damage(segment, func([]byte) []byte { return nil }), same, "damaged"},
		"half a catalogue":   {damage(at("store/root.bolt"), half), same, "damaged"},
		"zeros":              {damage(at("store/root.bolt"), zeros), same, "damaged"},
		"no catalogue":       {func(t *testing.T, dir string) { _ = os.Remove(at("store/root.bolt")(dir)) }, same, "damaged"},
		"no settings":        {func(t *testing.T, dir string) { _ = os.Remove(at("index_meta.json")(dir)) }, same, "damaged"},
		"other settings":     {damage(at("index_meta.json"), func([]byte) []byte { return []byte("{") }), same, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(saved)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "else"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			c.harm(t, dir)
			x, err := text.Open(dir, c.options)
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			s, err := x.State()
			if err != nil {
				t.Fatal(err)
			}
			if c.emptied == "" {
				if s.Documents != 3000 || s.Emptied != "" || s.Mark.Seq != 3000 || s.Rebuilding {
					t.Errorf("it was opened as %+v", s)
				}
				return
			}
			if s.Documents != 0 || s.Mark.Seq != 0 || !s.Rebuilding || !strings.Contains(s.Emptied, c.emptied) {
				t.Errorf("it was opened as %+v; want it emptied because of %q", s, c.emptied)
			}
			err = x.Apply(t.Context(), text.Mark{LogID: c.options.LogID, Seq: c.options.Head}, []text.Document{{Entry: 1, Note: "drapeau"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := x.Search(t.Context(), text.Query{Text: "drapeaux", Limit: 1}); err != nil || r.Total != 1 {
				t.Errorf("after it was emptied: %+v, %v", r, err)
			}
			if s, err := x.State(); err != nil || s.Rebuilding {
				t.Errorf("it has reached the head, and is %+v, %v", s, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "else")); err != nil {
				t.Errorf("what is not the index's was removed: %v", err)
			}
		})
	}
}

// FuzzQuery: no text makes a search panic or answer anything but a QueryError; what is found is of the bank asked for.
func FuzzQuery(f *testing.F) {
	for _, q := range append(sample.Queries(), `"`, "-", "-\"\"", "label:", "note:*", "a*", "\xff\xfe~", "ـ", "َ", "é̂*", "١٢~~", `x"y z"-w`, "\u200f\u202e") {
		f.Add(q)
	}
	x := fill(f, f.TempDir(), 3, 500)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := x.Search(t.Context(), text.Query{Text: s, Limit: 3, Banks: []uint32{1}, Facets: []string{"bank"}, Highlight: true})
		var refused *text.QueryError
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("%q: %v", s, err)
		}
		if len(r.Hits) > 3 || len(r.Facets["bank"].Values) > 1 {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}

// FuzzFold: folding twice changes nothing, and words are letters and digits.
func FuzzFold(f *testing.F) {
	f.Add("L’ŒUVRE کتاب\u200cها ½ İ ﷺ 𝟘")
	f.Fuzz(func(t *testing.T, s string) {
		once := text.Fold(s)
		if twice := text.Fold(strings.Join(once, " ")); !slices.Equal(once, twice) {
			t.Fatalf("%q is %q, and that is %q", s, once, twice)
		}
	})
}
