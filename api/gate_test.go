package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// passing is what became of the requests that tried a gate.
type passing struct {
	mu              sync.Mutex
	waits           map[string][]time.Duration // of those that ran, by key
	refused         map[string]int
	running, peak   int
	order           []string // keys, as they ran
	g               *gate
	group           sync.WaitGroup
	gone, lateAtAll int // whose context ended; refused after a wait
}

func watching(g *gate) *passing {
	return &passing{g: g, waits: map[string][]time.Duration{}, refused: map[string]int{}}
}

// send makes a request that runs for so long, if it runs.
func (p *passing) send(ctx context.Context, c claim, takes time.Duration) {
	p.group.Go(func() {
		came := time.Now()
		leave, err := p.g.enter(ctx, c)
		waited := time.Since(came)
		p.mu.Lock()
		var no *refusal
		switch {
		case errors.As(err, &no):
			p.refused[c.key]++
			if waited > 0 {
				p.lateAtAll++
			}
		case err != nil:
			p.gone++
		default:
			p.waits[c.key] = append(p.waits[c.key], waited)
			p.order = append(p.order, c.key)
			p.running++
			p.peak = max(p.peak, p.running)
		}
		p.mu.Unlock()
		if err == nil {
			time.Sleep(takes)
			p.mu.Lock()
			p.running--
			p.mu.Unlock()
			leave()
		}
	})
}

// emptied checks that nothing is left of anybody.
func (p *passing) emptied(t *testing.T) {
	t.Helper()
	p.group.Wait()
	running, waiting := p.g.load()
	if running != 0 || waiting != [lanes]int{} || p.g.waiting != 0 {
		t.Errorf("at the end %d run, %v (%d) wait", running, waiting, p.g.waiting)
	}
	for l := range p.g.lanes {
		if len(p.g.lanes[l].turns) > 0 {
			t.Errorf("lane %v keeps %d keys", lane(l), len(p.g.lanes[l].turns))
		}
	}
	if p.peak > p.g.slots {
		t.Errorf("%d ran at a time, of %d", p.peak, p.g.slots)
	}
}

const step = 10 * time.Millisecond

func newGate(slots, room int, patience, target time.Duration) *gate {
	return &gate{gateOptions: gateOptions{slots: slots, room: room, patience: patience, target: target}}
}

// TestGateTakesTurns: a key that sends one request is next, however many another has sent before.
func TestGateTakesTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watching(newGate(1, 1000, time.Minute, time.Second))
		for range 100 {
			p.send(t.Context(), claim{key: "many", lane: checks}, step)
		}
		synctest.Wait()
		p.send(t.Context(), claim{key: "one", lane: checks}, step)
		p.send(t.Context(), claim{key: "another", lane: checks}, step)
		p.emptied(t)
		for _, key := range []string{"one", "another"} {
			if at := slices.Index(p.order, key); at > 4 {
				t.Errorf("%s ran after %d others", key, at)
			}
		}
	})
}

// TestGateLanes: all lanes and keys wait at once; their shares are as the schedule says, and in the end all have run.
func TestGateLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watching(newGate(1, 1000, time.Hour, time.Hour))
		for range 160 {
			p.send(t.Context(), claim{key: "flags", lane: interactive}, step)
			p.send(t.Context(), claim{key: "checks", lane: checks}, step)
			p.send(t.Context(), claim{key: "batch", lane: batches, patient: true}, step)
		}
		p.emptied(t)
		got := map[string]int{}
		for _, key := range p.order[10:170] {
			got[key]++
		}
		if got["flags"] != 80 || got["checks"] != 70 || got["batch"] != 10 {
			t.Errorf("shares of 160 turns: %v; want 80 flags, 70 checks, 10 lines of the batch", got)
		}
		if len(p.order) != 480 {
			t.Errorf("%d ran of 480", len(p.order))
		}
	})
}

// TestGateUnderLoad offers twice of what can be done, for ten seconds: what runs waited shortly, all slots are used,
// who sends little is not refused at all, and right afterwards nobody waits.
func TestGateUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slots, target = 4, 20 * time.Millisecond
		p := watching(newGate(slots, 1024, time.Second, target))
		r := rand.New(rand.NewPCG(1, 1))
		every := step / slots / 2
		began := time.Now()
		const steady = 2 * time.Second // by then what came before the queue was known to stand is done
		counted := false
		for n := 1; time.Since(began) < 10*time.Second; n++ {
			time.Sleep(time.Duration(r.Int64N(int64(2 * every)))) // about every
			p.send(t.Context(), claim{key: fmt.Sprint("loud", r.IntN(3)), lane: checks}, step)
			if n%100 == 0 {
				p.send(t.Context(), claim{key: "quiet", lane: checks}, step)
				p.send(t.Context(), claim{key: "analyst", lane: interactive}, step)
				p.send(t.Context(), claim{key: local, lane: batches, own: true}, step)
			}
			if time.Since(began) > steady && !counted {
				p.mu.Lock()
				clear(p.waits)
				p.mu.Unlock()
				counted = true
			}
		}
		p.emptied(t)
		ran := 0
		for key, waits := range p.waits {
			ran += len(waits)
			if len(waits) > 0 && key != local && slices.Max(waits) > target+step {
				t.Errorf("%s waited up to %v", key, slices.Max(waits))
			}
		}
		if most := int(8 * time.Second / step * slots); ran < most*97/100 {
			t.Errorf("%d ran, of %d that could have", ran, most)
		}
		for _, key := range []string{"quiet", "analyst", local} {
			if p.refused[key] > 0 || len(p.waits[key]) < 20 {
				t.Errorf("%s: %d refused, %d ran", key, p.refused[key], len(p.waits[key]))
			}
		}
		if p.refused["loud0"] < 1000 {
			t.Errorf("only %d of the loud were refused", p.refused["loud0"])
		}
		leave, err := p.g.enter(t.Context(), claim{key: "after", lane: checks})
		if err != nil {
			t.Fatal(err)
		}
		leave()
	})
}

