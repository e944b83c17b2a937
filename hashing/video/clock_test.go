package video

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func times(stamps []int64) []uint32 {
	c := newClock()
	all := make([]uint32, len(stamps))
	for i, stamp := range stamps {
		next := int64(unknown)
		if i+1 < len(stamps) {
			next = stamps[i+1]
		}
		all[i] = c.time(stamp, next)
	}
	return all
}

func TestClock(t *testing.T) {
	const hours = 360_000_000
	for _, test := range []struct {
		name   string
		stamps []int64
		want   []uint32
	}{
		{"good", []int64{0, 250, 500, 740}, []uint32{0, 250, 500, 740}},
		{"begins late", []int64{5000, 5250}, []uint32{5000, 5250}},
		{"a long still", []int64{0, 250, hours, hours + 250}, []uint32{0, 250, hours, hours + 250}},
		{"ends late", []int64{0, 250, hours}, []uint32{0, 250, hours}},
		{"the first is late", []int64{hours, 250, 500}, []uint32{0, 40, 290}},
		{"begins before 0", []int64{-500, -250, 0, 250}, []uint32{0, 250, 500, 750}},
		{"0 is late", []int64{0, -hours, 250 - hours}, []uint32{0, 40, 290}},
		{"one is late", []int64{0, 250, hours, 750, 1000}, []uint32{0, 250, 290, 750, 1000}},
		{"one is early", []int64{0, 250, 500, 0, 1000, 1250}, []uint32{0, 250, 500, 540, 1000, 1250}},
		{"every other is late", []int64{0, hours, 250, hours, 500, hours}, []uint32{0, 40, 250, 290, 500, hours}},
		{"two are late", []int64{0, 9000, 9250, 250, 500}, []uint32{0, 9000, 9250, 9290, 9540}},
		{"goes back", []int64{0, 5000, 10_000, 0, 5000, 10_000}, []uint32{0, 5000, 10_000, 10_040, 15_040, 20_040}},
		{"backwards", []int64{1000, 750, 500, 250}, []uint32{0, 40, 80, 120}},
		{"one is missing", []int64{0, unknown, 500}, []uint32{0, 40, 500}},
		{"one is missing, close", []int64{0, unknown, 10}, []uint32{0, 5, 10}},
		{"all are missing", []int64{unknown, unknown, unknown}, []uint32{0, 40, 80}},
		{"all alike", []int64{0, 0, 0}, []uint32{0, 40, 80}},
		{"two alike", []int64{0, 100, 100, 101, 102}, []uint32{0, 100, 101, 102, 103}},
	} {
		if got := times(test.stamps); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestClockIncreases: whatever the stamps, times increase strictly, and rising stamps are believed.
func TestClockIncreases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stamps := rapid.SliceOf(rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 1<<31), rapid.Just(int64(unknown)))).Draw(t, "stamps")
		got := times(stamps)
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] && got[i] < 1<<32-1 {
				t.Fatalf("%v for %v", got, stamps)
			}
		}
		slices.Sort(stamps)
		stamps = slices.Compact(stamps)
		if len(stamps) > 0 && stamps[0] == unknown {
			stamps = stamps[1:]
		}
		for i, time := range times(stamps) {
			if int64(time) != stamps[i] {
				t.Fatalf("%v for %v", times(stamps), stamps)
			}
		}
	})
}
