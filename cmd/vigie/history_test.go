package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/image/draw"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/hashing"
	"vigie/index"
	"vigie/internal/tests3"
	"vigie/storage/history"
	"vigie/webhook/signature"
)

// keepUploads has some uploads of the operator sealed in the data folder of a node that does not run.
func keepUploads(t *testing.T, data string, n int) {
	t.Helper()
	folder, err := history.OpenFolder(filepath.Join(data, historyFolder))
	must(t, err)
	defer folder.Close()
	h, err := history.Open(data, folder, history.Options{Scan: index.ScanFlat})
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- h.Run(t.Context()) }()
	for i := range n {
		_, err := h.Append(t.Context(), history.Record{
			Party: 1, At: time.Now(), ContentID: fmt.Sprint("post ", i), PDQ: hashing.Value{uint64(i), 1, 2, 3}, Quality: 90,
		})
		must(t, err)
	}
	must(t, h.Seal(t.Context()))
	must(t, h.Close())
	<-ended
}

// TestHistoryCommand: what there is is told by party, a file that was damaged is named by history verify and the doctor, which
// exit with 1; what a process left half-written the doctor mentions.
func TestHistoryCommand(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	run := func(args ...string) (int, string) {
		code, out, warn := runVigie(os.Environ(), append(args, "--data", data)...)
		return code, out + warn
	}
	must(t, os.Mkdir(data, 0o700))
	if code, text := run("banks", "create", "b"); code != 0 {
		t.Fatal(text)
	}
	keepUploads(t, data, 30)
	code, text := run("history", "--json")
	var party keptUploads
	var last struct{ Summary historySummary }
	lines := json.NewDecoder(strings.NewReader(text))
	if err := errors.Join(lines.Decode(&party), lines.Decode(&last)); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s", code, err, text)
	}
	sum := last.Summary
	if party.Party != "operator" || party.Uploads != 30 || party.Files < 1 || party.Files > 2 || sum.Uploads != 30 || sum.Bytes != party.Bytes || party.Bytes < 30*32 ||
		sum.Damaged != 0 || sum.Window != nil || time.Since(party.Oldest) > 2*time.Hour || time.Until(party.Newest) > time.Hour || !party.Newest.After(party.Oldest) {
		t.Errorf("%s", text)
	}
	code, text = run("history", "verify")
	if want := fmt.Sprintf("30 uploads in %s, ", plural(sum.Files, "file")); code != 0 || !strings.HasPrefix(text, want) {
		t.Errorf("verify: exit %d: %s, want %s", code, text, want)
	}
	for _, args := range [][]string{nil, {"--deep"}} {
		if code, found := examine(t, data, args...); code != 0 || slices.Contains(faultsOf(found), "history") || !saysOf(found, "history", healthy, "30 uploads in ") {
			t.Errorf("doctor %v: exit %d: %+v", args, code, found)
		}
	}

	names, err := filepath.Glob(filepath.Join(data, historyFolder, "*", "*", "*.parquet"))
	must(t, err)
	whole, err := os.ReadFile(names[0])
	must(t, err)
	spoilt := bytes.Clone(whole)
	spoilt[100] ^= 1 // in a page: its end says nothing of it
	must(t, os.WriteFile(names[0], spoilt, 0o600))
	must(t, os.WriteFile(names[0]+".tmp", []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(data, "uploads", "00000000000000000001.journal.damaged"), []byte("x"), 0o600))
	if code, text = run("history", "verify"); code != exitFailed || !strings.Contains(text, filepath.Base(names[0])) || !strings.Contains(text, "1 file damaged") {
		t.Errorf("verify what is damaged: exit %d: %s", code, text)
	}
	code, found := examine(t, data, "--deep")
	if code != exitFailed || !slices.Contains(faultsOf(found), "history") || !saysOf(found, "history", faulty, "1 files of past uploads are damaged") ||
		!saysOf(found, "history", warned, "were being written") || !saysOf(found, "history", faulty, "put aside") {
		t.Errorf("doctor: exit %d: %+v", code, found)
	}
	must(t, os.WriteFile(names[0], whole[:len(whole)-9], 0o600)) // which its end would show
	if code, text = run("history"); code != exitFailed || !strings.Contains(text, filepath.Base(names[0])) {
		t.Errorf("what has no end: exit %d: %s", code, text)
	}
	if code, found := examine(t, data); code != exitFailed || !saysOf(found, "history", faulty, "1 files of past uploads are damaged") {
		t.Errorf("doctor: exit %d: %+v", code, found)
	}
	if code, text := run("history", "--server", "http://127.0.0.1:1"); code != exitUsage {
		t.Errorf("exit %d: %s", code, text)
	}
}

