package edits

import (
	"image"
	"image/color"
	"math"
	"sync"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

var (
	black = color.RGBA{0, 0, 0, 255}
	white = color.RGBA{255, 255, 255, 255}
)

// blank is a picture of one colour; sides are at least one pixel.
func blank(w, h int, c color.RGBA) *image.RGBA {
	im := image.NewRGBA(image.Rect(0, 0, max(1, w), max(1, h)))
	fill(im, im.Rect, c)
	return im
}

func clone(im *image.RGBA) *image.RGBA {
	out := *im
	out.Pix = append([]uint8(nil), im.Pix...)
	return &out
}

func fill(im *image.RGBA, r image.Rectangle, c color.Color) {
	draw.Draw(im, r, image.NewUniform(c), image.Point{}, draw.Over)
}

// paste puts src into dst with its upper left corner at x, y.
func paste(dst, src *image.RGBA, x, y int) {
	draw.Draw(dst, src.Rect.Add(image.Pt(x, y)), src, image.Point{}, draw.Src)
}

// cut is the part of w x h pixels at x, y, and at least one pixel.
func cut(im *image.RGBA, x, y, w, h int) *image.RGBA {
	out := blank(w, h, black)
	draw.Draw(out, out.Rect, im, image.Pt(x, y), draw.Src)
	return out
}

// lanczos is the windowed sinc of three lobes.
var lanczos = draw.Interpolator(&draw.Kernel{Support: 3, At: func(t float64) float64 {
	if t == 0 {
		return 1
	}
	x := math.Pi * t
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}})

// scaled resizes to w x h pixels. The kernels widen with the step, so that reducing does not alias.
func scaled(im *image.RGBA, w, h int, by draw.Interpolator) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, max(1, w), max(1, h)))
	by.Scale(out, out.Rect, im, im.Rect, draw.Src, nil)
	return out
}

// each applies f to the colour of every pixel.
func each(im *image.RGBA, f func(r, g, b float64) (float64, float64, float64)) *image.RGBA {
	out := clone(im)
	for i := 0; i < len(out.Pix); i += 4 {
		p := out.Pix[i : i+3 : i+3]
		r, g, b := f(float64(p[0]), float64(p[1]), float64(p[2]))
		p[0], p[1], p[2] = clip(r), clip(g), clip(b)
	}
	return out
}

// level applies f to each channel of every pixel.
func level(im *image.RGBA, f func(v float64) float64) *image.RGBA {
	var table [256]uint8
	for v := range table {
		table[v] = clip(f(float64(v)))
	}
	out := clone(im)
	for i := 0; i < len(out.Pix); i += 4 {
		p := out.Pix[i : i+3 : i+3]
		p[0], p[1], p[2] = table[p[0]], table[p[1]], table[p[2]]
	}
	return out
}

// clip rounds to a level.
func clip(v float64) uint8 {
	if v <= 0 {
		return 0
	} else if v >= 255 {
		return 255
	}
	return uint8(v + 0.5)
}

// luma weighs colours as ITU-R BT.601 does.
func luma(r, g, b float64) float64 { return 0.299*r + 0.587*g + 0.114*b }

// warped is a picture of w x h pixels whose colour at x, y is that of im at from(x, y), both of pixel
// centres, by cubic interpolation (a = -1/2); outside of im it is black.
func warped(im *image.RGBA, w, h int, from func(x, y float64) (float64, float64)) *image.RGBA {
	out := blank(w, h, black)
	width, height := im.Rect.Dx(), im.Rect.Dy()
	table := cubics()
	for y := range h {
		for x := range w {
			sx, sy := from(float64(x)+0.5, float64(y)+0.5)
			if sx < 0 || sy < 0 || sx >= float64(width) || sy >= float64(height) {
				continue
			}
			fx, fy := math.Floor(sx-0.5), math.Floor(sy-0.5)
			wx, wy := &table[int((sx-0.5-fx)*cubicSteps+0.5)], &table[int((sy-0.5-fy)*cubicSteps+0.5)]
			left, top := int(fx)-1, int(fy)-1
			var r, g, b float32
			for j, ky := range wy {
				line := im.Pix[min(max(top+j, 0), height-1)*im.Stride:]
				if left >= 0 && left+4 <= width {
					p := line[4*left : 4*left+16]
					r += ky * (wx[0]*float32(p[0]) + wx[1]*float32(p[4]) + wx[2]*float32(p[8]) + wx[3]*float32(p[12]))
					g += ky * (wx[0]*float32(p[1]) + wx[1]*float32(p[5]) + wx[2]*float32(p[9]) + wx[3]*float32(p[13]))
					b += ky * (wx[0]*float32(p[2]) + wx[1]*float32(p[6]) + wx[2]*float32(p[10]) + wx[3]*float32(p[14]))
					continue
				}
				for i, kx := range wx {
					p := line[4*min(max(left+i, 0), width-1):][:3]
					r += ky * kx * float32(p[0])
					g += ky * kx * float32(p[1])
					b += ky * kx * float32(p[2])
				}
			}
			p := out.Pix[y*out.Stride+4*x:][:3]
			p[0], p[1], p[2] = clip(float64(r)), clip(float64(g)), clip(float64(b))
		}
	}
	return out
}

// cubicSteps is how finely the weights are tabled between two samples.
const cubicSteps = 512

var cubics = sync.OnceValue(func() *[cubicSteps + 1][4]float32 {
	var table [cubicSteps + 1][4]float32
	for i := range table {
		for j, w := range cubic(float64(i) / cubicSteps) {
			table[i][j] = float32(w)
		}
	}
	return &table
})

