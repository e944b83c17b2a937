package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	v1 "vigie/api/v1"
)

// TestReadiness follows a node from its start to its drain.
func TestReadiness(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{bare: true})
	ready := func(status int, why string) *v1.Readiness {
		t.Helper()
		got, err := n.as("nobody").ReadyWithResponse(t.Context())
		must(t, err)
		equal(t, "status", got.StatusCode(), status)
		if got.JSON200 != nil {
			return got.JSON200
		}
		equal(t, "reason", *got.JSON503.Reason, why)
		return nil
	}
	ready(http.StatusServiceUnavailable, "the index is loading")
	early := n.send("GET", "/v1/banks", nil, "Authorization: Bearer vg_a_b")
	equal(t, "status before the load", early.StatusCode, http.StatusServiceUnavailable)
	equal(t, "problem before the load", problemOf(t, early.Body).Type, "/problems/not-ready")

	following, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.matcher.Follower().Run(following) }()
	t.Cleanup(func() { stop(); <-ended })
	must(t, n.matcher.Follower().Await(t.Context(), 0))
	if got := ready(http.StatusOK, ""); got != nil {
		equal(t, "ready", got.Ready, true)
	}

	n.api.Drain()
	ready(http.StatusServiceUnavailable, "the node is draining")
	equal(t, "alive", n.send("GET", "/healthz", nil).StatusCode, http.StatusOK)
	still := n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), asJSON)
	equal(t, "still asks for keys", still.StatusCode, http.StatusUnauthorized)
}
