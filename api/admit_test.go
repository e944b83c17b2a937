package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigie/api"
	"vigie/fixtures"
	"vigie/hashing"
	"vigie/matcher"
)

// held is a hasher that works when it is told to.
type held struct {
	matcher.Hasher
	begun chan context.Context
	go_   chan struct{} // closed, or one for each picture
}

func (h held) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	h.begun <- ctx
	select {
	case <-h.go_:
		return h.Hasher.Picture(ctx, data)
	case <-ctx.Done():
		return hashing.Picture{}, ctx.Err()
	}
}

func newHeld() held {
	return held{&oneAtATime{hasher: newFingerprint()}, make(chan context.Context, 100), make(chan struct{})}
}

// answers are those of requests that are under way.
type answers chan *http.Response

// check sends an upload and does not wait for the answer.
func (n *node) checkLater(url, key string, to answers) {
	body, kind := form("file", string(fixtures.Read("hills.jpg")))
	r, err := http.NewRequestWithContext(n.t.Context(), "POST", url+"/v1/check", body)
	must(n.t, err)
	_, value, _ := strings.Cut(kind, ": ")
	r.Header.Set("Content-Type", value)
	r.Header.Set("Authorization", "Bearer "+n.keys[key])
	go func() {
		answer, err := n.http.Do(r)
		if err != nil {
			n.t.Error(err)
		}
		to <- answer
	}()
}

// localURL is a server whose callers are the operator.
func (n *node) localURL() string {
	s := httptest.NewUnstartedServer(n.api.Handler())
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustLocal(ctx) }
	s.Start()
	n.t.Cleanup(s.Close)
	return s.URL
}

// TestShed keeps all decoders at work: another upload is refused when it has waited for its time, the operator's waits
// on, probes and checks of signals are answered, and in the end all that was accepted is.
func TestShed(t *testing.T) {
	t.Parallel()
	metrics, hasher := api.NewMetrics(), newHeld()
	admission := api.NewAdmission(api.AdmissionOptions{Decoders: 1, DecodeWait: 300 * time.Millisecond, Metrics: metrics})
	n := newNode(t, setup{hasher: admission.Hasher(hasher), api: api.Options{Admission: admission, Metrics: metrics}})
	to, owner := make(answers, 10), make(answers, 10)

	// One that takes long, by which the node learns how long one may take.
	n.checkLater(n.URL, "platform", to)
	<-hasher.begun
	time.Sleep(time.Second)
	hasher.go_ <- struct{}{}
	equal(t, "the first", (<-to).StatusCode, http.StatusOK)

	for range 2 { // a child has one at work and one in hand
		n.checkLater(n.URL, "platform", to)
		<-hasher.begun
	}
	n.checkLater(n.localURL(), "", owner)
	metric := func(line string) bool {
		return strings.Contains(read(t, n.send("GET", "/metrics", nil).Body), "\n"+line+"\n")
	}
	for deadline := time.Now().Add(time.Minute); !metric(`vigie_pictures_waiting{lane="checks"} 1`); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the operator's upload does not wait")
		}
	}

	// Refused before its body has come.
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v1/check HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n%s\r\nContent-Length: 100000\r\n\r\n", n.keys["analyst"], asForm)
	must(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	equal(t, "status", answer.StatusCode, http.StatusServiceUnavailable)
	equal(t, "Content-Type", answer.Header.Get("Content-Type"), "application/problem+json")
	equal(t, "Retry-After", answer.Header.Get("Retry-After"), "1")
	equal(t, "Connection", answer.Close, true)
	p := problemOf(t, answer.Body)
	equal(t, "type", p.Type, "/problems/overloaded")
	equal(t, "detail", *p.Detail, "2 requests of this kind run and 1 wait; try again in 1 s")

	// Refused though a client sends all of its body first.
	body, kind := form("file", strings.Repeat("x", 8<<20))
	equal(t, "status of a large one", n.send("POST", "/v1/check", body, kind).StatusCode, http.StatusServiceUnavailable)

	equal(t, "alive", n.send("GET", "/healthz", nil).StatusCode, http.StatusOK)
	equal(t, "ready", n.send("GET", "/readyz", nil).StatusCode, http.StatusOK)
	equal(t, "signals", n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), asJSON).StatusCode, http.StatusOK)
	equal(t, "shed are counted", metric(`vigie_shed_total{reason="late",work="pictures"} 2`), true)

	n.api.Drain()
	close(hasher.go_)
	for range 2 {
		equal(t, "what was accepted", (<-to).StatusCode, http.StatusOK)
	}
	equal(t, "the operator's", (<-owner).StatusCode, http.StatusOK)
	for _, want := range []string{`vigie_pictures_running 0`, `vigie_pictures_waiting{lane="checks"} 0`, `vigie_wait_seconds_count{work="pictures"} 4`} {
		equal(t, want, metric(want), true)
	}
	if logs := n.logs.String(); strings.Contains(logs, `"level":"ERROR"`) || strings.Contains(logs, "127.0.0.1") || !strings.Contains(logs, `"network":"127.0.0.0/24"`) {
		t.Errorf("the log: %s", logs)
	}
}

