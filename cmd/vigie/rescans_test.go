package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	v1 "vigie/api/v1"
	"vigie/internal/testpg"
	"vigie/internal/tests3"
)

// planting is what a re-scan has to find: some pictures in different files, of which a few are copies of a flagged one.
type planting struct {
	items int
	bad   int      // that are no pictures
	known []byte   // to be flagged
	hits  []string // in order
	file  func(i int) (name string, data []byte)
	files iter.Seq2[string, []byte] // all of them
}

// plant plans n files, most of which are one of a few.
func plant(n int) *planting {
	few := make([][]byte, 20)
	for i := range few {
		few[i] = jpegOf(uint64(i), 96, 72)
	}
	return plantAmong(n, func(i int) []byte { return few[i%len(few)] })
}

// plantAmong plans n files of which the others are drawn as they are asked for.
func plantAmong(n int, other func(i int) []byte) *planting {
	p := &planting{items: n, known: jpegOf(1_000_000, 320, 240)}
	copied := jpegOf(1_000_000, 200, 150)
	p.file = func(i int) (string, []byte) {
		name := fmt.Sprintf("%02d/%06d.jpg", i%7, i)
		switch {
		case i%97 == 13:
			return name, copied
		case i%501 == 77:
			return name, []byte("no picture")
		}
		return name, other(i)
	}
	p.files = func(yield func(string, []byte) bool) {
		for i := range n {
			if !yield(p.file(i)) {
				return
			}
		}
	}
	for i := range n {
		switch {
		case i%97 == 13:
			name, _ := p.file(i)
			p.hits = append(p.hits, name)
		case i%501 == 77:
			p.bad++
		}
	}
	slices.Sort(p.hits)
	return p
}

// flagKnown flags the picture that the planted ones are copies of.
func (p *planting) flagKnown(t *testing.T, s *served) {
	t.Helper()
	if code, _, warn := s.vigie("banks", "create", "b"); code != 0 {
		t.Fatal(warn)
	}
	file := filepath.Join(t.TempDir(), "known.jpg")
	must(t, os.WriteFile(file, p.known, 0o600))
	if code, _, warn := s.vigie("flag", "--bank", "b", file); code != 0 {
		t.Fatal(warn)
	}
}

// rescan is the state of a re-scan as the command line shows it.
func (s *served) rescan(id int64) (r v1.Rescan) {
	_, out, _ := s.vigie("rescans", "show", "--json", fmt.Sprint(id))
	_ = json.Unmarshal([]byte(out), &r) // a node that is being restarted says nothing
	return r
}

func (s *served) startRescan(t *testing.T, args ...string) (r v1.Rescan) {
	t.Helper()
	code, out, warn := s.vigie(append([]string{"rescans", "start", "--json"}, args...)...)
	if code != 0 {
		t.Fatal(warn)
	}
	must(t, json.Unmarshal([]byte(out), &r))
	return r
}

// wantFound waits for the end of a re-scan, and fails unless it has found what was planted, each once, and counted all.
func (p *planting) wantFound(t *testing.T, s *served, id int64, within time.Duration) {
	t.Helper()
	var r v1.Rescan
	for deadline := time.Now().Add(within); r.State == "" || !ended(r); time.Sleep(200 * time.Millisecond) {
		if r = s.rescan(id); time.Now().After(deadline) {
			t.Fatalf("not within %v: the end of the re-scan; it is %+v", within, r)
		}
	}
	got := fmt.Sprint(r.State, " ", r.Counts.Items, r.Counts.Match+r.Counts.Likely+r.Counts.Review, r.Counts.Failed)
	if want := fmt.Sprint("done ", p.items, len(p.hits), p.bad); got != want {
		t.Errorf("the re-scan says %s, want %s: %+v", got, want, r)
	}
	if found := s.rescanHits(t, id); !slices.Equal(found, p.hits) {
		t.Errorf("found\n%v, want\n%v", found, p.hits)
	}
}

// rescanHits are the items that a re-scan has found, sorted.
func (s *served) rescanHits(t *testing.T, id int64) (found []string) {
	t.Helper()
	code, out, warn := s.vigie("rescans", "hits", "--format", "ndjson", fmt.Sprint(id))
	if code != 0 {
		t.Fatal(warn)
	}
	for lines := json.NewDecoder(strings.NewReader(out)); lines.More(); {
		var h v1.RescanHit
		must(t, lines.Decode(&h))
		found = append(found, h.Item)
	}
	slices.Sort(found)
	return found
}

