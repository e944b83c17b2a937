// Package jobstest is the suite that every engine of jobs passes.
package jobstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/storage"
	"vigie/storage/jobs"
)

// Store is where the engines of one test keep their jobs.
type Store struct {
	// Open opens an engine; the test closes it.
	Open func(ctx context.Context, of map[string]jobs.Handler, o jobs.Options) (jobs.Engine, error)
	// Shared says that several engines may have it open at a time.
	Shared bool
}

// Run runs the suite; store makes an empty one for each test.
func Run(t *testing.T, store func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Store)
	}{
		{"once", testOnce},
		{"arguments", testArguments},
		{"invalid", testInvalid},
		{"all or none", testAllOrNone},
		{"keys", testKeys},
		{"at", testAt},
		{"retry", testRetry},
		{"dead", testDead},
		{"replay", testReplay},
		{"replay beside another", testReplayBeside},
		{"drop", testDrop},
		{"by prefix", testPrefix},
		{"pending", testPending},
		{"expire", testExpire},
		{"later", testLater},
		{"never", testNever},
		{"panic", testPanic},
		{"parallel", testParallel},
		{"timeout", testTimeout},
		{"late attempt", testLate},
		{"end", testEnd},
		{"end that is ignored", testEndIgnored},
		{"reopen", testReopen},
		{"only", testOnly},
		{"stats", testStats},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, store(t))
		})
	}
}

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

// open opens an engine that is closed at the end of the test.
func open(t *testing.T, s Store, of map[string]jobs.Handler, o jobs.Options) jobs.Engine {
	t.Helper()
	e, err := s.Open(t.Context(), of, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// start runs an engine until the function that it returns, or the test's end.
func start(t *testing.T, e jobs.Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop) // before the engine is closed
	return stop
}

// engine opens an engine with one kind, "work".
func engine(t *testing.T, s Store, h jobs.Handler) jobs.Engine {
	t.Helper()
	return open(t, s, map[string]jobs.Handler{"work": h}, jobs.Options{})
}

func enqueue(t *testing.T, e jobs.Engine, all ...jobs.Job) {
	t.Helper()
	if err := e.Enqueue(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
}

// job is one of the kind "work" with a number as arguments.
func job(n int) jobs.Job { return jobs.Job{Kind: "work", Args: json.RawMessage(fmt.Sprint(n))} }

// take receives what has to come.
func take[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("not reached")
	}
}

// until waits for what has to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func stats(t *testing.T, e jobs.Engine) jobs.Stats {
	t.Helper()
	all, err := e.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all["work"]
}

// idle waits until there is nothing to do.
func idle(t *testing.T, e jobs.Engine) {
	t.Helper()
	until(t, "idle", func() bool { s := stats(t, e); return s.Waiting+s.Running == 0 })
}

func dead(t *testing.T, e jobs.Engine, n int) []jobs.Dead {
	t.Helper()
	var all []jobs.Dead
	until(t, fmt.Sprintf("%d dead jobs", n), func() bool {
		var err error
		if all, err = e.Dead(t.Context(), "work", 0, 1000); err != nil {
			t.Fatal(err)
		}
		return len(all) == n
	})
	return all
}

func now(int) time.Duration { return 0 }

func testOnce(t *testing.T, s Store) {
	var mu sync.Mutex
	done := map[string]int{}
	e := engine(t, s, jobs.Handler{Parallel: 8, Do: func(_ context.Context, r jobs.Run) error {
		mu.Lock()
		defer mu.Unlock()
		done[string(r.Args)]++
		if r.Attempt != 1 || r.ID == 0 || time.Since(r.Created).Abs() > time.Hour {
			return fmt.Errorf("attempt %+v", r)
		}
		return nil
	}})
	start(t, e)
	const n = 200
	for i := 0; i < n; i += 4 {
		enqueue(t, e, job(i), job(i+1), job(i+2), job(i+3))
	}
	idle(t, e)
	mu.Lock()
	defer mu.Unlock()
	for i := range n {
		if done[fmt.Sprint(i)] != 1 {
			t.Errorf("job %d was done %d times", i, done[fmt.Sprint(i)])
		}
	}
	if s := stats(t, e); s != (jobs.Stats{}) {
		t.Errorf("left over: %+v", s)
	}
}

