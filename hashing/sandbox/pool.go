package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"vigie/hashing"
	"vigie/hashing/decode"
)

// Pool hashes pictures in child processes. Its methods may be called from many goroutines at a time.
type Pool struct {
	o           Options
	startThread starter
	usual       *crew // for all formats
	wasm        *crew // for those whose decoder is WebAssembly
	converter   converter
	budget      *semaphore.Weighted // bytes, of Options.Budget

	ctx       context.Context // ends with Close
	close     context.CancelFunc
	closeOnce sync.Once

	mu    sync.Mutex
	stats Stats
}

// crew is a number of children of one kind.
type crew struct {
	ChildOptions
	// slots holds the free slots: a child that waits for work, or nil where the next request starts
	// one. Whoever took a slot puts it back; Close takes them all.
	slots chan *process
	// large bounds the pictures that need much memory, so that a crowd of them leaves a child for all
	// others, if there are two.
	large *semaphore.Weighted
	idle  time.Duration // after which a child without work is ended; 0: never
}

func newCrew(children int, o ChildOptions, idle time.Duration) *crew {
	w := &crew{ChildOptions: o, slots: make(chan *process, children), large: semaphore.NewWeighted(int64(max(1, children-1))), idle: idle}
	for range children {
		w.slots <- nil
	}
	return w
}

// Stats is what a [Pool] has done so far.
type Stats struct {
	Started     int64                 // children that said hello
	Died        map[DeathReason]int64 // children that are gone, by reason
	Busy        int                   // pictures in the hands of a child now
	Granted     int64                 // bytes of Options.Budget in use now
	Budget      int64                 // bytes; Options.Budget
	Protections Protections           // of the child that started last
	Converter   string                // the program for HEIC, by its path; empty if there is none
}

// ErrClosed is returned by [Pool.Picture] after, or during, [Pool.Close].
var ErrClosed = errors.New("the pool of decode children is closed")

// New makes a pool and starts its first child, so that a command that does not work is found now
// and the protections are known ([Pool.Stats]). The others start when they are needed.
// The caller must Close the pool.
func New(o Options) (*Pool, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	usual := ChildOptions{Limits: o.Limits, Memory: o.Memory, Announce: announce}
	wasm := usual
	wasm.Memory, wasm.Wasm = o.WasmMemory, true
	p := &Pool{
		o: o, startThread: newStarter(), budget: semaphore.NewWeighted(o.Budget),
		usual: newCrew(o.Children, usual, 0), wasm: newCrew(o.Wasm, wasm, o.wasmIdle),
	}
	p.converter = findConverter(o)
	p.ctx, p.close = context.WithCancel(context.Background())
	p.stats.Died, p.stats.Budget, p.stats.Converter = map[DeathReason]int64{}, o.Budget, p.converter.program

	<-p.usual.slots
	first, err := p.start(p.ctx, p.usual)
	p.usual.slots <- first
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// announce is the memory of a picture, in bytes, from which on a child asks for it.
const announce = 64 << 20

// Picture has a child decode and hash data, which must not change meanwhile. It waits for a free
// child as long as ctx lives, and [Options.Wait] at most: then it is [hashing.ErrBusy]. A HEIC is
// converted by an external program first.
//
// Media that cannot be hashed is a [*hashing.MediaError]: what the decoder said, or
// [hashing.TimedOut], [hashing.OutOfMemory] or [hashing.Crashed] if the child did not live to say
// it. If ctx ends, the child that works on data is killed and ctx's error is returned. Other errors,
// such as [ErrClosed] or a child that does not start, are the server's trouble.
func (p *Pool) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	switch {
	case len(data) == 0:
		return hashing.Picture{}, &hashing.MediaError{Kind: hashing.Empty, Detail: "no bytes"}
	case int64(len(data)) > p.o.Limits.Bytes:
		return hashing.Picture{}, &hashing.MediaError{
			Kind:   hashing.TooLarge,
			Detail: fmt.Sprintf("%d bytes; accepted are %d", len(data), p.o.Limits.Bytes),
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(ErrClosed) })()

	switch kind := decode.Sniff(data); kind.Class {
	case decode.Compiled:
		return p.picture(ctx, p.wasm, data)
	case decode.External:
		return p.heic(ctx, data)
	}
	return p.picture(ctx, p.usual, data)
}

