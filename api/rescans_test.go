package api_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parquet-go/parquet-go"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/jobs"
)

// newRescans makes a runner with a source "posts" of the party "owner", and "hashes" of the operator: files of a folder. Its jobs
// wait for [node.work].
func (n *node) newRescans(dir string) *rescan.Runner {
	n.posts = filepath.Join(dir, "posts")
	o := rescan.Options{
		Catalogue: n.catalogue, Engine: func() jobs.Engine { return n.engine() },
		Sources: rescan.Sources{
			"posts":  {Kind: rescan.FolderSource, Location: n.posts, Party: "owner"},
			"hashes": {Kind: rescan.HashSource, Location: filepath.Join(dir, "hashes.csv"), PerSecond: 1e6},
			"nobody": {Kind: rescan.FolderSource, Location: n.posts, Party: "nobody"},
		},
	}
	rescan.Matcher(&o, n.matcher, api.RenderVerdict)
	return rescan.New(o)
}

// engine is what does jobs, if anything does.
func (n *node) engine() jobs.Engine {
	if n.working != nil {
		return n.working
	}
	return &n.noJobs
}

// work has jobs done until the test ends.
func (n *node) work() {
	n.t.Helper()
	engine, err := jobs.OpenLocal(n.t.Context(), filepath.Join(n.t.TempDir(), "jobs.db"), n.rescans.Handlers(), jobs.Options{})
	must(n.t, err)
	n.working = engine
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) })
	n.t.Cleanup(func() { stop(); running.Wait(); must(n.t, engine.Close()) })
}

// events reads the Server-Sent Events of an answer: their names, and the data of the last.
func events(t *testing.T, answer *http.Response) (names []string, last v1.Rescan) {
	t.Helper()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			names = append(names, name)
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			must(t, json.Unmarshal([]byte(data), &last))
		}
	}
	must(t, lines.Err())
	return names, last
}

