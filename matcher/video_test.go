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
	Noise  int  // bits
	Texts  bool // the scenes are graphics
	Broken hashing.MediaErrorKind
	Ends   hashing.MediaErrorKind // after the last scene
}

const filmMark = "film "

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
	for i, scene := range f.Scenes {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		time := uint32(i) * 1000
		if f.Times != nil {
			time = f.Times[i]
		}
		v.Duration = time
		s := frameSignal(scene, f.Noise)
		s.Time = time
		s.Value = hashing.Value(pdq.DihedralOf(pdq.Hash(s.Value))[f.Turned])
		frame := hashing.Frame{Time: time, Quality: s.Quality, Graphic: f.Texts, Signals: []hashing.Signal{s}}
		for t, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
			s.Value = hashing.Value(h)
			frame.Queries = append(frame.Queries, hashing.Query{Signal: s, Transform: hashing.Transform(t)})
		}
		c.played++
		if err := fn(frame); err != nil {
			return v, err
		}
	}
	if f.Ends != "" {
		v.Cut = true
	}
	return v, nil
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
		_, err := n.ChangeBank(n.ctx, "local", "bank", matcher.BankEdit{MaxFrames: &wrong})
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
	equal(t, []any{m.QueryPercent, m.TargetPercent, m.VPDQ}, []any{97.5, 50.0, true}) // all but the frame at 0
	// A list says which frames are to be compared.
	var list []hashing.Signal
	for i, scene := range upload.Scenes {
		s := frameSignal(scene, 0)
		s.Time = upload.Times[i]
		list = append(list, s)
	}
	equal(t, one(t, n.checkSignals(list...)).Video.QueryPercent, 25.0)
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
						for l, c := range scenes {
							apart = apart || upload[k] == c && l != j
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
			if len(upload) == 1 && len(scenes) == 1 {
				continue
			}
			equal(t, m.Video.Frames, len(matches))
			equal(t, int(m.Video.QueryPercent*float64(len(upload))/100+0.5), len(matches))
			equal(t, int(m.Video.TargetPercent*float64(len(scenes))/100+0.5), len(shown))
		}
	})
}
