package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/internal/tests3"
)

// TestS3Start: what is wrong with the settings of S3 ends a start with one line and exit code 2; a server that is away, or that a wrong
// clock keeps away, does not, and the node says so.
func TestS3Start(t *testing.T) {
	t.Parallel()
	server := tests3.Start(t)
	right := []string{"AWS_ACCESS_KEY_ID=" + tests3.AccessKey, "AWS_SECRET_ACCESS_KEY=" + tests3.SecretKey}
	place := server.URL(server.Bucket(t, false))
	for name, c := range map[string]struct {
		keys  []string
		media string
		says  string
	}{
		"a wrong secret": {[]string{right[0], "AWS_SECRET_ACCESS_KEY=wrong"}, place, "the secret key is wrong"},
		"no such key":    {[]string{"AWS_ACCESS_KEY_ID=nobody", right[1]}, place, "the access key is not known there"},
		"no such bucket": {right, server.URL("missing"), "name or endpoint are wrong"},
		"no lock":        {right, place + "&lock=governance:10d", "the bucket has no object lock"},
		"no S3":          {right, "s3://bucket?endpoint=" + httpServer(t, http.StatusNotFound, "<html>not here</html>"), "no reason"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(os.Environ(), append(c.keys, "VIGIE_MEDIA="+c.media)...)
			for _, command := range [][]string{{"serve", "--listen", "127.0.0.1:0", "--log-level", "error"}, {"banks", "create", "b"}} {
				code, out, warn := runVigie(env, append(command, "--data", filepath.Join(t.TempDir(), "data"))...)
				if code != exitUsage || out != "" || !strings.HasPrefix(warn, "vigie: ") || strings.Count(warn, "\n") != 1 || !strings.Contains(warn, c.says) {
					t.Errorf("%s: exit %d: %s%s", command[0], code, out, warn)
				}
			}
		})
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nobody.Close()
	closed := nobody.Addr().String()
	must(t, nobody.Close())
	for name, c := range map[string]struct{ media, says string }{
		"unreachable":   {"s3://bucket?endpoint=http://" + closed, "connection refused"},
		"a wrong clock": {"s3://bucket?region=x&endpoint=" + httpServer(t, http.StatusForbidden, `<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code></Error>`), "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, filepath.Join(t.TempDir(), "data"), slices.Concat(right, []string{"VIGIE_MEDIA=" + c.media}))
			var told []string
			for line := range strings.Lines(s.stderr.String()) {
				if strings.Contains(line, "S3 does not answer") {
					told = append(told, line)
				}
			}
			if len(told) != 1 || !strings.Contains(told[0], c.says) {
				t.Errorf("it says %q", told)
			}
		})
	}
}

// httpServer answers all requests alike.
func httpServer(t *testing.T, status int, body string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestMediaCopies: of a blob that one node erases, a copy in another one's folder is gone as soon as that node looks, a day after it was
// fetched; and when the media lie elsewhere, or no copies are kept any more, none is left.
func TestMediaCopies(t *testing.T) {
	t.Parallel()
	server := tests3.Start(t)
	env := []string{"AWS_ACCESS_KEY_ID=" + tests3.AccessKey, "AWS_SECRET_ACCESS_KEY=" + tests3.SecretKey, "VIGIE_MEDIA=" + server.URL(server.Bucket(t, false))}
	data := filepath.Join(t.TempDir(), "data")
	sha := strings.Repeat("ab", 32)
	name := filepath.Join(data, cacheFolder, "ab", "ab", sha)
	start := func(age time.Duration, env ...string) (left bool) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, []byte("bytes"), 0o600))
		at := time.Now().Add(-age)
		must(t, os.Chtimes(name, at, at))
		s := serve(t, data, env)
		if code, err := s.stop(); code != 0 || err != nil {
			t.Error(code, err)
		}
		_, err := os.Stat(name)
		return err == nil
	}
	if !start(time.Hour, env...) {
		t.Error("a copy of an hour ago is gone")
	}
	if start(25*time.Hour, env...) {
		t.Error("a copy of a day ago is left")
	}
	if start(time.Hour, append(env, "VIGIE_MEDIA_CACHE=0B")...) {
		t.Error("a copy is left though none are kept")
	}
	if start(time.Hour) {
		t.Error("a copy is left though media lie in the folder")
	}
}

// TestAbandonedUploads: a node removes uploads that did not come to their end, a day ago or before.
func TestAbandonedUploads(t *testing.T) {
	t.Parallel()
	server := tests3.Start(t)
	bucket := server.Bucket(t, false)
	server.Abandon(t, bucket, "snapshots/old", 25*time.Hour)
	server.Abandon(t, bucket, "snapshots/young", 23*time.Hour)
	serve(t, filepath.Join(t.TempDir(), "data"), []string{"AWS_ACCESS_KEY_ID=" + tests3.AccessKey, "AWS_SECRET_ACCESS_KEY=" + tests3.SecretKey, "VIGIE_MEDIA=" + server.URL(bucket)})
	eventually(t, "the old upload is gone, and the young one not", func() bool {
		return slices.Equal(server.Abandoned(t, bucket), []string{"snapshots/young"})
	})
}
