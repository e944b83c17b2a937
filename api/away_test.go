package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"vigie/api"
	"vigie/storage"
	"vigie/storage/memory"
)

// absent is a catalogue whose database goes away.
type absent struct {
	storage.Catalogue
	away, undecided, leaving atomic.Bool // leaving: it goes away right after the next update
}

// How a database complains: its user and its machine are nobody's business, and it may be for want of time.
const complaint = "failed to connect to `user=vigie database=secrets`: 10.1.2.3:5432: "

func (a *absent) View(ctx context.Context, fn func(storage.Reader) error) error {
	if a.away.Load() {
		return fmt.Errorf("%w: %s%w", storage.ErrUnavailable, complaint, context.DeadlineExceeded)
	}
	return a.Catalogue.View(ctx, fn)
}

func (a *absent) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if a.away.Load() {
		return fmt.Errorf("%w: %s%w", storage.ErrUnavailable, complaint, context.DeadlineExceeded)
	}
	err := a.Catalogue.Update(ctx, fn)
	if err == nil && a.undecided.Load() {
		err = fmt.Errorf("commit: %w: %s%w", storage.ErrUnknownOutcome, complaint, context.Canceled)
	}
	if err == nil && a.leaving.Load() {
		a.away.Store(true)
	}
	return err
}

// TestDatabaseAway: what needs the database is refused by the type that says so, and nothing is told of the database.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	inner, err := memory.New(storage.Options{})
	must(t, err)
	c := &absent{Catalogue: inner}
	n := newNode(t, setup{catalogue: c})
	n.bank("b")
	refused := func(method, path, kind string, body string, headers ...string) {
		t.Helper()
		answer := n.send(method, path, strings.NewReader(body), headers...)
		text := read(t, answer.Body)
		p := problemOf(t, strings.NewReader(text))
		equal(t, path+": status", answer.StatusCode, http.StatusServiceUnavailable)
		equal(t, path+": type", p.Type, "/problems/"+kind)
		equal(t, path+": Retry-After", answer.Header.Get("Retry-After"), "2")
		if p.Detail == nil || strings.Contains(text, "secrets") || strings.Contains(text, "10.1.2.3") {
			t.Errorf("%s: %s", path, text)
		}
	}
	flag := asks(digest(1))
	c.away.Store(true)
	refused("GET", "/v1/banks", "database-away", "")
	refused("GET", "/v1/entries", "database-away", "")
	refused("GET", "/v1/matches", "database-away", "")
	refused("POST", "/v1/banks/b/entries", "database-away", flag, asJSON)
	refused("POST", "/v1/banks/b/entries", "database-away", flag, asJSON, "Idempotency-Key: one")
	refused("DELETE", "/v1/banks/b", "database-away", "")
	equal(t, "a check", n.send("POST", "/v1/check", strings.NewReader(flag), asJSON).StatusCode, http.StatusOK)
	c.away.Store(false)

	c.undecided.Store(true)
	refused("POST", "/v1/banks/b/entries", "outcome-unknown", flag, asJSON, "Idempotency-Key: two")
	c.undecided.Store(false)
	again := n.send("POST", "/v1/banks/b/entries", strings.NewReader(flag), asJSON, "Idempotency-Key: two")
	equal(t, "repeated", again.StatusCode, http.StatusCreated)
	equal(t, "it was done before", again.Header.Get("Idempotency-Replayed"), "true")

	c.leaving.Store(true) // when the answer is read, the change has been made
	refused("POST", "/v1/entries/1/retract", "outcome-unknown", `{"reason":"wrong"}`, asJSON)
	c.leaving.Store(false)
	c.away.Store(false)
	if text := read(t, n.send("GET", "/v1/entries/1", nil).Body); !strings.Contains(text, `"status":"retracted"`) {
		t.Errorf("the entry: %s", text)
	}
	if strings.Contains(n.logs.String(), "panic") {
		t.Error(n.logs.String())
	}
}

// TestWaiting: a node that has no database yet is alive, and nothing else.
func TestWaiting(t *testing.T) {
	t.Parallel()
	h := api.Waiting("test")
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/healthz", http.StatusOK, `"status":"alive"`},
		{"GET", "/readyz", http.StatusServiceUnavailable, `"ready":false`},
		{"GET", "/v1/banks", http.StatusServiceUnavailable, "/problems/database-away"},
		{"POST", "/v1/check", http.StatusServiceUnavailable, "/problems/database-away"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		equal(t, c.path, w.Code, c.status)
		if !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %s", c.path, w.Body)
		}
	}
}

// TestClockOff: an object store that refuses what a wrong clock signs is told apart from one that is away.
func TestClockOff(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("store the media: %w: %w by more than the server at 10.1.2.3 accepts", storage.ErrUnavailable, storage.ErrClock)
	if is, detail := api.ProblemOf(err); is != "/problems/clock-off" || !strings.Contains(detail, "clock") || strings.Contains(detail, "10.1.2.3") {
		t.Errorf("got %s: %q", is, detail)
	}
	if types := api.ProblemTypes(); types["/problems/clock-off"] != http.StatusServiceUnavailable {
		t.Errorf("its status is %d", types["/problems/clock-off"])
	}
}

// TestTextRefused: a text that no catalogue takes is the caller's mistake, and is not repeated.
func TestTextRefused(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("create bank %q: %w", "secret\x00", storage.CheckText("bank", "secret\x00"))
	is, detail := api.ProblemOf(err)
	if is != "/problems/invalid-request" || detail != "text has a NUL byte or is not UTF-8" {
		t.Errorf("got %s: %q", is, detail)
	}
}
