package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

const asEvents = "Accept: text/event-stream"

// page reads a page of changes.
func (n *node) page(who, query string, headers ...string) (v1.Changes, string) {
	n.t.Helper()
	answer := n.send("GET", "/v1/changes?"+query, nil, append(headers, "Authorization: Bearer "+n.keys[who])...)
	text := read(n.t, answer.Body)
	var page v1.Changes
	if answer.StatusCode == http.StatusOK {
		must(n.t, json.Unmarshal([]byte(text), &page))
		return page, ""
	}
	var p v1.Problem
	must(n.t, json.Unmarshal([]byte(text), &p))
	equal(n.t, "status", answer.StatusCode, p.Status)
	return page, problemType(&p)
}

// refused is why a page or a stream is; "" if it is not. Nothing is read of it.
func (n *node) refused(who, query string, headers ...string) string {
	n.t.Helper()
	answer := n.open(who, query, headers...)
	if answer.StatusCode == http.StatusOK {
		return ""
	}
	p := problemOf(n.t, answer.Body)
	return problemType(&p)
}

// open begins to read changes. It is not for the validating client, which reads answers to their ends.
func (n *node) open(who, query string, headers ...string) *http.Response {
	n.t.Helper()
	ctx, hangUp := context.WithTimeout(n.t.Context(), time.Minute)
	n.t.Cleanup(hangUp)
	r, err := http.NewRequestWithContext(ctx, "GET", n.URL+"/v1/changes?"+query, nil)
	must(n.t, err)
	r.Header.Set("Authorization", "Bearer "+n.keys[who])
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := n.server.Client().Do(r)
	must(n.t, err)
	n.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// seqs are the numbers of some changes.
func seqs(changes []v1.Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, fmt.Sprint(c.Seq))
	}
	return strings.Join(all, " ")
}

// stream is an open stream of changes.
type stream struct {
	*node
	in *bufio.Reader
}

// event is one of a stream.
type event struct{ id, name, data string }

// follow opens a stream.
func (n *node) follow(who, query string, headers ...string) stream {
	n.t.Helper()
	answer := n.open(who, query, append(headers, asEvents)...)
	equal(n.t, "status", answer.StatusCode, http.StatusOK)
	equal(n.t, "type", answer.Header.Get("Content-Type"), "text/event-stream")
	s := stream{n, bufio.NewReader(answer.Body)}
	equal(n.t, "first lines", fmt.Sprint(s.block()), "[retry: 2000]")
	return s
}

// block reads lines up to an empty one; none at the end of the stream.
func (s stream) block() (lines []string) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" && len(lines) == 0 {
			return nil
		}
		must(s.t, err)
		if line == "\n" {
			return lines
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}

// any reads the next event, be it one without data.
func (s stream) any() (e event) {
	s.t.Helper()
	for _, line := range s.block() {
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		default:
			s.t.Errorf("line %q", line)
		}
	}
	return e
}

// next reads the next event that has data; a zero one at the end of the stream.
func (s stream) next() event {
	s.t.Helper()
	for {
		if e := s.any(); e.data != "" || e == (event{}) {
			return e
		}
	}
}

// ends reads a problem, and the end of the stream.
func (s stream) ends(problem string) {
	s.t.Helper()
	e := s.next()
	equal(s.t, "last event", e.name, "problem")
	s.http.Transport.(*validator).fits("Problem", []byte(e.data))
	p := problemOf(s.t, strings.NewReader(e.data))
	equal(s.t, "problem", problemType(&p), problem)
	equal(s.t, "after it", s.next(), event{})
}

