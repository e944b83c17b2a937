package fingerprint

import (
	"cmp"
	"image"
	"iter"
	"slices"

	"vigie/hashing"
)

// What a frame is, by trial on screenshots, captions and phone frames drawn around 326 pictures.
const (
	maxCells    = 96   // along the longer side
	minCell     = 4    // pixels
	flatRange   = 6    // levels that a flat cell may span
	groundReach = 2    // levels around a ground's that belong to it, at least
	groundShare = 0.15 // of the cells along one side that are flat and at a ground's level
	maxGrounds  = 4
	balance     = 0.5  // share of ground at which a cell speaks neither for nor against the picture
	frameLeft   = 0.12 // share of each side that the picture takes
	frameTaken  = 0.02
	outerGround = 0.55 // share of ground around the picture, at least
	innerGround = 0.5  // and in it, at most
	edgeDepth   = 3    // lines on either side of an edge that are compared
	leastEdge   = 0.25 // rise of the share that is not ground, at each edge
	meanEdge    = 0.5  // and in the mean of the edges
	sureEdge    = 0.6  // mean at which no other grounds are tried
	cleanGround = 0.5  // mean span of the cells of a ground that is drawn, not seen
	heldGround  = 0.1  // share of the picture's cells that are flat ground, at which a wider reach is tried
	wideReach   = 8    // levels, for text in a JPEG of low quality
)

// insides yields the parts of p that may be known by themselves: those of [trims], and the picture inside the
// picture. No two are alike.
func (h *Hasher) insides(p plane) iter.Seq2[hashing.Variant, image.Rectangle] {
	return func(yield func(hashing.Variant, image.Rectangle) bool) {
		boxes := []image.Rectangle{p.bounds()}
		for box := range trims(p) {
			if boxes = append(boxes, box); !yield(hashing.Trimmed, box) {
				return
			}
		}
		if box := h.framer.frame(p); !slices.ContainsFunc(boxes, func(o image.Rectangle) bool { return alike(o, box) }) {
			yield(hashing.Framed, box)
		}
	}
}

// framer finds the picture inside a picture. Its memory is reused; the zero value is ready.
type framer struct {
	nx, ny int // cells
	spans  [maxCells * maxCells]span
	scores [maxCells * maxCells]float32
	sums   [maxCells]float32
	gains  [maxCells]float32 // of a row of cells: the sum of its positive scores
	rests  [maxCells]float32 // the same of all rows from one on
	busy   []int
	ground [256]bool // levels of the grounds under trial
}

// span is from the lowest to the highest level of a cell.
type span struct{ low, high uint8 }

func (s span) flat() bool { return s.high-s.low <= flatRange }

// ground is a level at which much is flat along a side of the picture.
type ground struct {
	level int
	noise float64 // mean span of its cells
}

// frame finds the picture in a screenshot, a captioned meme, on a phone's screen: the rectangle of cells
// that has the largest sum of what is not ground, its edges then set to the line. Text counts against
// it, being ground for the most part. It returns the whole if there is no such picture, or if its
// edges are not sharp.
//
// A picture may be flat at its own sides too, and would be nibbled at: so the clean grounds are tried
// first, and the noisier ones only if that gives no sharp edges.
func (f *framer) frame(p plane) image.Rectangle {
	f.measure(p)
	grounds := f.grounds()
	f.mark(grounds, groundReach)
	var flat [maxCells * maxCells]bool
	for i, s := range f.spans[:f.nx*f.ny] {
		flat[i] = s.flat() && f.ground[s.low] && f.ground[s.high]
	}
	found, best, crowded := p.bounds(), -1.0, true
	try := func(grounds []ground, reach int) (done bool) {
		f.mark(grounds, reach)
		box, sharp, ok := f.fit(p)
		if !ok {
			return false
		}
		// Without some of the grounds, a box may hold much of them.
		held := f.share(flat[:], p, box)
		if sharp-held > best {
			found, best, crowded = box, sharp-held, held > heldGround
		}
		return sharp >= sureEdge
	}
	clean := 0
	for clean < len(grounds) && grounds[clean].noise <= cleanGround {
		clean++
	}
	for n := max(clean, 1); n <= len(grounds) && !try(grounds[:n], groundReach); n++ {
	}
	if len(grounds) > 0 && crowded {
		try(grounds, wideReach)
	}
	return found
}

