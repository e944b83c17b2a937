package pdq_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"vigie/hashing/pdq"
)

// sizes cover the filter's windows of 1, 2, 3 and many, odd and even, the 64 x 64 copy, upsampling,
// and extreme shapes.
var sizes = []struct{ w, h int }{
	{5, 5},
	{5, 64},
	{64, 5},
	{6, 7},
	{63, 64},
	{64, 63},
	{64, 64},
	{65, 64},
	{64, 65},
	{65, 65},
	{100, 1},
	{127, 129},
	{128, 128},
	{129, 127},
	{130, 257},
	{200, 300},
	{255, 256},
	{257, 383},
	{384, 385},
	{512, 512},
	{640, 480},
	{2000, 5},
	{5, 2000},
	{3000, 9},
	{1023, 511},
	{1025, 513},
}

func TestHashEqualsTheTextOfTheReference(t *testing.T) {
	var h pdq.Hasher // one for all sizes, so that stale scratch memory would show
	for _, kind := range kinds {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/%dx%d", kind.name, size.w, size.h), func(t *testing.T) {
				luma := kind.draw(rand.New(rand.NewPCG(uint64(size.w), uint64(size.h))), size.w, size.h)
				before := slices.Clone(luma)
				wantHash, wantQuality := oracle(luma, size.w, size.h)
				hash, quality := h.Hash(luma, size.w, size.h)
				if hash != wantHash || quality != wantQuality {
					t.Errorf("got %s quality %d, want %s quality %d", hash, quality, wantHash, wantQuality)
				}
				if !slices.Equal(luma, before) {
					t.Error("the buffer was changed")
				}
				all, quality := h.Dihedral(luma, size.w, size.h)
				if want := oracleDihedral(luma, size.w, size.h); all != want || quality != wantQuality {
					t.Errorf("dihedral:\ngot  %v %d\nwant %v %d", all, quality, want, wantQuality)
				}
				if all[0] != hash {
					t.Errorf("dihedral element 0 is %s, the hash %s", all[0], hash)
				}
			})
		}
	}
}

func TestKnownShapes(t *testing.T) {
	// A picture that only gets brighter to the right has 63 steps in each of its 64 rows. A step of 4
	// levels is 1.57 percent of the range, which truncates to 1.
	ramp := make([]float32, 64*64)
	for i := range ramp {
		ramp[i] = float32(i%64) * 4
	}
	var h pdq.Hasher
	if _, q := h.Hash(ramp, 64, 64); q != 63*64/90 {
		t.Errorf("quality of a ramp is %d, want %d", q, 63*64/90)
	}
	if hash, q := h.Hash(make([]float32, 100*80), 100, 80); hash != (pdq.Hash{}) || q != 0 {
		t.Errorf("black gives %s, quality %d", hash, q)
	}
}

func TestTooSmallOrShort(t *testing.T) {
	var h pdq.Hasher
	luma := make([]float32, 100)
	for i := range luma {
		luma[i] = float32(i * 37 % 256)
	}
	if hash, _ := h.Hash(luma, 10, 10); hash == (pdq.Hash{}) {
		t.Fatal("the pattern itself has a zero hash: the test shows nothing")
	}
	for _, c := range []struct {
		name          string
		width, height int
	}{
		{"narrow", 4, 25},
		{"low", 25, 4},
		{"empty", 0, 0},
		{"negative", -10, -10},
		{"short buffer", 10, 11},
		{"overflowing", math.MaxInt, math.MaxInt},
	} {
		t.Run(c.name, func(t *testing.T) {
			if hash, q := h.Hash(luma, c.width, c.height); hash != (pdq.Hash{}) || q != 0 {
				t.Errorf("got %s quality %d, want zeros", hash, q)
			}
			if all, q := h.Dihedral(luma, c.width, c.height); all != [8]pdq.Hash{} || q != 0 {
				t.Errorf("got %v quality %d, want zeros", all, q)
			}
			bytes := rounded(luma)
			if hash, q := h.HashBytes(bytes, c.width, c.height); hash != (pdq.Hash{}) || q != 0 {
				t.Errorf("bytes: got %s quality %d, want zeros", hash, q)
			}
			if all, q := h.DihedralBytes(bytes, c.width, c.height); all != [8]pdq.Hash{} || q != 0 {
				t.Errorf("bytes: got %v quality %d, want zeros", all, q)
			}
		})
	}
}