// TestStream reads the log as events, which say what a page says, and resumes in the middle.
func TestStream(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	for i := range 5 {
		n.flag("known", nil, digest(i))
	}
	page, _ := n.page("auditor", "")
	s := n.follow("auditor", "")
	var all []event
	for _, c := range page.Changes {
		e := s.next()
		equal(t, "id", e.id, fmt.Sprintf("%s:%d:%.16s", page.LogId, c.Seq, c.Root))
		equal(t, "name", e.name, "change")
		n.http.Transport.(*validator).fits("Change", []byte(e.data))
		want, _ := json.Marshal(c)
		equal(t, "data", e.data, string(want))
		all = append(all, e)
	}
	equal(t, "of all", int64(len(all)), page.Head.Seq)
	equal(t, "cursor of the page", page.Cursor, all[len(all)-1].id)

	last := len(all) - 1
	for name, s := range map[string]stream{
		"by the last id":           n.follow("auditor", "", "Last-Event-ID: "+all[last-1].id),
		"the last id wins":         n.follow("auditor", "after=1&cursor=another:1", "Last-Event-ID: "+all[last-1].id),
		"by the query":             n.follow("auditor", "after=1&cursor="+all[last-1].id),
		"whatever log that may be": n.follow("auditor", fmt.Sprintf("after=%d", last)),
	} {
		equal(t, name, s.next(), all[last])
	}

	n.flag("known", nil, digest(5)) // while the stream waits
	e := s.next()
	page, _ = n.page("auditor", "cursor="+page.Cursor)
	equal(t, "what comes", e.id, page.Cursor)
}

// TestCursorOfAnotherLog refuses cursors that the log has never given out.
func TestCursorOfAnotherLog(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	page, _ := n.page("auditor", "limit=1000")
	head, root, other := page.Head.Seq, page.Head.Root, strings.Repeat("0", 32)
	for name, test := range map[string]struct {
		query, last, problem string
	}{
		"after the head":           {fmt.Sprintf("after=%d", head), "", ""},
		"beyond the head":          {fmt.Sprintf("after=%d", head+1), "", "log-changed"},
		"no number":                {"after=x", "", "invalid-request"},
		"below 0":                  {"after=-1", "", "invalid-request"},
		"cursor":                   {"cursor=" + page.Cursor, "", ""},
		"cursor of nothing":        {"cursor=" + page.LogId + ":0", "", ""},
		"cursor of another log":    {"cursor=" + other + ":0", "", "log-changed"},
		"cursor beyond the head":   {fmt.Sprintf("cursor=%s:%d:%.16s", page.LogId, head+1, root), "", "log-changed"},
		"cursor of another past":   {fmt.Sprintf("cursor=%s:%d:%.16s", page.LogId, head-1, root), "", "log-changed"},
		"last id":                  {"", page.Cursor, ""},
		"last id without a root":   {"", fmt.Sprintf("%s:%d", page.LogId, head), ""},
		"last id of another log":   {"", other + ":1", "log-changed"},
		"last id of another past":  {"", fmt.Sprintf("%s:%d:%.16s", page.LogId, head-1, root), "log-changed"},
		"last id beyond the head":  {"", fmt.Sprintf("%s:%d", page.LogId, head+1), "log-changed"},
		"last id without a number": {"", page.LogId, "invalid-request"},
		"last id with no number":   {"", page.LogId + ":x", "invalid-request"},
		"last id below 0":          {"", page.LogId + ":-1", "invalid-request"},
		"last id of two numbers":   {"", page.LogId + ":1:1", "invalid-request"},
		"last id with no root":     {"", page.LogId + ":1:" + strings.Repeat("x", 16), "invalid-request"},
		"last id of more":          {"", page.Cursor + ":1", "invalid-request"},
		"last id beyond 63 bits":   {"", page.LogId + ":9223372036854775808", "invalid-request"},
		"last id without a log":    {"", ":1", "invalid-request"},
		"last id too long":         {"", strings.Repeat("0", 128) + ":1", "invalid-request"},
		"no wait beyond a minute":  {"wait=61", "", "invalid-request"},
	} {
		for _, accept := range []string{"Accept: application/json", asEvents} {
			equal(t, name+", "+accept, n.refused("auditor", test.query, accept, "Last-Event-ID: "+test.last), test.problem)
		}
	}
}

