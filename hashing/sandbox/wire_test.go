package sandbox

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vigie/hashing"
)

// fullPicture is as large as a picture may be: every count at its bound.
func fullPicture() hashing.Picture {
	p := hashing.Picture{Format: "tiff", Width: 30_000, Height: 2000, Graphic: true}
	for i := range maxSignals {
		p.Signals = append(p.Signals, hashing.Signal{
			Algorithm: hashing.PDQ, Variant: hashing.Framed, Version: 1,
			Quality: 100, Time: 1<<32 - 1, Value: hashing.Value{^uint64(i), 1, 2, 3},
		})
	}
	for i := range maxQueries {
		p.Queries = append(p.Queries, hashing.Query{
			Signal: p.Signals[i%maxSignals], Transform: hashing.Transform(i % (int(hashing.Inverted) + 1)), Graphic: i%2 == 1,
		})
	}
	for i := range maxThumbs {
		v := []hashing.Variant{hashing.Plain, hashing.Trimmed, hashing.Framed}[i%3]
		t := hashing.Thumb{Variant: v, Quality: hashing.Quality(50 + i)}
		for j := range t.Pix {
			t.Pix[j] = uint8(i*j + j>>8)
		}
		p.Thumbs = append(p.Thumbs, t)
	}
	return p
}

// usualPicture is what most checks yield.
func usualPicture() hashing.Picture {
	p := fullPicture()
	p.Signals, p.Queries, p.Thumbs = p.Signals[:6], p.Queries[:64], p.Thumbs[:2]
	return p
}

func TestAnswerRoundTrip(t *testing.T) {
	bare := fullPicture()
	bare.Thumbs = nil
	short := usualPicture()
	short.Signals[0] = hashing.Signal{Algorithm: hashing.DHash, Version: hashing.DHash.Version(), Value: hashing.Value{^uint64(0)}}
	for _, want := range []hashing.Picture{
		fullPicture(), bare, short,
		{Format: "bmp", Width: 1, Height: 1, Unhashable: hashing.Tiny},
	} {
		b, err := encodeAnswer(want, nil)
		if err != nil || len(b) > maxAnswer {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		got, reported, err := decodeAnswer(b, hashing.DefaultLimits())
		if err != nil || reported != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %.300v, %v, %v", got, reported, err)
		}
	}
	b, _ := encodeAnswer(hashing.Picture{}, &hashing.MediaError{Kind: hashing.Corrupt, Detail: strings.Repeat("é", maxDetail)})
	if _, reported, err := decodeAnswer(b, hashing.DefaultLimits()); err != nil || reported.Kind != hashing.Corrupt || len(reported.Detail) > maxDetail {
		t.Errorf("got %v, %v", reported, err)
	}
	long := fullPicture()
	long.Queries = append(long.Queries, long.Queries[0])
	if _, err := encodeAnswer(long, nil); err == nil {
		t.Error("too many queries are encoded")
	}
}