// picture has a child of the crew hash data. A large picture that finds the crew busy with others of its
// kind gives its child back, and comes again when it is its turn.
func (p *Pool) picture(ctx context.Context, w *crew, data []byte) (hashing.Picture, error) {
	turn := false
	defer func() {
		if turn {
			w.large.Release(1)
		}
	}()
	take := func() bool {
		turn = turn || w.large.TryAcquire(1)
		return turn
	}
	picture, err := p.try(ctx, w, data, take)
	if errors.Is(err, errTurn) {
		if err := p.acquire(ctx, w.large, 1, "turn for a large picture"); err != nil {
			return hashing.Picture{}, err
		}
		turn = true
		return p.try(ctx, w, data, take)
	}
	return picture, err
}

var errTurn = errors.New("a large picture whose turn it is not")

// try has a child hash data. It fails with errTurn if that is large, and turn says no.
func (p *Pool) try(ctx context.Context, w *crew, data []byte, turn func() bool) (hashing.Picture, error) {
	c, err := p.take(ctx, w)
	if err != nil {
		return hashing.Picture{}, err
	}
	picture, death, err := p.hash(ctx, c, data, turn)
	if death == "" && c.pictures >= p.o.Recycle {
		death = DiedRecycled
	}
	if death != "" {
		p.bury(c, death)
		c = nil
	}
	if c != nil && w.idle > 0 {
		c.used = time.Now()
		time.AfterFunc(w.idle, func() { p.endUnused(w) })
	}
	w.slots <- c
	return picture, err
}

// endUnused ends a child of the crew that had no work for long, if there is one.
func (p *Pool) endUnused(w *crew) {
	for range cap(w.slots) {
		select {
		case c := <-w.slots:
			if c != nil && time.Since(c.used) >= w.idle {
				p.bury(c, DiedUnused)
				c = nil
			}
			w.slots <- c
		default:
			return
		}
	}
}

// take waits for a slot and returns a living child in it.
func (p *Pool) take(ctx context.Context, w *crew) (*process, error) {
	if ctx.Err() != nil { // a free slot must not win over a request that is dead already
		return nil, whyEnded(ctx)
	}
	var c *process
	select {
	case c = <-w.slots:
	case <-ctx.Done():
		return nil, whyEnded(ctx)
	case <-time.After(p.o.Wait):
		return nil, fmt.Errorf("%w: no child for %v already", hashing.ErrBusy, p.o.Wait)
	}
	if c != nil && !c.dead() {
		return c, nil
	}
	if c != nil {
		p.bury(c, DiedIdle)
	}
	c, err := p.start(ctx, w)
	if err != nil {
		w.slots <- nil
		if ctx.Err() != nil {
			return nil, whyEnded(ctx)
		}
		return nil, err
	}
	return c, nil
}

var errDeadline = errors.New("the deadline of the picture")

