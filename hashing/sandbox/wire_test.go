package sandbox

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"vigie/hashing"
)

// fullPicture is as large as a picture may be: every count at its bound.
func fullPicture() hashing.Picture {
	p := hashing.Picture{Format: "tiff", Width: 30_000, Height: 2000}
	for i := range maxSignals {
		p.Signals = append(p.Signals, hashing.Signal{
			Algorithm: hashing.PDQ, Variant: hashing.White, Version: 1,
			Quality: 100, Value: hashing.Value{^uint64(i), 1, 2, 3},
		})
	}
	for i := range maxQueries {
		p.Queries = append(p.Queries, hashing.Query{Signal: p.Signals[i%maxSignals], Transform: hashing.Transform(i % hashing.Orientations)})
	}
	return p
}

func TestAnswerRoundTrip(t *testing.T) {
	for _, want := range []hashing.Picture{
		fullPicture(),
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
}

// FuzzAnswer shows that whatever a child says, the parent accepts only what it could say itself.
func FuzzAnswer(f *testing.F) {
	small := fullPicture()
	small.Signals, small.Queries = small.Signals[:2], small.Queries[:9]
	seed, _ := encodeAnswer(small, nil)
	f.Add(seed)
	f.Add([]byte(`{"error":{"kind":"corrupt","detail":"bad\u0000marker"}}`))
	f.Add([]byte(`{"picture":{"format":"png","width":4,"height":4,"unhashable":"tiny"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, reported, err := decodeAnswer(b, hashing.DefaultLimits())
		if err != nil {
			return
		}
		again, err := encodeAnswer(p, asError(reported))
		if err != nil {
			t.Fatal(err)
		}
		p2, reported2, err := decodeAnswer(again, hashing.DefaultLimits())
		if err != nil || !reflect.DeepEqual(p, p2) || !reflect.DeepEqual(reported, reported2) {
			t.Errorf("%s is accepted, and %s (%v) comes of it", b, again, err)
		}
	})
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
