package edits

import (
	"bytes"
	"crypto/sha256"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// sample is a picture without any symmetry.
func sample(w, h int) *image.RGBA {
	im := scene(w, h, rand.New(rand.NewPCG(7, 7)))
	fill(im, image.Rect(0, 0, w/3, h/4), color.RGBA{255, 0, 0, 255})
	return im
}

func find(t *testing.T, name string) Edit {
	t.Helper()
	for _, e := range All() {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no edit is named %s", name)
	return Edit{}
}

func do(t *testing.T, im *image.RGBA, names ...string) *image.RGBA {
	t.Helper()
	for _, name := range names {
		im = find(t, name).Apply(im, 1, "sample")
	}
	return im
}

// apart is the mean difference of two pictures of one size, in levels.
func apart(t *testing.T, a, b *image.RGBA) float64 {
	t.Helper()
	if a.Rect != b.Rect {
		t.Fatalf("sizes %v and %v", a.Rect, b.Rect)
	}
	sum := 0.0
	for i := range a.Pix {
		sum += math.Abs(float64(a.Pix[i]) - float64(b.Pix[i]))
	}
	return sum / float64(len(a.Pix)*3/4)
}

func TestSets(t *testing.T) {
	t.Parallel()
	if n := len(Standard()); n != 53 {
		t.Errorf("%d standard edits, want 53", n)
	}
	seen := map[string]bool{}
	for _, e := range All() {
		if seen[e.Name] {
			t.Errorf("%s stands twice", e.Name)
		}
		seen[e.Name] = true
	}
	for _, e := range Random() {
		if !strings.HasPrefix(e.Name, "random-") {
			t.Errorf("%s does not say that it is random", e.Name)
		}
	}
}

func TestCopiesDependOnSeedPictureAndNameAlone(t *testing.T) {
	t.Parallel()
	im := sample(96, 72)
	before := sha256.Sum256(im.Pix)
	for _, e := range All() {
		copyOf := func(seed uint64, name string) string {
			data, err := e.Copy(im, seed, name)
			if err != nil {
				t.Fatalf("%s: %v", e.Name, err)
			}
			return string(data)
		}
		first := copyOf(1, "a")
		if first != copyOf(1, "a") {
			t.Errorf("%s: two copies with one seed differ", e.Name)
		}
		if strings.HasPrefix(e.Name, "random-") && (first == copyOf(2, "a") || first == copyOf(1, "b")) {
			t.Errorf("%s: another seed or another name changes nothing", e.Name)
		}
		if _, err := jpeg.Decode(strings.NewReader(first)); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	if sha256.Sum256(im.Pix) != before {
		t.Error("an edit wrote into the picture")
	}
}

// Pictures of awkward shapes come out of every edit, opaque.
func TestEveryShape(t *testing.T) {
	t.Parallel()
	for _, size := range []image.Point{{1, 1}, {1, 90}, {90, 1}, {7, 5}, {33, 300}} {
		im := sample(size.X, size.Y)
		for _, e := range All() {
			out := e.Apply(im, 3, "shape")
			if out.Rect.Empty() || out.Rect.Min != (image.Point{}) {
				t.Errorf("%s of %v: %v", e.Name, size, out.Rect)
			}
			for i := 3; i < len(out.Pix); i += 4 {
				if out.Pix[i] != 255 {
					t.Errorf("%s of %v: not opaque", e.Name, size)
					break
				}
			}
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	im := sample(400, 200)
	for name, want := range map[string]image.Point{
		"none": {400, 200}, "resize50": {200, 100}, "resize25": {100, 50}, "stretch1.25": {500, 200},
		"border5": {440, 220}, "border20": {560, 280}, "letterbox10": {400, 240}, "pillarbox20": {560, 200},
		"caption22": {400, 244}, "screenshot": {540, 1110},
		"crop5": {380, 190}, "crop10": {360, 180}, "crop30": {280, 140}, "crop10_side": {360, 200}, "crop20_rand": {320, 160},
		"rot90": {200, 400}, "rot180": {400, 200}, "rot2": {400, 200},
		"rotcrop5": {341, 170}, // 1 / (cos 5° + 2 sin 5°) = 0.8543
	} {
		if got := do(t, im, name).Rect.Size(); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := Reduce(sample(1280, 333)).Rect.Size(); got != image.Pt(640, 166) {
		t.Errorf("reduced to %v", got)
	}
}

// What is undone, or done in two ways, is the same again.
func TestIdentities(t *testing.T) {
	t.Parallel()
	im := sample(120, 80)
	for _, c := range [][2]string{
		{"invert invert", "none"},
		{"fliph fliph", "none"},
		{"flipv flipv", "none"},
		{"rot90 rot270", "none"},
		{"rot90 rot90", "rot180"},
		{"fliph flipv", "rot180"},
		{"gray gray", "gray"},
	} {
		a, b := do(t, im, strings.Fields(c[0])...), do(t, im, c[1])
		if !bytes.Equal(a.Pix, b.Pix) {
			t.Errorf("%s is not %s", c[0], c[1])
		}
	}
	// A quarter turn counter-clockwise brings the upper right corner to the upper left.
	if got, want := do(t, im, "rot90").RGBAAt(0, 0), im.RGBAAt(119, 0); got != want {
		t.Errorf("rot90: %v in the corner, want %v", got, want)
	}
	// A border taken away leaves the picture.
	framed := do(t, im, "white_border10")
	if framed.RGBAAt(3, 3) != white || !bytes.Equal(cut(framed, 12, 8, 120, 80).Pix, im.Pix) {
		t.Error("white_border10 is not the picture in a white border")
	}
}

// The sampler is exact where it must be, and close where it interpolates.
func TestWarped(t *testing.T) {
	t.Parallel()
	im := blurred(sample(120, 120), 2)
	if d := apart(t, rotated(im, 0), im); d != 0 {
		t.Errorf("turned by nothing: %.2f levels apart", d)
	}
	if d := apart(t, rotated(im, 90), do(t, im, "rot90")); d > 0.01 {
		t.Errorf("turned by 90 degrees: %.2f levels from rot90", d)
	}
	centre := func(im *image.RGBA) *image.RGBA { return cut(im, 40, 40, 40, 40) }
	if d := apart(t, centre(rotated(rotated(im, 20), -20)), centre(im)); d > 1.5 {
		t.Errorf("turned there and back: %.2f levels apart", d)
	}
	project := toQuad([4][2]float64{{10, 20}, {90, 5}, {80, 95}, {3, 70}})
	for i, corner := range [4][2]float64{{0, 0}, {1, 0}, {1, 1}, {0, 1}} {
		x, y := project(corner[0], corner[1])
		want := [4][2]float64{{10, 20}, {90, 5}, {80, 95}, {3, 70}}[i]
		if math.Hypot(x-want[0], y-want[1]) > 1e-9 {
			t.Errorf("corner %v goes to %.3f, %.3f, want %v", corner, x, y, want)
		}
	}
	for _, at := range []float64{0, .3, .5, .99} {
		w := cubic(at)
		if sum := w[0] + w[1] + w[2] + w[3]; math.Abs(sum-1) > 1e-12 {
			t.Errorf("weights at %.2f add up to %v", at, sum)
		}
	}
}

func TestReduceDropsTransparency(t *testing.T) {
	t.Parallel()
	im := image.NewNRGBA(image.Rect(5, 5, 9, 8))
	for y := 5; y < 8; y++ {
		for x := 5; x < 9; x++ {
			im.SetNRGBA(x, y, color.NRGBA{uint8(10 * x), uint8(10 * y), 7, 0})
		}
	}
	out := Reduce(im)
	if got, want := out.RGBAAt(3, 2), (color.RGBA{80, 70, 7, 255}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
