package edits

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"

	"github.com/deepteams/webp"
	"golang.org/x/image/draw"
)

// apply is the work of an edit.
type apply = func(im *image.RGBA, r *rand.Rand) *image.RGBA

// plainly is an apply that draws nothing at random.
func plainly(f func(*image.RGBA) *image.RGBA) apply {
	return func(im *image.RGBA, _ *rand.Rand) *image.RGBA { return f(im) }
}

// Standard is the 53 edits with fixed parameters. A number in a name is a quality, a factor, degrees,
// or per cent of the side.
func Standard() []Edit {
	return []Edit{
		{"none", Coding, plainly(clone)},
		{"jpeg75", Coding, recoded(75)},
		{"jpeg50", Coding, recoded(50)},
		{"jpeg20", Coding, recoded(20)},
		{"webp40", Coding, plainly(webp40)},
		{"resize50", Coding, resized(.5)},
		{"resize25", Coding, resized(.25)},
		{"stretch1.25", Coding, plainly(func(im *image.RGBA) *image.RGBA {
			return scaled(im, int(float64(im.Rect.Dx())*1.25), im.Rect.Dy(), draw.CatmullRom)
		})},
		{"blur2", Coding, plainly(func(im *image.RGBA) *image.RGBA { return blurred(im, 2) })},
		{"blur5", Coding, plainly(func(im *image.RGBA) *image.RGBA { return blurred(im, 5) })},
		{"noise15", Coding, noise(15)},

		{"bright+40%", Colour, levels(func(v float64) float64 { return v * 1.4 })},
		{"bright-40%", Colour, levels(func(v float64) float64 { return v * .6 })},
		{"contrast1.5", Colour, contrast(1.5)},
		{"contrast0.5", Colour, contrast(.5)},
		{"gamma0.6", Colour, levels(func(v float64) float64 { return 255 * math.Pow(v/255, .6) })},
		{"gamma1.7", Colour, levels(func(v float64) float64 { return 255 * math.Pow(v/255, 1.7) })},
		{"gray", Colour, saturated(0)},
		{"sepia", Colour, colours(func(r, g, b float64) (float64, float64, float64) {
			return .393*r + .769*g + .189*b, .349*r + .686*g + .168*b, .272*r + .534*g + .131*b
		})},
		{"tint", Colour, colours(func(r, g, b float64) (float64, float64, float64) { return 1.15 * r, .9 * g, .7 * b })},
		{"saturate2", Colour, saturated(2)},
		{"invert", Colour, levels(func(v float64) float64 { return 255 - v })},

		{"watermark", Overlay, plainly(watermark)},
		{"logo22", Overlay, plainly(logo22)},
		{"sticker30", Overlay, func(im *image.RGBA, r *rand.Rand) *image.RGBA { return sticker(im, .3, r) }},
		{"banner14", Overlay, plainly(banner14)},
		{"impact_text", Overlay, plainly(impact)},

		{"border5", Border, bordered(.05, .05, black)},
		{"border10", Border, bordered(.10, .10, black)},
		{"border20", Border, bordered(.20, .20, black)},
		{"white_border10", Border, bordered(.10, .10, white)},
		{"letterbox10", Border, bordered(0, .10, black)},
		{"letterbox20", Border, bordered(0, .20, black)},
		{"pillarbox20", Border, bordered(.20, 0, black)},

		{"caption22", Page, plainly(caption22)},
		{"screenshot", Page, plainly(screenshot)},

		{"crop5", Crop, cropped(.05)},
		{"crop10", Crop, cropped(.10)},
		{"crop20", Crop, cropped(.20)},
		{"crop30", Crop, cropped(.30)},
		{"crop10_corner", Crop, plainly(func(im *image.RGBA) *image.RGBA {
			w, h := kept(im, .10)
			return cut(im, 0, 0, w, h)
		})},
		{"crop10_side", Crop, plainly(func(im *image.RGBA) *image.RGBA {
			w, h := im.Rect.Dx(), im.Rect.Dy()
			x := int(float64(w) * .10)
			return cut(im, x, 0, w-x, h)
		})},
		{"crop20_rand", Crop, func(im *image.RGBA, r *rand.Rand) *image.RGBA { return croppedAnywhere(im, .20, r) }},

		{"rot90", Turn, plainly(func(im *image.RGBA) *image.RGBA {
			return turned(im, true, func(x, y, _, h int) (int, int) { return h - 1 - y, x })
		})},
		{"rot180", Turn, plainly(func(im *image.RGBA) *image.RGBA {
			return turned(im, false, func(x, y, w, h int) (int, int) { return w - 1 - x, h - 1 - y })
		})},
		{"rot270", Turn, plainly(func(im *image.RGBA) *image.RGBA {
			return turned(im, true, func(x, y, w, _ int) (int, int) { return y, w - 1 - x })
		})},
		{"fliph", Turn, plainly(mirrored)},
		{"flipv", Turn, plainly(func(im *image.RGBA) *image.RGBA {
			return turned(im, false, func(x, y, _, h int) (int, int) { return x, h - 1 - y })
		})},

		{"rot2", Tilt, plainly(func(im *image.RGBA) *image.RGBA { return rotated(im, 2) })},
		{"rot5", Tilt, plainly(func(im *image.RGBA) *image.RGBA { return rotated(im, 5) })},
		{"rotcrop2", Tilt, plainly(func(im *image.RGBA) *image.RGBA { return rotatedCut(im, 2) })},
		{"rotcrop5", Tilt, plainly(func(im *image.RGBA) *image.RGBA { return rotatedCut(im, 5) })},

		{"combo", Combined, func(im *image.RGBA, r *rand.Rand) *image.RGBA {
			return recoded(50)(cropped(.05)(watermark(im), r), r)
		}},
	}
}

