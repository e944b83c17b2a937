package edits

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"

	"golang.org/x/image/draw"
)

// Random is edits whose parameters are drawn for each picture. Numbers in names bound what is drawn:
// the part of each side that is cut off in per cent, degrees to either side, the part of the sides by
// which corners move in.
func Random() []Edit {
	return []Edit{
		{"random-overlay-caption", Overlay, captionOver},
		{"random-banner", Overlay, banner},
		{"random-sticker", Overlay, func(im *image.RGBA, r *rand.Rand) *image.RGBA { return sticker(im, between(r, .15, .40), r) }},
		{"random-logo", Overlay, logo},
		{"random-inset", Overlay, inset},

		{"random-border", Border, border},
		{"random-blurred-border", Border, blurredBorder},

		{"random-caption", Page, caption},
		{"random-screenshot", Page, page},
		{"random-picture-in-picture", Page, pictureInPicture},
		{"random-collage", Page, collage},

		{"random-crop3-10", Crop, randomCrop(.03, .10)},
		{"random-crop10-20", Crop, randomCrop(.10, .20)},
		{"random-crop20-35", Crop, randomCrop(.20, .35)},
		{"random-crop35-50", Crop, randomCrop(.35, .50)},

		{"random-rot0-3", Tilt, tilt(0, 3, rotated)},
		{"random-rot3-10", Tilt, tilt(3, 10, rotated)},
		{"random-rot10-20", Tilt, tilt(10, 20, rotated)},
		{"random-rot20-30", Tilt, tilt(20, 30, rotated)},
		{"random-rotcrop0-3", Tilt, tilt(0, 3, rotatedCut)},
		{"random-rotcrop3-10", Tilt, tilt(3, 10, rotatedCut)},
		{"random-rotcrop10-20", Tilt, tilt(10, 20, rotatedCut)},
		{"random-rotcrop20-30", Tilt, tilt(20, 30, rotatedCut)},
		{"random-perspective0-5", Tilt, perspective(0, .05)},
		{"random-perspective5-15", Tilt, perspective(.05, .15)},

		{"random-two-edits", Combined, several(2)},
		{"random-three-edits", Combined, several(3)},
	}
}

func between(r *rand.Rand, low, high float64) float64 { return low + (high-low)*r.Float64() }

func either(r *rand.Rand) bool { return r.IntN(2) == 0 }

func anyColour(r *rand.Rand) color.RGBA {
	return color.RGBA{uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255}
}

// contrasting is black or white, whichever reads better on c.
func contrasting(c color.RGBA) color.RGBA {
	if luma(float64(c.R), float64(c.G), float64(c.B)) > 128 {
		return black
	}
	return white
}

var phrases = []string{
	"look at this", "share before it is gone", "they do not want you to see", "who remembers",
	"full video below", "breaking news", "when you know", "part 2", "no comment", "this is real",
}

func phrase(r *rand.Rand) string { return phrases[r.IntN(len(phrases))] }

// scene draws a picture of a sky, hills and things, all at random: an unrelated neighbour.
func scene(w, h int, r *rand.Rand) *image.RGBA {
	out := blank(w, h, black)
	top, bottom := anyColour(r), anyColour(r)
	for y := range out.Rect.Dy() {
		t := float64(y) / float64(out.Rect.Dy())
		mix := func(a, b uint8) uint8 { return clip(float64(a)*(1-t) + float64(b)*t) }
		fill(out, image.Rect(0, y, out.Rect.Dx(), y+1), color.RGBA{mix(top.R, bottom.R), mix(top.G, bottom.G), mix(top.B, bottom.B), 255})
	}
	for range 6 + r.IntN(10) {
		x, y := r.Float64()*float64(w), r.Float64()*float64(h)
		rx, ry := between(r, .05, .3)*float64(w), between(r, .05, .3)*float64(h)
		if either(r) {
			ellipse(out, x-rx, y-ry, x+rx, y+ry, anyColour(r))
		} else {
			fill(out, image.Rect(int(x-rx), int(y-ry), int(x+rx), int(y+ry)), anyColour(r))
		}
	}
	return out
}

func randomCrop(low, high float64) apply {
	return func(im *image.RGBA, r *rand.Rand) *image.RGBA { return croppedAnywhere(im, between(r, low, high), r) }
}

func tilt(low, high float64, turn func(*image.RGBA, float64) *image.RGBA) apply {
	return func(im *image.RGBA, r *rand.Rand) *image.RGBA {
		degrees := between(r, low, high)
		if either(r) {
			degrees = -degrees
		}
		return turn(im, degrees)
	}
}

// perspective shows the picture as from aside: its four inner corners, moved in by parts of the
// sides, become the corners of the copy.
func perspective(low, high float64) apply {
	return func(im *image.RGBA, r *rand.Rand) *image.RGBA {
		w, h := im.Rect.Dx(), im.Rect.Dy()
		in := func(side int) float64 { return between(r, low, high) * float64(side) }
		fw, fh := float64(w), float64(h)
		quad := [4][2]float64{{in(w), in(h)}, {fw - in(w), in(h)}, {fw - in(w), fh - in(h)}, {in(w), fh - in(h)}}
		project := toQuad(quad)
		return warped(im, w, h, func(x, y float64) (float64, float64) { return project(x/fw, y/fh) })
	}
}

