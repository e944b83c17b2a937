package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEntriesExpire: an entry whose time has come is out for the first command that is run then, and for a node that serves.
func TestEntriesExpire(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	const hash = "md5:9e107d9d372bb6826bd81d3542a419d6"
	run := func(args ...string) string {
		t.Helper()
		code, out, warn := runVigie(os.Environ(), append(args, "--data", data, "--ffmpeg", "none")...)
		if code != 0 {
			t.Fatalf("%v: exit %d: %s%s", args, code, out, warn)
		}
		return out
	}
	shows := func(out, want string) {
		t.Helper()
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	come := func() { alterCatalogue(t, data, "UPDATE entries SET expires_at = 1000 WHERE expires_at > 0") }

	run("banks", "create", "b", "--action", "block")
	run("flag", "--bank", "b", "--signal", hash, "--expires", "720h")
	shows(run("check", "--signal", hash), "entry 1 of b")
	come()
	if out := run("check", "--signal", hash); strings.Contains(out, "entry 1") {
		t.Errorf("it still matches: %s", out)
	}
	shows(run("entries", "show", "1"), "entry 1 of b: expired, by its digests alone\nexpired ")
	shows(run("entries", "--status", "expired"), "expired")
	shows(run("log"), "entry.expired")
	run("entries", "restore", "1", "--reason", "a test")
	shows(run("check", "--signal", hash), "entry 1 of b")

	run("entries", "change", "1", "--expires", "2099-05-01")
	come()
	s := serve(t, data, nil, "--log-level", "error", "--ffmpeg", "none")
	eventually(t, "the node that serves expires it", func() bool {
		code, out, _ := s.vigie("entries", "show", "1")
		return code == 0 && strings.Contains(out, "entry 1 of b: expired")
	})
}

func TestExpiryFlag(t *testing.T) {
	t.Parallel()
	day := time.Date(2099, 5, 1, 0, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"720h": time.Now().Add(720 * time.Hour), "2099-05-01": day, "2099-05-01T08:00:00+02:00": time.Date(2099, 5, 1, 6, 0, 0, 0, time.UTC),
	} {
		var e expiry
		if err := e.UnmarshalText([]byte(text)); err != nil || e.some().Sub(want).Abs() > time.Hour {
			t.Errorf("%s: %v, %v", text, e.at, err)
		}
	}
	for _, bad := range []string{"", "0s", "-1h", "soon", "2099-13-01", "2099"} {
		if err := new(expiry).UnmarshalText([]byte(bad)); err == nil || !strings.Contains(err.Error(), "accepted are") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if (expiry{}).some() != nil {
		t.Error("a flag that is not given names a time")
	}
}
