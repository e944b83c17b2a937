package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "vigie/api/v1"
)

// TestLogFollow follows the log through the death of the node and a new one on the same folder: each change comes once, in
// order, and SIGINT ends it well.
func TestLogFollow(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serve(t, data, nil, "--log-level", "error")
	mustRun(t, s, "banks", "create", "one")

	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "vigie", "log", "follow", "--json")
	cmd.Env = append(os.Environ(), "VIGIE_DATA="+data)
	var warnings output
	cmd.Stderr = &warnings
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make(chan v1.Change, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			var c v1.Change
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				t.Errorf("%q: %v", lines.Text(), err)
			}
			seen <- c
		}
	}()
	next := func(seq int64, kind string) {
		t.Helper()
		select {
		case c := <-seen:
			if c.Seq != seq || c.Kind != kind {
				t.Fatalf("change %d, %s; want %d, %s", c.Seq, c.Kind, seq, kind)
			}
		case <-time.After(patience):
			t.Fatalf("no change %d within %v; it said: %s", seq, patience, warnings.String())
		}
	}
	next(1, "bank.created")
	mustRun(t, s, "banks", "create", "two")
	next(2, "bank.created")
	s.kill()
	eventually(t, "it says that the node is gone", func() bool { return strings.Contains(warnings.String(), "; trying again\n") })
	s = serve(t, data, nil, "--log-level", "error")
	mustRun(t, s, "banks", "delete", "one")
	next(3, "bank.deleted")

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGINT: %v; it said: %s", err, warnings.String())
	}
	if len(seen) > 0 {
		t.Errorf("more came: %+v", <-seen)
	}
	if got := strings.Count(warnings.String(), "trying again"); got != 1 {
		t.Errorf("told %d times that the node is gone, want once: %s", got, warnings.String())
	}
}

// TestLogFollowRefused ends a feed that cannot be resumed: the key may not read any more.
func TestLogFollowRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, filepath.Join(t.TempDir(), "data"), nil, "--log-level", "error")
	mustRun(t, s, "banks", "create", "one")
	key := s.key(t, v1.Analyst)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var printed, warnings output
	follow := func(bank string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "vigie", "log", "follow", "--bank", bank)
		cmd.Env = append(os.Environ(), "VIGIE_SERVER="+s.url, "VIGIE_KEY="+key)
		cmd.Stdout, cmd.Stderr = &printed, &warnings
		return cmd
	}
	refused := func(err error, why string) {
		t.Helper()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(warnings.String(), why) {
			t.Errorf("%v: %s; want exit 1 and %q", err, warnings.String(), why)
		}
	}
	refused(follow("nowhere").Run(), "nowhere")

	cmd := follow("one")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the feed runs", func() bool { return strings.Contains(printed.String(), "bank one") })
	mustRun(t, s, "keys", "revoke", strings.Split(key, "_")[1])
	refused(cmd.Wait(), "revoked key")
	if lines := strings.Count(printed.String(), "\n"); lines != 1 {
		t.Errorf("%d lines, want the bank's own change alone:\n%s", lines, printed.String())
	}
}

// TestLogFollowRestored ends a feed whose node was restored from an older backup and has other changes now under the numbers that
// were read.
func TestLogFollowRestored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, old := filepath.Join(dir, "data"), filepath.Join(dir, "old")
	s := serve(t, data, nil, "--log-level", "error")
	mustRun(t, s, "banks", "create", "one")
	s.kill()
	if err := errors.Join(os.Remove(filepath.Join(data, socketFile)), os.CopyFS(old, os.DirFS(data))); err != nil {
		t.Fatal(err)
	}
	s = serve(t, data, nil, "--log-level", "error")
	mustRun(t, s, "banks", "create", "two")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var printed, warnings output
	cmd := exec.CommandContext(ctx, "vigie", "log", "follow")
	cmd.Env = append(os.Environ(), "VIGIE_DATA="+data)
	cmd.Stdout, cmd.Stderr = &printed, &warnings
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has read two changes", func() bool { return strings.Contains(printed.String(), "bank two") })
	s.kill()

	s = serve(t, old, nil, "--log-level", "error")
	mustRun(t, s, "banks", "create", "three")
	mustRun(t, s, "banks", "create", "four")
	s.kill()
	if err := errors.Join(os.Rename(data, filepath.Join(dir, "gone")), os.Rename(old, data)); err != nil {
		t.Fatal(err)
	}
	serve(t, data, nil, "--log-level", "error")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(warnings.String(), "another past") {
		t.Errorf("%v: %s; want exit 1 and another past", err, warnings.String())
	}
	if strings.Contains(printed.String(), "bank four") {
		t.Errorf("it went on as if nothing had happened: %s", printed.String())
	}
}

// TestRepeatedRequests loses the answers of a node: what changes something is sent again with its key, and done once.
func TestRepeatedRequests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"), nil, "--log-level", "error")
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int32
	var keys atomic.Value
	keys.Store("")
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if r.Method == http.MethodGet || keys.Swap(key) == key {
			forward.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r)
		_, _ = io.Copy(io.Discard, answer.Body)
		lost.Add(1)
		panic(http.ErrAbortHandler) // as a node that dies before it answers
	}))
	t.Cleanup(proxy.Close)
	picture := filepath.Join(dir, "a.jpg")
	if err := os.WriteFile(picture, jpegOf(1, 200, 150), 0o666); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "VIGIE_SERVER="+proxy.URL, "VIGIE_KEY="+s.key(t, v1.Admin))
	for i, args := range [][]string{
		{"banks", "create", "one"}, // a second time it would be refused
		{"flag", "--bank", "one", "--json", picture},
		{"entries", "retract", "1", "--reason", "wrong"},
	} {
		code, out, warn := runVigie(env, args...)
		if code != 0 || warn != "" {
			t.Errorf("%v: exit %d: %s%s", args, code, out, warn)
		}
		if args[0] == "flag" && !strings.Contains(out, `"created":true`) {
			t.Errorf("the repetition of a flag is answered as if the bank had it: %s", out)
		}
		if got := int(lost.Load()); got != i+1 {
			t.Errorf("%v: %d answers lost, want %d", args, got, i+1)
		}
	}
	// A key's secret is told once: if that was lost, so is the key.
	code, out, warn := runVigie(env, "keys", "create", "--role", "platform", "shop")
	if code != exitFailed || out != "" || !strings.Contains(warn, "its secret was shown in the first answer: it is the key ") {
		t.Errorf("a lost secret: exit %d: %s%s", code, out, warn)
	}
	changes, err := get[v1.Changes](s, s.key(t, v1.Auditor), "/v1/changes")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, c := range changes.Changes {
		counts[c.Kind]++
	}
	for kind, want := range map[string]int{"bank.created": 1, "entry.added": 1, "entry.sourced": 0, "entry.retracted": 1, "key.created": 3} {
		if counts[kind] != want {
			t.Errorf("%s: %d changes, want %d", kind, counts[kind], want)
		}
	}
}

// mustRun runs a command on the node's folder that must succeed.
func mustRun(t *testing.T, s *served, args ...string) {
	t.Helper()
	if code, out, warn := s.vigie(args...); code != 0 {
		t.Fatalf("%v: exit %d: %s%s", args, code, out, warn)
	}
}
