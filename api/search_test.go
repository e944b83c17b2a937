package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
)

// newSearchNode is a node with a text index, and the banks "even" and "odd".
func newSearchNode(t *testing.T) *node {
	t.Helper()
	catalogue, err := memory.New(storage.Options{})
	must(t, err)
	texts := matcher.NewTexts(catalogue, t.TempDir(), func(err error) { t.Error(err) })
	n := newNode(t, setup{catalogue: catalogue, matcher: matcher.Options{Texts: texts, Patience: time.Minute}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = texts.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	n.bank("even")
	n.bank("odd")
	return n
}

// noted flags something with a note, and says which change that was.
func (n *node) noted(bank string, number int, note string, labels ...string) v1.Flagged {
	n.t.Helper()
	labels = append([]string{}, labels...)
	origin := fmt.Sprintf("https://host%d.example/river", number%2)
	got, err := n.as("analyst").FlagWithResponse(n.t.Context(), bank, v1.FlagSignals{
		Signals: v1.Signals{digest(number)}, Labels: &labels, Note: &note, Origin: &origin,
	})
	must(n.t, err)
	if got.JSON201 == nil {
		n.t.Fatalf("flag: %s: %s", got.Status(), got.Body)
	}
	return *got.JSON201
}

// searched asks for a page of a search.
func (n *node) searched(p v1.ListEntriesParams) v1.Entries {
	n.t.Helper()
	got, err := n.as("analyst").ListEntriesWithResponse(n.t.Context(), &p)
	must(n.t, err)
	if got.JSON200 == nil {
		n.t.Fatalf("search: %s: %s", got.Status(), got.Body)
	}
	return *got.JSON200
}

func numbers(p v1.Entries) string {
	ids := make([]int64, len(p.Entries))
	for i, e := range p.Entries {
		ids[i] = e.Id
	}
	return fmt.Sprint(ids)
}

// TestSearchEntries asks with each parameter of a search, alone and together with others.
func TestSearchEntries(t *testing.T) {
	t.Parallel()
	n := newSearchNode(t)
	n.noted("even", 0, "The old bridge of the town", "kind:poster")
	n.noted("odd", 1, "a bridge, and a market", "kind:letter")
	n.noted("even", 2, "صورة السوق القديم", "kind:poster", "lang:ar")
	last := n.noted("odd", 3, "Affiche du marché", "lang:fr")
	retracted, err := n.as("analyst").RetractWithResponse(t.Context(), 2, reason("no poster"))
	must(t, err)
	seq := retracted.JSON200.Seq
	newest, all := v1.Newest, []v1.ListEntriesParamsFacets{"bank", "label", "source", "status", "month", "day"}
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, test := range []struct {
		name string
		p    v1.ListEntriesParams
		want string
	}{
		{"a word", v1.ListEntriesParams{Q: some("bridge")}, "[2 1]"},
		{"another form of it", v1.ListEntriesParams{Q: some("bridges")}, "[2 1]"},
		{"without accents", v1.ListEntriesParams{Q: some("marche")}, "[4]"},
		{"in Arabic", v1.ListEntriesParams{Q: some("سوق")}, "[3]"},
		{"in a row", v1.ListEntriesParams{Q: some(`"old bridge"`)}, "[1]"},
		{"without a word", v1.ListEntriesParams{Q: some("bridge -market")}, "[1]"},
		{"a beginning", v1.ListEntriesParams{Q: some("brid*")}, "[2 1]"},
		{"misspelt", v1.ListEntriesParams{Q: some("bridgr~")}, "[2 1]"},
		{"in a field", v1.ListEntriesParams{Q: some("reason:poster")}, "[2]"},
		{"of a bank", v1.ListEntriesParams{Q: some("river"), Bank: some("even")}, "[3 1]"},
		{"of a status", v1.ListEntriesParams{Q: some("river"), Status: some(v1.Retracted)}, "[2]"},
		{"of a label", v1.ListEntriesParams{Q: some("river"), Label: some(v1.Label("kind:poster"))}, "[3 1]"},
		{"of a source", v1.ListEntriesParams{Source: some("host1.example")}, "[4 2]"},
		{"in a time", v1.ListEntriesParams{From: &past, Until: &future}, "[4 3 2 1]"},
		{"before all", v1.ListEntriesParams{Until: &past}, "[]"},
		{"after all", v1.ListEntriesParams{From: &future}, "[]"},
		{"newest", v1.ListEntriesParams{Sort: &newest}, "[4 3 2 1]"},
		{"all at once", v1.ListEntriesParams{
			Q: some("bridge"), Bank: some("odd"), Status: some(v1.Retracted), Label: some(v1.Label("kind:letter")), Source: some("host1.example"),
			From: &past, Until: &future, Sort: &newest, Facets: &all, Highlight: some(true),
		}, "[2]"},
		{"nothing", v1.ListEntriesParams{Q: some("garden"), Facets: &all, Highlight: some(true)}, "[]"},
	} {
		// By score the order is the score's: it is put aside here.
		test.p.MinSeq = &seq
		got := n.searched(test.p)
		slices.SortFunc(got.Entries, func(a, b v1.Entry) int { return int(b.Id - a.Id) })
		equal(t, test.name, numbers(got), test.want)
		equal(t, test.name+": total", *got.Total, int64(len(got.Entries)))
		equal(t, test.name+": index_seq", *got.IndexSeq, seq)
		equal(t, test.name+": found", len(*got.Found), len(got.Entries))
	}
	if e := n.searched(v1.ListEntriesParams{Q: some("market"), MinSeq: &seq}).Entries[0]; e.Bank != "odd" || e.Status != v1.Retracted || e.Note != "a bridge, and a market" {
		t.Errorf("found %+v", e)
	}

	facets := *n.searched(v1.ListEntriesParams{Facets: &all, MinSeq: &seq}).Facets
	for name, want := range map[string]string{
		"bank": "even 2, odd 2", "label": "kind:poster 2, kind:letter 1, lang:ar 1, lang:fr 1", "status": "active 3, retracted 1",
		"source": "other 4, host0.example 2, host1.example 2",
		"month":  last.Entry.CreatedAt.UTC().Format("2006-01") + " 4", "day": last.Entry.CreatedAt.UTC().Format(time.DateOnly) + " 4",
	} {
		var got []string
		for _, v := range facets[name].Values {
			got = append(got, fmt.Sprint(v.Value, " ", v.Count))
		}
		equal(t, name, strings.Join(got, ", "), want)
		delete(facets, name)
	}
	equal(t, "facets besides", len(facets), 0)
	if plain := n.searched(v1.ListEntriesParams{Q: some("bridge"), MinSeq: &seq}); plain.Facets != nil || (*plain.Found)[0].Fragments != nil {
		t.Error("facets or fragments that nobody asked for")
	}
}

// TestSearchHighlights puts the parts of fragments together again.
func TestSearchHighlights(t *testing.T) {
	t.Parallel()
	n := newSearchNode(t)
	long := strings.Repeat("nothing here of interest, ", 40)
	notes := []string{
		"Bridges & <b>bridge</b>: the BRIDGE.", long + "the old bridge of the town " + long + "a bridge", "école, «bridge»", "كتاب bridge القديم", "bridge",
	}
	var last v1.Flagged
	for i, note := range notes {
		last = n.noted("even", i, note)
	}
	got := n.searched(v1.ListEntriesParams{Q: some("bridge"), Highlight: some(true), MinSeq: some(last.Seq)})
	equal(t, "found", len(got.Entries), len(notes))
	for i, e := range got.Entries {
		fragments := (*(*got.Found)[i].Fragments)["note"]
		if len(fragments) == 0 {
			t.Errorf("entry %d has no fragment", e.Id)
		}
		for _, f := range fragments {
			whole, marked := "", 0
			for _, part := range f.Parts {
				if whole += part.Text; part.Hit {
					marked++
					if word := strings.ToLower(part.Text); word != "bridge" && word != "bridges" {
						t.Errorf("entry %d: %q is marked", e.Id, part.Text)
					}
				} else if strings.Contains(strings.ToLower(part.Text), "bridge") {
					t.Errorf("entry %d: %q is not marked", e.Id, part.Text)
				}
				equal(t, "an empty part", part.Text == "", false)
			}
			before, after, is := strings.Cut(e.Note, whole)
			if !is || marked == 0 {
				t.Errorf("entry %d: %q with %d marks is no piece of %q", e.Id, whole, marked, e.Note)
			}
			if len(fragments) == 1 {
				equal(t, "cut before", or(f.CutBefore), before != "")
				equal(t, "cut after", or(f.CutAfter), after != "")
			}
		}
	}
}

// TestSearchByCursor goes through all hits in pages of several sizes, in both orders.
func TestSearchByCursor(t *testing.T) {
	t.Parallel()
	n := newSearchNode(t)
	var last v1.Flagged
	for i := range 40 {
		last = n.noted([]string{"even", "odd"}[i%2], i, strings.Repeat("bridge ", 1+i%4)+strings.Repeat("river ", i%3))
	}
	score, newest := v1.Score, v1.Newest
	for _, sort := range []*v1.ListEntriesParamsSort{nil, &score, &newest} {
		whole := numbers(n.searched(v1.ListEntriesParams{Q: some("bridge"), Sort: sort, MinSeq: some(last.Seq)}))
		for _, limit := range []int{1, 7, 20, 40, 1000} {
			p, all := v1.ListEntriesParams{Q: some("bridge"), Sort: sort, Limit: &limit}, v1.Entries{}
			for {
				page := n.searched(p)
				all.Entries = append(all.Entries, page.Entries...)
				equal(t, "total", *page.Total, int64(40))
				if p.Cursor = page.Next; p.Cursor == nil || len(all.Entries) > 40 {
					break
				}
				equal(t, "length of a full page", len(page.Entries), limit)
			}
			equal(t, fmt.Sprint("by ", limit), numbers(all), whole)
		}
	}
}

// TestSearchRefused asks for what cannot be answered: the problem says which parameter, and what is accepted.
func TestSearchRefused(t *testing.T) {
	t.Parallel()
	n := newSearchNode(t)
	last := n.noted("even", 1, "bridge")
	n.noted("odd", 2, "bridge")
	cursor := n.searched(v1.ListEntriesParams{Q: some("bridge"), Limit: some(1), MinSeq: some(last.Seq + 1)}).Next
	past := time.Now().Add(-time.Hour).Format(time.RFC3339)
	for _, test := range []struct {
		name    string
		query   url.Values
		problem string
		detail  string
	}{
		{"an open quotation mark", url.Values{"q": {`"old bridge`}}, "invalid-request", `query parameter q: the quotation mark at byte 0 is not closed; write "words in a row"`},
		{"a star in the middle", url.Values{"q": {"br*ge"}}, "invalid-request", "query parameter q: a * at byte 0 is not at the end of a word; only beginnings are accepted: word*"},
		{"too short a beginning", url.Values{"q": {"b*"}}, "invalid-request", "at least 2 letters: word*"},
		{"too short a misspelling", url.Values{"q": {"sea~"}}, "invalid-request", "at least 4 letters: word~"},
		{"no letters", url.Values{"q": {"!?"}}, "invalid-request", "query parameter q: has neither a letter nor a digit"},
		{"too many words", url.Values{"q": {strings.Repeat("a ", 33)}}, "invalid-request", "query parameter q: has more than 32 words"},
		{"too many bytes", url.Values{"q": {strings.Repeat("é", 501)}}, "invalid-request", "query parameter q: has 1002 bytes; at most 1000 are accepted"},
		{"too many letters", url.Values{"q": {strings.Repeat("a", 1001)}}, "invalid-request", "query parameter q: maximum string length is 1000"},
		{"a cursor of a list", url.Values{"q": {"bridge"}, "cursor": {"2"}}, "invalid-request", "query parameter cursor: is none that a search returned"},
		{"a cursor of another search", url.Values{"q": {"river"}, "cursor": {*cursor}}, "invalid-request", "query parameter cursor: is of another query"},
		{"a cursor of a search, in a list", url.Values{"cursor": {*cursor}}, "invalid-request", "cursor"},
		{"a time that ends before it begins", url.Values{"from": {time.Now().Format(time.RFC3339)}, "until": {past}}, "invalid-request", "query parameter from: is after"},
		{"no time", url.Values{"from": {"yesterday"}}, "invalid-request", "query parameter from"},
		{"no such order", url.Values{"sort": {"oldest"}}, "invalid-request", "query parameter sort: value is not one of the allowed values"},
		{"no such facet", url.Values{"facets": {"bank,colour"}}, "invalid-request", "query parameter facets"},
		{"waiting", url.Values{"q": {"bridge"}, "waiting": {"true"}}, "invalid-request", "query parameter waiting: not in a search; accepted is status=proposed"},
		{"too large a page", url.Values{"q": {"bridge"}, "limit": {"1001"}}, "invalid-request", "query parameter limit"},
		{"a bank that is not there", url.Values{"q": {"bridge"}, "bank": {"none"}}, "unknown-bank", "none"},
		{"a change to come", url.Values{"q": {"bridge"}, "min_seq": {"1000000"}}, "min-seq-beyond-head", "1000000 is asked for"},
	} {
		answer := n.send("GET", "/v1/entries?"+test.query.Encode(), nil)
		p := problemOf(t, answer.Body)
		if equal(t, test.name, p.Type, "/problems/"+test.problem); p.Detail == nil || !strings.Contains(*p.Detail, test.detail) {
			t.Errorf("%s: told %q, want %q", test.name, or(p.Detail), test.detail)
		}
	}
	if strings.Contains(n.logs.String(), "bridge") {
		t.Error("what was searched for is in the log")
	}
}

// TestSearchIsNotReady asks a node whose text index is not made yet.
func TestSearchIsNotReady(t *testing.T) {
	t.Parallel()
	catalogue, err := memory.New(storage.Options{})
	must(t, err)
	texts := matcher.NewTexts(catalogue, t.TempDir(), nil) // does not run
	n := newNode(t, setup{catalogue: catalogue, matcher: matcher.Options{Texts: texts, Patience: 200 * time.Millisecond}})
	answer := n.send("GET", "/v1/entries?q=bridge", nil)
	equal(t, "status", answer.StatusCode, http.StatusServiceUnavailable)
	equal(t, "Retry-After", answer.Header.Get("Retry-After"), "1")
	p := problemOf(t, answer.Body)
	equal(t, "type", p.Type, "/problems/not-ready")
	equal(t, "detail", strings.Contains(or(p.Detail), "the text index is being made of the catalogue"), true)
	equal(t, "a list", n.send("GET", "/v1/entries", nil).StatusCode, http.StatusOK)
}

// TestSearchShowsWhatMayBeRead searches as each role of two parties that own a bank each.
func TestSearchShowsWhatMayBeRead(t *testing.T) {
	t.Parallel()
	n := newSearchNode(t)
	seq := uint64(0)
	for i, name := range []string{"north", "south"} {
		p := n.party(name)
		who := matcher.Principal{Actor: "maker", Party: p.ID, Role: storage.Analyst}
		_, err := n.matcher.CreateBank(t.Context(), who, matcher.NewBank{BankEdit: matcher.BankEdit{Name: &name}})
		must(t, err)
		signal, err := hashing.Parse("sha256:" + digest(100+i).Value)
		must(t, err)
		f, err := n.matcher.Flag(t.Context(), matcher.Flagging{
			Who: who, Bank: name, Signals: []hashing.Signal{signal}, Note: "secret bridge of " + name, Labels: []string{"of:" + name}, Origin: "https://" + name + ".example/",
		})
		must(t, err)
		seq = f.Seq
	}
	path := fmt.Sprintf("/v1/entries?q=secret&highlight=true&facets=bank,label,source&min_seq=%d", seq)
	for who, want := range map[string][]string{
		"north analyst": {"north"}, "north admin": {"north"}, "north auditor": {"north"}, "south analyst": {"south"},
		"admin": {"north", "south"}, "auditor": {"north", "south"}, "analyst": {},
	} {
		answer := n.send("GET", path, nil, "Authorization: Bearer "+n.keys[who])
		equal(t, who, answer.StatusCode, http.StatusOK)
		body := read(t, answer.Body)
		for _, name := range []string{"north", "south"} {
			if shown := strings.Contains(body, name); shown != slices.Contains(want, name) {
				t.Errorf("%s is shown %s: %t: %s", who, name, shown, body)
			}
		}
		equal(t, who+" is told the total", strings.Contains(body, fmt.Sprintf(`"total":%d`, len(want))), true)
	}
	for _, who := range []string{"platform", "north platform"} {
		answer := n.send("GET", path, nil, "Authorization: Bearer "+n.keys[who])
		equal(t, who, answer.StatusCode, http.StatusForbidden)
		equal(t, who, problemOf(t, answer.Body).Type, "/problems/forbidden")
	}
}

// TestSearchesHaveTheirGate: when as many search as may at a time, others wait, and nobody else does.
func TestSearchesHaveTheirGate(t *testing.T) {
	t.Parallel()
	admission := api.NewAdmission(api.AdmissionOptions{})
	n := newNode(t, setup{api: api.Options{Admission: admission}})
	leave := admission.FillText(t.Context())
	t.Cleanup(leave)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	q := "bridge"
	if got, err := n.as("analyst").ListEntriesWithResponse(ctx, &v1.ListEntriesParams{Q: &q}); err == nil {
		t.Errorf("one more search is answered %s", got.Status())
	}
	got, err := n.as("analyst").ListEntriesWithResponse(t.Context(), &v1.ListEntriesParams{})
	must(t, err)
	equal(t, "a listing", got.StatusCode(), http.StatusOK)
}

// TestSearchThatTookTooLong is told to come back much later: the same would take as long again.
func TestSearchThatTookTooLong(t *testing.T) {
	t.Parallel()
	catalogue, err := memory.New(storage.Options{})
	must(t, err)
	texts := matcher.NewTexts(catalogue, t.TempDir(), nil) // does not run, so that a search lasts until its time is over
	n := newNode(t, setup{catalogue: catalogue, matcher: matcher.Options{Texts: texts, Patience: time.Minute}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/entries?q=bridge", nil)
	r.Header.Set("Authorization", "Bearer "+n.keys["analyst"])
	answer := httptest.NewRecorder()
	n.api.Handler().ServeHTTP(answer, r)
	equal(t, "status", answer.Code, http.StatusServiceUnavailable)
	equal(t, "Retry-After", answer.Header().Get("Retry-After"), "30")
}