// withSource writes a configuration with one source, and returns its path.
func withSource(t *testing.T, source map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"sources": map[string]any{"old-posts": source}})
	must(t, err)
	path := filepath.Join(t.TempDir(), "vigie.json")
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

// TestRescanOfFolder: a node on SQLite is killed again and again while it re-scans a folder, and finds what is planted, each once.
func TestRescanOfFolder(t *testing.T) {
	t.Parallel()
	p, root := plant(600), filepath.Join(t.TempDir(), "posts")
	for name, file := range p.files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(root, name), file, 0o600))
	}
	config := withSource(t, map[string]any{"kind": "folder", "location": root, "per_second": 150})
	data := t.TempDir()
	node := serve(t, data, nil, "--config", config)
	p.flagKnown(t, node)
	r := node.startRescan(t, "old-posts")
	for _, items := range []int64{100, 300} {
		eventually(t, fmt.Sprint(items, " items are checked"), func() bool { return node.rescan(r.Id).Counts.Items >= items })
		node.kill()
		node = serve(t, data, nil, "--config", config)
	}
	p.wantFound(t, node, r.Id, 2*time.Minute)

	// A command of its own does no jobs.
	if code, err := node.stop(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	code, out, warn := node.vigie("rescans", "start", "--config", config, "old-posts")
	if code != 0 || !strings.Contains(out, "No node runs on") {
		t.Fatalf("exit %d: %s%s", code, out, warn)
	}
	if second := node.rescan(r.Id + 1); second.Counts.Items != 0 || ended(second) {
		t.Errorf("a command has worked on a re-scan: %+v", second)
	}
	node = serve(t, data, nil, "--config", config)
	p.wantFound(t, node, r.Id+1, 2*time.Minute)
}

// TestRescanRetry: what could not be checked is checked again by the command line, and metrics count what is done.
func TestRescanRetry(t *testing.T) {
	t.Parallel()
	p, root := plant(120), t.TempDir()
	late := ""
	for name, file := range p.files {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, file, 0o600))
		if len(file) < 20 {
			late = path
		}
	}
	config := withSource(t, map[string]any{"kind": "folder", "location": root})
	node := &target{t: t, served: serve(t, t.TempDir(), nil, "--config", config)}
	node.admin = node.key(t, v1.Admin)
	p.flagKnown(t, node.served)
	r := node.startRescan(t, "old-posts")
	p.wantFound(t, node.served, r.Id, time.Minute)

	must(t, os.WriteFile(late, p.known, 0o600))
	code, out, warn := node.vigie("rescans", "retry", "--watch", fmt.Sprint(r.Id))
	if code != 0 || !strings.Contains(out, "1 item (") || !strings.Contains(out, "1 match") {
		t.Errorf("exit %d: %s%s", code, out, warn)
	}
	second := node.rescan(r.Id + 1)
	if value(second.FailedOf) != r.Id || second.Counts.Items != 1 || second.Counts.Match != 1 {
		t.Errorf("%+v", second)
	}
	if code, out, warn := node.vigie("matches", "list", "--json"); code != 0 || out != "" {
		t.Errorf("hits of re-scans are matches of checks: exit %d: %s%s", code, out, warn)
	}
	if code, out, warn := node.vigie("entries", "retract", "1", "--reason", "was wrong"); code != 0 ||
		!strings.Contains(out, fmt.Sprintf("found them because of it: %d items; vigie rescans hits --entry 1", len(p.hits)+1)) {
		t.Errorf("exit %d: %s%s", code, out, warn)
	}
	code, out, warn = node.vigie("rescans", "hits", "--entry", "1")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 1+len(p.hits)+1 || !strings.HasPrefix(lines[0], "RESCAN  LEVEL") {
		t.Errorf("exit %d: %s%s", code, out, warn)
	}
	for _, args := range [][]string{{"hits"}, {"hits", "1", "--entry", "1"}, {"hits", "--entry", "1", "--format", "csv"}} {
		if code, out, warn := node.vigie(append([]string{"rescans"}, args...)...); code != exitUsage || warn == "" {
			t.Errorf("%v: exit %d: %s%s", args, code, out, warn)
		}
	}
	for _, args := range [][]string{{"retry", fmt.Sprint(r.Id + 1)}, {"retry", "99"}} {
		if code, out, warn := node.vigie(append([]string{"rescans"}, args...)...); code != 1 || warn == "" {
			t.Errorf("%v: exit %d: %s%s", args, code, out, warn)
		}
	}
	for _, do := range []string{"cancel", "resume"} { // of one that has ended
		if code, _, warn := node.vigie("rescans", do, fmt.Sprint(r.Id)); code != 1 || !strings.Contains(warn, "done") {
			t.Errorf("%s: exit %d: %s", do, code, warn)
		}
	}
	for name, want := range map[string]string{
		`vigie_rescan_items_total{level="match"}`:        fmt.Sprint(len(p.hits) + 1),
		`vigie_rescan_items_total{level="failed"}`:       fmt.Sprint(p.bad),
		`vigie_rescan_items_total{level="none"}`:         fmt.Sprint(p.items - p.bad - len(p.hits)),
		`vigie_webhook_lag_changes`:                      "0",
		`vigie_rescans_running`:                          "0",
		`vigie_jobs_waiting{kind="webhook"}`:             "0",
		`vigie_jobs_running{kind="rescan-shard"}`:        "0",
		`vigie_jobs_dead{kind="rescan-shard"}`:           "0",
		`vigie_jobs_oldest_seconds{kind="webhook"}`:      "0",
		`vigie_webhook_requests_total{outcome="failed"}`: "0",
	} {
		eventually(t, name+" is "+want, func() bool { return node.metric(name) == want })
	}
}

