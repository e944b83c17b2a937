package video_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/video"
)

// remux rewrites a file without decoding it.
func remux(t testing.TB, data []byte, name string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, name)
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := encode(t.Context(), nil, append(append([]string{"-i", in, "-map", "0", "-c", "copy"}, args...), out)...); err != nil {
		t.Fatal(err)
	}
	return read(t, out)
}

// watch collects all frames, and checks what holds of any.
func watch(t testing.TB, d *video.Decoder, data []byte, o hashing.VideoOptions) (v hashing.Video, all []hashing.Frame) {
	t.Helper()
	v, err := d.Video(t.Context(), data, o, func(f hashing.Frame) error {
		if n := len(all); n > 0 {
			last := all[n-1]
			if f.Stream < last.Stream || f.Stream > last.Stream+1 || f.Stream == last.Stream && f.Time <= last.Time {
				t.Errorf("stream %d, %d ms after stream %d, %d ms", f.Stream, f.Time, last.Stream, last.Time)
			}
			if f.Stream == last.Stream && len(f.Signals) == 0 && len(last.Signals) == 0 {
				t.Errorf("two frames in a row show nothing: at %d and %d ms", last.Time, f.Time)
			}
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return v, all
}

// TestStamps: what a file says of its times hides no frame.
func TestStamps(t *testing.T) {
	d := newDecoder(t, video.Options{})
	o := hashing.VideoOptions{All: true, PerSecond: hashing.CheckPerSecond}
	for _, c := range []string{"a.mkv", "a.mp4"} {
		data := generate(t, c, "-i", "testsrc2=size=160x120:rate=1:duration=8", "-vf", "fps=20", "-g", "200") // slides
		_, want := watch(t, d, data, o)
		for _, stamps := range []string{
			`if(eq(N\,0)\,PTS+100/TB\,PTS)`,
			`if(eq(N\,70)\,PTS+100/TB\,PTS)`,
			`if(eq(N\,70)\,PTS+100000/TB\,PTS)`,
			`if(eq(N\,0)\,PTS+100000/TB\,PTS)`,
			`if(gte(N\,70)\,PTS-3/TB\,PTS)`,
			`if(eq(mod(N\,20)\,5)\,PTS+50/TB\,PTS)`,
		} {
			v, all := watch(t, d, remux(t, data, c, "-bsf:v", "setts=pts="+stamps), o)
			found := 0
			for _, w := range want {
				if slices.ContainsFunc(all, func(f hashing.Frame) bool {
					return f.Signals[0].Value.Distance(w.Signals[0].Value) <= 10
				}) {
					found++
				}
			}
			t.Logf("%s, %s: %d frames to %d ms, %d of %d found", c, stamps, len(all), v.Duration, found, len(want))
			if found < len(want) {
				t.Errorf("%s, %s: %d of %d frames", c, stamps, found, len(want))
			}
		}
	}
	// An edit list leaves out all but the first frame here; vPDQ's reference follows it.
	late := remux(t, small(t, "a.mp4", "-g", "100"), "a.mp4", "-bsf:v", `setts=pts=if(eq(N\,0)\,PTS+100/TB\,PTS)`)
	if features, err := d.VPDQ(t.Context(), late, 0); err != nil || len(features) != 1 {
		t.Errorf("vPDQ: %d features, %v", len(features), err)
	}
	// Frames that are all said to be of one moment, or of none.
	for name, data := range map[string][]byte{
		"one moment": remux(t, small(t, "a.mkv", "-bf", "0", "-vf", "fps=100"), "a.mkv", "-bsf:v", "setts=pts=0:dts=0"),
		"none":       small(t, "a.m1v", "-r", "25"),
	} {
		v, all := watch(t, d, data, o)
		t.Logf("%s: %d frames to %d ms, %+v", name, len(all), v.Duration, v)
		if len(all) < 12 {
			t.Errorf("%s: %d frames", name, len(all))
		}
	}
}

// TestStreams: what a player may show is looked at, also behind a decoy; and what is not is told.
func TestStreams(t *testing.T) {
	d := newDecoder(t, video.Options{})
	known := small(t, "a.mp4")
	_, want := watch(t, d, known, hashing.VideoOptions{All: true})
	find := func(all []hashing.Frame) (streams []int) {
		for _, f := range all {
			if f.Time == 0 && f.Signals[0].Value.Distance(want[0].Signals[0].Value) <= 10 {
				streams = append(streams, f.Stream)
			}
		}
		return streams
	}
	decoy := []string{"-i", "mandelbrot=size=160x120:rate=10", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10", "-t", "4"}
	streams := func(maps string, more ...string) []string {
		args := slices.Clone(decoy)
		for m := range strings.SplitSeq(maps, "") {
			args = append(args, "-map", m)
		}
		return append(args, more...)
	}
	for _, test := range []struct {
		name  string
		args  []string
		found []int // streams
		of    int
		cut   bool
	}{
		{"a.mp4", streams("01", "-disposition:v:0", "0", "-disposition:v:1", "default"), []int{0}, 2, false},
		{"a.mkv", streams("01", "-disposition:v:0", "0", "-disposition:v:1", "default"), []int{0}, 2, false},
		{"a.mkv", streams("01", "-disposition:v:0", "default", "-disposition:v:1", "0"), []int{1}, 2, false},
		{"a.ts", streams("01"), []int{1}, 2, false},
		{"a.mkv", streams("0001"), []int{3}, 4, false},
		{"a.mkv", streams("00001"), nil, 5, true},
		{"a.mkv", streams("00001", "-disposition:v:0", "0", "-disposition:v:4", "default"), []int{0}, 5, true},
		{"a.mkv", streams("01", "-c:v:0", "utvideo"), []int{0}, 2, true},
	} {
		v, all := watch(t, d, generate(t, test.name, test.args...), hashing.VideoOptions{All: true})
		if got := find(all); !slices.Equal(got, test.found) || v.Streams != test.of || v.Cut != test.cut {
			t.Errorf("%s %v: %+v, the known one is in the streams %v; want %v of %d, cut %v", test.name, test.args[7:], v, got, test.found, test.of, test.cut)
		}
	}
	t.Run("stopped", func(t *testing.T) {
		data := generate(t, "a.mkv", streams("01")...)
		for name, d := range map[string]*video.Decoder{"frames": newDecoder(t, video.Options{MaxFrames: 2}), "stop": d} {
			n := 0
			v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, func(f hashing.Frame) error {
				if n++; n == 2 && name == "stop" {
					return video.ErrStop
				}
				return nil
			})
			if err != nil || n != 2 || v.Frames != 2 || !v.Cut {
				t.Errorf("%s: %d frames, %+v, %v", name, n, v, err)
			}
		}
	})
	t.Run("without ffprobe", func(t *testing.T) {
		d := newDecoder(t, video.Options{Program: aloneFFmpeg(t)})
		v, all := watch(t, d, generate(t, "a.mkv", streams("001")...), hashing.VideoOptions{All: true})
		if got := find(all); !slices.Equal(got, []int{2}) || v.Streams != 0 || v.Cut {
			t.Errorf("%+v, %v", v, got)
		}
	})
}

// aloneFFmpeg is ffmpeg in a folder of its own.
func aloneFFmpeg(t testing.TB) string {
	t.Helper()
	program := newDecoder(t, video.Options{}).Program()
	data := read(t, program)
	path := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNothingShown: where what is shown ends, and where it begins again.
func TestNothingShown(t *testing.T) {
	d := newDecoder(t, video.Options{})
	data := generate(t, "a.mp4", "-i", "testsrc2=size=160x120:rate=1:duration=1", "-filter_complex",
		"[0]loop=19:1,fps=5,setpts=N/5/TB,split[a][b];color=black:size=160x120:rate=5:duration=3[x];color=black:size=160x120:rate=5:duration=2[y];[x][a][y][b]concat=n=4")
	for _, o := range []hashing.VideoOptions{{PerSecond: hashing.CheckPerSecond}, {PerSecond: hashing.CheckPerSecond, All: true}} {
		v, all := watch(t, d, data, o)
		var got []string
		kept := 0
		for i, f := range all {
			shows := len(f.Signals) > 0
			if shows {
				kept++
			} else if len(f.Queries) > 0 {
				t.Error("queries of nothing")
			}
			if i == 0 || shows != (len(all[i-1].Signals) > 0) {
				got = append(got, fmt.Sprint((time.Duration(f.Time)*time.Millisecond).Round(time.Second), shows))
			}
		}
		if want := "[0s false 3s true 23s false 25s true]"; fmt.Sprint(got) != want || v.Frames != kept || !o.All && len(all) != 4 {
			t.Errorf("%+v: %v of %d frames, want %s; %+v", o, got, len(all), want, v)
		}
	}
}

// TestCodecs: a codec that is not accepted is named.
func TestCodecs(t *testing.T) {
	d := newDecoder(t, video.Options{})
	for _, codec := range []string{"ffv1", "huffyuv", "ffvhuff", "rawvideo", "png", "mpeg1video", "mpeg2video", "mjpeg", "flv1", "msmpeg4v3", "svq1", "cinepak", "prores"} {
		encoder := map[string]string{"flv1": "flv", "msmpeg4v3": "msmpeg4"}[codec]
		if encoder == "" {
			encoder = codec
		}
		if v, all := watch(t, d, small(t, "a.mkv", "-r", "25", "-c:v", encoder), hashing.VideoOptions{}); v.Frames == 0 || len(all) == 0 {
			t.Errorf("%s: %+v", codec, v)
		}
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"utvideo": {small(t, "a.mkv", "-c:v", "utvideo"), "codec utvideo is not"},
		"sound":   {generate(t, "a.mp4", "-i", "sine=duration=1"), "no video in"},
		"music":   {generate(t, "a.mkv", "-i", "sine=duration=1"), "no video in"},
	} {
		_, err := d.Video(t.Context(), test.data, hashing.VideoOptions{}, nil)
		if !isKind(err, hashing.Unsupported) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := d.VPDQ(t.Context(), test.data, 1); !isKind(err, hashing.Unsupported) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, vPDQ: %v", name, err)
		}
	}
}

// TestDuration: the container's, if there may be so much, and else that of the frames.
func TestDuration(t *testing.T) {
	d := newDecoder(t, video.Options{MaxDuration: time.Minute})
	for _, c := range []string{"a.mp4", "a.mkv", "a.avi"} {
		if v, all := watch(t, d, small(t, c), hashing.VideoOptions{Keyframes: true}); v.Duration != 4000 || len(all) == 0 {
			t.Errorf("%s: %+v, %d frames", c, v, len(all))
		}
	}
	held := func(seconds int) []byte { // the last frame
		return remux(t, small(t, "a.mp4", "-bf", "0"), "a.mp4", "-bsf:v", fmt.Sprintf(`setts=duration=if(eq(N\,39)\,%d/TB\,DURATION)`, seconds))
	}
	for seconds, want := range map[int]uint32{5: 8900, 30: 3900} {
		if v, _ := watch(t, d, held(seconds), hashing.VideoOptions{PerSecond: 4}); v.Duration/100 != want/100 {
			t.Errorf("the last frame is said to be there for %d s: %+v", seconds, v)
		}
	}
	long := newDecoder(t, video.Options{MaxDuration: 2 * time.Second})
	if v, _ := watch(t, long, small(t, "a.mp4"), hashing.VideoOptions{Keyframes: true}); v.Duration != 0 {
		t.Errorf("beyond the limit: %+v", v)
	}
}
