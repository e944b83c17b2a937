package pdq_test

import (
	"encoding/binary"
	"fmt"
	"image"
	"image/draw"
	_ "image/jpeg"
	_ "image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"vigie/hashing/pdq"
	"vigie/internal/datatest"
)

// raceDetector says that it is on, which makes the kernels' oracle many times slower.
var raceDetector bool

// hashers has one Hasher for each kernel of this processor, the portable one last.
type hashers []*pdq.Hasher

func newHashers() (all hashers) {
	for _, name := range pdq.Kernels() {
		all = append(all, pdq.With(name))
	}
	return all
}

// disagreement says how a kernel's result differs from the portable one's, to the last bit: in the
// hashes, the quality, or in what they were made of.
func disagreement(all hashers, hash func(*pdq.Hasher) ([8]pdq.Hash, int)) string {
	oracle := all[len(all)-1]
	want, wantQuality := hash(oracle)
	wantSamples, wantCoeffs := oracle.Inside()
	for i, h := range all[:len(all)-1] {
		name := pdq.Kernels()[i]
		got, quality := hash(h)
		samples, coeffs := h.Inside()
		for g := range wantSamples {
			for k, v := range samples[g] {
				if want := wantSamples[g][k]; math.Float32bits(v) != math.Float32bits(want) {
					return fmt.Sprintf("%s: sample %d,%d of grid %d is %v, want %v", name, k/64, k%64, g, v, want)
				}
			}
		}
		for k, v := range coeffs {
			if math.Float32bits(v) != math.Float32bits(wantCoeffs[k]) {
				return fmt.Sprintf("%s: coefficient %d,%d is %v, want %v", name, k/16, k%16, v, wantCoeffs[k])
			}
		}
		if got != want || quality != wantQuality {
			return fmt.Sprintf("%s: got %v quality %d, want %v quality %d", name, got, quality, want, wantQuality)
		}
	}
	return ""
}

func (all hashers) setExact(exact bool) {
	for _, h := range all {
		h.Exact = exact
	}
}

func (all hashers) compareFloats(t testing.TB, luma []float32, w, h int) {
	t.Helper()
	if d := disagreement(all, func(x *pdq.Hasher) ([8]pdq.Hash, int) { return x.Dihedral(luma, w, h) }); d != "" {
		t.Errorf("floats %dx%d: %s", w, h, d)
	}
}

// compareBytes compares the kernels, and the hashes with those of the same values as floats.
func (all hashers) compareBytes(t testing.TB, luma []uint8, w, h int) {
	t.Helper()
	if d := disagreement(all, func(x *pdq.Hasher) ([8]pdq.Hash, int) { return x.DihedralBytes(luma, w, h) }); d != "" {
		t.Errorf("bytes %dx%d: %s", w, h, d)
	}
	floats := make([]float32, len(luma))
	for i, v := range luma {
		floats[i] = float32(v)
	}
	oracle := all[len(all)-1]
	want, wantQuality := oracle.Dihedral(floats, w, h)
	if got, quality := oracle.DihedralBytes(luma, w, h); got != want || quality != wantQuality {
		t.Errorf("bytes %dx%d: got %v quality %d, as floats %v quality %d", w, h, got, quality, want, wantQuality)
	}
	hash, quality := all[0].HashBytes(luma, w, h)
	if hash != want[0] || quality != wantQuality {
		t.Errorf("bytes %dx%d: hash %s quality %d, want %s quality %d", w, h, hash, quality, want[0], wantQuality)
	}
}

