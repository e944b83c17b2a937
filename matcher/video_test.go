package matcher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/hashing/video"
	"vigie/matcher"
	"vigie/storage"
)

// film is a video as the tests have them: its scenes, each a number that stands for a frame, and when
// they are.
type film struct {
	Name   string // makes the bytes of films with the same scenes differ
	Scenes []uint64
	Times  []uint32 // milliseconds; nil: a scene each second
	Turned hashing.Transform
	Noise  int    // bits
	Texts  bool   // the scenes are graphics
	Lasts  uint32 // milliseconds; 0: to the last scene
	Next   *film  // a further stream
	Broken hashing.MediaErrorKind
	Ends   hashing.MediaErrorKind // after the last scene
}

const filmMark = "film "

// black is a scene in which nothing can be told from others.
const black = math.MaxUint64

func (f film) media() *hashing.Media {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return media(append([]byte(filmMark), text...))
}

// show is a film of some scenes, a second each.
func show(scenes ...uint64) film { return film{Scenes: scenes} }

// part is so many scenes from a number on.
func part(from uint64, n int) (scenes []uint64) {
	for i := range n {
		scenes = append(scenes, from+uint64(i))
	}
	return scenes
}

// cinema plays films.
type cinema struct {
	played  int // frames
	options hashing.VideoOptions
}

func (*cinema) Container(data []byte) string {
	if bytes.HasPrefix(data, []byte(filmMark)) {
		return "film"
	}
	return ""
}

func (c *cinema) Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (hashing.Video, error) {
	c.options = o
	var f film
	if err := json.Unmarshal(data[len(filmMark):], &f); err != nil {
		return hashing.Video{}, err
	}
	v := hashing.Video{Format: "film", Width: 640, Height: 480}
	if f.Broken != "" {
		return v, &hashing.MediaError{Kind: f.Broken}
	}
	for stream, number := &f, 0; stream != nil; stream, number = stream.Next, number+1 {
		last, err := c.play(ctx, *stream, number, fn)
		v.Duration, v.Streams = max(v.Duration, stream.Lasts, last), number+1
		if err != nil {
			return v, err
		}
	}
	if f.Ends != "" {
		v.Cut = true
	}
	return v, nil
}

// play plays one stream, and returns when its last scene is.
func (c *cinema) play(ctx context.Context, f film, stream int, fn func(hashing.Frame) error) (last uint32, err error) {
	for i, scene := range f.Scenes {
		if err := ctx.Err(); err != nil {
			return last, err
		}
		time := uint32(i) * 1000
		if f.Times != nil {
			time = f.Times[i]
		}
		last = time
		if scene == black {
			if i == 0 || f.Scenes[i-1] != black {
				if err := fn(hashing.Frame{Stream: stream, Time: time}); err != nil {
					return last, err
				}
			}
			continue
		}
		s := frameSignal(scene, f.Noise)
		s.Time = time
		s.Value = hashing.Value(pdq.DihedralOf(pdq.Hash(s.Value))[f.Turned])
		frame := hashing.Frame{Stream: stream, Time: time, Quality: s.Quality, Signals: []hashing.Signal{s}}
		for t, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
			s.Value = hashing.Value(h)
			frame.Queries = append(frame.Queries, hashing.Query{Signal: s, Transform: hashing.Transform(t), Graphic: f.Texts})
		}
		c.played++
		if err := fn(frame); err != nil {
			return last, err
		}
	}
	return last, nil
}

func frameSignal(scene uint64, noise int) hashing.Signal {
	return away(signal(hashing.PDQ, 1000+scene), noise)
}

// newCinema is a node that takes videos.
func newCinema(t testing.TB) (*node, *cinema) {
	c := &cinema{}
	n := start(t, catalogues["memory"](t), matcher.Options{Videos: c})
	n.bank("bank", "block", nil)
	return n, c
}

func (n *node) flagFilm(f film) matcher.Flagged {
	n.t.Helper()
	return n.flag(matcher.Flagging{Media: f.media()})
}

func (n *node) checkFilm(f film) matcher.Verdict {
	n.t.Helper()
	return n.check(matcher.Question{Media: f.media()})
}

// one is the only match of a verdict.
func one(t testing.TB, v matcher.Verdict) matcher.Found {
	t.Helper()
	if len(v.Matches) != 1 {
		t.Fatalf("%d matches: %+v", len(v.Matches), v.Matches)
	}
	return v.Matches[0]
}