// recoded is a JPEG round trip.
func recoded(quality int) apply {
	return plainly(func(im *image.RGBA) *image.RGBA {
		data, err := encoded(im, quality)
		if err != nil {
			return clone(im) // no picture is that large
		}
		back, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return clone(im)
		}
		return opaque(back)
	})
}

// webp40 is a WebP round trip at quality 40.
func webp40(im *image.RGBA) *image.RGBA {
	var buf bytes.Buffer
	o := webp.DefaultOptions()
	o.Quality, o.Method = 40, 2
	if err := webp.Encode(&buf, im, o); err != nil {
		return clone(im) // no picture is that large
	}
	back, err := webp.Decode(&buf)
	if err != nil {
		return clone(im)
	}
	return opaque(back)
}

func opaque(img image.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, img.Bounds().Dx(), img.Bounds().Dy()))
	draw.Draw(out, out.Rect, img, img.Bounds().Min, draw.Src)
	return out
}

func resized(k float64) apply {
	return plainly(func(im *image.RGBA) *image.RGBA {
		return scaled(im, max(8, int(float64(im.Rect.Dx())*k)), max(8, int(float64(im.Rect.Dy())*k)), draw.BiLinear)
	})
}

func levels(f func(float64) float64) apply {
	return plainly(func(im *image.RGBA) *image.RGBA { return level(im, f) })
}

func colours(f func(r, g, b float64) (float64, float64, float64)) apply {
	return plainly(func(im *image.RGBA) *image.RGBA { return each(im, f) })
}

// contrast moves levels from the mean by a factor.
func contrast(k float64) apply {
	return plainly(func(im *image.RGBA) *image.RGBA {
		sum := 0.0
		for i := 0; i < len(im.Pix); i += 4 {
			sum += luma(float64(im.Pix[i]), float64(im.Pix[i+1]), float64(im.Pix[i+2]))
		}
		mean := math.Round(sum / float64(len(im.Pix)/4))
		return level(im, func(v float64) float64 { return mean + k*(v-mean) })
	})
}

// saturated moves colours from their gray by a factor.
func saturated(k float64) apply {
	return colours(func(r, g, b float64) (float64, float64, float64) {
		y := luma(r, g, b)
		return y + k*(r-y), y + k*(g-y), y + k*(b-y)
	})
}

// noise adds to each channel of each pixel; sigma is in levels of 256.
func noise(sigma float64) apply {
	return func(im *image.RGBA, r *rand.Rand) *image.RGBA {
		return each(im, func(red, green, blue float64) (float64, float64, float64) {
			return red + sigma*r.NormFloat64(), green + sigma*r.NormFloat64(), blue + sigma*r.NormFloat64()
		})
	}
}

// watermark sets half transparent words all over the picture.
func watermark(im *image.RGBA) *image.RGBA {
	out := clone(im)
	w, h := im.Rect.Dx(), im.Rect.Dy()
	for y := 0; y < h; y += max(20, h/5) {
		for x := -w / 4; x < w; x += max(40, w/2) {
			write(out, float64(x+y/3), float64(y), float64(w)/14, "SAMPLE.COM", color.NRGBA{255, 255, 255, 110})
		}
	}
	return out
}

func shorter(im *image.RGBA) float64 { return float64(min(im.Rect.Dx(), im.Rect.Dy())) }

// logo22 puts a disc with a word into the upper right corner.
func logo22(im *image.RGBA) *image.RGBA {
	out := clone(im)
	s := math.Floor(shorter(im) * .22)
	x, y := float64(im.Rect.Dx())-s-5, 5.0
	ellipse(out, x, y, x+s, y+s, color.RGBA{220, 30, 30, 255})
	write(out, x+s*.2, y+s*.35, s*.22, "NEWS", white)
	return out
}

