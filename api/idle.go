package api

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// idle lets work run that nobody waits for: the items of re-scans. While nobody asks for a check, as much of it runs as there are
// processors for. While somebody does, one item runs at a time, and after each there is a pause that is three times as long: so
// re-scans take a quarter of one processor from those who wait, at most. What is asked for then meets one item in hand, at most; who asks
// after a while in which nobody did meets those that run, and a join of hashes that looks for him, and breaks off.
// It is safe for concurrent use.
type idle struct {
	slots int // items that run at a time while nobody asks

	mu      sync.Mutex
	running int
	asked   time.Time     // when somebody asked for a check last
	next    time.Time     // the end of the pause
	changed chan struct{} // closed when an item has ended; nil: nobody waits for it
}

const (
	idleShare = 4           // an item and its pause take so many times as long as the item
	quiet     = time.Second // nobody asks if nobody has for so long
)

func newIdle() *idle { return &idle{slots: 2 * runtime.GOMAXPROCS(0)} }

// ask notes that somebody asks for a check.
func (i *idle) ask() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = time.Now()
}

// Idle waits until there is room for work that nobody waits for, such as an item of a re-scan, and returns what gives the room back.
// alone says that nobody asks for anything else now: else the work should be a small piece, of some milliseconds.
func (a *Admission) Idle(ctx context.Context) (release func(), alone bool, err error) {
	i := a.idle
	for {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		wait, changed, alone := i.enter()
		if wait == 0 {
			began := time.Now()
			return sync.OnceFunc(func() { i.leave(time.Since(began)) }), alone, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-changed:
		}
		timer.Stop()
	}
}

// enter counts an item that begins; or it says how long to wait before the next try, unless something changes.
func (i *idle) enter() (wait time.Duration, changed <-chan struct{}, alone bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	rest := i.asked.Add(quiet).Sub(now)
	alone = rest <= 0
	pause := i.next.Sub(now)
	switch {
	case alone && i.running < i.slots, i.running == 0 && pause <= 0:
		i.running++
		return 0, nil, alone
	case i.running == 0:
		wait = min(pause, rest)
	default:
		wait = quiet
	}
	if i.changed == nil {
		i.changed = make(chan struct{})
	}
	return max(wait, time.Millisecond), i.changed, alone
}

func (i *idle) leave(took time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running--
	i.next = time.Now().Add((idleShare - 1) * took)
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
}
