package video_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
	"vigie/hashing/video"
)

// The test binary is also the child that becomes ffmpeg.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.ProgramCommand {
		fmt.Fprintln(os.Stderr, sandbox.ProgramChild())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// newDecoder skips the test where there is no ffmpeg.
func newDecoder(t testing.TB, o video.Options) *video.Decoder {
	t.Helper()
	d, err := video.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Available(); !ok {
		t.Skip("no ffmpeg")
	}
	return d
}

func read(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// raceEnabled says that the race detector is on, under which long tests take too long.
var raceEnabled bool

func TestVideo(t *testing.T) {
	data := small(t, "a.mp4", "-g", "5")
	d := newDecoder(t, video.Options{Children: 2})
	var all []hashing.Frame
	collect := func(f hashing.Frame) error {
		all = append(all, f)
		return nil
	}
	v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, collect)
	if err != nil {
		t.Fatal(err)
	}
	if v.Format != "mp4" || v.Width != 160 || v.Height != 120 || v.Frames != len(all) || v.Cut || v.Duration < 3000 || v.Duration > 4000 {
		t.Errorf("%+v with %d frames", v, len(all))
	}
	for i, f := range all {
		if want := uint32(i * 500); f.Time != want { // a keyframe every 5 of 10 a second
			t.Errorf("frame %d at %d ms, want %d", i, f.Time, want)
		}
		for _, s := range f.Signals {
			if s.Time != f.Time || s.Algorithm != hashing.PDQ || !s.Quality.Usable() {
				t.Errorf("frame %d: %+v", i, s)
			}
		}
		for k, q := range f.Queries[:hashing.Orientations] {
			if q.Transform != hashing.Transform(k) || q.Signal.Variant != hashing.Plain {
				t.Errorf("frame %d, query %d: %+v", i, k, q)
			}
		}
	}

	t.Run("pruned", func(t *testing.T) {
		want := prune(all, video.PruneRadius)
		all = nil
		v, err := d.Video(t.Context(), data, hashing.VideoOptions{}, collect)
		if err != nil || v.Frames != len(want) || !reflect.DeepEqual(all, want) {
			t.Errorf("%d frames, want %d; %v", len(all), len(want), err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		n := 0
		v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, func(hashing.Frame) error {
			n++
			return fmt.Errorf("found: %w", video.ErrStop)
		})
		if err != nil || n != 1 || v.Frames != 1 || !v.Cut {
			t.Errorf("%d calls, %+v, %v", n, v, err)
		}
	})
	t.Run("failed", func(t *testing.T) {
		for _, failure := range []error{errors.New("the disk is full"), io.EOF, hashing.ErrBusy, &hashing.MediaError{Kind: hashing.Corrupt}} {
			if _, err := d.Video(t.Context(), data, hashing.VideoOptions{}, func(hashing.Frame) error { return failure }); err != failure {
				t.Errorf("%v, want %v", err, failure)
			}
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := d.Video(ctx, data, hashing.VideoOptions{}, func(hashing.Frame) error { cancel(); return nil })
		if err != context.Canceled {
			t.Errorf("while it decodes: %v", err)
		}
		if _, err := d.Video(ctx, data, hashing.VideoOptions{}, collect); err != context.Canceled {
			t.Errorf("before: %v", err)
		}
		if _, err := d.VPDQ(ctx, data, 1); err != context.Canceled {
			t.Errorf("vPDQ: %v", err)
		}
	})
	t.Run("limits", func(t *testing.T) {
		d := newDecoder(t, video.Options{MaxFrames: 3})
		v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, collect)
		if err != nil || v.Frames != 3 || !v.Cut {
			t.Errorf("frames: %+v, %v", v, err)
		}
		if _, err := d.VPDQ(t.Context(), data, 0); !isKind(err, hashing.TooLarge) {
			t.Errorf("vPDQ: %v", err)
		}
		d = newDecoder(t, video.Options{MaxDuration: time.Second})
		v, err = d.Video(t.Context(), data, hashing.VideoOptions{All: true}, collect)
		if err != nil || v.Frames != 3 || !v.Cut || v.Duration != 1000 {
			t.Errorf("duration: %+v, %v", v, err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		d := newDecoder(t, video.Options{Children: 1, Wait: time.Millisecond})
		_, err := d.Video(t.Context(), data, hashing.VideoOptions{}, func(hashing.Frame) error {
			_, err := d.Video(t.Context(), data, hashing.VideoOptions{}, collect)
			return err
		})
		if err != hashing.ErrBusy {
			t.Error(err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				n := 0
				v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, func(hashing.Frame) error { n++; return nil })
				if err != nil || v.Frames != 8 || n != 8 {
					t.Errorf("%+v, %d frames, %v", v, n, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("vPDQ", func(t *testing.T) {
		for seconds, want := range map[float64]int{0: 40, 0.05: 40, 0.25: 20, 1: 4, 100: 1} {
			features, err := d.VPDQ(t.Context(), data, seconds)
			if err != nil || len(features) != want {
				t.Errorf("%v s: %d features, want %d; %v", seconds, len(features), want, err)
			}
		}
		for _, seconds := range []float64{-1, math.NaN(), math.Inf(1)} {
			if _, err := d.VPDQ(t.Context(), data, seconds); err == nil {
				t.Errorf("%v seconds are accepted", seconds)
			}
		}
	})
}

func isKind(err error, kind hashing.MediaErrorKind) bool {
	m, ok := hashing.AsMediaError(err)
	return ok && m.Kind == kind
}

// TestBlack: what shows nothing is dropped, and no error.
func TestBlack(t *testing.T) {
	d := newDecoder(t, video.Options{})
	data := generate(t, "black.mp4", "-i", "color=black:size=160x120:rate=5:duration=3", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=5:duration=2", "-filter_complex", "[0][1]concat")
	first := uint32(0)
	v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, func(f hashing.Frame) error {
		if first == 0 && len(f.Signals) > 0 {
			first = f.Time
		}
		return nil
	})
	if err != nil || v.Frames == 0 || first < 3000 {
		t.Errorf("%+v, first at %d ms, %v", v, first, err)
	}
	data = generate(t, "black.mp4", "-i", "color=black:size=160x120:rate=5:duration=3")
	if v, err := d.Video(t.Context(), data, hashing.VideoOptions{}, nil); err != nil || v.Frames != 0 || v.Cut {
		t.Errorf("black alone: %+v, %v", v, err)
	}
}

// TestNoProgram: without ffmpeg there is an answer that says what to do, and what is no video is told
// all the same.
func TestNoProgram(t *testing.T) {
	fake := func(name, script string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct{ program, want string }{
		{"no-such-program", "install it"},
		{fake("old", "echo ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"), "version 4.4.2"},
		{fake("other", "echo hello"), "does not tell its version"},
		{fake("failing", "exit 1"), "does not tell its version"},
	} {
		d, err := video.New(video.Options{Program: test.program})
		if err != nil {
			t.Fatal(err)
		}
		if version, ok := d.Available(); ok || version != "" {
			t.Errorf("%s is available: %s", test.program, version)
		}
		mp4 := []byte("\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomiso2")
		_, err = d.Video(t.Context(), mp4, hashing.VideoOptions{}, nil)
		if !isKind(err, hashing.NoDecoder) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.program, err)
		}
		if _, err := d.VPDQ(t.Context(), mp4, 1); !isKind(err, hashing.NoDecoder) {
			t.Errorf("%s: vPDQ: %v", test.program, err)
		}
		if _, err := d.Video(t.Context(), []byte("hello"), hashing.VideoOptions{}, nil); !isKind(err, hashing.Unsupported) {
			t.Errorf("%s: a text: %v", test.program, err)
		}
	}
	for _, version := range []string{"5.1.9-0+deb12u1", "7.1.1", "n6.0", "N-109542-gabcdef", "git-2024-01-01", "10.0"} {
		d, err := video.New(video.Options{Program: fake("good", "echo ffmpeg version "+version+" Copyright")})
		if got, ok := d.Available(); err != nil || !ok || got != version {
			t.Errorf("%s: %q, %v, %v", version, got, ok, err)
		}
	}
	if _, err := video.New(video.Options{Children: -1}); err == nil {
		t.Error("a negative option is accepted")
	}
}

// TestHour shows that memory does not grow with the length, and that a video is left half-way. The
// peaks are printed; what is bounded is the growth in the second half hour, of ffmpeg and of what
// this process has in use.
func TestHour(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("an hour of video")
	}
	d := newDecoder(t, video.Options{})
	data := generate(t, "hour.mp4", "-i", "testsrc2=size=192x108:rate=2:duration=3600", "-vf", "rotate=t/20", "-preset", "ultrafast", "-crf", "32")
	type peak struct{ heap, own, child int64 }
	var halves [2]peak
	n := 0
	v, err := d.Video(t.Context(), data, hashing.VideoOptions{}, func(f hashing.Frame) error {
		if n++; n%64 == 0 {
			half := &halves[f.Time/1_800_001]
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			own, child := memory(t)
			half.heap, half.own, half.child = max(half.heap, int64(m.HeapAlloc)), max(half.own, own), max(half.child, child)
		}
		return nil
	})
	if err != nil || v.Cut || v.Duration < 3_590_000 || v.Frames < 1000 {
		t.Errorf("%+v, %v", v, err)
	}
	t.Logf("a file of %d MiB, %d frames kept", len(data)>>20, v.Frames)
	for i, half := range halves {
		t.Logf("half hour %d: this process holds at most %d MiB, %d of them in use; ffmpeg %d MiB", i+1, half.own>>20, half.heap>>20, half.child>>20)
	}
	if first, second := halves[0], halves[1]; second.heap > first.heap+4<<20 || second.child > first.child+8<<20 {
		t.Error("memory grows with the length")
	}

	ctx, cancel := context.WithCancel(t.Context())
	n = 0
	var begun time.Time
	_, err = d.Video(ctx, data, hashing.VideoOptions{}, func(f hashing.Frame) error {
		if ctx.Err() != nil {
			n++
		}
		if f.Time >= 30*60*1000 {
			begun = time.Now()
			cancel()
		}
		return nil
	})
	t.Logf("cancelled half-way: back after %v", time.Since(begun).Round(time.Millisecond))
	if err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	if _, its := memory(t); its != 0 {
		t.Error("ffmpeg is still there")
	}
}

// memory is what this process and its children hold, in bytes.
func memory(t *testing.T) (own, children int64) {
	t.Helper()
	held := func(dir string) (bytes int64, parent int) {
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return 0, 0 // it has just ended
		}
		for line := range strings.Lines(string(status)) {
			fmt.Sscanf(line, "VmRSS: %d kB", &bytes)
			fmt.Sscanf(line, "PPid: %d", &parent)
		}
		return bytes << 10, parent
	}
	own, _ = held("/proc/self")
	if own == 0 {
		t.Skip("no /proc")
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if bytes, parent := held(p); parent == os.Getpid() {
			children += bytes
		}
	}
	return own, children
}
