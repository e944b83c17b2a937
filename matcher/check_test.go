package matcher_test

import (
	"context"
	"errors"
	"image"
	"image/color"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

func TestCheckOfCopies(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		known := drawn(1)
		side := known.Rect.Dx()
		flagged := n.flagMedia(pngOf(known))
		turned := func(from func(x, y int) (int, int)) *image.Gray {
			img := image.NewGray(known.Rect)
			for y := range side {
				for x := range side {
					fx, fy := from(x, y)
					img.SetGray(x, y, known.GrayAt(fx, fy))
				}
			}
			return img
		}
		last := side - 1
		for _, test := range []struct {
			name      string
			data      []byte
			algorithm hashing.Algorithm
			transform hashing.Transform
		}{
			{"the same bytes", pngOf(known), hashing.SHA256, hashing.Identity},
			{"re-encoded", jpegOf(known, 60), hashing.PDQ, hashing.Identity},
			{"mirrored", pngOf(turned(func(x, y int) (int, int) { return last - x, y })), hashing.PDQ, hashing.Mirror},
			{"top to bottom", pngOf(turned(func(x, y int) (int, int) { return x, last - y })), hashing.PDQ, hashing.Flip},
			{"upside down", pngOf(turned(func(x, y int) (int, int) { return last - x, last - y })), hashing.PDQ, hashing.Rotate180},
			{"transposed", pngOf(turned(func(x, y int) (int, int) { return y, x })), hashing.PDQ, hashing.Transpose},
		} {
			t.Run(test.name, func(t *testing.T) {
				v := n.checkMedia(test.data)
				if v.Level != matcher.Match || v.Action != matcher.ActionBlock || v.Unhashable != nil {
					t.Errorf("level %s, action %s, unhashable %v", v.Level, v.Action, v.Unhashable)
				}
				equal(t, matched(v), ids(flagged))
				found := v.Matches[0]
				if found.Algorithm != test.algorithm || found.Transform != test.transform {
					t.Errorf("found by %s, transform %s", found.Algorithm, found.Transform)
				}
				if found.Algorithm == hashing.PDQ && (found.Radius != 31 || found.Distance > 31) {
					t.Errorf("distance %d of %d", found.Distance, found.Radius)
				}
				if v.Media.SHA256 != media(test.data).SHA256 || v.Media.Width != side || len(v.Signals) < 4 {
					t.Errorf("media %+v, signals %v", v.Media, v.Signals)
				}
			})
		}
		if v := n.checkMedia(pngOf(drawn(2))); v.Level != matcher.None || v.Action != matcher.NoAction || v.Matches == nil && v.MatchesTotal != 0 {
			t.Errorf("another picture: %+v", v)
		}
	})
}

func TestCheckOfBareHashUnderTransforms(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := signal(hashing.PDQ, 1)
	flagged := n.flagSignals("bank", s)
	for transform, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
		turned := s
		turned.Value = hashing.Value(h)
		v := n.checkSignals(turned)
		equal(t, matched(v), ids(flagged))
		if transform == 0 != (v.Matches[0].Transform == hashing.Identity) || v.Matches[0].Distance != 0 {
			t.Errorf("turned by %s: found at %d under %s", hashing.Transform(transform), v.Matches[0].Distance, v.Matches[0].Transform)
		}
	}
}

func TestCheckOfWhatCannotBeHashed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	flat := image.NewGray(image.Rect(0, 0, 64, 64))
	text := []byte("no picture at all")
	exact := n.flag(matcher.Flagging{Media: media(text), ExactOnly: true})
	flatEntry := n.flag(matcher.Flagging{Media: media(pngOf(flat)), ExactOnly: true})
	flat.SetGray(0, 0, color.Gray{Y: 1}) // other bytes, still flat

	for _, test := range []struct {
		name   string
		data   []byte
		want   []storage.EntryID
		reason string
	}{
		{"unreadable, known", text, ids(exact), string(hashing.Unsupported)},
		{"flat, known", pngOf(image.NewGray(flat.Rect)), ids(flatEntry), string(hashing.Flat)},
		{"flat, unknown", pngOf(flat), nil, string(hashing.Flat)},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := n.checkMedia(test.data)
			equal(t, matched(v), test.want)
			if v.Unhashable == nil || v.Unhashable.Reason != test.reason || v.Unhashable.Detail == "" {
				t.Errorf("unhashable: %+v, want %s", v.Unhashable, test.reason)
			}
			if (len(test.want) > 0) != (v.Level == matcher.Match) {
				t.Errorf("level %s", v.Level)
			}
		})
	}
	_, err := n.Check(n.ctx, matcher.Question{Media: media([]byte("other text"))})
	if bad, ok := hashing.AsMediaError(err); !ok || bad.Kind != hashing.Unsupported {
		t.Errorf("unreadable, unknown: %v", err)
	}
}