// TestAccept tells by the header which answer is wanted.
func TestAccept(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for accept, streams := range map[string]bool{
		"":                                   false,
		"*/*":                                false,
		"application/json":                   false,
		"application/json, */*;q=0.1":        false,
		"text/event-stream":                  true,
		"text/event-stream; charset=utf-8":   true,
		"text/event-stream;q=0.9, */*;q=0.1": true,
		"application/json;q=0.5, Text/Event-Stream": true,
	} {
		want := "application/json"
		if streams {
			want = "text/event-stream"
		}
		equal(t, accept, n.open("auditor", "", "Accept: "+accept).Header.Get("Content-Type"), want)
	}
	ctx, hangUp := context.WithTimeout(t.Context(), time.Minute)
	defer hangUp()
	r := httptest.NewRequestWithContext(ctx, "HEAD", "/v1/changes", nil)
	r.Header = http.Header{"Authorization": {"Bearer " + n.keys["auditor"]}, "Accept": {"text/event-stream"}}
	head := httptest.NewRecorder()
	n.api.Handler().ServeHTTP(head, r) // returns, though nobody would see the end of a stream
	equal(t, "HEAD", head.Header().Get("Content-Type"), "application/json")
}

// TestChangesOfBank filters by bank: the cursor moves over what is left out. A bank that is not the reader's is none.
func TestChangesOfBank(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.bank("closed")
	n.shared("shared", "shop")
	before := n.head()
	for i := range 6 {
		n.flag([]string{"shared", "closed", "closed"}[i%3], nil, digest(i))
	}
	last := fmt.Sprint(before + 4) // the last one of the shared bank
	for _, who := range []string{"auditor", "shop platform"} {
		page, _ := n.page(who, fmt.Sprintf("bank=shared&after=%d", before))
		equal(t, "changes for "+who, seqs(page.Changes), fmt.Sprintf("%d %s", before+1, last))
		equal(t, "next for "+who, uint64(page.Next), before+6)
		page, _ = n.page(who, fmt.Sprintf("bank=shared&after=%d", before+4))
		equal(t, "none for "+who, words(seqs(page.Changes), page.Next), fmt.Sprint(before+6))
		page, _ = n.page(who, fmt.Sprintf("bank=shared&after=%d&limit=1", before+1)) // pages of nothing are passed over
		equal(t, "one for "+who, words(seqs(page.Changes), page.Next), last+" "+last)

		s := n.follow(who, fmt.Sprintf("bank=shared&after=%d", before))
		log := page.LogId
		one, two := s.next(), s.next()
		equal(t, "events", words(withoutRoot(one.id), withoutRoot(two.id)), fmt.Sprintf("%s:%d %s:%s", log, before+1, log, last))
		equal(t, "over what is left out", withoutRoot(s.any().id), fmt.Sprintf("%s:%d", log, before+6))
	}
	_, problem := n.page("auditor", "bank=closed")
	equal(t, "for its owner", problem, "")
	for _, bank := range []string{"closed", "nobank"} {
		for _, accept := range []string{"Accept: */*", asEvents} {
			equal(t, bank, n.refused("shop platform", "bank="+bank, accept), "unknown-bank")
		}
	}
}

// value is what p points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// withoutRoot is a cursor's log and number.
func withoutRoot(cursor string) string { return cursor[:max(strings.LastIndex(cursor, ":"), 0)] }

// TestRestoredLog tells a reader of a log that was restored from a backup and has grown past its cursor since, so that its number
// stands for another change now.
func TestRestoredLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	catalogue, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "catalogue.db"), storage.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, catalogue.Close()) })
	n := newNode(t, setup{catalogue: catalogue})
	page, _ := n.page("auditor", "limit=1000")
	n.bank("before")
	lost, _ := n.page("auditor", "cursor="+page.Cursor)
	equal(t, "read", len(lost.Changes), 1)
	path := filepath.Join(dir, "old.db")
	must(t, sqlstore.Backup(t.Context(), filepath.Join(dir, "catalogue.db"), path))
	n.bank("lost")
	lost, _ = n.page("auditor", "cursor="+lost.Cursor)
	equal(t, "read", len(lost.Changes), 1)

	old, err := sqlstore.OpenSQLite(t.Context(), path, storage.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, old.Close()) })
	restored := newNode(t, setup{catalogue: old})
	restored.bank("another")
	restored.bank("yet-another")
	for _, by := range []string{"cursor=" + lost.Cursor, ""} {
		for _, accept := range []string{"Accept: application/json", asEvents} {
			last := "Last-Event-ID: "
			if by == "" {
				last += lost.Cursor
			}
			equal(t, by+last, restored.refused("auditor", by, accept, last), "log-changed")
		}
	}
	whole, problem := restored.page("auditor", "cursor="+page.Cursor)
	equal(t, "what both have", words(problem, whole.Changes[0].Kind), "bank.created")
}