func TestClip(t *testing.T) {
	n, _ := newCinema(t)
	f := n.flagFilm(film{Name: "known", Scenes: part(0, 30)})
	equal(t, *f.Frames, matcher.Frames{Kept: 30})
	equal(t, f.Entry.Media.Duration, uint32(29_000))
	equal(t, f.Entry.Media.Format, "film")

	v := n.checkFilm(film{Scenes: slices.Concat(part(500, 10), part(12, 5), part(700, 20)), Turned: hashing.Mirror, Noise: 12})
	m := one(t, v)
	equal(t, m.Entry, f.Entry.ID)
	equal(t, []any{v.Level, v.Action}, []any{matcher.Match, matcher.ActionBlock})
	equal(t, m.Transform, hashing.Mirror)
	equal(t, m.Distance, 12)
	equal(t, m.Video.Spans, []matcher.Span{{From: 10_000, To: 15_000, KnownFrom: 12_000, KnownTo: 17_000, Frames: 5}})
	equal(t, []int{m.Video.Frames, m.Video.SpansTotal}, []int{5, 1})
	equal(t, *v.Frames, matcher.Frames{Kept: 35})
	equal(t, v.Media.Duration, uint32(34_000))
	equal(t, len(v.Signals), 2) // the digests: frames are counted, not listed

	equal(t, n.checkFilm(show(part(900, 30)...)).Level, matcher.None)
}

func TestLongVideo(t *testing.T) {
	n, c := newCinema(t)
	n.flagFilm(film{Scenes: part(0, 300)})
	v := n.checkFilm(film{Name: "again", Scenes: slices.Concat(part(1000, 500), part(100, 150), part(2000, 500))})
	equal(t, one(t, v).Video.Spans, []matcher.Span{{From: 500_000, To: 650_000, KnownFrom: 100_000, KnownTo: 250_000, Frames: 150}})

	// The first match ends it, soon after.
	c.played = 0
	q := matcher.Question{Media: film{Name: "first", Scenes: slices.Concat(part(1000, 100), part(100, 300))}.media(), StopAtFirst: true}
	v = n.check(q)
	equal(t, v.Level, matcher.Match)
	equal(t, v.Frames.Cut, true)
	if c.played < 102 || c.played > 110 {
		t.Errorf("%d frames are looked at to find the 101st and the next", c.played)
	}
}

// TestKnownBytesNeedNoDecoding also covers that a verdict is given for a known file that is broken.
func TestKnownBytesNeedNoDecoding(t *testing.T) {
	n, c := newCinema(t)
	f := film{Scenes: part(0, 30)}
	n.flagFilm(f)
	c.played = 0
	v := n.check(matcher.Question{Media: f.media(), StopAtFirst: true})
	equal(t, one(t, v).Algorithm, hashing.SHA256)
	equal(t, c.played, 0)

	broken := film{Broken: hashing.Corrupt}
	_, err := n.Check(n.ctx, matcher.Question{Media: broken.media()})
	if bad, ok := hashing.AsMediaError(err); !ok || bad.Kind != hashing.Corrupt {
		t.Errorf("a broken video: %v", err)
	}
	_, err = n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Media: broken.media()})
	if bad, ok := hashing.AsMediaError(err); !ok || bad.Kind != hashing.Corrupt {
		t.Errorf("a broken video, flagged: %v", err)
	}
	known := n.flag(matcher.Flagging{Media: broken.media(), ExactOnly: true})
	equal(t, known.Entry.Media.Format, "film")
	v = n.check(matcher.Question{Media: broken.media()})
	equal(t, one(t, v).Entry, known.Entry.ID)
	equal(t, v.Unhashable.Reason, string(hashing.Corrupt))
}