func TestCheckOfMediaAndSignals(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	known := n.flagMedia(pngOf(drawn(1)))
	bare := n.flagSignals("bank", signal(hashing.PDQ, 1))
	v := n.check(matcher.Question{Media: media(pngOf(drawn(1))), Signals: []hashing.Signal{signal(hashing.PDQ, 1)}})
	equal(t, matched(v), ids(known, bare))
	if !slices.Contains(v.Signals, signal(hashing.PDQ, 1)) {
		t.Errorf("the signal sent is not among %v", v.Signals)
	}
}

func TestCheckErrors(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.bank("gone", "block", nil)
	_, err := n.DeleteBank(n.ctx, local, "gone")
	must(t, err)
	one := []hashing.Signal{signal(hashing.PDQ, 1)}
	wide := signal(hashing.PHash, 1)
	wide.Value[3] = 1
	sure := signal(hashing.PHash, 1)
	sure.Quality = 101
	for _, test := range []struct {
		name  string
		q     matcher.Question
		err   error
		field string
	}{
		{"nothing asked", matcher.Question{}, nil, "signals"},
		{"too many signals", matcher.Question{Signals: slices.Repeat(one, 65)}, nil, "signals"},
		{"no algorithm", matcher.Question{Signals: []hashing.Signal{{Quality: 100}}}, nil, "signals"},
		{"bits beyond the algorithm's", matcher.Question{Signals: []hashing.Signal{wide}}, nil, "signals"},
		{"quality over 100", matcher.Question{Signals: []hashing.Signal{sure}}, nil, "signals"},
		{"unknown bank", matcher.Question{Signals: one, Banks: []string{"bank", "other"}}, matcher.ErrUnknownBank, ""},
		{"deleted bank", matcher.Question{Signals: one, Banks: []string{"gone"}}, matcher.ErrUnknownBank, ""},
		{"beyond the head", matcher.Question{Signals: one, MinSeq: 4}, matcher.ErrBeyondHead, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := n.Check(n.ctx, test.q)
			if test.err != nil {
				wantErr(t, err, test.err)
			} else {
				wantInput(t, err, test.field)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(n.ctx)
		cancel()
		_, err := n.Check(ctx, matcher.Question{Signals: one})
		wantErr(t, err, context.Canceled)
	})
	t.Run("hasher that fails", func(t *testing.T) {
		t.Parallel()
		m := matcher.New(n.catalogue, n.blobs, hasherFunc(func(context.Context, []byte) (hashing.Picture, error) {
			return hashing.Picture{}, errDown
		}), index.New(index.Options{}), matcher.Options{})
		q := matcher.Question{Media: media([]byte("x"))}
		_, err := m.Check(n.ctx, q)
		wantErr(t, err, matcher.ErrNotReady)
		ctx, cancel := context.WithCancel(n.ctx)
		defer cancel()
		go m.Follower().Run(ctx)
		must(t, m.Follower().Await(n.ctx, 0))
		_, err = m.Check(n.ctx, q)
		wantErr(t, err, errDown)
	})
}

func TestCheckOfSomeBanks(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		n.bank("other", "log", nil)
		s := signal(hashing.PDQ, 1)
		a, b := n.flagSignals("bank", s), n.flagSignals("other", s)
		for _, test := range []struct {
			name   string
			banks  []string
			want   []storage.EntryID
			action matcher.Action
		}{
			{"all", nil, ids(a, b), matcher.ActionBlock},
			{"an empty list is all", []string{}, ids(a, b), matcher.ActionBlock},
			{"one", []string{"other"}, ids(b), matcher.ActionLog},
			{"both, one twice", []string{"other", "bank", "other"}, ids(a, b), matcher.ActionBlock},
		} {
			t.Run(test.name, func(t *testing.T) {
				v := n.check(matcher.Question{Signals: []hashing.Signal{s}, Banks: test.banks})
				equal(t, matched(v), test.want)
				if v.Action != test.action || v.Level != matcher.Match {
					t.Errorf("level %s, action %s", v.Level, v.Action)
				}
			})
		}
	})
}

