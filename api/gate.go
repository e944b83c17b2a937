package api

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// gate lets a bounded number of requests run at a time. The others wait in a queue that is fair and short.
//
// Fair: keys take turns, so that one that sends a hundred requests at once does not hold up one that sends a single one.
// The lanes share the turns while several of them wait: a flag is next or next but one, however many checks there are, a crowd of flags leaves checks
// half of the turns, and batches get one in sixteen, so that a backfill neither holds up anybody nor stands still.
//
// Short: a queue that is never empty serves nobody more than one that often is, and adds its length to each answer. So a
// burst may wait for as long as patience, but once somebody has waited at any time for as long as standing, those who come
// after may wait for target only (as CoDel has it), until none was refused for as long. Whoever would wait for longer than half of that, by what
// runs and waits already, is refused at once; whoever does wait for longer, then. A key that asks for less than half of its share is
// next, and not refused; among such keys, who came first.
//
// Bounded: if the queue has no more room, the newest request of the key with most of them makes way, of the least urgent lane
// first: it has waited least, and its caller can try again soonest. If the newcomer's own key has most, that is the newcomer.
type gate struct {
	gateOptions

	mu      sync.Mutex
	running int
	backlog int // of these, batches
	waiting int
	lanes   [lanes]queue
	turn    uint64
	mean    float64              // seconds that a request runs, smoothed
	since   time.Time            // when nobody waited for a slot last
	refused time.Time            // when somebody was last who would have waited, or had, for too long
	seen    map[string]time.Time // when each key asked last
}

type gateOptions struct {
	slots    int                       // requests that run at a time
	batches  int                       // of these, batches at most, which have no end; 0: all
	room     int                       // requests that wait; the operator's own are taken beyond it
	patience time.Duration             // a request waits no longer
	target   time.Duration             // nor longer than this, or than two turns take, while the queue stands
	waited   func(time.Duration)       // tells how long one waited that runs now; may be nil
	shed     func(reason refusalCause) // tells that one was refused; may be nil
}

// lane is how urgent a request is.
type lane int

const (
	interactive lane = iota // somebody waits for it, such as an analyst for a flag
	checks
	batches
	lanes
)

func (l lane) String() string { return [...]string{"interactive", "checks", "batches"}[l] }

// claim is who wants to run something.
type claim struct {
	key  string
	lane lane
	// patient requests wait for as long as their context lives: a batch is slowed down rather than refused.
	patient bool
	// own requests are the operator's, on this machine. They are patient and never make way.
	own bool
}

// refusalCause is why a gate refused a request.
type refusalCause string

const (
	causeLate refusalCause = "late" // it would wait, or has waited, for too long
	causeFull refusalCause = "full" // the queue has no room, and the key has most of it
	causeWay  refusalCause = "way"  // it made way for another key, or a more urgent request
)

// queue is a lane's: the keys that wait, in the order of their turns.
type queue struct {
	turns   []*line
	waiting int
}

// line is what waits of one key, in the order in which it came. There is always something.
type line struct {
	key     string
	sparse  bool // it asks for little, and stands before those that do not
	waiters []*waiter
}

type waiter struct {
	claim
	since  time.Time
	answer chan error // has room for the one answer; nil: it runs
}

// standing is how long a queue must not have been empty to be more than a burst.
const standing = 100 * time.Millisecond

