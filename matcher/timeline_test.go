package matcher_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vigie/matcher"
)

// every is a track with a frame each second.
func every(seconds int) matcher.Track {
	t := matcher.Track{Duration: uint32(seconds) * 1000}
	for i := range seconds {
		t.Times = append(t.Times, uint32(i)*1000)
	}
	return t
}

// plays are the sightings of a part that is played as it is: frames of the upload from, of the known
// media known, so many seconds.
func plays(from, known, seconds int) (seen []matcher.Sighting) {
	for i := range seconds {
		seen = append(seen, matcher.Sighting{Time: uint32(from+i) * 1000, Known: uint32(known+i) * 1000, Distance: 4})
	}
	return seen
}

func TestAlign(t *testing.T) {
	span := func(from, to, knownFrom, knownTo uint32, frames int) matcher.Span {
		return matcher.Span{From: from * 1000, To: to * 1000, KnownFrom: knownFrom * 1000, KnownTo: knownTo * 1000, Frames: frames}
	}
	still := matcher.Track{Times: []uint32{0}}
	for _, c := range []struct {
		name          string
		upload, known matcher.Track
		seen          []matcher.Sighting
		want          matcher.Timeline
	}{
		{"nothing", every(10), every(20), nil, matcher.Timeline{}},
		{
			"a clip", every(5), every(20), plays(0, 12, 5),
			matcher.Timeline{Spans: []matcher.Span{span(0, 5, 12, 17, 5)}, Share: 1, KnownShare: 0.25, QueryPercent: 100, TargetPercent: 25},
		},
		{
			"two parts in a compilation, the later first", every(20), every(20), slices.Concat(plays(2, 10, 4), plays(6, 0, 2)),
			matcher.Timeline{
				Spans: []matcher.Span{span(2, 6, 10, 14, 4), span(6, 8, 0, 2, 2)},
				Share: 0.3, KnownShare: 0.3, QueryPercent: 30, TargetPercent: 30,
			},
		},
		{
			"two frames fail within a part", every(10), every(10), slices.Concat(plays(0, 0, 4), plays(6, 6, 4)),
			matcher.Timeline{Spans: []matcher.Span{span(0, 10, 0, 10, 8)}, Share: 0.8, KnownShare: 0.8, QueryPercent: 80, TargetPercent: 80},
		},
		{
			"three frames fail", every(10), every(10), slices.Concat(plays(0, 0, 4), plays(7, 7, 3)),
			matcher.Timeline{
				Spans: []matcher.Span{span(0, 4, 0, 4, 4), span(7, 10, 7, 10, 3)},
				Share: 0.7, KnownShare: 0.7, QueryPercent: 70, TargetPercent: 70,
			},
		},
		{
			"a scene that stands still for ten seconds in the known video", every(4),
			matcher.Track{Times: []uint32{0, 1000, 11_000}, Duration: 12_000},
			[]matcher.Sighting{{0, 1000, 3}, {1000, 1000, 3}, {2000, 1000, 3}, {3000, 1000, 3}},
			matcher.Timeline{
				Spans: []matcher.Span{span(0, 4, 1, 11, 4)},
				Share: 1, KnownShare: 10.0 / 12, QueryPercent: 100, TargetPercent: 1000.0 / 12,
			},
		},
		{
			"five seconds of a known clip, thirty of black, twenty of something else",
			matcher.Track{Times: []uint32{0, 1000, 2000, 3000, 4000, 35_000}, Ends: []uint32{0, 0, 0, 0, 5000, 0}, Duration: 55_000},
			every(20),
			plays(0, 7, 5),
			matcher.Timeline{Spans: []matcher.Span{span(0, 5, 7, 12, 5)}, Share: 5.0 / 55, KnownShare: 0.25, QueryPercent: 20, TargetPercent: 25},
		},
		{
			"what follows upon black is another span", every(3),
			matcher.Track{Times: []uint32{0, 10_000}, Ends: []uint32{2000, 0}, Duration: 12_000},
			[]matcher.Sighting{{0, 0, 3}, {1000, 0, 3}, {2000, 10_000, 3}},
			matcher.Timeline{
				Spans: []matcher.Span{span(0, 2, 0, 2, 2), span(2, 3, 10, 12, 1)},
				Share: 1, KnownShare: 4.0 / 12, QueryPercent: 100, TargetPercent: 100,
			},
		},
		{
			"a span is over when the video is",
			matcher.Track{Times: []uint32{0, 4960}, Duration: 4960},
			every(20),
			[]matcher.Sighting{{4960, 19_000, 3}},
			matcher.Timeline{
				Spans: []matcher.Span{{From: 4960, To: 4960, KnownFrom: 19_000, KnownTo: 20_000, Frames: 1}},
				Share: 1 / 5.96, KnownShare: 0.05, QueryPercent: 100 / 5.96, TargetPercent: 5,
			},
		},
		{
			"faster by a quarter", every(8), every(10),
			[]matcher.Sighting{{0, 0, 1}, {1000, 1000, 9}, {2000, 3000, 9}, {3000, 4000, 9}, {4000, 5000, 9}, {5000, 6000, 9}, {6000, 8000, 9}, {7000, 9000, 9}},
			matcher.Timeline{Spans: []matcher.Span{span(0, 8, 0, 10, 8)}, Share: 1, KnownShare: 0.8, QueryPercent: 100, TargetPercent: 80},
		},
		{
			"the part that goes on, rather than the nearest", every(3), every(20),
			[]matcher.Sighting{{0, 5000, 4}, {1000, 6000, 8}, {1000, 15_000, 2}, {2000, 7000, 4}},
			matcher.Timeline{Spans: []matcher.Span{span(0, 3, 5, 8, 3)}, Share: 1, KnownShare: 0.2, QueryPercent: 100, TargetPercent: 20},
		},
		{
			"a picture of a known video", still, every(10),
			[]matcher.Sighting{{0, 4000, 8}},
			matcher.Timeline{
				Spans: []matcher.Span{{KnownFrom: 4000, KnownTo: 5000, Frames: 1}},
				Share: 1, KnownShare: 0.1, QueryPercent: 100, TargetPercent: 10,
			},
		},
		{
			"a video that shows a known picture", every(10), still,
			[]matcher.Sighting{{7000, 0, 8}, {8000, 0, 8}},
			matcher.Timeline{
				Spans: []matcher.Span{{From: 7000, To: 9000, Frames: 2}},
				Share: 0.2, KnownShare: 1, QueryPercent: 20, TargetPercent: 100,
			},
		},
		{
			"a list that does not say how long the video is",
			matcher.Track{Times: []uint32{500, 2500}},
			every(10),
			[]matcher.Sighting{{2500, 4000, 8}},
			matcher.Timeline{
				Spans: []matcher.Span{{From: 2500, To: 3500, KnownFrom: 4000, KnownTo: 5000, Frames: 1}},
				Share: 1.0 / 3.5, KnownShare: 0.1, QueryPercent: 100.0 / 3, TargetPercent: 10,
			},
		},
		{"frames that are on no track", every(3), every(3), []matcher.Sighting{{500, 0, 1}, {0, 9000, 1}}, matcher.Timeline{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
			if diff := cmp.Diff(c.want, matcher.Align(c.upload, c.known, c.seen), near); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// drawTrack draws a track of few frames within 20 seconds.
func drawTrack(t *rapid.T, name string) matcher.Track {
	times := rapid.SliceOfNDistinct(rapid.Uint32Range(0, 20_000), 1, 8, rapid.ID).Draw(t, name)
	slices.Sort(times)
	duration := rapid.SampledFrom([]uint32{0, 1, times[len(times)-1] + 1, 25_000}).Draw(t, name+" lasts")
	tr := matcher.Track{Times: times, Duration: duration}
	if rapid.Bool().Draw(t, name+" has pauses") {
		for _, time := range times {
			at := rapid.SampledFrom([]uint32{0, time + 1, time + 700, time + 3000}).Draw(t, "pause")
			if at >= end(tr, time) {
				at = 0
			}
			tr.Ends = append(tr.Ends, at)
		}
	}
	return tr
}

// TestAlignAgainstBruteForce compares shares with a count of milliseconds, and the number of spans with
// that of every way to choose.
func TestAlignAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		upload, known := drawTrack(t, "upload"), drawTrack(t, "known")
		var seen []matcher.Sighting
		for range rapid.IntRange(0, 8).Draw(t, "sightings") {
			seen = append(seen, matcher.Sighting{
				Time:  rapid.SampledFrom(upload.Times).Draw(t, "time"),
				Known: rapid.SampledFrom(known.Times).Draw(t, "known time"), Distance: rapid.IntRange(0, 31).Draw(t, "distance"),
			})
		}
		got := matcher.Align(upload, known, seen)

		query, target := map[uint32]bool{}, map[uint32]bool{}
		for _, s := range seen {
			query[s.Time], target[s.Known] = true, true
		}
		share, percent := shareOf(upload, query)
		sameNumber(t, "Share", got.Share, share)
		sameNumber(t, "QueryPercent", got.QueryPercent, percent)
		share, percent = shareOf(known, target)
		sameNumber(t, "KnownShare", got.KnownShare, share)
		sameNumber(t, "TargetPercent", got.TargetPercent, percent)

		frames, last := 0, -1
		for _, s := range got.Spans {
			frames += s.Frames
			if int(s.From) <= last && last > 0 {
				t.Errorf("spans overlap: %v", got.Spans)
			}
			last = int(s.From)
			if !query[s.From] || !slices.Contains(known.Times, s.KnownFrom) || s.To < s.From || s.KnownTo < s.KnownFrom {
				t.Errorf("a span of nothing: %v", s)
			}
		}
		if frames != len(query) {
			t.Errorf("the spans have %d frames, %d match", frames, len(query))
		}
		if want := fewestSpans(upload, known, seen); len(got.Spans) != want {
			t.Errorf("%d spans, as few as %d are possible", len(got.Spans), want)
		}
	})
}

func sameNumber(t *rapid.T, what string, got, want float64) {
	if math.Abs(got-want) > 1e-9 {
		t.Errorf("%s is %v, counted are %v", what, got, want)
	}
}

// end is when the frame at a time is over.
func end(tr matcher.Track, time uint32) uint32 {
	if fmt.Sprint(tr.Times) == "[0]" && tr.Duration == 0 {
		return 0
	}
	for i, next := range tr.Times {
		if next == time && i < len(tr.Ends) && tr.Ends[i] > 0 {
			return tr.Ends[i]
		}
		if next > time {
			return next
		}
	}
	if tr.Duration > time {
		return tr.Duration
	}
	return time + 1000
}

// shareOf counts the milliseconds for which marked frames stand: of all, and of a hundred in which something is shown.
func shareOf(tr matcher.Track, marked map[uint32]bool) (share, percent float64) {
	last := tr.Times[len(tr.Times)-1]
	whole := max(end(tr, last), tr.Duration)
	if whole == 0 {
		return float64(len(marked)), 100 * float64(len(marked))
	}
	covered, shown := 0, 0
	ends := map[uint32]uint32{}
	for _, from := range tr.Times {
		ends[from] = end(tr, from)
	}
	for ms := range whole {
		on, near := false, false
		for from, to := range ends {
			on = on || from <= ms && ms < to
			near = near || marked[from] && from <= ms && ms < max(to, from+1000)
		}
		if on {
			shown++
			if near {
				covered++
			}
		}
	}
	return float64(covered) / float64(whole), 100 * float64(covered) / float64(shown)
}

// fewestSpans tries every choice of what each frame shows.
func fewestSpans(upload, known matcher.Track, seen []matcher.Sighting) int {
	var times []uint32
	for _, s := range seen {
		times = append(times, s.Time)
	}
	slices.Sort(times)
	times = slices.Compact(times)
	var try func(k int, before matcher.Sighting) int
	try = func(k int, before matcher.Sighting) int {
		if k == len(times) {
			return 0
		}
		best := math.MaxInt
		for _, s := range seen {
			if s.Time != times[k] {
				continue
			}
			spans := 1
			if k > 0 {
				gap := int(s.Time) - int(end(upload, before.Time))
				// Is there a moment x of the known media for the one, such that its offset fits the other?
				lowA, highA := int(before.Known)-1500-int(before.Time), int(end(known, before.Known))-int(before.Time)
				lowB, highB := int(s.Known)-1500-int(s.Time), int(end(known, s.Known))-int(s.Time)
				if gap <= 2000 && max(lowA, lowB) <= min(highA, highB) {
					spans = 0
				}
			}
			best = min(best, spans+try(k+1, s))
		}
		return best
	}
	return try(0, matcher.Sighting{})
}
