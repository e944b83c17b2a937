package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/matcher"
	"vigie/storage/storagetest"
)

// slides are videos as these tests have them: after the mark, a letter for each second's frame.
type slides struct{}

const slideMark = "slides:"

func (slides) Container(data []byte) string {
	if bytes.HasPrefix(data, []byte(slideMark)) {
		return "slides"
	}
	return ""
}

func (slides) Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (hashing.Video, error) {
	v := hashing.Video{Format: "slides", Width: 64, Height: 48}
	letters := strings.TrimRight(string(data[len(slideMark):]), "\x00")
	if letters == "absent" {
		return v, &hashing.MediaError{Kind: hashing.NoDecoder, Detail: "install it"}
	}
	for i, letter := range []byte(letters) {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		if o.Keyframes && i%2 == 1 {
			continue
		}
		v.Duration = uint32(i) * 1000
		s := frameOf(letter)
		s.Time = v.Duration
		f := hashing.Frame{Time: s.Time, Quality: s.Quality, Signals: []hashing.Signal{s}}
		for t, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
			s.Value = hashing.Value(h)
			f.Queries = append(f.Queries, hashing.Query{Signal: s, Transform: hashing.Transform(t)})
		}
		if err := fn(f); err != nil {
			return v, err
		}
	}
	return v, nil
}

func frameOf(letter byte) hashing.Signal { return storagetest.Signal(hashing.PDQ, uint64(letter)) }

func newSlides(t *testing.T, o api.Options) *node {
	n := newNode(t, setup{api: o, matcher: matcher.Options{Videos: slides{}}})
	got, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "films"})
	must(t, err)
	equal(t, "max_frames of a new bank", *got.JSON201.Policy.MaxFrames, 600)
	return n
}

// checkSlides checks letters, with parts.
func (n *node) checkSlides(letters string, parts ...string) *v1.CheckResponse {
	n.t.Helper()
	body, kind := form(append(parts, "file", slideMark+letters)...)
	got, err := n.as("platform").CheckWithBodyWithResponse(n.t.Context(), strings.TrimPrefix(kind, "Content-Type: "), body)
	must(n.t, err)
	return got
}

func (n *node) flagSlides(letters string) v1.Flagged {
	n.t.Helper()
	body, kind := form("file", slideMark+letters)
	got, err := n.as("analyst").FlagWithBodyWithResponse(n.t.Context(), "films", strings.TrimPrefix(kind, "Content-Type: "), body)
	must(n.t, err)
	if got.JSON201 == nil {
		n.t.Fatalf("flag: %s", got.Body)
	}
	return *got.JSON201
}

func TestVideos(t *testing.T) {
	t.Parallel()
	n := newSlides(t, api.Options{})
	f := n.flagSlides("abcdefghijklmnopqrst")
	equal(t, "frames", *f.Frames, v1.StoredFrames{Kept: 20})
	equal(t, "duration", *f.Entry.Media.DurationMs, 19_000)
	equal(t, "time of the third frame", *f.Entry.Signals[4].TimeMs, 2000)

	v := n.checkSlides("XYefghZ").JSON200
	equal(t, "level", v.Level, v1.LevelMatch)
	equal(t, "compared", *v.Frames, v1.ComparedFrames{Compared: 7})
	equal(t, "signals", len(v.Signals), 2)
	m := v.Matches[0].Video
	equal(t, "spans", fmt.Sprint(m.Spans), fmt.Sprint([]v1.Span{{FromMs: 2000, ToMs: 6000, EntryFromMs: 4000, EntryToMs: 8000, Frames: 4}}))
	equal(t, "share of the entry", m.EntryShare, 0.2)
	equal(t, "vpdq", m.Vpdq, v1.VPDQ{QueryPercent: 100 * 4.0 / 7, TargetPercent: 20})

	m = n.checkSlides("XYefghZ", "query_percent", "50", "target_percent", "20").JSON200.Matches[0].Video
	equal(t, "match of vPDQ", m.Vpdq.Matches, true)
	v = n.checkSlides("abcdefghijklmnopqrst?", "stop_at_first", "true").JSON200
	equal(t, "cut", v.Frames.Cut, true)
	equal(t, "compared until the first match", v.Frames.Compared, 4)
	equal(t, "keyframes", n.checkSlides("XYefghZ", "frames", "keyframes").JSON200.Frames.Compared, 4)
	equal(t, "level of one frame", n.checkSlides("XeZ").JSON200.Level, v1.LevelLikely)

	for _, parts := range [][]string{
		{"frames", "some"}, {"stop_at_first", "yes"}, {"past", "maybe"}, {"query_percent", "many"}, {"query_percent", "101"}, {"target_percent", "NaN"},
	} {
		equal(t, parts[0]+" "+parts[1], n.checkSlides("abc", parts...).StatusCode(), http.StatusBadRequest)
	}
	equal(t, "status without a decoder", n.checkSlides("absent").StatusCode(), http.StatusNotImplemented)
	equal(t, "status of a video without a usable frame", n.checkSlides("").StatusCode(), http.StatusOK)
}

