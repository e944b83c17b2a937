package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"vigie/hashing"
)

// Pool hashes pictures in child processes. Its methods may be called from many goroutines at a time.
type Pool struct {
	o           Options
	startThread starter

	// slots holds the free slots: a child that waits for work, or nil where the next request starts
	// one. Whoever took a slot puts it back; Close takes them all.
	slots chan *process

	ctx       context.Context // ends with Close
	close     context.CancelFunc
	closeOnce sync.Once

	mu    sync.Mutex
	stats Stats
}

// Stats is what a [Pool] has done so far.
type Stats struct {
	Started     int64                 // children that said hello
	Died        map[DeathReason]int64 // children that are gone, by reason
	Busy        int                   // pictures in the hands of a child now
	Protections Protections           // of the child that started last
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
	p := &Pool{o: o, slots: make(chan *process, o.Children), startThread: newStarter()}
	p.ctx, p.close = context.WithCancel(context.Background())
	p.stats.Died = map[DeathReason]int64{}

	first, err := p.start(p.ctx)
	p.slots <- first
	for range o.Children - 1 {
		p.slots <- nil
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Picture has a child decode and hash data, which must not change meanwhile. It waits for a free
// child as long as ctx lives, and [Options.Wait] at most: then it is [hashing.ErrBusy].
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

	c, err := p.take(ctx)
	if err != nil {
		return hashing.Picture{}, err
	}
	picture, death, err := p.hash(ctx, c, data)
	if death == "" && c.pictures >= p.o.Recycle {
		death = DiedRecycled
	}
	if death != "" {
		p.bury(c, death)
		c = nil
	}
	p.slots <- c
	return picture, err
}

// take waits for a slot and returns a living child in it.
func (p *Pool) take(ctx context.Context) (*process, error) {
	if ctx.Err() != nil { // a free slot must not win over a request that is dead already
		return nil, whyEnded(ctx)
	}
	var c *process
	select {
	case c = <-p.slots:
	case <-ctx.Done():
		return nil, whyEnded(ctx)
	case <-time.After(p.o.Wait):
		return nil, fmt.Errorf("%w, for %v already", hashing.ErrBusy, p.o.Wait)
	}
	if c != nil && !c.dead() {
		return c, nil
	}
	if c != nil {
		p.bury(c, DiedIdle)
	}
	c, err := p.start(ctx)
	if err != nil {
		p.slots <- nil
		if ctx.Err() != nil {
			return nil, whyEnded(ctx)
		}
		return nil, err
	}
	return c, nil
}

var errDeadline = errors.New("the deadline of the picture")

// hash has c work on data. A death other than "" means that c is of no more use, and why.
func (p *Pool) hash(ctx context.Context, c *process, data []byte) (hashing.Picture, DeathReason, error) {
	p.busy(+1)
	defer p.busy(-1)
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, errDeadline)
	defer cancel()
	unwatch := context.AfterFunc(ctx, c.kill)
	b, err := c.ask(data)
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
		return hashing.Picture{}, DiedTimeout, &hashing.MediaError{
			Kind:   hashing.TimedOut,
			Detail: fmt.Sprintf("not decoded within %v", p.o.Timeout),
		}
	case killed:
		return hashing.Picture{}, deathBy(ctx), whyEnded(ctx)
	case errors.Is(err, errFrameTooLong):
		return hashing.Picture{}, DiedGarbage, crashed("its answer is too long")
	case c.stderr.found:
		return hashing.Picture{}, DiedMemory, &hashing.MediaError{
			Kind:   hashing.OutOfMemory,
			Detail: fmt.Sprintf("more than %d MiB needed", p.o.Memory>>20),
		}
	}
	return hashing.Picture{}, DiedCrash, crashed(c.cmd.ProcessState.String())
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
		for range p.o.Children {
			if c := <-p.slots; c != nil {
				p.bury(c, DiedClosed)
			}
		}
		close(p.startThread)
	})
	return nil
}

// A pool hashes as a HashFunc does: callers need not know whether they have one or the other.
var _ HashFunc = (*Pool)(nil).Picture