// TestGateBurst: what comes at once is waited out, if it can be done in time; the rest is refused at once.
func TestGateBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watching(newGate(1, 1000, time.Second, step))
		p.send(t.Context(), claim{key: "a", lane: checks}, step) // by which the gate learns how long one takes
		p.group.Wait()
		for range 150 {
			p.send(t.Context(), claim{key: "a", lane: checks}, step)
		}
		synctest.Wait()
		p.mu.Lock()
		n := p.refused["a"]
		p.mu.Unlock()
		if n < 45 || n > 52 {
			t.Errorf("%d of 150 were refused at once; a second suffices for about 100", n)
		}
		p.emptied(t)
		if p.lateAtAll > 3 || slices.Max(p.waits["a"]) > time.Second {
			t.Errorf("%d were refused after a wait; the longest wait was %v", p.lateAtAll, slices.Max(p.waits["a"]))
		}
	})
}

// TestGateRoom: the key with most of the queue makes way, and the least urgent first.
func TestGateRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shed := map[refusalCause]int{}
		g := newGate(1, 10, time.Hour, time.Hour)
		g.shed = func(why refusalCause) { shed[why]++ }
		p := watching(g)
		send := func(n int, c claim) {
			for range n {
				p.send(t.Context(), c, step)
				synctest.Wait()
			}
		}
		has := func(what string, want map[string]int, late, full, way int) {
			t.Helper()
			got := map[string]int{}
			g.mu.Lock()
			defer g.mu.Unlock()
			for l := range g.lanes {
				for _, key := range g.lanes[l].turns {
					got[key.key] += len(key.waiters)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || shed[causeLate] != late || shed[causeFull] != full || shed[causeWay] != way {
				t.Errorf("%s: %v wait, want %v; refused %v", what, got, want, shed)
			}
		}
		send(1+8, claim{key: "heavy", lane: checks})
		send(2, claim{key: "batch", lane: batches, patient: true})
		has("full", map[string]int{"heavy": 8, "batch": 2}, 0, 0, 0)
		if err := g.hopeless(claim{key: "heavy", lane: checks}); err == nil {
			t.Error("there is said to be room for one more of the heaviest")
		}
		if err := g.hopeless(claim{key: "light", lane: checks}); err != nil {
			t.Errorf("there is said to be no room for another key: %v", err)
		}
		shed = map[refusalCause]int{}
		send(1, claim{key: "heavy", lane: checks})
		has("its own", map[string]int{"heavy": 8, "batch": 2}, 0, 1, 0)
		send(3, claim{key: "light", lane: checks})
		has("another", map[string]int{"heavy": 7, "light": 3}, 0, 1, 3)
		send(2, claim{key: "analyst", lane: interactive})
		has("more urgent", map[string]int{"heavy": 5, "light": 3, "analyst": 2}, 0, 1, 5)
		send(2, claim{key: local, lane: batches, own: true})
		has("the operator", map[string]int{"heavy": 5, "light": 3, "analyst": 2, local: 2}, 0, 1, 5)
		p.emptied(t)
	})
}

// TestGateRandom: whatever comes and goes, each request runs or is refused, never more than there are slots run, nobody
// waits too long, and nothing is left.
func TestGateRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			patience := time.Duration(1+r.IntN(20)) * step
			p := watching(newGate(1+r.IntN(4), 1+r.IntN(20), patience, patience/10))
			sent := 0
			for range 400 {
				c := claim{key: fmt.Sprint(r.IntN(5)), lane: lane(r.IntN(int(lanes)))}
				c.patient = c.lane == batches
				if r.IntN(20) == 0 {
					c.key, c.own = local, true
				}
				ctx := t.Context()
				if r.IntN(4) == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(int(5*step))))
					defer cancel()
				}
				p.send(ctx, c, time.Duration(r.IntN(int(3*step))))
				sent++
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(int(step))))
				}
				if _, waiting := p.g.load(); waiting[0]+waiting[1]+waiting[2] > p.g.room+20 {
					t.Fatalf("seed %d: %v wait, with room for %d", seed, waiting, p.g.room)
				}
			}
			p.emptied(t)
			done := p.gone
			for _, waits := range p.waits {
				done += len(waits)
			}
			for _, n := range p.refused {
				done += n
			}
			if done != sent || p.refused[local] > 0 {
				t.Errorf("seed %d: %d of %d were answered; of the operator's own %d refused", seed, done, sent, p.refused[local])
			}
		})
	}
}

