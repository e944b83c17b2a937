package matcher_test

import (
	"fmt"
	"image"
	"image/draw"
	"math/rand/v2"
	"testing"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/matcher"
)

// thumb is a thumbnail of the picture drawn from a seed.
func thumb(seed uint64, v hashing.Variant) hashing.Thumb {
	img := drawn(seed)
	t := hashing.Thumb{Variant: v, Quality: hashing.MaxQuality}
	step := img.Rect.Dx() / hashing.ThumbSide
	for i := range t.Pix {
		t.Pix[i] = img.GrayAt(i%hashing.ThumbSide*step, i/hashing.ThumbSide*step).Y
	}
	return t
}

// short is a 64-bit hash of a thumb under a transform.
func short(a hashing.Algorithm, t hashing.Thumb, by hashing.Transform) hashing.Signal {
	for _, s := range fingerprint.Short(t, by) {
		if s.Algorithm == a {
			return s
		}
	}
	panic(fmt.Sprintf("no %s of a thumb", a))
}

func as(s hashing.Signal, v hashing.Variant) hashing.Signal {
	s.Variant = v
	return s
}

func at(s hashing.Signal, ms uint32) hashing.Signal {
	s.Time = ms
	return s
}

// TestSecondVote asks one query, of a picture made up for it, about one entry: its PDQ and what 64-bit
// hashes it has.
func TestSecondVote(t *testing.T) {
	t.Parallel()
	const (
		plain, cli, white, trim, frame = hashing.Plain, hashing.CLI, hashing.White, hashing.Trimmed, hashing.Framed
		none, review, likely, match    = matcher.None, matcher.Review, matcher.Likely, matcher.Match
	)
	type signals = []hashing.Signal
	pdq := signal(hashing.PDQ, 1)
	seen := map[hashing.Variant]hashing.Thumb{plain: thumb(1, plain), trim: thumb(2, trim), frame: thumb(3, frame)}
	// p and d are a pHash and a dHash some bits from that of the picture.
	p := func(bits int) hashing.Signal { return away(short(hashing.PHash, seen[plain], 0), bits) }
	d := func(bits int) hashing.Signal { return away(short(hashing.DHash, seen[plain], 0), bits) }
	vote := func(a hashing.Algorithm, distance, radius int) *matcher.Vote {
		return &matcher.Vote{Algorithm: a, Distance: distance, Radius: radius, Agrees: distance <= radius}
	}
	split := func(a hashing.Algorithm, distance, radius int) *matcher.Vote { // what is there agrees, but both must
		v := vote(a, distance, radius)
		v.Agrees = false
		return v
	}
	type test struct {
		name      string
		ask       hashing.Signal // as computed; pdq some bits away
		transform hashing.Transform
		entry     signals
		edit      matcher.BankEdit
		graphic   bool // the query, and the picture
		page      bool // the picture alone: the query is a photograph on it
		level     matcher.Level
		radius    int
		vote      *matcher.Vote
	}
	tests := []test{
		// The edges of the radius and of the band.
		{name: "31, both disagree", ask: away(pdq, 31), entry: signals{pdq, p(20), d(20)}, level: match, radius: 31},
		{name: "32, agreed", ask: away(pdq, 32), entry: signals{pdq, p(0)}, level: likely, radius: 47, vote: vote(hashing.PHash, 0, 8)},
		{name: "47, agreed", ask: away(pdq, 47), entry: signals{pdq, p(0)}, level: likely, radius: 47, vote: vote(hashing.PHash, 0, 8)},
		{name: "47, disagreed", ask: away(pdq, 47), entry: signals{pdq, p(9)}, level: review, radius: 47, vote: vote(hashing.PHash, 9, 8)},

		// Beyond it only what a vote agrees on counts, for review.
		{name: "48, agreed", ask: away(pdq, 48), entry: signals{pdq, p(0), d(0)}, level: review, radius: 55, vote: vote(hashing.PHash, 0, 8)},
		{name: "48, dHash alone agrees", ask: away(pdq, 48), entry: signals{pdq, p(20), d(8)}, level: review, radius: 55, vote: vote(hashing.DHash, 8, 8)},
		{name: "48, both disagree", ask: away(pdq, 48), entry: signals{pdq, p(9), d(9)}, level: none},
		{name: "48, bare", ask: away(pdq, 48), entry: signals{pdq}, level: none},
		{name: "48, aHash has no vote", ask: away(pdq, 48), entry: signals{pdq, short(hashing.AHash, seen[plain], 0)}, level: none},
		{name: "55, agreed", ask: away(pdq, 55), entry: signals{pdq, p(8)}, level: review, radius: 55, vote: vote(hashing.PHash, 8, 8)},
		{name: "55, disagreed", ask: away(pdq, 55), entry: signals{pdq, p(9)}, level: none},
		{name: "56, agreed", ask: away(pdq, 56), entry: signals{pdq, p(0), d(0)}, level: none},
		{name: "55, trimmed, agreed", ask: as(away(pdq, 55), trim), entry: signals{pdq, as(short(hashing.PHash, seen[trim], 0), plain)}, level: review, radius: 55, vote: vote(hashing.PHash, 0, 8)},
		{name: "55, framed, agreed", ask: as(away(pdq, 55), frame), entry: signals{as(pdq, trim), as(short(hashing.DHash, seen[frame], 0), trim)}, level: review, radius: 55, vote: vote(hashing.DHash, 0, 8)},
		{name: "55, the entry's hash is of another variant", ask: away(pdq, 55), entry: signals{pdq, as(p(0), trim)}, level: none},
		{name: "48, sampled", ask: as(away(pdq, 48), cli), entry: signals{pdq, p(0)}, level: none},
		{name: "48, flattened", ask: as(away(pdq, 48), white), entry: signals{pdq, p(0)}, level: none},
		{name: "48, inverted", ask: away(pdq, 48), transform: hashing.Inverted, entry: signals{pdq, p(0)}, level: none},
		{name: "48, a later frame", ask: at(away(pdq, 48), 40), entry: signals{pdq, p(0)}, level: none},
		{name: "48, of a later frame", ask: away(pdq, 48), entry: signals{at(pdq, 40), p(0)}, level: none},
		{name: "48, graphic", graphic: true, ask: away(pdq, 48), entry: signals{pdq, p(0), d(0)}, level: none},
		{name: "a nearer hit nobody agrees on, a far one agreed", ask: away(pdq, 50), entry: signals{away(pdq, 3), p(9), as(pdq, trim), as(p(1), trim)}, level: review, radius: 47, vote: vote(hashing.PHash, 9, 8)},
		{name: "a bare hit in the band, a far one agreed", ask: away(pdq, 50), entry: signals{away(pdq, 3), as(pdq, trim), as(p(1), trim)}, level: review, radius: 47},
		{name: "two far hits, the farther agreed", ask: away(pdq, 55), entry: signals{away(pdq, 3), p(9), as(pdq, trim), as(p(1), trim)}, level: review, radius: 55, vote: vote(hashing.PHash, 1, 8)},
		{name: "two far hits, none agreed", ask: away(pdq, 55), entry: signals{away(pdq, 3), p(9), as(pdq, trim), as(p(9), trim)}, level: none},

		// Who votes, and how near it must be.
		{name: "pHash 8", ask: away(pdq, 40), entry: signals{pdq, p(8), d(20)}, level: likely, radius: 47, vote: vote(hashing.PHash, 8, 8)},
		{name: "pHash 9", ask: away(pdq, 40), entry: signals{pdq, p(9)}, level: review, radius: 47, vote: vote(hashing.PHash, 9, 8)},
		{name: "dHash 8", ask: away(pdq, 40), entry: signals{pdq, p(20), d(8)}, level: likely, radius: 47, vote: vote(hashing.DHash, 8, 8)},
		{name: "dHash 9", ask: away(pdq, 40), entry: signals{pdq, p(20), d(9)}, level: review, radius: 47, vote: vote(hashing.DHash, 9, 8)},
		{name: "the nearer of both", ask: away(pdq, 40), entry: signals{pdq, p(5), d(3)}, level: likely, radius: 47, vote: vote(hashing.DHash, 3, 8)},
		{name: "any value", ask: away(pdq, 40), entry: signals{pdq, p(30), p(2), p(20)}, level: likely, radius: 47, vote: vote(hashing.PHash, 2, 8)},
		{name: "aHash has no vote", ask: away(pdq, 40), entry: signals{pdq, short(hashing.AHash, seen[plain], 0)}, level: review, radius: 47},
		{name: "a bare PDQ", ask: away(pdq, 40), entry: signals{pdq}, level: review, radius: 47},
		{
			name: "of another picture", ask: away(pdq, 40), entry: signals{pdq, short(hashing.PHash, thumb(9, plain), 0)}, level: review, radius: 47,
			vote: vote(hashing.PHash, p(0).Value.Distance(short(hashing.PHash, thumb(9, plain), 0).Value), 8),
		},

		// Which variants and frames take part.
		{name: "trimmed", ask: as(away(pdq, 40), trim), entry: signals{pdq, short(hashing.PHash, seen[trim], 0)}, level: review, radius: 47},
		{name: "trimmed, and stored plain", ask: as(away(pdq, 40), trim), entry: signals{pdq, as(short(hashing.PHash, seen[trim], 0), plain)}, level: likely, radius: 47, vote: vote(hashing.PHash, 0, 8)},
		{name: "trimmed, and stored trimmed", ask: as(away(pdq, 40), trim), entry: signals{as(pdq, trim), short(hashing.DHash, seen[trim], 0)}, level: likely, radius: 47, vote: vote(hashing.DHash, 0, 8)},
		{name: "framed, and stored trimmed", ask: as(away(pdq, 40), frame), entry: signals{as(pdq, trim), as(short(hashing.DHash, seen[frame], 0), trim)}, level: likely, radius: 47, vote: vote(hashing.DHash, 0, 8)},
		{name: "the entry's hash is of another variant", ask: away(pdq, 40), entry: signals{pdq, as(p(0), trim)}, level: review, radius: 47},
		{name: "the stored row is the sampled one", ask: away(pdq, 40), entry: signals{as(pdq, cli), p(0)}, level: likely, radius: 47, vote: vote(hashing.PHash, 0, 8)},
		{name: "the stored row is flattened", ask: away(pdq, 40), entry: signals{as(pdq, white), p(0)}, level: review, radius: 47},
		{name: "sampled, 32", ask: as(away(pdq, 32), cli), entry: signals{pdq, p(0)}, level: none},
		{name: "sampled, 31", ask: as(away(pdq, 31), cli), entry: signals{pdq, p(0)}, level: match, radius: 31},
		{name: "flattened, 32", ask: as(away(pdq, 32), white), entry: signals{pdq, p(0)}, level: none},
		{name: "inverted, 32", ask: away(pdq, 32), transform: hashing.Inverted, entry: signals{pdq, p(0)}, level: none},
		{name: "inverted, 31", ask: away(pdq, 31), transform: hashing.Inverted, entry: signals{pdq, p(0)}, level: match, radius: 31},
		{name: "a later frame, 32", ask: at(away(pdq, 32), 40), entry: signals{pdq, p(0)}, level: none},
		{name: "a later frame, 31", ask: at(away(pdq, 31), 40), entry: signals{pdq, p(0)}, level: match, radius: 31},
		{name: "of a later frame, 32", ask: away(pdq, 32), entry: signals{at(pdq, 40), p(0)}, level: none},
		{name: "of a later frame, 31", ask: away(pdq, 31), entry: signals{at(pdq, 40), p(0)}, level: match, radius: 31},
		{name: "the entry's hash is of a later frame", ask: away(pdq, 40), entry: signals{pdq, at(p(0), 40)}, level: review, radius: 47},
		{
			name: "mirrored, and hashed as it was", ask: away(pdq, 40), transform: hashing.Mirror, entry: signals{pdq, p(0)}, level: review, radius: 47,
			vote: vote(hashing.PHash, short(hashing.PHash, seen[plain], hashing.Mirror).Value.Distance(p(0).Value), 8),
		},
		{name: "the first hit disagrees, a farther one agrees", ask: away(pdq, 40), entry: signals{away(pdq, 3), p(9), as(pdq, trim), as(p(1), trim)}, level: likely, radius: 47, vote: vote(hashing.PHash, 1, 8)},
		{name: "nobody agrees", ask: away(pdq, 40), entry: signals{away(pdq, 3), p(9), as(pdq, trim), as(p(8+1), trim)}, level: review, radius: 47, vote: vote(hashing.PHash, 9, 8)},

		// A bank's own thresholds.
		{name: "own radius, 36", ask: away(pdq, 36), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Radius: ptr(36)}}, entry: signals{pdq}, level: review, radius: 36},
		{name: "own radius, 37", ask: away(pdq, 37), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Radius: ptr(36)}}, entry: signals{pdq}, level: none},
		{name: "no band", ask: away(pdq, 32), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Radius: ptr(0), Far: ptr(0)}}, entry: signals{pdq, p(0)}, level: none},
		{name: "no band but for what is agreed on", ask: away(pdq, 32), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Radius: ptr(0)}}, entry: signals{pdq, p(0)}, level: review, radius: 55, vote: vote(hashing.PHash, 0, 8)},
		{name: "no band but for what is agreed on, bare", ask: away(pdq, 32), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Radius: ptr(0)}}, entry: signals{pdq}, level: none},
		{name: "own far, 60", ask: away(pdq, 60), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Far: ptr(60)}}, entry: signals{pdq, p(0)}, level: review, radius: 60, vote: vote(hashing.PHash, 0, 8)},
		{name: "own far, 61", ask: away(pdq, 61), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Far: ptr(60)}}, entry: signals{pdq, p(0)}, level: none},
		{name: "far as far as the band is off, 47", ask: away(pdq, 47), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Far: ptr(47)}}, entry: signals{pdq, p(0)}, level: likely, radius: 47, vote: vote(hashing.PHash, 0, 8)},
		{name: "far as far as the band is off, 48", ask: away(pdq, 48), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Far: ptr(47)}}, entry: signals{pdq, p(0)}, level: none},
		{name: "far within the band is off, 47", ask: away(pdq, 47), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Far: ptr(40)}}, entry: signals{pdq}, level: review, radius: 47},
		{name: "far within the band is off, 48", ask: away(pdq, 48), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Far: ptr(40)}}, entry: signals{pdq, p(0)}, level: none},
		{name: "far within the radius is off", ask: away(pdq, 60), edit: matcher.BankEdit{Radius: &radii{hashing.PDQ: 60}}, entry: signals{pdq, p(20)}, level: match, radius: 60},
		{name: "without PDQ nothing is far", ask: away(pdq, 50), edit: matcher.BankEdit{Radius: &radii{}}, entry: signals{pdq, p(0)}, level: none},
		{name: "own dHash, 12, far", ask: away(pdq, 50), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{DHash: ptr(12)}}, entry: signals{pdq, p(9), d(12)}, level: review, radius: 55, vote: vote(hashing.DHash, 12, 12)},
		{name: "a band within the radius is off", ask: away(pdq, 41), edit: matcher.BankEdit{Radius: &radii{hashing.PDQ: 40}, SecondVote: matcher.SecondVoteEdit{Radius: ptr(39), Far: ptr(39)}}, entry: signals{pdq, p(0)}, level: none},
		{name: "a wide radius needs no vote", ask: away(pdq, 40), edit: matcher.BankEdit{Radius: &radii{hashing.PDQ: 40}}, entry: signals{pdq}, level: match, radius: 40},
		{name: "without PDQ no band", ask: away(pdq, 5), edit: matcher.BankEdit{Radius: &radii{}}, entry: signals{pdq, p(0)}, level: none},
		{name: "own pHash, 4", ask: away(pdq, 40), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{PHash: ptr(3)}}, entry: signals{pdq, p(4)}, level: review, radius: 47, vote: vote(hashing.PHash, 4, 3)},
		{name: "own dHash, 12", ask: away(pdq, 40), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{DHash: ptr(12)}}, entry: signals{pdq, p(9), d(12)}, level: likely, radius: 47, vote: vote(hashing.DHash, 12, 12)},

		// Graphics.
		{name: "graphic, 15", graphic: true, ask: away(pdq, 15), entry: signals{pdq}, level: match, radius: 15},
		{name: "graphic, 16, both agree", graphic: true, ask: away(pdq, 16), entry: signals{pdq, p(8), d(2)}, level: likely, radius: 31, vote: vote(hashing.PHash, 8, 8)},
		{name: "graphic, 31, both agree", graphic: true, ask: away(pdq, 31), entry: signals{pdq, p(1), d(2)}, level: likely, radius: 31, vote: vote(hashing.DHash, 2, 8)},
		{name: "graphic, 16, one disagrees", graphic: true, ask: away(pdq, 16), entry: signals{pdq, p(0), d(9)}, level: review, radius: 31, vote: vote(hashing.DHash, 9, 8)},
		{name: "graphic, 16, there is but one", graphic: true, ask: away(pdq, 16), entry: signals{pdq, p(0)}, level: review, radius: 31, vote: split(hashing.PHash, 0, 8)},
		{name: "graphic, 16, bare", graphic: true, ask: away(pdq, 16), entry: signals{pdq}, level: review, radius: 31},
		{name: "graphic, 32", graphic: true, ask: away(pdq, 32), entry: signals{pdq, p(0), d(0)}, level: none},
		{name: "graphic, sampled, 16", graphic: true, ask: as(away(pdq, 16), cli), entry: signals{pdq, p(0), d(0)}, level: review, radius: 31},
		{name: "graphic, a later frame, 16", graphic: true, ask: at(away(pdq, 16), 40), entry: signals{pdq, p(0), d(0)}, level: review, radius: 31},
		{name: "graphic, of a later frame, 16", graphic: true, ask: away(pdq, 16), entry: signals{at(pdq, 40), p(0), d(0)}, level: review, radius: 31},
		{name: "graphic, own threshold, 5", graphic: true, ask: away(pdq, 5), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Graphic: ptr(4)}}, entry: signals{pdq}, level: review, radius: 31},
		{name: "graphic, beyond the radius", graphic: true, ask: away(pdq, 11), edit: matcher.BankEdit{Radius: &radii{hashing.PDQ: 10}}, entry: signals{pdq, p(0), d(0)}, level: none},
		{name: "graphic, within the radius", graphic: true, ask: away(pdq, 10), edit: matcher.BankEdit{Radius: &radii{hashing.PDQ: 10}}, entry: signals{pdq}, level: match, radius: 10},
		{name: "on a graphic, 31", page: true, ask: as(away(pdq, 31), frame), entry: signals{pdq}, level: match, radius: 31},
		{name: "on a graphic, 47, agreed", page: true, ask: as(away(pdq, 47), trim), entry: signals{pdq, as(short(hashing.PHash, seen[trim], 0), plain)}, level: likely, radius: 47, vote: vote(hashing.PHash, 0, 8)},
		{name: "graphic, rule off, 31", graphic: true, ask: away(pdq, 31), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Graphic: ptr(0)}}, entry: signals{pdq}, level: match, radius: 31},
		{name: "graphic, rule off, 32", graphic: true, ask: away(pdq, 32), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Graphic: ptr(0)}}, entry: signals{pdq, p(9), d(8)}, level: likely, radius: 47, vote: vote(hashing.DHash, 8, 8)},
		{name: "graphic, rule off, 55", graphic: true, ask: away(pdq, 55), edit: matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Graphic: ptr(0)}}, entry: signals{pdq, p(9), d(8)}, level: review, radius: 55, vote: vote(hashing.DHash, 8, 8)},
	}
	for by := range hashing.Transform(hashing.Orientations) {
		tests = append(tests, test{
			name: "turned by " + by.String(), transform: by, ask: away(pdq, 47),
			entry: signals{pdq, away(short(hashing.PHash, seen[plain], by), 8)}, level: likely, radius: 47, vote: vote(hashing.PHash, 8, 8),
		})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			n.changeBank("bank", test.edit)
			flagged := n.flagSignals("bank", test.entry...)
			graphic := test.graphic || test.page
			v := n.checkMedia(pictures.invent("second vote: "+test.name, hashing.Picture{
				Format: "jpeg", Width: 640, Height: 480, Graphic: graphic, Signals: signals{test.ask},
				Queries: []hashing.Query{{Signal: test.ask, Transform: test.transform, Graphic: test.graphic}},
				Thumbs:  []hashing.Thumb{seen[plain], seen[trim], seen[frame]},
			}))
			if v.Level != test.level || v.Graphic != graphic {
				t.Fatalf("level %s, graphic %t, want %s, %t: %+v", v.Level, v.Graphic, test.level, graphic, v.Matches)
			}
			equal(t, v.MatchesTotal, len(v.Matches))
			if test.level == none {
				equal(t, len(v.Matches), 0)
				return
			}
			equal(t, matched(v), ids(flagged))
			got := v.Matches[0]
			if want := min(matcher.ActionBlock, map[matcher.Level]matcher.Action{
				review: matcher.ActionReview, likely: matcher.ActionHold, match: matcher.ActionBlock,
			}[test.level]); got.Action != want {
				t.Errorf("action %s, want %s", got.Action, want)
			}
			if got.Radius != test.radius || got.Transform != test.transform || got.Distance > got.Radius {
				t.Errorf("distance %d of %d under %s, want of %d", got.Distance, got.Radius, got.Transform, test.radius)
			}
			equal(t, got.Vote, test.vote)
		})
	}
}

