package sandbox_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/sandbox"
	"vigie/internal/datatest"
)

// TestAVIF has a picture decoded by WebAssembly, by a child of its own with all walls, which ends when
// it is not used.
func TestAVIF(t *testing.T) {
	avif, err := os.ReadFile("warm.avif")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode.Decode(avif, hashing.DefaultLimits()); err != nil {
		t.Skip(err) // a build without -tags nodynamic
	}
	var mu sync.Mutex
	var starts []sandbox.ChildStart
	o := sandbox.Options{Children: 1, Timeout: 5 * time.Second, Events: sandbox.Events{
		ChildStarted: func(s sandbox.ChildStart) { mu.Lock(); starts = append(starts, s); mu.Unlock() },
	}}
	sandbox.SetWasmIdle(&o, 50*time.Millisecond)
	p := newPool(t, o)
	usual := p.Stats().Protections
	for round := range 2 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				got, err := p.Picture(t.Context(), avif)
				if err != nil || got.Format != "avif" || got.Width != 32 || got.Height != 32 {
					t.Errorf("got %+v, %v", got, err)
				}
			})
			wg.Go(func() { good(t, p) })
		}
		wg.Wait()
		waitFor(t, "the child ends", func() bool { return p.Stats().Died[sandbox.DiedUnused] == int64(round+1) })
	}
	mu.Lock()
	starts = slices.Clone(starts)
	mu.Unlock()
	if len(starts) != 3 {
		t.Fatalf("%d children started", len(starts))
	}
	for _, s := range starts[1:] {
		want := usual
		want.Memory = 2 << 30
		if s.Protections != want {
			t.Errorf("held: %s, want %s", s.Protections, want)
		}
		t.Logf("%s, ready in %v", s.Protections, s.Took)
	}
	spoilt := append(append([]byte{}, avif[:len(avif)-60]...), make([]byte, 60)...)
	if _, err := p.Picture(t.Context(), spoilt); err == nil {
		t.Error("a spoilt picture is accepted")
	} else if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.Corrupt {
		t.Errorf("spoilt: %v", err)
	}
}

func TestHEIC(t *testing.T) {
	if _, err := sandbox.FindProgram("heif-convert", "libheif-examples"); err != nil {
		t.Skip(err)
	}
	files, err := filepath.Glob(filepath.Join(datatest.Folder(t), "images", "other_formats", "*.heic"))
	if err != nil || len(files) == 0 {
		t.Skip("no HEIC files")
	}
	t.Setenv("TMPDIR", t.TempDir())
	p := newPool(t, sandbox.Options{Children: 1})
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		got, err := p.Picture(t.Context(), data)
		if err != nil || got.Format != "heic" || got.Width < 100 || got.Height < 100 {
			t.Errorf("%s: %+v, %v", filepath.Base(file), got, err)
		}
		t.Logf("%s: %d x %d in %v", filepath.Base(file), got.Width, got.Height, time.Since(begun))
		for _, n := range []int{len(data) / 2, 400, 50} {
			_, err := p.Picture(t.Context(), data[:n])
			if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.Corrupt {
				t.Errorf("cut to %d bytes: %v", n, err)
			}
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left on disk: %v", left)
	}
	if s := p.Stats(); s.Granted != 0 {
		t.Errorf("%+v", s)
	}
}

// TestHEICLimits: what the header claims is held against the limits before the program runs.
// TestHEICOfSeveral: which of several pictures is shown is not the converter's first; all are hashed.
func TestHEICOfSeveral(t *testing.T) {
	if _, err := sandbox.FindProgram("heif-convert", "libheif-examples"); err != nil {
		t.Skip(err)
	}
	encoder, err := exec.LookPath("heif-enc")
	if err != nil {
		t.Skip(err)
	}
	p := newPool(t, sandbox.Options{Children: 1})
	dir := t.TempDir()
	file := filepath.Join(dir, "several.heic")
	args := []string{"-o", file}
	for i := range 9 {
		m := image.NewGray(image.Rect(0, 0, 64+8*i, 64))
		for at := range m.Pix {
			m.Pix[at] = uint8(at * (i + 1))
		}
		name := filepath.Join(dir, fmt.Sprint(i, ".png"))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(png.Encode(f, m), f.Close()); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	for n, want := range map[int]int{1: 1, 3: 3, 8: 8, 9: 0} {
		if out, err := exec.Command(encoder, args[:2+n]...).CombinedOutput(); err != nil {
			t.Skipf("heif-enc: %v: %s", err, out)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Picture(t.Context(), data)
		media, _ := hashing.AsMediaError(err)
		switch {
		case want == 0 && (media == nil || media.Kind != hashing.Unsupported):
			t.Errorf("%d pictures: %v", n, err)
		case want > 0 && (err != nil || got.Format != "heic" || got.Width != 64):
			t.Errorf("%d pictures: %+v, %v", n, got, err)
		}
		for i := range want {
			if i > 0 && !slices.ContainsFunc(got.Signals, func(s hashing.Signal) bool { return s.Time == uint32(i) }) {
				t.Errorf("%d pictures: none at %d ms", n, i)
			}
		}
	}
}

func TestHEICLimits(t *testing.T) {
	box := func(name string, body ...string) string {
		b := strings.Join(body, "")
		return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(b)))) + name + b
	}
	ispe := box("ispe", "\x00\x00\x00\x00", "\x00\x01\x00\x00", "\x00\x01\x00\x00")
	bomb := box("ftyp", "heic", "\x00\x00\x00\x00", "mif1heic") + box("meta", "\x00\x00\x00\x00", box("iprp", box("ipco", ispe)))
	p := newPool(t, sandbox.Options{Children: 1, Converter: os.Args[0]})
	_, err := p.Picture(t.Context(), []byte(bomb))
	if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.TooLarge {
		t.Errorf("got %v", err)
	}
}

// TestHEICWithoutProgram says what to install.
func TestHEICWithoutProgram(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 1, Converter: "no-such-program"})
	_, err := p.Picture(t.Context(), []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"))
	if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.NoDecoder {
		t.Errorf("got %v", err)
	}
}