// toQuad is the projective map of the unit square to a quadrilateral, corner by corner from 0,0 by 1,0
// and 1,1 to 0,1 (Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989, section 2.2.3).
func toQuad(q [4][2]float64) func(u, v float64) (x, y float64) {
	dx1, dy1 := q[1][0]-q[2][0], q[1][1]-q[2][1]
	dx2, dy2 := q[3][0]-q[2][0], q[3][1]-q[2][1]
	sx, sy := q[0][0]-q[1][0]+q[2][0]-q[3][0], q[0][1]-q[1][1]+q[2][1]-q[3][1]
	det := dx1*dy2 - dx2*dy1
	g, h := (sx*dy2-dx2*sy)/det, (dx1*sy-sx*dy1)/det
	a, b, c := q[1][0]-q[0][0]+g*q[1][0], q[3][0]-q[0][0]+h*q[3][0], q[0][0]
	d, e, f := q[1][1]-q[0][1]+g*q[1][1], q[3][1]-q[0][1]+h*q[3][1], q[0][1]
	return func(u, v float64) (float64, float64) {
		n := g*u + h*v + 1
		return (a*u + b*v + c) / n, (d*u + e*v + f) / n
	}
}

// captionOver writes a line with an outline anywhere over the picture.
func captionOver(im *image.RGBA, r *rand.Rand) *image.RGBA {
	out := clone(im)
	w, h := float64(im.Rect.Dx()), float64(im.Rect.Dy())
	s := h * between(r, .06, .14)
	outlined(out, w*between(r, .02, .2), (h-1.3*s)*r.Float64(), s, phrase(r), white, black, max(1, int(s/14)))
	return out
}

// banner covers 8 to 20 % at the upper or the lower edge.
func banner(im *image.RGBA, r *rand.Rand) *image.RGBA {
	out := clone(im)
	w, h := im.Rect.Dx(), im.Rect.Dy()
	b := int(float64(h) * between(r, .08, .20))
	y := 0
	if either(r) {
		y = h - b
	}
	c := anyColour(r)
	fill(out, image.Rect(0, y, w, y+b), c)
	write(out, float64(w)*.03, float64(y)+float64(b)*.2, float64(b)*.5, phrase(r), contrasting(c))
	return out
}

// logo puts a mark of 8 to 25 % of the shorter side into a corner.
func logo(im *image.RGBA, r *rand.Rand) *image.RGBA {
	out := clone(im)
	s := shorter(im) * between(r, .08, .25)
	gap := shorter(im) * between(r, 0, .05)
	x, y := gap, gap
	if either(r) {
		x = float64(im.Rect.Dx()) - s - gap
	}
	if either(r) {
		y = float64(im.Rect.Dy()) - s - gap
	}
	c := anyColour(r)
	if either(r) {
		ellipse(out, x, y, x+s, y+s, c)
	} else {
		fill(out, image.Rect(int(x), int(y), int(x+s), int(y+s)), c)
	}
	write(out, x+s*.2, y+s*.35, s*.25, "NEWS", contrasting(c))
	return out
}

// inset puts another picture of 15 to 35 % of the sides over a corner.
func inset(im *image.RGBA, r *rand.Rand) *image.RGBA {
	out := clone(im)
	w, h := im.Rect.Dx(), im.Rect.Dy()
	k := between(r, .15, .35)
	s := scene(int(float64(w)*k), int(float64(h)*k), r)
	x, y := w/50, h/50
	if either(r) {
		x = w - s.Rect.Dx() - x
	}
	if either(r) {
		y = h - s.Rect.Dy() - y
	}
	paste(out, s, x, y)
	return out
}

// border adds 2 to 25 % of one colour, all around or at two sides.
func border(im *image.RGBA, r *rand.Rand) *image.RGBA {
	x, y := between(r, .02, .25), between(r, .02, .25)
	switch r.IntN(4) {
	case 0:
		x = 0
	case 1:
		y = 0
	}
	c := anyColour(r)
	if either(r) {
		c = contrasting(c) // black and white are the most usual ones
	}
	return bordered(x, y, c)(im, r)
}

// blurredBorder puts the picture on its own blurred enlargement, in a frame of another aspect ratio.
func blurredBorder(im *image.RGBA, r *rand.Rand) *image.RGBA {
	w, h := im.Rect.Dx(), im.Rect.Dy()
	k := between(r, 1.2, 1.8)
	fw, fh := int(float64(w)*k), h
	if w >= h {
		fw, fh = w, int(float64(h)*k)
	}
	// Blurring a small one and enlarging it costs less than blurring the large one, and looks the same.
	small := blurred(scaled(cut(im, w/10, h/10, w*8/10, h*8/10), 80, 80, draw.BiLinear), 4)
	out := scaled(small, fw, fh, draw.BiLinear)
	paste(out, im, (fw-w)/2, (fh-h)/2)
	return out
}