// TestRescanOfBucket: a node serves, and three workers re-scan a bucket on one database; two of them are killed at some time, and started
// again. What is planted is found, each once. Live checks come to the node at a fixed rate, before and meanwhile.
//
//	VIGIE_RESCAN_OBJECTS=100000 VIGIE_RESCAN_PER_SECOND=1000 go test -run TestRescanOfBucket -v -timeout 1h ./cmd/vigie
//
// Without a bound of the source it takes all that the machine has, on which the database and the S3 server run as well. Of these the S3
// server, which checks do not ask, gives way like the workers: on a machine of its own it would take nothing from the node.
func TestRescanOfBucket(t *testing.T) {
	const few = 2400 // two shards
	objects, seed := int(fromEnv(t, "VIGIE_RESCAN_OBJECTS", few)), fromEnv(t, "VIGIE_RESCAN_SEED", uint64(time.Now().UnixNano()))
	if objects == few {
		t.Parallel()
		if testing.Short() {
			t.Skip("takes a minute: that a worker was killed is noticed by its silence")
		}
	}
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	pg, s3 := testpg.Start(t), tests3.Start(t)
	posts, kept := s3.Bucket(t, false), s3.Bucket(t, false)
	p := plant(objects)
	if objects > few { // all are different, which takes longer to draw than to check
		s3.StepBack(t)
		p = plantAmong(objects, func(i int) []byte { return jpegOf(uint64(i), 64, 64) })
	}
	began := time.Now()
	putting, puts := errgroup.WithContext(t.Context())
	for w := range 8 {
		putting.Go(func() error {
			for i := w; i < p.items; i += 8 {
				name, file := p.file(i)
				if _, err := s3.Client().PutObject(puts, posts, "old/"+name, bytes.NewReader(file), int64(len(file)), minio.PutObjectOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, putting.Wait())
	t.Logf("%d objects are put, in %v", p.items, time.Since(began).Round(time.Second))
	for i := range p.hits {
		p.hits[i] = "old/" + p.hits[i]
	}
	at := s3.URL(posts)
	source := map[string]any{"kind": "bucket", "location": strings.Replace(at, posts, posts+"/old/", 1)}
	idle, rate := 30*time.Second, 50.0
	if objects == few {
		source["per_second"] = 60 // so that there is time to kill
		idle, rate = time.Second, 10
	}
	if bound := fromEnv(t, "VIGIE_RESCAN_PER_SECOND", 0); bound > 0 {
		source["per_second"] = bound
	}
	config := withSource(t, source)
	env := []string{
		"VIGIE_DATABASE=" + pg.URL("postgres"), "VIGIE_MEDIA=" + s3.URL(kept), "VIGIE_CONFIG=" + config,
		"AWS_ACCESS_KEY_ID=" + tests3.AccessKey, "AWS_SECRET_ACCESS_KEY=" + tests3.SecretKey,
	}
	node := serve(t, t.TempDir(), env, "--no-work")
	p.flagKnown(t, node)
	live := newVisitors(t, node, rate)
	var workers []*served
	folders := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	work := func(i int) *served {
		w, err := startCommand("vigie", "worker", folders[i], env)
		must(t, err)
		t.Cleanup(w.kill)
		return w
	}
	for i := range folders {
		workers = append(workers, work(i))
	}
	waiting, stop := context.WithTimeout(t.Context(), idle)
	live.come(waiting, t, "idle")
	stop()

	r := node.startRescan(t, "old-posts")
	during, stop := context.WithCancel(t.Context())
	var visits sync.WaitGroup
	visits.Go(func() { live.come(during, t, "while it runs") })
	defer visits.Wait()
	defer stop()
	until := func(is func(v1.Rescan) bool) { // asks over HTTP: to start a process each time would be felt by the visitors
		for deadline := time.Now().Add(time.Hour); ; time.Sleep(100 * time.Millisecond) {
			now, err := get[v1.Rescan](node, live.key, fmt.Sprintf("/v1/rescans/%d", r.Id))
			must(t, err)
			if is(now) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not within an hour: %+v", now)
			}
		}
	}
	for i, share := range []float64{.1 + .3*chance.Float64(), .5 + .3*chance.Float64()} {
		until(func(r v1.Rescan) bool { return r.Counts.Items >= int64(share*float64(p.items)) })
		workers[i].kill()
		t.Logf("worker %d is killed at %d items, %v after the begin", i, node.rescan(r.Id).Counts.Items, time.Since(r.CreatedAt).Round(time.Second))
		workers[i] = work(i)
	}
	until(ended)
	stop()
	visits.Wait()
	p.wantFound(t, node, r.Id, time.Minute)
	end := node.rescan(r.Id)
	if took := end.FinishedAt.Sub(*end.StartedAt); !t.Failed() {
		t.Logf("re-scanned %d objects in %v, %.0f a second: %d matches, each once", end.Counts.Items, took.Round(time.Second), float64(end.Counts.Items)/took.Seconds(), len(p.hits))
	}
	for i, w := range workers {
		if code, err := w.stop(); code != 0 || err != nil {
			t.Errorf("worker %d ends with %d, %v: %s", i, code, err, w.stderr.String())
		}
	}
}

// visitors ask for checks of pictures, however long the answers take.
type visitors struct {
	wire *wire
	key  string
	rate float64 // a second
	ask  []formed
}

func newVisitors(t *testing.T, node *served, rate float64) *visitors {
	t.Helper()
	w, err := newWire(node.url)
	must(t, err)
	t.Cleanup(func() { w.Close() })
	v := &visitors{wire: w, key: node.key(t, v1.Admin), rate: rate}
	for i := range 20 {
		contentType, body := form(jpegOf(uint64(2_000_000+i), 320, 240))
		text, err := io.ReadAll(body)
		must(t, err)
		v.ask = append(v.ask, formed{contentType, text})
	}
	return v
}

// come has them come at chance times until ctx ends, and tells how long they took to be answered, from when each was due.
func (v *visitors) come(ctx context.Context, t *testing.T, when string) {
	var mu sync.Mutex
	var took []time.Duration // by all answers
	var under sync.WaitGroup
	refused := map[int]int{} // by status
	chance := rand.New(rand.NewPCG(7, 7))
	began := time.Now()
	for due := time.Duration(0); ; due += time.Duration(chance.ExpFloat64() / v.rate * float64(time.Second)) {
		select {
		case <-ctx.Done():
			under.Wait()
			slices.Sort(took)
			at := func(share float64) time.Duration {
				return took[int(share*float64(len(took)-1))].Round(10 * time.Microsecond)
			}
			bad := 0
			for _, n := range refused {
				bad += n
			}
			if len(took) == bad {
				t.Errorf("%s: no check was answered with a verdict; others, by status (0: none came): %v", when, refused)
				return
			}
			t.Logf("live checks, %s: %d at %.0f a second, p50 %v, p90 %v, p99 %v, longest %v; of these %d were answered without a verdict, by status (0: no answer came): %v",
				when, len(took), v.rate, at(.5), at(.9), at(.99), at(1), bad, refused)
			return
		case <-time.After(due - time.Since(began)):
		}
		one := v.ask[chance.IntN(len(v.ask))]
		under.Go(func() {
			status := v.wire.post(context.WithoutCancel(ctx), "/v1/check", v.key, one.contentType, one.body)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(began)-due)
			if status != http.StatusOK {
				refused[status]++
			}
		})
	}
}
