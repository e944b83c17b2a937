package fingerprint

import "image"

// plane is a gray picture, or a rectangle of one: h rows of w bytes, stride bytes apart.
type plane struct {
	pix          []uint8
	w, h, stride int
}

func (p plane) bounds() image.Rectangle { return image.Rect(0, 0, p.w, p.h) }

func (p plane) row(y int) []uint8 { return p.pix[y*p.stride:][:p.w] }

// sub returns the part of p inside r, which lies within p and is not empty. It shares p's memory.
func (p plane) sub(r image.Rectangle) plane {
	return plane{p.pix[r.Min.Y*p.stride+r.Min.X:], r.Dx(), r.Dy(), p.stride}
}

// side is one of the four sides of a rectangle.
type side uint8

const (
	top side = iota
	bottom
	left
	right
)

// moved returns box with one side moved n pixels inwards, outwards if n is negative.
func (s side) moved(box image.Rectangle, n int) image.Rectangle {
	switch s {
	case top:
		box.Min.Y += n
	case bottom:
		box.Max.Y -= n
	case left:
		box.Min.X += n
	case right:
		box.Max.X -= n
	}
	return box
}

// beyond is the number of lines of p outside of one side of box.
func (s side) beyond(p plane, box image.Rectangle) int {
	switch s {
	case top:
		return box.Min.Y
	case bottom:
		return p.h - box.Max.Y
	case left:
		return box.Min.X
	default:
		return p.w - box.Max.X
	}
}

// lines are the lines of pixels parallel to one side of a rectangle, counted from that side inwards,
// each read at up to lineSamples places.
type lines struct {
	pix                []uint8
	start, next, along int // offsets: of the first sample, to the next line, to the next sample
	count, samples     int
}

// lineSamples is enough to tell shares of a few per cent.
const lineSamples = 256

func (p plane) lines(box image.Rectangle, s side) lines {
	length, count, along, next := box.Dx(), box.Dy(), 1, p.stride
	if s == left || s == right {
		length, count, along, next = count, length, next, along
	}
	step := (length + lineSamples - 1) / lineSamples
	l := lines{pix: p.pix, next: next, along: along * step, count: count, samples: (length + step - 1) / step}
	l.start = box.Min.Y*p.stride + box.Min.X + (length-1-(l.samples-1)*step)/2*along
	if s == bottom || s == right {
		l.start += (count - 1) * next
		l.next = -next
	}
	return l
}

// off counts the samples of line i in its middle part, a margin at each end left aside, whose level is in
// none of the marked ones.
func (l lines) off(i, margin int, marked *[256]bool) (n int) {
	at := l.start + i*l.next + margin*l.along
	for range l.samples - 2*margin {
		if !marked[l.pix[at]] {
			n++
		}
		at += l.along
	}
	return n
}

// contrast sums how far the samples of line i are from a level, up to 40 for each.
func (l lines) contrast(i, level int) (sum int) {
	at := l.start + i*l.next
	for range l.samples {
		d := int(l.pix[at]) - level
		sum += min(max(d, -d), 40)
		at += l.along
	}
	return sum
}

// level returns the level that most samples of line i have, and how far others near it are from it in the mean.
func (l lines) level(i int) (level int, spread float64) {
	const near = 24
	var histogram [256]int
	at := l.start + i*l.next
	for range l.samples {
		histogram[l.pix[at]]++
		at += l.along
	}
	level = mode(&histogram)
	sum, n := 0, 0
	for v := max(level-near, 0); v <= min(level+near, 255); v++ {
		sum += max(v-level, level-v) * histogram[v]
		n += histogram[v]
	}
	return level, float64(sum) / float64(n)
}

// mode is the middle of the five neighbouring levels that together are the most frequent; among equals
// the most frequent by itself.
func mode(histogram *[256]int) (level int) {
	best := -1
	for v, own := range histogram {
		sum := own
		for k := max(v-2, 0); k <= min(v+2, 255); k++ {
			sum += 8 * histogram[k]
		}
		if sum > best {
			best, level = sum, v
		}
	}
	return level
}

// mark marks the levels within reach of one.
func mark(marked *[256]bool, level, reach int) {
	for v := max(level-reach, 0); v <= min(level+reach, 255); v++ {
		marked[v] = true
	}
}

// smaller reports whether box is shorter than whole by a share of one of its sides or more.
func smaller(box, whole image.Rectangle, share float64) bool {
	return float64(whole.Dx()-box.Dx()) >= share*float64(whole.Dx()) ||
		float64(whole.Dy()-box.Dy()) >= share*float64(whole.Dy())
}

// takes reports whether box has at least a share of both sides of whole, and the sides that PDQ needs.
func takes(box, whole image.Rectangle, share float64) bool {
	return float64(box.Dx()) >= share*float64(whole.Dx()) && box.Dx() >= minSide &&
		float64(box.Dy()) >= share*float64(whole.Dy()) && box.Dy() >= minSide
}

// alike reports whether two boxes are so near, a hundredth of their sides, that their hashes are too.
func alike(a, b image.Rectangle) bool {
	near := func(u, v, length int) bool { return 100*max(u-v, v-u) <= length }
	return near(a.Min.X, b.Min.X, a.Dx()) && near(a.Max.X, b.Max.X, a.Dx()) &&
		near(a.Min.Y, b.Min.Y, a.Dy()) && near(a.Max.Y, b.Max.Y, a.Dy())
}