// caption adds a field of 10 to 35 % with one or two lines, above or below.
func caption(im *image.RGBA, r *rand.Rand) *image.RGBA {
	w, h := im.Rect.Dx(), im.Rect.Dy()
	field := int(float64(h) * between(r, .10, .35))
	c := white
	switch r.IntN(4) {
	case 0:
		c = black
	case 1:
		c = anyColour(r)
	}
	out := blank(w, h+field, c)
	y := 0
	if either(r) {
		y = h
		paste(out, im, 0, 0)
	} else {
		paste(out, im, 0, field)
	}
	f := float64(field)
	write(out, float64(w)*.03, float64(y)+f*.15, f*.3, phrase(r), contrasting(c))
	if either(r) {
		write(out, float64(w)*.03, float64(y)+f*.55, f*.3, phrase(r), contrasting(c))
	}
	return out
}

// page shows the picture in a page of a telephone or of a desktop, light or dark.
func page(im *image.RGBA, r *rand.Rand) *image.RGBA {
	ground, ink := color.RGBA{250, 250, 250, 255}, color.RGBA{30, 30, 30, 255}
	if either(r) {
		ground, ink = color.RGBA{18, 18, 22, 255}, color.RGBA{225, 225, 225, 255}
	}
	w, h := 480+r.IntN(200), 960+r.IntN(300)
	if r.IntN(3) == 0 {
		w, h = h, w
	}
	out := blank(w, h, ground)
	bar := 40 + r.IntN(60)
	accent := anyColour(r)
	fill(out, image.Rect(0, 0, w, bar), accent)
	write(out, 20, float64(bar)*.3, float64(bar)*.4, phrase(r), contrasting(accent))
	top := bar + 10
	if either(r) {
		ellipse(out, 16, float64(top), 60, float64(top+44), anyColour(r))
		write(out, 76, float64(top+10), 18, "somebody", ink)
		top += 60
	}
	margin := r.IntN(40)
	k := min(float64(w-2*margin)/float64(im.Rect.Dx()), float64(h-top)*between(r, .6, .85)/float64(im.Rect.Dy()))
	m := scaled(im, max(8, int(float64(im.Rect.Dx())*k)), max(8, int(float64(im.Rect.Dy())*k)), draw.BiLinear)
	x := margin
	if either(r) {
		x = (w - m.Rect.Dx()) / 2
	}
	paste(out, m, x, top)
	y := float64(top + m.Rect.Dy() + 16)
	for range 1 + r.IntN(4) {
		write(out, 20, y, 18, phrase(r), ink)
		y += 30
	}
	if either(r) {
		fill(out, image.Rect(0, h-60, w, h), color.RGBA{128, 128, 128, 255})
	}
	return out
}

// pictureInPicture puts the picture, at 40 to 80 % of the sides, over another one.
func pictureInPicture(im *image.RGBA, r *rand.Rand) *image.RGBA {
	w, h := im.Rect.Dx(), im.Rect.Dy()
	out := scene(w, h, r)
	k := between(r, .40, .80)
	m := scaled(im, max(8, int(float64(w)*k)), max(8, int(float64(h)*k)), draw.BiLinear)
	paste(out, m, r.IntN(max(1, w-m.Rect.Dx())), r.IntN(max(1, h-m.Rect.Dy())))
	return out
}

// collage puts the picture among one to three others of the same size.
func collage(im *image.RGBA, r *rand.Rand) *image.RGBA {
	columns, rows := 2, 1+r.IntN(2)
	if either(r) {
		columns, rows = rows, columns
	}
	w, h := im.Rect.Dx()*2/3, im.Rect.Dy()*2/3
	gap := r.IntN(9)
	out := blank(columns*w+(columns-1)*gap, rows*h+(rows-1)*gap, white)
	own := r.IntN(columns * rows)
	for i := range columns * rows {
		part := scaled(im, w, h, draw.BiLinear)
		if i != own {
			part = scene(w, h, r)
		}
		paste(out, part, i%columns*(w+gap), i/columns*(h+gap))
	}
	return out
}

// several applies n different light edits, one after another, in any order.
func several(n int) apply {
	light := []apply{
		plainly(mirrored),
		border,
		banner,
		caption,
		captionOver,
		logo,
		plainly(watermark),
		randomCrop(.01, .05),
		func(im *image.RGBA, r *rand.Rand) *image.RGBA { return recoded(20+r.IntN(60))(im, r) },
		func(im *image.RGBA, r *rand.Rand) *image.RGBA { return resized(between(r, .4, .9))(im, r) },
		func(im *image.RGBA, r *rand.Rand) *image.RGBA {
			gamma := math.Exp(between(r, -.5, .5))
			return level(im, func(v float64) float64 { return 255 * math.Pow(v/255, gamma) })
		},
		func(im *image.RGBA, r *rand.Rand) *image.RGBA { return saturated(between(r, 0, 2))(im, r) },
	}
	return func(im *image.RGBA, r *rand.Rand) *image.RGBA {
		for _, i := range r.Perm(len(light))[:n] {
			im = light[i](im, r)
		}
		return im
	}
}
