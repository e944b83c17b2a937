package matcher

import (
	"cmp"
	"maps"
	"slices"

	"vigie/hashing"
)

// Track says at which moments a media was looked at. A picture is a track of one frame at 0 that lasts
// no time.
type Track struct {
	Times []uint32 // of the frames kept, in milliseconds, ascending, each once
	// Ends are when the frames stop to stand for what is shown, each no later than the next frame; 0: when the
	// next one comes. Nil: all 0.
	Ends     []uint32
	Duration uint32 // of the whole, in milliseconds; 0 if unknown
	stream   int    // of the file
}

// Sighting is one frame of an upload that shows one frame of a known media.
type Sighting struct {
	Time, Known uint32 // of the two frames, in milliseconds
	Distance    int    // bits
}

// Span is a stretch of an upload that shows a stretch of a known media. Times are in milliseconds.
type Span struct {
	From, To           uint32 // in the upload
	KnownFrom, KnownTo uint32 // in the known media
	Frames             int    // of the upload that match within the span
}

// Timeline says where in an upload a known media is shown.
type Timeline struct {
	Spans []Span // in the order of the upload
	// Share is how much of the upload shows something of the known media, KnownShare how much of the
	// known media is shown; both by time, 0 to 1. A frame that matches stands for a second at least, unless
	// nothing is shown after it.
	Share, KnownShare float64
	// QueryPercent of the upload's frames match a frame of the known media, and TargetPercent of the known
	// media's frames are matched, 0 to 100: vPDQ's two numbers (ThreatExchange, vpdq/README.md). vPDQ has
	// a frame a second and leaves none out but those that show nothing: so each counts by the time that it
	// stands for. These are the shares, but for the time in which nothing is shown.
	QueryPercent, TargetPercent float64
}

const (
	// hold is how long a frame stands for at least: the known media are looked at once a second, so that
	// of an upload that is looked at more often no more can match. And it is how long the last frame of
	// a track stands for if nobody knows how long the media is.
	hold = 1000
	// slack is how much earlier than the frame that it matches a moment may lie in the known media: that
	// was looked at once a second, and hardly at the same fractions of it.
	slack = 1500
	// bridge is the longest gap within a span: two frames may fail, at a cut or under an overlay, without
	// making two spans of one.
	bridge = 2000
	// maxChoices bounds the frames of the known media, the nearest first, between which it is decided
	// what a frame of the upload shows.
	maxChoices = 8
)

// cut says that what was shown ends at a moment.
func (t Track) cut(at uint32) {
	if last := len(t.Times) - 1; last >= 0 && t.Ends[last] == 0 {
		t.Ends[last] = at
	}
}

// still reports whether the track is a picture's.
func (t Track) still() bool { return len(t.Times) == 1 && t.Times[0] == 0 && t.Duration == 0 }

// end is when the i-th frame stops to stand for what is shown: when the next one was kept, because
// what comes between differs too little to be kept. The last one lasts to the end of the media.
func (t Track) end(i int) uint32 {
	switch {
	case t.still():
		return 0
	case t.Ends != nil && t.Ends[i] > 0:
		return t.Ends[i]
	case i+1 < len(t.Times):
		return t.Times[i+1]
	case t.Duration > t.Times[i]:
		return t.Duration
	}
	return t.Times[i] + hold
}

// whole is how long the media lasts.
func (t Track) whole() uint32 {
	last := len(t.Times) - 1
	if last < 0 {
		return t.Duration
	}
	return max(t.end(last), t.Duration)
}

// told is a moment as it is told: no later than the media's end, if that is known.
func (t Track) told(moment uint32) uint32 {
	if t.Duration == 0 {
		return moment
	}
	return min(moment, max(t.Duration, t.Times[len(t.Times)-1]))
}