// TestRescan goes the whole way: a list of hashes is re-scanned, followed, and what was found is read in all its forms.
func TestRescan(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.work()
	_, err := n.matcher.CreateBank(t.Context(), matcher.Local(), matcher.NewBank{BankEdit: matcher.BankEdit{Name: some("b")}})
	must(t, err)
	known, err := hashing.Parse("pdq:" + strings.Repeat("0f", 16) + strings.Repeat("3a", 16))
	must(t, err)
	known.Quality = 100
	_, err = n.matcher.Flag(t.Context(), matcher.Flagging{Who: matcher.Local(), Bank: "b", Signals: []hashing.Signal{known}})
	must(t, err)
	_, err = n.matcher.CreateBank(t.Context(), matcher.Local(), matcher.NewBank{BankEdit: matcher.BankEdit{Name: some("tried")}, Kind: storage.TestBank})
	must(t, err)
	_, err = n.matcher.Flag(t.Context(), matcher.Flagging{Who: matcher.Local(), Bank: "tried", Signals: []hashing.Signal{known}})
	must(t, err)

	var list strings.Builder
	list.WriteString("id,pdq,quality\n")
	var planted []string
	for i := range 1200 {
		hash := fmt.Sprintf("%064x", 7_919*(i+1))
		switch {
		case i%4 == 0:
			hash = known.Hex()
			planted = append(planted, fmt.Sprintf("post %d", i))
		case i == 5:
			hash = "none"
		}
		fmt.Fprintf(&list, "post %d,%s,100\n", i, hash)
	}
	must(t, os.WriteFile(filepath.Join(filepath.Dir(n.posts), "hashes.csv"), []byte(list.String()), 0o600))
	slices.Sort(planted)

	key := "Authorization: Bearer " + n.keys["platform"]
	answer := n.send("POST", "/v1/rescans", strings.NewReader(`{"source":"hashes","banks":["b","tried"],"upright":true}`), asJSON, key, "Idempotency-Key: one")
	equal(t, "status", answer.StatusCode, 201)
	var begun v1.Rescan
	must(t, json.Unmarshal([]byte(read(t, answer.Body)), &begun))
	again := n.send("POST", "/v1/rescans", strings.NewReader(`{"source":"hashes","banks":["b","tried"],"upright":true}`), asJSON, key, "Idempotency-Key: one")
	equal(t, "repeated", again.Header.Get("Idempotency-Replayed"), "true")
	var same v1.Rescan
	must(t, json.Unmarshal([]byte(read(t, again.Body)), &same))
	equal(t, "the same re-scan", same.Id, begun.Id)

	path := fmt.Sprintf("/v1/rescans/%d", begun.Id)
	answer = n.send("GET", path, nil, key, "Accept: text/event-stream")
	equal(t, "status", answer.StatusCode, 200)
	names, end := events(t, answer)
	equal(t, "the last event", names[len(names)-1], "end")
	equal(t, "state", end.State, v1.Done)
	equal(t, "progress", end.Progress, 1)
	equal(t, "counts", fmt.Sprint(end.Counts.Items, end.Counts.Failed, end.Counts.None, end.Counts.Match), fmt.Sprint(1200, 1, 899, 300))

	var paged []string
	for cursor := ""; ; {
		type page struct {
			Hits []v1.RescanHit
			Next *string
		}
		var p page
		must(t, json.Unmarshal([]byte(read(t, n.send("GET", path+"/hits?limit=70"+cursor, nil, key).Body)), &p))
		for _, h := range p.Hits {
			paged = append(paged, h.Item)
			var v v1.Verdict
			must(t, json.Unmarshal(h.Verdict, &v))
			equal(t, "level of the whole verdict", v.Level, h.Level)
		}
		if p.Next == nil {
			break
		}
		cursor = "&cursor=" + *p.Next
	}
	slices.Sort(paged)
	equal(t, "hits, page by page", fmt.Sprint(paged), fmt.Sprint(planted))

	readAs := func(how string, kind string, items func(io.Reader) []string) {
		t.Helper()
		path, header := path+"/hits?format="+how, key
		if strings.Contains(how, "/") {
			path = fmt.Sprintf("/v1/rescans/%d/hits", begun.Id)
			header = "Accept: " + how
		}
		answer := n.send("GET", path, nil, key, header)
		equal(t, how, answer.StatusCode, 200)
		equal(t, how, answer.Header.Get("Content-Type"), kind)
		got := items(answer.Body)
		slices.Sort(got)
		equal(t, how, fmt.Sprint(got), fmt.Sprint(planted))
	}
	lines := func(r io.Reader) (items []string) {
		for dec := json.NewDecoder(r); dec.More(); {
			var h v1.RescanHit
			must(t, dec.Decode(&h))
			items = append(items, h.Item)
		}
		return items
	}
	readAs("ndjson", "application/x-ndjson", lines)
	readAs("application/x-ndjson", "application/x-ndjson", lines)
	readAs("csv", "text/csv", func(r io.Reader) (items []string) {
		rows, err := csv.NewReader(r).ReadAll()
		must(t, err)
		equal(t, "names", strings.Join(rows[0], " "), "item level action shard verdict")
		for _, row := range rows[1:] {
			items = append(items, row[0])
		}
		return items
	})
	readAs("parquet", "application/vnd.apache.parquet", func(r io.Reader) (items []string) {
		text, err := io.ReadAll(r)
		must(t, err)
		type row struct {
			Item string `parquet:"item"`
		}
		rows, err := parquet.Read[row](strings.NewReader(string(text)), int64(len(text)))
		must(t, err)
		for _, one := range rows {
			items = append(items, one.Item)
		}
		return items
	})

	failures := n.send("GET", path+"/failures", nil, key)
	var failed struct{ Failures []v1.RescanFailure }
	must(t, json.NewDecoder(failures.Body).Decode(&failed))
	equal(t, "failures", len(failed.Failures), 1)
	equal(t, "the one that is no hash", failed.Failures[0].Item, "post 5")

	gone := n.send("POST", "/v1/entries/1/retract", strings.NewReader(`{"reason":"was wrong"}`), asJSON, "Authorization: Bearer "+n.keys["admin"])
	var entry v1.Entry
	must(t, json.NewDecoder(gone.Body).Decode(&entry))
	equal(t, "to look through", *entry.ToRestore.Rescans, v1.FoundByRescans{Count: 300, Hits: "/v1/entries/1/rescan-hits"})
	var items []string
	for cursor, more := "", true; more; {
		answer := n.send("GET", entry.ToRestore.Rescans.Hits+"?limit=200"+cursor, nil, key)
		var page struct {
			Hits []v1.EntryRescanHit
			Next *string
		}
		must(t, json.NewDecoder(answer.Body).Decode(&page))
		for _, h := range page.Hits {
			items = append(items, h.Item)
			if h.Rescan != begun.Id || h.Level != v1.LevelMatch {
				t.Errorf("hit %+v", h)
			}
		}
		if more = page.Next != nil; more {
			cursor = "&cursor=" + *page.Next
		}
	}
	slices.Sort(items)
	equal(t, "hits of the entry", fmt.Sprint(items), fmt.Sprint(planted))
	answer = n.send("GET", path+"/hits?limit=1", nil, key)
	if text := read(t, answer.Body); !strings.Contains(text, `"entry":2`) || !strings.Contains(text, `"test":true`) {
		t.Errorf("the entry of the test bank is not in the verdict: %s", text)
	}
	answer = n.send("GET", "/v1/entries/2/rescan-hits", nil, key)
	equal(t, "hits of what counts for nothing", strings.TrimSpace(read(t, answer.Body)), `{"hits":[]}`)
	equal(t, "of no entry", n.send("GET", "/v1/entries/9/rescan-hits", nil, key).StatusCode, http.StatusNotFound)
}