// A poor signal is not asked; a poor row of an entry is stored, but finds nothing.
func TestCheckOfPoorSignals(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 31, hashing.DHash: 2}})
	poor := signal(hashing.PDQ, 1)
	known := n.flagSignals("bank", poor)
	poor.Quality = hashing.MinQuality - 1
	if v := n.checkSignals(poor); v.Level != matcher.None || v.Unhashable == nil {
		t.Errorf("quality 49: %s, unhashable %v; it is not searched, and that is said", v.Level, v.Unhashable)
	}
	poor.Quality = hashing.MinQuality
	equal(t, matched(n.checkSignals(poor)), ids(known))

	// The brightness of this picture only grows to the right: each bit of its dHash is the same.
	img := image.NewGray(image.Rect(0, 0, 128, 128))
	for y := range 128 {
		for x := range 128 {
			img.SetGray(x, y, color.Gray{Y: uint8(x + 100*(y/16%2))})
		}
	}
	grown := n.flag(matcher.Flagging{Media: media(pngOf(img))})
	for _, s := range grown.Entry.Signals {
		if s.Algorithm == hashing.DHash {
			t.Errorf("a dhash that says nothing is stored: %v", s)
		}
	}

	// Bare stripes have PDQ quality 100, and a hash of too few bits to be told from other stripes.
	for y := range 128 {
		for x := range 128 {
			img.SetGray(x, y, color.Gray{Y: uint8(255 * ((x + 1) / 4 % 2))})
		}
	}
	var unhashable *matcher.UnhashableError
	if _, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Media: media(pngOf(img))}); !errors.As(err, &unhashable) {
		t.Errorf("stripes are flagged: %v; no row of them would match", err)
	}
	if v := n.checkMedia(pngOf(img)); v.Unhashable == nil {
		t.Error("stripes are checked, and the verdict does not say that they cannot be told")
	}
}

func TestCheckListsTheStrongestHundred(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changeBank("bank", matcher.BankEdit{Action: ptr("log")})
	n.bank("strict", "block", nil)
	centre := signal(hashing.PDQ, 1)
	far := n.flagSignals("strict", away(centre, 31))
	for i := range 120 {
		near := away(centre, 1+i%20)
		near.Value[3] ^= 1 << (i / 20) // another one each time, up to 21 bits away
		n.flagSignals("bank", near)
	}
	v := n.checkSignals(centre)
	if v.MatchesTotal != 121 || len(v.Matches) != matcher.MaxMatches {
		t.Errorf("%d of %d listed, want 100 of 121", len(v.Matches), v.MatchesTotal)
	}
	if v.Action != matcher.ActionBlock {
		t.Errorf("action %s, not that of the farthest", v.Action)
	}
	if !slices.IsSortedFunc(v.Matches, func(a, b matcher.Found) int { return a.Distance - b.Distance }) {
		t.Error("matches are not ordered by distance")
	}
	if matched(v)[matcher.MaxMatches-1] != far.Entry.ID {
		t.Error("the farthest, which decides, is not the last of those listed")
	}
}

func TestCheckTellsWhatItKnows(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 31, hashing.PHash: 4}})
		s, p := signal(hashing.PDQ, 1), signal(hashing.PHash, 1)
		flagged := n.flag(matcher.Flagging{Signals: []hashing.Signal{s, p}, Labels: []string{"logo", "flag", "logo"}})
		v := n.check(matcher.Question{Signals: []hashing.Signal{away(p, 3), away(s, 5)}, ContentID: "post 7"})
		head, err := n.catalogue.Head(n.ctx)
		must(t, err)
		if v.ContentID != "post 7" || v.IndexSeq != flagged.Seq || v.LogID != head.LogID || v.Media != nil || v.Unhashable != nil || v.Unexplained {
			t.Errorf("verdict %+v", v)
		}
		found := v.Matches[0]
		equal(t, found.Labels, []string{"flag", "logo"})
		equal(t, found.All, []matcher.Evidence{
			{Algorithm: hashing.PDQ, Distance: 5, Radius: 31, Level: matcher.Match},
			{Algorithm: hashing.PHash, Distance: 3, Radius: 4, Level: matcher.Review},
		})
		equal(t, found.Evidence, found.All[0])
		if found.Bank.Name != "bank" || found.Action != matcher.ActionBlock {
			t.Errorf("bank %q, action %s", found.Bank.Name, found.Action)
		}
	})
}