// The values that buffers are filled with.
var distributions = []struct {
	name string
	draw func(r *rand.Rand) float32
}{
	{"bytes", func(r *rand.Rand) float32 { return float32(r.IntN(256)) }},
	{"luma", func(r *rand.Rand) float32 {
		return 0.299*float32(r.IntN(256)) + 0.587*float32(r.IntN(256)) + 0.114*float32(r.IntN(256))
	}},
	{"fractions", func(r *rand.Rand) float32 { return r.Float32() * 255 }},
	{"two values", func(r *rand.Rand) float32 { return float32(r.IntN(2) * 255) }},
	{"mostly zero", func(r *rand.Rand) float32 { return float32(max(0, r.IntN(200)-198)) * 99 }},
	{"signed", func(r *rand.Rand) float32 { return r.Float32()*2 - 1 }},
	{"tiny", func(r *rand.Rand) float32 { return float32(r.IntN(3)) * math.SmallestNonzeroFloat32 }},
	{"small", func(r *rand.Rand) float32 { return float32(math.Ldexp(r.Float64(), -r.IntN(150))) }},
	{"huge", func(r *rand.Rand) float32 { return float32(math.Ldexp(r.Float64()-0.5, r.IntN(100))) }},
	{"zeros of both signs", func(r *rand.Rand) float32 {
		return float32(math.Copysign(0, float64(r.IntN(2))-0.5))
	}},
}

func TestKernelsAgreeOnRandomBuffers(t *testing.T) {
	type shape struct{ w, h int }
	shapes := []shape{
		{5, 5},
		{5, 3000},
		{3000, 5},
		{64, 65},
		{65, 64},
		{64, 64},
		{127, 193},
		{1023, 511},
		{1025, 513},
		{769, 1031},
		{1100, 800},
		{2049, 33},
		{33, 2047},
		{32768, 6},
		{6, 32768},
		{32769, 5},
		{5, 32769},
	}
	r := rand.New(rand.NewPCG(1, 2))
	random := 600
	if testing.Short() || raceDetector {
		shapes, random = shapes[:9], 60
	}
	for range random {
		shapes = append(shapes, shape{5 + r.IntN(196), 5 + r.IntN(196)})
	}
	all := newHashers() // one for all, so that stale scratch memory would show
	for i, s := range shapes {
		// The buffer begins anywhere, so that no alignment can be taken for granted.
		offset := r.IntN(64)
		d := distributions[i%len(distributions)]
		all.setExact(r.IntN(2) == 0)
		floats := make([]float32, offset+s.w*s.h)[offset:]
		for k := range floats {
			floats[k] = d.draw(r)
		}
		all.compareFloats(t, floats, s.w, s.h)
		bytes := make([]uint8, offset+s.w*s.h)[offset:]
		for k := range bytes {
			bytes[k] = uint8(min(255, max(0, d.draw(r))))
		}
		all.compareBytes(t, bytes, s.w, s.h)
		if t.Failed() {
			t.Fatalf("values: %s, offset %d", d.name, offset)
		}
	}
}

// Every width has its own windows, ends and remainders.
func TestKernelsAgreeOnEveryWidthAndHeight(t *testing.T) {
	all := newHashers()
	r := rand.New(rand.NewPCG(3, 4))
	step := 1
	if testing.Short() || raceDetector {
		step = 13
	}
	for n := 5; n <= 1100; n += step {
		const m = 9
		all.setExact(n%2 == 0)
		bytes := make([]uint8, n*m)
		floats := make([]float32, n*m)
		for k := range bytes {
			bytes[k], floats[k] = uint8(r.Uint32()), r.Float32()*255
		}
		all.compareBytes(t, bytes, n, m)
		all.compareBytes(t, bytes, m, n)
		all.compareFloats(t, floats, n, m)
		all.compareFloats(t, floats, m, n)
		if t.Failed() {
			break
		}
	}
}

// A constant picture has only ties; 255 makes the largest sums of bytes.
func TestKernelsAgreeOnConstants(t *testing.T) {
	all := newHashers()
	for _, v := range []uint8{0, 1, 77, 255} {
		for _, s := range [][2]int{{64, 64}, {70, 90}, {512, 300}, {32768, 5}} {
			bytes := slices.Repeat([]uint8{v}, s[0]*s[1])
			all.compareBytes(t, bytes, s[0], s[1])
			all.compareFloats(t, slices.Repeat([]float32{float32(v) + 0.3}, s[0]*s[1]), s[0], s[1])
		}
	}
}