// TestLostBank tells a party that a bank was taken from it, and nothing else of that change; then it reads no more of it. Others that
// never had it, or have it still, are told nothing of that kind.
func TestLostBank(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for _, p := range []string{"shop", "forum", "archive"} {
		n.party(p)
	}
	for name, change := range map[string]struct{ with, without v1.BankChange }{
		"members": {v1.BankChange{Members: &[]string{"shop", "archive"}}, v1.BankChange{Members: &[]string{"archive"}, Description: some("secret")}},
		"open":    {v1.BankChange{Members: &[]string{"archive"}, Open: some(true)}, v1.BankChange{Open: some(false), Description: some("secret")}},
	} {
		n.bank(name)
		alter := func(c v1.BankChange) {
			t.Helper()
			_, err := n.as("admin").ChangeBankWithResponse(t.Context(), name, c)
			must(t, err)
		}
		alter(change.with)
		after := fmt.Sprintf("after=%d", n.head())
		loser := n.follow("shop platform", after)
		ofBank := n.follow("shop platform", after+"&bank="+name)
		alter(change.without)
		n.flag(name, nil, digest(int(n.head())))
		whole, _ := n.page("auditor", after)
		lost := whole.Changes[0]
		equal(t, name, lost.Kind, "bank.changed")
		// Those who read on learn nothing of other parties by it: who was a member they knew.
		equal(t, "left", leftOf(t, lost), map[string]string{"members": "[2] false", "open": "[] true"}[name])

		e := loser.next()
		equal(t, "event", e.name, "change")
		var got v1.Change
		must(t, json.Unmarshal([]byte(e.data), &got))
		equal(t, "placeholder", words(got.Kind, value(got.Bank), got.Record, got.Actor, string(got.Body), string(got.Private), got.Root),
			words("bank.lost", value(lost.Bank), "", "", "", "", lost.Root))
		equal(t, "leaf", len(value(got.Leaf)), 64)
		equal(t, "what follows", loser.next().name, "redacted")
		equal(t, "of the bank", ofBank.next().data, e.data)
		ofBank.ends("unknown-bank")

		for who, want := range map[string]string{"archive platform": "bank.changed", "shop auditor": "bank.lost"} {
			page, _ := n.page(who, after)
			equal(t, who, page.Changes[0].Kind, want)
		}
		page, _ := n.page("forum platform", after)
		equal(t, "forum", page.Changes[0].Kind, map[string]string{"members": "redacted", "open": "bank.lost"}[name])
		alter(change.with) // given back: what it had lost is all there again
		page, _ = n.page("shop platform", after)
		equal(t, "given back", words(page.Changes[0].Kind, page.Changes[0].Record), words("bank.changed", lost.Record))
	}
}

func leftOf(t *testing.T, c v1.Change) string {
	t.Helper()
	var body storage.BankBody
	must(t, json.Unmarshal(c.Body, &body))
	return fmt.Sprint(body.Left, body.Closed)
}

// TestFeedIsAdmitted counts pages and polls to the rate of their key as other reads, and has each page take its turn.
func TestFeedIsAdmitted(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{api: api.Options{Admission: api.NewAdmission(api.AdmissionOptions{Rate: .001, Burst: 4})}})
	for _, query := range []string{"", "after=1", "wait=1", "bank=none"} {
		n.page("auditor", query)
	}
	for _, accept := range []string{"Accept: application/json", asEvents} {
		equal(t, accept, n.refused("auditor", "", accept), "rate-limited")
	}
	equal(t, "another key", n.refused("platform", ""), "")
}