// TestAnswerThatDoesNotHold spoils one thing at a time.
func TestAnswerThatDoesNotHold(t *testing.T) {
	sound, err := encodeAnswer(usualPicture(), nil)
	if err != nil {
		t.Fatal(err)
	}
	lastFlag := len(sound) - len(usualPicture().Thumbs)*thumbBytes - 1
	change := func(change func(p *hashing.Picture)) []byte {
		p := usualPicture()
		change(&p)
		b, err := encodeAnswer(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	signal := func(spoil func(s *hashing.Signal)) []byte {
		return change(func(p *hashing.Picture) { spoil(&p.Queries[5].Signal) })
	}
	for name, b := range map[string][]byte{
		"nothing":           {},
		"unknown tag":       append([]byte{'x'}, sound[1:]...),
		"a need":            encodeNeed(1),
		"cut":               sound[:len(sound)-1],
		"longer":            append(bytes.Clone(sound), 0),
		"unknown kind":      append(appendText([]byte{tagFailure}, "no-match"), "detail"...),
		"cut kind":          {tagFailure, 9, 'e'},
		"odd format":        change(func(p *hashing.Picture) { p.Format = "<b>" }),
		"no format":         change(func(p *hashing.Picture) { p.Format = "" }),
		"no width":          change(func(p *hashing.Picture) { p.Width = 0 }),
		"huge":              change(func(p *hashing.Picture) { p.Width = 1<<32 - 1 }),
		"over the limits":   change(func(p *hashing.Picture) { p.Height = 30_001 }),
		"unknown reason":    change(func(p *hashing.Picture) { p.Unhashable = "mood" }),
		"no signals":        change(func(p *hashing.Picture) { p.Signals = nil }),
		"no queries":        change(func(p *hashing.Picture) { p.Queries = nil }),
		"flat with signals": change(func(p *hashing.Picture) { p.Unhashable = hashing.Flat }),
		"unknown transform": change(func(p *hashing.Picture) { p.Queries[0].Transform = hashing.Inverted + 1 }),
		"no algorithm":      signal(func(s *hashing.Signal) { s.Algorithm = 0 }),
		"digest":            signal(func(s *hashing.Signal) { s.Algorithm, s.Version = hashing.SHA256, 1 }),
		"variant":           signal(func(s *hashing.Signal) { s.Variant = hashing.Framed + 1 }),
		"version":           signal(func(s *hashing.Signal) { s.Version++ }),
		"quality":           signal(func(s *hashing.Signal) { s.Quality = 101 }),
		"too many bits":     signal(func(s *hashing.Signal) { s.Algorithm, s.Version = hashing.PHash, hashing.PHash.Version() }),
		"thumb of cli":      change(func(p *hashing.Picture) { p.Thumbs[0].Variant = hashing.CLI }),
		"thumb's quality":   change(func(p *hashing.Picture) { p.Thumbs[1].Quality = 101 }),
		"unknown flag":      bytes.Replace(sound, []byte{0, 0, 7, 208, flagGraphic}, []byte{0, 0, 7, 208, 2}, 1),
		"a query's flag":    slices.Concat(sound[:lastFlag], []byte{2}, sound[lastFlag+1:]),
	} {
		if _, _, err := decodeAnswer(b, hashing.DefaultLimits()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, b := range [][]byte{nil, encodeNeed(0), encodeNeed(-1), encodeNeed(1)[:8], sound} {
		if n, ok := decodeNeed(b); ok {
			t.Errorf("a need of %d", n)
		}
	}
}

// FuzzAnswer shows that whatever a child says, the parent accepts only what it could say itself.
func FuzzAnswer(f *testing.F) {
	small := fullPicture()
	small.Signals, small.Queries, small.Thumbs = small.Signals[:2], small.Queries[:9], small.Thumbs[:1]
	seed, _ := encodeAnswer(small, nil)
	f.Add(seed)
	seed, _ = encodeAnswer(hashing.Picture{Format: "png", Width: 4, Height: 4, Unhashable: hashing.Tiny}, nil)
	f.Add(seed)
	seed, _ = encodeAnswer(hashing.Picture{}, &hashing.MediaError{Kind: hashing.Corrupt, Detail: "bad\x00marker"})
	f.Add(seed)
	f.Add(encodeNeed(1 << 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, reported, err := decodeAnswer(b, hashing.DefaultLimits())
		if err != nil {
			return
		}
		if _, need := decodeNeed(b); need {
			t.Errorf("%x is an answer and a need", b)
		}
		again, err := encodeAnswer(p, asError(reported))
		if err != nil || reported == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x is accepted, and %x (%v) comes of it", b, again, err)
		}
		p2, reported2, err := decodeAnswer(again, hashing.DefaultLimits())
		if err != nil || !reflect.DeepEqual(p, p2) || !reflect.DeepEqual(reported, reported2) {
			t.Errorf("%x is accepted, and %x (%v) comes of it", b, again, err)
		}
	})
}

// BenchmarkAnswer measures both ends of an answer of usual size.
func BenchmarkAnswer(b *testing.B) {
	p := usualPicture()
	b.ReportAllocs()
	for b.Loop() {
		text, err := encodeAnswer(p, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := decodeAnswer(text, hashing.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFrames(t *testing.T) {
	var pipe bytes.Buffer
	for _, n := range []int{0, 1, 4 << 10, 4<<10 + 1, 1 << 20} {
		if err := writeFrame(&pipe, bytes.Repeat([]byte{7}, n)); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(pipe.Bytes())
		b, err := readFrame(&pipe, 1<<20, make([]byte, 100))
		if err != nil || len(b) != n || pipe.Len() != 0 {
			t.Errorf("%d bytes: got %d, %v", n, len(b), err)
		}
		if _, err := readFrame(bytes.NewReader(whole), int64(n)-1, nil); !errors.Is(err, errFrameTooLong) {
			t.Errorf("%d bytes: %v; want too long", n, err)
		}
		if _, err := readFrame(bytes.NewReader(whole[:len(whole)-1]), 1<<20, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v; want an unexpected end", n, err)
		}
	}
	if _, err := readFrame(&pipe, 1, nil); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

func TestMemoryComplaint(t *testing.T) {
	text := strings.Repeat("noise ", 5000) + "fatal error: runtime: out of memory\n" + strings.Repeat("trace ", 5000)
	for _, step := range []int{1, 7, 4096, len(text)} {
		var m memoryComplaint
		for rest := []byte(text); len(rest) > 0; {
			n, err := m.Write(rest[:min(step, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if cap(m.tail) > 16<<10 {
				t.Fatalf("keeps %d bytes", cap(m.tail))
			}
		}
		if !m.found {
			t.Errorf("not found in steps of %d", step)
		}
	}
	var m memoryComplaint
	_, _ = m.Write([]byte("panic: index out of range; the memory of it"))
	if m.found {
		t.Error("found in another text")
	}
}

func TestProtectionsString(t *testing.T) {
	all := Protections{NoNewPrivs: true, NotDumpable: true, Memory: 3 << 29, NoFiles: true, Landlock: 7, Seccomp: true}
	if got := all.String(); !all.Full() || got != "memory=1536MiB no-new-files no-new-privs not-dumpable landlock=7 seccomp" {
		t.Error(got)
	}
	none := Protections{}
	if got := none.String(); none.Full() || got != "NO:memory NO:no-new-files NO:no-new-privs NO:not-dumpable NO:landlock NO:seccomp" {
		t.Error(got)
	}
}