// TestRuleForVideos is the rule, case by case, against a known video of 40 scenes.
func TestRuleForVideos(t *testing.T) {
	n, _ := newCinema(t)
	known := n.flagFilm(film{Name: "known", Scenes: part(0, 40)})
	short := n.flagFilm(film{Name: "short", Scenes: part(100, 9)})
	still := n.flagSignals("bank", frameSignal(200, 0))
	list := func(scenes ...uint64) matcher.Question {
		var signals []hashing.Signal
		for i, scene := range scenes {
			s := frameSignal(scene, 0)
			s.Time = uint32(i+1) * 1000
			signals = append(signals, s)
		}
		return matcher.Question{Signals: signals}
	}
	filmed := func(f film) matcher.Question { return matcher.Question{Media: f.media()} }
	close := film{Scenes: []uint64{500, 3, 4, 501}, Times: []uint32{0, 5000, 5900, 9000}}
	for _, c := range []struct {
		name  string
		ask   matcher.Question
		entry matcher.Flagged
		level matcher.Level
	}{
		{"one frame of many", filmed(show(500, 3, 501, 502)), known, matcher.Likely},
		{"one frame, again and again", filmed(show(500, 3, 501, 3, 502, 3)), known, matcher.Likely},
		{"one frame of each, twice the same second", filmed(close), known, matcher.Likely},
		{"two frames, a second apart", filmed(show(500, 3, 4, 501)), known, matcher.Match},
		{"two frames, in another order", filmed(show(500, 30, 4, 501)), known, matcher.Match},
		{"three of forty frames", filmed(show(1, 2, 3)), known, matcher.Match},
		{"a picture: one frame of many", matcher.Question{Signals: []hashing.Signal{frameSignal(3, 0)}}, known, matcher.Likely},
		{"one frame of a short film", filmed(show(500, 104, 501)), short, matcher.Match},
		{"a picture: one frame of a short film", matcher.Question{Signals: []hashing.Signal{frameSignal(104, 0)}}, short, matcher.Match},
		{"a known picture in a video", filmed(show(500, 501, 200, 502)), still, matcher.Match},
		{"a list: one frame", list(500, 3, 501), known, matcher.Likely},
		{"a list: two frames", list(500, 3, 4, 501), known, matcher.Match},
		{"a list: a known picture", list(500, 200, 501), still, matcher.Match},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := n.check(c.ask)
			m := one(t, v)
			equal(t, m.Entry, c.entry.Entry.ID)
			equal(t, []any{v.Level, m.Level}, []any{c.level, c.level})
			equal(t, v.Action, map[matcher.Level]matcher.Action{matcher.Likely: matcher.ActionHold, matcher.Match: matcher.ActionBlock}[c.level])
			if m.Video == nil || m.Video.Frames == 0 || len(m.Video.Spans) == 0 {
				t.Errorf("the verdict does not say where: %+v", m.Video)
			}
		})
	}
	// Pictures of pictures know nothing of all that.
	if m := one(t, n.checkSignals(frameSignal(200, 9))); m.Video != nil || m.Level != matcher.Match {
		t.Errorf("a picture of a picture: %+v", m)
	}
}

// TestFlagOfVideos: what is the same media, and what is not.
func TestFlagOfVideos(t *testing.T) {
	test := func(t *testing.T, n *node) {
		a := n.flagFilm(film{Name: "a", Scenes: part(0, 20)})
		again := n.flagFilm(film{Name: "a", Scenes: part(0, 20)})
		equal(t, []any{again.Created, again.Entry.ID, len(again.Entry.Signals)}, []any{false, a.Entry.ID, 22})

		b := n.flagFilm(film{Name: "b", Scenes: part(0, 20)}) // other bytes, though the same frames
		equal(t, b.Created, true)
		equal(t, b.Neighbours[0].Entry, a.Entry.ID)
		picture := n.flagSignals("bank", frameSignal(0, 0)) // it has the PDQ of the first frame
		equal(t, picture.Created, true)

		var list []hashing.Signal
		for i := range uint64(5) {
			s := frameSignal(50+i, 0)
			s.Time = uint32(i) * 1000
			list = append(list, s)
		}
		poor := frameSignal(60, 0)
		poor.Quality, poor.Time = 10, 9000
		c := n.flagSignals("bank", append(list, poor)...)
		equal(t, *c.Frames, matcher.Frames{Kept: 5, Dropped: 1})
		equal(t, len(c.Entry.Signals), 5)
		equal(t, n.flagSignals("bank", list...).Entry.ID, c.Entry.ID)
		longer := frameSignal(70, 0)
		longer.Time = 7000
		equal(t, n.flagSignals("bank", append(list, longer)...).Created, true)

		_, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Media: film{Name: "black"}.media()})
		var unhashable *matcher.UnhashableError
		if !errors.As(err, &unhashable) {
			t.Errorf("a video without a usable frame: %v", err)
		}
		n.retract(a.Entry.ID)
		equal(t, n.flagFilm(film{Name: "a", Scenes: part(0, 20)}).Retracted[0].ID, a.Entry.ID)
	}
	for name, open := range catalogues {
		t.Run(name, func(t *testing.T) {
			n := start(t, open(t), matcher.Options{Videos: &cinema{}})
			n.bank("bank", "block", nil)
			test(t, n)
		})
	}
}

