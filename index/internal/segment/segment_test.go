package segment

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"vigie/hashing"
)

// set is rows to test with.
func set(r *rand.Rand, a hashing.Algorithm, n int) []Row {
	rows := make([]Row, n)
	words := a.Bits() / 64
	centre := Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
	for i := range rows {
		var v Value
		switch r.IntN(4) {
		case 0: // near another one
			v = centre
			for range r.IntN(40) {
				b := r.IntN(64 * words)
				v[b/64] ^= 1 << (b % 64)
			}
		case 1: // few bits
			v[r.IntN(words)] = 1 << r.IntN(64)
		default:
			for w := range words {
				v[w] = r.Uint64()
			}
		}
		clear(v[words:])
		rows[i] = Row{v, uint64(i/3)*7 + 1000, uint32(r.IntN(300)), uint8(r.IntN(5)), uint32(r.IntN(3) * 70000)}
	}
	return rows
}

func build(t testing.TB, a hashing.Algorithm, rows []Row) *Segment {
	spans := NoSpans()
	for _, r := range rows {
		spans = spans.With(r)
	}
	b, err := New(a, len(rows), spans)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		b.Set(i, r)
	}
	return b.Finish(2)
}

// brute is the oracle.
func brute(rows []Row, q Value, radius int) (found []Found) {
	for i, r := range rows {
		d := 0
		for w := range q {
			d += bits.OnesCount64(q[w] ^ r.Value[w])
		}
		if d <= radius {
			found = append(found, Found{uint32(i), uint32(d)})
		}
	}
	return found
}

// raceDetector says that the tests run under the race detector, which takes ten times as long.
var raceDetector bool

func TestNear(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var scratch Scratch
	flat, probed := 0, 0
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.PHash} {
		for _, n := range []int{0, 1, 2, 7, 8, 9, 100, 1000, 5000, 40_000} {
			if raceDetector && n > 1000 {
				continue
			}
			rows := set(r, a, n)
			s := build(t, a, rows)
			for i, want := range rows {
				if got := s.Row(i); got != want {
					t.Fatalf("%s %d: row %d is %+v, want %+v", a, n, i, got, want)
				}
			}
			for range 60 {
				q := set(r, a, 1)[0].Value
				if n > 0 && r.IntN(2) == 0 {
					q = rows[r.IntN(n)].Value
					q[0] ^= 1 << r.IntN(64)
				}
				for _, radius := range []int{-1, 0, 1, 7, 8, 15, 16, 20, 31, 40, 47, 63, 64, 100, 255, 256, 300} {
					got, work := s.Near(&q, radius, &scratch, nil)
					if work.Flat {
						flat++
					} else {
						probed++
					}
					slices.SortFunc(got, func(a, b Found) int { return cmp.Compare(a.Row, b.Row) })
					if want := brute(rows, q, radius); !slices.Equal(got, want) {
						t.Fatalf("%s, %d rows, radius %d, %+v: got %d, want %d", a, n, radius, work, len(got), len(want))
					}
				}
			}
		}
	}
	t.Logf("%d times flat, %d times by tables", flat, probed)
}

func TestEqualAndFind(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, a := range []hashing.Algorithm{hashing.MD5, hashing.SHA256} {
		rows := set(r, a, 3000)
		s := build(t, a, rows)
		for _, want := range rows {
			n := 0
			for _, i := range s.Equal(&want.Value) {
				if s.Row(int(i)).Value != want.Value {
					t.Fatal("another value")
				}
				n++
			}
			if all := len(brute(rows, want.Value, 0)); n != all {
				t.Fatalf("found %d of %d", n, all)
			}
			from, to := s.Find(want.Entry)
			if to-from != 3 || s.Row(from).Entry != want.Entry {
				t.Fatalf("entry %d: rows %d to %d", want.Entry, from, to)
			}
		}
		if from, to := s.Find(1001); from != to {
			t.Error("found an entry that is not there")
		}
	}
}

func TestFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	dir := t.TempDir()
	for i, a := range hashing.Algorithms() {
		for _, n := range []int{0, 1, 777} {
			rows := set(r, a, n)
			path := filepath.Join(dir, fmt.Sprint(i, n))
			if err := build(t, a, rows).Write(path); err != nil {
				t.Fatal(err)
			}
			for _, copied := range []bool{false, true} {
				s, err := Open(path, copied)
				if err != nil {
					t.Fatal(err)
				}
				if s.Algorithm() != a || s.Len() != n {
					t.Fatalf("%s %d", s.Algorithm(), s.Len())
				}
				for i, want := range rows {
					if got := s.Row(i); got != want {
						t.Fatalf("row %d is %+v, want %+v", i, got, want)
					}
				}
			}
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 60 { // whatever is altered is found
				bad := slices.Clone(good)
				switch r.IntN(3) {
				case 0:
					bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
				case 1:
					bad = bad[:r.IntN(len(bad))]
				case 2:
					bad = append(bad, 0)
				}
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if s, err := Open(path, r.IntN(2) == 0); err == nil && !padding(s, good, bad) {
					t.Fatal("an altered file was opened")
				}
			}
		}
	}
}

// TestEveryByte flips a bit of every byte of a file: what is read, is refused; what is not, makes no difference.
func TestEveryByte(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	step := 1
	if raceDetector || testing.Short() {
		step = 13
	}
	path := filepath.Join(t.TempDir(), "segment")
	for _, a := range hashing.Algorithms() {
		s := build(t, a, set(r, a, 21))
		if err := s.Write(path); err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		refused, unread := 0, 0
		for at := 0; at < len(good); at += step {
			bad := []byte{good[at] ^ 1<<r.IntN(8)}
			if _, err := f.WriteAt(bad, int64(at)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, true)
			read := at < headerSize
			for _, part := range s.Sections {
				read = read || uint64(at) >= part.Offset && uint64(at) < part.Offset+part.Length
			}
			if read && !errors.Is(err, ErrDamaged) || !read && err != nil {
				t.Fatalf("%s, byte %d of %d, which is read: %v: %v", a, at, len(good), read, err)
			}
			if read {
				refused++
			} else {
				unread++
			}
			if _, err := f.WriteAt(good[at:at+1], int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes altered and refused, %d between sections, which nobody reads", a, refused, unread)
	}
}

// padding reports whether files differ only where nothing is read: between the sections.
func padding(s *Segment, good, bad []byte) bool {
	for i := range maxSections {
		at := s.Sections[i].Offset
		if string(good[at:at+s.Sections[i].Length]) != string(bad[at:at+s.Sections[i].Length]) {
			return false
		}
	}
	return len(good) == len(bad)
}

func BenchmarkNear(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		rows := make([]Row, n)
		for i := range rows {
			rows[i] = Row{Value: Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}, Entry: uint64(i)}
		}
		s := build(b, hashing.PDQ, rows)
		b.Logf("%d rows: %.1f bytes a row", n, float64(s.Bytes())/float64(n))
		for _, radius := range []int{0, 15, 31, 47, 63} {
			b.Run(fmt.Sprintf("%d/%d", n, radius), func(b *testing.B) {
				var scratch Scratch
				var found []Found
				var work Work
				b.ReportAllocs()
				for b.Loop() {
					q := Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
					found, work = s.Near(&q, radius, &scratch, found[:0])
				}
				b.ReportMetric(float64(work.Scanned), "scanned")
			})
		}
	}
}