// measure divides p into cells, as square as it can, and takes their spans.
func (f *framer) measure(p plane) {
	cell := max((max(p.w, p.h)+maxCells-1)/maxCells, minCell)
	f.nx, f.ny = max(p.w/cell, 1), max(p.h/cell, 1)
	for cy := range f.ny {
		for cx := range f.nx {
			s := span{255, 0}
			c := f.pixels(p, image.Rect(cx, cy, cx+1, cy+1))
			for y := c.Min.Y; y < c.Max.Y; y += 2 {
				row := p.pix[y*p.stride+c.Min.X:][:c.Dx()]
				for x := 0; x < len(row); x += 2 {
					s.low, s.high = min(s.low, row[x]), max(s.high, row[x])
				}
			}
			f.spans[cy*f.nx+cx] = s
		}
	}
}

// pixels turns cells into pixels.
func (f *framer) pixels(p plane, cells image.Rectangle) image.Rectangle {
	return image.Rect(cells.Min.X*p.w/f.nx, cells.Min.Y*p.h/f.ny, cells.Max.X*p.w/f.nx, cells.Max.Y*p.h/f.ny)
}

// grounds finds the grounds along the four sides, up to two for each, the cleanest first.
func (f *framer) grounds() (found []ground) {
	for s := top; s <= right; s++ {
		first, next, n := 0, 1, f.nx
		switch s {
		case bottom:
			first = (f.ny - 1) * f.nx
		case left:
			next, n = f.nx, f.ny
		case right:
			first, next, n = f.nx-1, f.nx, f.ny
		}
		var count, noise [256]int
		for i := range n {
			if s := f.spans[first+i*next]; s.flat() {
				v := (int(s.low) + int(s.high)) / 2
				count[v]++
				noise[v] += int(s.high - s.low)
			}
		}
		for range 2 {
			g, cells, sum := ground{level: mode(&count)}, 0, 0
			for v := max(g.level-2, 0); v <= min(g.level+2, 255); v++ {
				cells += count[v]
				sum += noise[v]
				count[v] = 0
			}
			if cells == 0 || float64(cells) < groundShare*float64(n) {
				break
			}
			g.noise = float64(sum) / float64(cells)
			known := slices.ContainsFunc(found, func(o ground) bool { return max(o.level-g.level, g.level-o.level) <= 2 })
			if !known && len(found) < maxGrounds {
				found = append(found, g)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b ground) int { return cmp.Compare(a.noise, b.noise) })
	return found
}

func (f *framer) mark(grounds []ground, reach int) {
	clear(f.ground[:])
	for _, g := range grounds {
		mark(&f.ground, g.level, reach+int(g.noise+0.999))
	}
}

// fit finds the picture on the grounds that are marked, and how sharp its edges are: 0..1.
func (f *framer) fit(p plane) (box image.Rectangle, sharp float64, ok bool) {
	f.weigh(p)
	cells := f.heaviest()
	box = f.pixels(p, cells)
	inner, outer := f.shares(cells)
	if !takes(box, p.bounds(), frameLeft) || outer < outerGround || inner > innerGround {
		return box, 0, false
	}
	var rises [4]float64
	for range 2 { // the second time along better lines
		for s := top; s <= right; s++ {
			if box, rises[s] = f.snap(p, box, s); !takes(box, p.bounds(), frameLeft) {
				return box, 0, false
			}
		}
	}
	edges := 0.0
	for s, rise := range rises {
		if side(s).beyond(p, box) == 0 {
			continue
		}
		l := p.lines(side(s).moved(box, -min(side(s).beyond(p, box), edgeDepth)), side(s))
		level, _ := l.level(0)
		if rise < leastEdge || l.contrast(min(2*edgeDepth, l.count-1), level) < edgeContrast*l.samples {
			return box, 0, false
		}
		sharp += rise
		edges++
	}
	if edges == 0 || sharp < meanEdge*edges {
		return box, 0, false
	}
	// Compression smears the edges, which trim knows to undo if it is shown a little of the ground.
	for s := top; s <= right; s++ {
		box = s.moved(box, -min(s.beyond(p, box), edgeDepth))
	}
	box = trim(p.sub(box), trimRounds, false).Add(box.Min)
	return box, sharp / edges, smaller(box, p.bounds(), frameTaken)
}

// weigh gives each cell balance minus its share of ground.
func (f *framer) weigh(p plane) {
	for cy := range f.ny {
		for cx := range f.nx {
			ground, n := 0, 0
			c := f.pixels(p, image.Rect(cx, cy, cx+1, cy+1))
			for y := c.Min.Y; y < c.Max.Y; y += 2 {
				row := p.pix[y*p.stride+c.Min.X:][:c.Dx()]
				for x := 0; x < len(row); x += 2 {
					if f.ground[row[x]] {
						ground++
					}
					n++
				}
			}
			f.scores[cy*f.nx+cx] = balance - float32(ground)/float32(n)
		}
	}
}

// heaviest is the rectangle of cells with the largest sum of scores: for each pair of rows, by Kadane's
// method, the columns with the largest sum (Bentley, "Programming Pearls", column 8). Rows whose positive
// scores together are no more than the best so far are not looked at: in most pictures nearly all of them.
func (f *framer) heaviest() (cells image.Rectangle) {
	const rounding = 1.0001 // of sums in another order
	most := float32(-1)
	sums := f.sums[:f.nx]
	rest := float32(0)
	for y := f.ny - 1; y >= 0; y-- {
		f.gains[y] = 0
		for _, v := range f.scores[y*f.nx:][:f.nx] {
			f.gains[y] += max(v, 0)
		}
		rest += f.gains[y]
		f.rests[y] = rest
	}
	for y0 := range f.ny {
		if f.rests[y0]*rounding <= most {
			break
		}
		clear(sums)
		gain := float32(0)
		for y1 := y0; y1 < f.ny; y1++ {
			scores := f.scores[y1*f.nx:][:len(sums)]
			gain += f.gains[y1]
			if gain*rounding <= most {
				for x, v := range scores {
					sums[x] += v
				}
				continue
			}
			var sum float32
			from := 0
			for x, v := range scores {
				v += sums[x]
				sums[x] = v
				if sum <= 0 {
					sum, from = 0, x
				}
				if sum += v; sum > most {
					most, cells = sum, image.Rect(from, y0, x+1, y1+1)
				}
			}
		}
	}
	return cells
}

// shares are the shares of ground inside and outside a rectangle of cells.
func (f *framer) shares(cells image.Rectangle) (inner, outer float64) {
	in, out := 0, 0
	for y := range f.ny {
		for x := range f.nx {
			share := float64(balance - f.scores[y*f.nx+x])
			if image.Pt(x, y).In(cells) {
				inner += share
				in++
			} else {
				outer += share
				out++
			}
		}
	}
	return inner / float64(max(in, 1)), outer / float64(max(out, 1))
}

// share is how many of the cells in box are in a set of cells.
func (f *framer) share(set []bool, p plane, box image.Rectangle) float64 {
	hits, n := 0, 0
	for y := box.Min.Y * f.ny / p.h; y < box.Max.Y*f.ny/p.h; y++ {
		for x := box.Min.X * f.nx / p.w; x < box.Max.X*f.nx/p.w; x++ {
			if set[y*f.nx+x] {
				hits++
			}
			n++
		}
	}
	return float64(hits) / float64(max(n, 1))
}

// snap moves one side of box, found to a cell, to the line where ground gives way to the picture most
// sharply, and returns how sharply: the rise of the share that is not ground. If no line near is sharp,
// one further out may be: what was taken for ground may be a sky.
func (f *framer) snap(p plane, box image.Rectangle, s side) (image.Rectangle, float64) {
	beyond := s.beyond(p, box)
	if beyond == 0 {
		return box, 1
	}
	l := p.lines(s.moved(box, -beyond), s)
	reach := 3 * (max(p.w, p.h)/max(f.nx, f.ny) + 1) / 2
	f.busy = f.busy[:0]
	for i := range min(beyond+reach+edgeDepth, l.count) {
		f.busy = append(f.busy, l.off(i, 0, &f.ground))
	}
	at, rise := sharpest(f.busy, beyond-reach, beyond+reach)
	if float64(rise) < meanEdge*float64(edgeDepth*l.samples) {
		at, rise = sharpest(f.busy, 0, beyond+reach)
	}
	return s.moved(box, at-beyond), float64(rise) / float64(edgeDepth*l.samples)
}

// sharpest finds the line, from..to, at which the lines that follow exceed those before the most.
func sharpest(busy []int, from, to int) (at, rise int) {
	rise = -1
	for i := max(from, 0); i <= min(to, len(busy)-1); i++ {
		d := 0
		for k := range edgeDepth {
			d += busy[min(i+k, len(busy)-1)]
			if i > k { // beyond the picture's own edge is nothing
				d -= busy[i-1-k]
			}
		}
		if d > rise {
			at, rise = i, d
		}
	}
	return at, rise
}
