package video

import "math"

// unknown is the stamp of a frame that has none.
const unknown = math.MinInt64

// nominal is the time of a frame where stamps do not tell it: 25 a second.
const nominal = 40

// clock makes of time stamps, which a file may have as it likes, times that increase strictly. No stamp hides
// what comes after it: where stamps go back, the times go on, and a stamp that stands out alone is passed over. A
// jump forward that stays is believed: a still may be long. All are in milliseconds.
type clock struct {
	last     int64 // the time returned last
	believed int64 // the last stamp that was; unknown if none
	offset   int64 // from stamps to times
}

func newClock() clock { return clock{last: -1, believed: unknown} }

// time is that of a frame by its stamp and by that of the frame after it; each may be unknown.
func (c *clock) time(stamp, next int64) uint32 {
	step := int64(nominal)
	first := c.last < 0
	if first {
		step = 1 // to 0
	}
	follows := next > c.believed // as if there were no stamp between them
	switch {
	case stamp == unknown, follows && (stamp > next || stamp <= c.believed):
		if follows && c.believed != unknown {
			step = max(1, min(step, (next-c.believed)/2))
		}
		c.last += step
	case first && stamp >= 0, stamp > c.believed && c.believed != unknown:
		c.last, c.believed = max(c.last+1, stamp+c.offset), stamp
	default: // the begin, or a step back
		c.last += step
		c.offset, c.believed = c.last-stamp, stamp
	}
	return uint32(min(c.last, math.MaxUint32))
}
