package api_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigie/api"
	"vigie/matcher"
	"vigie/storage"
)

// TestEveryOperationAndKey asks every operation of the contract with every kind of key. Whoever may
// not gets the problem that says why; whoever may gets any other answer, as the requests are empty.
func TestEveryOperationAndKey(t *testing.T) {
	t.Parallel()
	var late atomic.Int64 // how far the clock is ahead
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	n := newNode(t, setup{matcher: matcher.Options{Now: now}})
	_, expired, err := n.matcher.CreateKey(t.Context(), "local", "expired", storage.Admin, now().Add(time.Hour))
	must(t, err)
	revoked, secret, err := n.matcher.CreateKey(t.Context(), "local", "revoked", storage.Admin, time.Time{})
	must(t, err)
	_, err = n.matcher.RevokeKey(t.Context(), "local", revoked.ID)
	must(t, err)
	late.Store(int64(2 * time.Hour))

	admin, other := n.keys["admin"], n.keys["platform"]
	const secretLength = 52
	refused := map[string]struct{ header, problem string }{
		"no key":        {"", "/problems/missing-key"},
		"empty bearer":  {"Bearer ", "/problems/missing-key"},
		"expired":       {"Bearer " + expired, "/problems/expired-key"},
		"revoked":       {"Bearer " + secret, "/problems/revoked-key"},
		"garbage":       {"Bearer garbage", "/problems/unknown-key"},
		"wrong secret":  {"Bearer " + admin[:len(admin)-secretLength] + other[len(other)-secretLength:], "/problems/unknown-key"},
		"cut short":     {"Bearer " + admin[:len(admin)-1], "/problems/unknown-key"},
		"unknown id":    {"Bearer vg_aaaaaaaaaaaa_" + strings.Repeat("a", secretLength), "/problems/unknown-key"},
		"another rank":  {"Basic " + admin, "/problems/unknown-key"},
		"two more keys": {"Bearer " + admin + " " + admin, "/problems/unknown-key"},
	}
	operations := 0
	for path, item := range n.http.Transport.(*validator).spec.Paths.Map() {
		for method, op := range item.Operations() {
			operations++
			roles, _ := op.Extensions["x-roles"].([]any)
			url := strings.NewReplacer("{bank}", "nobank", "{entry}", "1", "{key}", "nokey").Replace(path)
			t.Run(op.OperationID, func(t *testing.T) {
				ask := func(authorization string) (status int, problem string) {
					answer := n.send(method, url, nil, "Authorization: "+authorization)
					if answer.StatusCode >= 400 {
						problem = problemOf(t, answer.Body).Type
					}
					if (answer.StatusCode == http.StatusUnauthorized) != (answer.Header.Get("WWW-Authenticate") != "") {
						t.Errorf("%d with WWW-Authenticate %q", answer.StatusCode, answer.Header.Get("WWW-Authenticate"))
					}
					return answer.StatusCode, problem
				}
				for _, role := range storage.Roles() {
					status, problem := ask("Bearer " + n.keys[string(role)])
					if may := len(roles) == 0 || slices.Contains(roles, any(string(role))); may {
						if status == http.StatusUnauthorized || status == http.StatusForbidden || status >= 500 {
							t.Errorf("%s may, but got %d %s", role, status, problem)
						}
					} else if status != http.StatusForbidden || problem != "/problems/forbidden" {
						t.Errorf("%s may not, but got %d %s", role, status, problem)
					}
				}
				for name, bad := range refused {
					status, problem := ask(bad.header)
					if len(roles) == 0 {
						equal(t, name, status, http.StatusOK)
						continue
					}
					equal(t, name, status, http.StatusUnauthorized)
					equal(t, name, problem, bad.problem)
				}
			})
		}
	}
	equal(t, "operations", operations, 20)
}

// TestTrustLocal shows that the mark of a connection, and nothing in a request, stands for a key.
func TestTrustLocal(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	local := httptest.NewUnstartedServer(n.api.Handler())
	local.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustLocal(ctx) }
	local.Start()
	t.Cleanup(local.Close)
	answer, err := local.Client().Get(local.URL + "/v1/keys")
	must(t, err)
	_ = answer.Body.Close()
	equal(t, "status", answer.StatusCode, http.StatusOK)
	equal(t, "status on the network", n.send("GET", "/v1/keys", nil, "Authorization: ").StatusCode, http.StatusUnauthorized)
}