func testArguments(t *testing.T, s Store) {
	got := make(chan json.RawMessage, 1)
	e := engine(t, s, jobs.Handler{Do: func(_ context.Context, r jobs.Run) error {
		got <- r.Args
		return nil
	}})
	start(t, e)
	large := json.RawMessage(`"` + strings.Repeat("x", jobs.MaxArgs-2) + `"`)
	for _, args := range []string{``, `null`, `{"b": 1.0,  "a":[1e400, 12345678901234567890123], "a":"\u0000é\ud800"}`, string(large)} {
		enqueue(t, e, jobs.Job{Kind: "work", Args: json.RawMessage(args)})
		if g := take(t, got); !bytes.Equal(g, []byte(args)) {
			t.Errorf("the handler got %.100q, enqueued was %.100q", g, args)
		}
	}
}

func testInvalid(t *testing.T, s Store) {
	do := func(context.Context, jobs.Run) error { return nil }
	e := engine(t, s, jobs.Handler{Do: do})
	for name, j := range map[string]jobs.Job{
		"kind":           {Kind: "other"},
		"large":          {Kind: "work", Args: json.RawMessage(`"` + strings.Repeat("x", jobs.MaxArgs-1) + `"`)},
		"not JSON":       {Kind: "work", Args: json.RawMessage(`{`)},
		"not UTF-8":      {Kind: "work", Args: json.RawMessage("\"\xff\"")},
		"key, long":      {Kind: "work", Key: strings.Repeat("k", 201)},
		"key, not UTF-8": {Kind: "work", Key: "\xff"},
		"key with NUL":   {Kind: "work", Key: "a\x00b"},
	} {
		if err := e.Enqueue(t.Context(), j); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, limit := range []int{-1, 0, 1001} {
		if _, err := e.Dead(t.Context(), "work", 0, limit); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if err := e.Drop(t.Context(), "work", ""); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("drop without a key: %v", err)
	}
	for name, of := range map[string]map[string]jobs.Handler{
		"name":     {"Work it": {Do: do}},
		"no Do":    {"work": {}},
		"attempts": {"work": {Do: do, Attempts: 1001}},
		"parallel": {"work": {Do: do, Parallel: -1}},
	} {
		if _, err := s.Open(t.Context(), of, jobs.Options{}); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("handlers, %s: %v", name, err)
		}
	}
	if _, err := s.Open(t.Context(), nil, jobs.Options{Only: []string{"work"}}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("only what has no handler: %v", err)
	}
}