// TestRescanRefusals: what cannot be started, ended or resumed is said so.
func TestRescanRefusals(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	owner := n.party("owner")
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		answer := n.send(method, path, strings.NewReader(body), asJSON, "Authorization: Bearer "+n.keys["owner admin"])
		if answer.StatusCode < 400 {
			return answer.StatusCode, ""
		}
		return answer.StatusCode, problemOf(t, answer.Body).Type
	}
	for body, want := range map[string]string{
		`{"source":"none"}`:                      "404 /problems/unknown-source",
		`{"source":"hashes"}`:                    "404 /problems/unknown-source", // the operator's
		`{"source":"nobody"}`:                    "404 /problems/unknown-source",
		`{"source":"posts","banks":["none"]}`:    "404 /problems/unknown-bank",
		`{"source":"posts","since_last":true}`:   "409 /problems/no-last-rescan",
		`{"source":"posts","since":1000}`:        "400 /problems/invalid-request",
		`{"source":"posts","since":-1}`:          "400 /problems/invalid-request",
		`{"source":"posts","newer_than":"then"}`: "400 /problems/invalid-request",
		`{"source":"posts","location":"/etc"}`:   "400 /problems/invalid-request",
		`{"source":"/etc"}`:                      "404 /problems/unknown-source",
	} {
		status, problem := ask("POST", "/v1/rescans", body)
		equal(t, body, fmt.Sprint(status, " ", problem), want)
	}
	answer := n.send("POST", "/v1/rescans", strings.NewReader(`{"source":"hashes","newer_than":"2026-01-01T00:00:00Z"}`), asJSON, "Authorization: Bearer "+n.keys["admin"])
	equal(t, "a list has no times", answer.StatusCode, 400)

	r, err := n.rescans.Start(t.Context(), rescan.Request{Who: matcher.Principal{Actor: "k", Party: owner.ID}, Source: "posts"})
	must(t, err)
	at := fmt.Sprintf("/v1/rescans/%d", r.ID)
	for i, want := range []struct {
		do     string
		status int
	}{{"/cancel", 200}, {"/cancel", 200}, {"/resume", 200}, {"/resume", 200}, {"/cancel", 200}} {
		status, _ := ask("POST", at+want.do, "")
		equal(t, fmt.Sprint(i, want.do), status, want.status)
	}
	must(t, n.catalogue.Update(t.Context(), func(w storage.Writer) error {
		if _, err := w.ResumeRescan(r.ID); err != nil {
			return err
		}
		p, err := w.PlanRescan(r.ID)
		if err != nil {
			return err
		}
		if err := w.AddShards(r.ID, p.Attempt, storage.Plan{Planned: true}, nil); err != nil {
			return err
		}
		_, err = w.EndRescan(r.ID, storage.RescanDone, "")
		return err
	}))
	for _, do := range []string{"/cancel", "/resume"} {
		status, problem := ask("POST", at+do, "")
		equal(t, do, fmt.Sprint(status, " ", problem), "409 /problems/rescan-ended")
	}
	status, _ := ask("POST", "/v1/rescans", `{"source":"posts","since_last":true}`)
	equal(t, "since the last one", status, 201)
}