// sticker puts a face over the picture, anywhere; size is a part of the shorter side.
func sticker(im *image.RGBA, size float64, r *rand.Rand) *image.RGBA {
	out := clone(im)
	s := math.Floor(shorter(im) * size)
	x, y := float64(r.IntN(im.Rect.Dx()-int(s)+1)), float64(r.IntN(im.Rect.Dy()-int(s)+1))
	ellipse(out, x, y, x+s, y+s, color.RGBA{255, 210, 40, 255})
	ellipse(out, x+s*.25, y+s*.3, x+s*.38, y+s*.45, black)
	ellipse(out, x+s*.62, y+s*.3, x+s*.75, y+s*.45, black)
	return out
}

// banner14 covers the lower edge.
func banner14(im *image.RGBA) *image.RGBA {
	out := clone(im)
	w, h := im.Rect.Dx(), im.Rect.Dy()
	b := int(float64(h) * .14)
	fill(out, image.Rect(0, h-b, w, h), color.RGBA{10, 10, 10, 255})
	write(out, 10, float64(h)-float64(b)*.8, float64(b)*.5, "BREAKING: share this now", white)
	return out
}

// impact writes over the upper and the lower part as memes do.
func impact(im *image.RGBA) *image.RGBA {
	out := clone(im)
	w, h := float64(im.Rect.Dx()), float64(im.Rect.Dy())
	s := h * .11
	outlined(out, w*.08, 3, s, "ONE DOES NOT", white, black, max(1, int(s/14)))
	outlined(out, w*.08, h-s*1.4, s, "SIMPLY HASH", white, black, max(1, int(s/14)))
	return out
}

// bordered adds a flat border; x and y are parts of the sides.
func bordered(x, y float64, c color.RGBA) apply {
	return plainly(func(im *image.RGBA) *image.RGBA {
		w, h := im.Rect.Dx(), im.Rect.Dy()
		bx, by := int(float64(w)*x), int(float64(h)*y)
		out := blank(w+2*bx, h+2*by, c)
		paste(out, im, bx, by)
		return out
	})
}

// caption22 adds a white field with two lines above the picture.
func caption22(im *image.RGBA) *image.RGBA {
	h := int(float64(im.Rect.Dy()) * .22)
	out := blank(im.Rect.Dx(), im.Rect.Dy()+h, white)
	paste(out, im, 0, h)
	f := float64(h)
	write(out, 10, f*.15, f*.3, "when you see it and", black)
	write(out, 10, f*.55, f*.3, "cannot unsee it", black)
	return out
}

// screenshot shows the picture in a page of a telephone.
func screenshot(im *image.RGBA) *image.RGBA {
	const w, h = 540, 1110
	out := blank(w, h, color.RGBA{250, 250, 250, 255})
	fill(out, image.Rect(0, 0, w, 90), color.RGBA{30, 60, 140, 255})
	write(out, 20, 30, 28, "SocialApp", white)
	ellipse(out, 16, 110, 66, 160, color.RGBA{120, 160, 90, 255})
	write(out, 80, 118, 18, "user_name · 3h", color.RGBA{20, 20, 20, 255})
	k := min(w/float64(im.Rect.Dx()), 700/float64(im.Rect.Dy()))
	m := scaled(im, max(8, int(float64(im.Rect.Dx())*k)), max(8, int(float64(im.Rect.Dy())*k)), draw.BiLinear)
	paste(out, m, (w-m.Rect.Dx())/2, 180)
	y := float64(180 + m.Rect.Dy() + 20)
	write(out, 20, y, 18, "1,204 likes   88 comments", color.RGBA{40, 40, 40, 255})
	write(out, 20, y+40, 18, "Look at this photo everyone!", color.RGBA{20, 20, 20, 255})
	fill(out, image.Rect(0, h-70, w, h), color.RGBA{235, 235, 235, 255})
	return out
}

// kept is the size that remains when a part of each side is cut off.
func kept(im *image.RGBA, part float64) (w, h int) {
	return int(float64(im.Rect.Dx()) * (1 - part)), int(float64(im.Rect.Dy()) * (1 - part))
}

// cropped keeps the centre.
func cropped(part float64) apply {
	return plainly(func(im *image.RGBA) *image.RGBA {
		w, h := kept(im, part)
		return cut(im, (im.Rect.Dx()-w)/2, (im.Rect.Dy()-h)/2, w, h)
	})
}

func croppedAnywhere(im *image.RGBA, part float64, r *rand.Rand) *image.RGBA {
	w, h := kept(im, part)
	return cut(im, r.IntN(im.Rect.Dx()-w+1), r.IntN(im.Rect.Dy()-h+1), w, h)
}