func TestCheckTimings(t *testing.T) {
	t.Parallel()
	var now time.Duration
	var told []matcher.Verdict
	c := catalogues["memory"](t)
	n := start(t, c, matcher.Options{})
	m := matcher.New(c, n.blobs, pictures, index.New(index.Options{}), matcher.Options{
		Now:    func() time.Time { now += time.Second; return time.Time{}.Add(now) },
		Events: matcher.Events{Checked: func(v matcher.Verdict) { told = append(told, v) }},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go m.Follower().Run(ctx)
	must(t, m.Follower().Await(ctx, 0))
	v, err := m.Check(ctx, matcher.Question{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}})
	must(t, err)
	equal(t, v.Timings, matcher.Timings{Hash: time.Second, Search: time.Second, Explain: time.Second, Total: 3 * time.Second})
	equal(t, told, []matcher.Verdict{v})
}

// The deciding row's variant is told: the stored one's for a plain query, else the query's.
func TestCheckNamesTheVariant(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	variant := func(v hashing.Variant) hashing.Signal {
		s := signal(hashing.PDQ, uint64(v))
		s.Variant = v
		return s
	}
	for _, v := range []hashing.Variant{hashing.Plain, hashing.CLI, hashing.White, hashing.Black} {
		n.flagSignals("bank", variant(v))
	}
	asPlain, asBlack := variant(hashing.CLI), variant(hashing.White)
	asPlain.Variant, asBlack.Variant = hashing.Plain, hashing.Black
	for _, test := range []struct {
		name string
		ask  hashing.Signal
		want hashing.Variant
	}{
		{"plain to plain", variant(hashing.Plain), hashing.Plain},
		{"plain to cli", asPlain, hashing.CLI},
		{"black to white", asBlack, hashing.Black},
		{"white to white", variant(hashing.White), hashing.White},
	} {
		if v := n.checkSignals(test.ask); len(v.Matches) != 1 || v.Matches[0].Variant != test.want {
			t.Errorf("%s: %+v", test.name, v.Matches)
		}
	}
}

func TestCheckOfAChangeToCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &faulty{Catalogue: catalogues["memory"](t)}
		n := start(t, c, matcher.Options{Patience: 2 * time.Second})
		n.bank("bank", "block", nil)
		s := []hashing.Signal{signal(hashing.PDQ, 1)}
		c.down.Store(true)
		// Somebody else writes, and this node cannot read it.
		other := start(t, c.Catalogue, matcher.Options{})
		flagged := other.flagSignals("bank", s...)

		begin := time.Now()
		_, err := n.Check(n.ctx, matcher.Question{Signals: s, MinSeq: flagged.Seq})
		wantErr(t, err, matcher.ErrIndexBehind)
		if waited := time.Since(begin); waited != 2*time.Second {
			t.Errorf("waited for %s", waited)
		}
		if v := n.checkSignals(s...); v.Level != matcher.None || v.IndexSeq != flagged.Seq-1 {
			t.Errorf("without min_seq: level %s at %d", v.Level, v.IndexSeq)
		}

		ctx, cancel := context.WithTimeout(n.ctx, time.Second)
		defer cancel()
		_, err = n.Check(ctx, matcher.Question{Signals: s, MinSeq: flagged.Seq})
		wantErr(t, err, context.DeadlineExceeded)

		// It comes back while a check is waiting.
		time.AfterFunc(time.Second, func() { c.down.Store(false) })
		for err = matcher.ErrIndexBehind; errors.Is(err, matcher.ErrIndexBehind); {
			var v matcher.Verdict
			if v, err = n.Check(n.ctx, matcher.Question{Signals: s, MinSeq: flagged.Seq}); err == nil {
				equal(t, matched(v), ids(flagged))
			}
		}
		must(t, err)
	})
}

func TestCheckWithoutTheCatalogue(t *testing.T) {
	t.Parallel()
	c := &faulty{Catalogue: catalogues["memory"](t)}
	faults := make(chan error, 100)
	n := start(t, c, matcher.Options{Events: matcher.Events{Fault: func(err error) { faults <- err }}})
	n.bank("bank", "block", nil)
	s := signal(hashing.PDQ, 1)
	flagged := n.flag(matcher.Flagging{Signals: []hashing.Signal{s}, Labels: []string{"label"}})
	c.down.Store(true)
	v := n.checkSignals(s)
	equal(t, matched(v), ids(flagged))
	if !v.Unexplained || v.Action != matcher.ActionHold || v.Matches[0].Labels != nil {
		t.Errorf("verdict %+v", v)
	}
	wantErr(t, <-faults, errDown)
	c.down.Store(false)
	if v := n.checkSignals(s); v.Unexplained || v.Action != matcher.ActionBlock || len(v.Matches[0].Labels) != 1 {
		t.Errorf("verdict %+v", v)
	}
}