// Signals that are sent ask for the band, and vote for the picture as it is.
func TestBandOfSignals(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	pdq, phash := signal(hashing.PDQ, 1), signal(hashing.PHash, 1)
	n.flagSignals("bank", pdq, phash)
	poor := phash
	poor.Quality = hashing.MinQuality - 1
	far, farther := away(pdq, 40), away(pdq, 55)
	for _, test := range []struct {
		name string
		q    matcher.Question
		want matcher.Level
	}{
		{"not asked for", matcher.Question{Signals: []hashing.Signal{far, phash}}, matcher.None},
		{"alone", matcher.Question{Signals: []hashing.Signal{far}, Band: true}, matcher.Review},
		{"with a vote", matcher.Question{Signals: []hashing.Signal{far, away(phash, 8)}, Band: true}, matcher.Likely},
		{"with a vote against", matcher.Question{Signals: []hashing.Signal{far, away(phash, 9)}, Band: true}, matcher.Review},
		{"with a poor vote", matcher.Question{Signals: []hashing.Signal{far, poor}, Band: true}, matcher.Review},
		{"with a vote of another variant", matcher.Question{Signals: []hashing.Signal{far, as(phash, hashing.Trimmed)}, Band: true}, matcher.Review},
		{"both of one variant", matcher.Question{Signals: []hashing.Signal{as(far, hashing.Framed), as(phash, hashing.Framed)}, Band: true}, matcher.Likely},
		{"of a variant without a band", matcher.Question{Signals: []hashing.Signal{as(far, hashing.CLI), as(phash, hashing.CLI)}, Band: true}, matcher.None},
		{"farther, not asked for", matcher.Question{Signals: []hashing.Signal{farther, phash}}, matcher.None},
		{"farther, alone", matcher.Question{Signals: []hashing.Signal{farther}, Band: true}, matcher.None},
		{"farther, with a vote", matcher.Question{Signals: []hashing.Signal{farther, away(phash, 8)}, Band: true}, matcher.Review},
		{"farther, with a vote against", matcher.Question{Signals: []hashing.Signal{farther, away(phash, 9)}, Band: true}, matcher.None},
		{"too far", matcher.Question{Signals: []hashing.Signal{away(pdq, 56), phash}, Band: true}, matcher.None},
		{"within the radius", matcher.Question{Signals: []hashing.Signal{away(pdq, 31)}, Band: true}, matcher.Match},
	} {
		if v := n.check(test.q); v.Level != test.want {
			t.Errorf("%s: %s, want %s: %+v", test.name, v.Level, test.want, v.Matches)
		}
	}

	// Beside media, too, signals are asked beyond the radius only if they say so.
	q := matcher.Question{Media: media(pngOf(drawn(7))), Signals: []hashing.Signal{far, phash}}
	if v := n.check(q); v.Level != matcher.None {
		t.Errorf("beside media: %+v", v.Matches)
	}
	q.Band = true
	if v := n.check(q); v.Level != matcher.Likely {
		t.Errorf("beside media, with the band: %s", v.Level)
	}

	if out := n.flagSignals("bank", far, away(phash, 1)); len(out.Neighbours) != 0 {
		t.Errorf("a flag names neighbours beyond the radius: %+v", out.Neighbours)
	}
}