func testAllOrNone(t *testing.T, s Store) {
	e := engine(t, s, jobs.Handler{Do: func(context.Context, jobs.Run) error { return nil }})
	if err := e.Enqueue(t.Context(), job(1), jobs.Job{Kind: "other"}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("a job among others that has no kind: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Enqueue(ctx, job(1), job(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("enqueue with a context that has ended: %v", err)
	}
	if s := stats(t, e); s.Waiting != 0 {
		t.Errorf("%d jobs wait", s.Waiting)
	}
}

func testKeys(t *testing.T, s Store) {
	began, end := make(chan jobs.Run), make(chan error)
	do := func(_ context.Context, r jobs.Run) error {
		began <- r
		return <-end
	}
	e := open(t, s, map[string]jobs.Handler{"work": {Do: do, Parallel: 4, Backoff: now}, "other": {Do: do}}, jobs.Options{})
	keyed := func(kind, key string) jobs.Job { return jobs.Job{Kind: kind, Key: key} }
	a := keyed("work", "a")
	enqueue(t, e, a, a, keyed("work", "b"))
	enqueue(t, e, a)
	enqueue(t, e, keyed("other", "a"), job(1), job(1))
	if s := stats(t, e); s.Waiting != 4 {
		t.Errorf("%d jobs wait, not one of key a, one of key b and two without", s.Waiting)
	}
	start(t, e)
	for range 5 {
		take(t, began)
	}
	enqueue(t, e, a) // it runs
	if s := stats(t, e); s.Waiting != 0 || s.Running != 4 {
		t.Errorf("a second job of a key that runs: %+v", s)
	}
	for range 4 {
		end <- nil
	}
	end <- errors.New("once more") // one of the five waits again
	take(t, began)
	end <- nil
	idle(t, e)
	enqueue(t, e, a) // it is done
	take(t, began)
	end <- nil
}

func testAt(t *testing.T, s Store) {
	type begun struct {
		args string
		at   time.Time
	}
	got := make(chan begun, 4)
	e := engine(t, s, jobs.Handler{Do: func(_ context.Context, r jobs.Run) error {
		got <- begun{string(r.Args), time.Now()}
		return nil
	}})
	start(t, e)
	at := time.Now().Add(1500 * time.Millisecond)
	soon, past := job(1), job(2)
	soon.At, past.At = at, time.Now().Add(-time.Hour)
	far := job(3)
	far.At = time.Now().Add(time.Hour)
	enqueue(t, e, far, soon)
	enqueue(t, e, past)
	if g := take(t, got); g.args != "2" {
		t.Errorf("job %s began before the one that was due", g.args)
	}
	if g := take(t, got); g.args != "1" || g.at.Before(at) {
		t.Errorf("job %s began %v too early", g.args, at.Sub(g.at))
	}
	if s := stats(t, e); s.Waiting != 1 || !s.Oldest.IsZero() {
		t.Errorf("a job that is due in an hour: %+v", s)
	}
}

func testRetry(t *testing.T, s Store) {
	type begun struct {
		run jobs.Run
		at  time.Time
	}
	got, failed := make(chan begun, 4), make(chan int, 8)
	const pause = 700 * time.Millisecond
	e := engine(t, s, jobs.Handler{
		Do: func(_ context.Context, r jobs.Run) error {
			got <- begun{r, time.Now()}
			if r.Attempt < 3 {
				return errors.New("not now \x00\xff" + strings.Repeat("é", 5000))
			}
			return nil
		},
		Backoff: func(n int) time.Duration {
			failed <- n
			return pause
		},
	})
	start(t, e)
	enqueue(t, e, job(7))
	first := take(t, got)
	second := take(t, got)
	third := take(t, got)
	for i, g := range []begun{first, second, third} {
		if g.run.Attempt != i+1 || g.run.ID != first.run.ID || string(g.run.Args) != "7" {
			t.Errorf("attempt %d: %+v", i+1, g.run)
		}
	}
	// What the engine rounds to microseconds may be a little early.
	if gap := second.at.Sub(first.at); gap < pause-time.Millisecond {
		t.Errorf("the second attempt came after %v, not after %v", gap, pause)
	}
	idle(t, e)
	seen := map[int]bool{}
	for len(failed) > 0 {
		seen[<-failed] = true
	}
	if len(seen) != 2 || !seen[1] || !seen[2] {
		t.Errorf("Backoff was asked about failures %v, not 1 and 2", seen)
	}
}

func testDead(t *testing.T, s Store) {
	var runs atomic.Int64
	e := engine(t, s, jobs.Handler{Attempts: 3, Backoff: now, Do: func(_ context.Context, r jobs.Run) error {
		return fmt.Errorf("failure %d of job %s", runs.Add(1), r.Args)
	}})
	start(t, e)
	enqueue(t, e, job(1))
	d := dead(t, e, 1)[0]
	if runs.Load() != 3 || d.Attempts != 3 || d.Error != "failure 3 of job 1" || d.Kind != "work" || string(d.Args) != "1" {
		t.Errorf("after %d attempts: %+v", runs.Load(), d)
	}
	if d.Died.Before(d.Created) || time.Since(d.Died).Abs() > time.Hour || d.Died.Location() != time.UTC {
		t.Errorf("made %v, dead %v", d.Created, d.Died)
	}
	enqueue(t, e, job(2), job(3))
	all := dead(t, e, 3)
	page, err := e.Dead(t.Context(), "work", all[0].ID, 1)
	if err != nil || len(page) != 1 || page[0].ID != all[1].ID || all[0].ID >= all[1].ID || all[1].ID >= all[2].ID {
		t.Errorf("page of one beyond the first of %+v: %+v, %v", all, page, err)
	}
	if none, err := e.Dead(t.Context(), "other", 0, 10); err != nil || len(none) != 0 {
		t.Errorf("dead of another kind: %v, %v", none, err)
	}
	if s := stats(t, e); s != (jobs.Stats{Dead: 3}) {
		t.Errorf("stats: %+v", s)
	}
}

func testReplay(t *testing.T, s Store) {
	var well atomic.Bool
	got := make(chan jobs.Run, 8)
	e := engine(t, s, jobs.Handler{Attempts: 2, Backoff: now, Do: func(_ context.Context, r jobs.Run) error {
		got <- r
		if well.Load() {
			return nil
		}
		return errors.New("broken")
	}})
	start(t, e)
	enqueue(t, e, job(1))
	d := dead(t, e, 1)[0]
	for _, what := range []string{"fails again, all its attempts", "is done"} {
		before := d.Attempts
		well.Store(what == "is done")
		if err := e.Replay(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
		if !well.Load() {
			d = dead(t, e, 1)[0]
			if d.Attempts != before+2 {
				t.Errorf("%s: %d attempts, before there were %d", what, d.Attempts, before)
			}
			continue
		}
		idle(t, e)
		dead(t, e, 0)
	}
	last := 0
	for len(got) > 0 {
		r := <-got
		if r.ID != d.ID || r.Attempt != last+1 || string(r.Args) != "1" {
			t.Errorf("after attempt %d: %+v", last, r)
		}
		last = r.Attempt
	}
	if last != 5 {
		t.Errorf("%d attempts, not 2, 2 and 1", last)
	}
	for _, id := range []int64{d.ID, d.ID + 1000} {
		if err := e.Replay(t.Context(), id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("replay of what is not dead: %v", err)
		}
	}
}

func testReplayBeside(t *testing.T, s Store) {
	e := engine(t, s, jobs.Handler{Attempts: 1, Do: func(context.Context, jobs.Run) error { return errors.New("broken") }})
	stop := start(t, e)
	j := jobs.Job{Kind: "work", Key: "k"}
	enqueue(t, e, j)
	d := dead(t, e, 1)[0]
	stop()
	enqueue(t, e, j) // a dead one is not in the way
	if s := stats(t, e); s.Waiting != 1 {
		t.Errorf("a dead job keeps its key: %+v", s)
	}
	if err := e.Replay(t.Context(), d.ID); !errors.Is(err, storage.ErrExists) {
		t.Errorf("replay beside another of its key: %v", err)
	}
	if s := stats(t, e); s.Waiting != 1 || s.Dead != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func testDrop(t *testing.T, s Store) {
	began, ended := make(chan string, 4), make(chan error, 1)
	e := engine(t, s, jobs.Handler{Parallel: 2, Attempts: 1, Do: func(ctx context.Context, r jobs.Run) error {
		switch string(r.Args) {
		case `"dies"`:
			return errors.New("broken")
		case `"runs"`:
			began <- string(r.Args)
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}
		began <- string(r.Args)
		return nil
	}})
	start(t, e)
	drop := func(key string) {
		t.Helper()
		if err := e.Drop(t.Context(), "work", key); err != nil {
			t.Fatal(err)
		}
	}
	drop("nothing")
	named := func(name string) jobs.Job {
		return jobs.Job{Kind: "work", Key: name, Args: json.RawMessage(`"` + name + `"`)}
	}
	enqueue(t, e, named("dies"))
	dead(t, e, 1)
	drop("dies")
	dead(t, e, 0)

	waits := named("waits")
	waits.At = time.Now().Add(time.Hour)
	other := named("other")
	other.At = waits.At
	enqueue(t, e, waits, other)
	drop("waits")
	if s := stats(t, e); s.Waiting != 1 {
		t.Errorf("one of two that wait was dropped: %+v", s)
	}

	enqueue(t, e, named("runs"))
	take(t, began)
	drop("runs")
	if err := take(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("context of a dropped job: %v", err)
	}
	until(t, "the dropped job is gone", func() bool { return stats(t, e).Running == 0 })
	dead(t, e, 0)
	enqueue(t, e, named("runs"))
	take(t, began)
	drop("runs")
	take(t, ended)
	if s := stats(t, e); s.Waiting != 1 || s.Dead != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// testPrefix: what is done to the jobs whose keys begin with a prefix is done to none beside.
func testPrefix(t *testing.T, s Store) {
	var well atomic.Bool
	e := engine(t, s, jobs.Handler{Attempts: 1, Parallel: 4, Do: func(context.Context, jobs.Run) error {
		if well.Load() {
			return nil
		}
		return errors.New("broken")
	}})
	stop := start(t, e)
	keyed := func(key string) jobs.Job {
		return jobs.Job{Kind: "work", Key: key, Args: json.RawMessage(`"` + key + `"`)}
	}
	for _, key := range []string{"1-a", "1-b", "1-é", "1", "11-a", "0-a", "2-a"} {
		enqueue(t, e, keyed(key))
	}
	all := dead(t, e, 7)
	list := func(prefix string, after int64, limit int) (args string) {
		t.Helper()
		page, err := e.DeadOf(t.Context(), "work", prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		last := after
		for _, d := range page {
			if d.ID <= last || d.Error != "broken" {
				t.Errorf("after %d: %+v", last, d)
			}
			last = d.ID
			args += string(d.Args)
		}
		return args
	}
	for _, test := range []struct {
		prefix string
		after  int64
		limit  int
		want   string
	}{
		{"1-", 0, 9, `"1-a""1-b""1-é"`},
		{"1-", all[0].ID, 1, `"1-b"`},
		{"1-", all[6].ID, 9, ""},
		{"3-", 0, 9, ""},
		{"1", 0, 9, `"1-a""1-b""1-é""1""11-a"`},
	} {
		if got := list(test.prefix, test.after, test.limit); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
	if none, err := e.DeadOf(t.Context(), "other", "1-", 0, 9); err != nil || len(none) != 0 {
		t.Errorf("of another kind: %v, %v", none, err)
	}
	for _, prefix := range []string{"", "\xff"} {
		_, err := e.DeadOf(t.Context(), "work", prefix, 0, 9)
		_, err2 := e.ReplayOf(t.Context(), "work", prefix)
		for _, err := range []error{err, err2, e.DropOf(t.Context(), "work", prefix)} {
			if !errors.Is(err, jobs.ErrInvalid) {
				t.Errorf("prefix %q: %v", prefix, err)
			}
		}
	}

	stop()
	enqueue(t, e, keyed("1-b")) // which is in the way of the dead one
	if n, err := e.ReplayOf(t.Context(), "work", "1-"); err != nil || n != 2 {
		t.Errorf("replayed %d, %v", n, err)
	}
	if s := stats(t, e); s.Waiting != 3 || s.Dead != 5 {
		t.Errorf("after the replay: %+v", s)
	}
	if got := list("1-", 0, 9); got != `"1-b"` {
		t.Errorf("dead beside another: %s", got)
	}
	if err := e.DropOf(t.Context(), "work", "1-"); err != nil {
		t.Fatal(err)
	}
	if s := stats(t, e); s.Waiting != 0 || s.Dead != 4 {
		t.Errorf("after the drop: %+v", s)
	}
}

// testPending: what waits, runs or has failed is summed up by the beginnings of the keys; what is dead or done is not in it.
func testPending(t *testing.T, s Store) {
	var well atomic.Bool
	runs := make(chan struct{})
	e := engine(t, s, jobs.Handler{Attempts: 3, Parallel: 4, Backoff: func(int) time.Duration { return time.Hour }, Do: func(ctx context.Context, r jobs.Run) error {
		switch string(r.Args) {
		case `"1-runs"`:
			select {
			case <-runs:
			case <-ctx.Done():
			}
			return nil
		case `"1-dead"`:
			return jobs.Never(errors.New("dead"))
		}
		if well.Load() {
			return nil
		}
		return errors.New("it is broken")
	}})
	pending := func(beginning string) jobs.Pending {
		t.Helper()
		all, err := e.Pending(t.Context(), "work")
		if err != nil {
			t.Fatal(err)
		}
		p := all[beginning]
		if p.Oldest.IsZero() != (p.Jobs == 0) || time.Since(p.Oldest) > time.Hour && p.Jobs > 0 {
			t.Errorf("%q: the oldest is of %v", beginning, p.Oldest)
		}
		p.Oldest = time.Time{}
		return p
	}
	keyed := func(key string) jobs.Job {
		return jobs.Job{Kind: "work", Key: key, Args: json.RawMessage(`"` + key + `"`)}
	}
	if p := pending("1"); p != (jobs.Pending{}) {
		t.Errorf("of none: %+v", p)
	}
	waits := keyed("1-waits")
	waits.At = time.Now().Add(time.Hour)
	enqueue(t, e, keyed("1-a"), keyed("1-runs"), waits, keyed("1-dead"), keyed("11-a"), keyed("whole"), jobs.Job{Kind: "work"})
	if p := pending("1"); p != (jobs.Pending{Jobs: 4}) {
		t.Errorf("before any ran: %+v", p)
	}
	start(t, e)
	want := jobs.Pending{Jobs: 3, Failing: 1, Error: "it is broken"}
	until(t, "one runs, one waits, one has failed", func() bool { return pending("1") == want && stats(t, e).Running == 1 })
	broken := jobs.Pending{Jobs: 1, Failing: 1, Error: "it is broken"}
	for _, beginning := range []string{"11", "whole"} {
		until(t, "those of another beginning", func() bool { return pending(beginning) == broken })
	}
	if p := pending(""); p != (jobs.Pending{}) {
		t.Errorf("without a key: %+v", p)
	}
	well.Store(true)
	close(runs)
	until(t, "what ran is done", func() bool { return pending("1").Jobs == 2 })
}

// testExpire: what died before a time is removed, and nothing else; what was replayed is young again.
func testExpire(t *testing.T, s Store) {
	var well atomic.Bool
	made := make(chan time.Time, 2)
	e := open(t, s, map[string]jobs.Handler{"work": {Attempts: 1, Do: func(_ context.Context, r jobs.Run) error {
		made <- r.Created
		if well.Load() {
			return nil
		}
		return errors.New("broken")
	}}, "other": {Do: func(context.Context, jobs.Run) error { return nil }}}, jobs.Options{})
	start(t, e)
	enqueue(t, e, job(1))
	first := dead(t, e, 1)[0]
	expire := func(kind string, before time.Time) {
		t.Helper()
		if err := e.Expire(t.Context(), kind, before); err != nil {
			t.Fatal(err)
		}
	}
	expire("work", first.Died.Add(-time.Millisecond))
	expire("other", first.Died.Add(time.Hour))
	dead(t, e, 1)
	take(t, made)
	time.Sleep(2 * time.Millisecond) // clocks may tell no less
	well.Store(true)
	if err := e.Replay(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if again := take(t, made); !again.After(first.Created) {
		t.Errorf("enqueued %v, and replayed %v", first.Created, again)
	}
	well.Store(false)
	enqueue(t, e, job(2), jobs.Job{Kind: "work", At: time.Now().Add(time.Hour)})
	second := dead(t, e, 1)[0]
	expire("work", second.Died.Add(time.Millisecond))
	dead(t, e, 0)
	if s := stats(t, e); s.Waiting != 1 {
		t.Errorf("what waits is expired, too: %+v", s)
	}
}

func testLater(t *testing.T, s Store) {
	got := make(chan jobs.Run, 8)
	e := engine(t, s, jobs.Handler{Attempts: 2, Backoff: now, Do: func(_ context.Context, r jobs.Run) error {
		got <- r
		if r.Attempt <= 4 {
			return fmt.Errorf("wait: %w", jobs.Later(10*time.Millisecond))
		}
		return errors.New("broken")
	}})
	start(t, e)
	enqueue(t, e, job(1))
	for i := range 6 {
		if r := take(t, got); r.Attempt != i+1 {
			t.Errorf("attempt %d: %+v", i+1, r)
		}
	}
	if d := dead(t, e, 1)[0]; d.Attempts != 6 || d.Error != "broken" {
		t.Errorf("4 times put off, 2 failures: %+v", d)
	}
}

func testNever(t *testing.T, s Store) {
	var runs atomic.Int64
	e := engine(t, s, jobs.Handler{Do: func(context.Context, jobs.Run) error {
		runs.Add(1)
		return fmt.Errorf("refused: %w", jobs.Never(errors.New("no such host")))
	}})
	start(t, e)
	enqueue(t, e, job(1))
	if d := dead(t, e, 1)[0]; runs.Load() != 1 || d.Attempts != 1 || d.Error != "refused: no such host" {
		t.Errorf("after %d attempts: %+v", runs.Load(), d)
	}
}

func testPanic(t *testing.T, s Store) {
	faults := make(chan error, 100)
	e := open(t, s, map[string]jobs.Handler{"work": {Backoff: now, Attempts: 2, Do: func(_ context.Context, r jobs.Run) error {
		if string(r.Args) == "1" {
			panic("bug")
		}
		return nil
	}}}, jobs.Options{Fault: func(err error) { faults <- err }})
	start(t, e)
	enqueue(t, e, job(1), job(2))
	if d := dead(t, e, 1)[0]; d.Attempts != 2 || d.Error != "panic: bug" {
		t.Errorf("%+v", d)
	}
	idle(t, e)
	if err := take(t, faults); !strings.Contains(err.Error(), "panic: bug") || !strings.Contains(err.Error(), "jobstest.go") {
		t.Errorf("Fault was told %v", err)
	}
}

func testParallel(t *testing.T, s Store) {
	const most = 3
	var running, peak, ran atomic.Int64
	full, gate := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(full) })
	e := engine(t, s, jobs.Handler{Parallel: most, Do: func(context.Context, jobs.Run) error {
		n := running.Add(1)
		defer running.Add(-1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		if n == most {
			once()
		}
		ran.Add(1)
		<-gate
		return nil
	}})
	start(t, e)
	for i := range 20 {
		enqueue(t, e, job(i))
	}
	take(t, full)
	if s := stats(t, e); s.Running != most || s.Waiting != 20-most || s.Oldest.IsZero() {
		t.Errorf("with %d at a time: %+v", most, s)
	}
	close(gate)
	idle(t, e)
	if peak.Load() != most || ran.Load() != 20 {
		t.Errorf("%d ran, at most %d at a time, not %d", ran.Load(), peak.Load(), most)
	}
}

func testTimeout(t *testing.T, s Store) {
	ended := make(chan error, 1)
	e := engine(t, s, jobs.Handler{Timeout: 2 * time.Second, Attempts: 1, Do: func(ctx context.Context, _ jobs.Run) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	start(t, e)
	enqueue(t, e, job(1))
	if err := take(t, ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context after the timeout: %v", err)
	}
	if d := dead(t, e, 1)[0]; d.Error != context.DeadlineExceeded.Error() {
		t.Errorf("%+v", d)
	}
}

// testLate: a handler stands still beyond its time; another attempt begins meanwhile, with a larger number. What the first one answers in
// the end takes nothing from what the second does, and gives nobody a number again.
func testLate(t *testing.T, s Store) {
	for name, answer := range map[string]error{"failure": errors.New("too late"), "later": jobs.Later(0)} {
		began := make(chan jobs.Run, 100)
		first, second := make(chan bool), make(chan bool)
		of := map[string]jobs.Handler{"work": {Timeout: 2 * time.Second, Parallel: 2, Backoff: now, Do: func(_ context.Context, r jobs.Run) error {
			began <- r
			switch r.Attempt { // whatever the context says
			case 1:
				<-first
				return answer
			case 2:
				<-second
			}
			return nil
		}}}
		e := open(t, s, of, jobs.Options{})
		stops := []func(){start(t, e)}
		if s.Shared {
			stops = append(stops, start(t, open(t, s, of, jobs.Options{})))
		}
		enqueue(t, e, job(1))
		id, attempt := int64(0), 0
		check := func(r jobs.Run) {
			if attempt++; r.Attempt != attempt || id != 0 && r.ID != id {
				t.Errorf("%s: attempt %d is %+v", name, attempt, r)
			}
			id = r.ID
		}
		check(take(t, began))
		check(take(t, began))
		close(first)
		select { // River may make one attempt too many
		case r := <-began:
			check(r)
		case <-time.After(500 * time.Millisecond):
		}
		close(second)
		idle(t, e)
		dead(t, e, 0)
		for _, stop := range stops {
			stop()
		}
		for len(began) > 0 {
			check(<-began)
		}
		if !s.Shared {
			if attempt != 2 {
				t.Errorf("%s: %d attempts, not 2", name, attempt)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// testEnd: what the end of Run cuts short has not failed, and is done by the next.
func testEnd(t *testing.T, s Store) {
	began := make(chan jobs.Run, 4)
	var second atomic.Bool
	of := map[string]jobs.Handler{"work": {Attempts: 1, Do: func(ctx context.Context, r jobs.Run) error {
		began <- r
		if second.Load() {
			return nil
		}
		<-ctx.Done()
		return fmt.Errorf("cut short: %w", ctx.Err())
	}}}
	e, err := s.Open(t.Context(), of, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, e)
	enqueue(t, e, job(1))
	take(t, began)
	stop()
	if s := stats(t, e); s.Waiting != 1 || s.Running != 0 || s.Dead != 0 {
		t.Errorf("after the end of Run: %+v", s)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	second.Store(true)
	e = open(t, s, of, jobs.Options{})
	start(t, e)
	if r := take(t, began); r.Attempt != 2 {
		t.Errorf("%+v", r)
	}
	idle(t, e)
	dead(t, e, 0)
}

// testEndIgnored: Run returns even if a handler does not.
func testEndIgnored(t *testing.T, s Store) {
	if testing.Short() {
		t.Skip("waits for the longest that Run takes to end")
	}
	began, gate := make(chan bool, 1), make(chan bool)
	e := engine(t, s, jobs.Handler{Do: func(context.Context, jobs.Run) error {
		began <- true
		<-gate
		return nil
	}})
	enqueue(t, e, job(1))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	take(t, began)
	cancel()
	if err := take(t, ended); err == nil {
		t.Error("Run ended while a handler did not, and says nothing")
	}
	close(gate)
}

// testReopen: jobs are there when an engine is opened anew.
func testReopen(t *testing.T, s Store) {
	got := make(chan jobs.Run, 4)
	of := map[string]jobs.Handler{"work": {Attempts: 1, Do: func(_ context.Context, r jobs.Run) error {
		got <- r
		return nil
	}}}
	e, err := s.Open(t.Context(), of, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	enqueue(t, e, job(1), jobs.Job{Kind: "work", Key: "k"})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, s, of, jobs.Options{})
	enqueue(t, e, jobs.Job{Kind: "work", Key: "k"})
	if s := stats(t, e); s.Waiting != 2 {
		t.Errorf("%+v", s)
	}
	start(t, e)
	take(t, got)
	take(t, got)
	idle(t, e)
}

func testOnly(t *testing.T, s Store) {
	got := make(chan string, 4)
	do := func(name string) jobs.Handler {
		return jobs.Handler{Do: func(context.Context, jobs.Run) error {
			got <- name
			return nil
		}}
	}
	of := map[string]jobs.Handler{"work": do("work"), "other": do("other")}
	e := open(t, s, of, jobs.Options{Only: []string{"work"}})
	start(t, e)
	enqueue(t, e, jobs.Job{Kind: "other"}, job(1))
	if name := take(t, got); name != "work" {
		t.Errorf("a job of kind %s was done", name)
	}
	idle(t, e)
	all, err := e.Stats(t.Context())
	if err != nil || all["other"].Waiting != 1 || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

func testStats(t *testing.T, s Store) {
	e := engine(t, s, jobs.Handler{Do: func(context.Context, jobs.Run) error { return nil }})
	if s := stats(t, e); s != (jobs.Stats{}) {
		t.Errorf("of nothing: %+v", s)
	}
	old := time.Now().Add(-time.Hour).Truncate(time.Microsecond).UTC()
	j := job(1)
	j.At = old
	enqueue(t, e, job(2), j, job(3))
	if s := stats(t, e); s != (jobs.Stats{Waiting: 3, Oldest: old}) {
		t.Errorf("three that wait, one since %v: %+v", old, s)
	}
}
