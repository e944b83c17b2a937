package fingerprint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/internal/datatest"
)

// scene draws a picture with the spectrum of a photograph: big soft shapes, some edges, fine noise.
func scene(w, h int, seed uint64) *image.NRGBA {
	r := rand.New(rand.NewPCG(seed, seed))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	type wave struct{ fx, fy, phase, height float64 }
	waves := make([]wave, 24)
	for i := range waves {
		waves[i] = wave{r.Float64()*50 - 25, r.Float64()*50 - 25, r.Float64() * 6, r.Float64() * 18}
	}
	for y := range h {
		for x := range w {
			v := 128 + r.Float64()*6
			for _, k := range waves {
				v += k.height * math.Sin(k.fx*float64(x)/float64(w)+k.fy*float64(y)/float64(h)+k.phase)
			}
			c := uint8(max(0, min(255, v)))
			m.SetNRGBA(x, y, color.NRGBA{c, c / 2, 255 - c/3, 255})
		}
	}
	for i := range 5 {
		x, y := r.IntN(w*3/4), r.IntN(h*3/4)
		box := image.Rect(x, y, x+w/8+r.IntN(w/4), y+h/8+r.IntN(h/4))
		draw.Draw(m, box, image.NewUniform(color.NRGBA{uint8(50 * i), uint8(255 - 40*i), 90, 255}), image.Point{}, draw.Src)
	}
	return m
}

func asPNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hash(t testing.TB, data []byte) hashing.Picture {
	t.Helper()
	p, err := fingerprint.New(hashing.DefaultLimits()).Picture(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plain finds the plain PDQ signal, or fails.
func plain(t testing.TB, p hashing.Picture) hashing.Signal {
	t.Helper()
	if len(p.Signals) == 0 || p.Signals[0].Algorithm != hashing.PDQ || p.Signals[0].Variant != hashing.Plain {
		t.Fatalf("plain PDQ does not come first: %v (%s)", p.Signals, p.Unhashable)
	}
	return p.Signals[0]
}

func names(signals []hashing.Signal) (all []string) {
	for _, s := range signals {
		all = append(all, s.Algorithm.String()+"/"+s.Variant.String())
	}
	return all
}

// A check of a turned copy must find the original, and say how it was turned.
func TestQueriesFindTurnedCopies(t *testing.T) {
	const w, h = 400, 300
	original := scene(w, h, 1)
	known := plain(t, hash(t, asPNG(t, original)))
	// Each picture is turned such that the named transform, applied to the upload, restores it.
	for _, c := range []struct {
		undo hashing.Transform
		w, h int
		from func(x, y int) (int, int)
	}{
		{hashing.Identity, w, h, func(x, y int) (int, int) { return x, y }},
		{hashing.Rotate90, h, w, func(x, y int) (int, int) { return y, h - 1 - x }}, // the upload is turned clockwise
		{hashing.Rotate180, w, h, func(x, y int) (int, int) { return w - 1 - x, h - 1 - y }},
		{hashing.Rotate270, h, w, func(x, y int) (int, int) { return w - 1 - y, x }},
		{hashing.Flip, w, h, func(x, y int) (int, int) { return x, h - 1 - y }},
		{hashing.Mirror, w, h, func(x, y int) (int, int) { return w - 1 - x, y }},
		{hashing.Transpose, h, w, func(x, y int) (int, int) { return y, x }},
		{hashing.Transverse, h, w, func(x, y int) (int, int) { return w - 1 - y, h - 1 - x }},
	} {
		t.Run(c.undo.String(), func(t *testing.T) {
			turned := image.NewNRGBA(image.Rect(0, 0, c.w, c.h))
			for y := range c.h {
				for x := range c.w {
					fx, fy := c.from(x, y)
					turned.SetNRGBA(x, y, original.NRGBAAt(fx, fy))
				}
			}
			p := hash(t, asPNG(t, turned))
			best, under := 257, hashing.Transform(0)
			for _, q := range p.Queries {
				if q.Signal.Algorithm == hashing.PDQ {
					if d := q.Signal.Value.Distance(known.Value); d < best {
						best, under = d, q.Transform
					}
				}
			}
			if under != c.undo || best > 20 {
				t.Errorf("nearest is %d bits away under %s", best, under)
			}
		})
	}
}

func TestSignalsAndQueries(t *testing.T) {
	soft := scene(300, 200, 2) // one with real transparency
	for i := 3; i < len(soft.Pix); i += 4 {
		x, y := i/4%300, i/4/300
		soft.Pix[i] = uint8(128 + 120*math.Sin(float64(x*x+y*y)/4000))
	}
	logo := image.NewNRGBA(image.Rect(0, 0, 300, 300)) // black throughout, the shape is in alpha
	shape := scene(300, 300, 3)
	for i := 0; i < len(logo.Pix); i += 4 {
		logo.Pix[i+3] = shape.Pix[i]
	}
	opaque := image.NewNRGBA64(image.Rect(0, 0, 200, 200))
	draw.Draw(opaque, opaque.Rect, scene(200, 200, 4), image.Point{}, draw.Src)
	few := image.NewPaletted(image.Rect(0, 0, 200, 200), palette.WebSafe)
	draw.Draw(few, few.Rect, scene(200, 200, 4), image.Point{}, draw.Src)

	for _, c := range []struct {
		name    string
		img     image.Image
		signals []string
		stored  []string
		queries int
	}{
		{"small", scene(300, 200, 2), []string{"pdq/", "pdq/cli"}, []string{"pdq/", "phash/", "dhash/", "ahash/"}, 8 + 1},
		{
			"transparent", soft,
			[]string{"pdq/", "pdq/cli", "pdq/white", "pdq/black"},
			[]string{"pdq/", "pdq/white", "pdq/black", "phash/", "dhash/", "ahash/"},
			3*8 + 1,
		},
		{"logo in alpha", logo, []string{"pdq/white"}, []string{"pdq/white"}, 8},
		{"16 bits", opaque, []string{"pdq/", "pdq/cli"}, []string{"pdq/", "phash/", "dhash/", "ahash/"}, 8 + 1},
		{"palette", few, []string{"pdq/", "pdq/cli"}, []string{"pdq/", "phash/", "dhash/", "ahash/"}, 8 + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := hash(t, asPNG(t, c.img))
			if p.Unhashable != "" || p.Format != "png" || p.Width != c.img.Bounds().Dx() || p.Height != c.img.Bounds().Dy() {
				t.Fatalf("%s %d x %d, unhashable %q", p.Format, p.Width, p.Height, p.Unhashable)
			}
			if got := names(p.Signals); !slices.Equal(got, c.signals) {
				t.Errorf("signals %v, want %v", got, c.signals)
			}
			if got := names(fingerprint.Stored(p)); !slices.Equal(got, c.stored) {
				t.Errorf("stored %v, want %v", got, c.stored)
			}
			if len(p.Queries) != c.queries {
				t.Errorf("%d queries, want %d", len(p.Queries), c.queries)
			}
			seen := map[string]bool{}
			for _, q := range p.Queries {
				key := fmt.Sprint(q.Signal.Algorithm, q.Signal.Value, q.Transform)
				if seen[key] {
					t.Errorf("%s stands twice under %s", q.Signal, q.Transform)
				}
				seen[key] = true
			}
			if slices.ContainsFunc(p.Signals, func(s hashing.Signal) bool { return s.Algorithm != hashing.PDQ }) {
				t.Errorf("signals %v", p.Signals)
			}
			for _, s := range p.Signals {
				if s.Version != s.Algorithm.Version() || !s.Quality.Usable() || s.Value == (hashing.Value{}) {
					t.Errorf("%+v", s)
				}
				if !seen[fmt.Sprint(s.Algorithm, s.Value, hashing.Identity)] {
					t.Errorf("%s is never searched as it is", s)
				}
			}
		})
	}
}

// A large picture's two PDQ values differ; the same scene from other formats and sizes stays near.
func TestCopiesStayNear(t *testing.T) {
	original := scene(700, 600, 5)
	known := hash(t, asPNG(t, original))
	encoded := func(name string, encode func(*bytes.Buffer) error) []byte {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return b.Bytes()
	}
	wide := image.NewNRGBA64(original.Rect)
	draw.Draw(wide, wide.Rect, original, image.Point{}, draw.Src)
	half := image.NewNRGBA(image.Rect(0, 0, 350, 300))
	for y := range 300 {
		for x := range 350 {
			half.SetNRGBA(x, y, original.NRGBAAt(2*x, 2*y))
		}
	}
	for _, c := range []struct {
		name   string
		data   []byte
		within int
	}{
		{"16 bits", asPNG(t, wide), 0},
		{"jpeg", encoded("jpeg", func(b *bytes.Buffer) error { return jpeg.Encode(b, original, &jpeg.Options{Quality: 60}) }), 8},
		{"gif", encoded("gif", func(b *bytes.Buffer) error { return gif.Encode(b, original, nil) }), 12},
		{"half size", asPNG(t, half), 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := hash(t, c.data)
			all := func(p hashing.Picture) []hashing.Signal {
				return append(slices.Clone(p.Signals), fingerprint.Short(p.Thumbs[0], hashing.Identity)...)
			}
			copied := all(p)
			for i, s := range all(known) {
				d, err := s.Distance(copied[i])
				if err != nil {
					t.Fatal(err)
				}
				limit := c.within
				if s.Algorithm.Bits() == 64 {
					limit = min(limit, 8)
				}
				if d > limit {
					t.Errorf("%s %s is %d bits away", s.Algorithm, s.Variant, d)
				}
			}
		})
	}
}