// cubic is the weights of the four samples around a place that is t past the second.
func cubic(t float64) [4]float64 {
	return [4]float64{
		((-0.5*t+1)*t - 0.5) * t,
		(1.5*t-2.5)*t*t + 1,
		((-1.5*t+2)*t + 0.5) * t,
		(0.5*t - 0.5) * t * t,
	}
}

// rotated turns by degrees, counter-clockwise, about the centre; the size stays.
func rotated(im *image.RGBA, degrees float64) *image.RGBA {
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	w, h := im.Rect.Dx(), im.Rect.Dy()
	cx, cy := float64(w)/2, float64(h)/2
	return warped(im, w, h, func(x, y float64) (float64, float64) {
		x, y = x-cx, y-cy
		return cos*x - sin*y + cx, sin*x + cos*y + cy
	})
}

// rotatedCut is rotated without its black corners: the largest centred part of the same aspect ratio.
func rotatedCut(im *image.RGBA, degrees float64) *image.RGBA {
	sin, cos := math.Sincos(math.Abs(degrees) * math.Pi / 180)
	w, h := float64(im.Rect.Dx()), float64(im.Rect.Dy())
	k := 1 / (cos + max(w, h)/min(w, h)*sin)
	cw, ch := math.Floor(w*k), math.Floor(h*k)
	return cut(rotated(im, degrees), int((w-cw)/2), int((h-ch)/2), int(cw), int(ch))
}

// turned maps every pixel: x, y of the result is from(x, y) of im, where swap tells that the sides change places.
func turned(im *image.RGBA, swap bool, from func(x, y, w, h int) (int, int)) *image.RGBA {
	w, h := im.Rect.Dx(), im.Rect.Dy()
	if swap {
		w, h = h, w
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			sx, sy := from(x, y, w, h)
			copy(out.Pix[y*out.Stride+4*x:][:4], im.Pix[sy*im.Stride+4*sx:][:4])
		}
	}
	return out
}

func mirrored(im *image.RGBA) *image.RGBA {
	return turned(im, false, func(x, y, w, _ int) (int, int) { return w - 1 - x, y })
}

// blurred is a Gaussian blur; sigma is in pixels. The edge is repeated outside.
func blurred(im *image.RGBA, sigma float64) *image.RGBA {
	reach := int(math.Ceil(3 * sigma))
	kernel, sum := make([]float32, 2*reach+1), float32(0)
	for i := range kernel {
		d := float64(i-reach) / sigma
		kernel[i] = float32(math.Exp(-d * d / 2))
		sum += kernel[i]
	}
	for i := range kernel {
		kernel[i] /= sum
	}
	// Each pass blurs along lines, which it takes apart into colours and extends by their ends, and
	// transposes.
	pass := func(im *image.RGBA) *image.RGBA {
		w, h := im.Rect.Dx(), im.Rect.Dy()
		out := image.NewRGBA(image.Rect(0, 0, h, w))
		line := make([]float32, w+2*reach)
		for y := range h {
			for c := range 3 {
				for i := range line {
					line[i] = float32(im.Pix[y*im.Stride+4*min(max(i-reach, 0), w-1)+c])
				}
				for x := range w {
					sum := float32(0.5)
					for i, v := range line[x : x+len(kernel)] {
						sum += kernel[i] * v
					}
					out.Pix[x*out.Stride+4*y+c] = uint8(min(255, sum))
				}
			}
			for x := range w {
				out.Pix[x*out.Stride+4*y+3] = 255
			}
		}
		return out
	}
	return pass(pass(im))
}

// ellipse fills the ellipse in a rectangle.
func ellipse(im *image.RGBA, x0, y0, x1, y1 float64, c color.RGBA) {
	cx, cy, rx, ry := (x0+x1)/2, (y0+y1)/2, (x1-x0)/2, (y1-y0)/2
	for y := max(0, int(y0)); y <= min(im.Rect.Dy()-1, int(y1)); y++ {
		dy := (float64(y) + 0.5 - cy) / ry
		if dy*dy >= 1 {
			continue
		}
		half := rx * math.Sqrt(1-dy*dy)
		fill(im, image.Rect(int(cx-half+0.5), y, int(cx+half+0.5), y+1), c)
	}
}

var bold = sync.OnceValue(func() *opentype.Font {
	f, err := opentype.Parse(gobold.TTF)
	if err != nil {
		panic("edits: the Go Bold font: " + err.Error()) // cannot be: it is embedded
	}
	return f
})

// write sets text in Go Bold, size pixels an em (at least 8), with the upper left corner at x, y.
func write(im *image.RGBA, x, y, size float64, text string, c color.Color) {
	face, err := opentype.NewFace(bold(), &opentype.FaceOptions{Size: max(8, math.Floor(size)), DPI: 72})
	if err != nil {
		panic("edits: the Go Bold font: " + err.Error()) // cannot be: it has no bad options
	}
	d := font.Drawer{Dst: im, Src: image.NewUniform(c), Face: face}
	d.Dot = fixed.Point26_6{X: fixed.Int26_6(x * 64), Y: fixed.Int26_6(y*64) + face.Metrics().Ascent}
	d.DrawString(text)
}

// outlined is write with a line of the given width around the letters.
func outlined(im *image.RGBA, x, y, size float64, text string, c, line color.Color, width int) {
	for dy := -width; dy <= width; dy++ {
		for dx := -width; dx <= width; dx++ {
			if dx*dx+dy*dy <= width*width && (dx != 0 || dy != 0) {
				write(im, x+float64(dx), y+float64(dy), size, text, line)
			}
		}
	}
	write(im, x, y, size, text, c)
}
