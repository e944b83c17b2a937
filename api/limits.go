package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates are token buckets, one for each name that spends, in a bounded memory. The zero value has no limit.
type rates struct {
	limit rate.Limit // tokens a second; 0: no limit
	burst int        // tokens that a name has at first, and at most
	most  int        // names that are remembered, at least; twice as many at most

	mu        sync.Mutex
	now, past map[string]*rate.Limiter // past: of those that were seen before now was begun
}

// of is the bucket of a name; nil if there is no limit. Names that have not been seen for long are forgotten, which fills their
// buckets.
func (r *rates) of(name string) *rate.Limiter {
	if r.limit == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.now[name]; b != nil {
		return b
	}
	b := r.past[name]
	if b == nil {
		b = rate.NewLimiter(r.limit, r.burst)
	}
	if r.now == nil || len(r.now) >= r.most {
		r.past, r.now = r.now, map[string]*rate.Limiter{}
	}
	r.now[name] = b
	return b
}

// spend takes a token, or says how long it will be until there is one.
func (r *rates) spend(name string) time.Duration {
	b := r.of(name)
	if b == nil {
		return 0
	}
	token := b.Reserve()
	wait := token.Delay()
	if wait > 0 {
		token.Cancel()
	}
	return wait
}
