package fingerprint

import (
	"image"
	"iter"
)

// What a border is. Bars that a program drew are of one level but for the last block of a JPEG;
// bars that were filmed or scanned have noise. A sky or a carpet has more.
const (
	minTolerance = 3    // levels by which pixels of a clean border may be off
	maxTolerance = 12   // and those of a noisy one
	maxSpread    = 1.5  // levels of mean deviation of a noisy one
	cleanSpread  = 0.1  // and of a clean one
	offShare     = 0.02 // of the samples of a border's line that may be off
	cornerShare  = 10   // the line's ends, each a tenth, may be anything: round corners, a station's logo
	softLines    = 8    // outermost lines that may be anything, one in 40: the soft edge of a scan
	edgeLines    = 18   // over which the edge may be smeared: a JPEG block with halved chroma, and a little
	edgeReach    = 16   // and the share of the lines that it may be, one in so many
	edgeRise     = 0.25 // share of samples that are off within edgeLines behind a noisy border
	edgeContrast = 4    // levels by which the mean rises at the picture's edge
	steepLines   = 6    // within so many lines
	minEdgeLines = 8    // at least
	trimRounds   = 5    // borders one inside another
	trimLeft     = 0.18 // share of each side that must be left
	trimTaken    = 0.015
)

// trims yields p without the outermost borders and, if that differs, without those inside them; if there are
// none, what stands on an empty ground. None is like the whole.
func trims(p plane) iter.Seq[image.Rectangle] {
	return func(yield func(image.Rectangle) bool) {
		whole := p.bounds()
		outer, inner := trim(p, 1, false), trim(p, trimRounds, false)
		if alike(whole, outer) {
			outer = whole
		} else if !yield(outer) {
			return
		}
		if outer == whole && alike(whole, inner) {
			inner = trim(p, trimRounds, true)
		}
		if !alike(whole, inner) && !alike(outer, inner) {
			yield(inner)
		}
	}
}

// trim finds the box that is left when flat borders are taken off: bars and margins of any level,
// each side with its own, in so many rounds if they are one inside another. A border must end at an edge, unless it is clean and loose
// is set: then it ends where anything begins, as on a drawing's empty ground. trim returns the whole if
// there is nothing to take off, too little to matter, or too much.
func trim(p plane, rounds int, loose bool) image.Rectangle {
	whole := p.bounds()
	box := whole
	for range rounds {
		before := box
		for s := top; s <= right; s++ {
			box = s.moved(box, border(p.lines(box, s), loose))
			if !takes(box, whole, trimLeft) {
				return whole
			}
		}
		if box == before {
			break
		}
	}
	if !smaller(box, whole, trimTaken) {
		return whole
	}
	return box
}

// border returns how many lines a flat border takes; 0 if there is none.
func border(l lines, loose bool) int {
	margin := l.samples / cornerShare
	for first := 0; first <= min(softLines, l.count/40); first++ {
		level, spread := l.level(first)
		if spread > maxSpread {
			continue
		}
		var border [256]bool
		mark(&border, level, min(minTolerance+int(3*spread+0.5), maxTolerance))
		flat := func(i int) bool {
			return float64(l.off(i, margin, &border)) <= offShare*float64(l.samples)
		}
		if !flat(first) {
			continue
		}
		n := first + 1
		for n < l.count && flat(n) {
			n++
		}
		if n = edge(l, n, level, &border, loose && spread <= cleanSpread); n > 0 {
			return n
		}
	}
	return 0
}

// edge finds where at or behind line n, the first that is not flat, the picture begins: compression
// smears the edge into the border, so that it is where half of the contrast behind it is reached. If the
// border's level fades out slowly, as that of a sky does, it returns n if that is allowed, else 0.
func edge(l lines, n, level int, border *[256]bool, fading bool) int {
	var contrasts [edgeLines + 1]int // from line n-1, of the border
	contrast := contrasts[:min(max(l.count/edgeReach, minEdgeLines), edgeLines, l.count-n)+1]
	off, rise, most := 0, 0, 0
	for k := range contrast {
		off = max(off, l.off(n-1+k, 0, border))
		contrast[k] = l.contrast(n-1+k, level)
		rise = max(rise, contrast[k]-contrast[max(k-steepLines, 0)])
		most = max(most, contrast[k])
	}
	if float64(off) < edgeRise*float64(l.samples) || rise < edgeContrast*l.samples {
		if fading {
			return n
		}
		return 0
	}
	k := 0
	for 2*contrast[k] < most {
		k++
	}
	return n - 1 + k
}
