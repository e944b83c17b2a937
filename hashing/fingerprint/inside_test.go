package fingerprint

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"maps"
	"math"
	"math/rand/v2"
	"testing"

	"vigie/hashing"
	"vigie/hashing/decode"
)

// photo draws busy content: waves and blocks of every level, and noise, none of it flat along a line.
func photo(w, h int, seed uint64) *image.Gray {
	r := rand.New(rand.NewPCG(seed, 1))
	m := image.NewGray(image.Rect(0, 0, w, h))
	fx, fy := 3+r.Float64()*5, 3+r.Float64()*5
	for y := range h {
		for x := range w {
			v := 128 + 50*math.Sin(fx*float64(x)/float64(w)*6) + 40*math.Cos(fy*float64(y)/float64(h)*6+fx*float64(x)/float64(w)) + r.Float64()*20
			m.Pix[y*m.Stride+x] = uint8(min(max(v, 0), 255))
		}
	}
	return m
}

// on pastes pictures onto a canvas of one level.
func on(w, h int, level uint8) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Rect, image.NewUniform(color.Gray{level}), image.Point{}, draw.Src)
	return m
}

func paste(dst *image.Gray, src image.Image, x, y int) *image.Gray {
	draw.Draw(dst, src.Bounds().Add(image.Pt(x, y)), src, image.Point{}, draw.Src)
	return dst
}

// text draws lines of strokes as dense as letters.
func text(m *image.Gray, box image.Rectangle, height int, ink uint8) *image.Gray {
	r := rand.New(rand.NewPCG(7, 7))
	for y := box.Min.Y; y+height <= box.Max.Y; y += height * 8 / 5 {
		for x := box.Min.X; x < box.Max.X-height/2; x += height * 5 / 8 {
			if r.IntN(6) == 0 {
				continue // between words
			}
			stem := max(height/7, 1)
			for range 2 {
				sx := x + r.IntN(height/3+1)
				draw.Draw(m, image.Rect(sx, y, sx+stem, y+height), image.NewUniform(color.Gray{ink}), image.Point{}, draw.Src)
			}
			sy := y + r.IntN(height-stem+1)
			draw.Draw(m, image.Rect(x, sy, x+height/2, sy+stem), image.NewUniform(color.Gray{ink}), image.Point{}, draw.Src)
		}
	}
	return m
}

// compressed is m as JPEG of a quality leaves it.
func compressed(t testing.TB, m *image.Gray, quality int) plane {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	d, err := jpeg.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	g := d.(*image.Gray)
	return plane{g.Pix, g.Rect.Dx(), g.Rect.Dy(), g.Stride}
}

func near(a, b image.Rectangle, pixels int) bool {
	for _, d := range []int{a.Min.X - b.Min.X, a.Min.Y - b.Min.Y, a.Max.X - b.Max.X, a.Max.Y - b.Max.Y} {
		if d > pixels || d < -pixels {
			return false
		}
	}
	return true
}

