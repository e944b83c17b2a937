package decode

import (
	"image"
	"iter"
	"slices"

	"vigie/hashing"
)

// animation is what a cheap look at a file's blocks tells of its frames, before anything is decoded.
type animation struct {
	canvas image.Point
	parts  []part
	// still says that the picture itself is none of the frames.
	still bool
}

// part is one frame as coded: a rectangle that is drawn on the canvas.
type part struct {
	rect    image.Rectangle
	delay   uint32 // how long it is shown, milliseconds
	opaque  bool   // nothing of what was under it shows
	blend   bool   // drawn over the canvas, else in place of it
	dispose disposal
	decode  func() (pixels, error) // of the size of rect
}

// disposal is what becomes of a frame's rectangle when its time is over.
type disposal uint8

const (
	keep disposal = iota
	erase
	restore
)

// What is to be shown for less than shortest is shown for usualDelay, as in browsers. Milliseconds.
const (
	shortest   = 11
	usualDelay = 100
)

// mostFrames is how many frames are looked at.
const mostFrames = 1 << 16

// add appends a frame whose rectangle lies on the canvas. It reports false if it does not, or if there
// are too many.
func (a *animation) add(p part) bool {
	if p.rect.Empty() || !p.rect.In(image.Rectangle{Max: a.canvas}) || len(a.parts) == mostFrames {
		return false
	}
	if p.delay < shortest {
		p.delay = usualDelay
	}
	p.delay = min(p.delay, 1<<16)
	a.parts = append(a.parts, p)
	return true
}

// stands reports whether from frame i on the canvas is the same whatever was on it before.
func (a *animation) stands(i int) bool {
	full := func(i int) bool { return a.parts[i].rect == image.Rectangle{Max: a.canvas} }
	p := a.parts[i]
	return i == 0 || full(i) && (p.opaque || !p.blend) && p.dispose != restore || full(i-1) && a.parts[i-1].dispose == erase
}

// choose returns at most n frames, and when they are first shown: those shown at n times, evenly spread over the
// duration to its end. The last frame is among them, since it stays if the animation does not repeat; the
// first one only if the picture itself is none of the frames. A frame that is held takes several of these times:
// the samples left go to other frames, evenly by their order, so that no long pause hides the rest.
func (a *animation) choose(n int) (frames []int, times []uint32) {
	starts := make([]int64, 1, len(a.parts)+1)
	for i, p := range a.parts {
		starts = append(starts, starts[i]+int64(p.delay))
	}
	total := starts[len(a.parts)]
	intervals, from := n, 1
	if a.still {
		intervals, from = max(1, n-1), 0
	}
	chosen := make([]bool, len(a.parts))
	i := 0
	for k := from; k < from+n; k++ {
		for i < len(a.parts)-1 && total*int64(k)/int64(intervals) >= starts[i+1] {
			i++
		}
		if i >= from && !chosen[i] {
			chosen[i] = true
			frames = append(frames, i)
		}
	}
	var others []int
	for i := from; i < len(a.parts); i++ {
		if !chosen[i] {
			others = append(others, i)
		}
	}
	left := min(n-len(frames), len(others))
	for k := range left {
		frames = append(frames, others[(2*k+1)*len(others)/(2*left)])
	}
	slices.Sort(frames)
	for _, i := range frames {
		times = append(times, uint32(starts[i]))
	}
	return frames, times
}

// Further yields at most n more frames of an animated GIF, WebP or PNG, all if there are no more, else spread
// evenly over its duration, composited on its canvas, with the times at which they are first shown, in milliseconds.
// The first frame is the Image itself; a PNG may have one that its animation does not show, and then
// the animation's first frame is among these. A still picture has none. A frame is shown for 100 ms if
// it claims 10 ms or less, as in browsers.
//
// An Image that is yielded holds until the next one is asked for. Two canvases are in memory, and one
// frame. A frame whose data are damaged is left out, for viewers go on behind it. The sequence ends early when as many pixels were decoded as the
// limits of [Decode] allow for a picture: an animation costs at most twice a still.
func (m *Image) Further(n int) iter.Seq2[uint32, *Image] {
	return func(yield func(uint32, *Image) bool) {
		if m.frames == nil || n <= 0 {
			return
		}
		a := m.animation()
		if a == nil || a.canvas != image.Pt(m.Width, m.Height) || len(a.parts) == 0 || len(a.parts) == 1 && !a.still {
			return
		}
		a.play(m.Format, n, m.limits, yield)
	}
}

// animation looks at the file's blocks.
func (m *Image) animation() (a *animation) {
	defer func() {
		if recover() != nil {
			a = nil
		}
	}()
	return m.frames(m.data)
}

// play composes and yields.
func (a *animation) play(format string, n int, limits hashing.Limits, yield func(uint32, *Image) bool) {
	frames, times := a.choose(n)
	c := newCanvas(a.canvas)
	work := limits.Pixels
	next := 0 // the frame to be drawn
	for k, wanted := range frames {
		for i := wanted; i > next; i-- { // what is overdrawn as a whole need not be drawn
			if a.stands(i) {
				next = i
				c.clear(image.Rectangle{Max: a.canvas})
				c.pending = nil
				break
			}
		}
		for ; next <= wanted; next++ {
			p := &a.parts[next]
			const trouble = 4096 // what a frame costs beside its pixels, in pixels
			if work -= p.rect.Dx()*p.rect.Dy() + trouble; work < 0 {
				return
			}
			c.draw(p)
		}
		if !yield(times[k], c.image(format)) {
			return
		}
	}
}