// What is far and not agreed on is no evidence: neither an entry of its own, nor beside other evidence.
func TestFarWithoutAVote(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 31, hashing.DHash: 4}})
	pdq, phash, dhash, sha := signal(hashing.PDQ, 1), signal(hashing.PHash, 1), signal(hashing.DHash, 1), signal(hashing.SHA256, 1)
	n.flagSignals("bank", pdq)
	second := n.flagSignals("bank", away(pdq, 5), away(phash, 9), dhash, sha)
	far := away(pdq, 55)
	for _, test := range []struct {
		name string
		ask  []hashing.Signal
		want []hashing.Algorithm // of the evidence
	}{
		{"nothing else", []hashing.Signal{far, phash}, nil},
		{"a digest", []hashing.Signal{far, phash, sha}, []hashing.Algorithm{hashing.SHA256}},
		{"a dHash by itself, which agrees too", []hashing.Signal{far, phash, dhash}, []hashing.Algorithm{hashing.DHash, hashing.PDQ}},
		{"a dHash of another variant", []hashing.Signal{far, phash, as(dhash, hashing.Trimmed)}, []hashing.Algorithm{hashing.DHash}},
	} {
		v := n.check(matcher.Question{Signals: test.ask, Band: true})
		if test.want == nil {
			if v.Level != matcher.None || v.Action != matcher.NoAction || v.MatchesTotal != 0 || len(v.Matches) != 0 {
				t.Errorf("%s: %s, %s, %d of %+v", test.name, v.Level, v.Action, v.MatchesTotal, v.Matches)
			}
			continue
		}
		equal(t, matched(v), ids(second))
		equal(t, v.MatchesTotal, 1)
		var got []hashing.Algorithm
		for _, e := range v.Matches[0].All {
			got = append(got, e.Algorithm)
			if e.Level == matcher.None {
				t.Errorf("%s: evidence of nothing: %+v", test.name, e)
			}
		}
		equal(t, got, test.want)
	}
}

