package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "vigie/api/v1"
)

// TestDrain stops a node while an upload is under way: the node says that it is not ready, then closes
// its door, and still answers the upload.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := serve(t, filepath.Join(t.TempDir(), "data"), nil, "--drain-delay", "1s")
	key := s.key(t, v1.Platform)

	r, w := io.Pipe()
	contentType, body := form(jpegOf(1, 320, 240))
	half := body.Len() / 2
	type answer struct {
		verdict v1.Verdict
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := ask[v1.Verdict](s.request(key, "POST", "/v1/check", contentType, r))
		answered <- answer{v, err}
	}()
	if _, err := io.CopyN(w, body, int64(half)); err != nil {
		t.Fatal(err)
	}
	if ready, err := get[v1.Readiness](s, "", "/readyz"); err != nil || !ready.Ready {
		t.Fatalf("before: %+v %v", ready, err)
	}
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	// New connections each time: an old one may outlive the door.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var said string
	eventually(t, "/readyz says 503, then nothing", func() bool {
		r, err := client.Get(s.url + "/readyz")
		if err != nil {
			return true
		}
		defer r.Body.Close()
		if text, _ := io.ReadAll(r.Body); r.StatusCode == http.StatusServiceUnavailable {
			said = string(text)
		}
		return false
	})
	if !strings.Contains(said, "the node is draining") {
		t.Errorf("/readyz said %q", said)
	}
	select {
	case <-s.ended:
		t.Fatal("the node ended before it answered what was under way")
	default:
	}
	_, err := io.Copy(w, body)
	if err == nil {
		err = w.Close()
	}
	if a := <-answered; err != nil || a.err != nil || a.verdict.Level != v1.LevelNone {
		t.Errorf("the upload under way: %v, level %q, %v", err, a.verdict.Level, a.err)
	}
	<-s.ended
	if s.exit != nil {
		t.Errorf("the node ended with %v", s.exit)
	}

	// Standard output has the line that says ready and nothing else; standard error has log lines.
	if n := strings.Count(s.stdout.String(), "\n"); n != 1 {
		t.Errorf("%d lines on standard output: %s", n, s.stdout.String())
	}
	var events []string
	lines := json.NewDecoder(strings.NewReader(s.stderr.String()))
	for lines.More() {
		var line struct{ Msg, Problem string }
		if err := lines.Decode(&line); err != nil {
			t.Fatalf("%v in %s", err, s.stderr.String())
		}
		machine := slices.ContainsFunc([]string{ // what the log says of the machine
			"memory", "decode children", "videos", "no ffmpeg", "HEIC", "no heif-convert", "runs as root",
		}, func(begin string) bool { return strings.HasPrefix(line.Msg, begin) })
		if line.Problem == "" && line.Msg != "request" && !machine {
			events = append(events, line.Msg)
		}
	}
	if got := strings.Join(events, ", "); got != "serving, draining, stopped" {
		t.Errorf("events in the log: %s", got)
	}
	if strings.Contains(s.stderr.String(), key) {
		t.Error("the key is in the log")
	}
}

// TestServeForPeople shows what a person who starts a node sees.
func TestServeForPeople(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command("vigie", "serve", "--data", data, "--listen", "127.0.0.1:0")
	var out output
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() //nolint:errcheck // it has ended, if all went well
	eventually(t, "two lines", func() bool { return strings.Count(out.String(), "\n") == 2 })
	want := regexp.MustCompile(`^Vigie is ready at (http://127\.0\.0\.1:\d+) \(0 entries, change 0\)\. The API is explained at (http://127\.0\.0\.1:\d+)/docs\.
There are no keys yet: vigie keys create --data ` + regexp.QuoteMeta(data) + ` --role admin NAME
$`)
	if found := want.FindStringSubmatch(out.String()); found == nil || found[1] != found[2] {
		t.Errorf("it said %q", out.String())
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
}

// TestMetrics reads the numbers after known requests.
func TestMetrics(t *testing.T) {
	t.Parallel()
	n := &target{t: t, served: serve(t, filepath.Join(t.TempDir(), "data"), nil)}
	n.admin = n.key(t, v1.Admin)
	if _, err := post[v1.Bank](n.served, n.admin, "/v1/banks", v1.NewBank{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	picture := jpegOf(1, 320, 240)
	for range 2 {
		if _, err := postFile[v1.Flagged](n.served, n.admin, "/v1/banks/b/entries", picture); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range [][]byte{picture, jpegOf(2, 320, 240), []byte("no picture")} {
		_, _ = postFile[v1.Verdict](n.served, n.admin, "/v1/check", file)
	}
	for name, want := range map[string]string{
		`vigie_flags_total{created="true"}`:               "1",
		`vigie_flags_total{created="false"}`:              "1",
		`vigie_checks_total{asked="media",level="match"}`: "1",
		`vigie_checks_total{asked="media",level="none"}`:  "1",
		`vigie_index_entries`:                             "1",
		`vigie_index_seq`:                                 "4",
		`vigie_changes_applied_total`:                     "4",
		`vigie_follower_faults_total`:                     "0",
		`vigie_decoders_busy`:                             "0",
		`vigie_check_stage_seconds_count{stage="hash"}`:   "2",
		`vigie_http_request_seconds_count{method="POST",route="/v1/check",status="415"}`: "1",
		`vigie_http_request_seconds_count{method="POST",route="/v1/check",status="200"}`: "2",
	} {
		eventually(t, name+" is "+want, func() bool { return n.metric(name) == want })
	}
	r, err := n.request("", "GET", "/metrics", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); bytes.Contains(text, []byte("vg_")) {
		t.Error("keys are among the metrics")
	}
}
