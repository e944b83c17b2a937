package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	v1 "vigie/api/v1"
)

// TestNodesVerified: the command ends well only if all nodes were found to hold what the catalogue does, and names those that were not.
func TestNodesVerified(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		verified v1.VerifiedNodes
		code     int
		told     string
	}{
		"all agree":       {v1.VerifiedNodes{Agree: []string{"aaaaaaaa"}}, exitDone, ""},
		"nobody is there": {v1.VerifiedNodes{}, exitFailed, "NOT VERIFIED: no node is at work"},
		"one is silent":   {v1.VerifiedNodes{Agree: []string{"aaaaaaaa"}, Unknown: []string{"bbbbbbbb", "cccccccc"}}, exitFailed, "NOT VERIFIED: bbbbbbbb, cccccccc "},
		"one differs":     {v1.VerifiedNodes{Agree: []string{"aaaaaaaa"}, Differ: []string{"bbbbbbbb"}}, exitFailed, "NOT WHAT THE CATALOGUE HOLDS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/nodes" || r.URL.Query().Get("verify") != "true" {
					t.Errorf("asked for %s", r.URL)
				}
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(v1.Nodes{Verified: &test.verified})
			}))
			defer node.Close()
			for _, more := range [][]string{nil, {"--json"}} {
				code, out, warn := runVigie(append(os.Environ(), "VIGIE_KEY=vg_abcdefgh_0123456789", "VIGIE_SERVER="+node.URL), append([]string{"nodes", "--verify"}, more...)...)
				if code != test.code || !strings.HasPrefix(warn, test.told) || test.told == "" && warn != "" {
					t.Errorf("exit %d: %s%s", code, out, warn)
				}
			}
		})
	}
}