// A picture may have been trimmed in two ways: each has a vote on any hit of a trimmed rendering.
func TestVotesOfTwoTrims(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	pdq := as(signal(hashing.PDQ, 1), hashing.Trimmed)
	thumbs := []hashing.Thumb{thumb(1, hashing.Plain), thumb(2, hashing.Trimmed), thumb(3, hashing.Trimmed)}
	for i, trimmed := range thumbs[1:] {
		other := as(signal(hashing.PDQ, uint64(10+i)), hashing.Trimmed)
		flagged := n.flagSignals("bank", other, short(hashing.PHash, trimmed, 0))
		asked := []hashing.Signal{away(pdq, 0), away(other, 40)}
		v := n.checkMedia(pictures.invent(fmt.Sprintf("two trims, %d", i), hashing.Picture{
			Format: "jpeg", Width: 640, Height: 480, Signals: asked,
			Queries: []hashing.Query{{Signal: asked[0]}, {Signal: asked[1]}}, Thumbs: thumbs,
		}))
		equal(t, matched(v), ids(flagged))
		if v.Level != matcher.Likely {
			t.Errorf("trim %d: %s by %+v", i, v.Level, v.Matches[0].Vote)
		}
	}
}

// A picture that was framed beyond recognition by PDQ is flagged and checked by the real hasher.
func TestVoteOfTheRealHasher(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	known := drawn(1)
	flagged := n.flagMedia(pngOf(known))
	n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 0}})
	copied := jpegOf(known, 20)
	v := n.checkMedia(copied)
	equal(t, matched(v), ids(flagged))
	if v.Level != matcher.Likely || v.Matches[0].Vote == nil {
		t.Errorf("%s by %+v", v.Level, v.Matches[0])
	}
	n.changeBank("bank", matcher.BankEdit{SecondVote: matcher.SecondVoteEdit{Radius: ptr(0), Far: ptr(0)}})
	if v := n.checkMedia(copied); v.Level != matcher.None {
		t.Errorf("without the band: %+v", v.Matches)
	}
}

