package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	v1 "vigie/api/v1"
)

// importBenchLoad is what flags and checks were like. Times are from when one was due.
type importBenchLoad struct {
	Flags  quantiles `json:"flags"`
	Checks quantiles `json:"checks"`
	Number struct {
		Flags  int `json:"flags"`
		Checks int `json:"checks"`
	} `json:"number"`
	Failed int `json:"failed"` // no answer, or a refusal
	Wrong  int `json:"wrong"`  // checks of what was flagged that found nothing, and of other things that found something
}

// load flags and checks at a pace until done.
func (b *importBench) load(ctx context.Context, done <-chan struct{}) *importBenchLoad {
	var mu sync.Mutex
	var flagged []v1.Signal // by now, and found
	var failed, wrong int
	count := func(n *int) {
		mu.Lock()
		defer mu.Unlock()
		*n++
	}
	seed := b.Seed + uint64(time.Now().UnixNano()) // no hash is flagged twice
	draw := func(n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }
	var flags, checks []timed
	var both sync.WaitGroup
	both.Go(func() {
		flags = paced(b.Flags, done, func(n int) {
			s := randomSignal(draw(2 * n))
			out, err := ask[v1.Flagged](b.client.Flag(ctx, benchFlags, v1.FlagSignals{Signals: v1.Signals{s}}))
			if err != nil {
				count(&failed)
			} else if out.Matchable {
				mu.Lock()
				flagged = append(flagged, s)
				mu.Unlock()
			}
		})
	})
	both.Go(func() {
		checks = paced(b.Checks, done, func(n int) {
			draw := draw(2*n + 1)
			s, known := randomSignal(draw), false
			mu.Lock()
			if n%2 == 0 && len(flagged) > 0 {
				s, known = flagged[draw.IntN(len(flagged))], true
			}
			mu.Unlock()
			v, err := ask[v1.Verdict](b.client.Check(ctx, v1.CheckSignals{Signals: v1.Signals{s}}))
			ofFlags := func(m v1.Match) bool { return m.Bank == benchFlags }
			if err != nil {
				count(&failed)
			} else if slices.ContainsFunc(v.Matches, ofFlags) != known {
				count(&wrong)
			}
		})
	})
	both.Wait()
	l := &importBenchLoad{Flags: quantilesOf(microseconds(flags)), Checks: quantilesOf(microseconds(checks)), Failed: failed, Wrong: wrong}
	l.Number.Flags, l.Number.Checks = len(flags), len(checks)
	return l
}

// mostAtOnce bounds the flags, and the checks, that are not answered.
const mostAtOnce = 256

// paced does something so many times a second until done, whether the ones before are done or not.
func paced(perSecond int, done <-chan struct{}, do func(n int)) (took []timed) {
	began := time.Now()
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(mostAtOnce)
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
		select {
		case <-done:
			_ = all.Wait()
			return took
		case <-time.After(time.Until(due)):
		}
		all.Go(func() error {
			do(n)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, timed{due.Sub(began), time.Since(due)})
			return nil
		})
	}
}