func TestTrim(t *testing.T) {
	soft := paste(on(400, 400, 0), photo(400, 300, 5), 0, 50)
	for x := range 400 { // a light line along two edges, as scanners leave
		soft.Pix[x], soft.Pix[soft.Stride+x] = uint8(x), 180
	}
	round := paste(on(420, 340, 30), photo(380, 300, 6), 20, 20)
	for y := range 24 {
		for x := range 24 - y { // the corners are cut off in white
			for _, at := range []int{y*round.Stride + x, y*round.Stride + 419 - x, (339-y)*round.Stride + x, (339-y)*round.Stride + 419 - x} {
				round.Pix[at] = 255
			}
		}
	}
	noisy := paste(on(500, 500, 20), photo(500, 300, 7), 0, 100)
	r := rand.New(rand.NewPCG(8, 8))
	for i, v := range noisy.Pix {
		noisy.Pix[i] = uint8(max(0, min(255, int(v)+int(math.Round(r.NormFloat64()*1.2)))))
	}
	for _, c := range []struct {
		name string
		m    *image.Gray
		want image.Rectangle
	}{
		{"letterbox", paste(on(400, 400, 0), photo(400, 300, 1), 0, 50), image.Rect(0, 50, 400, 350)},
		{"pillarbox", paste(on(533, 300, 255), photo(301, 300, 2), 117, 0), image.Rect(117, 0, 418, 300)},
		{"asymmetric", paste(on(450, 380, 97), photo(400, 300, 3), 13, 71), image.Rect(13, 71, 413, 371)},
		{"one side", paste(on(400, 333, 200), photo(400, 300, 3), 0, 0), image.Rect(0, 0, 400, 300)},
		{"two levels", paste(paste(on(500, 400, 10), on(500, 200, 240), 0, 200), photo(500, 300, 4), 0, 50), image.Rect(0, 50, 500, 350)},
		{"border in border", paste(paste(on(520, 420, 255), on(480, 380, 60), 20, 20), photo(400, 300, 4), 60, 60), image.Rect(60, 60, 460, 360)},
		{"soft edge", soft, image.Rect(0, 50, 400, 350)},
		{"round corners", round, image.Rect(20, 20, 400, 320)},
		{"filmed bars", noisy, image.Rect(0, 100, 500, 400)},
		{"tiny", paste(on(50, 44, 0), photo(34, 28, 1), 8, 8), image.Rect(8, 8, 42, 36)},
		{"wide", paste(on(2000, 80, 0), photo(2000, 60, 1), 0, 10), image.Rect(0, 10, 2000, 70)},
		{"high", paste(on(80, 2000, 128), photo(60, 2000, 1), 10, 0), image.Rect(10, 0, 70, 2000)},
	} {
		for _, quality := range []int{40, 60, 95} {
			if got := trim(compressed(t, c.m, quality), trimRounds, false); !near(got, c.want, 2) {
				t.Errorf("%s, quality %d: %v, want %v", c.name, quality, got, c.want)
			}
		}
	}
}

// night is a dark picture: a sky with the noise of a sensor over a street with lights.
func night(w, h int) *image.Gray {
	r := rand.New(rand.NewPCG(9, 9))
	m := on(w, h, 0)
	for y := range h {
		for x := range w {
			v := 9 + 4*r.NormFloat64()
			v += max(0, float64(y-h/2)) * (40 + 20*math.Sin(float64(x)/9)) / float64(h)
			m.Pix[y*m.Stride+x] = uint8(max(v, 0))
		}
	}
	for range 30 {
		x, y := r.IntN(w-8), h/2+r.IntN(h/2-8)
		draw.Draw(m, image.Rect(x, y, x+6, y+6), image.NewUniform(color.Gray{220}), image.Point{}, draw.Src)
	}
	return m
}

// slope is a sky: it grows lighter downwards, over hills.
func slope(w, h int) *image.Gray {
	r := rand.New(rand.NewPCG(10, 10))
	m := on(w, h, 0)
	for y := range h {
		for x := range w {
			v := 150 + 90*float64(y)/float64(h) + r.NormFloat64()
			if float64(y) > float64(h)*(0.7+0.1*math.Sin(float64(x)/40)) {
				v = 70 + 30*math.Sin(float64(x*y)/300)
			}
			m.Pix[y*m.Stride+x] = uint8(v)
		}
	}
	return m
}

// What is no border and no frame must not be taken for one.
func TestPicturesAreLeftWhole(t *testing.T) {
	noise := on(300, 300, 0)
	r := rand.New(rand.NewPCG(11, 11))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(r.UintN(256))
	}
	for name, m := range map[string]*image.Gray{
		"photo": photo(400, 300, 1), "wide": photo(1200, 60, 2), "tiny": photo(9, 7, 3),
		"night": night(480, 360), "sky": slope(480, 360), "noise": noise, "one level": on(300, 200, 77),
	} {
		for _, quality := range []int{40, 60, 95} {
			p := compressed(t, m, quality)
			if box := trim(p, trimRounds, false); box != p.bounds() {
				t.Errorf("%s, quality %d: trimmed to %v", name, quality, box)
			}
			if box := new(framer).frame(p); box != p.bounds() {
				t.Errorf("%s, quality %d: framed at %v", name, quality, box)
			}
		}
	}
}

