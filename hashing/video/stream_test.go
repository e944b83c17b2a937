package video

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"vigie/hashing"
)

func TestStream(t *testing.T) {
	pixels := "P5\n3 2\n255\nabcdefP5\n1 1\n255\n P5\n2 1\n255\nP5"
	times := "frame:0    pts:0       pts_time:0\nv=1\nframe:1    pts:7 pts_time:1.2345\nv=1\nframe:2 pts:NOPTS pts_time:NOPTS\nv=1\n"
	// One byte at a time, as a pipe may bring them.
	s := newStream(iotest.OneByteReader(strings.NewReader(pixels)), iotest.OneByteReader(strings.NewReader(times)), hashing.DefaultLimits())
	for i, want := range []picture{
		{0, 3, 2, []byte("abcdef"), false},
		{1235, 1, 1, []byte(" "), false},
		{1275, 2, 1, []byte("P5"), false},
	} {
		got, err := s.next()
		if err != nil || got.time != want.time || got.width != want.width || got.height != want.height || !bytes.Equal(got.luma, want.luma) {
			t.Errorf("frame %d: %v, %v; want %v", i, got, err, want)
		}
	}
	if _, err := s.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}

	one := "frame:0 pts:0 pts_time:0\n"
	for pixels, want := range map[string]error{
		"":                            errBroken,
		"P5\n3 2\n255\nabcde":         errBroken,
		"P6\n1 1\n255\nabc":           errBroken,
		"P5\n1 1\n65535\nab":          errBroken,
		"P5\n-1 1\n255\n":             errLimit,
		"P5\n0 0\n255\n":              errLimit,
		"P5\n40000 1\n255\n":          errLimit,
		"P5\n29999 29999\n255\n":      errLimit,
		"P5\n9999999999999 1\n255\na": errLimit,
	} {
		if _, err := newStream(strings.NewReader(pixels), strings.NewReader(one), hashing.DefaultLimits()).next(); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", pixels, err, want)
		}
	}
	if _, err := newStream(strings.NewReader("P5\n1 1\n255\na"), strings.NewReader("frame:"+strings.Repeat("0", 10_000)), hashing.DefaultLimits()).next(); err != errBroken {
		t.Errorf("an endless line: %v", err)
	}
}

// FuzzStream: whatever a program that was taken over writes, the frames are within the limits and in
// order, and the reading ends.
func FuzzStream(f *testing.F) {
	f.Add([]byte("P5\n3 2\n255\nabcdef"), []byte("frame:0 pts:0 pts_time:0.5\nv=1\nframe:1 pts:0 pts_time:0.25\n"))
	f.Add([]byte("P5\n1 1\n255\naP5\n2 2\n255\nabcd"), []byte("frame:0 pts_time:-1\nframe:1 pts_time:1e300\nframe:2 pts_time:NaN\n"))
	f.Add([]byte("P5\n99999999999999999999 1\n255\n"), []byte("frame:\n"))
	limits := hashing.Limits{Side: 100, Pixels: 1000}
	f.Fuzz(func(t *testing.T, pixels, times []byte) {
		s := newStream(bytes.NewReader(pixels), bytes.NewReader(times), limits)
		last := int64(-1)
		for range len(times) + 1 {
			p, err := s.next()
			if err != nil {
				return
			}
			if p.width < 1 || p.height < 1 || p.width > 100 || p.width*p.height > 1000 || len(p.luma) != p.width*p.height || int64(p.time) <= last && p.time < math.MaxUint32 {
				t.Fatalf("%d x %d with %d bytes at %d after %d", p.width, p.height, len(p.luma), p.time, last)
			}
			last = int64(p.time)
		}
		t.Fatal("more frames than lines")
	})
}

// TestReduce holds the reduction against its definition.
func TestReduce(t *testing.T) {
	for _, size := range [][2]int{{1024, 1024}, {1025, 1100}, {2049, 2500}, {4100, 1030}, {512, 512}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p := picture{width: size[0], height: size[1], luma: make([]byte, size[0]*size[1])}
			for i := range p.luma {
				p.luma[i] = byte(i * 7 % 251)
			}
			factor := 1
			for min(size[0], size[1])/(2*factor) >= 512 {
				factor *= 2
			}
			reduced := newHasher().reduced(p, factor)
			width, height := reduced.Width, reduced.Height
			if width != (size[0]+factor-1)/factor || height != (size[1]+factor-1)/factor || len(reduced.Floats) != width*height {
				t.Fatalf("%d x %d by %d", width, height, factor)
			}
			for y := range height {
				for x := range width {
					sum, n := 0.0, 0.0
					for i := y * factor; i < min((y+1)*factor, size[1]); i++ {
						for j := x * factor; j < min((x+1)*factor, size[0]); j++ {
							sum += float64(p.luma[i*size[0]+j])
							n++
						}
					}
					if got := float64(reduced.Floats[y*width+x]); got-sum/n > 0.001 || sum/n-got > 0.001 {
						t.Fatalf("(%d, %d): %v, want %v", x, y, got, sum/n)
					}
				}
			}
		})
	}
}
