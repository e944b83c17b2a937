package jobs

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"vigie/internal/testpg"
)

// TestWatch: who stands still for long is taken for dead, and nobody else.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := watch{beat: beat, silence: silence}
	now := time.Now()
	look := func(after time.Duration, beats map[string]int64, want ...string) {
		t.Helper()
		now = now.Add(after)
		if got := slices.Sorted(slices.Values(w.look(now, now, maps.Clone(beats)))); !slices.Equal(got, want) {
			t.Errorf("silent are %v, want %v", got, want)
		}
	}
	beats := map[string]int64{"self": 1, "dies": 7, "slow": 1}
	look(0, beats)
	for range 4 {
		beats["self"]++
		look(beat, beats)
	}
	beats["self"]++
	beats["slow"]++                     // at the last moment
	look(beat, beats, "dies")           // 20 s
	beats["dies"], beats["self"] = 1, 9 // it was not dead, and begins anew
	look(beat, beats)

	// Who could not look for a while does not know what the others could do meanwhile.
	beats["self"]++
	look(time.Hour, beats)
	for range 4 {
		beats["self"]++
		look(beat, beats)
	}
	beats["self"]++
	look(beat, beats, "dies", "slow")
	delete(beats, "dies")
	beats["slow"]++
	beats["self"]++
	look(beat, beats)
	if len(w.seen) != 2 {
		t.Errorf("it remembers %v", w.seen)
	}
}

// TestSlowAnswer: an answer that is long on its way does not make anybody silent for longer.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	w := watch{beat: beat, silence: silence}
	began := time.Now()
	for _, look := range []struct {
		asked, answered time.Duration
		silent          int
	}{{0, 5 * time.Second, 0}, {9 * time.Second, 14 * time.Second, 0}, {18 * time.Second, 24 * time.Second, 0}, {24 * time.Second, 30 * time.Second, 0}, {25 * time.Second, 34 * time.Second, 1}} {
		if got := w.look(began.Add(look.asked), began.Add(look.answered), map[string]int64{"dies": 7}); len(got) != look.silent {
			t.Errorf("asked at %v: silent are %v", look.asked, got)
		}
	}
}

// TestDeadProcess: the job of a process that says nothing any more is done by another one long before its time is over; that of one
// that does is left to it, however long it takes.
func TestDeadProcess(t *testing.T) {
	t.Parallel()
	url := testpg.Database(t, "", nil)
	began, gate := make(chan Run, 10), make(chan bool)
	stuck := Handler{Timeout: time.Hour, Attempts: 1000, Do: func(_ context.Context, r Run) error {
		began <- r
		if string(r.Args) == `"long"` || r.Attempt == 1 {
			<-gate
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	run := func(every time.Duration, kinds ...string) *riverEngine {
		of := map[string]Handler{"dies": stuck, "lives": stuck}
		opened, err := OpenRiver(t.Context(), url, of, Options{Only: kinds, Fault: func(err error) { t.Log(err) }})
		if err != nil {
			t.Fatal(err)
		}
		e := opened.(*riverEngine)
		e.watch.beat, e.watch.silence = every, time.Second
		runs.Go(func() {
			if err := e.Run(ctx); err != nil {
				t.Error(err)
			}
			e.Close()
		})
		return e
	}
	next := func() Run {
		select {
		case r := <-began:
			return r
		case <-time.After(time.Minute):
			t.Fatal("no attempt begins")
			return Run{}
		}
	}
	run(time.Hour, "dies") // it beats once
	alive := run(20*time.Millisecond, "lives")
	for _, j := range []Job{{Kind: "dies", Key: "a", Args: []byte(`"short"`)}, {Kind: "lives", Key: "b", Args: []byte(`"long"`)}} {
		if err := alive.Enqueue(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if r := next(); r.Attempt != 1 {
			t.Errorf("%+v", r)
		}
	}
	run(20*time.Millisecond, "dies", "lives")
	if r := next(); r.Attempt != 2 || string(r.Args) != `"short"` {
		t.Errorf("%+v", r)
	}
	// By then the one that lives was watched for as long, and was not taken for dead; nor is it later.
	select {
	case r := <-began:
		t.Errorf("attempted again: %+v", r)
	case <-time.After(2 * time.Second):
	}
	close(gate)
	cancel()
	runs.Wait()
	rest, err := OpenRiver(t.Context(), url, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	var n int
	if err := rest.(*riverEngine).pool.QueryRow(t.Context(), "SELECT count(*) FROM vigie_alive").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d processes are said to do jobs, %v", n, err)
	}
}