// 64-bit hashes are searched, and told, only where a bank wants them to be.
func TestShortHashesOnDemand(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	flagged := n.flagMedia(pngOf(drawn(1)))
	told := func(v matcher.Verdict) map[hashing.Algorithm]bool {
		all := map[hashing.Algorithm]bool{}
		for _, s := range v.Signals {
			all[s.Algorithm] = true
		}
		return all
	}
	v := n.checkMedia(jpegOf(drawn(1), 60))
	equal(t, told(v), map[hashing.Algorithm]bool{hashing.SHA256: true, hashing.MD5: true, hashing.PDQ: true})
	n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.DHash: 4}})
	v = n.checkMedia(jpegOf(drawn(1), 60))
	equal(t, told(v), map[hashing.Algorithm]bool{hashing.SHA256: true, hashing.MD5: true, hashing.PDQ: true, hashing.DHash: true})
	equal(t, matched(v), ids(flagged))
	if v.Level != matcher.Review || v.Matches[0].Algorithm != hashing.DHash {
		t.Errorf("%s by %s", v.Level, v.Matches[0].Algorithm)
	}
}

// A node whose catalogue is away judges all the same: misses and votes need none.
func TestVoteWithoutTheCatalogue(t *testing.T) {
	t.Parallel()
	c := &faulty{Catalogue: catalogues["memory"](t)}
	n := start(t, c, matcher.Options{})
	n.bank("bank", "block", radii{hashing.PDQ: 0})
	n.flagMedia(pngOf(drawn(1)))
	c.down.Store(true)
	defer c.down.Store(false)
	if v := n.checkMedia(pngOf(drawn(2))); v.Unexplained || v.Level != matcher.None {
		t.Errorf("a miss: %s, unexplained %t", v.Level, v.Unexplained)
	}
	if v := n.checkMedia(jpegOf(drawn(1), 20)); !v.Unexplained || v.Level != matcher.Likely {
		t.Errorf("a hit in the band: %s, unexplained %t", v.Level, v.Unexplained)
	}
}