// stand is for how long frames of the media stand, in milliseconds: those that are marked, and all.
func (t Track) stand(marked []bool) (some, all uint32) {
	var until uint32 // the last marked frame stands until then
	for i, m := range marked {
		from, to := t.Times[i], t.end(i)
		if m {
			until = max(to, from+hold)
		}
		some += max(from, min(to, until)) - from
		all += to - from
	}
	return some, all
}

// shares are how much of the media the marked frames stand for, 0 to 1: of its time, and of the time
// in which something is shown.
func (t Track) shares(marked []bool) (ofTime, ofShown float64) {
	some, all := t.stand(marked)
	switch {
	case t.still() && marked[0]:
		return 1, 1
	case some == 0:
		return 0, 0
	}
	return float64(some) / float64(t.whole()), float64(some) / float64(all)
}

// gap is the usual time between two frames: the median, in milliseconds; 0 if there is one frame.
func (t Track) gap() uint32 {
	var gaps []uint32
	for i := 1; i < len(t.Times); i++ {
		gaps = append(gaps, t.Times[i]-t.Times[i-1])
	}
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// reel is the frames of an entry or of a list.
type reel struct {
	Track
	signals [][]hashing.Signal // of each frame
	// animation says that it is a picture too, with 64-bit hashes of the first frame.
	animation bool
}

// newReel puts PDQ signals in order. Of these frames nothing but the times is known; each stands until the
// next one, but for two cases. A frame that is equal to the one before it says where that ended, and is no frame
// of its own: see [view.stored]. And where frames that are alike follow one another without a pause, none were
// left out for that: it is a list of frames as they were sampled, and in its pauses nothing is shown.
func newReel(signals []hashing.Signal) (r reel) {
	times, at := byTime(signals)
	pause := func(i int) bool { return i+1 == len(times) || times[i+1]-times[i] > bridge }
	ends, sampled := make([]bool, len(times)), false
	for i := 1; i < len(times); i++ {
		before, this := at[times[i-1]], at[times[i]]
		if !ends[i-1] && within(before, this, sameScene) {
			ends[i] = within(before, this, 0)
			sampled = sampled || !pause(i)
		}
	}
	for i, t := range times {
		if ends[i] && !sampled {
			r.Ends[len(r.Ends)-1] = t + hold
			continue
		}
		r.Times, r.Ends, r.signals = append(r.Times, t), append(r.Ends, 0), append(r.signals, at[t])
		if sampled && pause(i) {
			r.Ends[len(r.Ends)-1] = t + hold
		}
	}
	return r
}

// byTime sorts PDQ signals out by frames.
func byTime(signals []hashing.Signal) (times []uint32, at map[uint32][]hashing.Signal) {
	at = map[uint32][]hashing.Signal{}
	for _, s := range signals {
		if s.Algorithm == hashing.PDQ {
			at[s.Time] = append(at[s.Time], s)
		}
	}
	return slices.Sorted(maps.Keys(at)), at
}

// at are the signals of the frame at a time.
func (r reel) at(time uint32) []hashing.Signal {
	i, ok := slices.BinarySearch(r.Times, time)
	if !ok {
		return nil
	}
	return r.signals[i]
}

// within reports whether two frames are within so many bits in each of the renderings that both have.
func within(a, b []hashing.Signal, bits int) bool {
	common := false
	for _, x := range a {
		for _, y := range b {
			if x.Variant == y.Variant {
				if x.Value.Distance(y.Value) > bits {
					return false
				}
				common = true
			}
		}
	}
	return common
}

// Align makes a timeline of what was seen. Sightings may come in any order; those of frames that are
// not on the tracks are left out.
//
// Each frame stands for the time to its end or to the next frame kept, the last one for the rest. The shares
// are of the frames that match, each of which stands for a second at least. Spans say which part shows which:
// matching frames that follow one another, or leave out at most 2 seconds, make one span as long as the known
// media can have gone on playing from one to the next. A frame that shows several frames of the known media counts as the one with
// which the fewest spans are needed, and of these the nearest.
func Align(upload, known Track, seen []Sighting) Timeline {
	query, target := make([]bool, len(upload.Times)), make([]bool, len(known.Times))
	byFrame := map[int][]choice{}
	for _, s := range seen {
		i, ok := slices.BinarySearch(upload.Times, s.Time)
		j, found := slices.BinarySearch(known.Times, s.Known)
		if ok && found {
			query[i], target[j] = true, true
			byFrame[i] = append(byFrame[i], choice{frame: i, known: j, distance: s.Distance, from: -1})
		}
	}
	var t Timeline
	t.Share, t.QueryPercent = upload.shares(query)
	t.KnownShare, t.TargetPercent = known.shares(target)
	t.QueryPercent, t.TargetPercent = 100*t.QueryPercent, 100*t.TargetPercent
	var steps [][]choice
	for i := range query {
		if choices := byFrame[i]; len(choices) > 0 {
			slices.SortFunc(choices, func(a, b choice) int {
				return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.known, b.known))
			})
			steps = append(steps, choices[:min(len(choices), maxChoices)])
		}
	}
	for i, c := range cheapest(upload, known, steps) {
		if i > 0 && !c.breaks {
			last := &t.Spans[len(t.Spans)-1]
			last.To = upload.told(upload.end(c.frame))
			last.KnownFrom = min(last.KnownFrom, known.Times[c.known])
			last.KnownTo = max(last.KnownTo, known.told(known.end(c.known)))
			last.Frames++
			continue
		}
		t.Spans = append(t.Spans, Span{
			From: upload.Times[c.frame], To: upload.told(upload.end(c.frame)),
			KnownFrom: known.Times[c.known], KnownTo: known.told(known.end(c.known)), Frames: 1,
		})
	}
	return t
}

