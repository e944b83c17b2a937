package bucket

import (
	"errors"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"vigie/internal/tests3"
	"vigie/storage"
)

// TestClock: a server that refuses requests of another time is away until the clock is right, and the error says why. The clock is
// that of a proxy, which dates requests anew.
func TestClock(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	to := &url.URL{Scheme: "http", Host: server.Address()}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("X-Amz-Date", time.Now().Add(-48*time.Hour).UTC().Format("20060102T150405Z"))
		r.Out.Header.Set("Authorization", strings.ReplaceAll(r.In.Header.Get("Authorization"),
			time.Now().UTC().Format("20060102"), time.Now().Add(-48*time.Hour).UTC().Format("20060102")))
	}})
	defer proxy.Close()
	b, err := Open(t.Context(), server.Via(strings.TrimPrefix(proxy.URL, "http://"), server.Bucket(t, false)), Options{Tries: 1})
	if err != nil {
		t.Fatalf("a clock may be set right later: %v", err)
	}
	defer b.Close()
	for what, err := range map[string]error{"put": b.Put(t.Context(), "a", []byte("x")), "check": b.Check(t.Context())} {
		if !errors.Is(err, storage.ErrClock) || !errors.Is(err, storage.ErrUnavailable) || MayBeObject(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := b.Get(t.Context(), "a"); !errors.Is(err, storage.ErrClock) {
		t.Errorf("get: %v", err)
	}
}