// CMYK JPEGs cannot be written here; the test data has one, whose picture exists in RGB too.
func TestCMYK(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(datatest.Folder(t), "threatexchange", "modes", "CMYK.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	p := hash(t, data)
	for _, ref := range references(t, datatest.Folder(t)) {
		if ref.file == "threatexchange/modes/CMYK.jpg" {
			if d := plain(t, p).Value.Distance(ref.full); d > 4 {
				t.Errorf("%d bits from the reference", d)
			}
		}
	}
}

func TestUnhashable(t *testing.T) {
	uniform := func(w, h int, at func(x, y int) color.Color) image.Image {
		m := image.NewNRGBA(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				m.Set(x, y, at(x, y))
			}
		}
		return m
	}
	noise := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct {
		name   string
		img    image.Image
		reason hashing.Reason
	}{
		{"one colour", uniform(200, 200, func(x, y int) color.Color { return color.Gray{90} }), hashing.Flat},
		{"faint noise", uniform(200, 200, func(x, y int) color.Color { return color.Gray{uint8(90 + noise.IntN(8))} }), hashing.Flat},
		{"transparent throughout", uniform(200, 200, func(x, y int) color.Color { return color.NRGBA{9, 9, 9, 0} }), hashing.Flat},
		{"low and wide", scene(40, 4, 7), hashing.Tiny},
		{"one pixel", uniform(1, 1, func(x, y int) color.Color { return color.White }), hashing.Tiny},
		{"one soft slope", uniform(300, 300, func(x, y int) color.Color { return color.Gray{uint8(x / 2)} }), hashing.LowQuality},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := hash(t, asPNG(t, c.img))
			if p.Unhashable != c.reason || len(p.Signals) != 0 || len(p.Queries) != 0 || len(fingerprint.Stored(p)) != 0 {
				t.Errorf("got %q, %d signals, %d queries; want %q alone", p.Unhashable, len(p.Signals), len(p.Queries), c.reason)
			}
			if p.Width != c.img.Bounds().Dx() {
				t.Errorf("width %d", p.Width)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	h := fingerprint.New(hashing.Limits{Bytes: 1 << 20, Side: 100, Pixels: 100 * 100})
	ctx := t.Context()
	_, err := h.Picture(ctx, asPNG(t, scene(101, 50, 8)))
	if m, ok := hashing.AsMediaError(err); !ok || m.Kind != hashing.TooLarge {
		t.Errorf("too large: %v", err)
	}
	_, err = h.Picture(ctx, nil)
	if m, ok := hashing.AsMediaError(err); !ok || m.Kind != hashing.Empty {
		t.Errorf("empty: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.Picture(cancelled, asPNG(t, scene(50, 50, 8))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := h.Picture(ctx, asPNG(t, scene(50, 50, 8))); err != nil {
		t.Errorf("after errors: %v", err)
	}
}

// One Hasher, reused for pictures of falling and rising sizes, must give what a fresh one gives.
func TestReuseLeavesNoTraces(t *testing.T) {
	h := fingerprint.New(hashing.DefaultLimits())
	for i, size := range []int{900, 100, 600, 64, 5, 300} {
		data := asPNG(t, scene(size+8, size, uint64(i)))
		got, err := h.Picture(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		if want := hash(t, data); !slices.Equal(got.Signals, want.Signals) || !slices.Equal(got.Queries, want.Queries) {
			t.Errorf("size %d: %v, fresh %v", size, got.Signals, want.Signals)
		}
	}
}

func BenchmarkPicture(b *testing.B) {
	for _, size := range []struct{ w, h int }{{640, 480}, {1920, 1080}, {4000, 3000}} {
		var data bytes.Buffer
		if err := jpeg.Encode(&data, scene(size.w, size.h, 9), &jpeg.Options{Quality: 85}); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("jpeg/%dx%d", size.w, size.h), func(b *testing.B) {
			h := fingerprint.New(hashing.DefaultLimits())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Picture(b.Context(), data.Bytes()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("jpeg/%dx%d/decode alone", size.w, size.h), func(b *testing.B) {
			for b.Loop() {
				if _, err := jpeg.Decode(bytes.NewReader(data.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleHasher_Picture() {
	var upload bytes.Buffer
	if err := png.Encode(&upload, scene(640, 480, 10)); err != nil {
		fmt.Println(err)
		return
	}
	h := fingerprint.New(hashing.DefaultLimits())
	p, err := h.Picture(context.Background(), upload.Bytes())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Format, p.Width, p.Height)
	for _, s := range fingerprint.Stored(p) {
		fmt.Println(s.Algorithm, s.Variant, s.Quality)
	}
	// Output:
	// png 640 480
	// pdq  87
	// phash  87
	// dhash  87
	// ahash  87
}

// Further frames of an animation are found too; those that show what another showed are not kept.
func TestAnimation(t *testing.T) {
	anim := &gif.GIF{}
	for _, seed := range []uint64{21, 22, 22, 23} {
		frame := image.NewPaletted(image.Rect(0, 0, 200, 150), palette.Plan9)
		draw.Draw(frame, frame.Rect, scene(200, 150, seed), image.Point{}, draw.Src)
		anim.Image, anim.Delay = append(anim.Image, frame), append(anim.Delay, 50)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, anim); err != nil {
		t.Fatal(err)
	}
	p := hash(t, b.Bytes())
	var times []uint32
	for _, s := range p.Signals {
		if s.Variant == hashing.Plain {
			times = append(times, s.Time)
		}
	}
	if !slices.Equal(times, []uint32{0, 500, 1500}) {
		t.Fatalf("plain signals at %v ms", times)
	}
	last := plain(t, hash(t, asPNG(t, anim.Image[3])))
	if !slices.ContainsFunc(p.Queries, func(q hashing.Query) bool {
		return q.Signal.Time == 1500 && q.Signal.Value.Distance(last.Value) <= 12
	}) {
		t.Error("the last frame is not searched for")
	}

	// A black first frame does not make a graphic of what follows.
	anim.Image = append([]*image.Paletted{image.NewPaletted(anim.Image[0].Rect, palette.Plan9)}, anim.Image...)
	anim.Delay = append(anim.Delay, 50)
	b.Reset()
	if err := gif.EncodeAll(&b, anim); err != nil {
		t.Fatal(err)
	}
	if p := hash(t, b.Bytes()); p.Graphic || len(p.Signals) == 0 || p.Signals[0].Time != 500 {
		t.Errorf("after a black frame: graphic %v, signals %v", p.Graphic, p.Signals)
	}
}

// found is how near the queries of an upload come to what is stored of something known: PDQ, in bits.
func found(upload, known hashing.Picture) int {
	best := 257
	for _, s := range fingerprint.Stored(known) {
		for _, q := range upload.Queries {
			if d, err := s.Distance(q.Signal); err == nil {
				best = min(best, d)
			}
		}
	}
	return best
}

// What stands in a further frame is found however it is drawn there, at a check and in an entry.
func TestVariantsOfFurtherFrames(t *testing.T) {
	const w, h = 240, 180
	grays := color.Palette{color.Transparent}
	for v := range 255 {
		grays = append(grays, color.Gray{uint8(v)})
	}
	known, negative := image.NewGray(image.Rect(0, 0, w, h)), image.NewGray(image.Rect(0, 0, w, h))
	draw.Draw(known, known.Rect, scene(w, h, 31), image.Point{}, draw.Src)
	for i, v := range known.Pix {
		negative.Pix[i] = 255 - v
	}
	placed := func(ground color.Color, at image.Rectangle) image.Image {
		m := image.NewNRGBA(image.Rect(0, 0, 400, 300))
		draw.Draw(m, m.Rect, image.NewUniform(ground), image.Point{}, draw.Src)
		draw.Draw(m, at, known, image.Point{}, draw.Src)
		return m
	}
	clear := image.NewNRGBA(image.Rect(0, 0, 400, 300))
	draw.Draw(clear, image.Rect(60, 50, 300, 230), known, image.Point{}, draw.Src)
	for _, c := range []struct {
		name  string
		frame image.Image
		entry bool // an entry of it finds the picture, too
	}{
		{"as it is", known, true},
		{"in a border", placed(color.White, image.Rect(80, 60, 320, 240)), true},
		{"on nothing", clear, true},
		{"negative", negative, false}, // a check searches for negatives, an entry holds none
	} {
		size := c.frame.Bounds()
		black := image.NewPaletted(size, grays)
		draw.Draw(black, size, image.Black, image.Point{}, draw.Src)
		frame := image.NewPaletted(size, grays)
		draw.Draw(frame, size, c.frame, image.Point{}, draw.Src)
		last := image.NewPaletted(size, grays)
		draw.Draw(last, size, scene(size.Dx(), size.Dy(), 32), image.Point{}, draw.Src)
		var b bytes.Buffer
		if err := gif.EncodeAll(&b, &gif.GIF{
			Image: []*image.Paletted{black, frame, last}, Delay: []int{10, 300, 6000}, // the last one is held for long
			Disposal: []byte{gif.DisposalBackground, gif.DisposalBackground, gif.DisposalNone},
		}); err != nil {
			t.Fatal(err)
		}
		still, animated := hash(t, asPNG(t, known)), hash(t, b.Bytes())
		if d := found(animated, still); d > 16 {
			t.Errorf("%s: an upload is %d bits from the picture", c.name, d)
		}
		if d := found(still, animated); d > 16 && c.entry {
			t.Errorf("%s: an entry is %d bits from the picture", c.name, d)
		}
	}
}

// However many frames there are and whatever they show, an answer has room for their queries.
func TestMostQueries(t *testing.T) {
	const w, h = 600, 520
	anim := &gif.GIF{}
	for seed := range uint64(12) {
		frame := image.NewPaletted(image.Rect(0, 0, w, h), append(color.Palette{color.Transparent}, palette.Plan9[1:]...))
		draw.Draw(frame, image.Rect(30, 30, w-30, h-30), image.NewUniform(color.NRGBA{90, 90, 90, 255}), image.Point{}, draw.Src)
		draw.Draw(frame, image.Rect(70, 60, w-60, h-70), scene(w, h, 40+seed), image.Point{}, draw.Src)
		anim.Image, anim.Delay = append(anim.Image, frame), append(anim.Delay, 10)
		anim.Disposal = append(anim.Disposal, gif.DisposalBackground)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, anim); err != nil {
		t.Fatal(err)
	}
	p := hash(t, b.Bytes())
	t.Logf("%d signals, %d stored, %d queries, %d thumbs", len(p.Signals), len(fingerprint.Stored(p)), len(p.Queries), len(p.Thumbs))
	if times := len(slices.Compact(slices.Sorted(func(yield func(uint32) bool) {
		for _, s := range p.Signals {
			if !yield(s.Time) {
				return
			}
		}
	}))); times != 9 {
		t.Errorf("%d of 9 frames", times)
	}
	if len(p.Signals) > 256 || len(p.Queries) > 1024 || len(p.Thumbs) > 8 { // what the sandbox passes on
		t.Error("too many")
	}
}

// A logo whose shape is in its alpha and its copy that was flattened and cut otherwise find each other.
func TestFlattenedLogo(t *testing.T) {
	const w, h = 420, 300
	logo := func(margin int, ground color.Color) image.Image {
		m := image.NewNRGBA(image.Rect(0, 0, w+2*margin, h+2*margin))
		shape := scene(w, h, 51)
		for y := range h {
			for x := range w {
				m.SetNRGBA(margin+x, margin+y, color.NRGBA{20, 20, 20, shape.NRGBAAt(x, y).R})
			}
		}
		if ground == nil {
			return m
		}
		flat := image.NewRGBA(m.Rect)
		draw.Draw(flat, m.Rect, image.NewUniform(ground), image.Point{}, draw.Src)
		draw.Draw(flat, m.Rect, m, image.Point{}, draw.Over)
		return flat
	}
	transparent, tight := hash(t, asPNG(t, logo(90, nil))), hash(t, asPNG(t, logo(0, nil)))
	for _, margin := range []int{0, 30, 200} {
		flattened := hash(t, asPNG(t, logo(margin, color.White)))
		for name, known := range map[string]hashing.Picture{"with margins": transparent, "without": tight} {
			if d := found(flattened, known); d > 12 {
				t.Errorf("flattened with a margin of %d: %d bits from the logo %s", margin, d, name)
			}
			if d := found(known, flattened); d > 12 {
				t.Errorf("the logo %s: %d bits from the one flattened with a margin of %d", name, d, margin)
			}
		}
	}
}

// A small part of a large picture is hashed from all its pixels, of a JPEG too.
func TestSmallPartOfALargePicture(t *testing.T) {
	const w, h = 481, 321
	known := image.NewGray(image.Rect(0, 0, w, h))
	draw.Draw(known, known.Rect, scene(w, h, 61), image.Point{}, draw.Src)
	large := image.NewGray(image.Rect(0, 0, w+1001, h+799))
	draw.Draw(large, large.Rect, image.NewUniform(color.Gray{240}), image.Point{}, draw.Src)
	draw.Draw(large, image.Rect(501, 399, 501+w, 399+h), known, image.Point{}, draw.Src)
	still := hash(t, asPNG(t, known))
	var b bytes.Buffer
	if err := jpeg.Encode(&b, large, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"png": asPNG(t, large), "jpeg": b.Bytes()} {
		if d := found(hash(t, data), still); d > 6 {
			t.Errorf("%s: %d bits from the picture", name, d)
		}
	}
}