// choice is a frame of the upload taken to show one frame of the known media; numbers are positions
// on the tracks. The cheapest way to it has so many spans, and such a distance in all, and came from
// a choice of the frame before.
type choice struct {
	frame, known, distance int
	breaks                 bool // it begins a span
	spans, bits, from      int
}

// cheapest chooses one of each step's choices, so that there are the fewest spans and then the least
// distance in all.
func cheapest(upload, known Track, steps [][]choice) []choice {
	for k := range steps {
		for n := range steps[k] {
			c := &steps[k][n]
			c.spans, c.bits, c.breaks = 1, c.distance, true
			if k == 0 {
				continue
			}
			for p, before := range steps[k-1] {
				goesOn := upload.goesOn(known, before, *c)
				spans, bits := before.spans, before.bits+c.distance
				if !goesOn {
					spans++
				}
				if c.from < 0 || spans < c.spans || spans == c.spans && bits < c.bits {
					c.spans, c.bits, c.breaks, c.from = spans, bits, !goesOn, p
				}
			}
		}
	}
	if len(steps) == 0 {
		return nil
	}
	best := 0
	final := steps[len(steps)-1]
	for n, c := range final {
		if cmp.Or(cmp.Compare(c.spans, final[best].spans), cmp.Compare(c.bits, final[best].bits)) < 0 {
			best = n
		}
	}
	path := make([]choice, len(steps))
	for k := len(steps) - 1; k >= 0; k-- {
		path[k] = steps[k][best]
		best = path[k].from
	}
	return path
}

// goesOn reports whether the known media can have played on from one choice to a later one: no more
// than the bridge lies between them, and some offset between the two media fits both. A frame of the
// known media stands for a while, so that each choice allows a range of offsets.
func (t Track) goesOn(known Track, a, b choice) bool {
	if gap := int64(t.Times[b.frame]) - int64(t.end(a.frame)); gap > bridge {
		return false
	}
	offsets := func(c choice) (least, most int64) {
		at := int64(t.Times[c.frame])
		return int64(known.Times[c.known]) - slack - at, int64(known.end(c.known)) - at
	}
	leastA, mostA := offsets(a)
	leastB, mostB := offsets(b)
	return leastA <= mostB && leastB <= mostA
}