func TestMaxFrames(t *testing.T) {
	n, _ := newCinema(t)
	equal(t, n.changeBank("bank", matcher.BankEdit{MaxFrames: ptr(10)}).Policy.MaxFrames, 10)
	f := n.flagFilm(film{Scenes: part(0, 100)})
	equal(t, *f.Frames, matcher.Frames{Kept: 10, Dropped: 90})
	var times []uint32
	for _, s := range f.Entry.Signals {
		if s.Algorithm == hashing.PDQ {
			times = append(times, s.Time)
		}
	}
	equal(t, []uint32{times[0], times[9]}, []uint32{0, 99_000})
	for i := 1; i < len(times); i++ {
		if gap := times[i] - times[i-1]; gap < 5000 || gap > 20_000 {
			t.Errorf("frames are not spread: %v", times)
		}
	}
	for _, wrong := range []int{-1, matcher.MaxMaxFrames + 1} {
		_, err := n.ChangeBank(n.ctx, local, "bank", matcher.BankEdit{MaxFrames: &wrong})
		wantInput(t, err, "max_frames")
	}
}

func TestVPDQThresholds(t *testing.T) {
	n, _ := newCinema(t)
	n.flagFilm(film{Name: "known", Scenes: part(0, 40)})
	ask := film{Scenes: slices.Concat(part(0, 6), part(500, 4))}.media() // 60 % of the one, 15 % of the other
	for _, c := range []struct {
		least *matcher.VPDQ
		want  bool
	}{{nil, false}, {&matcher.VPDQ{QueryPercent: 60}, true}, {&matcher.VPDQ{QueryPercent: 60, TargetPercent: 16}, false}, {&matcher.VPDQ{TargetPercent: 15}, true}} {
		m := one(t, n.check(matcher.Question{Media: ask, VPDQ: c.least}))
		equal(t, []any{m.Video.QueryPercent, m.Video.TargetPercent, m.Video.VPDQ}, []any{60.0, 15.0, c.want})
	}
	_, err := n.Check(n.ctx, matcher.Question{Media: ask, VPDQ: &matcher.VPDQ{QueryPercent: 101}})
	wantInput(t, err, "query_percent")
}

func TestCheckOfAVideoIsCancelled(t *testing.T) {
	n, _ := newCinema(t)
	ctx, cancel := context.WithCancel(n.ctx)
	cancel()
	_, err := n.Check(ctx, matcher.Question{Media: show(1, 2, 3).media()})
	wantErr(t, err, context.Canceled)
}

// TestTimesOfLists: the largest time does no harm, a larger one is refused.
func TestTimesOfLists(t *testing.T) {
	n, _ := newCinema(t)
	n.flagFilm(film{Name: "known", Scenes: part(0, 20)})
	late := frameSignal(3, 0)
	late.Time = math.MaxInt32
	m := one(t, n.checkSignals(frameSignal(2, 0), late))
	equal(t, m.Level, matcher.Match)
	equal(t, m.Video.Spans[1].To, late.Time+1000)
	n.flagSignals("bank", frameSignal(90, 0), late)
	for _, time := range []uint32{math.MaxInt32 + 1, math.MaxUint32} {
		late.Time = time
		_, err := n.Check(n.ctx, matcher.Question{Signals: []hashing.Signal{late}})
		wantInput(t, err, "signals")
		_, err = n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{late}})
		wantInput(t, err, "signals")
	}
}

