package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	v1 "vigie/api/v1"
)

// TestSearchWaits asks a node that is making its text index until it has it, and says so once.
func TestSearchWaits(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		detail, total := "the text index is being made of the catalogue", int64(1)
		if asked.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(v1.Problem{Type: "/problems/not-ready", Title: "Not yet", Status: 503, Detail: &detail})
			return
		}
		_ = json.NewEncoder(w).Encode(v1.Entries{Entries: []v1.Entry{{Id: 7, Bank: r.URL.Query().Get("q")}}, Total: &total})
	}))
	t.Cleanup(node.Close)
	env := append(os.Environ(), "VIGIE_SERVER="+node.URL, "VIGIE_KEY=vg_a_b")
	code, out, warn := runVigie(env, "entries", "search", "bridge")
	if code != 0 || !strings.Contains(out, "entry 7 of bridge") || !strings.HasSuffix(out, "1 of 1 found\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	if want := "vigie: the text index is being made of the catalogue; waiting, 10m0s at most\n"; warn != want {
		t.Errorf("it said %q, want %q", warn, want)
	}
	if got := asked.Load(); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
}

// TestSearchThatTakesTooLong is not tried again: it would take as long.
func TestSearchThatTakesTooLong(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		detail := "the search took too long and was ended"
		asked.Add(1)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(v1.Problem{Type: "/problems/overloaded", Title: "Too much", Status: 503, Detail: &detail})
	}))
	t.Cleanup(node.Close)
	env := append(os.Environ(), "VIGIE_SERVER="+node.URL, "VIGIE_KEY=vg_a_b")
	if code, _, warn := runVigie(env, "entries", "search", "bridge"); code == 0 || warn != "vigie: the search took too long and was ended\n" || asked.Load() != 1 {
		t.Errorf("exit %d after asking %d times: %s", code, asked.Load(), warn)
	}
}

// TestFragmentWords marks what was searched for, on a terminal alone, and lets no text steer the terminal.
func TestFragmentWords(t *testing.T) {
	t.Parallel()
	var f v1.Fragment
	if err := json.Unmarshal([]byte(`{"cut_after":true,"parts":[{"text":"the ","hit":false},{"text":"bridge","hit":true},{"text":"\u001b[2J","hit":false}]}`), &f); err != nil {
		t.Fatal(err)
	}
	for bold, want := range map[bool]string{false: "the bridge\uFFFD[2J…", true: "the \x1b[1mbridge\x1b[0m\uFFFD[2J…"} {
		if got := fragmentWords(f, bold); got != want {
			t.Errorf("bold %v: %q, want %q", bold, got, want)
		}
	}
}
