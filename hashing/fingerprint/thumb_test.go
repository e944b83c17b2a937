package fingerprint

import (
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/corona10/goimagehash"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/internal/datatest"
)

// Each pixel of a thumb is the mean of its part, computed here from the definition.
func TestThumbIsTheMean(t *testing.T) {
	h := New(hashing.DefaultLimits())
	for _, size := range []image.Point{{64, 64}, {640, 480}, {65, 63}, {100, 1000}, {7, 5}, {130, 64}, {13, 20000}, {961, 541}} {
		m := photo(size.X+3, size.Y, 1) // three columns more, as in a part of a picture
		got := h.thumb(plane{m.Pix, size.X, size.Y, m.Stride}, rendering{})
		for ty := range thumbSide {
			for tx := range thumbSide {
				var sum, area float64
				overlap := func(i, t, n int) float64 { // of pixel i with part t of n pixels
					return min(float64(i+1), float64((t+1)*n)/thumbSide) - max(float64(i), float64(t*n)/thumbSide)
				}
				for y := ty * size.Y / thumbSide; y < size.Y && overlap(y, ty, size.Y) > 0; y++ {
					for x := tx * size.X / thumbSide; x < size.X && overlap(x, tx, size.X) > 0; x++ {
						a := overlap(x, tx, size.X) * overlap(y, ty, size.Y)
						sum += a * float64(m.Pix[y*m.Stride+x])
						area += a
					}
				}
				if v := float64(got.Pix[ty*thumbSide+tx]); math.Abs(v-sum/area) > 0.51 {
					t.Fatalf("%v at %d,%d: %v, want %.2f", size, tx, ty, v, sum/area)
				}
			}
		}
	}
}

// The hashes of a turned thumb are those of the turned picture's thumb, for transforms that mean
// the same to PDQ.
func TestShortTurnsAsPDQDoes(t *testing.T) {
	m := photo(300, 200, 2)
	h := New(hashing.DefaultLimits())
	whole := h.thumb(plane{m.Pix, 300, 200, m.Stride}, rendering{quality: 90})
	for o := range hashing.Inverted + 1 {
		w, ht := 300, 200
		if o == hashing.Rotate90 || o == hashing.Rotate270 || o == hashing.Transpose || o == hashing.Transverse {
			w, ht = ht, w
		}
		turned := image.NewGray(image.Rect(0, 0, w, ht))
		for y := range ht {
			for x := range w {
				var v uint8
				switch o { // angles are counter-clockwise
				case hashing.Identity:
					v = m.GrayAt(x, y).Y
				case hashing.Rotate90:
					v = m.GrayAt(299-y, x).Y
				case hashing.Rotate180:
					v = m.GrayAt(299-x, 199-y).Y
				case hashing.Rotate270:
					v = m.GrayAt(y, 199-x).Y
				case hashing.Flip:
					v = m.GrayAt(x, 199-y).Y
				case hashing.Mirror:
					v = m.GrayAt(299-x, y).Y
				case hashing.Transpose:
					v = m.GrayAt(y, x).Y
				case hashing.Transverse:
					v = m.GrayAt(299-y, 199-x).Y
				case hashing.Inverted:
					v = 255 - m.GrayAt(x, y).Y
				}
				turned.Pix[y*turned.Stride+x] = v
			}
		}
		p := plane{turned.Pix, w, ht, turned.Stride}
		got, want := Short(whole, o), Short(h.thumb(p, rendering{}), hashing.Identity)
		if len(got) != 3 || len(want) != 3 {
			t.Fatalf("%s: %d and %d hashes", o, len(got), len(want))
		}
		for i := range got {
			if d := got[i].Value.Distance(want[i].Value); d > 4 || got[i].Algorithm != want[i].Algorithm || got[i].Quality != 90 {
				t.Errorf("%s: %s is %d bits from that of the turned picture", o, got[i].Algorithm, d)
			}
		}
		if o == hashing.Inverted {
			continue
		}
		all, _ := h.pdq.DihedralBytes(m.Pix, 300, 200)
		really, _ := h.pdq.HashBytes(turned.Pix, w, ht)
		if d := all[o].Distance(really); d > 40 { // of about 128 between others
			t.Errorf("%s: PDQ turns otherwise: %d bits away", o, d)
		}
	}
}

// How far the hashes of thumbs are from those of the full reduced picture, over the test data.
func TestThumbDrift(t *testing.T) {
	if testing.Short() {
		t.Skip("decodes a hundred pictures")
	}
	files, err := filepath.Glob(filepath.Join(datatest.Folder(t), "images", "*", "*.*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures in the test data: %v", err)
	}
	sums, most, n := map[hashing.Algorithm]int{}, map[hashing.Algorithm]int{}, 0
	h := New(hashing.DefaultLimits())
	for i := 0; i < len(files); i += 3 {
		data, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		img, err := decode.Decode(data, hashing.DefaultLimits())
		if err != nil {
			continue
		}
		img.Reduced(&h.plain, decode.Bare)
		if r := h.rendering(hashing.Plain, &h.plain); !r.usable() {
			continue
		}
		p := bytesOf(&h.plain, &h.gray)
		full := &image.Gray{Pix: p.pix, Stride: p.stride, Rect: p.bounds()}
		for _, s := range Short(h.thumb(p, rendering{}), hashing.Identity) {
			var want *goimagehash.ImageHash
			switch s.Algorithm {
			case hashing.PHash:
				want, err = goimagehash.PerceptionHash(full)
			case hashing.DHash:
				want, err = goimagehash.DifferenceHash(full)
			case hashing.AHash:
				want, err = goimagehash.AverageHash(full)
			}
			if err != nil {
				t.Fatal(err)
			}
			d := s.Value.Distance(hashing.Value{want.GetHash()})
			sums[s.Algorithm] += d
			most[s.Algorithm] = max(most[s.Algorithm], d)
		}
		n++
	}
	for _, a := range []hashing.Algorithm{hashing.PHash, hashing.DHash, hashing.AHash} {
		t.Logf("%s: %d pictures, mean %.2f, max %d of 64 bits", a, n, float64(sums[a])/float64(n), most[a])
		if float64(sums[a]) > 1.0*float64(n) {
			t.Errorf("%s drifts", a)
		}
	}
}