func TestFrame(t *testing.T) {
	caption := func(m *image.Gray, ground, ink uint8) *image.Gray {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		out := paste(on(w, h*13/10, ground), m, 0, h*3/10)
		return text(out, image.Rect(10, 8, w-30, h*3/10-8), h/11, ink)
	}
	screen := func(ground, bar, ink uint8) *image.Gray {
		m := on(540, 1110, ground)
		paste(m, on(540, 90, bar), 0, 0)
		paste(m, on(540, 70, bar), 0, 1040)
		text(m, image.Rect(20, 30, 200, 60), 26, ink)
		text(m, image.Rect(80, 118, 240, 136), 16, ink)
		text(m, image.Rect(20, 620, 300, 760), 18, ink)
		return paste(m, photo(540, 405, 12), 0, 180)
	}
	phone := paste(paste(on(600, 500, 160), on(440, 340, 12), 80, 80), photo(400, 300, 13), 100, 100)
	for _, c := range []struct {
		name string
		m    *image.Gray
		want image.Rectangle
	}{
		{"caption above", caption(photo(400, 300, 1), 255, 0), image.Rect(0, 90, 400, 390)},
		{"caption on black", caption(photo(400, 300, 2), 0, 240), image.Rect(0, 90, 400, 390)},
		{"caption over a dark picture", caption(night(480, 360), 255, 0), image.Rect(0, 108, 480, 468)},
		{"caption over a sky", caption(slope(480, 360), 255, 0), image.Rect(0, 108, 480, 468)},
		{"light screen", screen(250, 60, 20), image.Rect(0, 180, 540, 585)},
		{"dark screen", screen(18, 40, 230), image.Rect(0, 180, 540, 585)},
		{"phone", phone, image.Rect(100, 100, 500, 400)},
	} {
		for _, quality := range []int{40, 75, 95} {
			if got := new(framer).frame(compressed(t, c.m, quality)); !near(got, c.want, 4) {
				t.Errorf("%s, quality %d: %v, want %v", c.name, quality, got, c.want)
			}
		}
	}
}

// The rectangle with the largest sum, found by trying all.
func TestHeaviest(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 14))
	for range 200 {
		f := &framer{nx: 1 + r.IntN(7), ny: 1 + r.IntN(7)}
		for i := range f.nx * f.ny {
			f.scores[i] = float32(r.IntN(21)-11) / 2 // exact in any order of adding
		}
		sum := func(box image.Rectangle) (sum float32) {
			for y := box.Min.Y; y < box.Max.Y; y++ {
				for x := box.Min.X; x < box.Max.X; x++ {
					sum += f.scores[y*f.nx+x]
				}
			}
			return sum
		}
		most := float32(-1)
		for y0 := range f.ny {
			for x0 := range f.nx {
				for y1 := y0 + 1; y1 <= f.ny; y1++ {
					for x1 := x0 + 1; x1 <= f.nx; x1++ {
						most = max(most, sum(image.Rect(x0, y0, x1, y1)))
					}
				}
			}
		}
		if got := f.heaviest(); sum(got) != most && most > -1 {
			t.Fatalf("%d x %d: %v weighs %v, the heaviest %v", f.nx, f.ny, got, sum(got), most)
		}
	}
}

func TestGraphic(t *testing.T) {
	for _, c := range []struct {
		name string
		m    *image.Gray
		want bool
	}{
		{"document", text(on(600, 800, 252), image.Rect(40, 40, 560, 760), 18, 15), true},
		{"dark mode", text(on(540, 960, 18), image.Rect(20, 40, 500, 700), 24, 235), true},
		{"shapes", paste(paste(on(400, 400, 255), on(150, 150, 40), 60, 60), on(40, 200, 40), 300, 100), true},
		{"photo", photo(640, 480, 1), false},
		{"night", night(640, 480), false},
		{"sky", slope(640, 480), false},
		{"photo with a caption", text(paste(on(400, 390, 255), photo(400, 300, 2), 0, 90), image.Rect(10, 8, 380, 82), 26, 0), false},
	} {
		for _, quality := range []int{40, 75, 95} {
			if got := graphic(compressed(t, c.m, quality)); got != c.want {
				t.Errorf("%s, quality %d: %t", c.name, quality, got)
			}
		}
	}
}