// TestWaitEnds has an upload wait until it may not any more.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	hasher := newHeld()
	admission := api.NewAdmission(api.AdmissionOptions{Decoders: 1, DecodeWait: 50 * time.Millisecond})
	n := newNode(t, setup{hasher: admission.Hasher(hasher), api: api.Options{Admission: admission}})
	to := make(answers, 10)
	for range 2 {
		n.checkLater(n.URL, "platform", to)
		<-hasher.begun
	}
	body, kind := form("file", string(fixtures.Read("hills.jpg")))
	answer := n.send("POST", "/v1/check", body, kind)
	equal(t, "status", answer.StatusCode, http.StatusServiceUnavailable)
	equal(t, "type", problemOf(t, answer.Body).Type, "/problems/overloaded")
	close(hasher.go_)
	for range 2 {
		equal(t, "what was accepted", (<-to).StatusCode, http.StatusOK)
	}
}

// TestWorkEnds: the work on a request has a deadline, too.
func TestWorkEnds(t *testing.T) {
	t.Parallel()
	hasher := newHeld()
	limits := hashing.DefaultLimits()
	limits.Bytes = 1 << 20
	n := newNode(t, setup{hasher: hasher, api: api.Options{Limits: limits, BodyTime: 100 * time.Millisecond, WorkTime: 100 * time.Millisecond}})
	body, kind := form("file", string(fixtures.Read("hills.jpg")))
	answer := n.send("POST", "/v1/check", body, kind)
	equal(t, "status", answer.StatusCode, http.StatusServiceUnavailable)
	equal(t, "type", problemOf(t, answer.Body).Type, "/problems/overloaded")
}

// TestRateLimit: each key has its rate; a batch is slowed down, not refused.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{api: api.Options{Admission: api.NewAdmission(api.AdmissionOptions{Rate: .001, Burst: 2})}})
	check := func(role string) *http.Response {
		return n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), asJSON, "Authorization: Bearer "+n.keys[role])
	}
	for range 2 {
		equal(t, "status", check("platform").StatusCode, http.StatusOK)
	}
	no := check("platform")
	equal(t, "status of the third", no.StatusCode, http.StatusTooManyRequests)
	equal(t, "Retry-After", no.Header.Get("Retry-After"), "60")
	p := problemOf(t, no.Body)
	equal(t, "type", p.Type, "/problems/rate-limited")
	equal(t, "detail", *p.Detail, "this key may make 0.001 requests a second, and 2 at once after a rest")
	equal(t, "another key", check("analyst").StatusCode, http.StatusOK)
	equal(t, "probe", n.send("GET", "/readyz", nil).StatusCode, http.StatusOK)

	n = newNode(t, setup{api: api.Options{Admission: api.NewAdmission(api.AdmissionOptions{Rate: 20, Burst: 1})}})
	began := time.Now()
	batch := n.send("POST", "/v1/check/batch", strings.NewReader(strings.Repeat(asks(digest(0))+"\n", 5)), asLines)
	lines := strings.Split(strings.TrimSpace(read(t, batch.Body)), "\n")
	equal(t, "lines", len(lines), 5)
	for _, text := range lines {
		if line := n.line([]byte(text)); line.Problem != nil {
			t.Errorf("a line is refused: %s", text)
		}
	}
	if took := time.Since(began); took < 4*50*time.Millisecond-5*time.Millisecond {
		t.Errorf("five lines at 20 a second took %v", took)
	}
}

// TestStrangers: an address that sends wrong keys again and again is told to wait; a good key is let through from there.
func TestStrangers(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	sent := 0
	for ; ; sent++ {
		answer := n.send("GET", "/v1/banks", nil, "Authorization: Bearer vg_nobody_nothing")
		if answer.StatusCode == http.StatusTooManyRequests {
			equal(t, "type", problemOf(t, answer.Body).Type, "/problems/rate-limited")
			equal(t, "Retry-After", answer.Header.Get("Retry-After"), "1")
			equal(t, "the connection ends", answer.Close, true)
			break
		}
		equal(t, "status", answer.StatusCode, http.StatusUnauthorized)
		if sent > 100_000 {
			t.Fatal("nobody is told to wait")
		}
	}
	if sent < 300 {
		t.Errorf("told to wait after %d wrong keys", sent)
	}
	equal(t, "a good key", n.send("GET", "/v1/banks", nil).StatusCode, http.StatusOK)
}

// TestSlowReader has a client ask and ask, and read nothing: its connection is closed when the time to take an answer is
// over.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{api: api.Options{BodyTime: 300 * time.Millisecond}})
	var closed atomic.Bool
	s := httptest.NewUnstartedServer(n.api.Handler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed.Store(true)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	must(t, err)
	defer conn.Close()
	go func() { // until the server reads no more, and beyond
		for err := error(nil); err == nil; {
			_, err = io.WriteString(conn, "GET /openapi.yaml HTTP/1.1\r\nHost: h\r\n\r\n")
		}
	}()
	for deadline := time.Now().Add(time.Minute); !closed.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection is still there")
		}
	}
}