// TestChangesOfQuietBank looks at some of the log for a page, and says where to go on.
func TestChangesOfQuietBank(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.api.SetFeedScan(10)
	n.bank("busy")
	n.bank("quiet")
	for i := range 25 {
		n.flag("busy", nil, digest(i))
	}
	n.flag("quiet", nil, digest(100))
	pages, found := 0, 0
	for after := int64(0); after < int64(n.head()); pages++ {
		page, _ := n.page("auditor", fmt.Sprintf("bank=quiet&limit=1&after=%d", after))
		if page.Next <= after || page.Next > after+10 {
			t.Fatalf("next is %d after %d", page.Next, after)
		}
		after = page.Next
		found += len(page.Changes)
	}
	equal(t, "changes", found, 2)
	page, _ := n.page("auditor", "bank=quiet&limit=1&after=6&wait=60")
	equal(t, "a poll goes on by itself", seqs(page.Changes), fmt.Sprint(n.head()))
}

// TestPlaceholders shows a reader what it may not see: the place in the log, and nothing else.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.bank("closed")
	n.flag("closed", []string{"secret"}, digest(1))
	whole, _ := n.page("auditor", "limit=1000")
	c := whole.Changes[len(whole.Changes)-1]
	after := fmt.Sprintf("after=%d", c.Seq-1)
	s := n.follow("shop auditor", after)
	e := s.next()
	equal(t, "event", e.name, "redacted")
	page, _ := n.page("shop auditor", after)
	text, _ := json.Marshal(page.Changes[0])
	equal(t, "data", e.data, string(text))
	var members map[string]any
	must(t, json.Unmarshal(text, &members))
	leaf, _ := members["leaf"].(string)
	at, _ := c.At.MarshalText()
	want, _ := json.Marshal(map[string]any{
		"seq": c.Seq, "at": string(at), "kind": "redacted", "actor": "", "record": "", "root": c.Root, "leaf": leaf,
	})
	got, _ := json.Marshal(members)
	equal(t, "all that it says", string(got), string(want))
	equal(t, "leaf", len(leaf), 64)
}

// TestWait polls: a page with something in it comes at once, one without when the time is over.
func TestWait(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	head := n.head()
	there, _ := n.page("auditor", fmt.Sprintf("after=%d&wait=60", head-1))
	equal(t, "what is there", seqs(there.Changes), fmt.Sprint(head))

	came := make(chan v1.Changes)
	go func() {
		page, _ := n.page("auditor", fmt.Sprintf("after=%d&wait=60", head))
		came <- page
	}()
	n.flag("known", nil, digest(1))
	page := <-came
	equal(t, "what comes", words(seqs(page.Changes), page.Next, page.Head.Seq), words(head+1, head+1, head+1))

	began := time.Now()
	page, _ = n.page("auditor", fmt.Sprintf("after=%d&wait=1", head+1))
	if took := time.Since(began); took < time.Second {
		t.Errorf("it waited only %v", took)
	}
	equal(t, "nothing", words(len(page.Changes), page.Next), words(0, head+1))
}

// TestHeartbeat shows that a stream is alive when there is nothing to tell.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{api: api.Options{Heartbeat: 20 * time.Millisecond}})
	page, _ := n.page("auditor", "limit=1000")
	s := n.follow("auditor", fmt.Sprintf("after=%d", page.Head.Seq))
	for range 5 {
		equal(t, "heartbeat", s.any(), event{id: page.Cursor})
	}
}

// TestStreamsEnd ends streams and polls whose readers may not read on.
func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	for _, test := range []struct {
		who, problem string
		end          func()
	}{
		{"platform", "revoked-key", func() {
			_, err := n.as("admin").RevokeKeyWithResponse(t.Context(), strings.Split(n.keys["platform"], "_")[1])
			must(t, err)
		}},
		{"shop admin", "party-suspended", func() {
			_, err := n.as("admin").ChangePartyWithResponse(t.Context(), "shop", v1.PartyChange{Suspended: some(true)})
			must(t, err)
		}},
		{"auditor", "not-ready", n.api.Drain},
	} {
		// What ends it is a change that nobody of a bank waits for.
		bank := "bank-of-" + strings.ReplaceAll(test.who, " ", "-")
		n.bank(bank)
		_, err := n.as("admin").ChangeBankWithResponse(t.Context(), bank, v1.BankChange{Members: &[]string{"shop"}})
		must(t, err)
		if test.who == "platform" {
			_, err := n.as("admin").ChangeBankWithResponse(t.Context(), bank, v1.BankChange{Open: some(true)})
			must(t, err)
		}
		of := fmt.Sprintf("bank=%s&after=%d", bank, n.head())
		s := n.follow(test.who, of)
		polled := make(chan string)
		go func() {
			_, problem := n.page(test.who, of+"&wait=60")
			polled <- problem
		}()
		test.end()
		s.ends(test.problem)
		equal(t, "poll", <-polled, test.problem)
	}
}