// What is not finite has no meaning, but does not harm.
func TestKernelsSurviveWhatIsNotFinite(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, name := range pdq.Kernels() {
		h := pdq.With(name)
		for range 20 {
			luma := make([]float32, 150*130)
			for i := range luma {
				luma[i] = math.Float32frombits(r.Uint32())
			}
			if _, q := h.Dihedral(luma, 150, 130); q < 0 || q > 100 {
				t.Errorf("%s: quality %d", name, q)
			}
		}
		luma := smooth(r, 100, 100)
		want, _ := new(pdq.Hasher).Hash(luma, 100, 100)
		if got, _ := h.Hash(luma, 100, 100); got != want {
			t.Errorf("%s: the next picture's hash is spoilt", name)
		}
	}
}

// Division by a reciprocal gives the same as division, for any sum and any count there is.
func TestReciprocalsDivideExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	rounds := 300
	if testing.Short() || raceDetector {
		rounds = 10
	}
	names := pdq.Kernels()
	for _, name := range names[:len(names)-1] {
		for round := range rounds {
			for count := float32(1); count <= 257; count++ {
				var sums [64]float32
				for i := range sums {
					switch round % 3 {
					case 0:
						sums[i] = math.Float32frombits(r.Uint32()%(1<<23) | 127<<23)
					case 1:
						sums[i] = float32(r.IntN(257 * 255))
					case 2: // quotients that nearly are halfway between two
						half := float64(1+r.IntN(1<<23)) + 0.5
						sums[i] = float32(half * float64(count))
					}
				}
				for i, q := range pdq.Quotient(name, sums, count) {
					if want := sums[i] / count; q != want {
						t.Fatalf("%s: %v / %v is %v, want %v", name, sums[i], count, q, want)
					}
				}
			}
		}
	}
}

// Ten thousand pictures: random pieces of the test data, scaled, turned and mirrored.
func TestKernelsAgreeOnPictures(t *testing.T) {
	pictures := 10_000
	if testing.Short() || raceDetector {
		pictures = 300
	}
	dir := datatest.Folder(t)
	var files []string
	for _, pattern := range []string{"*/*.jpg", "*/*.jpeg", "*/*.png"} {
		found, err := filepath.Glob(filepath.Join(dir, "images", pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skip("no pictures in the test data")
	}
	r := rand.New(rand.NewPCG(7, 8))
	r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })

	// A few files may be of a kind that the standard library does not read.
	perFile := 100
	var compared, read atomic.Int64
	work := make(chan string)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			all := newHashers()
			for file := range work {
				full, ok := readLuma(file)
				if !ok {
					continue
				}
				read.Add(1)
				r := rand.New(rand.NewPCG(9, uint64(read.Load())))
				for range perFile {
					piece := full.piece(r)
					all.compareFloats(t, piece.pix, piece.w, piece.h)
					bytes := rounded(piece.pix)
					if d := disagreement(all, func(x *pdq.Hasher) ([8]pdq.Hash, int) { return x.DihedralBytes(bytes, piece.w, piece.h) }); d != "" {
						t.Errorf("bytes %dx%d: %s", piece.w, piece.h, d)
					}
					compared.Add(1)
				}
			}
		})
	}
	for _, file := range files {
		if t.Failed() || int(read.Load())*perFile >= pictures {
			break
		}
		work <- file
	}
	close(work)
	group.Wait()
	t.Logf("%d pictures out of %d files", compared.Load(), read.Load())
	if !t.Failed() && int(compared.Load()) < pictures {
		t.Errorf("%d pictures were compared, want %d", compared.Load(), pictures)
	}
}

type lumaPicture struct {
	pix  []float32
	w, h int
}

