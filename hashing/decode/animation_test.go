package decode

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/deepteams/webp"
	xwebp "golang.org/x/image/webp"

	"vigie/hashing"
	"vigie/internal/datatest"
)

// step is a frame to be encoded.
type step struct {
	img     *image.NRGBA // its bounds are its place
	delay   int          // milliseconds
	blend   bool
	dispose disposal
}

// steps are frames that need every rule of composition: full and partial ones, transparent pixels, blending and not,
// all disposals.
func steps() []step {
	fill := func(r image.Rectangle, c color.NRGBA) *image.NRGBA {
		m := image.NewNRGBA(r)
		draw.Draw(m, r, image.NewUniform(c), image.Point{}, draw.Src)
		return m
	}
	holed := func(r image.Rectangle, c color.NRGBA) *image.NRGBA {
		m := fill(r, c)
		draw.Draw(m, r.Inset(2), image.NewUniform(color.NRGBA{}), image.Point{}, draw.Src)
		return m
	}
	white, gray, dark := color.NRGBA{255, 255, 255, 255}, color.NRGBA{120, 120, 120, 255}, color.NRGBA{40, 40, 40, 255}
	return []step{
		{fill(image.Rect(0, 0, 40, 30), gray), 100, true, keep},
		{holed(image.Rect(4, 6, 24, 20), white), 200, true, keep},
		{holed(image.Rect(10, 2, 38, 28), dark), 100, true, restore},
		{fill(image.Rect(20, 10, 30, 20), white), 300, true, erase},
		{holed(image.Rect(0, 0, 40, 30), dark), 100, false, keep},
		{fill(image.Rect(2, 2, 12, 12), white), 100, true, keep},
		{fill(image.Rect(0, 0, 40, 30), dark), 100, true, restore},
		{holed(image.Rect(6, 6, 20, 20), white), 100, true, keep},
	}
}

// composed are the canvases of steps by the general interface of image/draw: the oracle.
func composed(all []step, size image.Rectangle) []*image.NRGBA {
	canvas := image.NewNRGBA(size)
	var shown []*image.NRGBA
	for _, s := range all {
		before := slices.Clone(canvas.Pix)
		op := draw.Src
		if s.blend {
			op = draw.Over
		}
		draw.Draw(canvas, s.img.Rect, s.img, s.img.Rect.Min, op)
		shown = append(shown, &image.NRGBA{Pix: slices.Clone(canvas.Pix), Stride: canvas.Stride, Rect: size})
		switch s.dispose {
		case erase:
			draw.Draw(canvas, s.img.Rect, image.Transparent, image.Point{}, draw.Src)
		case restore:
			copy(canvas.Pix, before)
		}
	}
	return shown
}

// encodeSteps makes a file of each format that can say what the steps need.
func encodeSteps(t testing.TB, format string, all []step) []byte {
	t.Helper()
	var buf bytes.Buffer
	switch format {
	case "gif":
		g := &gif.GIF{Config: image.Config{Width: 40, Height: 30}}
		levels := color.Palette{color.NRGBA{}, color.NRGBA{255, 255, 255, 255}, color.NRGBA{120, 120, 120, 255}, color.NRGBA{40, 40, 40, 255}}
		for _, s := range all {
			p := image.NewPaletted(s.img.Rect, levels)
			draw.Draw(p, p.Rect, s.img, p.Rect.Min, draw.Src)
			g.Image, g.Delay = append(g.Image, p), append(g.Delay, s.delay/10)
			g.Disposal = append(g.Disposal, []byte{gif.DisposalNone, gif.DisposalBackground, gif.DisposalPrevious}[s.dispose])
		}
		if err := gif.EncodeAll(&buf, g); err != nil {
			t.Fatal(err)
		}
	case "webp":
		return webpOfSteps(t, all)
	case "png":
		return pngOfSteps(t, all, false)
	}
	return buf.Bytes()
}

func (s step) origin() *image.NRGBA {
	return &image.NRGBA{Pix: s.img.Pix, Stride: s.img.Stride, Rect: s.img.Rect.Sub(s.img.Rect.Min)}
}

