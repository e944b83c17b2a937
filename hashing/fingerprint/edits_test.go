package fingerprint_test

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"testing"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/internal/datatest"
)

// canvas is a picture of one colour.
func canvas(w, h int, c color.Color) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	return m
}

func put(dst *image.RGBA, src image.Image, x, y int) *image.RGBA {
	draw.Draw(dst, src.Bounds().Add(image.Pt(x, y)), src, src.Bounds().Min, draw.Src)
	return dst
}

// write writes a line of text so many pixels high.
func write(dst *image.RGBA, x, y, height int, c color.Color, text string) {
	face := basicfont.Face7x13
	line := image.NewAlpha(image.Rect(0, 0, face.Advance*len(text), face.Height))
	d := font.Drawer{Dst: line, Src: image.Opaque, Face: face, Dot: fixed.P(0, face.Ascent)}
	d.DrawString(text)
	big := image.NewAlpha(image.Rect(0, 0, line.Rect.Dx()*height/face.Height, height))
	xdraw.ApproxBiLinear.Scale(big, big.Rect, line, line.Rect, draw.Src, nil)
	draw.DrawMask(dst, big.Rect.Add(image.Pt(x, y)), image.NewUniform(c), image.Point{}, big, image.Point{}, draw.Over)
}

func resized(m image.Image, w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	xdraw.ApproxBiLinear.Scale(out, out.Rect, m, m.Bounds(), draw.Src, nil)
	return out
}

// edits are what people do to a picture before they post it again, and the least recall that is
// promised of each, in per cent.
var edits = []struct {
	name  string
	least int
	edit  func(*image.RGBA) image.Image
}{
	{"border", 93, func(m *image.RGBA) image.Image {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		return put(canvas(w*12/10, h*12/10, color.Black), m, w/10, h/10)
	}},
	{"coloured border", 93, func(m *image.RGBA) image.Image {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		return put(canvas(w+w/7, h+h/4, color.RGBA{200, 60, 120, 255}), m, w/20, h/6)
	}},
	{"letterbox", 94, func(m *image.RGBA) image.Image {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		return put(canvas(w, h*14/10, color.Black), m, 0, h/5)
	}},
	{"caption", 80, func(m *image.RGBA) image.Image {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		out := put(canvas(w, h+h*22/100, color.White), m, 0, h*22/100)
		write(out, 10, h*3/100, h*7/100, color.Black, "when you see it and")
		write(out, 10, h*12/100, h*7/100, color.Black, "cannot unsee it")
		return out
	}},
	{"screenshot", 78, func(m *image.RGBA) image.Image {
		const w, h = 540, 1110
		out := put(canvas(w, h, color.Gray{250}), canvas(w, 90, color.RGBA{30, 60, 140, 255}), 0, 0)
		write(out, 20, 30, 30, color.White, "SocialApp")
		write(out, 80, 120, 20, color.Gray{20}, "user_name - 3h")
		k := min(float64(w)/float64(m.Rect.Dx()), 700/float64(m.Rect.Dy()))
		small := resized(m, int(float64(m.Rect.Dx())*k), int(float64(m.Rect.Dy())*k))
		put(out, small, (w-small.Rect.Dx())/2, 180)
		y := 200 + small.Rect.Dy()
		write(out, 20, y, 20, color.Gray{40}, "1,204 likes   88 comments")
		write(out, 20, y+40, 20, color.Gray{20}, "Look at this photo everyone!")
		return put(out, canvas(w, 70, color.Gray{235}), 0, h-70)
	}},
	{"phone", 85, func(m *image.RGBA) image.Image {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		out := put(canvas(w*15/10, h*135/100, color.RGBA{150, 170, 160, 255}), canvas(w*11/10, h+w/10, color.Gray{12}), w/5, h*17/100-w/20)
		return put(out, m, w/4, h*17/100)
	}},
	{"mirror", 94, func(m *image.RGBA) image.Image {
		out := image.NewRGBA(m.Rect)
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				out.SetRGBA(m.Rect.Dx()-1-x, y, m.RGBAAt(x, y))
			}
		}
		return out
	}},
	{"negative", 97, func(m *image.RGBA) image.Image {
		out := image.NewRGBA(m.Rect)
		for i, v := range m.Pix {
			out.Pix[i] = 255 - v
			if i%4 == 3 {
				out.Pix[i] = 255
			}
		}
		return out
	}},
}

// Edited copies of real pictures are found within PDQ's radius of 31 by some query. Small pictures
// (under 200 pixels) are left out: enlarged and compressed, they are lost with or without the edit.
func TestRecallOfEdits(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("hundreds of pictures in one goroutine; runs without the race detector")
	}
	files, err := filepath.Glob(filepath.Join(datatest.Folder(t), "images", "*", "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(m image.Image) []byte {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 85}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	h := fingerprint.New(hashing.DefaultLimits())
	pictures, rows, graphics := 0, 0, 0
	found := make([]int, len(edits))
	queries := make([]int, len(edits))
	for i := 0; i < len(files); i += 3 {
		data, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		decoded, _, err := image.Decode(bytes.NewReader(data))
		if err != nil || min(decoded.Bounds().Dx(), decoded.Bounds().Dy()) < 200 {
			continue
		}
		k := min(1, 640/float64(max(decoded.Bounds().Dx(), decoded.Bounds().Dy())))
		original := resized(decoded, int(float64(decoded.Bounds().Dx())*k), int(float64(decoded.Bounds().Dy())*k))
		known, err := h.Picture(t.Context(), encode(original))
		if err != nil {
			t.Fatal(err)
		}
		if known.Unhashable != "" {
			continue
		}
		stored := known.Stored()
		pictures++
		rows += len(stored)
		if known.Graphic {
			graphics++
			t.Logf("graphic: %s", filepath.Base(files[i]))
		}
		for j, e := range edits {
			p, err := h.Picture(t.Context(), encode(e.edit(original)))
			if err != nil {
				t.Fatal(err)
			}
			queries[j] += len(p.Queries)
			if slices.ContainsFunc(p.Queries, func(q hashing.Query) bool {
				return slices.ContainsFunc(stored, func(s hashing.Signal) bool { return s.Value.Distance(q.Signal.Value) <= 31 })
			}) {
				found[j]++
			}
		}
	}
	if pictures < 50 {
		t.Fatalf("only %d pictures", pictures)
	}
	t.Logf("%d pictures, %.2f rows each, %d graphics", pictures, float64(rows)/float64(pictures), graphics)
	for j, e := range edits {
		recall := 100 * float64(found[j]) / float64(pictures)
		t.Logf("%-16s %5.1f%% found, %.1f queries", e.name, recall, float64(queries[j])/float64(pictures))
		if recall < float64(e.least) {
			t.Errorf("%s: %.1f%% found, at least %d%% are promised", e.name, recall, e.least)
		}
	}
}