func saysOf(found []finding, check string, l level, text string) bool {
	return slices.ContainsFunc(found, func(f finding) bool { return f.Check == check && f.Level == l && strings.Contains(f.Says, text) })
}

// TestLookbackTold: real pictures that were posted turned and mirrored, before the upright one was flagged: the flag's answer names
// them, and the platform's webhook is told of each, once, signed; of others it is not.
func TestLookbackTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[string]int{}
	secret := ""
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			err = signature.Verify(r.Header, body, time.Now(), secret)
		}
		var got struct {
			Events []struct {
				Kind string
				Data struct {
					ContentID  string    `json:"content_id"`
					Upload     string    `json:"upload"`
					UploadedAt time.Time `json:"uploaded_at"`
					Level      string    `json:"level"`
				}
			}
		}
		if err == nil {
			err = json.Unmarshal(body, &got)
		}
		if err != nil {
			t.Error(err)
		}
		for _, e := range got.Events {
			if e.Kind != "lookback.hit" || e.Data.Upload == "" || time.Since(e.Data.UploadedAt) > time.Hour || e.Data.Level != "match" {
				t.Errorf("%s", body)
			}
			told[e.Data.ContentID]++
		}
	}))
	defer hook.Close()
	s := serve(t, filepath.Join(t.TempDir(), "data"), nil, "--allow-outgoing", strings.TrimPrefix(hook.URL, "http://"))
	must(t, errors.Join(s.do("banks", "create", "b"), s.do("parties", "change", "operator", "--history-days", "30")))
	code, out, warn := s.vigie("webhooks", "create", hook.URL+"/", "lookback.hit", "--json")
	var made v1.CreatedWebhook
	if err := json.Unmarshal([]byte(out), &made); code != 0 || err != nil {
		t.Fatalf("%s%s: %v", out, warn, err)
	}
	mu.Lock()
	secret = made.Secret
	mu.Unlock()

	upright, _, err := image.Decode(bytes.NewReader(fixtures.Read("hills.jpg")))
	must(t, err)
	m := image.NewRGBA(upright.Bounds())
	draw.Draw(m, m.Rect, upright, upright.Bounds().Min, draw.Src)
	posts := map[string][]byte{
		"mirrored": encoded(".jpg", altered["mirror"](m)), "turned": encoded(".jpg", altered["rotate"](m)),
		"both": encoded(".jpg", altered["mirror"](altered["rotate"](m))), "another": fixtures.Read("bridge.jpg"),
	}
	dir := t.TempDir()
	eventually(t, "the node looks back", func() bool { // from then on it keeps uploads
		file := filepath.Join(dir, "first.png")
		must(t, os.WriteFile(file, encoded(".png", drawn(9, 96, 72)), 0o600))
		_, out, _ := s.vigie("check", "--json", "--content-id", "first", file)
		return !strings.Contains(out, `"unkept":true`)
	})
	for name, data := range posts {
		file := filepath.Join(dir, name+".jpg")
		must(t, os.WriteFile(file, data, 0o600))
		must(t, s.do("check", "--content-id", name, file))
	}
	flagged, err := postFile[v1.Flagged](s, s.key(t, v1.Analyst), "/v1/banks/b/entries", fixtures.Read("hills.jpg"))
	must(t, err)
	var at []string
	if past := flagged.PastUploads; past != nil && past.Complete && !past.Partial && past.CutAt == nil {
		for _, u := range past.Own {
			at = append(at, u.ContentId)
		}
	}
	if slices.Sort(at); !slices.Equal(at, []string{"both", "mirrored", "turned"}) {
		t.Errorf("the answer says %+v", flagged.PastUploads)
	}
	want := map[string]int{"mirrored": 1, "turned": 1, "both": 1}
	eventually(t, "the webhook is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) >= len(want)
	})
	mu.Lock()
	if !maps.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	mu.Unlock()
	code, out, _ = s.vigie("history", "--json")
	var last struct{ Summary historySummary }
	if err := json.Unmarshal([]byte(out), &last); code != 0 || err != nil || last.Summary.Window == nil || last.Summary.Window.Uploads != 5 || last.Summary.Unsealed == 0 {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}

	// The command line says the same.
	says := func(want string, args ...string) {
		t.Helper()
		if code, out, warn := s.vigie(args...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%v: exit %d, without %q: %s%s", args, code, want, out, warn)
		}
	}
	found, err := get[struct{ Matches []v1.RecordedMatch }](s, s.key(t, v1.Auditor), "/v1/matches?content_id=turned")
	must(t, err)
	says("turned (past upload)\n", "matches")
	says("by a look-back: a past upload of operator, uploaded 20", "matches", "show", found.Matches[0].Id)
	must(t, s.do("matches", "decide", found.Matches[0].Id, "removed"))
	says("to restore, since they were removed because of it: 1 upload; vigie matches --entry 1 --standing", "entries", "retract", "1", "--reason", "x")
	says("past uploads that match: 3 of yours, 0 of others; they come as matches: vigie matches --entry 1", "entries", "restore", "1", "--reason", "x")
	hills := filepath.Join(dir, "hills.jpg")
	must(t, errors.Join(os.WriteFile(hills, fixtures.Read("hills.jpg"), 0o600), s.do("banks", "create", "text"), s.do("banks", "create", "json")))
	says("\n  past uploads that match: 3 of yours, 0 of others; they come as matches", "flag", "--bank", "text", hills)
	says(`"past_uploads":{"complete":true,"others":0,"own":[{"content_id":"`, "flag", "--json", "--bank", "json", hills)
}