// TestTextInVideos: title cards and credits crowd together, and are held to the tighter rule of graphics.
func TestTextInVideos(t *testing.T) {
	n, _ := newCinema(t)
	n.flagFilm(film{Name: "known", Scenes: part(0, 20), Texts: true})
	for _, c := range []struct {
		noise int
		want  matcher.Level
		spans bool
	}{{14, matcher.Match, true}, {18, matcher.Review, false}, {34, matcher.None, false}} {
		v := n.checkFilm(film{Name: "copy", Scenes: part(5, 5), Noise: c.noise, Texts: true})
		equal(t, v.Level, c.want)
		if c.want > matcher.None {
			equal(t, one(t, v).Video != nil, c.spans)
		}
	}
	equal(t, n.checkFilm(film{Name: "photographs", Scenes: part(5, 5), Noise: 18}).Level, matcher.Match)
}

// TestDenseVideos: a check looks at more frames than an entry has, and those between them match nothing.
func TestDenseVideos(t *testing.T) {
	n, c := newCinema(t)
	n.flagFilm(film{Name: "known", Scenes: part(0, 20)})
	var upload film
	for i := range uint64(40) {
		upload.Times = append(upload.Times, uint32(i)*250)
		scene := 900 + i // between two frames of the entry
		if i%4 == 1 {
			scene = i / 4
		}
		upload.Scenes = append(upload.Scenes, scene)
	}
	v := n.checkFilm(upload)
	equal(t, c.options.PerSecond, hashing.CheckPerSecond)
	m := one(t, v).Video
	equal(t, []any{v.Frames.Kept, m.Frames, m.SpansTotal}, []any{40, 10, 1})
	equal(t, []any{m.Share, m.KnownShare}, []any{10 / 10.75, 10.0 / 20})
	equal(t, []any{m.QueryPercent, m.TargetPercent, m.VPDQ}, []any{100 * 10 / 10.75, 50.0, true}) // all but the frame at 0
	// A list of every frame is no other.
	var list []hashing.Signal
	for i, scene := range upload.Scenes {
		s := frameSignal(scene, 0)
		s.Time = upload.Times[i]
		list = append(list, s)
	}
	equal(t, one(t, n.checkSignals(list...)).Video.QueryPercent, m.QueryPercent)
}

// TestPauses: a stretch of black, be it of the upload or of the entry, shows nothing.
func TestPauses(t *testing.T) {
	n, _ := newCinema(t)
	dark := slices.Repeat([]uint64{black}, 30)
	n.flagFilm(film{Name: "known", Scenes: part(0, 60)})
	v := n.checkFilm(film{Name: "decoy", Scenes: slices.Concat(part(20, 5), dark, []uint64{700}), Lasts: 55_000})
	m := one(t, v).Video
	equal(t, m.Spans, []matcher.Span{{From: 0, To: 5000, KnownFrom: 20_000, KnownTo: 25_000, Frames: 5}})
	equal(t, []any{m.Share, m.QueryPercent}, []any{5.0 / 55, 20.0})
	equal(t, *v.Frames, matcher.Frames{Kept: 6, Dropped: 1})

	// The entry: a still of five seconds, black, and another; and black at the end.
	entry := film{Name: "entry", Scenes: slices.Concat([]uint64{800}, dark, []uint64{900, black}), Lasts: 100_000}
	entry.Times = append(entry.Times, 0)
	for i := range uint32(30) {
		entry.Times = append(entry.Times, 5000+i*1000)
	}
	entry.Times = append(entry.Times, 35_000, 40_000)
	flagged := n.flagFilm(entry)
	equal(t, *flagged.Frames, matcher.Frames{Kept: 2, Dropped: 2})
	m = one(t, n.checkFilm(film{Name: "copy", Scenes: []uint64{800, 950}, Lasts: 2000})).Video
	equal(t, m.Spans, []matcher.Span{{From: 0, To: 1000, KnownFrom: 0, KnownTo: 5000, Frames: 1}})
	equal(t, []any{m.KnownShare, m.TargetPercent}, []any{5.0 / 100, 50.0})
	v = n.checkFilm(entry)
	for _, f := range v.Matches {
		if f.Entry == flagged.Entry.ID {
			equal(t, []any{f.Video.Share, f.Video.KnownShare, f.Video.TargetPercent}, []any{0.1, 0.1, 100.0})
		}
	}
	// The same still after the black as before it.
	again := film{Name: "again", Scenes: []uint64{810, black, 810, black, 811}, Times: []uint32{0, 5000, 35_000, 45_000, 60_000}, Lasts: 65_000}
	n.flagFilm(again)
	m = one(t, n.checkFilm(film{Name: "copy of again", Scenes: []uint64{810, 950}, Lasts: 2000})).Video
	equal(t, m.KnownShare, 15.0/65)

	// A list of what is shown once a second tells by its gap that there is nothing.
	var list []hashing.Signal
	for _, second := range []uint32{0, 1, 2, 3, 4, 35, 36} {
		s := frameSignal(830+uint64(second/10), 0)
		s.Time = 1000 * second
		list = append(list, s)
	}
	n.flagSignals("bank", list...)
	m = one(t, n.checkFilm(film{Name: "copy of the list", Scenes: []uint64{830, 950}, Lasts: 2000})).Video
	equal(t, m.TargetPercent, 100*5.0/7)
}

