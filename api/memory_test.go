package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"vigie/index"
	"vigie/matcher"
)

// TestMemoryLimit asks a node without memory for rows to take some.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{index: index.Options{MemoryLimit: 1 << 20}})
	n.bank("b")
	flag := n.send("POST", "/v1/banks/b/entries", strings.NewReader(asks(digest(1))), asJSON)
	equal(t, "status", flag.StatusCode, http.StatusInsufficientStorage)
	p := problemOf(t, flag.Body)
	equal(t, "type", p.Type, "/problems/memory-limit")
	for _, want := range []string{"of 1 MiB", "are used", "for 1 more rows", "retract entries", "more memory"} {
		if p.Detail == nil || !strings.Contains(*p.Detail, want) {
			t.Errorf("the detail lacks %q: %v", want, *p.Detail)
		}
	}
	if got, err := n.as("analyst").ListEntriesWithResponse(t.Context(), nil); err != nil || len(got.JSON200.Entries) > 0 {
		t.Errorf("entries: %s, %v", got.Body, err)
	}
	check := n.send("POST", "/v1/check", strings.NewReader(asks(digest(1))), asJSON)
	equal(t, "status of a check", check.StatusCode, http.StatusOK)
	if logs := n.logs.String(); strings.Contains(logs, `"level":"ERROR"`) {
		t.Errorf("a refusal is no error of the node: %s", logs)
	}
}

// TestNotReadyForLackOfMemory starts a node whose index does not fit.
func TestNotReadyForLackOfMemory(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{bare: true, index: index.Options{MemoryLimit: 1 << 20}, matcher: matcher.Options{Patience: time.Millisecond}})
	_, err := n.matcher.CreateBank(t.Context(), matcher.Local(), matcher.NewBank{BankEdit: matcher.BankEdit{Name: some("b")}})
	must(t, err)
	following, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.matcher.Follower().Run(following) }()
	t.Cleanup(func() { stop(); <-ended })
	const want = "the index is loading: the memory limit is reached"
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got, err := n.as("nobody").ReadyWithResponse(t.Context())
		must(t, err)
		equal(t, "status", got.StatusCode(), http.StatusServiceUnavailable)
		if *got.JSON503.Reason == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready because %q, want %q", *got.JSON503.Reason, want)
		}
	}
}
