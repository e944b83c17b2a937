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
	"strings"
	"testing"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
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
		equal(t, "id", e.id, fmt.Sprintf("%s:%d", page.LogId, c.Seq))
		equal(t, "name", e.name, "change")
		n.http.Transport.(*validator).fits("Change", []byte(e.data))
		want, _ := json.Marshal(c)
		equal(t, "data", e.data, string(want))
		all = append(all, e)
	}
	equal(t, "of all", int64(len(all)), page.Head.Seq)

	last := len(all) - 1
	for name, s := range map[string]stream{
		"by the last id":           n.follow("auditor", "", "Last-Event-ID: "+all[last-1].id),
		"the last id wins":         n.follow("auditor", "after=1&log_id=another", "Last-Event-ID: "+all[last-1].id),
		"by the query":             n.follow("auditor", fmt.Sprintf("after=%d&log_id=%s", last, page.LogId)),
		"by the query and a root":  n.follow("auditor", fmt.Sprintf("after=%d&root=%s", last, page.Changes[last-1].Root)),
		"whatever log that may be": n.follow("auditor", fmt.Sprintf("after=%d", last)),
	} {
		equal(t, name, s.next(), all[last])
	}

	n.flag("known", nil, digest(5)) // while the stream waits
	e := s.next()
	equal(t, "what comes", e.id, fmt.Sprintf("%s:%d", page.LogId, page.Head.Seq+1))
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
		"of the log":                {fmt.Sprintf("after=%d&log_id=%s&root=%s", head, page.LogId, root), "", ""},
		"of another log":            {fmt.Sprintf("after=1&log_id=%s", other), "", "log-changed"},
		"of another log, at 0":      {"log_id=" + other, "", "log-changed"},
		"beyond the head":           {fmt.Sprintf("after=%d&log_id=%s", head+1, page.LogId), "", "log-changed"},
		"beyond the head, of some":  {fmt.Sprintf("after=%d", head+1), "", "log-changed"},
		"beyond the head by a root": {fmt.Sprintf("after=%d&root=%s", head+1, root), "", "log-changed"},
		"with another root":         {fmt.Sprintf("after=%d&root=%s", head-1, root), "", "log-changed"},
		"root of nothing":           {"after=0&root=" + root, "", ""},
		"no root":                   {"after=1&root=xyz", "", "invalid-request"},
		"no number":                 {"after=x", "", "invalid-request"},
		"below 0":                   {"after=-1", "", "invalid-request"},
		"last id":                   {"", fmt.Sprintf("%s:%d", page.LogId, head), ""},
		"last id of another log":    {"", other + ":1", "log-changed"},
		"last id beyond the head":   {"", fmt.Sprintf("%s:%d", page.LogId, head+1), "log-changed"},
		"last id without a number":  {"", page.LogId, "invalid-request"},
		"last id with no number":    {"", page.LogId + ":x", "invalid-request"},
		"last id below 0":           {"", page.LogId + ":-1", "invalid-request"},
		"last id of two numbers":    {"", page.LogId + ":1:1", "invalid-request"},
		"last id beyond 63 bits":    {"", page.LogId + ":9223372036854775808", "invalid-request"},
		"last id without a log":     {"", ":1", "invalid-request"},
		"last id too long":          {"", strings.Repeat("0", 128) + ":1", "invalid-request"},
		"no wait beyond a minute":   {"wait=61", "", "invalid-request"},
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
		equal(t, "events", words(s.next().id, s.next().id), fmt.Sprintf("%s:%d %s:%s", log, before+1, log, last))
		equal(t, "over what is left out", s.any(), event{id: fmt.Sprintf("%s:%d", log, before+6)})
	}
	_, problem := n.page("auditor", "bank=closed")
	equal(t, "for its owner", problem, "")
	for _, bank := range []string{"closed", "nobank"} {
		for _, accept := range []string{"Accept: */*", asEvents} {
			equal(t, bank, n.refused("shop platform", "bank="+bank, accept), "unknown-bank")
		}
	}
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
		equal(t, "heartbeat", s.any(), event{id: fmt.Sprintf("%s:%d", page.LogId, page.Head.Seq)})
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

// TestTooManyStreams refuses a stream when there are as many as the node follows up, and takes another when one has ended.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	const most = 1000
	n := newNode(t, setup{})
	ctx, hangUp := context.WithCancel(t.Context())
	begun, ended := make(chan bool, most), make(chan bool, most)
	for range most { // without connections, which not every system gives as many of
		go func() {
			r := httptest.NewRequestWithContext(ctx, "GET", "/v1/changes", nil)
			r.Header = http.Header{"Authorization": {"Bearer " + n.keys["auditor"]}, "Accept": {"text/event-stream"}}
			defer func() { ended <- recover() != nil }() // which is how net/http is told to hang up
			n.api.Handler().ServeHTTP(&firstWrite{ResponseRecorder: httptest.NewRecorder(), begun: begun}, r)
		}()
	}
	for range most {
		<-begun
	}
	busy := n.send("GET", "/v1/changes", nil, asEvents)
	equal(t, "status", busy.StatusCode, http.StatusServiceUnavailable)
	equal(t, "problem", problemOf(t, busy.Body).Type, "/problems/busy")
	if busy.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	_, problem := n.page("auditor", "")
	equal(t, "a page", problem, "")
	hangUp()
	for range most {
		<-ended
	}
	n.follow("auditor", "")
}

// firstWrite tells of the first write.
type firstWrite struct {
	*httptest.ResponseRecorder
	begun chan<- bool
}

func (w *firstWrite) Write(b []byte) (int, error) {
	if w.begun != nil {
		w.begun <- true
		w.begun = nil
	}
	return len(b), nil
}