// TestPausesOfEntries: what is stored of any film tells for how long each of its scenes is shown, but for a
// second at the end of each, and for black of at most two seconds.
func TestPausesOfEntries(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n, _ := newCinema(t)
		defer n.stop()
		known := film{Name: "known"}
		shown, most := map[uint64]int{}, map[uint64]int{} // milliseconds, and with what may be added
		for range rapid.IntRange(1, 12).Draw(r, "scenes") {
			scene := rapid.SampledFrom([]uint64{black, black, 0, 1, 2, 3}).Draw(r, "scene")
			before := len(known.Scenes) - 1
			if before >= 0 && known.Scenes[before] == scene {
				continue // a scene that goes on is no frame
			}
			seconds := rapid.Uint32Range(1, 20).Draw(r, "seconds")
			known.Scenes, known.Times = append(known.Scenes, scene), append(known.Times, known.Lasts)
			known.Lasts += 1000 * seconds
			shown[scene] += 1000 * int(seconds)
			switch {
			case scene != black:
				most[scene] += 1000 * int(seconds)
			case before >= 0 && seconds <= 2:
				most[known.Scenes[before]] += 1000 * int(seconds)
			case before >= 0:
				most[known.Scenes[before]] += 1000
			}
		}
		if shown[black] == int(known.Lasts) || n.flagFilm(known).Frames.Kept == 1 {
			return // nothing, or a picture
		}
		for scene, least := range shown {
			if scene == black {
				continue
			}
			v := n.checkFilm(film{Name: "a scene", Scenes: []uint64{scene, 50, 51}})
			if len(v.Matches) != 1 || v.Matches[0].Video == nil {
				t.Fatalf("scene %d: %+v", scene, v.Matches)
			}
			if got := v.Matches[0].Video.KnownShare * float64(known.Lasts); got < float64(least)-0.5 || got > float64(most[scene])+0.5 {
				t.Errorf("scene %d is said to be shown for %.0f ms, is %d to %d: %+v", scene, got, least, most[scene], known)
			}
		}
	})
}

// TestSlides holds vPDQ's percentages against the reference's measure, of a frame each second: a still is
// one frame to us.
func TestSlides(t *testing.T) {
	n, _ := newCinema(t)
	seconds := func(f film) (features []video.Feature) {
		for i, scene := range f.Scenes {
			for at := f.Times[i]; at < append(f.Times, f.Lasts)[i+1]; at += 1000 {
				if scene != black {
					features = append(features, video.Feature{Quality: 100, Hash: pdq.Hash(frameSignal(scene, 0).Value), Seconds: float64(at) / 1000})
				}
			}
		}
		return features
	}
	still := uint64(0)
	known := film{Name: "known", Scenes: []uint64{still, 1, 2, 3, black, 4}, Times: []uint32{0, 20_000, 21_000, 22_000, 23_000, 30_000}, Lasts: 34_000}
	n.flagFilm(known)
	for name, upload := range map[string]film{
		"a known still for long, and a clip":    {Scenes: []uint64{still, 50, 51, 52, 53, 54}, Times: []uint32{0, 50_000, 51_000, 52_000, 53_000, 54_000}, Lasts: 55_000},
		"a known clip after a still for long":   {Scenes: []uint64{60, 1, 2, 3, 61}, Times: []uint32{0, 50_000, 51_000, 52_000, 53_000}, Lasts: 55_000},
		"slides, black between them":            {Scenes: []uint64{still, black, 60, black, 4, black}, Times: []uint32{0, 8000, 10_000, 18_000, 30_000, 34_000}, Lasts: 60_000},
		"the whole":                             known,
		"the known still, and again for longer": {Scenes: []uint64{still, 70, still}, Times: []uint32{1000, 3000, 5000}, Lasts: 35_000},
	} {
		t.Run(name, func(t *testing.T) {
			query, target := video.MatchPercent(seconds(upload), seconds(known), video.DefaultMatchOptions())
			upload.Name = name
			check := func(kind string, q matcher.Question) {
				m := one(t, n.check(q)).Video
				if math.Abs(m.QueryPercent-query) > 0.01 || math.Abs(m.TargetPercent-target) > 0.01 {
					t.Errorf("%s: %.2f %% and %.2f %%, the reference has %.2f %% and %.2f %%", kind, m.QueryPercent, m.TargetPercent, query, target)
				}
			}
			check("the file", matcher.Question{Media: upload.media()})
			var list []hashing.Signal
			for _, f := range seconds(upload) {
				list = append(list, f.Signal())
			}
			check("its list", matcher.Question{Signals: list})
		})
	}
}

