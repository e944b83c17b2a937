package matcher

import (
	"testing"
	"time"
)

// TestNextPace: parts of a list grow while they are quick, and come down to what takes half of the time there is.
func TestNextPace(t *testing.T) {
	for _, test := range []struct {
		pace int
		held time.Duration
		want int
	}{
		{128, 0, 256},
		{128, time.Millisecond, 256},
		{400, 40 * time.Millisecond, 500},
		{400, 50 * time.Millisecond, 400},
		{400, 80 * time.Millisecond, 250},
		{400, 10 * time.Second, 100}, // once, somebody else may have been slow
		{20, 10 * time.Second, leastListed},
		{mostListed, time.Millisecond, mostListed},
	} {
		if got := nextPace(test.pace, test.held); got != test.want {
			t.Errorf("after %d signals in %v: %d, want %d", test.pace, test.held, got, test.want)
		}
	}
}