func TestNotFinite(t *testing.T) {
	luma := make([]float32, 100*100)
	for i := range luma {
		luma[i] = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 7}[i%4]
	}
	var h pdq.Hasher
	h.Dihedral(luma, 100, 100) // neither panics nor hangs
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	luma := smooth(rand.New(rand.NewPCG(1, 2)), 600, 500)
	bytes := rounded(luma)
	for _, name := range pdq.Kernels() {
		for _, exact := range []bool{false, true} {
			h := pdq.With(name)
			h.Exact = exact
			all := func() {
				h.Hash(luma, 600, 500)
				h.Dihedral(luma, 500, 600)
				h.HashBytes(bytes, 600, 500)
				h.DihedralBytes(bytes, 500, 600)
			}
			all()
			if n := testing.AllocsPerRun(5, all); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
}

// Turning the pixels themselves and hashing again must come near the hash derived from one transform,
// under the right index; otherwise the order of the eight would be wrong.
func TestDihedralFollowsRealTurns(t *testing.T) {
	const w, h = 300, 220
	luma := smooth(rand.New(rand.NewPCG(3, 4)), w, h)
	turns := []struct {
		name string
		w, h int
		from func(x, y int) (int, int) // where the turned picture's pixel comes from
	}{
		{"identity", w, h, func(x, y int) (int, int) { return x, y }},
		{"90 counter-clockwise", h, w, func(x, y int) (int, int) { return w - 1 - y, x }},
		{"180", w, h, func(x, y int) (int, int) { return w - 1 - x, h - 1 - y }},
		{"270 counter-clockwise", h, w, func(x, y int) (int, int) { return y, h - 1 - x }},
		{"top to bottom", w, h, func(x, y int) (int, int) { return x, h - 1 - y }},
		{"left to right", w, h, func(x, y int) (int, int) { return w - 1 - x, y }},
		{"main diagonal", h, w, func(x, y int) (int, int) { return y, x }},
		{"other diagonal", h, w, func(x, y int) (int, int) { return w - 1 - y, h - 1 - x }},
	}
	var hasher pdq.Hasher
	all, _ := hasher.Dihedral(luma, w, h)
	estimated := pdq.DihedralOf(all[0])
	for i, turn := range turns {
		t.Run(turn.name, func(t *testing.T) {
			turned := make([]float32, 0, w*h)
			for y := range turn.h {
				for x := range turn.w {
					fx, fy := turn.from(x, y)
					turned = append(turned, luma[fy*w+fx])
				}
			}
			hash, _ := hasher.Hash(turned, turn.w, turn.h)
			for k := range all {
				d := all[k].Distance(hash)
				if k == i && d > 31 || k != i && d < 60 {
					t.Errorf("distance %d to element %d", d, k)
				}
			}
			if d := estimated[i].Distance(all[i]); d > 20 {
				t.Errorf("estimate is %d bits away", d)
			}
		})
	}
}

func TestDihedralOfIsAGroup(t *testing.T) {
	h := pdq.Hash{0x0123456789abcdef, 0xfedcba9876543210, 0xdeadbeef00c0ffee, 0x8000000000000001}
	inverse := [8]int{0, 3, 2, 1, 4, 5, 6, 7}
	for i, turned := range pdq.DihedralOf(h) {
		if back := pdq.DihedralOf(turned)[inverse[i]]; back != h {
			t.Errorf("transform %d and back gives %s", i, back)
		}
	}
	if pdq.DihedralOf(pdq.DihedralOf(h)[1])[1] != pdq.DihedralOf(h)[2] {
		t.Error("two quarter turns are not a half turn")
	}
	if s := h.String(); s != "0123456789abcdeffedcba9876543210deadbeef00c0ffee8000000000000001" {
		t.Errorf("text form %s", s)
	}
}

func Example() {
	const width, height = 320, 200
	luma := make([]float32, width*height)
	for i := range luma { // two gratings
		x, y := float64(i%width), float64(i/width)
		luma[i] = float32(128 + 60*math.Sin(x/15) + 60*math.Cos((x+2*y)/40))
	}
	var h pdq.Hasher
	hash, quality := h.Hash(luma, width, height)

	for i := range luma { // a darker copy with less contrast
		luma[i] = luma[i]*0.7 + 10
	}
	copied, _ := h.Hash(luma, width, height)
	fmt.Println(quality, copied.Distance(hash) <= 31)
	// Output: 100 true
}

// The ratio of portable to the others, in one run.
func BenchmarkDihedral(b *testing.B) {
	for _, size := range []struct{ w, h int }{{64, 64}, {512, 512}, {960, 540}, {1024, 768}, {1100, 800}} {
		floats := smooth(rand.New(rand.NewPCG(5, 6)), size.w, size.h)
		bytes := rounded(floats)
		for _, kernel := range pdq.Kernels() {
			h := pdq.With(kernel)
			b.Run(fmt.Sprintf("%dx%d/floats/%s", size.w, size.h, kernel), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					h.Dihedral(floats, size.w, size.h)
				}
			})
			b.Run(fmt.Sprintf("%dx%d/bytes/%s", size.w, size.h, kernel), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					h.DihedralBytes(bytes, size.w, size.h)
				}
			})
		}
	}
}

