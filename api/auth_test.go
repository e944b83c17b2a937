package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigie/api"
	"vigie/matcher"
	"vigie/storage"
)

// TestBadKeys asks every operation of the contract with every kind of bad key, and gets the problem that says what is wrong
// with it. What good keys get is in TestRights.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	var late atomic.Int64 // how far the clock is ahead
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	n := newNode(t, setup{matcher: matcher.Options{Now: now}, api: api.Options{TrustedProxies: proxies}})
	_, expired, err := n.matcher.CreateKey(t.Context(), matcher.Local(), matcher.NewKey{Name: "expired", Role: storage.Admin, Expires: now().Add(time.Hour)})
	must(t, err)
	revoked, secret, err := n.matcher.CreateKey(t.Context(), matcher.Local(), matcher.NewKey{Name: "revoked", Role: storage.Admin})
	must(t, err)
	_, err = n.matcher.RevokeKey(t.Context(), matcher.Local(), revoked.ID)
	must(t, err)
	n.party("suspended")
	_, err = n.matcher.ChangeParty(t.Context(), matcher.Local(), "suspended", matcher.PartyEdit{Suspended: some(true)})
	must(t, err)
	late.Store(int64(2 * time.Hour))

	admin, other := n.keys["admin"], n.keys["platform"]
	const secretLength = 52
	refused := map[string]struct{ header, problem string }{
		"no key":        {"", "/problems/missing-key"},
		"empty bearer":  {"Bearer ", "/problems/missing-key"},
		"expired":       {"Bearer " + expired, "/problems/expired-key"},
		"revoked":       {"Bearer " + secret, "/problems/revoked-key"},
		"suspended":     {"Bearer " + n.keys["suspended admin"], "/problems/party-suspended"},
		"garbage":       {"Bearer garbage", "/problems/unknown-key"},
		"wrong secret":  {"Bearer " + admin[:len(admin)-secretLength] + other[len(other)-secretLength:], "/problems/unknown-key"},
		"cut short":     {"Bearer " + admin[:len(admin)-1], "/problems/unknown-key"},
		"unknown id":    {"Bearer vg_aaaaaaaaaaaa_" + strings.Repeat("a", secretLength), "/problems/unknown-key"},
		"another rank":  {"Basic " + admin, "/problems/unknown-key"},
		"two more keys": {"Bearer " + admin + " " + admin, "/problems/unknown-key"},
	}
	asked := 0
	for path, item := range n.http.Transport.(*validator).spec.Paths.Map() {
		for method, op := range item.Operations() {
			url := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "1")
			asked++ // from an address of its own: who fails often from one is told to wait
			for name, bad := range refused {
				answer := n.send(method, url, nil, "Authorization: "+bad.header, fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", asked))
				if op.Extensions["x-roles"] == nil {
					equal(t, op.OperationID+" "+name, answer.StatusCode, http.StatusOK)
					continue
				}
				status := http.StatusUnauthorized
				if name == "suspended" {
					status = http.StatusForbidden
				}
				equal(t, op.OperationID+" "+name, answer.StatusCode, status)
				equal(t, op.OperationID+" "+name, problemOf(t, answer.Body).Type, bad.problem)
				equal(t, op.OperationID+" "+name+": WWW-Authenticate", answer.Header.Get("WWW-Authenticate") != "", status == http.StatusUnauthorized)
			}
		}
	}
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