// TestThinnedEntries: where few of the entry's frames are stored, one of them is no more telling than one of many.
func TestThinnedEntries(t *testing.T) {
	for _, most := range []int{2, 8, 600} {
		n, _ := newCinema(t)
		n.changeBank("bank", matcher.BankEdit{MaxFrames: &most})
		f := n.flagFilm(film{Name: "known", Scenes: part(0, 100)})
		equal(t, f.Frames.Kept, min(most, 100))
		equal(t, one(t, n.checkSignals(frameSignal(99, 0))).Level, matcher.Likely)
		equal(t, one(t, n.checkFilm(film{Name: "copy", Scenes: part(0, 100)})).Level, matcher.Match)
	}
	// What was one still for most of the time is known by it.
	n, _ := newCinema(t)
	n.flagFilm(film{Name: "still", Scenes: part(0, 6), Times: []uint32{0, 50_000, 51_000, 52_000, 53_000, 54_000}})
	equal(t, one(t, n.checkSignals(frameSignal(0, 0))).Level, matcher.Match)
	equal(t, one(t, n.checkSignals(frameSignal(3, 0))).Level, matcher.Likely)
	// So is an animation, however slow: none of its frames was left out.
	slow := []hashing.Signal{frameSignal(300, 0), signal(hashing.PHash, 300)}
	for i := range uint32(7) {
		slow = append(slow, at(frameSignal(301+uint64(i), 0), 5000*(i+1)))
	}
	n.flagSignals("bank", slow...)
	equal(t, one(t, n.checkSignals(frameSignal(303, 0))).Level, matcher.Match)
}

// TestOneLogoTwice: what a video shows twice is one thing in common with others that do so.
func TestOneLogoTwice(t *testing.T) {
	n, _ := newCinema(t)
	const logo = 999
	n.flagFilm(film{Name: "known", Scenes: slices.Concat([]uint64{logo, black}, part(0, 40), []uint64{black, logo})})
	equal(t, one(t, n.checkFilm(film{Scenes: slices.Concat([]uint64{logo, black}, part(100, 20), []uint64{logo})})).Level, matcher.Likely)
	equal(t, one(t, n.checkFilm(film{Scenes: slices.Concat([]uint64{logo, black}, part(0, 1), []uint64{logo})})).Level, matcher.Match)
}

// TestFirstFrameOfAVideo: it is a frame, and no picture: nothing counts beyond the radius.
func TestFirstFrameOfAVideo(t *testing.T) {
	n, _ := newCinema(t)
	n.flagFilm(film{Name: "known", Scenes: part(0, 40)})
	single := n.flagSignals("bank", frameSignal(200, 0))
	ask := func(scene uint64, noise int) matcher.Verdict {
		return n.check(matcher.Question{Signals: []hashing.Signal{frameSignal(scene, noise)}, Band: true})
	}
	equal(t, ask(0, 31).Level, matcher.Likely)
	for _, scene := range []uint64{0, 7} {
		equal(t, ask(scene, 32).Level, matcher.None)
		equal(t, ask(scene, 41).Level, matcher.None)
	}
	equal(t, matched(ask(200, 41)), ids(single))
}