func BenchmarkDihedralOf(b *testing.B) {
	h := pdq.Hash{0x0123456789abcdef, 0xfedcba9876543210, 0xdeadbeef00c0ffee, 1}
	for b.Loop() {
		pdq.DihedralOf(h)
	}
}

// The pictures that the tests draw.
var kinds = []struct {
	name string
	draw func(r *rand.Rand, w, h int) []float32
}{
	{"noise", func(r *rand.Rand, w, h int) []float32 {
		luma := make([]float32, w*h)
		for i := range luma {
			luma[i] = 0.299*float32(r.IntN(256)) + 0.587*float32(r.IntN(256)) + 0.114*float32(r.IntN(256))
		}
		return luma
	}},
	{"smooth", smooth},
	{"flat", func(r *rand.Rand, w, h int) []float32 { return slices.Repeat([]float32{77.3}, w*h) }},
	{"dots", func(r *rand.Rand, w, h int) []float32 { // mostly zeros: many ties
		luma := make([]float32, w*h)
		for range 3 {
			luma[r.IntN(w*h)] = 255
		}
		return luma
	}},
}

// smooth draws a picture of low frequencies, as photographs are, with a little noise.
func smooth(r *rand.Rand, w, h int) []float32 {
	type wave struct{ fx, fy, phase, height float64 }
	waves := make([]wave, 12)
	for i := range waves {
		waves[i] = wave{r.Float64()*60 - 30, r.Float64() * 30, r.Float64() * 6, r.Float64() * 34}
	}
	luma := make([]float32, w*h)
	for y := range h {
		for x := range w {
			v := 128.0
			for _, k := range waves {
				v += k.height * math.Sin(k.fx*float64(x)/float64(w)+k.fy*float64(y)/float64(h)+k.phase)
			}
			luma[y*w+x] = float32(min(255, max(0, v+r.Float64()*6)))
		}
	}
	return luma
}

// rounded is luma in bytes.
func rounded(luma []float32) []uint8 {
	b := make([]uint8, len(luma))
	for i, v := range luma {
		b[i] = uint8(min(255, max(0, v+0.5)))
	}
	return b
}

// What follows is a second implementation, written from the description of the reference alone: one
// sample after the other, padded with comments instead of tricks. It is the oracle.

func oracle(luma []float32, w, h int) (pdq.Hash, int) {
	if w < 5 || h < 5 {
		return pdq.Hash{}, 0
	}
	samples := oracleSamples(luma, w, h)
	return oracleBits(oracleTransform(samples)), oracleQuality(samples)
}

func oracleDihedral(luma []float32, w, h int) (out [8]pdq.Hash) {
	if w < 5 || h < 5 {
		return out
	}
	a := oracleTransform(oracleSamples(luma, w, h))
	var b [8][16][16]float32
	for i := range 16 {
		for j := range 16 {
			v, iOdd, jOdd, sumOdd := a[i][j], i%2 == 1, j%2 == 1, (i+j)%2 == 1
			sign := func(keep bool) float32 {
				if keep {
					return v
				}
				return -v
			}
			b[0][i][j] = v
			b[1][j][i] = sign(jOdd)
			b[2][i][j] = sign(!sumOdd)
			b[3][j][i] = sign(iOdd)
			b[4][i][j] = sign(iOdd)
			b[5][i][j] = sign(jOdd)
			b[6][j][i] = v
			b[7][j][i] = sign(!sumOdd)
		}
	}
	for k := range out {
		out[k] = oracleBits(b[k])
	}
	return out
}