// Each rendering is judged by itself: a photograph on a page of text is no graphic, the page is, trimmed too.
func TestGraphicOfRenderings(t *testing.T) {
	page := func() *image.Gray { return text(on(720, 1280, 250), image.Rect(60, 60, 660, 1220), 18, 15) }
	photographed := page()
	draw.Draw(photographed, image.Rect(190, 300, 530, 560), image.NewUniform(color.Gray{250}), image.Point{}, draw.Src)
	paste(photographed, photo(300, 220, 3), 210, 320)
	dense := text(on(600, 700, 250), image.Rect(100, 150, 500, 550), 6, 15) // without its margins less of it is ground
	h := New(hashing.DefaultLimits())
	for _, c := range []struct {
		name string
		m    *image.Gray
		want map[hashing.Variant]bool
	}{
		{"page", page(), map[hashing.Variant]bool{hashing.Plain: true, hashing.Trimmed: true}},
		{"dense page", dense, map[hashing.Variant]bool{hashing.Plain: true, hashing.Trimmed: true}},
		{"photograph on a page", photographed, map[hashing.Variant]bool{hashing.Plain: true, hashing.Trimmed: true, hashing.Framed: false}},
		{"photograph in a border", paste(on(500, 400, 255), photo(400, 300, 3), 50, 50), map[hashing.Variant]bool{hashing.Plain: false, hashing.Trimmed: false}},
	} {
		check := func(kind string, queries []hashing.Query) {
			got := map[hashing.Variant]bool{}
			for _, q := range queries {
				if q.Signal.Variant != hashing.CLI {
					got[q.Signal.Variant] = q.Graphic
				}
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("%s as a %s: %v, want %v", c.name, kind, got, c.want)
			}
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, c.m, &jpeg.Options{Quality: 85}); err != nil {
			t.Fatal(err)
		}
		p, err := h.Picture(t.Context(), b.Bytes())
		if err != nil || p.Graphic != c.want[hashing.Plain] {
			t.Errorf("%s: graphic %t, %v", c.name, p.Graphic, err)
		}
		check("picture", p.Queries)
		m := compressed(t, c.m, 85)
		f, ok := h.Frame(&decode.Luma{Width: m.w, Height: m.h, Bytes: m.pix}, 40)
		if !ok {
			t.Errorf("%s: no frame", c.name)
		}
		check("frame", f.Queries)
	}
}

// Whatever the pixels: boxes lie within the picture and are large enough for PDQ, and thumbs can be made.
func FuzzInsides(f *testing.F) {
	for _, m := range []*image.Gray{photo(40, 30, 1), on(5, 5, 9), paste(on(60, 50, 0), photo(40, 30, 2), 9, 9), photo(300, 5, 3)} {
		f.Add(m.Pix, uint16(m.Rect.Dx()))
	}
	f.Fuzz(func(t *testing.T, pix []byte, width uint16) {
		w := max(int(width), 1)
		h := len(pix) / w
		if w < minSide || h < minSide || len(pix) > 1<<18 {
			return
		}
		hasher := New(hashing.DefaultLimits())
		p := plane{pix, w, h, w}
		graphic(p)
		boxes := 0
		for v, box := range hasher.insides(p) {
			if boxes++; v != hashing.Trimmed && v != hashing.Framed || boxes > 3 {
				t.Fatalf("%d. box is %s", boxes, v)
			}
			if !box.In(p.bounds()) || box == p.bounds() || box.Dx() < minSide || box.Dy() < minSide {
				t.Fatalf("%d x %d: %s %v", w, h, v, box)
			}
			hasher.thumb(p.sub(box), hasher.cut(v, p, box, false))
		}
	})
}

// BenchmarkStages times what follows decoding, on the luma of a 1080p picture reduced to 960 x 540.
func BenchmarkStages(b *testing.B) {
	m := photo(960, 540, 1)
	screen := text(paste(on(540, 1110, 250), photo(540, 400, 2), 0, 180), image.Rect(20, 620, 400, 760), 18, 10)
	for _, c := range []struct {
		name string
		m    *image.Gray
	}{{"photo", m}, {"screenshot", screen}} {
		p := plane{c.m.Pix, c.m.Rect.Dx(), c.m.Rect.Dy(), c.m.Stride}
		h := New(hashing.DefaultLimits())
		for name, stage := range map[string]func(){
			"pdq":     func() { h.pdq.DihedralBytes(p.pix, p.w, p.h) },
			"trim":    func() { trim(p, 1, false); trim(p, trimRounds, false); trim(p, trimRounds, true) },
			"frame":   func() { h.framer.frame(p) },
			"thumb":   func() { h.thumb(p, rendering{}) },
			"graphic": func() { graphic(p) },
		} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					stage()
				}
			})
		}
		b.Run(c.name+"/short", func(b *testing.B) {
			t := h.thumb(p, rendering{})
			for b.Loop() {
				Short(t, hashing.Mirror)
			}
		})
	}
}