// canvas is the picture that an animation's frames are drawn on, as luma and alpha. Luma is a weighted
// sum of the colours, so that drawing over gives the same in luma as in colours, but for rounding.
type canvas struct {
	size        image.Point
	luma, alpha []uint8
	// What the last frame leaves to be done before the next is drawn.
	pending func()
	// Scratch memory: a row of a frame, and what restore gives back.
	row                   []float32
	rowAlpha              []uint8
	savedLuma, savedAlpha []uint8
}

func newCanvas(size image.Point) *canvas {
	n := size.X * size.Y
	return &canvas{size: size, luma: make([]uint8, n), alpha: make([]uint8, n), row: make([]float32, size.X), rowAlpha: make([]uint8, size.X)}
}

// lines calls do with the canvas's rows within r.
func (c *canvas) lines(r image.Rectangle, do func(y int, luma, alpha []uint8)) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		from, to := y*c.size.X+r.Min.X, y*c.size.X+r.Max.X
		do(y, c.luma[from:to], c.alpha[from:to])
	}
}

// clear makes r transparent black.
func (c *canvas) clear(r image.Rectangle) {
	c.lines(r, func(_ int, luma, alpha []uint8) {
		clear(luma)
		clear(alpha)
	})
}

// draw disposes of the last frame, decodes p and draws it, if it can be decoded.
func (c *canvas) draw(p *part) {
	defer func() { _ = recover() }() // what was drawn until then stands
	if c.pending != nil {
		c.pending()
		c.pending = nil
	}
	frame, err := p.decode()
	if err != nil || frame.width != p.rect.Dx() || frame.height != p.rect.Dy() {
		return
	}
	switch p.dispose {
	case erase:
		c.pending = func() { c.clear(p.rect) }
	case restore:
		c.save(p.rect)
	}
	row, rowAlpha := c.row[:frame.width], c.rowAlpha[:frame.width]
	for i := range rowAlpha {
		rowAlpha[i] = 255
	}
	c.lines(p.rect, func(y int, luma, alpha []uint8) {
		frame.luma(row, y-p.rect.Min.Y)
		if frame.alpha != nil {
			frame.alpha(rowAlpha, y-p.rect.Min.Y)
		}
		for x, a := range rowAlpha {
			switch {
			case a == 255 || !p.blend:
				luma[x], alpha[x] = uint8(row[x]+0.5), a
			case a > 0:
				luma[x], alpha[x] = over(row[x], a, luma[x], alpha[x])
			}
		}
	})
}

// over draws a pixel over another; both are luma, not multiplied, and alpha.
func over(luma float32, alpha, underLuma, underAlpha uint8) (uint8, uint8) {
	top := float32(alpha) / 255
	under := float32(underAlpha) / 255 * (1 - top)
	both := top + under
	return uint8((luma*top+float32(underLuma)*under)/both + 0.5), uint8(both*255 + 0.5)
}

// save keeps r, to be given back before the next frame.
func (c *canvas) save(r image.Rectangle) {
	c.savedLuma, c.savedAlpha = c.savedLuma[:0], c.savedAlpha[:0]
	c.lines(r, func(_ int, luma, alpha []uint8) {
		c.savedLuma, c.savedAlpha = append(c.savedLuma, luma...), append(c.savedAlpha, alpha...)
	})
	c.pending = func() {
		at := 0
		c.lines(r, func(_ int, luma, alpha []uint8) {
			copy(alpha, c.savedAlpha[at:])
			at += copy(luma, c.savedLuma[at:])
		})
	}
}

// image is the canvas as a picture, which shares its memory.
func (c *canvas) image(format string) *Image {
	p := pixelsOf(&image.Gray{Pix: c.luma, Stride: c.size.X, Rect: image.Rectangle{Max: c.size}}, false)
	for _, a := range c.alpha {
		if a != 255 {
			p.alpha = func(dst []uint8, y int) { copy(dst, c.alpha[y*c.size.X:]) }
			break
		}
	}
	return &Image{Format: format, Width: c.size.X, Height: c.size.Y, HasAlpha: p.alpha != nil, pixels: p}
}

// placed puts a picture on a larger canvas. What it does not cover is transparent black, as browsers
// show it.
func placed(frame pixels, at, canvas image.Rectangle) pixels {
	if at == canvas {
		return frame
	}
	covers := func(y int) bool { return y >= at.Min.Y && y < at.Max.Y }
	return pixels{
		width: canvas.Dx(), height: canvas.Dy(), scale: 1,
		luma: func(dst []float32, y int) {
			clear(dst)
			if covers(y) {
				frame.luma(dst[at.Min.X:at.Max.X], y-at.Min.Y)
			}
		},
		alpha: func(dst []uint8, y int) {
			clear(dst)
			if !covers(y) {
				return
			}
			inside := dst[at.Min.X:at.Max.X]
			if frame.alpha != nil {
				frame.alpha(inside, y-at.Min.Y)
				return
			}
			for i := range inside {
				inside[i] = 255
			}
		},
	}
}
