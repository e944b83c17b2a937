package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdle: while nobody asks, idle work has all slots; while somebody does, one at a time and a quarter of the time; when nobody does any
// more, all again.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers, item = 8, 20 * time.Millisecond
		a := &Admission{idle: &idle{slots: 3}}
		ctx, stop := context.WithCancel(t.Context())
		var busy time.Duration
		var running, most, crowded int
		ended := make(chan error)
		turn := make(chan struct{}, 1)
		turn <- struct{}{}
		note := func(change func()) { <-turn; change(); turn <- struct{}{} }
		for range workers {
			go func() {
				for {
					release, alone, err := a.Idle(ctx)
					if err != nil {
						ended <- err
						return
					}
					note(func() {
						if running++; !alone && running > 1 {
							crowded++
						}
						most = max(most, running)
					})
					time.Sleep(item)
					note(func() { running--; busy += item })
					release()
				}
			}()
		}
		spend := func(d time.Duration, ask bool) (share float64, at, crowd int) {
			if ask {
				a.idle.ask()
				time.Sleep(quiet / 2) // what was in hand ends
			}
			note(func() { busy, most, crowded = 0, 0, 0 })
			for range d / (100 * time.Millisecond) {
				if ask {
					a.idle.ask()
				}
				time.Sleep(100 * time.Millisecond)
			}
			<-turn
			defer func() { turn <- struct{}{} }()
			return busy.Seconds() / d.Seconds(), most, crowded
		}
		if share, at, _ := spend(10*time.Second, false); share < 2.9 || at != 3 {
			t.Errorf("alone, idle work takes %.2f processors, %d at a time", share, at)
		}
		if share, at, crowd := spend(10*time.Second, true); share > 0.26 || share < 0.2 || at != 1 || crowd > 0 {
			t.Errorf("beside others, idle work takes %.2f processors, %d at a time", share, at)
		}
		time.Sleep(2 * quiet)
		if share, _, _ := spend(10*time.Second, false); share < 2.9 {
			t.Errorf("alone again, idle work takes %.2f processors", share)
		}
		stop()
		for range workers {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}