// TestAdmissionOfFlags: uploads of flags take their turn at the same gate, and the deadline of the work reaches the hasher.
func TestAdmissionOfFlags(t *testing.T) {
	t.Parallel()
	hasher := newHeld()
	admission := api.NewAdmission(api.AdmissionOptions{})
	n := newNode(t, setup{hasher: admission.Hasher(hasher), api: api.Options{Admission: admission}})
	n.bank("b")
	close(hasher.go_)
	body, kind := form("file", string(fixtures.Read("hills.jpg")))
	answer := n.send("POST", "/v1/banks/b/entries", body, kind)
	equal(t, "status", answer.StatusCode, http.StatusCreated)
	if _, ok := (<-hasher.begun).Deadline(); !ok {
		t.Error("the work has no deadline")
	}
}

// TestCrowded has a node that is behind refuse at the door what its heaviest key sends, and go on when it is not.
func TestCrowded(t *testing.T) {
	t.Parallel()
	metrics, behind := api.NewMetrics(), atomic.Int64{}
	admission := api.NewAdmission(api.AdmissionOptions{Metrics: metrics})
	asked := 0
	admission.Behind(func() time.Duration { // as long again and again would be nothing that to refuse changes
		asked++
		return time.Duration(behind.Load()) / time.Duration(1+asked%2*3)
	})
	n := newNode(t, setup{api: api.Options{Admission: admission, Metrics: metrics}})
	check := func(role string, more ...string) *http.Response {
		return n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), append([]string{asJSON, "Authorization: Bearer " + n.keys[role]}, more...)...)
	}
	refused := func() (no *http.Response) {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			if no = check("platform"); no.StatusCode != http.StatusOK {
				return no
			}
		}
		t.Fatal("nobody is refused")
		return nil
	}
	equal(t, "before", check("platform").StatusCode, http.StatusOK)
	behind.Store(int64(time.Second))
	no := refused()
	equal(t, "status", no.StatusCode, http.StatusServiceUnavailable)
	equal(t, "Content-Type", no.Header.Get("Content-Type"), "application/problem+json")
	equal(t, "Retry-After", no.Header.Get("Retry-After"), "1")
	equal(t, "the connection ends", no.Close, false)
	p := problemOf(t, no.Body)
	equal(t, "type", p.Type, "/problems/overloaded")
	equal(t, "detail", *p.Detail, "more requests come than this node has processors for; try again in 1 s")
	equal(t, "another key", check("analyst").StatusCode, http.StatusOK)
	equal(t, "a list", n.send("GET", "/v1/banks", nil).StatusCode, http.StatusOK)
	equal(t, "a bad key", n.send("GET", "/v1/banks", nil, "Authorization: Bearer vg_nobody_nothing").StatusCode, http.StatusUnauthorized)
	equal(t, "probe", n.send("GET", "/readyz", nil).StatusCode, http.StatusOK)

	// A body that does not come holds the refusal up for no time that counts.
	for deadline := time.Now().Add(time.Minute); ; {
		refused() // or the key asks for so little meanwhile that it is let in
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
		must(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST /v1/check HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n%s\r\nContent-Length: 1000\r\n\r\n", n.keys["platform"], asJSON)
		must(t, err)
		must(t, conn.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			equal(t, "status without the body", answer.StatusCode, http.StatusServiceUnavailable)
			equal(t, "then the connection ends", answer.Close, true)
			break
		} // this one was let in
		if time.Now().After(deadline) {
			t.Fatal("nobody is refused before the body has come")
		}
	}

	// Nor is one let in whose length it does not tell.
	inChunks := func(size int) *http.Response {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			body := asks(digest(0)) + strings.Repeat(" ", size)
			answer := n.send("POST", "/v1/check", io.MultiReader(strings.NewReader(body)), asJSON, "Authorization: Bearer "+n.keys["platform"])
			if answer.StatusCode != http.StatusOK {
				return answer
			}
		}
		t.Fatal("no request in chunks is refused")
		return nil
	}
	for size, ends := range map[int]bool{0: false, 300 << 10: true} {
		no := inChunks(size)
		equal(t, "status in chunks", no.StatusCode, http.StatusServiceUnavailable)
		equal(t, "the connection ends after chunks", no.Close, ends)
	}
	if text := read(t, n.send("GET", "/metrics", nil).Body); !strings.Contains(text, "\nvigie_shed_total{reason=\"crowd\",work=\"any\"} ") || strings.Contains(text, "work=\"any\"} 0\n") {
		t.Error("refusals are not counted")
	}

	behind.Store(0)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		row := 0
		for row < 50 && check("platform").StatusCode == http.StatusOK {
			row++
		}
		if row == 50 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not recover")
		}
	}
}