// pngOfSteps writes an animated PNG; hidden puts a default image before it that is no frame.
func pngOfSteps(t testing.TB, all []step, hidden bool) []byte {
	be := binary.BigEndian
	file := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, body []byte) {
		from := len(file)
		file = append(append(be.AppendUint32(file, uint32(len(body))), kind...), body...)
		file = be.AppendUint32(file, crc32.ChecksumIEEE(file[from+4:]))
	}
	parts := func(m image.Image) (header []byte, data []byte) {
		p := encoded(t, m, png.Encode)
		for at := 8; at < len(p); {
			n := int(be.Uint32(p[at:]))
			switch string(p[at+4 : at+8]) {
			case "IHDR":
				header = p[at+8 : at+8+n]
			case "IDAT":
				data = append(data, p[at+8:at+8+n]...)
			}
			at += 12 + n
		}
		return header, data
	}
	sequence := uint32(0)
	header, _ := parts(withAlpha{image.NewNRGBA(image.Rect(0, 0, 40, 30))})
	chunk("IHDR", header)
	chunk("acTL", be.AppendUint32(be.AppendUint32(nil, uint32(len(all))), 0))
	if hidden {
		_, data := parts(withAlpha{image.NewNRGBA(image.Rect(0, 0, 40, 30))})
		chunk("IDAT", data)
	}
	for i, s := range all {
		var body []byte
		for _, v := range []int{int(sequence), s.img.Rect.Dx(), s.img.Rect.Dy(), s.img.Rect.Min.X, s.img.Rect.Min.Y} {
			body = be.AppendUint32(body, uint32(v))
		}
		sequence++
		body = be.AppendUint16(be.AppendUint16(body, uint16(s.delay)), 1000)
		body = append(body, []byte{0, 1, 2}[s.dispose], 0)
		if s.blend {
			body[25] = 1
		}
		chunk("fcTL", body)
		_, data := parts(withAlpha{s.origin()})
		if i == 0 && !hidden {
			chunk("IDAT", data)
			continue
		}
		half := len(data) / 2 // in two pieces, as is allowed
		for _, piece := range [][]byte{data[:half], data[half:]} {
			chunk("fdAT", append(be.AppendUint32(nil, sequence), piece...))
			sequence++
		}
	}
	chunk("IEND", nil)
	return file
}

// withAlpha hides from the encoder that all is opaque: every frame has to be of one colour type.
type withAlpha struct{ *image.NRGBA }

func (withAlpha) Opaque() bool { return false }