// Pages of text in one layout are no matches of one another, nor likely ones, and each is found again.
func TestPagesOfText(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const pages = 12
	var drawn [pages]image.Image
	for i := range drawn {
		drawn[i] = page(t, uint64(i))
		p, err := pictures.Picture(n.ctx, pngOf(drawn[i]))
		must(t, err)
		if !p.Graphic {
			t.Fatalf("page %d is no graphic", i)
		}
		for _, f := range n.checkMedia(pngOf(drawn[i])).Matches {
			if f.Level > matcher.Review {
				t.Errorf("page %d is taken for page %d: %s by %+v", i, f.Entry-1, f.Level, f.Evidence)
			}
		}
		n.flagMedia(pngOf(drawn[i]))
	}
	for i := range drawn {
		v := n.checkMedia(jpegOf(drawn[i], 50))
		if len(v.Matches) == 0 || v.Matches[0].Level < matcher.Likely || int(v.Matches[0].Entry) != i+1 || !v.Graphic {
			t.Errorf("page %d again: %s, %+v", i, v.Level, v.Matches)
		}
	}
}

// A photograph on a page of text is judged as a photograph, although the page as a whole is a graphic.
func TestPhotographOnAPage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	large := drawn(1)
	e := n.flagMedia(pngOf(large))
	photograph := image.NewGray(image.Rect(0, 0, 160, 160))
	for i := range photograph.Pix {
		photograph.Pix[i] = large.GrayAt(i%160*2, i/160*2).Y
	}
	img := page(t, 1).(*image.Gray)
	at := photograph.Rect.Add(image.Pt(220, 260))
	draw.Draw(img, at.Inset(-16), image.White, image.Point{}, draw.Src)
	draw.Draw(img, at, photograph, image.Point{}, draw.Src)
	v := n.checkMedia(jpegOf(img, 80))
	if !v.Graphic || v.Level != matcher.Match || len(v.Matches) != 1 || v.Matches[0].Entry != e.Entry.ID || v.Matches[0].Variant != hashing.Framed {
		t.Errorf("graphic %t, %s: %+v", v.Graphic, v.Level, v.Matches)
	}
}