func oracleSamples(luma []float32, w, h int) (out [64][64]float32) {
	if w == 64 && h == 64 {
		for i := range luma[:64*64] {
			out[i/64][i%64] = luma[i]
		}
		return out
	}
	buf := slices.Clone(luma)
	for range 2 {
		for y := range h {
			copy(buf[y*w:], oracleBox(buf[y*w:y*w+w]))
		}
		for x := range w {
			column := make([]float32, h)
			for y := range h {
				column[y] = buf[y*w+x]
			}
			for y, v := range oracleBox(column) {
				buf[y*w+x] = v
			}
		}
	}
	for i := range 64 {
		for j := range 64 {
			y := int((float64(i) + 0.5) * float64(h) / 64)
			x := int((float64(j) + 0.5) * float64(w) / 64)
			out[i][j] = buf[y*w+x]
		}
	}
	return out
}

// oracleBox has the four phases of the reference's box1DFloat.
func oracleBox(in []float32) []float32 {
	n := len(in)
	size := (n + 127) / 128
	half := (size + 2) / 2
	var out []float32
	var sum, count float32
	right, left := 0, 0
	for range half - 1 {
		sum += in[right]
		count++
		right++
	}
	for range size - half + 1 {
		sum += in[right]
		count++
		right++
		out = append(out, sum/count)
	}
	for range n - size {
		sum += in[right]
		sum -= in[left]
		right++
		left++
		out = append(out, sum/count)
	}
	for range half - 1 {
		sum -= in[left]
		count--
		left++
		out = append(out, sum/count)
	}
	return out
}

func oracleQuality(a [64][64]float32) int {
	sum := 0
	for i := range 64 {
		for j := range 64 {
			if i < 63 {
				d := int((a[i][j] - a[i+1][j]) * 100 / 255)
				sum += int(math.Abs(float64(d)))
			}
			if j < 63 {
				d := int((a[i][j] - a[i][j+1]) * 100 / 255)
				sum += int(math.Abs(float64(d)))
			}
		}
	}
	return min(100, sum/90)
}

func oracleCosine(i, j int) float32 {
	scale := float32(math.Sqrt(2.0 / 64.0))
	return float32(float64(scale) * math.Cos((math.Pi/2/64)*float64(i+1)*float64(2*j+1)))
}

func oracleTransform(a [64][64]float32) (b [16][16]float32) {
	var d, t [16][64]float32
	for i := range 16 {
		for j := range 64 {
			d[i][j] = oracleCosine(i, j)
		}
	}
	for i := range 16 {
		for j := range 64 {
			for k := range 64 {
				t[i][j] += float32(d[i][k] * a[k][j])
			}
		}
	}
	for i := range 16 {
		for j := range 16 {
			for k := range 64 {
				b[i][j] += float32(t[i][k] * d[j][k])
			}
		}
	}
	return b
}

func oracleBits(b [16][16]float32) pdq.Hash {
	var all []float32
	for i := range 16 {
		all = append(all, b[i][:]...)
	}
	slices.Sort(all)
	median := all[127]
	var bytes [32]byte
	for k := range 256 {
		if b[k/16][k%16] > median {
			bytes[31-k/8] |= 1 << (k % 8)
		}
	}
	var hash pdq.Hash
	for i := range hash {
		hash[i] = binary.BigEndian.Uint64(bytes[8*i:])
	}
	return hash
}

// The cosines come from the math package, whose last digit may vary between processors. They must not.
func TestCosinesAreTheSameEverywhere(t *testing.T) {
	sum := crc32.NewIEEE()
	for i := range 16 {
		for j := range 64 {
			if err := binary.Write(sum, binary.LittleEndian, oracleCosine(i, j)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := sum.Sum32(); got != 0x065b2639 {
		t.Errorf("checksum %#08x", got)
	}
}