// do runs a command on the node's data folder.
func (s *served) do(args ...string) error {
	if code, out, warn := s.vigie(args...); code != 0 {
		return fmt.Errorf("%v: exit %d: %s%s", args, code, out, warn)
	}
	return nil
}

// TestHistoryInBucket: a node that is given a bucket moves the files there that it had in its folder, and the commands read them there.
func TestHistoryInBucket(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	must(t, os.Mkdir(data, 0o700))
	if code, out, warn := runVigie(os.Environ(), "banks", "create", "b", "--data", data); code != 0 {
		t.Fatal(out, warn)
	}
	keepUploads(t, data, 20)
	server := tests3.Start(t)
	env := append(os.Environ(), "AWS_ACCESS_KEY_ID="+tests3.AccessKey, "AWS_SECRET_ACCESS_KEY="+tests3.SecretKey, "VIGIE_MEDIA="+server.URL(server.Bucket(t, false)))
	verify := func() (sum historySummary) {
		t.Helper()
		code, out, warn := runVigie(env, "history", "verify", "--json", "--data", data)
		var last struct{ Summary historySummary }
		if err := json.Unmarshal([]byte(out), &last); code != 0 || err != nil {
			t.Fatalf("exit %d, %v: %s%s", code, err, out, warn)
		}
		return last.Summary
	}
	before := verify() // in the folder still
	s := serve(t, data, env)
	left := func() int {
		names, err := filepath.Glob(filepath.Join(data, historyFolder, "*", "*", "*"))
		must(t, err)
		return len(names)
	}
	eventually(t, "the files are moved", func() bool { return left() == 0 })
	if after := verify(); after.Uploads != 20 || after.keptUploads != before.keptUploads {
		t.Errorf("%+v, before %+v", after, before)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		t.Error(code, err)
	}
	code, out, warn := runVigie(env, "doctor", "--json", "--deep", "--data", data)
	if !strings.Contains(out, `{"check":"history","level":"ok","says":"20 uploads in `) {
		t.Errorf("doctor: exit %d: %s%s", code, out, warn)
	}
}