// page is a page of words made of random letters.
func page(t *testing.T, seed uint64) image.Image {
	parsed, err := opentype.Parse(goregular.TTF)
	must(t, err)
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: 18, DPI: 72})
	must(t, err)
	img := image.NewGray(image.Rect(0, 0, 600, 800))
	draw.Draw(img, img.Rect, image.White, image.Point{}, draw.Src)
	rng := rand.New(rand.NewPCG(seed, 7))
	write := font.Drawer{Dst: img, Src: image.Black, Face: face}
	for y := 60; y < 760; y += 24 {
		var line []byte
		for range 8 + rng.IntN(3) {
			for range 2 + rng.IntN(8) {
				line = append(line, byte('a'+rng.IntN(26)))
			}
			line = append(line, ' ')
		}
		write.Dot = fixed.P(50, y)
		write.DrawBytes(line)
	}
	return img
}

// The negative of what is known is found by its hash as by its file: that of the plain picture, or of what
// the reference's program samples if nothing else was sent.
func TestNegativeOfSignals(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	known := signal(hashing.PDQ, 1)
	n.flagSignals("bank", known)
	negative := known
	for i := range negative.Value {
		negative.Value[i] = ^negative.Value[i]
	}
	other := signal(hashing.PDQ, 2)
	for _, test := range []struct {
		name string
		ask  []hashing.Signal
		want matcher.Level
	}{
		{"plain", []hashing.Signal{away(negative, 31)}, matcher.Match},
		{"too far", []hashing.Signal{away(negative, 32)}, matcher.None},
		{"sampled, alone", []hashing.Signal{as(negative, hashing.CLI)}, matcher.Match},
		{"sampled, beside the plain one", []hashing.Signal{other, as(negative, hashing.CLI)}, matcher.None},
		{"trimmed", []hashing.Signal{as(negative, hashing.Trimmed)}, matcher.None},
		{"a frame of a list", []hashing.Signal{other, at(negative, 3000)}, matcher.Match},
	} {
		v := n.check(matcher.Question{Signals: test.ask, Band: true})
		if v.Level != test.want || v.Level > matcher.None && v.Matches[0].Transform != hashing.Inverted {
			t.Errorf("%s: %s, want %s: %+v", test.name, v.Level, test.want, v.Matches)
		}
	}
}