// hash has c work on data; turn is asked if it is large. A death other than "" means that c is of no more
// use, and why.
func (p *Pool) hash(ctx context.Context, c *process, data []byte, turn func() bool) (hashing.Picture, DeathReason, error) {
	p.busy(+1)
	defer p.busy(-1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	deadline := time.AfterFunc(p.o.Timeout, func() { cancel(errDeadline) })
	defer deadline.Stop()
	unwatch := context.AfterFunc(ctx, c.kill)
	b, err := c.ask(data)
	if need, ok := decodeNeed(b); ok && err == nil {
		if !deadline.Stop() {
			<-ctx.Done()
			return hashing.Picture{}, DiedTimeout, p.timedOut()
		}
		release, busy := func() {}, errTurn
		if turn() {
			release, busy = p.grant(ctx, need)
		}
		if busy != nil {
			switch {
			case !unwatch(): // killed
				return hashing.Picture{}, deathBy(ctx), busy
			case c.answer(refused) != nil:
				return hashing.Picture{}, DiedCrash, busy
			}
			return hashing.Picture{}, "", busy
		}
		defer release()
		deadline.Reset(p.o.Timeout)
		if err = c.answer(granted); err == nil {
			b, err = c.listen()
		}
	}
	killed := !unwatch()

	if err == nil {
		picture, reported, err := decodeAnswer(b, p.o.Limits)
		switch {
		case err != nil:
			return hashing.Picture{}, DiedGarbage, crashed("its answer does not hold")
		case killed: // too late: the answer came first
			return picture, deathBy(ctx), asError(reported)
		}
		return picture, "", asError(reported)
	}
	c.end()
	switch {
	case killed && deathBy(ctx) == DiedTimeout:
		return hashing.Picture{}, DiedTimeout, p.timedOut()
	case killed:
		return hashing.Picture{}, deathBy(ctx), whyEnded(ctx)
	case errors.Is(err, errFrameTooLong):
		return hashing.Picture{}, DiedGarbage, crashed("its answer is too long")
	case c.stderr.found:
		return hashing.Picture{}, DiedMemory, &hashing.MediaError{
			Kind:   hashing.OutOfMemory,
			Detail: fmt.Sprintf("more than %d MiB needed", c.memory>>20),
		}
	}
	return hashing.Picture{}, DiedCrash, crashed(c.cmd.ProcessState.String())
}

func (p *Pool) timedOut() error {
	return &hashing.MediaError{Kind: hashing.TimedOut, Detail: fmt.Sprintf("not decoded within %v", p.o.Timeout)}
}

// grant waits for a share of the budget, in the order of the requests, and returns what gives it back. A picture that
// needs more than the whole budget gets it all.
func (p *Pool) grant(ctx context.Context, need int64) (release func(), err error) {
	need = min(need, p.o.Budget)
	if err := p.acquire(ctx, p.budget, need, "memory"); err != nil {
		return nil, err
	}
	count := func(by int64) {
		p.mu.Lock()
		p.stats.Granted += by
		p.mu.Unlock()
	}
	count(need)
	return func() { count(-need); p.budget.Release(need) }, nil
}

// acquire waits for n of a semaphore as long as ctx lives, and [Options.Wait] at most: then it is
// [hashing.ErrBusy].
func (p *Pool) acquire(ctx context.Context, of *semaphore.Weighted, n int64, what string) error {
	waiting, cancel := context.WithTimeout(ctx, p.o.Wait)
	defer cancel()
	if err := of.Acquire(waiting, n); err != nil {
		if ctx.Err() != nil {
			return whyEnded(ctx)
		}
		return fmt.Errorf("%w: no %s for %v already", hashing.ErrBusy, what, p.o.Wait)
	}
	return nil
}

// deathBy says why a request's context killed its child.
func deathBy(ctx context.Context) DeathReason {
	switch context.Cause(ctx) {
	case errDeadline:
		return DiedTimeout
	case ErrClosed:
		return DiedClosed
	}
	return DiedCancelled
}

// whyEnded is what the caller of a request whose context ended gets to see.
func whyEnded(ctx context.Context) error {
	if context.Cause(ctx) == ErrClosed {
		return ErrClosed
	}
	return ctx.Err()
}

func crashed(how string) error {
	return &hashing.MediaError{Kind: hashing.Crashed, Detail: "the decoder crashed: " + how}
}

// asError keeps a nil pointer from becoming an error that is not nil.
func asError(reported *hashing.MediaError) error {
	if reported == nil {
		return nil
	}
	return reported
}

// Stats returns a copy of the counters.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Died = maps.Clone(s.Died)
	return s
}

func (p *Pool) started(e ChildStart) {
	p.mu.Lock()
	p.stats.Started++
	p.stats.Protections = e.Protections
	p.mu.Unlock()
	if f := p.o.Events.ChildStarted; f != nil {
		f(e)
	}
}

// bury makes sure that c is gone and counts it.
func (p *Pool) bury(c *process, why DeathReason) {
	c.end()
	p.mu.Lock()
	p.stats.Died[why]++
	p.mu.Unlock()
	if f := p.o.Events.ChildDied; f != nil {
		f(ChildDeath{PID: c.cmd.Process.Pid, Reason: why, Pictures: c.pictures})
	}
}

func (p *Pool) busy(by int) {
	p.mu.Lock()
	p.stats.Busy += by
	p.mu.Unlock()
}

// Close kills all children, waits until they are reaped, and makes pending and later requests fail
// with [ErrClosed]. Closing again does nothing. Its error is always nil.
func (p *Pool) Close() error {
	p.closeOnce.Do(func() {
		p.close()
		for _, w := range []*crew{p.usual, p.wasm} {
			for range cap(w.slots) {
				if c := <-w.slots; c != nil {
					p.bury(c, DiedClosed)
				}
			}
		}
		close(p.startThread)
	})
	return nil
}

// A pool hashes as a HashFunc does: callers need not know whether they have one or the other.
var _ HashFunc = (*Pool)(nil).Picture