// TestGateRetryAfter: callers are told when there may be room.
func TestGateRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watching(newGate(1, 1000, 5*time.Second, 5*time.Second))
		p.send(t.Context(), claim{key: "a", lane: checks}, time.Second)
		p.group.Wait()
		for range 10 {
			p.send(t.Context(), claim{key: "a", lane: checks}, time.Second)
			synctest.Wait()
		}
		_, err := p.g.enter(t.Context(), claim{key: "a", lane: checks})
		if got := retryAfter(err); got != "6" {
			t.Errorf("Retry-After %s with 6 s of work ahead: %v", got, err)
		}
		if is, _ := classify(err); is != pOverloaded {
			t.Errorf("the problem is %s", is.Slug)
		}
		p.emptied(t)
	})
}

// TestRates: a bucket for each name; the memory is bounded, and forgets who came longest ago.
func TestRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := rates{limit: 2, burst: 3, most: 10}
		for i := range 3 {
			if wait := r.spend("a"); wait != 0 {
				t.Errorf("request %d must wait %v", i, wait)
			}
		}
		if wait := r.spend("a"); wait != 500*time.Millisecond {
			t.Errorf("the fourth must wait %v", wait)
		}
		if wait := r.spend("b"); wait != 0 {
			t.Errorf("another name must wait %v", wait)
		}
		time.Sleep(500 * time.Millisecond)
		if wait := r.spend("a"); wait != 0 {
			t.Errorf("half a second later it must wait %v", wait)
		}
		for i := range 1000 {
			r.spend(fmt.Sprint("stranger", i))
			if i%5 == 0 && r.spend("a") == 0 {
				t.Fatalf("after %d strangers, one who comes all the time is forgotten", i)
			}
			if n := len(r.now) + len(r.past); n > 20 {
				t.Fatalf("%d names are remembered", n)
			}
		}
		if wait := (&rates{}).spend("a"); wait != 0 {
			t.Error("no limit limits")
		}
	})
}

// TestGateSparse: while 20 keys send twice of what can be done, one that sends little is next, and never refused.
func TestGateSparse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := watching(newGate(1, 1024, 10*time.Second, 10*step))
		r := rand.New(rand.NewPCG(1, 2))
		for n := range 10_000 {
			time.Sleep(time.Duration(r.Int64N(int64(step)))) // half a step
			p.send(t.Context(), claim{key: fmt.Sprint("loud", r.IntN(20)), lane: checks}, step)
			if n > 200 && n%200 == 0 {
				p.send(t.Context(), claim{key: "quiet", lane: checks}, step)
			}
		}
		p.emptied(t)
		if waits := p.waits["quiet"]; p.refused["quiet"] > 0 || len(waits) < 40 || slices.Max(waits) > 4*step {
			t.Errorf("of the quiet key %d were refused; the others waited %v", p.refused["quiet"], waits)
		}
		all := []time.Duration{}
		for key, waits := range p.waits {
			if key != "quiet" {
				all = append(all, waits...)
				if len(waits) < 100 {
					t.Errorf("%s had %d turns of %d", key, len(waits), len(p.order))
				}
			}
		}
		slices.Sort(all)
		if p99 := all[len(all)*99/100]; p99 > 10*step {
			t.Errorf("the others waited up to %v (p99)", p99)
		}
	})
}

// TestGateBacklog has more lines of batches come than there are slots: so many run, and others find a slot at once.
func TestGateBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(8, 1000, time.Second, step)
		g.batches = 2
		p := watching(g)
		for i := range 20 {
			p.send(t.Context(), claim{key: fmt.Sprint("batch", i%2), lane: batches, patient: true}, step)
		}
		synctest.Wait()
		if running, waiting := g.load(); running != 2 || waiting[batches] != 18 {
			t.Errorf("%d lines run, %v wait", running, waiting)
		}
		for i := range 50 {
			p.send(t.Context(), claim{key: fmt.Sprint("batch", i%2), lane: batches, patient: true}, step)
		}
		time.Sleep(2 * standing) // which would be a queue that stands
		for range 12 {
			p.send(t.Context(), claim{key: "burst", lane: checks}, step)
		}
		synctest.Wait()
		p.mu.Lock()
		if n := len(p.waits["burst"]); n != 6 || slices.Max(p.waits["burst"]) > 0 || p.refused["burst"] > 0 {
			t.Errorf("of 12 checks %d ran at once: %v; %d were refused", n, p.waits["burst"], p.refused["burst"])
		}
		p.mu.Unlock()
		p.emptied(t)
		if n := len(p.waits["batch0"]) + len(p.waits["batch1"]); n != 70 {
			t.Errorf("%d of 70 lines ran", n)
		}
	})
}