// TestStreams: whichever of a file's streams shows what is known.
func TestStreams(t *testing.T) {
	n, _ := newCinema(t)
	known := n.flagFilm(film{Name: "known", Scenes: part(0, 20), Next: &film{Scenes: part(300, 20)}})
	equal(t, *known.Frames, matcher.Frames{Kept: 20})
	equal(t, n.checkFilm(show(part(300, 20)...)).Level, matcher.None) // a player shows the first
	for name, f := range map[string]film{
		"first":  {Scenes: part(5, 5), Lasts: 5000, Next: &film{Scenes: part(500, 5)}},
		"second": {Scenes: part(500, 5), Lasts: 5000, Next: &film{Scenes: part(5, 5)}},
		"third, after black": {
			Scenes: part(500, 5), Lasts: 5000, Next: &film{Scenes: []uint64{black}, Next: &film{Scenes: part(5, 5)}},
		},
	} {
		m := one(t, n.checkFilm(f))
		equal(t, m.Level, matcher.Match)
		equal(t, m.Video.Spans, []matcher.Span{{From: 0, To: 5000, KnownFrom: 5000, KnownTo: 10_000, Frames: 5}})
		equal(t, []any{name, m.Video.Share, m.Video.Frames}, []any{name, 1.0, 5})
	}
}

// TestVideosAgainstBruteForce compares what is said of random films with a count over their scenes.
func TestVideosAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n, _ := newCinema(t)
		defer n.stop()
		scene := rapid.Uint64Range(0, 30)
		entries := map[storage.EntryID][]uint64{}
		for i := range rapid.IntRange(1, 3).Draw(r, "entries") {
			scenes := rapid.SliceOfN(scene, 1, 25).Draw(r, "known")
			entries[n.flagFilm(film{Name: fmt.Sprint(i), Scenes: scenes}).Entry.ID] = scenes
		}
		upload := rapid.SliceOfN(scene, 1, 100).Draw(r, "upload")
		v := n.checkFilm(film{Name: "upload", Scenes: upload, Noise: 8})
		found := map[storage.EntryID]matcher.Found{}
		for _, m := range v.Matches {
			found[m.Entry] = m
		}
		for id, scenes := range entries {
			shown, matches := map[int]bool{}, map[int]bool{}
			apart := false
			for i, a := range upload {
				for j, b := range scenes {
					if a != b {
						continue
					}
					matches[i], shown[j] = true, true
					for k := range i {
						for _, c := range scenes {
							apart = apart || upload[k] == c && c != b
						}
					}
				}
			}
			m, ok := found[id]
			if ok != (len(matches) > 0) {
				t.Fatalf("entry %d is found: %v; %d frames match", id, ok, len(matches))
			}
			if !ok {
				continue
			}
			want := matcher.Likely
			if apart || len(scenes) == 1 || 10*len(shown) >= len(scenes) {
				want = matcher.Match
			}
			if m.Level != want {
				t.Errorf("level %v, want %v", m.Level, want)
			}
			if len(upload) == 1 && len(slices.Compact(slices.Clone(scenes))) == 1 {
				continue // two stills
			}
			equal(t, m.Video.Frames, len(matches))
			equal(t, int(m.Video.QueryPercent*float64(len(upload))/100+0.5), len(matches))
			equal(t, int(m.Video.TargetPercent*float64(len(scenes))/100+0.5), len(shown))
		}
	})
}

// TestStopAtFirstPassesTestBanks: a match with a test bank changes no verdict, so that it does not end the decoding either.
func TestStopAtFirstPassesTestBanks(t *testing.T) {
	t.Parallel()
	n, _ := newCinema(t)
	n.flagFilm(film{Scenes: part(100, 30)})
	_, err := n.CreateBank(n.ctx, local, matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Name: ptr("trial")}})
	must(t, err)
	_, err = n.Flag(n.ctx, matcher.Flagging{Bank: "trial", Media: film{Name: "t", Scenes: part(1000, 30)}.media()})
	must(t, err)
	upload := film{Name: "up", Scenes: slices.Concat(part(1000, 30), part(100, 30))}.media()
	whole, first := n.check(matcher.Question{Media: upload}), n.check(matcher.Question{Media: upload, StopAtFirst: true})
	if whole.Level != matcher.Match || first.Level != whole.Level || first.Action != whole.Action {
		t.Errorf("as a whole %s, %s; up to the first match %s, %s", whole.Level, whole.Action, first.Level, first.Action)
	}
}
