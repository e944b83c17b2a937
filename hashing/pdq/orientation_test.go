package pdq_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"vigie/hashing/pdq"
	"vigie/internal/datatest"
)

// turned is p in the eight orientations, in the order of Dihedral, its pixels really moved.
func (p lumaPicture) turned() (all [8]lumaPicture) {
	w, h := p.w, p.h
	from := [8]func(x, y int) (int, int){ // where a pixel comes from
		func(x, y int) (int, int) { return x, y },
		func(x, y int) (int, int) { return w - 1 - y, x },
		func(x, y int) (int, int) { return w - 1 - x, h - 1 - y },
		func(x, y int) (int, int) { return y, h - 1 - x },
		func(x, y int) (int, int) { return x, h - 1 - y },
		func(x, y int) (int, int) { return w - 1 - x, y },
		func(x, y int) (int, int) { return y, x },
		func(x, y int) (int, int) { return w - 1 - y, h - 1 - x },
	}
	for i, f := range from {
		q := lumaPicture{make([]float32, w*h), w, h}
		if i == 1 || i == 3 || i > 5 {
			q.w, q.h = h, w
		}
		for y := range q.h {
			for x := range q.w {
				fx, fy := f(x, y)
				q.pix[y*q.w+x] = p.pix[fy*w+fx]
			}
		}
		all[i] = q
	}
	return all
}

func TestExactOrientations(t *testing.T) {
	for _, size := range sizes {
		if size.w < 60 || size.h < 60 { // less than a pixel for each sample: all is edge
			continue
		}
		t.Run(fmt.Sprintf("%dx%d", size.w, size.h), func(t *testing.T) {
			p := lumaPicture{smooth(rand.New(rand.NewPCG(10, uint64(size.w))), size.w, size.h), size.w, size.h}
			bytes := rounded(p.pix)
			for i, v := range bytes {
				p.pix[i] = float32(v)
			}
			h := pdq.Hasher{Exact: true}
			all, quality := h.Dihedral(p.pix, p.w, p.h)
			if same, q := h.DihedralBytes(bytes, p.w, p.h); same != all || q != quality {
				t.Errorf("bytes give %v %d, floats %v %d", same, q, all, quality)
			}
			for i, q := range p.turned() {
				hash, _ := h.Hash(q.pix, q.w, q.h)
				if d := all[i].Distance(hash); d > 12 || i == 0 && d != 0 {
					t.Errorf("orientation %d is %d bits off", i, d)
				}
			}
		})
	}
}

// Over the data set: how far the orientations are from those of pictures really turned.
func TestErrorOfOrientations(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("decodes the whole data set")
	}
	var files []string
	for _, pattern := range []string{"*/*.jpg", "*/*.png"} {
		found, err := filepath.Glob(filepath.Join(datatest.Folder(t), "images", pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	modes := [2]pdq.Hasher{{}, {Exact: true}}
	var sum, over, most [2]int
	n := 0
	for _, file := range files {
		p, ok := readLuma(file)
		if !ok {
			continue
		}
		for p.w >= 1024 && p.h >= 1024 {
			p = p.halved()
		}
		var all [2][8]pdq.Hash
		quality := 0
		for mode := range modes {
			all[mode], quality = modes[mode].Dihedral(p.pix, p.w, p.h)
		}
		if quality < 50 {
			continue
		}
		for i, q := range p.turned() {
			if i == 0 {
				continue
			}
			n++
			hash, _ := modes[0].Hash(q.pix, q.w, q.h)
			for mode := range modes {
				d := all[mode][i].Distance(hash)
				sum[mode] += d
				most[mode] = max(most[mode], d)
				if d > 31 {
					over[mode]++
				}
			}
		}
	}
	if n == 0 {
		t.Skip("no pictures in the test data")
	}
	for mode, name := range []string{"derived", "exact"} {
		t.Logf("%s: %d turned pictures, mean %.2f bits off, %d at most, %d over 31", name, n, float64(sum[mode])/float64(n), most[mode], over[mode])
	}
	if over[1] > 0 || sum[1] > n {
		t.Error("the documentation states less")
	}
}

// halved averages squares of four pixels.
func (p lumaPicture) halved() lumaPicture {
	q := lumaPicture{make([]float32, (p.w/2)*(p.h/2)), p.w / 2, p.h / 2}
	for i := range q.pix {
		at := i/q.w*2*p.w + i%q.w*2
		q.pix[i] = (p.pix[at] + p.pix[at+1] + p.pix[at+p.w] + p.pix[at+p.w+1]) / 4
	}
	return q
}