func readLuma(file string) (lumaPicture, bool) {
	f, err := os.Open(file)
	if err != nil {
		return lumaPicture{}, false
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		return lumaPicture{}, false
	}
	b := img.Bounds()
	rgba := image.NewRGBA(b)
	draw.Draw(rgba, b, img, b.Min, draw.Src)
	p := lumaPicture{make([]float32, b.Dx()*b.Dy()), b.Dx(), b.Dy()}
	for i := range p.pix {
		c := rgba.Pix[4*i:]
		p.pix[i] = float32(0.299*float32(c[0])) + float32(0.587*float32(c[1])) + float32(0.114*float32(c[2]))
	}
	return p, p.w > 0 && p.h > 0
}

// piece cuts a rectangle out of p, scales it to 5 to 600 pixels a side, and turns or mirrors it.
func (p lumaPicture) piece(r *rand.Rand) lumaPicture {
	side := func() int { return int(5 * math.Exp(r.Float64()*math.Log(120))) }
	out := lumaPicture{w: side(), h: side()}
	width, height := 1+r.IntN(p.w), 1+r.IntN(p.h)
	left, top := r.IntN(p.w-width+1), r.IntN(p.h-height+1)
	turn := r.IntN(8)
	out.pix = make([]float32, out.w*out.h)
	for y := range out.h {
		for x := range out.w {
			u, v := float64(x)/float64(out.w), float64(y)/float64(out.h)
			if turn&1 != 0 {
				u = 1 - (float64(x)+1)/float64(out.w)
			}
			if turn&2 != 0 {
				v = 1 - (float64(y)+1)/float64(out.h)
			}
			if turn&4 != 0 {
				u, v = v, u
			}
			out.pix[y*out.w+x] = p.pix[(top+int(v*float64(height)))*p.w+left+int(u*float64(width))]
		}
	}
	return out
}

func TestKernelIsChosenByName(t *testing.T) {
	able := pdq.Kernels()
	for _, name := range able {
		if got := pdq.Choose(name); got != name {
			t.Errorf("%s gives %s", name, got)
		}
	}
	for _, name := range []string{"", "neon", "AVX2"} {
		if got := pdq.Choose(name); got != able[0] {
			t.Errorf("%q gives %s, want the fastest, %s", name, got, able[0])
		}
	}
	if !slices.Contains(able, pdq.Kernel()) || able[len(able)-1] != "portable" {
		t.Errorf("the kernel is %s of %v", pdq.Kernel(), able)
	}
}

func FuzzKernelsAgree(f *testing.F) {
	f.Add([]byte("seed"), uint16(70), uint16(66), uint64(1))
	f.Add([]byte{0, 255}, uint16(290), uint16(5), uint64(2))
	f.Add([]byte{0, 0, 0, 1, 0x80, 0, 0, 0}, uint16(129), uint16(300), uint64(0))
	all := newHashers()
	f.Fuzz(func(t *testing.T, values []byte, width, height uint16, seed uint64) {
		w, h := 5+int(width)%300, 5+int(height)%300
		if len(values) == 0 {
			return
		}
		// The input repeats; with a seed, disturbed.
		r := rand.New(rand.NewPCG(seed, 0))
		bytes := make([]uint8, w*h)
		floats := make([]float32, w*h)
		var four [4]byte
		for i := range bytes {
			bytes[i] = values[i%len(values)]
			if seed != 0 && i >= len(values) {
				bytes[i] ^= uint8(r.Uint32())
			}
			copy(four[:], four[1:])
			four[3] = bytes[i]
			floats[i] = math.Float32frombits(binary.BigEndian.Uint32(four[:]))
			if floats[i] != floats[i] || math.Abs(float64(floats[i])) > 1e30 {
				floats[i] = float32(bytes[i])
			}
		}
		all.setExact(seed%2 == 0)
		all.compareBytes(t, bytes, w, h)
		all.compareFloats(t, floats, w, h)
	})
}
