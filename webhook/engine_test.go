package webhook_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"vigie/storage"
	"vigie/storage/jobs"
)

// engine does jobs in memory, by the clock of the test.
type engine struct {
	clock   *clock
	handler jobs.Handler
	fail    func() error // of Enqueue; nil: it works

	mu      sync.Mutex
	next    int64
	waiting []*job // by number
	dead    []jobs.Dead
	keys    map[int64]string
}

type job struct {
	jobs.Run
	key    string
	at     time.Time
	failed int
	busy   bool
}

func (e *engine) Enqueue(_ context.Context, all ...jobs.Job) error {
	if e.fail != nil {
		if err := e.fail(); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range all {
		if len(j.Args) > jobs.MaxArgs || len(j.Key) > 200 {
			return jobs.ErrInvalid
		}
		if slices.ContainsFunc(e.waiting, func(o *job) bool { return o.key == j.Key }) {
			continue
		}
		e.next++
		if e.keys == nil {
			e.keys = map[int64]string{}
		}
		e.keys[e.next] = j.Key
		e.waiting = append(e.waiting, &job{Run: jobs.Run{ID: e.next, Args: j.Args, Created: e.clock.Now()}, key: j.Key, at: e.clock.Now()})
	}
	return nil
}

// due does what is due at a time, parallel at a time, and tells how many attempts were made.
func (e *engine) due(ctx context.Context) int {
	e.mu.Lock()
	var now []*job
	for _, j := range e.waiting {
		if !j.busy && !j.at.After(e.clock.Now()) {
			j.busy = true
			now = append(now, j)
		}
	}
	e.mu.Unlock()
	places := make(chan struct{}, e.handler.Parallel)
	var doing sync.WaitGroup
	for _, j := range now {
		places <- struct{}{}
		doing.Go(func() {
			defer func() { <-places }()
			j.Attempt++
			e.judge(j, e.handler.Do(ctx, j.Run))
		})
	}
	doing.Wait()
	return len(now)
}

// judge tells Later and Never by their texts, as their types are the package's own.
func (e *engine) judge(j *job, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	j.busy = false
	gone := func() { e.waiting = slices.DeleteFunc(e.waiting, func(o *job) bool { return o == j }) }
	var wait time.Duration
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch after, later := strings.CutPrefix(text, "not before "); {
	case err == nil:
		gone()
		return
	case later:
		wait, _ = time.ParseDuration(strings.TrimSuffix(after, " from now"))
		j.at = e.clock.Now().Add(wait)
		return
	}
	j.failed++
	never := errors.Unwrap(jobs.Never(err)) == err && isNever(err)
	if never || j.failed >= e.handler.Attempts {
		gone()
		e.dead = append(e.dead, jobs.Dead{ID: j.ID, Kind: "webhook", Args: j.Args, Error: text, Attempts: j.Attempt, Created: j.Created, Died: e.clock.Now()})
		return
	}
	j.at = e.clock.Now().Add(e.handler.Backoff(j.failed))
}

// isNever: only Never's error has a text and unwraps to another of the same text.
func isNever(err error) bool {
	inner := errors.Unwrap(err)
	return inner != nil && inner.Error() == err.Error()
}

// all does all that waits, moving the clock to when the next is due; at most for so long.
func (e *engine) all(ctx context.Context, most time.Duration) {
	end := e.clock.Now().Add(most)
	for e.due(ctx) > 0 || e.forward(end) {
		if ctx.Err() != nil {
			return
		}
	}
}

func (e *engine) forward(end time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		return false
	}
	next := slices.MinFunc(e.waiting, func(a, b *job) int { return a.at.Compare(b.at) }).at
	if next.After(end) {
		return false
	}
	e.clock.set(next)
	return true
}

func (e *engine) Run(context.Context) error { return nil }

func (e *engine) Dead(ctx context.Context, kind string, after int64, limit int) ([]jobs.Dead, error) {
	return e.DeadOf(ctx, kind, "", after, limit)
}

func (e *engine) Pending(context.Context, string) (map[string]jobs.Pending, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]jobs.Pending{}
	for _, j := range e.waiting {
		beginning, _, _ := strings.Cut(j.key, "-")
		p := all[beginning]
		if p.Jobs++; j.failed > 0 {
			p.Failing++
		}
		all[beginning] = p
	}
	return all, nil
}

func (e *engine) DeadOf(_ context.Context, _, prefix string, after int64, limit int) (page []jobs.Dead, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.SortFunc(e.dead, func(a, b jobs.Dead) int { return int(a.ID - b.ID) })
	for _, d := range e.dead {
		if d.ID > after && len(page) < limit && strings.HasPrefix(e.keys[d.ID], prefix) {
			page = append(page, d)
		}
	}
	return page, nil
}

func (e *engine) Replay(_ context.Context, id int64) error {
	if e.replay(func(d jobs.Dead) bool { return d.ID == id }) == 0 {
		return storage.ErrNotFound
	}
	return nil
}

func (e *engine) ReplayOf(_ context.Context, _, prefix string) (int, error) {
	return e.replay(func(d jobs.Dead) bool { return strings.HasPrefix(e.keys[d.ID], prefix) }), nil
}

func (e *engine) replay(those func(jobs.Dead) bool) (replayed int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = slices.DeleteFunc(e.dead, func(d jobs.Dead) bool {
		if !those(d) {
			return false
		}
		replayed++
		now := e.clock.Now()
		e.waiting = append(e.waiting, &job{Run: jobs.Run{ID: d.ID, Attempt: d.Attempts, Args: d.Args, Created: now}, key: e.keys[d.ID], at: now})
		return true
	})
	return replayed
}

func (e *engine) Drop(context.Context, string, string) error { return nil }

func (e *engine) DropOf(_ context.Context, _, prefix string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = slices.DeleteFunc(e.waiting, func(j *job) bool { return !j.busy && strings.HasPrefix(j.key, prefix) })
	e.dead = slices.DeleteFunc(e.dead, func(d jobs.Dead) bool { return strings.HasPrefix(e.keys[d.ID], prefix) })
	return nil
}

func (e *engine) Expire(_ context.Context, _ string, before time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = slices.DeleteFunc(e.dead, func(d jobs.Dead) bool { return d.Died.Before(before) })
	return nil
}

func (e *engine) Stats(context.Context) (map[string]jobs.Stats, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return map[string]jobs.Stats{"webhook": {Waiting: len(e.waiting), Dead: len(e.dead)}}, nil
}

func (e *engine) Close() error { return nil }

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t
	}
}

func (c *clock) advance(d time.Duration) { c.set(c.Now().Add(d)) }