// TestTooManyReaders refuses those who would wait for changes when there are as many as the node follows up, or as one key or party may
// have; and takes others when some have gone. Pages are read all the same.
func TestTooManyReaders(t *testing.T) {
	t.Parallel()
	const most, ofParty, ofKey = 1000, 300, 100
	metrics := api.NewMetrics()
	admission := api.NewAdmission(api.AdmissionOptions{Metrics: metrics})
	admission.Behind(func() time.Duration { return 0 }) // nor is anybody refused at the door
	n := newNode(t, setup{api: api.Options{Admission: admission, Metrics: metrics}})
	ctx, hangUp := context.WithCancel(t.Context())
	begun, ended := make(chan bool, most), make(chan bool, most)
	begin := func(key string, readers int) { // without connections, which not every system gives as many of
		for range readers {
			go func() {
				r := httptest.NewRequestWithContext(ctx, "GET", "/v1/changes", nil)
				r.Header = http.Header{"Authorization": {"Bearer " + key}, "Accept": {"text/event-stream"}}
				defer func() { ended <- recover() != nil }() // which is how net/http is told to hang up
				for ctx.Err() == nil {                       // a busy machine may refuse some of so many at once
					n.api.Handler().ServeHTTP(&firstWrite{ResponseRecorder: httptest.NewRecorder(), begun: begun}, r)
				}
			}()
		}
		for range readers {
			<-begun
		}
	}
	refused := func(who string, status int, problem string) {
		t.Helper()
		for query, accept := range map[string]string{"": asEvents, fmt.Sprintf("after=%d&wait=60", n.head()): "Accept: */*"} {
			answer := n.open(who, query, accept)
			equal(t, "status", answer.StatusCode, status)
			equal(t, "problem", problemOf(t, answer.Body).Type, "/problems/"+problem)
			if answer.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		_, is := n.page(who, "")
		equal(t, "a page", is, "")
	}
	begin(n.keys["auditor"], ofKey)
	refused("auditor", http.StatusTooManyRequests, "rate-limited")
	n.follow("platform", "").next()
	begin(n.key("operator", storage.Analyst), ofKey)
	begin(n.keys["analyst"], ofKey-1) // and the one of the platform
	refused("admin", http.StatusTooManyRequests, "rate-limited")
	for i := 1; i <= most/ofParty; i++ {
		party := fmt.Sprint("party", i)
		n.party(party)
		for left := min(ofParty, most-i*ofParty); left > 0; left -= ofKey {
			begin(n.key(party, storage.Analyst), min(left, ofKey))
		}
	}
	n.party("last")
	refused("last analyst", http.StatusServiceUnavailable, "busy")
	own, err := http.NewRequestWithContext(ctx, "GET", n.localURL()+"/v1/changes", nil)
	must(t, err)
	own.Header.Set("Accept", "text/event-stream")
	answer, err := http.DefaultClient.Do(own)
	must(t, err)
	equal(t, "the operator on this machine", answer.StatusCode, http.StatusOK)
	hangUp()
	_ = answer.Body.Close()
	for range most - 1 {
		<-ended
	}
	n.follow("auditor", "")
	scrape := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(scrape, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if want := `vigie_limited_total{limit="readers"} 4`; !strings.Contains(scrape.Body.String(), want) {
		t.Errorf("no %s", want)
	}
}

// firstWrite tells of the first write.
type firstWrite struct {
	*httptest.ResponseRecorder
	begun chan<- bool
}

func (w *firstWrite) Write(b []byte) (int, error) {
	if w.begun != nil && w.Code == http.StatusOK {
		w.begun <- true
		w.begun = nil
	}
	return len(b), nil
}
