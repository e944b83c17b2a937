package api

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// processor is one that takes requests in the order in which they came: a check takes a millisecond, a refusal a fifth of it.
type processor struct {
	w       *crowd
	lag     time.Duration // that the last one waited
	queue   int
	waits   []time.Duration // of those let in
	let, no map[string]int
}

func newProcessor() *processor {
	p := &processor{let: map[string]int{}, no: map[string]int{}}
	p.w = &crowd{wait: func() (time.Duration, bool) { return p.lag, p.queue >= 16 }, shed: func() {}}
	return p
}

// offer sends requests so far apart for a while, each by the key that next says, and does what they ask for.
func (p *processor) offer(every, length time.Duration, next func(i int) string) {
	began := time.Now()
	for i := 0; time.Duration(i)*every < length; i++ {
		due := began.Add(time.Duration(i) * every)
		if early := time.Until(due); early > 0 {
			time.Sleep(early)
		}
		p.lag = time.Since(due)
		p.queue = int(p.lag / every)
		key := next(i)
		if p.w.calm() || p.w.enter(claim{key: key, lane: checks}) {
			p.waits = append(p.waits, p.lag)
			p.let[key]++
			time.Sleep(time.Millisecond)
		} else {
			p.no[key]++
			time.Sleep(time.Millisecond / 5)
		}
	}
}

// TestCrowd offers twice of what a processor can do, for ten seconds: those let in wait shortly, most of what it can do is
// done, keys that ask for more than their share get the same, who asks for less is not refused, and a second after the load
// nobody is.
func TestCrowd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProcessor()
		mixed := func(i int) string { // 2000 a second
			switch {
			case i%200 == 0:
				return "quiet"
			case i%4 == 1:
				return "middle"
			}
			return "heavy"
		}
		p.offer(2*time.Millisecond, 2*time.Second, mixed)
		if n := p.no["heavy"] + p.no["middle"] + p.no["quiet"]; n > 0 {
			t.Errorf("%d were refused at half the load", n)
		}
		p.offer(time.Millisecond/2, 2*time.Second, mixed) // by then what waited before anybody was refused is gone
		p.waits, p.let, p.no = nil, map[string]int{}, map[string]int{}
		p.offer(time.Millisecond/2, 8*time.Second, mixed)
		slices.Sort(p.waits)
		p99, n := p.waits[len(p.waits)*99/100], len(p.waits)
		t.Logf("of 16000 in 8 s %d were let in, and waited up to %v (p99); %v, refused %v", n, p99, p.let, p.no)
		if p99 > 3*mostBehind {
			t.Errorf("those let in waited up to %v", p99)
		}
		if best := 8000 - 16000/5; n < best*3/4 { // if refusals take what they take
			t.Errorf("%d were let in", n)
		}
		if p.no["quiet"] > 0 {
			t.Errorf("of %d of the quiet key %d were refused", p.no["quiet"]+p.let["quiet"], p.no["quiet"])
		}
		if r := float64(p.let["heavy"]) / float64(p.let["middle"]); r < .9 || r > 1.1 {
			t.Errorf("%d of the heavy key were let in, %d of another that wants more than its share", p.let["heavy"], p.let["middle"])
		}
		p.offer(2*time.Millisecond, time.Second, mixed)
		p.no = map[string]int{}
		p.offer(2*time.Millisecond, time.Second, mixed)
		if len(p.no) > 0 || p.w.flows != nil {
			t.Errorf("a second after the load %v are refused, and %d keys remembered", p.no, len(p.w.flows))
		}
	})
}

// TestCrowdOfKeys has a crowd in which each sends little: nobody's first request is refused, and keys that come no more are
// forgotten.
func TestCrowdOfKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProcessor()
		most := 0
		p.offer(time.Millisecond/2, 10*time.Second, func(i int) string {
			most = max(most, len(p.w.flows))
			return fmt.Sprint(i / 10)
		})
		if most == 0 || most > 2000 {
			t.Errorf("%d keys were remembered at a time, of 2000", most)
		}
	})
}

// TestLevel shares what there is.
func TestLevel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wants []float64
		all   float64
		want  float64
	}{
		{[]float64{10, 10}, 10, 5},
		{[]float64{1, 10, 20}, 11, 5},
		{[]float64{1, 2, 100}, 13, 10},
		{[]float64{1, 2, 3}, 7, math.Inf(1)},
		{nil, 1, math.Inf(1)},
	} {
		flows := map[claim]*flow{}
		for i, want := range c.wants {
			flows[claim{key: fmt.Sprint(i)}] = &flow{usual: want}
		}
		if got := level(flows, c.all); got != c.want {
			t.Errorf("%v of %v: %v, want %v", c.all, c.wants, got, c.want)
		}
	}
}

// TestScheduling: the measure works on this version of Go.
func TestScheduling(t *testing.T) {
	t.Parallel()
	wait := scheduling()
	wait()
	for range 1000 {
		done := make(chan struct{})
		go close(done)
		<-done
	}
	if behind, _ := wait(); behind < 0 || behind > time.Minute {
		t.Errorf("goroutines waited %v", behind)
	}
}

// TestCrowdInVain has goroutines wait for as long whoever is refused: at first no less is let in than a share of what came
// before, and soon all that comes. When they wait for longer then, fewer are let in again.
func TestCrowdInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		behind, many, n := time.Duration(0), true, 0
		w := &crowd{shed: func() {}, wait: func() (time.Duration, bool) { // of another program; sometimes few wait
			n++
			return behind * time.Duration(4+n%3) / 4, many && n%7 > 0
		}}
		come := func(length time.Duration) (let, no int) { // 400 a second, of four keys
			for began := time.Now(); time.Since(began) < length; time.Sleep(5 * time.Millisecond / 2) {
				if w.calm() || w.enter(claim{key: fmt.Sprint((let + no) % 4), lane: checks}) {
					let++
				} else {
					no++
				}
			}
			return let, no
		}
		if _, no := come(time.Minute); no > 0 {
			t.Fatalf("%d were refused in time", no)
		}
		behind = 100 * time.Millisecond
		least := math.Inf(1)
		for range 50 {
			come(100 * time.Millisecond)
			if w.allowed > 0 {
				least = min(least, w.allowed)
			}
		}
		if calm := 400 * tick.Seconds(); least < calm/5 || least > calm/2 {
			t.Errorf("as few as %v were let in in a tick, of %v that came before", least, calm)
		}
		if let, no := come(20 * time.Second); no > 0 {
			t.Errorf("though it is of no use, %d were refused and %d let in", no, let)
		}
		behind = 300 * time.Millisecond
		if let, no := come(time.Second); no < let/5 {
			t.Errorf("when it grew late, %d were let in, %d refused", let, no)
		}
		many = false
		come(5 * time.Second)
		many = true
		if _, no := come(time.Second); no == 0 {
			t.Error("after it was in time, nobody is refused")
		}
	})
}
