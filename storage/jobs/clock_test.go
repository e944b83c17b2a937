package jobs

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// TestClockSetBack: a job that was to be done at once by a clock that was ahead is done soon after the clock is set right, be it while a
// process does jobs or before it starts; one that was to wait waits.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	const ahead = 3 * time.Hour
	done := make(chan string, 10)
	of := map[string]Handler{"work": {Do: func(_ context.Context, r Run) error {
		done <- string(r.Args)
		return nil
	}}}
	path := filepath.Join(t.TempDir(), "jobs.db")
	open := func() *localEngine {
		e, err := OpenLocal(t.Context(), path, of, Options{Fault: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		return e.(*localEngine)
	}
	run := func(e *localEngine) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-done:
			if got != want {
				t.Errorf("job %s is done, not %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("job %s is not done", want)
		}
	}
	later := time.Now().Add(10 * ahead)
	fill := func(e *localEngine, args string) { // by the clock that is ahead
		t.Helper()
		if err := e.Enqueue(t.Context(), Job{Kind: "work", Args: []byte(args)}, Job{Kind: "work", Args: []byte(`"later"`), At: later}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.exec(t.Context(), "UPDATE job SET at = at + $1, created = created + $1", ahead.Microseconds()); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(e *localEngine, want int) {
		t.Helper()
		s, err := e.Stats(t.Context())
		if err != nil || s["work"].Waiting != want {
			t.Errorf("%+v, %v; want %d waiting", s, err, want)
		}
	}

	e := open()
	fill(e, "1")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open()
	stop := run(e)
	next("1")
	stop()
	waits(e, 1)

	fill(e, "2")
	e.seen.day = e.seen.day.Add(ahead) // what the clock showed then
	stop = run(e)
	next("2")
	stop()
	waits(e, 2)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestDeadClock: a job that died by a clock that was far ahead says nothing of the present one: what waits is not moved at each start.
func TestDeadClock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	at := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	for range 3 {
		opened, err := OpenLocal(t.Context(), path, map[string]Handler{"work": {Do: func(context.Context, Run) error { return nil }}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		e := opened.(*localEngine)
		var waits int64
		err = e.Enqueue(t.Context(), Job{Kind: "work", Key: "a", At: at, Args: []byte("1")}) // once
		if err == nil {
			_, err = e.keepDead(t.Context(), []kept{{Job{Kind: "work", Args: []byte("2")}, &Dead{Created: at.AddDate(1, 0, 0), Died: at}}})
		}
		if err == nil {
			err = e.db.QueryRowContext(t.Context(), "SELECT at FROM job WHERE state = 'waiting'").Scan(&waits)
		}
		if err = errors.Join(err, e.Close()); err != nil || !fromMicros(waits).Equal(at) {
			t.Errorf("it waits until %v, not %v, %v", fromMicros(waits), at, err)
		}
	}
}

// TestClockSetBackAndFailed: a turn that fails has not moved what waits, and the next one does.
func TestClockSetBackAndFailed(t *testing.T) {
	t.Parallel()
	opened, err := OpenLocal(t.Context(), filepath.Join(t.TempDir(), "jobs.db"), map[string]Handler{"work": {Do: func(context.Context, Run) error { return nil }}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	e := opened.(*localEngine)
	const ahead = 3 * time.Hour
	if err := e.Enqueue(t.Context(), Job{Kind: "work", At: time.Now().Add(ahead), Args: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	e.seen.day = e.seen.day.Add(ahead)
	l := &loop{localEngine: e, kind: "work", h: e.of["work"], running: map[*attempt]bool{}}
	if _, err := e.exec(t.Context(), "ALTER TABLE job RENAME COLUMN runs TO walks"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.turn(t.Context(), 1); err == nil {
		t.Error("it goes well")
	}
	if _, err := e.exec(t.Context(), "ALTER TABLE job RENAME COLUMN walks TO runs"); err != nil {
		t.Fatal(err)
	}
	if claimed, _, err := l.turn(t.Context(), 1); err != nil || len(claimed) != 1 {
		t.Errorf("claimed are %d, %v", len(claimed), err)
	}
}