// enter waits until the request may run, and returns what ends that: call it once. Refusals are
// of the type overloaded; other errors are ctx's.
func (g *gate) enter(ctx context.Context, c claim) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.patient = c.patient || c.own
	w, limit, err := g.join(c)
	if err != nil {
		return nil, err
	}
	var late <-chan time.Time
	if !c.patient {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case err = <-w.answer:
	default:
		select {
		case err = <-w.answer:
		case <-ctx.Done():
			err = g.quit(w, ctx.Err())
		case <-late:
			err = g.quit(w, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	if g.waited != nil {
		g.waited(time.Since(w.since))
	}
	began := time.Now()
	return func() { g.leave(c.lane, time.Since(began)) }, nil
}

// hopeless is the refusal that enter would give at once, if it would. It is for asking before a body is read.
func (g *gate) hopeless(c claim) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.patient || c.own || !g.full(c.lane) {
		return nil
	}
	ahead := g.ahead(c)
	most, _ := g.limit(c)
	switch {
	case ahead > most:
		return g.late(c)
	case g.waiting >= g.room && g.heaviest(c) == nil:
		return g.refuse(causeFull, ahead)
	}
	return nil
}

// join gives the request a place in the queue, or answers it at once.
func (g *gate) join(c claim) (*waiter, time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	w := &waiter{claim: c, since: now, answer: make(chan error, 1)}
	q := &g.lanes[c.lane]
	most, limit := g.limit(c)
	sparse := g.sparse(c)
	defer g.note(c.key, now)
	if g.full(c.lane) {
		ahead := g.ahead(c)
		if !c.patient && ahead > most {
			return nil, 0, g.late(c)
		}
		if g.waiting >= g.room && !c.own {
			heaviest := g.heaviest(c)
			if heaviest == nil {
				return nil, 0, g.refuse(causeFull, ahead)
			}
			newest := heaviest.waiters[len(heaviest.waiters)-1]
			g.remove(newest)
			newest.answer <- g.refuse(causeWay, g.ahead(newest.claim))
		}
	}
	at := q.find(c.key)
	if at < 0 {
		if at = len(q.turns); sparse {
			at = q.sparse()
		}
		q.turns = slices.Insert(q.turns, at, &line{key: c.key, sparse: sparse})
	}
	if g.waiting == 0 || g.running < g.slots {
		g.since = now
	}
	q.turns[at].waiters = append(q.turns[at].waiters, w)
	q.waiting++
	g.waiting++
	g.grant()
	return w, limit, nil
}

// grant lets run what there are slots for. Call it with mu held.
func (g *gate) grant() {
	for g.running < g.slots {
		w := g.next()
		if w == nil {
			return
		}
		g.remove(w)
		g.running++
		if w.lane == batches {
			g.backlog++
		}
		w.answer <- nil
	}
}

// full reports whether a newcomer in a lane has to wait.
func (g *gate) full(l lane) bool {
	return g.running >= g.slots || l == batches && g.batches > 0 && g.backlog >= g.batches
}

// schedule says which lane is asked first, turn by turn; if nothing waits there, the most urgent is.
var schedule = func() (s [16]lane) {
	for i := range s {
		s[i] = lane(i % 2) // interactive, checks
	}
	s[15] = batches
	return s
}()

// next is whose turn it is, if anybody's; its key goes to the end.
func (g *gate) next() *waiter {
	first := schedule[g.turn%uint64(len(schedule))]
	g.turn++
	for _, l := range [...]lane{first, interactive, checks, batches} {
		q := &g.lanes[l]
		if q.waiting == 0 || g.full(l) {
			continue
		}
		key := q.turns[0]
		key.sparse = false
		copy(q.turns, q.turns[1:])
		q.turns[len(q.turns)-1] = key
		return key.waiters[0]
	}
	return nil
}

// remove takes a waiter out of the queue, if it is still there.
func (g *gate) remove(w *waiter) bool {
	q := &g.lanes[w.lane]
	at := q.find(w.key)
	if at < 0 {
		return false
	}
	key := q.turns[at]
	i := slices.Index(key.waiters, w)
	if i < 0 {
		return false
	}
	if key.waiters = slices.Delete(key.waiters, i, i+1); len(key.waiters) == 0 {
		q.turns = slices.Delete(q.turns, at, at+1)
	}
	q.waiting--
	g.waiting--
	return true
}

// quit ends a wait, for err or as it has lasted too long; unless there is an answer already: that one counts.
func (g *gate) quit(w *waiter, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.remove(w) {
		return <-w.answer
	}
	if err != nil {
		return err
	}
	return g.late(w.claim)
}

func (g *gate) leave(l lane, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mean == 0 {
		g.mean = took.Seconds()
	}
	g.mean += (took.Seconds() - g.mean) / 16
	g.running--
	if l == batches {
		g.backlog--
	}
	g.grant()
}

// limit is how long who comes now may have to wait, as far as can be told, and may wait indeed.
func (g *gate) limit(c claim) (most, limit time.Duration) {
	short := g.waiting == 0 || time.Since(g.since) < standing
	if short && time.Since(g.refused) >= standing || g.sparse(c) {
		return g.patience, g.patience
	}
	limit = min(g.patience, max(g.target, seconds(2*g.mean/float64(g.slots))))
	return limit / 2, limit
}

// sparse reports whether a key asks for less than half of what it would have if it took turns with all that wait.
func (g *gate) sparse(c claim) bool {
	round := seconds(float64(len(g.lanes[c.lane].turns)) * g.mean / float64(g.slots))
	return time.Since(g.seen[c.key]) >= max(standing, 2*round)
}

// note remembers that a key has asked. Those that have not for long are forgotten.
func (g *gate) note(key string, now time.Time) {
	if len(g.seen) > g.room {
		maps.DeleteFunc(g.seen, func(_ string, at time.Time) bool { return now.Sub(at) >= g.patience })
	}
	if g.seen == nil {
		g.seen = map[string]time.Time{}
	}
	g.seen[key] = now
}

// late refuses a request that would wait, or has waited, for too long.
func (g *gate) late(c claim) error {
	g.refused = time.Now()
	g.note(c.key, g.refused)
	return g.refuse(causeLate, g.ahead(c))
}

// ahead is how long it will take to run what comes before a newcomer, as far as can be told: of each other key in its
// lane as many as its own has and one more, or of those that are sparse one if it is, and half of the turns are another lane's.
func (g *gate) ahead(c claim) time.Duration {
	q := &g.lanes[c.lane]
	mine, before := 0, 0
	if at := q.find(c.key); at >= 0 {
		mine = len(q.turns[at].waiters)
	}
	if mine == 0 && g.sparse(c) {
		before = q.sparse()
	} else {
		for _, key := range q.turns {
			before += min(len(key.waiters), mine+1)
		}
	}
	if c.lane <= checks && g.lanes[1-c.lane].waiting > 0 {
		before *= 2
	}
	return seconds(float64(before) * g.mean / float64(g.slots))
}

// heaviest is the line that makes way for a newcomer: one that is heavier than the newcomer's own, or as heavy and less
// urgent; nil if there is none.
func (g *gate) heaviest(c claim) *line {
	mine := 0
	if q := &g.lanes[c.lane]; q.find(c.key) >= 0 {
		mine = len(q.turns[q.find(c.key)].waiters)
	}
	for l := batches; l >= c.lane; l-- {
		var heaviest *line
		most := max(0, mine-1)
		if l == c.lane {
			most = mine + 1 // or they would take each other's place in turn
		}
		for _, key := range g.lanes[l].turns {
			if len(key.waiters) > most && !key.waiters[0].own {
				heaviest, most = key, len(key.waiters)
			}
		}
		if heaviest != nil {
			return heaviest
		}
	}
	return nil
}

// longestRetry is what callers are told at most: the load may be gone long before.
const longestRetry = time.Minute

func (g *gate) refuse(cause refusalCause, ahead time.Duration) error {
	if g.shed != nil {
		g.shed(cause)
	}
	after := max(1, int(math.Ceil(min(ahead, longestRetry).Seconds())))
	return &refusal{
		is: pOverloaded, retry: time.Duration(after) * time.Second,
		detail: fmt.Sprintf("%d requests of this kind run and %d wait; try again in %d s", g.running, g.waiting, after),
	}
}

// load is how many requests run, and wait in each lane.
func (g *gate) load() (running int, waiting [lanes]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.lanes {
		waiting[l] = g.lanes[l].waiting
	}
	return g.running, waiting
}

// sparse is how many keys stand there that ask for little.
func (q *queue) sparse() int {
	n := 0
	for n < len(q.turns) && q.turns[n].sparse {
		n++
	}
	return n
}

func (q *queue) find(key string) int {
	return slices.IndexFunc(q.turns, func(l *line) bool { return l.key == key })
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