// TestRescanProgress: how far a re-scan has come within its shards is told alike wherever it is shown.
func TestRescanProgress(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("owner")
	r, err := n.rescans.Start(t.Context(), rescan.Request{Who: matcher.Principal{Actor: "k", Party: 2}, Source: "posts"})
	must(t, err)
	must(t, n.catalogue.Update(t.Context(), func(w storage.Writer) error {
		p, err := w.PlanRescan(r.ID)
		if err != nil {
			return err
		}
		if err := w.AddShards(r.ID, p.Attempt, storage.Plan{Planned: true}, []storage.Shard{{To: "z", Planned: 10}}); err != nil {
			return err
		}
		_, s, err := w.TakeShard(r.ID, 1)
		if err != nil {
			return err
		}
		return w.SaveShard(storage.ShardProgress{Rescan: r.ID, Shard: 1, Attempt: s.Attempt, Cursor: "b", Counts: storage.RescanCounts{Items: 4, None: 4}})
	}))
	at := fmt.Sprintf("/v1/rescans/%d", r.ID)
	for _, do := range [][2]string{{"GET", at}, {"GET", "/v1/rescans"}, {"POST", at + "/cancel"}, {"GET", "/v1/rescans"}, {"POST", at + "/resume"}} {
		answer := n.send(do[0], do[1], nil, asJSON, "Authorization: Bearer "+n.keys["owner admin"])
		equal(t, fmt.Sprint(do), answer.StatusCode, http.StatusOK)
		if text := read(t, answer.Body); !strings.Contains(text, `"progress":0.4,`) {
			t.Errorf("%s: %s", do, text)
		}
	}
}

// TestRescanFollowed: who follows a re-scan is told how it stands at once, and cut off when the key is revoked.
func TestRescanFollowed(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("owner")
	r, err := n.rescans.Start(t.Context(), rescan.Request{Who: matcher.Principal{Actor: "k", Party: 2}, Source: "posts"})
	must(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/rescans/%d", n.URL, r.ID), nil)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+n.keys["owner auditor"])
	request.Header.Set("Accept", "text/event-stream")
	answer, err := http.DefaultClient.Do(request) // which does not wait for the end
	must(t, err)
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	first, err := lines.ReadString('\n')
	must(t, err)
	equal(t, "at once", first, "event: progress\n")
	_, err = n.matcher.RevokeKey(t.Context(), matcher.Local(), strings.Split(n.keys["owner auditor"], "_")[1])
	must(t, err)
	rest, err := io.ReadAll(lines)
	must(t, err)
	if !strings.Contains(string(rest), "event: problem\n") || !strings.Contains(string(rest), "/problems/revoked-key") {
		t.Errorf("a revoked key goes on reading: %s", rest)
	}
}

// TestRescansOff: a server without a runner says so.
func TestRescansOff(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	bare, err := api.New(n.matcher, n.catalogue, api.Options{})
	must(t, err)
	for _, path := range []string{"/v1/rescans", "/v1/rescans/1", "/v1/rescans/1/hits", "/v1/sources"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+n.keys["admin"])
		w := httptest.NewRecorder()
		bare.Handler().ServeHTTP(w, r)
		equal(t, path, problemOf(t, w.Body).Type, "/problems/rescans-off")
	}
}