func webpOfSteps(t testing.TB, all []step) []byte {
	t.Helper()
	le := binary.LittleEndian
	chunk := func(to []byte, kind string, body []byte) []byte {
		to = append(le.AppendUint32(append(to, kind...), uint32(len(body))), body...)
		if len(body)&1 != 0 {
			to = append(to, 0)
		}
		return to
	}
	u24 := func(to []byte, v int) []byte { return append(to, byte(v), byte(v>>8), byte(v>>16)) }
	body := chunk([]byte("WEBP"), "VP8X", u24(u24([]byte{0x12, 0, 0, 0}, 39), 29))
	body = chunk(body, "ANIM", make([]byte, 6))
	for _, s := range all {
		still := losslessWebP(t, s.origin())
		r := s.img.Rect
		var frame []byte
		for _, v := range []int{r.Min.X / 2, r.Min.Y / 2, r.Dx() - 1, r.Dy() - 1, s.delay} {
			frame = u24(frame, v)
		}
		flags := byte(0)
		if !s.blend {
			flags |= 2
		}
		if s.dispose == erase {
			flags |= 1
		}
		frame = append(frame, flags)
		body = chunk(body, "ANMF", append(frame, still[12:]...))
	}
	return append(le.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

// Every frame of each format, all rules of composition, against the general interface.
func TestFurther(t *testing.T) {
	for _, format := range []string{"gif", "webp", "png", "hidden"} {
		t.Run(format, func(t *testing.T) {
			all := steps()
			for i := range all {
				if format == "gif" { // it always blends
					all[i].blend = true
				}
				if format == "webp" && all[i].dispose == restore { // it has none
					all[i].dispose = keep
				}
			}
			want := composed(all, image.Rect(0, 0, 40, 30))
			var data []byte
			var times []uint32
			n, total := len(all)-1, uint32(0)
			for _, s := range all {
				times = append(times, total)
				total += uint32(s.delay)
			}
			if format == "hidden" {
				data = pngOfSteps(t, all, true)
			} else {
				data = encodeSteps(t, format, all)
				times, want = times[1:], want[1:]
			}
			m, err := Decode(data, hashing.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if m.Width != 40 || m.Height != 30 {
				t.Fatalf("%d x %d", m.Width, m.Height)
			}
			i := 0
			for at, frame := range m.Further(int(total)) { // so many that every frame is among them
				if i >= len(want) {
					t.Fatalf("more than the %d frames", n)
				}
				if at != times[i] || frame.Width != 40 || frame.Height != 30 {
					t.Errorf("frame %d at %d, %d x %d; want %d", i, at, frame.Width, frame.Height, times[i])
				}
				for _, over := range []Backdrop{OverWhite, OverBlack} {
					luma, w, _ := reduced(t, frame, over)
					for k, got := range luma {
						if e := expected(want[i], k%w, k/w, over); math.Abs(float64(got)-e) > 1.5 {
							t.Fatalf("frame %d, backdrop %d, pixel %d,%d: %v, want %v", i, over, k%w, k/w, got, e)
						}
					}
				}
				i++
			}
			if i != len(want) {
				t.Errorf("%d frames, want %d", i, len(want))
			}
			// Fewer are spread evenly, and are the same frames.
			var chosen []uint32
			for at := range m.Further(2) {
				chosen = append(chosen, at)
			}
			if len(chosen) != 2 || chosen[1] < total/3 {
				t.Errorf("two frames at %v of %d ms", chosen, total)
			}
			for range m.Further(1) {
				break // early
			}
			limits := hashing.DefaultLimits()
			limits.Pixels = 40 * 30
			m, err = Decode(data, limits)
			if err != nil {
				t.Fatal(err)
			}
			for range m.Further(5) {
				t.Error("a frame although the work was used up")
			}
		})
	}
}

// However long a frame is held: as many frames are chosen as there may be, the last one and those shown at evenly
// spread times among them.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name   string
		delays []uint32
		still  bool
		n      int
		want   []int
	}{
		{"a decoy is held", []uint32{100, 3000, 60_000}, false, 8, []int{1, 2}},
		{"the first is held", []uint32{60_000, 100, 100, 100}, false, 8, []int{1, 2, 3}},
		{"no frame is the picture", []uint32{60_000, 100, 100}, true, 8, []int{0, 1, 2}},
		{"one of many is held", []uint32{10, 10, 10, 10, 10, 10, 10, 10, 10, 60_000}, false, 4, []int{2, 5, 7, 9}},
		{"evenly", []uint32{100, 100, 100, 100, 100, 100, 100, 100}, false, 4, []int{2, 4, 6, 7}},
		{"one alone", []uint32{100}, false, 8, nil},
	} {
		a := animation{still: c.still}
		for _, d := range c.delays {
			a.parts = append(a.parts, part{delay: d})
		}
		if got, _ := a.choose(c.n); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a := animation{still: r.IntN(2) == 0}
		starts := []uint32{0}
		for range 1 + r.IntN(40) {
			p := part{delay: uint32(math.Exp(r.Float64() * 11))}
			a.parts, starts = append(a.parts, p), append(starts, starts[len(starts)-1]+p.delay)
		}
		n, first := 1+r.IntN(12), 1
		if a.still {
			first = 0
		}
		frames, times := a.choose(n)
		if len(frames) != min(n, len(a.parts)-first) || len(times) != len(frames) {
			t.Fatalf("%d of %d frames chosen, %d asked for", len(frames), len(a.parts), n)
		}
		for k, i := range frames {
			if i < first || k > 0 && i <= frames[k-1] || times[k] != starts[i] {
				t.Fatalf("frames %v at %v", frames, times)
			}
		}
		if len(frames) > 0 && n > 1 && frames[len(frames)-1] != len(a.parts)-1 {
			t.Fatalf("frames %v without the last of %d", frames, len(a.parts))
		}
	}
}

func TestNoFurtherFrames(t *testing.T) {
	for name, data := range samples(t) {
		m, err := Decode(data, hashing.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for range m.Further(3) {
			t.Errorf("%s: a still has frames", name)
		}
	}
}

// A file that is cut yields its frames up to there.
func TestFurtherOfDamaged(t *testing.T) {
	for _, format := range []string{"gif", "webp", "png"} {
		data := encodeSteps(t, format, steps())
		most := 0
		for cut := range len(data) + 1 {
			m, err := Decode(data[:cut], hashing.DefaultLimits())
			if err != nil {
				continue
			}
			n := 0
			for range m.Further(1000) {
				n++
			}
			if n < most || n > 7 {
				t.Fatalf("%s: %d frames in %d bytes, %d in fewer", format, n, cut, most)
			}
			most = n
		}
		if most < 6 {
			t.Errorf("%s: at most %d frames", format, most)
		}
	}
}

// Animations that another encoder made, against the pictures it was given.
func TestFurtherAgainstFFmpeg(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		file := filepath.Join(dir, args[len(args)-1])
		cmd := exec.Command(ffmpeg, append([]string{"-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=3"}, append(args[:len(args)-1], file)...)...)
		cmd.WaitDelay = time.Minute
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("ffmpeg: %v: %s", err, out)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	raw := run("-f", "rawvideo", "-pix_fmt", "rgb24", "source.raw")
	for _, c := range []struct {
		args  []string
		level float64 // mean difference
	}{
		{[]string{"a.gif"}, 6},
		{[]string{"-f", "apng", "a.png"}, 0.6},
		{[]string{"-c:v", "libwebp_anim", "-q:v", "80", "a.webp"}, 4},
		{[]string{"-c:v", "libwebp_anim", "-lossless", "1", "b.webp"}, 0.6},
	} {
		m, err := Decode(run(c.args...), hashing.DefaultLimits())
		if err != nil {
			t.Errorf("%v: %v", c.args, err)
			continue
		}
		n := 0
		for at, frame := range m.Further(4) {
			n++
			luma, _, _ := reduced(t, frame, Bare)
			source := raw[int(at)/100*320*240*3:]
			sum := 0.0
			for i, v := range luma {
				sum += math.Abs(float64(v - lumaOf(source[3*i], source[3*i+1], source[3*i+2])))
			}
			if mean := sum / float64(len(luma)); mean > c.level {
				t.Errorf("%v at %d ms: %.2f levels from the source", c.args, at, mean)
			}
		}
		if n != 4 {
			t.Errorf("%v: %d frames", c.args, n)
		}
	}
	// A still with compressed alpha, against the decoder of x/image.
	for _, args := range [][]string{{"-lossless", "0"}, {"-lossless", "1"}} {
		args = append([]string{"-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='clip(X+Y-50,0,255)'", "-frames:v", "1", "-c:v", "libwebp"}, args...)
		data := run(append(args, args[len(args)-1]+".webp")...)
		tolerated := 0.5
		if args[len(args)-1] == "1" {
			tolerated = 0
		}
		sameAsOther(t, data, tolerated)
	}
}

// sameAsOther compares a still WebP with what x/image decodes, which is what libwebp decodes. The decoder of lossy
// bitstreams is not exact: an error of one level here and there, which prediction may carry on.
func sameAsOther(t testing.TB, data []byte, tolerated float64) {
	t.Helper()
	m, err := Decode(data, hashing.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	other, err := xwebp.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := &Image{Width: m.Width, Height: m.Height, pixels: pixelsOf(other, true)}
	want.HasAlpha = want.pixels.alpha != nil
	if m.HasAlpha != want.HasAlpha {
		t.Errorf("alpha %t, want %t", m.HasAlpha, want.HasAlpha)
	}
	for _, over := range []Backdrop{Bare, OverWhite} {
		got, _, _ := reduced(t, m, over)
		expect, _, _ := reduced(t, want, over)
		sum := 0.0
		for i, v := range got {
			sum += math.Abs(float64(v - expect[i]))
		}
		if mean := sum / float64(len(got)); mean > tolerated {
			t.Errorf("backdrop %d: %v levels from what x/image decodes", over, mean)
		}
	}
}

func TestWebPAgainstOther(t *testing.T) {
	dir := datatest.Folder(t)
	for _, name := range []string{"F.webp", "HSV.webp", "PA.webp"} {
		sameAsOther(t, read(t, dir, "threatexchange", "modes", name), 0.001)
	}
}

func losslessWebP(t testing.TB, m image.Image) []byte {
	t.Helper()
	return encodeWebP(t, m, &webp.EncoderOptions{Lossless: true, Exact: true, Quality: 75, Method: 2})
}

func lossyWebP(t testing.TB, m image.Image) []byte {
	t.Helper()
	return encodeWebP(t, m, &webp.EncoderOptions{Quality: 75, Method: 2})
}

func encodeWebP(t testing.TB, m image.Image, options *webp.EncoderOptions) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := webp.Encode(&buf, m, options); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Small files whose parts claim more than the whole. Nothing may be allocated for the claim.
func TestPartsLargerThanTheWhole(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	still := unbase64(t, webpAlpha) // VP8X of 1 x 1, ALPH, VP8
	le.PutUint16(still[bytes.Index(still, []byte("\x9d\x01\x2a"))+3:], 16383)
	lossless := unbase64(t, webpAnimated)
	le.PutUint32(lossless[bytes.LastIndex(lossless, []byte("VP8L"))+9:], 1<<28-1)
	frame := encodeSteps(t, "webp", steps())
	copy(frame[bytes.Index(frame, []byte("ANMF"))+8+6:], "\xff\xff\x00\xff\xff\x00")
	gifFrame := encodeSteps(t, "gif", steps())
	copy(gifFrame[bytes.Index(gifFrame, []byte("\x2c\x00\x00\x00\x00"))+5:], "\xff\xff\xff\xff")
	pngFrame := pngOfSteps(t, steps(), true)
	be.PutUint32(pngFrame[bytes.Index(pngFrame, []byte("fcTL"))+8:], 1<<30)
	for name, data := range map[string][]byte{
		"webp still": still, "webp lossless frame": lossless, "webp frame": frame, "gif frame": gifFrame, "png frame": pngFrame,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Decode(data, hashing.DefaultLimits())
		if err == nil {
			for range m.Further(3) {
				t.Errorf("%s: a frame", name)
			}
		} else if kindOf(t, err) != hashing.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d bytes were allocated", name, used)
		}
	}
}

// The work is bounded however many frames there are.
func TestFurtherEnds(t *testing.T) {
	var many []step
	for range 300 {
		many = append(many, steps()[1])
	}
	limits := hashing.DefaultLimits()
	limits.Pixels = 100_000
	for _, format := range []string{"gif", "webp", "png"} {
		m, err := Decode(encodeSteps(t, format, append(steps()[:1], many...)), limits)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range m.Further(1000) {
			n++
		}
		if n == 0 || n > 30 {
			t.Errorf("%s: %d frames within the work allowed", format, n)
		}
	}
}

// The last frame is the one that stays, however short its time; a damaged one hides nothing behind it.
func TestFurtherShowsTheLast(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		for _, still := range []bool{false, true} {
			a := &animation{canvas: image.Pt(8, 8), still: still}
			for i := range 50 {
				p := part{rect: image.Rect(0, 0, 8, 8), delay: 1000, opaque: true}
				if i == 49 {
					p.delay = 20
				}
				p.decode = func() (pixels, error) {
					if i == 30 {
						return pixels{}, errPanicked
					}
					m := image.NewGray(image.Rect(0, 0, 8, 8))
					m.Pix[0] = uint8(i)
					return pixelsOf(m, false), nil
				}
				a.add(p)
			}
			last, frames := float32(0), 0
			a.play("gif", n, hashing.DefaultLimits(), func(_ uint32, m *Image) bool {
				luma, _, _ := reduced(t, m, Bare)
				last = luma[0]
				frames++
				return true
			})
			if frames != n || last != 49 && (n > 1 || !still) {
				t.Errorf("%d frames of %d, still %t; the last one was %v", frames, n, still, last)
			}
		}
	}
}

// A frame that covers the canvas need not be waited for: what is before it is not decoded.
func TestFurtherSkipsWhatIsOverdrawn(t *testing.T) {
	decoded := []int{}
	a := &animation{canvas: image.Pt(8, 8)}
	for i := range 20 {
		p := part{rect: image.Rect(0, 0, 8, 8), delay: 100, blend: true, opaque: i%5 == 0}
		p.decode = func() (pixels, error) {
			decoded = append(decoded, i)
			return pixelsOf(image.NewGray(image.Rect(0, 0, 8, 8)), false), nil
		}
		a.add(p)
	}
	a.play("gif", 3, hashing.DefaultLimits(), func(uint32, *Image) bool { return true })
	if !slices.Equal(decoded, []int{5, 6, 10, 11, 12, 13, 15, 16, 17, 18, 19}) { // for the frames 6, 13 and 19
		t.Errorf("decoded %v", decoded)
	}
}
