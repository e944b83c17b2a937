package video_test

import (
	"math/rand/v2"
	"testing"

	"vigie/hashing/pdq"
	"vigie/hashing/video"
)

// oracle is the pseudo-code of vPDQ's documentation, said in the plainest way.
func oracle(query, target []video.Feature, o video.MatchOptions) (float64, float64) {
	matches := func(a, b video.Feature) bool {
		d := a.Hash.Distance(b.Hash)
		return d < o.Distance || d == o.Distance && !o.Strict
	}
	share := func(these, those []video.Feature) float64 {
		kept, matched := 0, 0
		for _, a := range these {
			if a.Quality < o.Quality {
				continue
			}
			kept++
			found := false
			for _, b := range those {
				found = found || b.Quality >= o.Quality && matches(a, b)
			}
			if found {
				matched++
			}
		}
		if kept == 0 {
			return 0
		}
		return 100 * float64(matched) / float64(kept)
	}
	return share(query, target), share(target, query)
}

func TestMatchPercentOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	// A few hashes with neighbours at every distance around the radius, so that its edge is met often.
	features := func() []video.Feature {
		var list []video.Feature
		for range r.IntN(12) {
			h := pdq.Hash{uint64(r.IntN(3)) * 0x123456789abcdef}
			for range 24 + r.IntN(16) {
				h[r.IntN(4)] ^= 1 << r.IntN(64)
			}
			base := pdq.Hash{1, 2, 3, 4}
			if r.IntN(2) == 0 {
				h = base
				for i := range r.IntN(36) { // exactly so many bits off
					h[1+i%3] ^= 1 << (8 + i)
				}
			}
			list = append(list, video.Feature{Quality: 45 + r.IntN(12), Hash: h})
		}
		return list
	}
	edge := 0
	for range 3000 {
		a, b := features(), features()
		for _, o := range []video.MatchOptions{video.DefaultMatchOptions(), {Quality: 50, Distance: 31, Strict: true}, {Quality: 0, Distance: 0}, {Quality: 52, Distance: 20}} {
			q, c := video.MatchPercent(a, b, o)
			wantQ, wantC := oracle(a, b, o)
			if q != wantQ || c != wantC {
				t.Fatalf("%+v: %v and %v, want %v and %v", o, q, c, wantQ, wantC)
			}
		}
		for _, x := range a {
			for _, y := range b {
				if x.Hash.Distance(y.Hash) == 31 {
					edge++
				}
			}
		}
	}
	if edge < 100 {
		t.Errorf("only %d pairs at the edge: the test shows little", edge)
	}
}

func TestMatchPercentEmpty(t *testing.T) {
	good := []video.Feature{{Quality: 100}}
	poor := []video.Feature{{Quality: 49}}
	for _, lists := range [][2][]video.Feature{{nil, good}, {good, nil}, {poor, good}, {good, poor}, {nil, nil}} {
		if q, c := video.MatchPercent(lists[0], lists[1], video.DefaultMatchOptions()); q != 0 || c != 0 {
			t.Errorf("%v: %v, %v", lists, q, c)
		}
	}
}