// TestListsOfFrames flags and checks what another program has hashed.
func TestListsOfFrames(t *testing.T) {
	t.Parallel()
	n := newSlides(t, api.Options{})
	list := func(letters string) (out v1.Signals) {
		for i, letter := range []byte(letters) {
			quality, time := 90, int64(i)*1000
			if letter == '.' {
				quality = 3
			}
			out = append(out, v1.Signal{Algorithm: v1.Pdq, Value: frameOf(letter).Hex(), Quality: &quality, TimeMs: &time})
		}
		return out
	}
	flagged, err := n.as("analyst").FlagWithResponse(t.Context(), "films", v1.FlagSignals{Signals: list("abcd.fghijklmnopqrst")})
	must(t, err)
	equal(t, "frames", *flagged.JSON201.Frames, v1.StoredFrames{Kept: 19, Dropped: 1})

	least := float32(10)
	got, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: list("XYfgh.Z"), Video: &v1.VPDQThresholds{QueryPercent: &least}})
	must(t, err)
	v := got.JSON200
	equal(t, "level", v.Level, v1.LevelMatch)
	equal(t, "compared", *v.Frames, v1.ComparedFrames{Compared: 6, Dropped: 1})
	equal(t, "spans", fmt.Sprint(v.Matches[0].Video.Spans), fmt.Sprint([]v1.Span{{FromMs: 2000, ToMs: 5000, EntryFromMs: 5000, EntryToMs: 8000, Frames: 3}}))
	equal(t, "match of vPDQ", v.Matches[0].Video.Vpdq.Matches, true)

	// 65 signals are too many unless they are frames; 10,000 frames are taken.
	long := list(strings.Repeat("abcdefghij", 1000))
	got, err = n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: long})
	must(t, err)
	equal(t, "frames of a long list", got.JSON200.Frames.Compared, 10_000)
	for i := range long[:65] {
		long[i].TimeMs = nil
	}
	got, err = n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: long[:65]})
	must(t, err)
	equal(t, "status of 65 signals", got.StatusCode(), http.StatusBadRequest)
}

// TestListingOfVideos shows few of many frames.
func TestListingOfVideos(t *testing.T) {
	t.Parallel()
	n := newSlides(t, api.Options{})
	var letters []byte
	for i := range 100 {
		letters = append(letters, byte('!'+i%90))
	}
	f := n.flagSlides(string(letters))
	got, err := n.as("auditor").ListEntriesWithResponse(t.Context(), nil)
	must(t, err)
	e := got.JSON200.Entries[0]
	equal(t, "signals listed", len(e.Signals), 64)
	equal(t, "signals in all", *e.SignalsTotal, 102)
	whole, err := n.as("auditor").GetEntryWithResponse(t.Context(), f.Entry.Id)
	must(t, err)
	equal(t, "signals of the entry", len(whole.JSON200.Signals), 102)
}

// TestVideoBytes has another limit for videos than for pictures.
func TestVideoBytes(t *testing.T) {
	t.Parallel()
	limits := hashing.DefaultLimits()
	limits.Bytes = 64 << 10
	n := newSlides(t, api.Options{Limits: limits, VideoBytes: 1 << 20, UploadMemory: 1 << 20})
	filled := func(head string, size int) string { return head + strings.Repeat("\x00", size-len(head)) }
	for _, c := range []struct {
		name, file string
		status     int
	}{
		{"a picture within its limit", filled("", 60<<10), http.StatusUnsupportedMediaType},
		{"a picture beyond its limit", filled("", 70<<10), http.StatusRequestEntityTooLarge},
		{"a video within its limit", filled(slideMark+"abc", 1<<20), http.StatusOK},
		{"a video beyond its limit", filled(slideMark+"abc", 1<<20+1), http.StatusRequestEntityTooLarge},
	} {
		for _, declared := range []bool{true, false} {
			body, kind := form("file", c.file)
			if !declared {
				body = struct{ *bytes.Buffer }{body.(*bytes.Buffer)}
			}
			got := n.send("POST", "/v1/check", body, kind)
			equal(t, fmt.Sprintf("status of %s, length declared: %v", c.name, declared), got.StatusCode, c.status)
		}
	}
	text := n.metrics()
	for _, want := range []string{`vigie_checks_total{asked="video",level="none"} 2`} {
		if !slices.Contains(strings.Split(text, "\n"), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func (n *node) metrics() string {
	n.t.Helper()
	return read(n.t, n.send("GET", "/metrics", nil).Body)
}
